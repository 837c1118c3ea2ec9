//! Real package files made without any tool: the smallest that dpkg and apt accept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::control::{hash_file, hex};
use crate::durable;
use crate::error::BoxError;
use crate::job::Artifact;
use crate::names::{Architecture, CommitId, PackageName, Version};
use sha2::{Digest, Sha256};

/// A binary package to make.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Its name.
    pub package: PackageName,
    /// Its architecture.
    pub architecture: Architecture,
    /// Its one file's content; the file is `usr/share/<package>/content`.
    pub content: String,
}

/// Writes a native source package into `into` and returns the path of its `.dsc`.
///
/// The same arguments give the same bytes.
pub fn write_source(
    into: &Path,
    package: &PackageName,
    version: &Version,
    commit: &CommitId,
) -> Result<PathBuf, BoxError> {
    write_source_with(into, package, version, commit, &BTreeMap::new())
}

/// As [`write_source`], with further texts in the tree, by their paths.
pub(super) fn write_source_with(
    into: &Path,
    package: &PackageName,
    version: &Version,
    commit: &CommitId,
    files: &BTreeMap<String, String>,
) -> Result<PathBuf, BoxError> {
    let stem = format!("{package}_{}", version.without_epoch());
    let tarball_name = format!("{stem}.tar.gz");
    let top = format!("{package}-{}", version.without_epoch());
    let changelog = format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * Made for a test, from {commit}.\n\n -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
    );
    let control = format!(
        "Source: {package}\nMaintainer: Nobody <nobody@example.org>\nSection: misc\nPriority: optional\n\nPackage: {package}\nArchitecture: all\nDescription: made for a test\n"
    );
    let mut tree = vec![
        (format!("{top}/debian/changelog"), changelog.as_str()),
        (format!("{top}/debian/control"), control.as_str()),
    ];
    tree.extend(files.iter().map(|(path, text)| (format!("{top}/{path}"), text.as_str())));
    let tree: Vec<(&str, &str)> = tree.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let tarball = gzip(&tar(&tree)?)?;
    durable::write(&into.join(&tarball_name), &tarball)?;
    let file = hash_file(&into.join(&tarball_name), tarball_name.parse()?)?;
    let mut dsc = format!(
        "Format: 3.0 (native)\nSource: {package}\nBinary: {package}\nArchitecture: all\nVersion: {version}\nMaintainer: Nobody <nobody@example.org>\n"
    );
    write_checksums(&mut dsc, &[file], false)?;
    writeln!(dsc, "Git-Commit: {commit}")?;
    let path = into.join(format!("{stem}.dsc"));
    durable::write(&path, dsc.as_bytes())?;
    Ok(path)
}

/// Writes binary packages and their `.changes` into `into` and returns the path of the `.changes`.
pub fn write_build(
    into: &Path,
    package: &PackageName,
    version: &Version,
    architecture: &Architecture,
    binaries: &[Binary],
) -> Result<PathBuf, BoxError> {
    let mut names = Vec::new();
    for binary in binaries {
        let name = format!("{}_{}_{}.deb", binary.package, version.without_epoch(), binary.architecture);
        durable::write(&into.join(&name), &deb(package, version, binary)?)?;
        names.push(name);
    }
    write_changes(into, package, version, architecture, &names)
}

/// Writes the `.buildinfo` and the `.changes` of binary packages that are in `into`, and returns the path of the
/// `.changes`.
pub fn write_changes(
    into: &Path,
    package: &PackageName,
    version: &Version,
    architecture: &Architecture,
    names: &[String],
) -> Result<PathBuf, BoxError> {
    let mut files = Vec::new();
    for name in names {
        files.push(hash_file(&into.join(name), name.parse()?)?);
    }
    let stem = format!("{package}_{}_{architecture}", version.without_epoch());
    let buildinfo = format!("{stem}.buildinfo");
    let mut facts = format!(
        "Format: 1.0\nSource: {package}\nVersion: {version}\nArchitecture: {architecture}\nBuild-Architecture: {architecture}\n"
    );
    facts.push_str("Checksums-Sha256:\n");
    for file in &files {
        writeln!(facts, " {} {} {}", file.sha256, file.size, file.name)?;
    }
    facts.push_str("Installed-Build-Depends:\n base-files (= 12.4+deb12u5),\n dpkg (= 1.21.22)\n");
    durable::write(&into.join(&buildinfo), facts.as_bytes())?;
    files.push(hash_file(&into.join(&buildinfo), buildinfo.parse()?)?);
    let mut changes = format!(
        "Format: 1.8\nDate: Mon, 23 Nov 2026 08:00:00 +0000\nSource: {package}\nArchitecture: {architecture}\nVersion: {version}\nDistribution: unstable\nMaintainer: Nobody <nobody@example.org>\nDescription: a test\nChanges:\n made for a test\n"
    );
    write_checksums(&mut changes, &files, true)?;
    let path = into.join(format!("{stem}.changes"));
    durable::write(&path, changes.as_bytes())?;
    Ok(path)
}

/// Returns the bytes of a binary package (deb(5)).
fn deb(source: &PackageName, version: &Version, binary: &Binary) -> Result<Vec<u8>, BoxError> {
    let Binary { package, architecture, content } = binary;
    let mut control = format!("Package: {package}\n");
    if package != source {
        writeln!(control, "Source: {source}")?;
    }
    write!(
        control,
        "Version: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@example.org>\nInstalled-Size: 1\nSection: misc\nPriority: optional\nDescription: made for a test\n It holds one file.\n"
    )?;
    let control = gzip(&tar(&[("./control", &control)])?)?;
    let data = gzip(&tar(&[(&format!("./usr/share/{package}/content"), content)])?)?;
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in
        [("debian-binary", b"2.0\n".as_slice()), ("control.tar.gz", &control), ("data.tar.gz", &data)]
    {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        archive.append(&header, bytes)?;
    }
    Ok(archive.into_inner()?)
}

/// Returns a tarball of text files, with the directories that they are in.
fn tar(files: &[(&str, &str)]) -> Result<Vec<u8>, BoxError> {
    const TIME: u64 = 1_795_420_800;
    let mut archive = tar::Builder::new(Vec::new());
    let mut directories = std::collections::BTreeSet::new();
    for (path, content) in files {
        let above = Path::new(path)
            .ancestors()
            .skip(1)
            .filter(|it| !it.as_os_str().is_empty() && *it != Path::new("."));
        let mut above: Vec<_> = above.map(Path::to_owned).collect();
        above.reverse();
        for directory in above {
            if directories.insert(directory.clone()) {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_mtime(TIME);
                header.set_size(0);
                archive.append_data(&mut header, &directory, std::io::empty())?;
            }
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(TIME);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    Ok(archive.into_inner()?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn write_checksums(text: &mut String, files: &[Artifact], is_changes: bool) -> std::fmt::Result {
    let kind = if is_changes { " misc optional" } else { "" };
    for (field, sum) in [
        ("Checksums-Sha1", (|file: &Artifact| &file.sha1) as fn(&Artifact) -> &String),
        ("Checksums-Sha256", |file| &file.sha256),
    ] {
        writeln!(text, "{field}:")?;
        for file in files {
            writeln!(text, " {} {} {}", sum(file), file.size, file.name)?;
        }
    }
    writeln!(text, "Files:")?;
    for file in files {
        writeln!(text, " {} {}{kind} {}", file.md5, file.size, file.name)?;
    }
    Ok(())
}

/// Returns a commit id that is made from a text, for worlds that have no Git.
///
/// # Panics
/// Never: 40 hexadecimal digits are a commit id.
#[must_use]
pub fn commit_id(text: &str) -> CommitId {
    let digits = hex(&Sha256::digest(text.as_bytes()));
    let short: String = digits.chars().take(40).collect();
    short.parse().expect("40 hexadecimal digits are a commit id")
}
