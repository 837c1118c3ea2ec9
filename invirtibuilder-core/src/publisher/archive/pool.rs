//! Where package files lie, and how they get there.
//!
//! `pool/<component>/<prefix>/<source>/<file>` is the place of a file. If another file has that name and other
//! bytes, the whole upload goes one directory deeper, which is named by a hash of all its files. So a path never
//! gets other bytes while it exists, and readers of an older index are served what that index names.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ArchiveError, SuiteSpec};
use crate::control::{BinaryControl, hex};
use crate::durable::NewFile;
use crate::job::Artifact;
use crate::names::{Component, PackageName};
use crate::states::BuildArtifacts;

/// A file of an upload.
#[derive(Clone, Debug)]
pub(super) struct Upload<'a> {
    /// The directory that it is in now; for [`stage_from`], where it has another name there, the file.
    pub(super) from: &'a Path,
    pub(super) artifact: &'a Artifact,
}

/// Returns the files that the archive keeps: the source package's, the binary packages, and the records of the
/// builds (deb-buildinfo(5)), each once.
///
/// # Errors
/// Two files have one name and different bytes.
pub(super) fn uploads(artifacts: &BuildArtifacts) -> Result<Vec<Upload<'_>>, String> {
    let source = artifacts.source();
    let mut uploads: Vec<Upload<'_>> =
        source.files().iter().map(|artifact| Upload { from: source.directory(), artifact }).collect();
    for build in artifacts.builds() {
        for artifact in build.binaries().iter().map(BinaryControl::artifact).chain(build.buildinfos()) {
            match uploads.iter().find(|it| it.artifact.name == artifact.name) {
                Some(it) if it.artifact.sha256 == artifact.sha256 => (),
                Some(_) => return Err(format!("two builds made {} with different bytes", artifact.name)),
                None => uploads.push(Upload { from: build.directory(), artifact }),
            }
        }
    }
    Ok(uploads)
}

/// Returns the directory for the files of a build: in the component of its source package.
///
/// # Errors
/// Its section names a component that the suite does not have.
pub(super) fn directory(suite: &SuiteSpec, artifacts: &BuildArtifacts) -> Result<String, String> {
    let source = artifacts.source();
    let section = super::stanza::source_section(source).unwrap_or_default();
    Ok(directory_of(suite.component_of(&section)?, source.package()))
}

/// Returns the directory of a source package (the prefix as in Debian's own archive: `h`, or `libx`).
pub(super) fn directory_of(component: &Component, source: &PackageName) -> String {
    let name = source.as_str();
    let prefix: String =
        name.chars().take(if name.starts_with("lib") && name.len() > 3 { 4 } else { 1 }).collect();
    format!("pool/{component}/{prefix}/{name}")
}

/// Returns the directory for an upload whose names are taken by other bytes.
pub(super) fn directory_apart(directory: &str, uploads: &[Upload<'_>]) -> String {
    const DIGITS: usize = 16;
    let mut lines: Vec<String> =
        uploads.iter().map(|it| format!("{} {}\n", it.artifact.sha256, it.artifact.name)).collect();
    lines.sort();
    let digest = hex(&Sha256::digest(lines.concat().as_bytes()));
    format!("{directory}/{}", digest.chars().take(DIGITS).collect::<String>())
}

/// Which of the files are in a directory already.
#[derive(Debug)]
pub(super) enum Present<'a> {
    /// None has other bytes than wanted; these are missing.
    Missing(Vec<&'a Upload<'a>>),
    /// A file has other bytes.
    Different,
}

/// Compares an upload with a directory, byte by byte.
pub(super) fn compare<'a>(directory: &Path, uploads: &'a [Upload<'a>]) -> Result<Present<'a>, ArchiveError> {
    let mut missing = Vec::new();
    for upload in uploads {
        let path = directory.join(upload.artifact.name.as_str());
        match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(upload),
            Err(e) => return Err(ArchiveError::read(&path)(e)),
            Ok(found) if !found.is_file() || found.len() != upload.artifact.size => {
                return Ok(Present::Different);
            }
            Ok(_) => {
                if transfer(&path, &mut io::sink())?.0 != upload.artifact.sha256 {
                    return Ok(Present::Different);
                }
            }
        }
    }
    Ok(Present::Missing(missing))
}

/// Returns the directory for an upload, below the archive `root`: `home`, or the one apart if names are taken there;
/// and which files that lacks.
pub(super) fn settle<'a>(
    root: &Path,
    home: &str,
    uploads: &'a [Upload<'a>],
) -> Result<(String, Vec<&'a Upload<'a>>), ArchiveError> {
    if let Present::Missing(missing) = compare(&root.join(home), uploads)? {
        return Ok((home.to_owned(), missing));
    }
    let apart = directory_apart(home, uploads);
    let path = root.join(&apart);
    match compare(&path, uploads)? {
        Present::Missing(missing) => Ok((apart, missing)),
        Present::Different => {
            let problem = "has files whose bytes are not those that gave it its name";
            Err(ArchiveError::damaged(&path, problem))
        }
    }
}

/// Copies a file beside its place in the pool, and checks while copying that it is what was verified.
pub(super) fn stage(directory: &Path, upload: &Upload<'_>) -> Result<NewFile, ArchiveError> {
    stage_from(&upload.from.join(upload.artifact.name.as_str()), directory, upload.artifact)
}

/// As [`stage`], for a file that has another name where it lies.
pub(super) fn stage_from(
    from: &Path,
    directory: &Path,
    artifact: &Artifact,
) -> Result<NewFile, ArchiveError> {
    let to: PathBuf = directory.join(artifact.name.as_str());
    let mut file = NewFile::create(&to)?;
    let (sha256, size) = transfer(from, &mut file)?;
    if sha256 != artifact.sha256 || size != artifact.size {
        return Err(ArchiveError::Changed { path: from.to_owned() });
    }
    Ok(file)
}

/// Copies a file's bytes and returns their SHA-256 sum and count.
fn transfer(from: &Path, to: &mut dyn Write) -> Result<(String, u64), ArchiveError> {
    const CHUNK: usize = 256 << 10;
    let mut file = File::open(from).map_err(ArchiveError::read(from))?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ArchiveError::read(from)(e)),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        hash.update(chunk);
        to.write_all(chunk).map_err(ArchiveError::write(from))?;
        size += count as u64;
    }
    Ok((hex(&hash.finalize()), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_package_lies_where_debian_puts_it() {
        let component = "main".parse().unwrap();
        let of = |name: &str| directory_of(&component, &name.parse().unwrap());
        assert_eq!(of("hello"), "pool/main/h/hello");
        assert_eq!(of("libxml2"), "pool/main/libx/libxml2");
        assert_eq!(of("lib"), "pool/main/l/lib");
        assert_eq!(of("0ad"), "pool/main/0/0ad");
    }
}
