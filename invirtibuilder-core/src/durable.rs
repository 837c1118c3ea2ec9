//! The only module that writes files: whole or not at all, and synced before they are visible.
//!
//! A name that one of these functions gave to a file survives the loss of power once the function has returned.
//! Never decides where something belongs.
#![allow(clippy::disallowed_methods, reason = "this is the module that the ban on writing leads to")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;

pub mod derived;
pub mod group;
mod lock;
pub mod scratch;
mod syncing;

pub use lock::Lock;
pub use syncing::{sync_all, sync_directories, sync_directory, sync_file, sync_file_system};

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
    /// `None` once it is closed.
    file: Option<File>,
    staged: PathBuf,
    path: PathBuf,
    synced: bool,
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
            file: Some(file.map_err(at("create", &staged))?),
            staged,
            path: path.to_owned(),
            synced: false,
            committed: false,
        })
    }

    /// Changes the name that it will get, in the directory that it was begun in.
    pub fn set_name(&mut self, name: &OsStr) {
        self.path.set_file_name(name);
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

    /// Sets the time of the last change that readers will see, in whole seconds where the file system keeps no more.
    pub fn set_modified(&mut self, time: std::time::SystemTime) -> Result<()> {
        self.synced = false;
        self.opened().and_then(|it| it.set_modified(time)).map_err(at("set the time of", &self.staged))
    }

    /// Syncs what was written so far.
    pub fn sync(&mut self) -> Result<()> {
        if !self.synced {
            self.opened().and_then(File::sync_all).map_err(at("sync", &self.staged))?;
            self.synced = true;
        }
        Ok(())
    }

    /// Ends writing, and keeps no descriptor: for those who begin thousands of files.
    pub fn close(&mut self) {
        self.file = None;
    }

    fn opened(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            self.file = Some(File::open(&self.staged)?);
        }
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.synced = false;
        self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    sync_all(&mut files)?;
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
    sync_directories(&paths.map(parent).collect())
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

/// Gives a file a second name, unless it has that name already. Not synced: for a caller that calls [`commit_together`] before it tells anybody.
pub fn link_unsynced(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_same_file(from, to) => Ok(()),
        other => other.map_err(at("link", to)),
    }
}

/// Makes a directory and those above it that are missing. Does nothing if it is there.
pub fn create_directory(path: &Path) -> Result<()> {
    sync_directories(&create_directory_unsynced(path)?)
}

/// Makes a directory as [`create_directory`] does, and returns the directories that have new names in them: the
/// caller syncs them by [`sync_directories`] before it tells anybody.
pub fn create_directory_unsynced(path: &Path) -> Result<BTreeSet<PathBuf>> {
    if path.is_dir() {
        return Ok(BTreeSet::new());
    }
    let above = parent(path);
    let mut changed = BTreeSet::new();
    if above != path && !above.as_os_str().is_empty() {
        changed = create_directory_unsynced(&above)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => (),
        Err(e) => return Err(at("create the directory", path)(e)),
        Ok(()) => drop(changed.insert(above)),
    }
    Ok(changed)
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

/// Opens a private file for adding to its end; begins it if there is none. Nothing is synced: it is for what can be
/// found out again.
pub fn append(path: &Path) -> Result<File> {
    File::options().append(true).create(true).mode(0o640).open(path).map_err(at("open", path))
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
