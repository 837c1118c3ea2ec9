//! The record of one generation, a readable file: what changed, what was served before, and the signed text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::super::release::Release;
use crate::names::{JobId, PackageName, Version};
use crate::publisher::Generation;

/// Why a generation came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A job published a package.
    Job,
    /// The configuration of the suite changed, or the suite is new.
    Configuration,
    /// Packages of another archive were imported.
    Import,
    /// The suite was returned to an earlier generation.
    Rollback(Generation),
}

/// What a generation did to one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The source package.
    pub package: PackageName,
    /// The version that was served before; `None` if there was none.
    pub old: Option<Version>,
    /// The version that is served; `None` if the package was taken away.
    pub new: Option<Version>,
}

/// Why a suite is about to change.
#[derive(Clone, Debug)]
pub(in super::super) struct Reason {
    pub(in super::super) cause: Cause,
    pub(in super::super) job: Option<JobId>,
    pub(in super::super) changes: Vec<Changed>,
}

impl Reason {
    pub(in super::super) fn configuration() -> Self {
        Self { cause: Cause::Configuration, job: None, changes: Vec::new() }
    }
}

/// Files of the pool, as paths below the archive, with the source package that each is of.
pub(in super::super) type PoolFiles = BTreeMap<String, String>;

/// What is known of one generation.
#[derive(Clone, Debug)]
pub(in super::super) struct Record {
    pub(super) generation: Generation,
    pub(super) time: Timestamp,
    pub(super) reason: Reason,
    /// All files that the generation before served of the packages that changed.
    pub(super) before: PoolFiles,
    /// Files that were about to be added when the record was written: nobody knows them if the publication
    /// never finished.
    pub(super) arriving: PoolFiles,
    /// What publications that never finished left, as paths below the archive.
    pub(super) strays: BTreeSet<String>,
    /// `InRelease` as it was signed.
    pub(super) signed: String,
}

impl Record {
    /// Returns what `InRelease` says; `None` if the record is damaged.
    pub(super) fn release(&self) -> Option<Release> {
        Release::parse(&self.signed)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("Generation: {}\nTime: {}\n", self.generation, self.time);
        // Writing to a text cannot fail.
        let _ = match self.reason.cause {
            Cause::Job => writeln!(text, "Cause: job"),
            Cause::Configuration => writeln!(text, "Cause: configuration"),
            Cause::Import => writeln!(text, "Cause: import"),
            Cause::Rollback(to) => writeln!(text, "Cause: rollback {to}"),
        };
        if let Some(job) = &self.reason.job {
            let _ = writeln!(text, "Job: {job}");
        }
        for Changed { package, old, new } in &self.reason.changes {
            let shown =
                |version: &Option<Version>| version.as_ref().map_or(NOTHING.to_owned(), Version::to_string);
            let _ = writeln!(text, "Changed: {package} {} {}", shown(old), shown(new));
        }
        for (name, files) in [("Before", &self.before), ("Arriving", &self.arriving)] {
            for (path, source) in files {
                let _ = writeln!(text, "{name}: {source} {path}");
            }
        }
        for path in &self.strays {
            let _ = writeln!(text, "Stray: {path}");
        }
        text.push('\n');
        text.push_str(&self.signed);
        text
    }

    /// Reads a record; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, signed) = text.split_once("\n\n")?;
        let fields = || head.lines().filter_map(|it| it.split_once(": "));
        let field = |name: &str| fields().find(|it| it.0 == name).map(|it| it.1);
        let all = |name: &'static str| fields().filter(move |it| it.0 == name).map(|it| it.1);
        let files = |name| -> PoolFiles {
            let file =
                |it: &str| it.split_once(' ').map(|(source, path)| (path.to_owned(), source.to_owned()));
            all(name).filter_map(file).collect()
        };
        let cause = match field("Cause")?.split_once(' ') {
            Some(("rollback", to)) => Cause::Rollback(to.parse().ok()?),
            Some(_) => return None,
            None if field("Cause")? == "job" => Cause::Job,
            None if field("Cause")? == "import" => Cause::Import,
            None => Cause::Configuration,
        };
        let changed = |it: &str| {
            let mut words = it.split(' ');
            let (package, old, new) = (words.next()?, words.next()?, words.next()?);
            let version = |word: &str| if word == NOTHING { Some(None) } else { word.parse().ok().map(Some) };
            Some(Changed { package: package.parse().ok()?, old: version(old)?, new: version(new)? })
        };
        Some(Self {
            generation: field("Generation")?.parse().ok()?,
            time: field("Time")?.parse().ok()?,
            reason: Reason {
                cause,
                job: field("Job").and_then(|it| it.parse().ok()),
                changes: all("Changed").filter_map(changed).collect(),
            },
            before: files("Before"),
            arriving: files("Arriving"),
            strays: all("Stray").map(str::to_owned).collect(),
            signed: signed.to_owned(),
        })
    }
}

/// Stands for the version where a package is not there; no version begins with it.
const NOTHING: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let record = Record {
            generation: Generation::new(7),
            time: "2026-11-23T12:00:00.5Z".parse().unwrap(),
            reason: Reason {
                cause: Cause::Rollback(Generation::new(3)),
                job: Some("20261123101500_k3x9ab".parse().unwrap()),
                changes: vec![Changed {
                    package: "hello".parse().unwrap(),
                    old: None,
                    new: Some("1:1.0~rc1".parse().unwrap()),
                }],
            },
            before: [("pool/h/hello_1.dsc".to_owned(), "hello".to_owned())].into(),
            arriving: [("pool/h/hello_2.dsc".to_owned(), "hello".to_owned())].into(),
            strays: ["dists/stable/main/by-hash/SHA256/ab".to_owned()].into(),
            signed: "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: stable\n".to_owned(),
        };
        let text = record.to_text();
        assert_eq!(Record::parse(&text).unwrap().to_text(), text);
        assert!(Record::parse("index dists/stable/main/by-hash\n").is_none());
    }
}
