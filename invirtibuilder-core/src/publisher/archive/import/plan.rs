//! What would become of one suite of another archive in one of ours, and what stands against it.
//!
//! Decides over what was read; asks Git, and never reads or writes a file.

use std::collections::{BTreeMap, BTreeSet};

use super::choice::{Choice, Chosen, LeftBehind, Reason, source_architecture};
use super::files::Checked;
use super::listing::Source;
use super::{Added, GitFacts, ImportError, Imported, Leftovers, Sourceless};
use crate::names::{Architecture, CommitId, Component, PackageName, Suite};
use crate::policy::{Held, PocketSpec};
use crate::publisher::archive::SuiteSpec;
use crate::publisher::archive::entries::Entries;
use crate::publisher::archive::generations::{self, Cause, Changed};
use crate::publisher::archive::release::Kind;
use crate::publisher::archive::stanza::Stanza;
use crate::publisher::archive::switch::Current;

/// The SHA-256 sums of files, by their names.
type Sums = BTreeMap<String, String>;

/// What a suite of ours serves.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    sources: BTreeMap<String, (Held, Sums)>,
    /// The source packages that binary packages are of.
    owners: BTreeMap<String, BTreeSet<String>>,
}

impl Served {
    /// Reads it from the suite's indices.
    pub(super) fn of(entries: &Entries) -> Self {
        let mut served = Self::default();
        for (_, stanzas) in entries.iter().filter(|it| it.0.kind == Kind::Source) {
            for held in stanzas.iter().filter_map(Stanza::held) {
                served.sources.insert(held.package.to_string(), (held, Sums::new()));
            }
        }
        for (path, stanzas) in entries.iter().filter(|it| it.0.names_files()) {
            for stanza in stanzas {
                let source = stanza.key.source();
                if path.is_binary() {
                    let owners = served.owners.entry(stanza.key.name().to_owned()).or_default();
                    owners.insert(source.to_owned());
                }
                if let Some((_, sums)) = served.sources.get_mut(source) {
                    sums.extend(stanza.files().into_iter().map(|it| (it.name().to_owned(), it.sha256)));
                }
            }
        }
        served
    }
}

/// The versions that mean one set of bytes for good, in suites that do not allow backtracking.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved(BTreeMap<(String, String), Vec<(Suite, Sums)>>);

impl Reserved {
    /// Adds what a suite serves.
    pub(super) fn add_served(&mut self, suite: &Suite, served: &Served) {
        for (held, sums) in served.sources.values() {
            let key = (held.package.to_string(), held.version.to_string());
            self.0.entry(key).or_default().push((suite.clone(), sums.clone()));
        }
    }
}

/// A source package that comes, and the commit that it was made from, if Git knows that.
#[derive(Debug)]
pub(super) struct New {
    pub(super) chosen: Chosen,
    pub(super) commit: Option<CommitId>,
}

/// What would become of a suite.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    from: Suite,
    pocket: PocketSpec,
    pub(super) suite: &'a SuiteSpec,
    pub(super) current: Current<'a>,
    /// What the suite of ours serves now.
    pub(super) existing: Entries,
    served: Served,
    pub(super) new: Vec<New>,
    unchanged: usize,
    left: Vec<LeftBehind>,
    pub(super) problems: Vec<String>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(from: &Suite, pocket: &PocketSpec, current: Current<'a>, existing: Entries) -> Self {
        Self {
            from: from.clone(),
            pocket: pocket.clone(),
            suite: current.suite,
            served: Served::of(&existing),
            current,
            existing,
            new: Vec::new(),
            unchanged: 0,
            left: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Decides what becomes of each package that was chosen.
    pub(super) fn take(&mut self, choice: Choice, git: &dyn GitFacts) -> Result<(), ImportError> {
        self.left = choice.left;
        self.problems = choice.problems;
        for chosen in choice.packages {
            let source = &chosen.source;
            let pocket = &self.pocket.name;
            let held = self.served.sources.get(source.package.as_str());
            if held.is_some_and(|(held, sums)| {
                held.version.as_str() == source.version.as_str() && *sums == sums_of(&chosen)
            }) {
                self.unchanged += 1;
                continue;
            }
            let held = held.map(|it| &it.0);
            let is_in_git =
                held.is_some_and(|it| it.commit.is_some()) || git.has_branch(pocket, &source.package)?;
            match held {
                Some(held) if is_in_git && held.version > source.version => self.left.push(LeftBehind {
                    package: source.package.clone(),
                    version: source.version.clone(),
                    architecture: source_architecture(),
                    reason: Reason::Superseded { served: held.version.clone() },
                }),
                Some(held) => self.problems.push(format!(
                    "{pocket} serves {} {} already, so {} cannot be imported; submit a commit of it",
                    held.package, held.version, source.version
                )),
                None if is_in_git => self.problems.push(format!(
                    "{pocket} has a branch of {} already, so {} cannot be imported; submit a commit of it",
                    source.package, source.version
                )),
                None => {
                    let mut commit = None;
                    if let Some(named) = &source.commit
                        && git.has_commit(pocket, &source.package, &source.version, named)?
                    {
                        commit = Some(named.clone());
                    }
                    self.new.push(New { chosen, commit });
                }
            }
        }
        self.check_places();
        self.check_owners();
        Ok(())
    }

    /// Makes problems of what was left behind, where that is wanted.
    pub(super) fn apply(&mut self, leftovers: Leftovers, sourceless: Sourceless) {
        for it in &self.left {
            let is_sourceless = matches!(it.reason, Reason::Sourceless { .. });
            if leftovers == Leftovers::Refuse {
                self.problems.push(format!("{it}; nothing may be left behind"));
            } else if is_sourceless && sourceless == Sourceless::Refuse {
                self.problems
                    .push(format!("{it}; add the source package to it, or leave such packages behind"));
            }
        }
    }

    /// Refuses other bytes under a version that a suite serves for good, and reserves the plan's own.
    pub(super) fn check_versions(&mut self, reserved: &mut Reserved) {
        if !self.suite.reserves_versions {
            return;
        }
        for New { chosen, .. } in &self.new {
            let (package, version) = (&chosen.source.package, &chosen.source.version);
            let owners = reserved.0.entry((package.to_string(), version.to_string())).or_default();
            let sums = sums_of(chosen);
            for (owner, theirs) in owners.iter() {
                let differs = |it: &&String| theirs.get(*it).is_some_and(|sum| Some(sum) != sums.get(*it));
                if let Some(file) = sums.keys().find(differs) {
                    self.problems.push(format!(
                        "{owner} serves {file} of {package} {version} with other bytes, so {} cannot take it",
                        self.suite.suite
                    ));
                }
            }
            owners.push((self.suite.suite.clone(), sums));
        }
    }

    /// Refuses components and architectures that the suite does not have.
    fn check_places(&mut self) {
        let mut components: BTreeMap<&Component, &PackageName> = BTreeMap::new();
        let mut architectures: BTreeMap<&Architecture, &PackageName> = BTreeMap::new();
        for New { chosen, .. } in &self.new {
            components.entry(&chosen.source.component).or_insert(&chosen.source.package);
            for binary in &chosen.binaries {
                components.entry(&binary.component).or_insert(&binary.package);
                architectures.entry(&binary.architecture).or_insert(&binary.package);
            }
        }
        architectures.remove(&Architecture::all());
        architectures.retain(|it, _| !self.suite.architectures.contains(it));
        components.retain(|it, _| !self.suite.all_components().any(|has| has == *it));
        let mut problems = Vec::new();
        for (what, missing, has) in [
            (
                "components",
                shown(components),
                self.suite.components.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            ),
            (
                "architectures",
                shown(architectures),
                self.suite.architectures.iter().map(AsRef::as_ref).collect(),
            ),
        ] {
            if let Some((_, example)) = missing.first() {
                let all: Vec<&str> =
                    has.iter().copied().chain(missing.iter().map(|it| it.0.as_str())).collect();
                let names: Vec<&str> = missing.iter().map(|it| it.0.as_str()).collect();
                problems.push(format!(
                    "{} has packages, such as {example}, in the {what} {}; write `{what}: [{}]` for \
                     build.pockets.{} in the configuration",
                    self.from,
                    names.join(", "),
                    all.join(", "),
                    self.pocket.name
                ));
            }
        }
        self.problems.extend(problems);
    }

    /// Refuses a binary package that the suite serves of another source package.
    fn check_owners(&mut self) {
        let mut problems = BTreeSet::new();
        for binary in self.new.iter().flat_map(|it| &it.chosen.binaries) {
            let owners = self.served.owners.get(binary.package.as_str());
            if let Some(owner) = owners.into_iter().flatten().find(|it| *it != binary.source.as_str()) {
                problems.insert(format!(
                    "{} serves {} of the source package {owner}, so that of {} cannot be imported",
                    self.pocket.name, binary.package, binary.source
                ));
            }
        }
        self.problems.extend(problems);
    }

    /// Says for the record why the suite changes, and how.
    pub(super) fn reason(&self) -> generations::Reason {
        let changed = |it: &New| {
            let Source { package, version, .. } = &it.chosen.source;
            Changed { package: package.clone(), old: None, new: Some(version.clone()) }
        };
        let changes = self.new.iter().map(changed).collect();
        generations::Reason { cause: Cause::Import, job: None, changes }
    }

    /// Tells what becomes of the suite.
    pub(super) fn report(&self, checked: &[Checked]) -> Imported {
        let added = |it: &New| Added {
            package: it.chosen.source.package.clone(),
            version: it.chosen.source.version.clone(),
            binaries: it.chosen.binaries.len(),
            commit: it.commit.clone(),
        };
        Imported {
            from: self.from.clone(),
            pocket: self.pocket.name.clone(),
            added: self.new.iter().map(added).collect(),
            unchanged: self.unchanged,
            left_behind: self.left.clone(),
            problems: self.problems.clone(),
            bytes: checked.iter().map(Checked::size).sum(),
            generation: None,
        }
    }
}

/// Returns the sums of a package's files under the names that they get.
fn sums_of(chosen: &Chosen) -> Sums {
    let files = chosen.source.files.iter().chain(chosen.binaries.iter().map(|it| &it.file));
    files.map(|it| (it.name.to_string(), it.sha256.clone())).collect()
}

fn shown<T: ToString>(missing: BTreeMap<&T, &PackageName>) -> Vec<(String, String)> {
    missing.into_iter().map(|(what, package)| (what.to_string(), package.to_string())).collect()
}
