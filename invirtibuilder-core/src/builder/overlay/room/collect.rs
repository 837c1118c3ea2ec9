//! Takes the results of a build out of its room.
//!
//! Never follows a link, opens a device or waits for a pipe. What is taken is what a hostile build left: the builder
//! checks it afterwards.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};

use crate::error::BoxError;

/// Copies the regular files of a directory, and nothing below it, to another.
pub(super) fn results(from: &Path, output: &OwnedFd) -> Result<(), BoxError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let from = rustix::fs::openat(CWD, from, flags | OFlags::DIRECTORY, Mode::empty())?;
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(file) = rustix::fs::openat(&from, name, flags, Mode::empty()) else { continue };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            continue;
        }
        let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(output, name, made, Mode::from_raw_mode(0o644))?;
        std::io::copy(&mut File::from(file), &mut File::from(copy))?;
    }
    Ok(())
}
