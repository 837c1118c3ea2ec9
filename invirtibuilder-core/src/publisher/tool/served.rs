//! What the directory of one suite serves, read as a client reads it, whoever wrote it.
//!
//! Never believes an index whose sum `InRelease` does not name, and never asks a program for its own records.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::control::hex;
use crate::names::{Architecture, PackageName, Suite};
use crate::policy::Held;
use crate::publisher::{Owners, ServedFile};

/// Why what is served could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServedError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Also what a reader meets while a program that has no by-hash renames its files.
    #[error("{} {problem}", path.display())]
    Torn { path: PathBuf, problem: String },
}

impl ServedError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    fn torn(path: &Path, problem: impl Into<String>) -> Self {
        Self::Torn { path: path.to_owned(), problem: problem.into() }
    }
}

/// An index file that `InRelease` names.
#[derive(Clone, Debug)]
struct Listed {
    path: String,
    sha256: String,
    size: u64,
}

/// One paragraph of an index.
#[derive(Clone, Debug)]
pub(super) struct Paragraph(String);

/// A file that a paragraph names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolFile {
    /// Its path below the suite's directory.
    pub(super) path: String,
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl PoolFile {
    /// Returns the last component of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Paragraph {
    /// Returns the first line of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.lines_of(name).next().filter(|it| !it.is_empty())
    }

    /// Returns the lines of a field, the first of which is what follows its name.
    fn lines_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let is_named =
            |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        let mut lines = self.0.lines();
        let first = lines.find(is_named).and_then(|it| it.split_once(':')).map(|it| it.1.trim());
        let rest = lines.take_while(|it| it.starts_with([' ', '\t'])).map(str::trim);
        first.into_iter().chain(rest)
    }

    /// Returns the source package that a binary package is of.
    pub(super) fn source(&self) -> &str {
        let source = self.field("Source").and_then(|it| it.split_whitespace().next());
        source.or_else(|| self.field("Package")).unwrap_or_default()
    }

    fn held(&self) -> Option<Held> {
        Some(Held {
            package: self.field("Package")?.parse().ok()?,
            version: self.field("Version")?.parse().ok()?,
            commit: self.field("Git-Commit").and_then(|it| it.parse().ok()),
        })
    }

    /// Returns the files of a paragraph, of either index; `None` if it is malformed or names a file elsewhere.
    fn files(&self) -> Option<Vec<PoolFile>> {
        let is_below =
            |it: &PoolFile| Path::new(&it.path).components().all(|c| matches!(c, Component::Normal(_)));
        let files = if let Some(path) = self.field("Filename") {
            let (sha256, size) = (self.field("SHA256")?.to_owned(), self.field("Size")?.parse().ok()?);
            vec![PoolFile { path: path.to_owned(), sha256, size }]
        } else {
            let directory = self.field("Directory")?;
            let file = |line: &str| {
                let mut words = line.split_whitespace();
                let (sha256, size, name) =
                    (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?);
                Some(PoolFile { path: format!("{directory}/{name}"), sha256, size })
            };
            let lines = self.lines_of("Checksums-Sha256").filter(|it| !it.is_empty());
            lines.map(file).collect::<Option<Vec<_>>>()?
        };
        files.iter().all(is_below).then_some(files)
    }
}

/// What one suite serves: the indices that its `InRelease` names.
#[derive(Debug)]
pub(super) struct Served {
    directory: PathBuf,
    suite: Suite,
    in_release: ServedFile,
    listed: Vec<Listed>,
}

impl Served {
    /// Reads the `InRelease` of a suite; `None` if there is none.
    pub(super) fn open(directory: &Path, suite: &Suite) -> Result<Option<Self>, ServedError> {
        let path = directory.join("dists").join(suite.as_str()).join("InRelease");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(ServedError::read(&path))?,
        };
        let listed =
            parse_release(&text).ok_or_else(|| ServedError::torn(&path, "is not a signed Release file"))?;
        let in_release = ServedFile { path, sha256: hex(&Sha256::digest(text.as_bytes())) };
        Ok(Some(Self { directory: directory.to_owned(), suite: suite.clone(), in_release, listed }))
    }

    /// Returns the `InRelease` that was read.
    pub(super) fn in_release(&self) -> &ServedFile {
        &self.in_release
    }

    /// Reads all source packages, in order of their names.
    pub(super) fn contents(&self) -> Result<Vec<Held>, ServedError> {
        let path = self.directory.join("dists").join(self.suite.as_str());
        let held = |it: &Paragraph| {
            it.held()
                .ok_or_else(|| ServedError::torn(&path, "serves a malformed paragraph of a source package"))
        };
        let mut contents = self.sources()?.iter().map(held).collect::<Result<Vec<_>, _>>()?;
        contents.sort_by(|a, b| a.package.cmp(&b.package));
        Ok(contents)
    }

    /// Reads what is served of a source package.
    pub(super) fn held(&self, package: &PackageName) -> Result<Option<Held>, ServedError> {
        Ok(self.contents()?.into_iter().find(|it| it.package == *package))
    }

    /// Reads the sources that these binary packages are served from.
    pub(super) fn owners(&self, binaries: &BTreeSet<PackageName>) -> Result<Owners, ServedError> {
        let mut owners = Owners::new();
        for paragraph in self.binaries()? {
            let name =
                paragraph.field("Package").and_then(|it| binaries.iter().find(|name| name.as_str() == it));
            if let (Some(name), Ok(source)) = (name, paragraph.source().parse()) {
                owners.entry(name.clone()).or_default().insert(source);
            }
        }
        Ok(owners)
    }

    /// Reads the files of a source package, and of its binary packages whose architecture is wanted, each once.
    pub(super) fn files_of(
        &self,
        package: &PackageName,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<PoolFile>, ServedError> {
        let is_wanted = |it: &Paragraph| {
            it.source() == package.as_str() && it.field("Architecture").is_none_or(&is_wanted)
        };
        let sources = self.sources()?.into_iter().filter(|it| it.field("Package") == Some(package.as_str()));
        self.files(sources.chain(self.binaries()?.into_iter().filter(is_wanted)))
    }

    /// Reads every file that is served.
    pub(super) fn all_files(&self) -> Result<BTreeSet<PoolFile>, ServedError> {
        self.files(self.sources()?.into_iter().chain(self.binaries()?))
    }

    fn files(&self, paragraphs: impl Iterator<Item = Paragraph>) -> Result<BTreeSet<PoolFile>, ServedError> {
        let mut files = BTreeSet::new();
        for paragraph in paragraphs {
            let found = paragraph.files().ok_or_else(|| {
                let name = paragraph.field("Package").unwrap_or_default();
                ServedError::torn(&self.directory, format!("serves a malformed paragraph of {name}"))
            });
            files.extend(found?);
        }
        Ok(files)
    }

    /// Reads the paragraphs of all source packages.
    fn sources(&self) -> Result<Vec<Paragraph>, ServedError> {
        self.paragraphs(|path| path.ends_with("/source/Sources"))
    }

    /// Reads the paragraphs of all binary packages of every architecture.
    pub(super) fn binaries(&self) -> Result<Vec<Paragraph>, ServedError> {
        self.paragraphs(|path| path.contains("/binary-") && path.ends_with("/Packages"))
    }

    /// Reads the paragraphs of the binary packages for an architecture, as they are.
    pub(super) fn texts(&self, architecture: &Architecture) -> Result<Vec<String>, ServedError> {
        let ending = format!("/binary-{architecture}/Packages");
        let found =
            self.paragraphs(|path| path.ends_with(&ending) && !path.contains("/debian-installer/"))?;
        Ok(found.into_iter().map(|it| it.0).collect())
    }

    fn paragraphs(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Paragraph>, ServedError> {
        let mut paragraphs = Vec::new();
        for listed in self.listed.iter().filter(|it| is_wanted(&it.path)) {
            let bytes = self.read(listed)?;
            let text = String::from_utf8_lossy(&bytes);
            let split = text.split("\n\n").map(|it| it.trim_matches('\n')).filter(|it| !it.is_empty());
            paragraphs.extend(split.map(|it| Paragraph(it.to_owned())));
        }
        Ok(paragraphs)
    }

    /// Reads an index by its hash, or else by its name, from its uncompressed file, or else from its `.gz`.
    fn read(&self, listed: &Listed) -> Result<Vec<u8>, ServedError> {
        let dists = self.directory.join("dists").join(self.suite.as_str());
        let path = dists.join(&listed.path);
        let by_hash = path.parent().unwrap_or(&dists).join("by-hash/SHA256").join(&listed.sha256);
        for candidate in [&by_hash, &path] {
            if let Some(bytes) = read_if_there(candidate)? {
                return self.checked(listed, candidate, bytes);
            }
        }
        let gz = path.with_extension("gz");
        let packed = read_if_there(&gz)?;
        let packed = packed.ok_or_else(|| ServedError::torn(&path, "is named by InRelease and missing"))?;
        let mut bytes = Vec::new();
        let unpacked = flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut bytes);
        unpacked.map_err(|_| ServedError::torn(&gz, "is not what InRelease names"))?;
        self.checked(listed, &gz, bytes)
    }

    fn checked(&self, listed: &Listed, path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, ServedError> {
        if bytes.len() as u64 == listed.size && hex(&Sha256::digest(&bytes)) == listed.sha256 {
            return Ok(bytes);
        }
        let problem = format!("does not have the SHA-256 sum that InRelease of {} names", self.suite);
        Err(ServedError::torn(path, problem))
    }

    /// Checks that each of these files is there with its size, and with its sum.
    pub(super) fn check_files<'a>(
        &self,
        files: impl IntoIterator<Item = &'a PoolFile>,
    ) -> Result<(), ServedError> {
        for file in files {
            let path = self.directory.join(&file.path);
            let found = sum_of(&path).map_err(ServedError::read(&path))?;
            if found != (file.sha256.clone(), file.size) {
                return Err(ServedError::torn(&path, "is not the file that the index names"));
            }
        }
        Ok(())
    }

    /// Checks that each of these files is there with its size.
    pub(super) fn check_sizes(&self, files: &BTreeSet<PoolFile>) -> Result<(), ServedError> {
        for file in files {
            let path = self.directory.join(&file.path);
            let found = path.metadata().map_err(ServedError::read(&path))?.len();
            if found != file.size {
                return Err(ServedError::torn(&path, format!("has {found} bytes, not {}", file.size)));
            }
        }
        Ok(())
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ServedError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(ServedError::read(path)),
    }
}

/// Returns the SHA-256 sum and the size of a file.
pub(super) fn sum_of(path: &Path) -> io::Result<(String, u64)> {
    transfer(&mut File::open(path)?, &mut io::sink())
}

/// Copies all bytes and returns their SHA-256 sum and count.
pub(super) fn transfer(from: &mut File, to: &mut dyn Write) -> io::Result<(String, u64)> {
    const CHUNK: usize = 256 << 10;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((hex(&hash.finalize()), size)),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        hash.update(chunk);
        to.write_all(chunk)?;
        size += count as u64;
    }
}

/// Reads the list of a signed `InRelease`; `None` if it is something else.
fn parse_release(text: &str) -> Option<Vec<Listed>> {
    let signed = text.split_once("-----BEGIN PGP SIGNED MESSAGE-----\n")?.1.split_once("\n\n")?.1;
    let release = signed.split_once("-----BEGIN PGP SIGNATURE-----")?.0;
    let lines = release.lines().skip_while(|it| it.trim_end() != "SHA256:").skip(1);
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (sha256, size, path) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?);
        let is_below = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        is_below.then(|| Listed { path: path.to_owned(), sha256, size })
    };
    lines.take_while(|it| it.starts_with(' ')).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(list: &str) -> String {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: stable\nSHA256:\n{list}-----BEGIN PGP SIGNATURE-----\n"
        )
    }

    #[test]
    fn a_release_without_a_signature_is_not_served() {
        assert!(parse_release("Suite: stable\nSHA256:\n ab 3 main/source/Sources\n").is_none());
        assert_eq!(parse_release(&release(" ab       3 main/source/Sources\n")).unwrap().len(), 1);
    }

    #[test]
    fn an_index_never_leads_out_of_the_archive() {
        assert!(parse_release(&release(" ab 3 ../../etc/passwd\n")).is_none());
        let of = |path: &str| Paragraph(format!("Package: a\nFilename: {path}\nSize: 1\nSHA256: ab")).files();
        assert!(of("../a.deb").is_none());
        assert_eq!(of("pool/a.deb").unwrap()[0].name(), "a.deb");
    }

    #[test]
    fn the_files_of_a_source_package_follow_its_directory() {
        let text = "Package: a\nDirectory: pool/main/a/a\nFiles:\n x 1 a.dsc\nChecksums-Sha256: \n ab 3 a.dsc\n cd 4 a.tar.xz\nGit-Commit: x";
        let files = Paragraph(text.to_owned()).files().unwrap();
        assert_eq!(files.iter().map(PoolFile::name).collect::<Vec<_>>(), ["a.dsc", "a.tar.xz"]);
        assert_eq!(files[1].path, "pool/main/a/a/a.tar.xz");
    }
}
