//! From the files of a build to the entries of all indices of a suite.
//!
//! Pure but for reading which files a binary package has. Never looks at what the suite serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::contents;
use super::release::{IndexPath, Kind};
use super::stanza::{Key, Stanza};
use super::suite::{Descriptions, SuiteSpec};
use crate::control::{BinaryControl, Changes};
use crate::names::{Architecture, Component};
use crate::states::BuildArtifacts;

/// The entries of source packages, by index; each list is sorted.
pub(super) type Entries = BTreeMap<IndexPath, Vec<Stanza>>;

/// Makes the entries of a source package and its binary packages, as if they lay in `directory` of the archive.
///
/// # Errors
/// Why they cannot be part of the suite.
pub(super) fn of_artifacts(
    suite: &SuiteSpec,
    artifacts: &BuildArtifacts,
    directory: &str,
) -> Result<Entries, String> {
    let mut entries = Entries::new();
    let buildinfos = artifacts.builds().iter().flat_map(Changes::buildinfos);
    let source =
        Stanza::of_source(artifacts.source(), Some(artifacts.plan().commit()), directory, buildinfos)?;
    let component = suite.component_of(source.field("Section").unwrap_or_default())?;
    entries.insert(IndexPath::new(component, Kind::Source), vec![source]);
    let mut seen = BTreeSet::new();
    for build in artifacts.builds() {
        for control in build.binaries() {
            let name = &control.artifact().name;
            if seen.insert(name.as_str()) {
                let of_file = |problem| format!("{name}: {problem}");
                let path = build.directory().join(name.as_str());
                add_binary(suite, Home::OfSection, &path, control, directory, &mut entries)
                    .map_err(of_file)?;
            }
        }
    }
    sort(&mut entries);
    Ok(entries)
}

/// Fits what a suite serves into another one, or into what the configuration makes of the same one. `found` has a list,
/// perhaps empty, for each index that the first one has.
///
/// An architecture that only the second has gets what runs anywhere.
pub(super) fn fitted(suite: &SuiteSpec, found: &Entries) -> Entries {
    let architectures = found.keys().filter_map(|it| match &it.kind {
        Kind::Binary(architecture) => Some(architecture.clone()),
        _ => None,
    });
    let known: BTreeSet<Architecture> = architectures.collect();
    let others: Vec<&Architecture> = suite.architectures.iter().filter(|it| !known.contains(it)).collect();
    let mut entries = Entries::new();
    for (path, stanzas) in found {
        let (make, architecture): (fn(Architecture) -> Kind, _) = match &path.kind {
            Kind::Binary(it) => (Kind::Binary, it),
            Kind::Installer(it) => (Kind::Installer, it),
            Kind::Contents(it) => (Kind::Contents, it),
            Kind::Source | Kind::Translation => {
                entries.insert(path.clone(), stanzas.clone());
                continue;
            }
        };
        if suite.architectures.contains(architecture) {
            entries.insert(path.clone(), stanzas.clone());
        }
        if Some(architecture) == known.first() && !others.is_empty() {
            let anywhere = anywhere(found, path);
            for other in &others {
                let path = IndexPath::new(&path.component, make((*other).clone()));
                entries.insert(path, anywhere.clone());
            }
        }
    }
    entries.retain(|path, _| suite.contents || !matches!(path.kind, Kind::Contents(_)));
    sort(&mut entries);
    entries
}

/// Refuses entries of a component that the suite does not have.
pub(super) fn check_components(suite: &SuiteSpec, entries: &Entries) -> Result<(), String> {
    match entries.keys().find(|path| !suite.all_components().any(|it| *it == path.component)) {
        None => Ok(()),
        Some(path) => Err(format!(
            "it is in the component {}, which the suite does not have; add it to the pocket's components",
            path.component
        )),
    }
}

/// Returns what an index of one architecture has of packages for all architectures.
fn anywhere(found: &Entries, path: &IndexPath) -> Vec<Stanza> {
    let is_for_all = |it: &&Stanza| it.field("Architecture") == Some("all");
    let stanzas = found.get(path).map(Vec::as_slice).unwrap_or_default();
    let Kind::Contents(architecture) = &path.kind else {
        return stanzas.iter().filter(is_for_all).cloned().collect();
    };
    // A list of files does not say what its package is for.
    let packages = found.get(&IndexPath::new(&path.component, Kind::Binary(architecture.clone())));
    let keys: BTreeSet<&Key> = packages.into_iter().flatten().filter(is_for_all).map(|it| &it.key).collect();
    stanzas.iter().filter(|it| keys.contains(&it.key)).cloned().collect()
}

/// Puts each list into the order of its index, and leaves out empty ones.
pub(super) fn sort(entries: &mut Entries) {
    for stanzas in entries.values_mut() {
        stanzas.sort_by(|a, b| (&a.key, &a.text).cmp(&(&b.key, &b.text)));
        stanzas.dedup();
    }
    entries.retain(|_, it| !it.is_empty());
}

/// The component of a package that holds no debugging symbols.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home<'a> {
    /// The one that its section names.
    OfSection,
    /// This one of the suite's.
    In(&'a Component),
}

/// Adds what the indices say of one binary package, which lies at `path` now.
///
/// # Errors
/// Why it cannot be part of the suite.
pub(super) fn add_binary(
    suite: &SuiteSpec,
    home: Home<'_>,
    path: &Path,
    control: &BinaryControl,
    directory: &str,
    entries: &mut Entries,
) -> Result<(), String> {
    let stanza = Stanza::of_binary(control, directory)?;
    let component = component_of(suite, home, &stanza)?.clone();
    let is_installer = control.artifact().name.as_str().ends_with(".udeb");
    let architectures = architectures_of(suite, control)?;
    let files = if suite.contents && !is_installer {
        Some(contents::of_package(path, &stanza).map_err(|e| format!("its files cannot be listed: {e}"))?)
    } else {
        None
    };
    let (stanza, description) = match suite.descriptions {
        Descriptions::Translation if !is_installer => stanza.split_description(),
        _ => (stanza, None),
    };
    for architecture in architectures {
        let kind = if is_installer { Kind::Installer } else { Kind::Binary };
        let list = entries.entry(IndexPath::new(&component, kind(architecture.clone()))).or_default();
        if list.iter().any(|it| it.key == stanza.key) {
            return Err(format!("there are two packages {} of one architecture", stanza.key.name()));
        }
        list.push(stanza.clone());
        if let Some(files) = files.as_ref().filter(|it| !it.text.is_empty()) {
            let path = IndexPath::new(&component, Kind::Contents(architecture.clone()));
            entries.entry(path).or_default().push(files.clone());
        }
    }
    if let Some(description) = description {
        entries.entry(IndexPath::new(&component, Kind::Translation)).or_default().push(description);
    }
    Ok(())
}

/// Returns where a binary package belongs: debugging symbols have a component of their own.
fn component_of<'a>(suite: &'a SuiteSpec, home: Home<'a>, stanza: &Stanza) -> Result<&'a Component, String> {
    let has_symbols = stanza.field("Auto-Built-Package") == Some("debug-symbols");
    match (&suite.debug, home) {
        (Some(debug), _) if has_symbols => Ok(debug),
        (_, Home::In(component)) => Ok(component),
        (_, Home::OfSection) => suite.component_of(stanza.field("Section").unwrap_or_default()),
    }
}

/// Returns the architectures whose indices list a binary package.
fn architectures_of<'a>(
    suite: &'a SuiteSpec,
    control: &'a BinaryControl,
) -> Result<&'a [Architecture], String> {
    let architecture = control.architecture();
    if *architecture == Architecture::all() {
        return Ok(&suite.architectures);
    }
    if suite.architectures.contains(architecture) {
        return Ok(std::slice::from_ref(architecture));
    }
    Err(format!("it is for {architecture}, which is not an architecture of the suite; add it to the pocket"))
}
