//! Opens what a build left, and hashes it while it is read, so that what was read is what was hashed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use md5::Md5;
use rustix::fs::OFlags;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::hex;
use crate::error::VerifyError;
use crate::job::Artifact;
use crate::names::FileName;

/// Opens a file that is no link, device, pipe or directory. Waits for nothing.
pub(super) fn open_regular(path: &Path) -> Result<File, VerifyError> {
    let problem = |e: io::Error| match e.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::LOOP) => VerifyError::new(path, "it is a link, not a regular file"),
        Some(rustix::io::Errno::NXIO) => VerifyError::new(path, "it is not a regular file"),
        _ => VerifyError::new(path, format!("it cannot be read: {e}")),
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(|_| VerifyError::new(path, "it cannot be opened"))?;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(problem)?;
    if !file.metadata().map_err(problem)?.is_file() {
        return Err(VerifyError::new(path, "it is not a regular file"));
    }
    Ok(file)
}

/// A reader that hashes all that passes through it.
#[derive(Debug)]
pub(super) struct Hashing<R> {
    inner: R,
    md5: Md5,
    sha1: Sha1,
    sha256: Sha256,
    size: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, md5: Md5::new(), sha1: Sha1::new(), sha256: Sha256::new(), size: 0 }
    }

    /// Reads what is left, and returns what all of it was.
    pub(super) fn finish(mut self, name: FileName) -> io::Result<Artifact> {
        const CHUNK: usize = 256 << 10;
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => (),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => return Err(e),
            }
        }
        let Self { md5, sha1, sha256, size, .. } = self;
        let (md5, sha1, sha256) = (hex(&md5.finalize()), hex(&sha1.finalize()), hex(&sha256.finalize()));
        Ok(Artifact { name, size, md5, sha1, sha256 })
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        self.md5.update(chunk);
        self.sha1.update(chunk);
        self.sha256.update(chunk);
        self.size += count as u64;
        Ok(count)
    }
}

/// Reads a file once for its size and all its hashes.
pub(crate) fn hash_file(path: &Path, name: FileName) -> Result<Artifact, VerifyError> {
    hash_open(path, open_regular(path)?, name)
}

/// As [`hash_file`], of a file that is open, or of bytes that were read from it.
pub(super) fn hash_open(path: &Path, bytes: impl Read, name: FileName) -> Result<Artifact, VerifyError> {
    let hashed = Hashing::new(bytes).finish(name);
    hashed.map_err(|e| VerifyError::new(path, format!("it cannot be read: {e}")))
}
