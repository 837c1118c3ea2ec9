//! The only module that writes files: whole or not at all, and synced before they are visible.
//!
//! A name that one of these functions gave to a file survives the loss of power once the function has returned.
//! Never decides where something belongs.
#![allow(clippy::disallowed_methods, reason = "this is the module that the ban on writing leads to")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, RenameFlags, flock};

pub mod derived;
pub mod scratch;

/// What could not be done, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct DurableError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl DurableError {
    /// Returns the kind of the error below.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

type Result<T> = std::result::Result<T, DurableError>;

fn at<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> DurableError {
    let path = path.to_owned();
    move |e| DurableError { action, path, source: e.into() }
}

/// A file that is being written beside its place, under a hidden name, and that nobody sees before
/// [`NewFile::commit`]. Dropped without that, it is removed.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    staged: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl NewFile {
    /// Begins a file at `path`, readable by all (less the process's umask).
    pub fn create(path: &Path) -> Result<Self> {
        Self::with_mode(path, 0o644)
    }

    /// Begins a file at `path` with these permission bits.
    pub fn with_mode(path: &Path, mode: u32) -> Result<Self> {
        let staged = staging_name(path)?;
        let file = File::options().write(true).create_new(true).mode(mode).open(&staged);
        Ok(Self {
            file: file.map_err(at("create", &staged))?,
            staged,
            path: path.to_owned(),
            committed: false,
        })
    }

    /// Gives the file its name, replacing what had it. It and the name are synced.
    pub fn commit(mut self) -> Result<()> {
        self.sync()?;
        fs::rename(&self.staged, &self.path).map_err(at("rename to", &self.path))?;
        self.committed = true;
        sync_directory(&parent(&self.path))
    }

    /// Gives the file its name unless that is taken; then the file is dropped. Returns whether it was given.
    pub fn commit_new(mut self) -> Result<bool> {
        self.sync()?;
        let renamed = rustix::fs::renameat_with(
            rustix::fs::CWD,
            &self.staged,
            rustix::fs::CWD,
            &self.path,
            RenameFlags::NOREPLACE,
        );
        match renamed {
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            other => other.map_err(at("rename to", &self.path))?,
        }
        self.committed = true;
        sync_directory(&parent(&self.path))?;
        Ok(true)
    }

    /// Gives the file a name, unless that is taken, in the directory that it was begun in; `Ok(None)` says that
    /// it was given. Otherwise the file comes back.
    ///
    /// For a caller that holds a lock: it calls [`NewFile::sync`] before, and [`sync_directory`] when it has
    /// released the lock and before it tells anybody.
    pub fn place(mut self, path: &Path) -> Result<Option<Self>> {
        use rustix::fs::CWD;
        match rustix::fs::renameat_with(CWD, &self.staged, CWD, path, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Ok(Some(self)),
            other => other.map_err(at("rename to", path))?,
        }
        self.committed = true;
        Ok(None)
    }

    /// Returns the name that it gets.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the time of the last change that readers will see, in whole seconds where the file system keeps no more.
    pub fn set_modified(&self, time: std::time::SystemTime) -> Result<()> {
        self.file.set_modified(time).map_err(at("set the time of", &self.staged))
    }

    /// Syncs what was written so far.
    pub fn sync(&mut self) -> Result<()> {
        self.file.flush().and_then(|()| self.file.sync_all()).map_err(at("sync", &self.staged))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.staged);
        }
    }
}

/// Gives several files their names, in their order, replacing what had them. All are synced before the first is
/// named, and each directory is synced once, after the last.
pub fn commit_all(mut files: Vec<NewFile>) -> Result<()> {
    for file in &mut files {
        file.sync()?;
    }
    for file in &mut files {
        fs::rename(&file.staged, &file.path).map_err(at("rename to", &file.path))?;
        file.committed = true;
    }
    sync_parents(files.iter().map(|it| it.path.as_path()))
}

/// As [`commit_all`], for many files on the file system of `root`: that is synced as a whole, twice, which takes less
/// time than to sync each of them, and syncs with them what the functions made that sync nothing.
pub fn commit_together(mut files: Vec<NewFile>, root: &Path) -> Result<()> {
    sync_file_system(root)?;
    for file in &mut files {
        fs::rename(&file.staged, &file.path).map_err(at("rename to", &file.path))?;
        file.committed = true;
    }
    if files.is_empty() { Ok(()) } else { sync_file_system(root) }
}

/// Gives several files a second name each, replacing what had that name. Each directory is synced once, after the
/// last.
pub fn link_all<'a>(pairs: impl Iterator<Item = (&'a Path, &'a Path)> + Clone) -> Result<()> {
    for (from, to) in pairs.clone() {
        let staged = staging_name(to)?;
        fs::hard_link(from, &staged).map_err(at("link", &staged))?;
        let renamed = fs::rename(&staged, to);
        // Where both were names of one file already, rename(2) leaves them.
        let _ = fs::remove_file(&staged);
        renamed.map_err(at("rename to", to))?;
    }
    sync_parents(pairs.map(|it| it.1))
}

/// Removes several files; those that are not there are passed over. Each directory is synced once, after the last.
pub fn remove_all<'a>(paths: impl Iterator<Item = &'a Path> + Clone) -> Result<()> {
    for path in paths.clone() {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", path)(e)),
            _ => (),
        }
    }
    sync_parents(paths.filter(|it| parent(it).is_dir()))
}

fn sync_parents<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    let directories: std::collections::BTreeSet<PathBuf> = paths.map(parent).collect();
    directories.iter().try_for_each(|it| sync_directory(it))
}

/// Writes a file, replacing what was there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with_mode(path, bytes, 0o644)
}

/// Writes a file with these permission bits, replacing what was there.
pub fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = NewFile::with_mode(path, mode)?;
    file.write_all(bytes).map_err(at("write", path))?;
    file.commit()
}

/// Writes a file unless there is one. Returns whether it was written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(at("write", path))?;
    file.commit_new()
}

/// Replaces a small file at once, without syncing: the death of the process does not harm it, the loss of power
/// may. For what can be found out again.
pub fn note(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(at("write", path))?;
    fs::rename(&file.staged, path).map_err(at("rename to", path))?;
    file.committed = true;
    Ok(())
}

/// Copies the bytes of a regular file to a new name, replacing what was there.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(at("read", from))?;
    let mut file = NewFile::create(to)?;
    io::copy(&mut source, &mut file).map_err(at("write", to))?;
    file.commit()
}

/// Renames a file or directory, replacing a file or an empty directory that has the name.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(at("rename", from))?;
    let (source, target) = (parent(from), parent(to));
    sync_directory(&target)?;
    if source == target { Ok(()) } else { sync_directory(&source) }
}

/// Renames a file or directory as [`rename`] does, without syncing. For a caller that holds a lock, and that calls
/// [`sync_directory`] for both directories when it has released the lock and before it tells anybody.
pub fn rename_unsynced(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(at("rename", from))
}

/// Gives a file a second name. Does nothing if the name is taken by the same file.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    link_unsynced(from, to)?;
    sync_directory(&parent(to))
}

/// As [`link`], without syncing. For a caller that calls [`commit_together`] before it tells anybody.
pub fn link_unsynced(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_same_file(from, to) => Ok(()),
        other => other.map_err(at("link", to)),
    }
}

/// As [`create_directory`], without syncing. For a caller that calls [`commit_together`] before it tells anybody.
pub fn create_directory_unsynced(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(at("create the directory", path))
}

/// Makes a directory and those above it that are missing. Does nothing if it is there.
pub fn create_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if above != path && !above.as_os_str().is_empty() {
        create_directory(&above)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(at("create the directory", path)(e)),
        Ok(()) => sync_directory(&above),
    }
}

/// Removes a file. Does nothing if there is none.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(at("remove", path)(e)),
        Ok(()) => sync_directory(&parent(path)),
    }
}

/// Removes a file that nobody was told of, if that can be done. Not synced.
pub fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Removes a directory with all that is in it. Does nothing if there is none.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(at("remove the directory", path)(e)),
        Ok(()) => sync_directory(&parent(path)),
    }
}

/// Sets the permission bits of a file or directory.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

/// Gives a file or directory to a user and a group, by their numbers. Not synced: it is for throw-away directories.
pub fn give_to(path: &Path, user: u32, group: u32) -> Result<()> {
    std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(at("give away", path))
}

/// Syncs a file's content.
pub fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|it| it.sync_all()).map_err(at("sync", path))
}

/// Syncs the names in a directory.
pub fn sync_directory(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    sync_file(path)
}

/// Syncs everything on the file system that a path is on. Slow where others write much.
pub fn sync_file_system(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(at("open", path))?;
    rustix::fs::syncfs(&directory).map_err(at("sync the file system of", path))
}

/// Begins a log: a file that people may read while it grows, so it is written in place and not synced.
pub fn create_log(path: &Path) -> Result<File> {
    create_directory(&parent(path))?;
    File::create(path).map_err(at("create", path))
}

/// Opens a log that many processes add to, each line in one write, for appending; begins it if there is none.
pub fn append_log(path: &Path) -> Result<File> {
    create_directory(&parent(path))?;
    File::options().append(true).create(true).mode(0o640).open(path).map_err(at("open", path))
}

/// Writes at a place of a file that only grows, drops what followed that place, and syncs. Begins the file if there is
/// none. The caller holds a lock.
pub fn append_at(path: &Path, place: u64, bytes: &[u8]) -> Result<()> {
    let is_new = !path.exists();
    let options = File::options().write(true).create(true).truncate(false).mode(0o640).open(path);
    let mut file = options.map_err(at("open", path))?;
    let written = file
        .set_len(place)
        .and_then(|()| std::os::unix::fs::FileExt::write_all_at(&file, bytes, place))
        .and_then(|()| file.flush())
        .and_then(|()| file.sync_all());
    if let Err(e) = written {
        // What is half there would be dropped by the next call as well.
        let _ = file.set_len(place);
        return Err(at("write", path)(e));
    }
    if is_new { sync_directory(&parent(path)) } else { Ok(()) }
}

/// A lock on a file, exclusive unless it says otherwise. The kernel releases it when this is dropped or its process dies.
#[derive(Debug)]
#[must_use = "a lock that is dropped at once locks nothing"]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a program that another thread is starting has a copy of the descriptor.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Waits for the lock.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => (),
                other => return other.map(|()| Self::of(file, path)).map_err(at("lock", path)),
            }
        }
    }

    /// Waits until nobody has the lock alone, and shares it with others who do the same.
    pub fn share(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        loop {
            match flock(&file, FlockOperation::LockShared) {
                Err(rustix::io::Errno::INTR) => (),
                other => return other.map(|()| Self::of(file, path)).map_err(at("lock", path)),
            }
        }
    }

    /// Takes the lock if nobody has it.
    pub fn try_now(path: &Path) -> Result<Option<Self>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            other => other.map(|()| Some(Self::of(file, path))).map_err(at("lock", path)),
        }
    }

    fn of(file: File, path: &Path) -> Self {
        Self { file, path: path.to_owned() }
    }

    /// Returns whether its owner, or the last one if this is called before [`Lock::set_busy`], is in the middle of
    /// something: an owner that died over it has left that in the lock's own file.
    pub fn is_busy(&self) -> Result<bool> {
        Ok(self.file.metadata().map_err(at("read", &self.path))?.len() > 0)
    }

    /// Notes in the lock's own file whether its owner is in the middle of something. Not synced: it is for finding
    /// what the death of a process leaves, which costs nothing but space.
    pub fn set_busy(&self, is_busy: bool) -> Result<()> {
        self.file.set_len(u64::from(is_busy)).map_err(at("write", &self.path))
    }

    /// Returns the locked file, for the standard input of a program: if this process is killed, the lock lives until
    /// that program has ended.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(at("share the lock", &self.path))
    }

    fn open(path: &Path) -> Result<File> {
        File::options().create(true).truncate(false).write(true).open(path).map_err(at("open the lock", path))
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| fs::symlink_metadata(path).map(|it| (it.dev(), it.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// Returns a name beside `path` that nothing has: hidden, and recognisable as unfinished.
fn staging_name(path: &Path) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| at("create", path)(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut random = [0_u8; 8];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    filled.map_err(at("name a new file for", path))?;
    // 250 bytes of name and this prefix may be too long for a file system; a hidden name needs no stem.
    let stem: String = name.to_string_lossy().chars().take(40).collect();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(parent(path).join(format!(".new-{:016x}{count:x}-{stem}", u64::from_ne_bytes(random))))
}

/// Returns whether a name is one of an unfinished file of this module, left by a process that died.
#[must_use]
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with(".new-")
}

#[cfg(test)]
mod tests;
