//! Which of the packages of another archive's suite become ours: one version of each source package, with the
//! binary packages that were built from it.
//!
//! Pure: decides over what was read, and says of everything else why it is left behind.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::listing::{Binary, Listing, Source};
use crate::names::{Architecture, PackageName, Version};

/// What is made of a suite.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// In the order of the sources' names.
    pub(super) packages: Vec<Chosen>,
    pub(super) left: Vec<LeftBehind>,
    /// Why the suite cannot be imported at all.
    pub(super) problems: Vec<String>,
}

/// A source package, and the binary packages that were built from it.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) source: Source,
    pub(super) binaries: Vec<Binary>,
}

/// A package of the other archive that is not imported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftBehind {
    /// The source or binary package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The architecture of a binary package; `source` for a source package.
    pub architecture: Architecture,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Why a package is not imported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// The suite has this greater version of it.
    Older {
        /// The version that is taken.
        taken: Version,
    },
    /// It was built from another version of its source package than the one that is taken.
    OfOtherSource {
        /// Its source package.
        source: PackageName,
        /// The version of that which is taken.
        taken: Version,
    },
    /// The suite does not have the source package that it was built from.
    Sourceless {
        /// That source package.
        source: PackageName,
        /// Its version.
        source_version: Version,
    },
    /// The pocket serves this greater version, which Git knows.
    Superseded {
        /// The version that is served.
        served: Version,
    },
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, version, architecture, reason } = self;
        write!(f, "{package} {version} ({architecture}): ")?;
        match reason {
            Reason::Older { taken } => write!(f, "the suite has {taken} too"),
            Reason::OfOtherSource { source, taken } => {
                write!(f, "it is not of {source} {taken}, which is taken")
            }
            Reason::Sourceless { source, source_version } => {
                write!(f, "the suite does not have its source package {source} {source_version}")
            }
            Reason::Superseded { served } => write!(f, "the pocket serves {served}, which Git knows"),
        }
    }
}

/// Chooses the greatest version of each source package, and what was built from it.
pub(super) fn choose(listing: Listing) -> Choice {
    let mut choice = Choice::default();
    let mut chosen = choose_sources(listing.sources, &mut choice);
    let mut binaries: BTreeMap<(PackageName, Architecture), Vec<Binary>> = BTreeMap::new();
    for binary in listing.binaries {
        let same_name = binaries.entry((binary.package.clone(), binary.architecture.clone())).or_default();
        let twin = same_name.iter().find(|it| it.version.as_str() == binary.version.as_str());
        match twin {
            // What is for all architectures is listed under each of them.
            Some(twin) if twin.file.sha256 == binary.file.sha256 => (),
            Some(twin) => choice.problems.push(format!(
                "it has two packages {} {} for {} with different bytes: {} and {}",
                binary.package,
                binary.version,
                binary.architecture,
                twin.file.path.display(),
                binary.file.path.display()
            )),
            None => same_name.push(binary),
        }
    }
    let mut taken: Vec<Binary> = Vec::new();
    for ((_, _), mut versions) in binaries {
        // A version is its spelling too where dpkg sees no difference, so that the choice is always the same.
        versions.sort_by(|a, b| (&b.version, b.version.as_str()).cmp(&(&a.version, a.version.as_str())));
        let mut greatest: Option<Version> = None;
        for binary in versions {
            let reason = match (chosen.get(&binary.source), &greatest) {
                (Some(it), _) if it.source.version > binary.source_version => Some(Reason::OfOtherSource {
                    source: binary.source.clone(),
                    taken: it.source.version.clone(),
                }),
                (Some(it), None) if it.source.version == binary.source_version => None,
                (Some(it), Some(taken)) if it.source.version == binary.source_version => {
                    Some(Reason::Older { taken: taken.clone() })
                }
                _ => Some(Reason::Sourceless {
                    source: binary.source.clone(),
                    source_version: binary.source_version.clone(),
                }),
            };
            if let Some(reason) = reason {
                choice.left.push(left(&binary, reason));
            } else {
                greatest = Some(binary.version.clone());
                taken.push(binary);
            }
        }
    }
    for binary in one_owner(taken, &mut choice.left) {
        if let Some(it) = chosen.get_mut(&binary.source) {
            it.binaries.push(binary);
        }
    }
    choice.packages = chosen.into_values().collect();
    choice.left.sort();
    choice
}

fn choose_sources(sources: Vec<Source>, choice: &mut Choice) -> BTreeMap<PackageName, Chosen> {
    let mut chosen: BTreeMap<PackageName, Chosen> = BTreeMap::new();
    for source in sources {
        let Some(other) = chosen.get_mut(&source.package) else {
            chosen.insert(source.package.clone(), Chosen { source, binaries: Vec::new() });
            continue;
        };
        if other.source.version.as_str() == source.version.as_str() {
            let sums = |it: &Source| it.files.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>();
            if sums(&other.source) != sums(&source) {
                choice.problems.push(format!(
                    "it has two source packages {} {} with different bytes",
                    source.package, source.version
                ));
            }
            continue;
        }
        let rank = |it: &Source| (it.version.clone(), it.version.as_str().to_owned());
        let older = if rank(&source) > rank(&other.source) {
            std::mem::replace(&mut other.source, source)
        } else {
            source
        };
        let taken = other.source.version.clone();
        choice.left.push(LeftBehind {
            package: older.package,
            version: older.version,
            architecture: source_architecture(),
            reason: Reason::Older { taken },
        });
    }
    // What was left behind for a version that was itself left behind later names the one that is taken.
    for it in &mut choice.left {
        if let (Reason::Older { taken }, Some(chosen)) = (&mut it.reason, chosen.get(&it.package)) {
            taken.clone_from(&chosen.source.version);
        }
    }
    chosen
}

/// Leaves each binary package to one source package: that of the greatest version.
fn one_owner(binaries: Vec<Binary>, left_behind: &mut Vec<LeftBehind>) -> Vec<Binary> {
    let mut owners: BTreeMap<PackageName, (Version, PackageName)> = BTreeMap::new();
    for binary in &binaries {
        let rank = (binary.version.clone(), binary.source.clone());
        let owner = owners.entry(binary.package.clone()).or_insert_with(|| rank.clone());
        if rank > *owner {
            *owner = rank;
        }
    }
    let (kept, others): (Vec<_>, Vec<_>) =
        binaries.into_iter().partition(|it| owners.get(&it.package).is_none_or(|owner| owner.1 == it.source));
    for binary in others {
        if let Some((version, _)) = owners.get(&binary.package) {
            left_behind.push(left(&binary, Reason::Older { taken: version.clone() }));
        }
    }
    kept
}

fn left(binary: &Binary, reason: Reason) -> LeftBehind {
    LeftBehind {
        package: binary.package.clone(),
        version: binary.version.clone(),
        architecture: binary.architecture.clone(),
        reason,
    }
}

/// Returns the word for source packages in the place of an architecture, as in `.changes` files.
pub(super) fn source_architecture() -> Architecture {
    "source".parse().expect("it is a word in lower case")
}

#[cfg(test)]
mod tests;
