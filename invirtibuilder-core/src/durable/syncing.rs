//! Making sure that what was written survives the loss of power, with as little waiting as can be.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{NewFile, Result, at, parent};

/// Syncs what was written to several files, side by side.
pub fn sync_all(files: &mut [NewFile]) -> Result<()> {
    let files: Vec<&mut NewFile> = files.iter_mut().filter(|it| !it.synced).collect();
    if files.len() <= MANY {
        return side_by_side(files, NewFile::sync);
    }
    sync_file_systems(&files.iter().map(|it| parent(&it.path)).collect())?;
    for file in files {
        file.synced = true;
    }
    Ok(())
}

/// Syncs the names in several directories, side by side.
pub fn sync_directories(directories: &BTreeSet<PathBuf>) -> Result<()> {
    if directories.len() > MANY {
        return sync_file_systems(directories);
    }
    side_by_side(directories.iter().collect(), |it| sync_directory(it))
}

/// With more things to sync than this it is cheaper to sync the whole file systems that they are on.
const MANY: usize = 64;

/// Syncs all that is on the file systems of some directories.
fn sync_file_systems(directories: &BTreeSet<PathBuf>) -> Result<()> {
    let mut systems = BTreeSet::new();
    for path in directories {
        let directory = File::open(path).map_err(at("open", path))?;
        if systems.insert(directory.metadata().map_err(at("look at", path))?.dev()) {
            rustix::fs::syncfs(&directory).map_err(at("sync the file system of", path))?;
        }
    }
    Ok(())
}

/// Does something that waits for the disk with several things at the same time.
fn side_by_side<T: Send>(things: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    const WORKERS: usize = 8;
    let mut things = things.into_iter();
    if things.len() < 2 {
        return things.try_for_each(work);
    }
    let workers = things.len().min(WORKERS);
    let things = std::sync::Mutex::new(things);
    let next = || things.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        let worker = || {
            while let Some(thing) = next() {
                work(thing)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let join = |it: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            it.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
        };
        // All are waited for, and the first error is returned.
        workers.into_iter().map(join).fold(Ok(()), Result::and)
    })
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
