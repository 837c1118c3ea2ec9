//! An archive that something else made, as it lies on disk: what a suite's `Release` vouches for.
//!
//! Never writes, and never reads an index that `Release` does not have the sum of.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component as PathPart, Path, PathBuf};

use super::listing::{Binary, Listing, Source};
use super::{ImportError, Vouched};
use crate::control::unpack;
use crate::names::{FileName, Suite};
use crate::process::Command;
use crate::publisher::archive::index::Sum;
use crate::publisher::archive::release::{IndexPath, Kind, Listed, Release};
use crate::publisher::archive::stanza::split;

/// The forms of an index that are read, the quickest first, by the endings of their names.
const FORMS: &[&str] = &["", ".zst", ".gz", ".xz"];
/// The longest index, unpacked.
const MAX_INDEX_BYTES: u64 = 4 << 30;

/// The directory that a web server serves.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: PathBuf,
    keyring: Option<PathBuf>,
}

impl Tree {
    /// Opens a tree. With a keyring, nothing is believed that none of its keys has signed.
    pub(super) fn open(root: &Path, keyring: Option<&Path>) -> Result<Self, ImportError> {
        let unfit = |problem: String| ImportError::Tree { path: root.to_owned(), problem };
        let absolute = |path: &Path| {
            path.canonicalize().map_err(|e| ImportError::tree(path, format!("it cannot be read: {e}")))
        };
        let found = absolute(root)?;
        if !found.join("dists").is_dir() {
            let is_flat =
                ["Packages", "Packages.gz", "Release", "InRelease"].iter().any(|it| found.join(it).exists());
            return Err(unfit(if is_flat {
                "it is a flat repository, which is not supported yet; publish it with suites first".to_owned()
            } else {
                "it has no dists/; name the directory that the web server serves".to_owned()
            }));
        }
        let keyring = keyring.map(absolute).transpose()?;
        if let Some(keyring) = &keyring {
            check_keyring(keyring)?;
        }
        Ok(Self { root: found, keyring })
    }

    /// Returns the directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns who vouches for what is read.
    pub(super) fn vouched(&self) -> Vouched {
        self.keyring.clone().map_or(Vouched::ByNobody, Vouched::ByKeyring)
    }

    /// Reads all source and binary packages of a suite.
    pub(super) fn read(&self, suite: &Suite) -> Result<Listing, ImportError> {
        let directory = self.root.join("dists").join(suite.as_str());
        let release = self.release(&directory)?;
        let mut listing = Listing::default();
        for path in indices(&directory, &release)? {
            let Some(text) = read_index(&directory, &release, &path)? else { continue };
            let place = directory.join(path.to_string());
            for paragraph in split(&text) {
                let problem = |problem: String| ImportError::tree(&place, problem);
                if path.kind == Kind::Source {
                    let source = Source::parse(paragraph, &path.component, &self.root).map_err(problem)?;
                    listing.sources.push(source);
                } else {
                    listing.binaries.push(Binary::parse(paragraph, &path, &self.root).map_err(problem)?);
                }
            }
        }
        Ok(listing)
    }

    /// Reads the `Release` of a suite, and what vouches for it.
    fn release(&self, directory: &Path) -> Result<Release, ImportError> {
        let [inline, plain, detached] = ["InRelease", "Release", "Release.gpg"].map(|it| directory.join(it));
        let path = if inline.exists() { &inline } else { &plain };
        if !path.exists() {
            let problem = "it has neither InRelease nor Release; name a directory below dists/".to_owned();
            return Err(ImportError::tree(directory, problem));
        }
        let bytes = match &self.keyring {
            // What gpgv prints is what was signed, and not what is around it.
            Some(keyring) if inline.exists() => {
                gpgv(keyring, path, &["--output".as_ref(), "-".as_ref(), inline.as_os_str()])?
            }
            Some(keyring) => {
                gpgv(keyring, path, &[detached.as_os_str(), plain.as_os_str()])?;
                std::fs::read(path).map_err(|e| ImportError::unreadable(path, &e))?
            }
            None => std::fs::read(path).map_err(|e| ImportError::unreadable(path, &e))?,
        };
        let parsed = String::from_utf8(bytes).ok().and_then(|it| Release::parse(&it));
        parsed.ok_or_else(|| ImportError::tree(path, "it is no Release file with SHA-256 sums".to_owned()))
    }
}

fn gpgv(keyring: &Path, signed: &Path, arguments: &[&std::ffi::OsStr]) -> Result<Vec<u8>, ImportError> {
    let command = Command::new("gpgv").arg("--keyring").arg(keyring).args(arguments);
    command.run().map_err(|source| ImportError::Signature {
        path: signed.to_owned(),
        keyring: keyring.to_owned(),
        source,
    })
}

/// Refuses a keyring that gpgv cannot read, in words that help.
fn check_keyring(path: &Path) -> Result<(), ImportError> {
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|it| it.take(32).read_to_end(&mut begin));
    read.map_err(|e| ImportError::unreadable(path, &e))?;
    if begin.starts_with(b"-----BEGIN PGP") {
        let problem = "it is an ASCII-armored key; `gpg --dearmor` makes a keyring of it".to_owned();
        return Err(ImportError::tree(path, problem));
    }
    Ok(())
}

/// Returns the indices of packages that a `Release` lists, each once.
fn indices(directory: &Path, release: &Release) -> Result<Vec<IndexPath>, ImportError> {
    let mut found = Vec::new();
    for listed in &release.files {
        let stem = FORMS.iter().chain(&[".bz2", ".lzma"]).filter(|it| !it.is_empty());
        let stem = stem.fold(listed.path.as_str(), |path, ending| path.strip_suffix(ending).unwrap_or(path));
        let name = stem.rsplit('/').next().unwrap_or_default();
        if name != "Packages" && name != "Sources" {
            continue;
        }
        let path = IndexPath::parse(stem).ok_or_else(|| {
            let problem = format!(
                "its Release lists {stem}; only COMPONENT/source/Sources, COMPONENT/binary-*/Packages and \
                 COMPONENT/debian-installer/binary-*/Packages are supported yet"
            );
            ImportError::tree(directory, problem)
        })?;
        if !found.contains(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(ImportError::tree(directory, "its Release lists no index of packages".to_owned()));
    }
    found.sort();
    Ok(found)
}

/// Reads an index in the first of its forms that is there; `None` if it is empty.
fn read_index(directory: &Path, release: &Release, path: &IndexPath) -> Result<Option<String>, ImportError> {
    if release.index(path, "").is_some_and(|it| it.sum.size == 0) {
        return Ok(None);
    }
    for ending in FORMS {
        let Some(listed) = release.index(path, ending) else { continue };
        let Some(file) = find(directory, listed) else { continue };
        let bytes = std::fs::read(&file).map_err(|e| ImportError::unreadable(&file, &e))?;
        if Sum::of(&bytes) != listed.sum {
            let problem =
                "it is not the file that Release names; import a tree that nothing changes".to_owned();
            return Err(ImportError::tree(&file, problem));
        }
        let text = text_of(ending, &bytes).map_err(|e| ImportError::unreadable(&file, &e))?;
        return Ok(Some(text));
    }
    let problem = "it is there neither plain nor as .zst, .gz or .xz (.bz2 and .lzma are not supported yet); write one \
                   of these too, or take it out of Release"
        .to_owned();
    Err(ImportError::tree(&directory.join(path.to_string()), problem))
}

/// Returns where a file is that `Release` lists: under its hash, or else under its name.
fn find(directory: &Path, listed: &Listed) -> Option<PathBuf> {
    [listed.by_hash(), listed.path.clone()].iter().map(|it| directory.join(it)).find(|it| it.is_file())
}

fn text_of(ending: &str, bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    let mut reader = unpack(ending, bytes).map_err(io::Error::other)?.take(MAX_INDEX_BYTES);
    reader.read_to_string(&mut text)?;
    if text.len() as u64 == MAX_INDEX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_INDEX_BYTES} bytes")));
    }
    Ok(text)
}

/// Returns a path below the tree that an index names.
///
/// # Errors
/// It leads out of the tree.
pub(super) fn below(root: &Path, path: &str) -> Result<PathBuf, String> {
    let is_inside = |it: PathPart<'_>| matches!(it, PathPart::Normal(_) | PathPart::CurDir);
    if path.is_empty() || !Path::new(path).components().all(is_inside) {
        return Err(format!("it names the file {path:?}, which is not below the tree"));
    }
    Ok(root.join(path))
}

/// Parses the name of a file.
pub(super) fn file_name(name: &str) -> Result<FileName, String> {
    name.parse().map_err(|e| format!("{e}"))
}
