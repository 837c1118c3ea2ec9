//! What a suite serves as a reader outside sees it: by whatever fetches files, and believing only what is signed.
//!
//! Never reads the archive's own notes.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::compression::Compression;
use super::index::Sum;
use super::release::{IndexPath, Release};
use super::stanza::{Stanza, split};
use crate::control::unpack;
use crate::publisher::Generation;

/// The longest index, unpacked.
const MAX_INDEX_BYTES: u64 = 4 << 30;

/// Fetches a file by its path below the archive; `None` if there is none.
type Fetch<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>, String>;

/// What a suite serves.
#[derive(Debug)]
pub(crate) struct Outside {
    /// The number of its state, if it has one.
    pub(crate) generation: Option<Generation>,
    /// The sums of the files that its indices name, by their paths below the archive.
    pub(crate) files: BTreeMap<String, String>,
    /// The versions of its source packages.
    pub(crate) sources: BTreeMap<String, String>,
}

impl Outside {
    /// Reads what the text of a signed `InRelease` below `directory` leads to.
    ///
    /// # Errors
    /// The text is no `Release`, or an index is missing or not the one that it names: which.
    pub(crate) fn read(text: &str, directory: &str, fetch: Fetch<'_>) -> Result<Self, String> {
        let release = Release::parse(text).ok_or("it is no Release file with SHA-256 sums")?;
        let mut found =
            Self { generation: release.generation, files: BTreeMap::new(), sources: BTreeMap::new() };
        for path in release.indices().iter().filter(|it| it.names_files()) {
            found.add(path, &index(&release, path, directory, fetch)?);
        }
        Ok(found)
    }

    fn add(&mut self, path: &IndexPath, text: &str) {
        for stanza in split(text).filter_map(Stanza::parse) {
            self.files.extend(stanza.files().into_iter().map(|it| (it.path, it.sha256)));
            if !path.is_binary()
                && let Some(version) = stanza.field("Version")
            {
                self.sources.insert(stanza.key.name().to_owned(), version.to_owned());
            }
        }
    }
}

/// Fetches an index in the first of its forms that is there.
fn index(release: &Release, path: &IndexPath, directory: &str, fetch: Fetch<'_>) -> Result<String, String> {
    if release.index(path, "").is_some_and(|it| it.sum.size == 0) {
        return Ok(String::new());
    }
    for ending in Compression::ALL.map(Compression::ending).into_iter().chain([""]) {
        let Some(listed) = release.index(path, ending) else { continue };
        for name in [listed.by_hash(), listed.path.clone()] {
            let Some(bytes) = fetch(&format!("{directory}/{name}"))? else { continue };
            if Sum::of(&bytes) != listed.sum {
                return Err(format!("{directory}/{name} is not the file that InRelease names"));
            }
            let mut text = String::new();
            let read = unpack(ending, bytes.as_slice())
                .and_then(|it| Ok(it.take(MAX_INDEX_BYTES).read_to_string(&mut text)?));
            read.map_err(|e| format!("{directory}/{name} cannot be read: {e}"))?;
            return Ok(text);
        }
    }
    Err(format!("{directory}/{path} is not there, in none of the forms that InRelease names"))
}
