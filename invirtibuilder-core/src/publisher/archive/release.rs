//! The `Release` file of a suite: written from what is published, and read again.
//!
//! Never signs, and never reads or writes a file.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::compression::Compression;
use super::index::{Layout, Sum};
use super::stanza::field;
use super::{Descriptions, SuiteSpec, Upgrades};
use crate::names::{Architecture, Component};
use crate::publisher::Generation;

/// How `Date` is written (Debian's repository format; RFC 2822 with `UTC`).
const DATE: &str = "%a, %d %b %Y %H:%M:%S UTC";

/// The fields that belong to one release, and not to the suite.
const OWN: [&str; 3] = ["Date:", "Valid-Until:", "Generation:"];

/// What an index of a component lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The source packages.
    Source,
    /// The binary packages that one architecture can install.
    Binary(Architecture),
    /// The packages of the installer (udebs) for one architecture.
    Installer(Architecture),
    /// The files in the binary packages of one architecture.
    Contents(Architecture),
    /// The long descriptions of the binary packages, in English.
    Translation,
}

/// An index of a suite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexPath {
    pub(super) component: Component,
    pub(super) kind: Kind,
}

impl fmt::Display for IndexPath {
    /// Writes the path of the uncompressed index below the suite (Debian's repository format).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = &self.component;
        match &self.kind {
            Kind::Source => write!(f, "{component}/source/Sources"),
            Kind::Binary(architecture) => write!(f, "{component}/binary-{architecture}/Packages"),
            Kind::Installer(architecture) => {
                write!(f, "{component}/debian-installer/binary-{architecture}/Packages")
            }
            Kind::Contents(architecture) => write!(f, "{component}/Contents-{architecture}"),
            Kind::Translation => write!(f, "{component}/i18n/Translation-en"),
        }
    }
}

impl IndexPath {
    pub(super) fn new(component: &Component, kind: Kind) -> Self {
        Self { component: component.clone(), kind }
    }

    /// Reads the path of an uncompressed index; `None` for another file.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let (component, rest) = path.split_once('/')?;
        let packages = |rest: &str| rest.strip_prefix("binary-")?.strip_suffix("/Packages")?.parse().ok();
        let kind = match rest {
            "source/Sources" => Kind::Source,
            "i18n/Translation-en" => Kind::Translation,
            _ => match (rest.strip_prefix("debian-installer/"), rest.strip_prefix("Contents-")) {
                (Some(rest), _) => Kind::Installer(packages(rest)?),
                (None, Some(architecture)) => Kind::Contents(architecture.parse().ok()?),
                (None, None) => Kind::Binary(packages(rest)?),
            },
        };
        Some(Self { component: component.parse().ok()?, kind })
    }

    /// Returns whether its entries name files of the pool.
    pub(super) fn names_files(&self) -> bool {
        self.is_binary() || self.kind == Kind::Source
    }

    /// Returns whether its entries are the paragraphs of binary packages.
    pub(super) fn is_binary(&self) -> bool {
        matches!(self.kind, Kind::Binary(_) | Kind::Installer(_))
    }

    /// Returns how its entries lie in its text.
    pub(super) fn layout(&self) -> Layout {
        match self.kind {
            Kind::Source | Kind::Binary(_) | Kind::Installer(_) => Layout::Paragraphs,
            Kind::Contents(_) => Layout::Lines,
            Kind::Translation => Layout::Descriptions,
        }
    }

    /// Returns whether its entries are of packages that another index lists, with their sources, which its own
    /// entries do not name.
    pub(super) fn takes_its_sources_from(&self, other: &Self) -> bool {
        let Kind::Binary(listed) = &other.kind else { return false };
        let is_of_them = match &self.kind {
            Kind::Contents(architecture) => architecture == listed,
            Kind::Translation => true,
            Kind::Source | Kind::Binary(_) | Kind::Installer(_) => false,
        };
        is_of_them && self.component == other.component
    }

    /// Returns the indices that a suite always has, in their order.
    pub(super) fn of(suite: &SuiteSpec) -> Vec<Self> {
        let mut paths = Vec::new();
        for component in suite.all_components() {
            let mut kinds = vec![Kind::Source];
            kinds.extend(suite.architectures.iter().cloned().map(Kind::Binary));
            if suite.contents {
                kinds.extend(suite.architectures.iter().cloned().map(Kind::Contents));
            }
            if suite.descriptions == Descriptions::Translation {
                kinds.push(Kind::Translation);
            }
            paths.extend(kinds.into_iter().map(|kind| Self::new(component, kind)));
        }
        paths
    }
}

/// A file that a `Release` lists: its path below the suite, and its sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::publisher) struct Listed {
    pub(in crate::publisher) path: String,
    pub(in crate::publisher) sum: Sum,
}

impl Listed {
    /// Returns the path, below the suite, that never has other bytes.
    pub(in crate::publisher) fn by_hash(&self) -> String {
        let directory = self.path.rsplit_once('/').map_or("", |it| it.0);
        format!("{directory}/by-hash/SHA256/{}", self.sum.sha256)
    }
}

/// What a suite's `InRelease` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::publisher) struct Release {
    /// The fields before the list of files, as they are written, without those that follow here.
    head: String,
    date: Option<Timestamp>,
    /// The moment from which on apt refuses it.
    pub(super) valid_until: Option<Timestamp>,
    /// Which state of the suite it is; `None` in one that an older program wrote.
    pub(super) generation: Option<Generation>,
    pub(in crate::publisher) files: Vec<Listed>,
}

impl Release {
    /// Makes the next one of a suite.
    ///
    /// Its date is `now`, but never before its predecessor's, because apt ignores a suite that grew younger.
    pub(super) fn next(
        suite: &SuiteSpec,
        previous: Option<&Self>,
        now: Timestamp,
        files: Vec<Listed>,
    ) -> Self {
        let before = previous.and_then(|it| it.date);
        let head = head(suite, &components(suite, &files));
        let generation = previous.and_then(|it| it.generation).map_or(Generation::new(1), Generation::next);
        Self {
            head,
            date: Some(before.map_or(now, |it| it.max(now))),
            valid_until: None,
            generation: Some(generation),
            files,
        }
    }

    /// Sets for how long after its date it is valid; `None` for ever.
    pub(super) fn valid_for(mut self, time: Option<Duration>) -> Self {
        let until = |time| self.date.unwrap_or(Timestamp::MIN).checked_add(time).ok();
        self.valid_until = time.and_then(until);
        self
    }

    /// Returns it with a later date, at least a second later than it has.
    pub(super) fn refreshed(mut self, now: Timestamp) -> Self {
        let later = self.date.and_then(|it| it.checked_add(Duration::from_secs(1)).ok());
        self.date = Some(later.map_or(now, |it| it.max(now)));
        self
    }

    /// Reads an `InRelease` or `Release`; `None` if it is something else.
    pub(in crate::publisher) fn parse(text: &str) -> Option<Self> {
        let text = match text.split_once("-----BEGIN PGP SIGNED MESSAGE-----\n") {
            Some((_, signed)) => signed.split_once("\n\n")?.1.split_once("-----BEGIN PGP SIGNATURE-----")?.0,
            None => text,
        };
        let (before, list) = text.split_once("SHA256:\n")?;
        let is_own = |line: &&str| OWN.iter().any(|name| line.starts_with(name));
        let head = before.split_inclusive('\n').filter(|line| !is_own(line)).collect();
        let time = |name| {
            let parsed = jiff::civil::DateTime::strptime(DATE, field(before, name)?).ok()?;
            Some(parsed.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        let (date, valid_until) = (time("Date"), time("Valid-Until"));
        let generation = field(before, "Generation").and_then(|it| it.parse().ok());
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let (sha256, size, path) = (words.next()?, words.next()?, words.next()?);
            let sum = Sum { sha256: sha256.to_owned(), size: size.parse().ok()? };
            Some(Listed { path: path.to_owned(), sum })
        };
        let files: Option<Vec<_>> = list.lines().take_while(|it| it.starts_with(' ')).map(line).collect();
        Some(Self { head, date, valid_until, generation, files: files? })
    }

    /// Returns the text to sign.
    pub(super) fn to_text(&self) -> String {
        let mut text = self.head.clone();
        for (name, time) in [("Date", self.date), ("Valid-Until", self.valid_until)] {
            if let Some(time) = time {
                let _ = writeln!(text, "{name}: {}", time.to_zoned(TimeZone::UTC).strftime(DATE));
            }
        }
        if let Some(generation) = self.generation {
            let _ = writeln!(text, "Generation: {generation}");
        }
        text.push_str("SHA256:\n");
        for file in &self.files {
            let _ = writeln!(text, " {} {} {}", file.sum.sha256, file.sum.size, file.path);
        }
        text
    }

    /// Returns whether it says of the suite what the configuration says, and has all indices that the suite should
    /// have.
    pub(super) fn describes(&self, suite: &SuiteSpec) -> bool {
        let has = |path: &IndexPath| self.index(path, "").is_some();
        let formats = suite.formats();
        self.head == head(suite, &components(suite, &self.files))
            && IndexPath::of(suite).iter().all(has)
            && self.indices().iter().all(|it| self.is_wanted(suite, it) && self.formats(it) == formats)
    }

    /// Returns whether an index that it lists has a place in the next one: if the suite should have it, or if it
    /// is not empty, so that nothing is lost where the configuration names a component no longer.
    pub(super) fn is_wanted(&self, suite: &SuiteSpec, path: &IndexPath) -> bool {
        let is_derived = matches!(path.kind, Kind::Contents(_) | Kind::Translation);
        let has_something = self.index(path, "").is_some_and(|it| it.sum.size > 0);
        IndexPath::of(suite).contains(path) || (has_something && !is_derived)
    }

    /// Returns an index in one of its forms: its path has the ending `ending`, which is empty for the
    /// uncompressed one.
    pub(super) fn index(&self, path: &IndexPath, ending: &str) -> Option<&Listed> {
        let path = format!("{path}{ending}");
        self.files.iter().find(|it| it.path == path)
    }

    /// Returns the compressed forms of an index.
    pub(super) fn formats(&self, path: &IndexPath) -> BTreeSet<Compression> {
        Compression::ALL.into_iter().filter(|it| self.index(path, it.ending()).is_some()).collect()
    }

    /// Returns the indices that it lists, in their order.
    pub(super) fn indices(&self) -> Vec<IndexPath> {
        self.files.iter().filter_map(|it| IndexPath::parse(&it.path)).collect()
    }
}

/// Returns the components of a suite that has these files: those that are configured, and others after them.
fn components(suite: &SuiteSpec, files: &[Listed]) -> Vec<Component> {
    let mut components: Vec<Component> = suite.all_components().cloned().collect();
    for path in files.iter().filter_map(|it| IndexPath::parse(&it.path)) {
        if !components.contains(&path.component) {
            components.push(path.component);
        }
    }
    components
}

fn head(suite: &SuiteSpec, components: &[Component]) -> String {
    let SuiteSpec { suite: name, architectures, origin, label, codename, description, .. } = suite;
    let codename = codename.as_ref().unwrap_or(name);
    let architectures = architectures.iter().map(Architecture::as_str).collect::<Vec<_>>().join(" ");
    let components = components.iter().map(Component::as_str).collect::<Vec<_>>().join(" ");
    let yes = |is_set: bool| if is_set { "yes" } else { "" };
    let fields = [
        ("Origin", origin.as_str()),
        ("Label", label),
        ("Suite", name.as_str()),
        ("Codename", codename.as_str()),
        ("Changelogs", suite.changelogs.as_deref().unwrap_or_default()),
        ("NotAutomatic", yes(suite.upgrades != Upgrades::Automatic)),
        ("ButAutomaticUpgrades", yes(suite.upgrades == Upgrades::OfInstalled)),
        ("Acquire-By-Hash", "yes"),
        ("Architectures", &architectures),
        ("Components", &components),
        ("Description", description),
    ];
    let mut text = String::new();
    for (name, value) in fields {
        // A value is one line, and has no blank at its end, which signers and verifiers treat differently.
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if !value.is_empty() {
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    text
}
