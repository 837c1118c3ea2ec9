//! From what a suite is to what the configuration says that it should be.

use std::collections::{BTreeMap, BTreeSet};

use super::entries::{self, Entries};
use super::generations::Reason;
use super::release::{IndexPath, Kind, Release};
use super::stanza::Stanza;
use super::suite::{Descriptions, SuiteSpec};
use super::switch::{Replacement, Scope};
use super::{Archive, ArchiveError, contents};

impl Archive {
    /// Publishes a suite again if it is not what the configuration says, or if it was never published.
    pub(super) fn describe(&self, suite: &SuiteSpec) -> Result<(), ArchiveError> {
        let current = self.current(suite)?;
        if current.release.as_ref().is_some_and(|it| it.describes(suite)) {
            return Ok(());
        }
        let entries = match &current.release {
            Some(release) => self.remade(suite, release)?,
            None => Entries::new(),
        };
        let replacement = Replacement {
            scope: Scope::Indices,
            entries,
            files: Vec::new(),
            paths: BTreeMap::new(),
            directories: BTreeSet::new(),
            reason: Reason::configuration(),
        };
        self.switch(&current, replacement).map(drop)
    }

    /// Returns the entries of the indices that the suite lacks, or that the configuration wants otherwise.
    fn remade(&self, suite: &SuiteSpec, release: &Release) -> Result<Entries, ArchiveError> {
        let known = release.indices();
        let lacks = |it: &IndexPath| !known.contains(it);
        let were_translated = known.iter().any(|it| it.kind == Kind::Translation);
        let are_translated = suite.descriptions == Descriptions::Translation;
        if !IndexPath::of(suite).iter().any(lacks) && were_translated == are_translated {
            return Ok(Entries::new());
        }
        let mut found = Entries::new();
        for path in &known {
            found.insert(path.clone(), self.published(&suite.suite, release, path)?.all()?);
        }
        let mut made = found.clone();
        if were_translated != are_translated {
            translate(&mut made, are_translated);
        }
        if suite.contents {
            self.add_contents(&mut made)?;
        }
        let mut made = entries::fitted(suite, &made);
        made.retain(|path, stanzas| found.get(path) != Some(stanzas));
        Ok(made)
    }

    /// Lists the files of all binary packages for which there is no list.
    fn add_contents(&self, entries: &mut Entries) -> Result<(), ArchiveError> {
        let mut added = Entries::new();
        for (path, stanzas) in entries.iter() {
            let Kind::Binary(architecture) = &path.kind else { continue };
            let place = IndexPath::new(&path.component, Kind::Contents(architecture.clone()));
            if entries.contains_key(&place) {
                continue;
            }
            let mut listed = Vec::new();
            for stanza in stanzas {
                let Some(file) = stanza.field("Filename") else { continue };
                let file = self.directory.join(file);
                listed.push(contents::of_package(&file, stanza).map_err(ArchiveError::read(&file))?);
            }
            listed.retain(|it| !it.text.is_empty());
            added.insert(place, listed);
        }
        entries.extend(added);
        Ok(())
    }
}

/// Moves long descriptions from `Packages` to `Translation-en`, or back.
fn translate(entries: &mut Entries, are_translated: bool) {
    let mut translations = Entries::new();
    for (path, stanzas) in entries.iter_mut().filter(|it| matches!(it.0.kind, Kind::Binary(_))) {
        let place = IndexPath::new(&path.component, Kind::Translation);
        if are_translated {
            let split: Vec<(Stanza, Option<Stanza>)> =
                stanzas.iter().map(Stanza::split_description).collect();
            let (short, long): (Vec<_>, Vec<_>) = split.into_iter().unzip();
            *stanzas = short;
            translations.entry(place).or_default().extend(long.into_iter().flatten());
        } else {
            translations.entry(place).or_default();
        }
    }
    if are_translated {
        entries.extend(translations);
        return;
    }
    for place in translations.into_keys() {
        let long = entries.remove(&place).unwrap_or_default();
        for (path, stanzas) in entries.iter_mut() {
            if path.component == place.component && matches!(path.kind, Kind::Binary(_)) {
                *stanzas = stanzas.iter().map(|it| it.with_description(&long)).collect();
            }
        }
    }
}
