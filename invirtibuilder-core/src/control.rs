//! What is read of `.dsc`, `.changes`, `.deb`, `debian/control` and `debian/changelog`.
//!
//! Reads files, hashes them, and believes nothing that it has not checked. Never writes.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::VerifyError;
use crate::job::Artifact;
use crate::names::{FileName, PackageName, Version};
use crate::policy::{Declaration, DeclaredBinary, PackageType};

mod binary;
mod changes;
pub(crate) mod contents;
mod difference;
mod hashing;
mod source;

pub use binary::BinaryControl;
pub(crate) use binary::control_text;
pub use changes::Changes;
pub(crate) use contents::{list_files, unpack};
pub(crate) use difference::differences_of_packages;
pub(crate) use hashing::hash_file;
use hashing::{hash_open, open_regular};
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

/// Reads what a `debian/control` declares (deb-src-control(5)).
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn read_control(bytes: &[u8]) -> Result<Declaration, String> {
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
    let source = source.parse().map_err(|e| format!("{e}"))?;
    let binaries = control.binaries().map(|it| read_binary(&it)).collect::<Result<Vec<_>, _>>()?;
    if binaries.is_empty() {
        return Err("it has no paragraph of a binary package (deb-src-control(5))".to_owned());
    }
    let needs = control.source().into_iter().flat_map(|source| {
        let fields = NEEDS.into_iter().filter_map(move |it| source.as_deb822().get(it));
        fields.flat_map(|it| names_of(&it))
    });
    let provides = control.binaries().filter_map(|it| it.as_deb822().get("Provides"));
    let provides = provides.flat_map(|it| names_of(&it)).collect();
    let needs = needs.collect();
    Ok(Declaration { source, binaries, needs, provides })
}

/// The fields that say what a build needs (deb-src-control(5)).
const NEEDS: [&str; 3] = ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"];

/// Returns the names in a list of relations (Debian Policy 7.1); what is no name, such as a substitution variable, is
/// left out.
fn names_of(relations: &str) -> Vec<PackageName> {
    let without_comments = relations.lines().filter(|it| !it.starts_with('#')).collect::<Vec<_>>().join(" ");
    let names = without_comments.split([',', '|']).filter_map(|it| {
        let end = |c: char| c.is_whitespace() || "(:[<".contains(c);
        it.trim().split(end).next()?.parse().ok()
    });
    names.collect()
}

/// Reads the paragraph of a binary package in a `debian/control`.
fn read_binary(binary: &debian_control::lossless::Binary) -> Result<DeclaredBinary, String> {
    let paragraph = binary.as_deb822();
    let package: PackageName =
        paragraph.get("Package").unwrap_or_default().trim().parse().map_err(|e| format!("{e}"))?;
    let field = paragraph.get("Architecture").unwrap_or_default();
    let architectures = field.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
    let architectures = architectures.map_err(|e| format!("in the paragraph of {package}, {e}"))?;
    if architectures.is_empty() {
        return Err(format!(
            "the paragraph of {package} has no Architecture; write `Architecture: any`, or `all` (deb-src-control(5))"
        ));
    }
    // Before dpkg 1.15.7 knew the field, it was written as one that the user defines.
    let written = |key: &String| {
        let key = key.to_ascii_lowercase();
        let own = key.strip_prefix('x').map(|it| it.trim_start_matches(['b', 'c', 's']));
        key == "package-type" || own == Some("-package-type")
    };
    let package_type = paragraph.keys().find(written).and_then(|it| paragraph.get(&it));
    let package_type = match package_type.as_deref().map(str::trim) {
        None | Some("deb") => PackageType::Deb,
        Some("udeb") => PackageType::Udeb,
        Some(other) => {
            return Err(format!(
                "the Package-Type of {package} is {:?}, which is not supported; write deb or udeb",
                shorten(other)
            ));
        }
    };
    Ok(DeclaredBinary { package, architectures, package_type })
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 100;
    text.chars().take(SHOWN).collect()
}

/// Reads a regular file of limited size as UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, VerifyError> {
    let file = open_regular(path)?;
    let mut text = String::new();
    let read = file.take(MAX_CONTROL_BYTES).read_to_string(&mut text);
    let length = read.map_err(|e| VerifyError::new(path, format!("it cannot be read: {e}")))?;
    if u64::try_from(length).is_ok_and(|it| it == MAX_CONTROL_BYTES) {
        return Err(VerifyError::new(path, format!("it is longer than {MAX_CONTROL_BYTES} bytes")));
    }
    Ok(text)
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'?'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A file as somebody lists it, such as one line of a `Checksums-Sha256` field.
pub(crate) struct Listed {
    /// What it is called.
    pub(crate) name: FileName,
    /// How many bytes it has.
    pub(crate) size: u64,
    /// Their SHA-256 sum.
    pub(crate) sha256: String,
}

/// Reads a `Checksums-Sha256` field (Debian Policy 5.6.24).
pub(crate) fn read_checksums(path: &Path, field: Option<&str>) -> Result<Vec<Listed>, VerifyError> {
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

/// Returns the size of all listed files together.
fn total(listed: &[Listed]) -> u64 {
    listed.iter().fold(0, |sum, it| sum.saturating_add(it.size))
}

/// Opens a listed file, unless its size shows already that it is another.
///
/// Looked at first, so that nobody reads the terabytes of a file that has none of them on disk.
fn open_listed(path: &Path, listed: &Listed, by: &str) -> Result<std::fs::File, VerifyError> {
    let file = open_regular(path)?;
    let size = file.metadata().map_err(|e| VerifyError::new(path, format!("it cannot be read: {e}")))?.len();
    if size != listed.size {
        return Err(VerifyError::new(path, format!("it has {size} bytes, but {by} says {}", listed.size)));
    }
    Ok(file)
}

/// Compares what was read of a file with what is listed.
fn check_sum(path: &Path, found: &Artifact, listed: &Listed, by: &str) -> Result<(), VerifyError> {
    if found.size == listed.size && found.sha256 == listed.sha256 {
        return Ok(());
    }
    let problem = format!(
        "it has {} bytes with SHA-256 {}, but {by} says {} and {}",
        found.size, found.sha256, listed.size, listed.sha256
    );
    Err(VerifyError::new(path, problem))
}

/// Checks a listed file beside `path` and returns it with all its hashes, as it is on disk.
fn check_file(path: &Path, listed: &Listed) -> Result<Artifact, VerifyError> {
    check_listed(&directory_of(path).join(listed.name.as_str()), listed, &shown_name(path))
}

/// Checks a file that `by` lists, whatever it is called where it lies, and returns it with all its hashes.
pub(crate) fn check_listed(path: &Path, listed: &Listed, by: &str) -> Result<Artifact, VerifyError> {
    let file = open_listed(path, listed, by)?;
    // One byte more than listed shows that it grew.
    let found = hash_open(path, file.take(listed.size.saturating_add(1)), listed.name.clone())?;
    check_sum(path, &found, listed, by)?;
    Ok(found)
}

fn shown_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn file_name_of(path: &Path) -> Result<FileName, VerifyError> {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    name.parse().map_err(|e| VerifyError::new(path, format!("{e}")))
}

pub(crate) fn parse_paragraph(path: &Path, text: &str) -> Result<deb822_fast::Paragraph, VerifyError> {
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
