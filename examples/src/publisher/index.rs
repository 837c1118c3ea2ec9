//! The indices of a flat repository: `Packages` and `Sources`, paragraphs that are kept as text.
//!
//! Never interprets a field that it does not need, so those that nobody here knows survive.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use invirtibuilder_core::control::{BinaryControl, SourceControl};
use invirtibuilder_core::durable::{self, DurableError};
use invirtibuilder_core::names::PackageName;
use invirtibuilder_core::policy::Held;
use invirtibuilder_core::publisher::Owners;

/// A paragraph of an index, and the source package that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stanza {
    source: String,
    text: String,
}

impl Stanza {
    /// Returns the first line of a field.
    fn field(&self, name: &str) -> Option<&str> {
        field(&self.text, name)
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let named = text.lines().filter_map(|it| it.split_once(':'));
    named.filter(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.trim()).next()
}

/// What a suite serves, or a part of it. The paragraphs are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    packages: Vec<Stanza>,
    sources: Vec<Stanza>,
}

impl Index {
    /// Reads both indices of a generation.
    pub(super) fn read(generation: &Path) -> io::Result<Self> {
        let packages = fs::read_to_string(generation.join("Packages"))?;
        let sources = fs::read_to_string(generation.join("Sources"))?;
        // A binary package names its source where that has another name, perhaps with a version.
        let source_of = |text: &str| {
            let source = field(text, "Source").or_else(|| field(text, "Package")).unwrap_or_default();
            source.split_whitespace().next().unwrap_or_default().to_owned()
        };
        Ok(Self {
            packages: paragraphs(&packages, source_of),
            sources: paragraphs(&sources, |text| field(text, "Package").unwrap_or_default().to_owned()),
        })
    }

    /// Writes both indices of a generation, synced.
    pub(super) fn write(&self, generation: &Path) -> Result<(), DurableError> {
        durable::create_directory(generation)?;
        for (name, stanzas) in [("Packages", &self.packages), ("Sources", &self.sources)] {
            let text: String = stanzas.iter().flat_map(|it| [it.text.as_str(), "\n\n"]).collect();
            durable::write(&generation.join(name), text.as_bytes())?;
        }
        Ok(())
    }

    /// Returns the names of the binary packages.
    pub(super) fn names(&self) -> BTreeSet<PackageName> {
        self.packages.iter().filter_map(|it| it.field("Package")?.parse().ok()).collect()
    }

    /// Returns which source packages these binary packages are of.
    pub(super) fn owners(&self, binaries: &BTreeSet<PackageName>) -> Owners {
        let mut owners = Owners::new();
        for stanza in &self.packages {
            let name = stanza.field("Package").unwrap_or_default();
            if let Some(name) = binaries.iter().find(|it| it.as_str() == name)
                && let Ok(source) = stanza.source.parse()
            {
                owners.entry(name.clone()).or_default().insert(source);
            }
        }
        owners
    }

    /// Returns the part that belongs to a source package.
    pub(super) fn of(&self, package: &PackageName) -> Self {
        self.part(|it| it.source == package.as_str())
    }

    /// Returns it with another part for a source package: source and all binaries are replaced together, so a binary
    /// package that the new version does not make any more is gone.
    pub(super) fn with(&self, package: &PackageName, fresh: Self) -> Self {
        let mut changed = self.part(|it| it.source != package.as_str());
        changed.packages.extend(fresh.packages);
        changed.sources.extend(fresh.sources);
        changed.packages.sort();
        changed.sources.sort();
        changed
    }

    fn part(&self, belongs: impl Fn(&Stanza) -> bool) -> Self {
        let filter = |all: &[Stanza]| all.iter().filter(|it| belongs(it)).cloned().collect();
        Self { packages: filter(&self.packages), sources: filter(&self.sources) }
    }

    /// Returns the source packages, in the order of their names, as the `Sources` index tells them.
    pub(super) fn held(&self) -> Vec<Held> {
        let held = |it: &Stanza| {
            let commit = it.field("Git-Commit").and_then(|it| it.parse().ok());
            Some(Held {
                package: it.source.parse().ok()?,
                version: it.field("Version")?.parse().ok()?,
                commit,
            })
        };
        self.sources.iter().filter_map(held).collect()
    }

    /// Adds a source package whose files are in a directory, relative to the root.
    ///
    /// The exporter has put the commit into the `.dsc` as `Git-Commit`. It stays in the index, and so the archive
    /// itself tells which commit it serves.
    pub(super) fn add_source(&mut self, source: &SourceControl, place: &Path) {
        let mut text = format!("Package: {}\n", source.package());
        let replaced = ["Source", "Files", "Checksums-Sha1", "Checksums-Sha256"];
        let kept = source.paragraph().iter().filter(|(name, _)| !replaced.contains(name));
        for (name, value) in kept {
            let _ = writeln!(text, "{name}: {}", value.replace('\n', "\n "));
        }
        let _ = write!(text, "Directory: {}\nChecksums-Sha256:", place.display());
        // A `.dsc` cannot list itself; an index lists it.
        for file in source.files() {
            let _ = write!(text, "\n {} {} {}", file.sha256, file.size, file.name);
        }
        self.sources.push(Stanza { source: source.package().to_string(), text });
    }

    /// Adds a binary package that is in a directory, relative to the root.
    pub(super) fn add_binary(&mut self, binary: &BinaryControl, place: &Path) {
        let file = binary.artifact();
        let path = place.join(file.name.as_str());
        let control = binary.text();
        let text =
            format!("{control}\nFilename: {}\nSize: {}\nSHA256: {}", path.display(), file.size, file.sha256);
        self.packages.push(Stanza { source: binary.source().to_string(), text });
        self.packages.sort();
    }
}

fn paragraphs(text: &str, source_of: impl Fn(&str) -> String) -> Vec<Stanza> {
    let texts = text.split("\n\n").map(str::trim_end).filter(|it| !it.is_empty());
    texts.map(|it| Stanza { source: source_of(it), text: it.to_owned() }).collect()
}
