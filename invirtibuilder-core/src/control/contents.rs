//! The files in a binary package: the names in its `data.tar` (deb(5)), read without unpacking it.

use std::fs::File;
use std::io::{BufReader, Read};

use crate::error::BoxError;

/// The most bytes of files that are read past, to find their names.
const MAX_BYTES: u64 = 64 << 30;
/// The most names in one package.
const MAX_NAMES: usize = 2_000_000;

/// Lists the files, links and devices in a package, as paths without a slash at the beginning. Directories are left
/// out, as `Contents` indices leave them out.
///
/// # Errors
/// It is not a binary package, or is larger than any package should be.
pub(crate) fn list_files(package: File) -> Result<Vec<String>, BoxError> {
    let mut package = ar::Archive::new(BufReader::new(package));
    while let Some(member) = package.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        if let Some(ending) = name.strip_prefix("data.tar") {
            return names(unpack(ending, member)?.take(MAX_BYTES));
        }
    }
    Err("it has no data.tar".into())
}

/// Reads a compressed member of a package, or another file; `ending` is that of its name, such as `.xz`.
pub(crate) fn unpack<'a>(ending: &str, member: impl Read + 'a) -> Result<Box<dyn Read + 'a>, BoxError> {
    Ok(match ending {
        "" => Box::new(member),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
        ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(member)),
        ".zst" => Box::new(zstd::stream::read::Decoder::new(member)?),
        other => {
            return Err(format!("it has a member that is compressed as {other:?}; use gz, xz or zst").into());
        }
    })
}

fn names(tarball: impl Read) -> Result<Vec<String>, BoxError> {
    let mut tarball = tar::Archive::new(tarball);
    let mut names = Vec::new();
    for entry in tarball.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        if names.len() >= MAX_NAMES {
            return Err(format!("it has more than {MAX_NAMES} files").into());
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        names.push(path.trim_start_matches("./").trim_start_matches('/').to_owned());
    }
    Ok(names)
}
