//! Files of a work directory that is thrown away: exact in name, mode and time, and not synced.
//!
//! Never replaces or follows anything: a name that is taken is an error.
#![allow(clippy::disallowed_methods, reason = "part of the module that the ban on writing leads to")]

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::{Result, at};

/// Makes a directory with exactly these permission bits, whatever the umask.
pub fn create_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir(path).map_err(at("create the directory", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

/// Writes a new file with exactly these permission bits, whatever the umask.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path);
    let mut file: File = file.map_err(at("create", path))?;
    file.write_all(bytes).map_err(at("write", path))?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

/// Copies the bytes of a regular file to a new name. They are shared where the file system can.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(at("read", from))?;
    let mut file = File::options().write(true).create_new(true).open(to).map_err(at("create", to))?;
    std::io::copy(&mut source, &mut file).map_err(at("write", to))?;
    Ok(())
}

/// Writes a new file with what comes out of something.
pub fn write_from(path: &Path, mut source: impl std::io::Read) -> Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path).map_err(at("create", path))?;
    std::io::copy(&mut source, &mut file).map_err(at("write", path))?;
    Ok(())
}

/// Makes a symbolic link.
pub fn symlink(target: &Path, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, path).map_err(at("create the link", path))
}

/// Removes a directory with all that is in it. Does nothing if there is none.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at("remove the directory", path)(e)),
        _ => Ok(()),
    }
}

/// Removes a file.
pub fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(at("remove", path))
}

/// Gives a file of the same file system another name.
pub fn link(from: &Path, path: &Path) -> Result<()> {
    fs::hard_link(from, path).map_err(at("link", path))
}

/// Sets when a file, directory or link itself was last used and changed, in seconds since 1970.
pub fn set_time(path: &Path, seconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at("set the time of", path))
}
