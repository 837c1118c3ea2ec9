//! How long the archive keeps what it no longer serves.
//!
//! Each publication leaves a record of what it made superfluous, and of what it was about to add (which is
//! superfluous if it never finished). A file goes when its record does, unless an index or a kept record names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::ArchiveError;
use crate::durable::{self, NewFile};

/// What is kept for readers that hold an older index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least so many publications of a suite.
    pub generations: usize,
    /// For at least so long.
    pub time: Duration,
}

impl Default for Retention {
    /// Three publications, and a day: longer than any `apt-get update` and `install` takes.
    fn default() -> Self {
        Self { generations: 3, time: Duration::from_secs(24 * 60 * 60) }
    }
}

/// What one publication made superfluous, as paths below the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Indices by hash.
    pub(super) indices: BTreeSet<String>,
    /// Pool files, with the source package that each is of.
    pub(super) pool: BTreeMap<String, String>,
}

impl Record {
    fn to_text(&self) -> String {
        let mut text = String::new();
        for path in &self.indices {
            let _ = writeln!(text, "index {path}");
        }
        for (path, source) in &self.pool {
            let _ = writeln!(text, "pool {source} {path}");
        }
        text
    }

    fn parse(text: &str) -> Self {
        let mut record = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("index"), Some(path), None) => drop(record.indices.insert(path.to_owned())),
                (Some("pool"), Some(source), Some(path)) => {
                    record.pool.insert(path.to_owned(), source.to_owned());
                }
                // A record that was torn by a loss of power names less; what it lacks stays.
                _ => (),
            }
        }
        record
    }
}

/// The records of the suites, one directory each.
#[derive(Debug)]
pub(super) struct Records {
    directory: PathBuf,
    policy: Retention,
}

impl Records {
    pub(super) fn new(directory: PathBuf, policy: Retention) -> Self {
        Self { directory, policy }
    }

    /// Begins the record of a publication at `now`.
    pub(super) fn stage(
        &self,
        suite: &str,
        now: Timestamp,
        record: &Record,
    ) -> Result<NewFile, ArchiveError> {
        use std::io::Write as _;
        let directory = self.directory.join(suite);
        durable::create_directory(&directory)?;
        let path = directory.join(format!("{:020}", now.as_microsecond()));
        let mut file = NewFile::create(&path)?;
        file.write_all(record.to_text().as_bytes()).map_err(ArchiveError::write(&path))?;
        Ok(file)
    }

    /// Returns the records of a suite that need not be kept any longer, the oldest first.
    pub(super) fn expired(&self, suite: &str, now: Timestamp) -> Result<Vec<PathBuf>, ArchiveError> {
        let mut records = list(&self.directory.join(suite))?;
        records.truncate(records.len().saturating_sub(self.policy.generations));
        let age = i128::try_from(self.policy.time.as_micros()).unwrap_or(i128::MAX);
        records.retain(|path| {
            let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
            name.parse::<i64>().is_ok_and(|time| i128::from(now.as_microsecond()) - i128::from(time) >= age)
        });
        Ok(records)
    }

    /// Reads some records as one.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Record, ArchiveError> {
        let mut whole = Record::default();
        for path in paths {
            let text = std::fs::read(path).map_err(ArchiveError::read(path))?;
            let record = Record::parse(&String::from_utf8_lossy(&text));
            whole.indices.extend(record.indices);
            whole.pool.extend(record.pool);
        }
        Ok(whole)
    }

    /// Returns all records of all suites but these.
    pub(super) fn kept(&self, expired: &[PathBuf]) -> Result<Vec<PathBuf>, ArchiveError> {
        let mut kept = Vec::new();
        for suite in list(&self.directory)? {
            kept.extend(list(&suite)?);
        }
        kept.retain(|it| !expired.contains(it));
        Ok(kept)
    }
}

/// Lists a directory in order of names, without unfinished files; a missing one is empty.
fn list(directory: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(ArchiveError::read(directory))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(ArchiveError::read(directory))?;
        if !durable::is_unfinished(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
