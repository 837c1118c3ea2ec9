//! Control groups (cgroups(7)), which look like directories and files and are neither: nothing of them is on a disk.
//!
//! Never decides which group something belongs to.
#![allow(clippy::disallowed_methods, reason = "part of the module that the ban on writing leads to")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::{Result, at};

/// Makes a group.
pub fn make(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(at("make the control group", path))
}

/// Sets a value of a group.
pub fn set(path: &Path, value: &str) -> Result<()> {
    let file = File::options().write(true).open(path);
    file.and_then(|mut it| it.write_all(value.as_bytes())).map_err(at("set", path))
}

/// Removes a group in which there are no processes.
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_dir(path).map_err(at("remove the control group", path))
}
