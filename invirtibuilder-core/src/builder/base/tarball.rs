//! Takes a finished tarball from where mmdebstrap left it, and reads which packages are installed in it.
//!
//! Never follows a link: the directory belongs to the account of builds.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::builder::results::open_regular;
use crate::control::hex;
use crate::durable::NewFile;
use crate::error::BoxError;
use crate::names::PackageName;

/// The longest list of packages; that of a whole desktop is a tenth of it.
const MAX_STATUS_BYTES: u64 = 64 << 20;

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

/// Reads the packages that are installed in a tarball, by dpkg's own list (`/var/lib/dpkg/status`, dpkg(1)).
///
/// Skips what it does not want, so that a tarball of 450 MB takes some milliseconds.
pub(super) fn packages(tarball: &Path) -> Result<BTreeSet<PackageName>, BoxError> {
    const STATUS: &str = "var/lib/dpkg/status";
    let mut archive = tar::Archive::new(open_regular(tarball)?);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let is_wanted = {
            let path = entry.path()?;
            path.strip_prefix(".").unwrap_or(&path) == Path::new(STATUS)
        };
        if is_wanted {
            let mut text = String::new();
            entry.take(MAX_STATUS_BYTES).read_to_string(&mut text)?;
            return installed(&text);
        }
    }
    Err(format!("{} has no {STATUS}; remove it, and it is made anew", tarball.display()).into())
}

fn installed(status: &str) -> Result<BTreeSet<PackageName>, BoxError> {
    let field = |paragraph: &str, name: &str| {
        let mut values = paragraph.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().map(|it| it.trim().to_owned())
    };
    let mut packages = BTreeSet::new();
    for paragraph in status.split("\n\n") {
        let is_installed = field(paragraph, "Status").is_some_and(|it| it.ends_with(" installed"));
        if let Some(name) = field(paragraph, "Package").filter(|_| is_installed) {
            packages.insert(name.parse()?);
        }
    }
    if packages.is_empty() {
        return Err("dpkg's list of packages is empty in the base".into());
    }
    Ok(packages)
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
