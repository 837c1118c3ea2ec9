//! What is read of `.dsc`, `.changes`, `.deb`, `debian/control` and `debian/changelog`.
//!
//! Reads files, hashes them, and believes nothing that it has not checked. Never writes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::VerifyError;
use crate::job::Artifact;
use crate::names::{FileName, PackageName, Version};

mod binary;
mod changes;
mod contents;
mod source;

pub use binary::BinaryControl;
pub use changes::Changes;
pub(crate) use contents::list_files;
pub use source::SourceControl;

/// The control files of packages are small; what is longer than this many bytes is not one.
const MAX_CONTROL_BYTES: u64 = 4 << 20;

/// Reads the package and the version of the topmost entry of a `debian/changelog` (deb-changelog(5)).
///
/// # Errors
/// What is wrong with it, and what to do. The text quotes nothing of the file but the one line that is at fault.
pub fn read_changelog(bytes: &[u8]) -> Result<(PackageName, Version), String> {
    const FORM: &str = "`package (version) distributions; urgency=…`, as `dch` writes it";
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "it is not UTF-8; convert it (Debian Policy 4.4)".to_owned())?;
    if bytes.len() as u64 > MAX_CONTROL_BYTES {
        return Err(format!("it is longer than {MAX_CONTROL_BYTES} bytes; cut its oldest entries"));
    }
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
    let Some(line) = lines.next() else {
        return Err(format!("it is empty; begin it with a line {FORM}"));
    };
    let malformed = || format!("its first line is {:?}, not {FORM}", shorten(line));
    let (package, rest) = line.split_once(" (").ok_or_else(malformed)?;
    let (version, rest) = rest.split_once(')').ok_or_else(malformed)?;
    let (distributions, keywords) = rest.split_once(';').ok_or_else(malformed)?;
    if distributions.trim().is_empty() || !keywords.contains("urgency=") {
        return Err(malformed());
    }
    if keywords.split(',').any(|it| it.trim().eq_ignore_ascii_case("binary-only=yes")) {
        return Err("its topmost entry is a binary-only upload, which has no source; add an entry for a source version".to_owned());
    }
    // The closing line comes before the heading of the next entry.
    let mut entry = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '\t']));
    if !entry.any(|line| line.starts_with(" -- ")) {
        return Err(
            "its topmost entry has no closing line ` -- NAME <ADDRESS>  DATE` (deb-changelog(5))".to_owned()
        );
    }
    let package = package.parse().map_err(|e| format!("{e}"))?;
    let version = version.parse().map_err(|e| format!("{e}"))?;
    Ok((package, version))
}

/// Reads the name of the source package from a `debian/control` (deb-src-control(5)).
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn read_control(bytes: &[u8]) -> Result<PackageName, String> {
    if bytes.len() as u64 > MAX_CONTROL_BYTES {
        return Err(format!("it is longer than {MAX_CONTROL_BYTES} bytes; shorten it"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "it is not UTF-8; convert it (Debian Policy 5.1)".to_owned())?;
    let control: debian_control::lossless::Control =
        text.parse().map_err(|e| format!("it does not parse: {:?}", shorten(&format!("{e}"))))?;
    let Some(source) = control.source().and_then(|it| it.name()) else {
        return Err("it has no Source field in its first paragraph (deb-src-control(5))".to_owned());
    };
    if control.binaries().next().is_none() {
        return Err("it has no paragraph of a binary package (deb-src-control(5))".to_owned());
    }
    source.parse().map_err(|e| format!("{e}"))
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 100;
    text.chars().take(SHOWN).collect()
}

/// Reads a regular file of limited size as UTF-8.
fn read_text(path: &Path) -> Result<String, VerifyError> {
    let file = open_regular(path)?;
    let mut text = String::new();
    let read = file.take(MAX_CONTROL_BYTES).read_to_string(&mut text);
    let length = read.map_err(|e| VerifyError::new(path, format!("it cannot be read: {e}")))?;
    if u64::try_from(length).is_ok_and(|it| it == MAX_CONTROL_BYTES) {
        return Err(VerifyError::new(path, format!("it is longer than {MAX_CONTROL_BYTES} bytes")));
    }
    Ok(text)
}

/// Opens a file that is no link, device, pipe or directory.
fn open_regular(path: &Path) -> Result<File, VerifyError> {
    let problem = |e: std::io::Error| VerifyError::new(path, format!("it cannot be read: {e}"));
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(|_| VerifyError::new(path, "it cannot be opened"))?;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(problem)?;
    if !file.metadata().map_err(problem)?.is_file() {
        return Err(VerifyError::new(path, "it is not a regular file"));
    }
    Ok(file)
}

/// Reads a file once for its size and all its hashes.
pub(crate) fn hash_file(path: &Path, name: FileName) -> Result<Artifact, VerifyError> {
    const CHUNK: usize = 256 << 10;
    let mut file = open_regular(path)?;
    let (mut md5, mut sha1, mut sha256) = (Md5::new(), Sha1::new(), Sha256::new());
    let mut size = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(VerifyError::new(path, format!("it cannot be read: {e}"))),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        md5.update(chunk);
        sha1.update(chunk);
        sha256.update(chunk);
        size += count as u64;
    }
    Ok(Artifact {
        name,
        size,
        md5: hex(&md5.finalize()),
        sha1: hex(&sha1.finalize()),
        sha256: hex(&sha256.finalize()),
    })
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'?'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// One line of a `Checksums-Sha256` field.
struct Listed {
    name: FileName,
    size: u64,
    sha256: String,
}

/// Reads a `Checksums-Sha256` field (Debian Policy 5.6.24).
fn read_checksums(path: &Path, field: Option<&str>) -> Result<Vec<Listed>, VerifyError> {
    let field = field.ok_or_else(|| VerifyError::new(path, "it has no Checksums-Sha256 field"))?;
    let mut listed: Vec<Listed> = Vec::new();
    for line in field.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(sha256), Some(size), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(VerifyError::new(
                path,
                format!("its Checksums-Sha256 field has the line {:?}", shorten(line)),
            ));
        };
        let name: FileName = name.parse().map_err(|e| VerifyError::new(path, format!("{e}")))?;
        let size = size
            .parse()
            .map_err(|_| VerifyError::new(path, format!("the size of {name} is {:?}", shorten(size))))?;
        if listed.iter().any(|it| it.name == name) {
            return Err(VerifyError::new(path, format!("it lists {name} twice")));
        }
        listed.push(Listed { name, size, sha256: sha256.to_owned() });
    }
    Ok(listed)
}

/// Checks the listed files beside `path` and returns them with all their hashes, as they are on disk.
fn check_files(path: &Path, listed: &[Listed]) -> Result<Vec<Artifact>, VerifyError> {
    let directory = directory_of(path);
    let check = |it: &Listed| {
        let file = directory.join(it.name.as_str());
        let found = hash_file(&file, it.name.clone())?;
        if found.size != it.size || found.sha256 != it.sha256 {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let problem = format!(
                "it has {} bytes with SHA-256 {}, but {name} says {} and {}",
                found.size, found.sha256, it.size, it.sha256
            );
            return Err(VerifyError::new(file, problem));
        }
        Ok(found)
    };
    listed.iter().map(check).collect()
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn file_name_of(path: &Path) -> Result<FileName, VerifyError> {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    name.parse().map_err(|e| VerifyError::new(path, format!("{e}")))
}

fn parse_paragraph(path: &Path, text: &str) -> Result<deb822_fast::Paragraph, VerifyError> {
    let (body, _signature) = debian_control::pgp::strip_pgp_signature(text)
        .map_err(|e| VerifyError::new(path, format!("its signature is malformed: {e}")))?;
    body.parse().map_err(|e| VerifyError::new(path, format!("it does not parse: {e}")))
}

fn parse_field<T>(path: &Path, paragraph: &deb822_fast::Paragraph, field: &str) -> Result<T, VerifyError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let value =
        paragraph.get(field).ok_or_else(|| VerifyError::new(path, format!("it has no {field} field")))?;
    value.trim().parse().map_err(|e| VerifyError::new(path, format!("{e}")))
}

#[cfg(test)]
mod tests;
