//! The `Release` file of a suite: written from what is published, and read again.
//!
//! Never signs, and never reads or writes a file.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::SuiteSpec;
use super::index::Sum;
use super::stanza::field;
use crate::names::Architecture;
use crate::publisher::Generation;

/// How `Date` is written (Debian's repository format; RFC 2822 with `UTC`).
const DATE: &str = "%a, %d %b %Y %H:%M:%S UTC";

/// The fields that belong to one release, and not to the suite.
const OWN: [&str; 3] = ["Date:", "Valid-Until:", "Generation:"];

/// An index of a suite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The source packages.
    Source,
    /// The binary packages that one architecture can install.
    Binary(Architecture),
}

impl Kind {
    /// Returns the path of the uncompressed index below a component.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Source => "source/Sources".to_owned(),
            Self::Binary(architecture) => format!("binary-{architecture}/Packages"),
        }
    }

    /// Returns the indices that a suite should have.
    pub(super) fn of(suite: &SuiteSpec) -> Vec<Self> {
        let binary = suite.architectures.iter().cloned().map(Self::Binary);
        std::iter::once(Self::Source).chain(binary).collect()
    }
}

/// A file that a `Release` lists: its path below the suite, and its sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) sum: Sum,
}

impl Listed {
    /// Returns the path, below the suite, that never has other bytes.
    pub(super) fn by_hash(&self) -> String {
        let directory = self.path.rsplit_once('/').map_or("", |it| it.0);
        format!("{directory}/by-hash/SHA256/{}", self.sum.sha256)
    }
}

/// What a suite's `InRelease` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// The fields before the list of files, as they are written, without those that follow here.
    head: String,
    date: Option<Timestamp>,
    /// The moment from which on apt refuses it.
    pub(super) valid_until: Option<Timestamp>,
    /// Which state of the suite it is; `None` in one that an older program wrote.
    pub(super) generation: Option<Generation>,
    pub(super) files: Vec<Listed>,
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
        let generation = previous.and_then(|it| it.generation).map_or(Generation::new(1), Generation::next);
        Self {
            head: head(suite),
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
    pub(super) fn parse(text: &str) -> Option<Self> {
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

    /// Returns whether it says of the suite what the configuration says.
    pub(super) fn describes(&self, suite: &SuiteSpec) -> bool {
        self.head == head(suite)
    }

    /// Returns a compressed index, of whatever component.
    pub(super) fn index(&self, kind: &Kind, ending: &str) -> Option<&Listed> {
        let path = format!("/{}{ending}", kind.path());
        self.files.iter().find(|it| it.path.ends_with(&path))
    }

    /// Returns the indices whose entries name files of the pool.
    pub(super) fn package_indices(&self) -> Vec<Kind> {
        self.architectures().into_iter().map(Kind::Binary).chain([Kind::Source]).collect()
    }

    /// Returns the indices of source packages.
    pub(super) fn source_indices(&self) -> Vec<Kind> {
        self.package_indices().into_iter().filter(|it| *it == Kind::Source).collect()
    }

    /// Returns the architectures that there are indices for.
    pub(super) fn architectures(&self) -> Vec<Architecture> {
        let binary = |path: &str| path.split_once("/binary-")?.1.strip_suffix("/Packages.gz")?.parse().ok();
        self.files.iter().filter_map(|it| binary(&it.path)).collect()
    }
}

fn head(suite: &SuiteSpec) -> String {
    let SuiteSpec { suite: name, component, architectures, origin, label, codename, description, .. } = suite;
    let codename = codename.as_ref().unwrap_or(name);
    let architectures = architectures.iter().map(Architecture::as_str).collect::<Vec<_>>().join(" ");
    let fields = [
        ("Origin", origin.as_str()),
        ("Label", label),
        ("Suite", name.as_str()),
        ("Codename", codename.as_str()),
        ("Acquire-By-Hash", "yes"),
        ("Architectures", &architectures),
        ("Components", component.as_str()),
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
