//! Files in memory that other programs open by a path: nothing of a signature's making is ever left on a disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;

use crate::signer::SignError;

/// A file without a name. It is gone with this value, or with the process.
#[derive(Debug)]
pub(crate) struct MemoryFile(File);

impl MemoryFile {
    /// Makes one with these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, SignError> {
        let make = || {
            let mut file = File::from(rustix::fs::memfd_create("signer", MemfdFlags::CLOEXEC)?);
            file.write_all(bytes)?;
            file.seek(SeekFrom::Start(0))?;
            Ok(Self(file))
        };
        make().map_err(SignError::Memory)
    }

    /// Returns a path by which programs of the same user can open it (proc(5)).
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// Returns what is in it now.
    pub(crate) fn read(&self) -> Result<Vec<u8>, SignError> {
        let read = || {
            let mut bytes = Vec::new();
            // Opened again, so that nobody's position in it matters.
            File::open(self.path())?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(SignError::Memory)
    }
}
