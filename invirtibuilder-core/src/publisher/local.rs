//! What suites serve, read on the machine that they are served from: one state of each, whatever is published meanwhile.
//!
//! Whoever publishes them, their `InRelease` names every index by its sum. Verifies no signature: apt does, with the
//! keys that [`LocalSource::public_key`] returns. Never writes to the archive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::archive::{Listed, Release, Sum};
use crate::control::hex;
use crate::durable::{DurableError, scratch};
use crate::names::{Architecture, Component, PocketName, Suite};
use crate::signer::{SignError, Signer};

/// A suite on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSuite {
    /// The directory below which clients find its `dists` and `pool`.
    pub directory: PathBuf,
    /// Its name.
    pub suite: Suite,
    /// Its components that packages are built against.
    pub components: Vec<Component>,
}

/// The suites of a site, and who signs them.
#[derive(Clone, Debug)]
pub struct LocalSource {
    /// The suite of each pocket.
    pub suites: BTreeMap<PocketName, LocalSuite>,
    /// Who signs them all.
    pub signer: Arc<dyn Signer>,
}

/// Why what suites serve cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A pocket has no suite here.
    #[error("there is no pocket {0}")]
    Unknown(PocketName),
    /// Nothing is served yet.
    #[error("the suite {suite} is not served yet: there is no {}; `invirtibuilder work` makes it", path.display())]
    NotServed {
        /// The suite.
        suite: Suite,
        /// What is missing.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{} {problem}; compare the archive with a backup, and see who can write to it", path.display())]
    Spoilt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A copy cannot be written.
    #[error("cannot copy what the archive serves")]
    Durable(#[from] DurableError),
    /// The keys cannot be had.
    #[error("cannot have the archive's public keys")]
    Sign(#[from] SignError),
}

/// What some suites served at about one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    suites: Vec<(LocalSuite, Vec<u8>)>,
}

/// How often a suite is read that changes while it is read, which only those without by-hash do.
const TRIES: u32 = 40;
const TICK: Duration = Duration::from_millis(50);

impl LocalSource {
    /// Reads what the suites of these pockets serve now. Only their `InRelease` is read.
    ///
    /// # Errors
    /// One of them is not served, or cannot be read.
    pub fn now(&self, pockets: &[PocketName]) -> Result<Moment, LocalError> {
        let mut suites = Vec::new();
        for pocket in pockets {
            let suite = self.suites.get(pocket).ok_or_else(|| LocalError::Unknown(pocket.clone()))?;
            suites.push((suite.clone(), read_release(suite)?));
        }
        Ok(Moment { suites })
    }

    /// Returns the public keys that sign the suites, ASCII-armored, from whoever signs and not from the archive.
    ///
    /// # Errors
    /// They cannot be had.
    pub fn public_key(&self) -> Result<String, LocalError> {
        Ok(self.signer.public_key()?)
    }
}

impl Moment {
    /// Returns a text that is another one for everything else that suites may serve.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for (suite, release) in &self.suites {
            add(suite.directory.as_os_str().as_encoded_bytes());
            add(suite.suite.as_str().as_bytes());
            for component in &suite.components {
                add(component.as_str().as_bytes());
            }
            add(release);
        }
        hex(&hash.finalize())
    }

    /// Copies the indices of binary packages for an architecture into a directory, in which apt finds suites by
    /// [`Moment::sources`]. Returns what was copied, which is another moment where a suite without by-hash changed.
    ///
    /// # Errors
    /// A file is missing, is not what `InRelease` says, or cannot be copied.
    pub fn copy(&self, architecture: &Architecture, into: &Path) -> Result<Self, LocalError> {
        let mut suites = Vec::new();
        for (at, (suite, release)) in self.suites.iter().enumerate() {
            let mut release = release.clone();
            let mut tries = 0;
            let indices = loop {
                match read_indices(suite, &release, architecture) {
                    Err(LocalError::Spoilt { .. }) if tries < TRIES && read_release(suite)? != release => {
                        release = read_release(suite)?;
                    }
                    // It is renamed last, so that the indices may be ahead of it.
                    Err(LocalError::Spoilt { .. }) if tries < TRIES => std::thread::sleep(TICK),
                    other => break other?,
                }
                tries += 1;
            };
            let dists = into.join(at.to_string()).join("dists").join(suite.suite.as_str());
            make_directories(into, &dists)?;
            scratch::write_new(&dists.join("InRelease"), &release, 0o644)?;
            for (path, bytes) in indices {
                let path = dists.join(path);
                make_directories(into, path.parent().unwrap_or(&dists))?;
                scratch::write_new(&path, &bytes, 0o644)?;
            }
            suites.push((suite.clone(), release));
        }
        Ok(Self { suites })
    }

    /// Returns the text of a `.sources` file with which apt reads what was copied to a directory, and believes it only
    /// if a key of a file signed it (sources.list(5)).
    #[must_use]
    pub fn sources(&self, copied: &Path, keys: &Path, architecture: &Architecture) -> String {
        let mut text = String::new();
        for (at, (suite, _)) in self.suites.iter().enumerate() {
            let components = suite.components.iter().map(Component::as_str).collect::<Vec<_>>().join(" ");
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "Types: deb\nURIs: copy:{}/{at}\nSuites: {}\nComponents: {components}\nArchitectures: {architecture}\nSigned-By: {}\n\
                 By-Hash: no\nPDiffs: no\nTargets: Packages\nCheck-Valid-Until: no\n",
                copied.display(),
                suite.suite,
                keys.display(),
            );
        }
        text
    }

    /// Returns where the archive has a file that apt found in what was copied to a directory; `None` if that is no
    /// such file.
    #[must_use]
    pub fn original(&self, copied: &Path, file: &Path) -> Option<PathBuf> {
        let rest = file.strip_prefix(copied).ok()?;
        let is_plain = |it: std::path::Component<'_>| matches!(it, std::path::Component::Normal(_));
        let mut parts = rest.components();
        let at: usize = parts.next()?.as_os_str().to_str()?.parse().ok()?;
        let below = parts.as_path();
        let (suite, _) = self.suites.get(at)?;
        below.components().all(is_plain).then(|| suite.directory.join(below))
    }
}

fn dists(suite: &LocalSuite) -> PathBuf {
    suite.directory.join("dists").join(suite.suite.as_str())
}

fn read_release(suite: &LocalSuite) -> Result<Vec<u8>, LocalError> {
    let path = dists(suite).join("InRelease");
    std::fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LocalError::NotServed { suite: suite.suite.clone(), path },
        _ => LocalError::Unreadable { path, source },
    })
}

/// Reads the indices in all forms that are there: by their hashes, so that they are of one state.
fn read_indices(
    suite: &LocalSuite,
    release: &[u8],
    architecture: &Architecture,
) -> Result<Vec<(String, Vec<u8>)>, LocalError> {
    const COMPRESSED: [&str; 4] = [".gz", ".xz", ".zst", ".bz2"];
    let dists = dists(suite);
    let spoilt = |path: &Path, problem: &str| LocalError::Spoilt {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let parsed = std::str::from_utf8(release).ok().and_then(Release::parse);
    let parsed =
        parsed.ok_or_else(|| spoilt(&dists.join("InRelease"), "is no list of files with SHA-256 sums"))?;
    let mut found = Vec::new();
    for component in &suite.components {
        let index = format!("{component}/binary-{architecture}/Packages");
        let forms = COMPRESSED.map(|ending| format!("{index}{ending}"));
        let (plain, compressed): (Vec<&Listed>, Vec<&Listed>) = {
            let listed = parsed.files.iter().filter(|it| it.path == index || forms.contains(&it.path));
            listed.partition(|it| it.path == index)
        };
        let before = found.len();
        for it in compressed.iter().chain(&plain) {
            // The text itself is as long as all others together, and need not be there.
            if (it.path != index || found.len() == before)
                && let Some(bytes) = read_form(&dists, it)?
            {
                found.push((it.path.clone(), bytes));
            }
        }
        if found.len() == before && !(plain.is_empty() && compressed.is_empty()) {
            return Err(spoilt(&dists.join(index), "is listed in InRelease and not there"));
        }
    }
    Ok(found)
}

/// Reads a file that `Release` lists; `None` if it is not there, as not all forms need to be.
fn read_form(dists: &Path, listed: &Listed) -> Result<Option<Vec<u8>>, LocalError> {
    for path in [listed.by_hash(), listed.path.clone()].map(|it| dists.join(it)) {
        match std::fs::read(&path) {
            Ok(bytes) if Sum::of(&bytes) == listed.sum => return Ok(Some(bytes)),
            Ok(_) => {
                let problem = "is not the file that InRelease names".to_owned();
                return Err(LocalError::Spoilt { path, problem });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => (),
            Err(source) => return Err(LocalError::Unreadable { path, source }),
        }
    }
    Ok(None)
}

/// Makes a directory and those between it and another, readable by everybody.
fn make_directories(from: &Path, to: &Path) -> Result<(), LocalError> {
    let mut missing: Vec<&Path> = to.ancestors().take_while(|it| *it != from && !it.is_dir()).collect();
    missing.reverse();
    for directory in missing {
        scratch::create_directory(directory, 0o755)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
