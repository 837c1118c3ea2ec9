//! What a suite is, and what its `Release` says about it.

use std::collections::BTreeSet;

use super::compression::Compression;
use crate::names::{Architecture, Component, Suite};
use crate::policy::{PocketSpec, Trust};

/// A suite, and what its `Release` says about it (Debian's repository format).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteSpec {
    /// Its name: the directory below `dists/`.
    pub suite: Suite,
    /// Its components; a package whose section names none of them is in the first.
    pub components: Vec<Component>,
    /// The component of packages with debugging symbols; `None` to leave them beside the others.
    pub debug: Option<Component>,
    /// Its architectures, optional ones among them, without `all`, whose packages are listed under each of them.
    pub architectures: Vec<Architecture>,
    /// `Origin`; left out if empty.
    pub origin: String,
    /// `Label`; left out if empty.
    pub label: String,
    /// `Codename`; the suite's name if `None`.
    pub codename: Option<Suite>,
    /// `Description`; left out if empty.
    pub description: String,
    /// `Changelogs`: where `apt changelog` finds changelogs, with `@CHANGEPATH@` in it, or `no`.
    pub changelogs: Option<String>,
    /// `NotAutomatic` and `ButAutomaticUpgrades`.
    pub upgrades: Upgrades,
    /// Whether it has `Contents-*`, the lists of all files in its packages.
    pub contents: bool,
    /// Where long descriptions are.
    pub descriptions: Descriptions,
    /// The compressed forms of its indices; as if `gz` were named if none is.
    pub compression: Vec<Compression>,
    /// Whether a version that it serves means one commit for good. Where it does not, because its pocket allows
    /// backtracking or is not trusted, its versions are in nobody's way.
    pub reserves_versions: bool,
}

/// Which packages of a suite apt installs by itself (`apt_preferences(5)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrades {
    /// Any that is the newest.
    #[default]
    Automatic,
    /// Upgrades of those that were installed from the suite: `NotAutomatic` with `ButAutomaticUpgrades`, as for
    /// backports.
    OfInstalled,
    /// None: `NotAutomatic`, as for Debian's experimental.
    Never,
}

/// Where the long descriptions of packages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Descriptions {
    /// In `Packages`.
    #[default]
    Packages,
    /// In `Translation-en`, as in Debian; `Packages` has the first line and the sum of the whole.
    Translation,
}

impl SuiteSpec {
    /// Describes the suite of a pocket.
    #[must_use]
    pub fn of(pocket: &PocketSpec, origin: &str, label: &str) -> Self {
        Self {
            suite: pocket.suite.clone(),
            components: pocket.components.clone(),
            debug: "debug".parse().ok(),
            architectures: pocket.all_architectures().cloned().collect(),
            origin: origin.to_owned(),
            label: label.to_owned(),
            codename: None,
            description: format!("what the pocket {} serves", pocket.name),
            changelogs: None,
            upgrades: Upgrades::default(),
            contents: true,
            descriptions: Descriptions::default(),
            compression: vec![Compression::Gz, Compression::Xz],
            reserves_versions: !pocket.policy.allow_backtracking && pocket.policy.trust == Trust::Full,
        }
    }

    /// Returns the compressed forms of its indices: at least one.
    pub(super) fn formats(&self) -> BTreeSet<Compression> {
        let mut formats: BTreeSet<Compression> = self.compression.iter().copied().collect();
        if formats.is_empty() {
            formats.insert(Compression::Gz);
        }
        formats
    }

    /// Returns the components, with that of the debugging symbols.
    pub(crate) fn all_components(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().chain(self.debug.iter().filter(|it| !self.components.contains(it)))
    }

    /// Returns the component of a package by its section: what is before the slash, or else the first (Policy 2.4).
    ///
    /// # Errors
    /// The section names a component that the suite does not have.
    pub(crate) fn component_of(&self, section: &str) -> Result<&Component, String> {
        let first = self.components.first().ok_or("its suite has no component")?;
        let Some((name, _)) = section.split_once('/') else { return Ok(first) };
        if name == "main" {
            return Ok(self.components.iter().find(|it| it.as_str() == name).unwrap_or(first));
        }
        self.components.iter().find(|it| it.as_str() == name).ok_or_else(|| {
            format!(
                "its section {section} puts it into the component {name}, which {} does not have; add it to the \
                 pocket's components, or write another section",
                self.suite
            )
        })
    }
}
