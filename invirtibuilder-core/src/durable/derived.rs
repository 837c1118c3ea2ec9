//! What can be made again from what is durable: made and removed at once, without syncing.
//!
//! The death of the process leaves it whole or not at all, name by name; the loss of power may lose any of it. Whoever
//! uses this looks for what is missing and makes it again.

use std::fs;
use std::io;
use std::path::Path;

use super::{Result, at};

/// Makes a directory and those above it that are missing. Does nothing if it is there.
pub fn create_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(at("create the directory", path))
}

/// Gives a file a second name. Does nothing if the name is taken.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(at("link", to)),
    }
}

/// Makes a symbolic link that leads to `target`. Does nothing if the name is taken.
pub fn symlink(target: &Path, name: &Path) -> Result<()> {
    match std::os::unix::fs::symlink(target, name) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(at("link", name)),
    }
}

/// Removes a directory with all that is in it; what a symbolic link in it leads to stays. Does nothing if there is
/// none.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(at("remove the directory", path)),
    }
}
