//! Takes a finished tarball from where mmdebstrap left it.
//!
//! Never follows a link: the directory belongs to the account of builds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::builder::results::open_regular;
use crate::control::hex;
use crate::durable::NewFile;
use crate::error::BoxError;

/// What a tarball ends with: two blocks of zeros (tar(5)).
const END: usize = 1024;

/// Copies a tarball to `to` and returns its SHA-256.
pub(super) fn take(from: &Path, to: &Path) -> Result<String, BoxError> {
    let (mut source, mut target) = (open_regular(from)?, NewFile::create(to)?);
    let (sha256, end) = copy(&mut source, &mut target)?;
    if end.len() < END || end.iter().any(|it| *it != 0) {
        return Err("mmdebstrap succeeded, but left a tarball that is cut off".into());
    }
    target.commit()?;
    Ok(sha256)
}

/// Copies, and returns the hash and the last bytes.
fn copy(source: &mut File, target: &mut impl Write) -> io::Result<(String, Vec<u8>)> {
    const CHUNK: usize = 1 << 20;
    let (mut hash, mut end, mut buffer) = (Sha256::new(), Vec::new(), vec![0; CHUNK]);
    loop {
        let count = source.read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((hex(&hash.finalize()), end));
        }
        target.write_all(bytes)?;
        hash.update(bytes);
        end.extend_from_slice(bytes.get(count.saturating_sub(END)..).unwrap_or_default());
        let excess = end.len().saturating_sub(END);
        end.drain(..excess);
    }
}
