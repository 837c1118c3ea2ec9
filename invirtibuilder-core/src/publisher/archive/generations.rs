//! What a suite served before: the numbered states that it was in, their records, and how long they stay.
//!
//! Each publication writes the record of its generation before readers are told of it. That a generation came to be
//! is what `InRelease` says, never a record: one whose number is above that is of a publication which did not finish.

mod expire;
mod orphans;
mod policy;
mod record;
mod restore;
mod snapshots;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::release::Release;
use super::{Archive, ArchiveError};
use crate::durable::{self, NewFile};
use crate::names::{JobId, PackageName, Suite};
use crate::publisher::Generation;

pub use expire::{Expiry, Removal};
pub use policy::{Keep, Retention};
use record::Record;
pub use record::{Cause, Changed};
pub(super) use record::{PoolFiles, Reason};
pub(super) use snapshots::DIRECTORY as SNAPSHOTS;

/// What the name of a record ends with whose generation is not kept any longer.
const GONE: &str = "gone";

/// A generation that can be read and returned to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptGeneration {
    /// Its number.
    pub generation: Generation,
    /// When it came.
    pub time: Timestamp,
    /// Why it came.
    pub cause: Cause,
    /// The job or the rollback that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What changed.
    pub changes: Vec<Changed>,
    /// Why it is kept; `None` if nothing keeps it, and it goes when the archive next expires.
    pub kept: Option<Keep>,
}

/// The records of the suites: one directory each, one file a generation.
#[derive(Debug)]
pub(super) struct Records {
    directory: PathBuf,
    policy: Retention,
}

/// The records of one suite, by number.
#[derive(Debug, Default)]
struct SuiteRecords {
    /// Those of the generations that can be read.
    kept: BTreeMap<u64, Record>,
    /// Those of the generations that cannot, but whose files may still be there.
    gone: BTreeMap<u64, Record>,
}

impl SuiteRecords {
    fn all(&self) -> BTreeMap<u64, &Record> {
        self.kept.iter().chain(&self.gone).map(|it| (*it.0, it.1)).collect()
    }
}

impl Records {
    pub(super) fn new(directory: PathBuf, policy: Retention) -> Self {
        Self { directory, policy }
    }

    fn path(&self, suite: &Suite, generation: u64) -> PathBuf {
        self.directory.join(suite.as_str()).join(generation.to_string())
    }

    /// Begins the record of the generation that `release` makes, signed as `signed`.
    pub(super) fn stage(
        &self,
        suite: &Suite,
        release: &Release,
        signed: &[u8],
        reason: Reason,
        (before, arriving): (PoolFiles, PoolFiles),
    ) -> Result<NewFile, ArchiveError> {
        let generation = release.generation.unwrap_or(Generation::new(1));
        let path = self.path(suite, generation.number());
        durable::create_directory(path.parent().unwrap_or(&path))?;
        let mut record = Record {
            generation,
            time: Timestamp::now(),
            reason,
            before,
            arriving,
            strays: std::collections::BTreeSet::new(),
            signed: String::from_utf8_lossy(signed).into_owned(),
        };
        // A publication that never finished had the same number. What it left would be unknown without its record.
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Some(unfinished) = Record::parse(&text)
        {
            let indices = unfinished.release().map(|it| by_hash(suite, &it)).unwrap_or_default();
            record.strays.extend(indices);
            record.strays.extend(unfinished.arriving.into_keys());
            record.strays.extend(unfinished.strays);
        }
        let mut file = NewFile::create(&path)?;
        file.write_all(record.to_text().as_bytes()).map_err(ArchiveError::write(&path))?;
        Ok(file)
    }

    /// Reads the record of a generation that can be read; `None` if there is none.
    fn read(&self, suite: &Suite, generation: u64) -> Result<Option<Record>, ArchiveError> {
        read(&self.path(suite, generation))
    }

    /// Reads all records of a suite whose numbers are not above `current`.
    fn read_all(&self, suite: &Suite, current: u64) -> Result<SuiteRecords, ArchiveError> {
        let mut records = SuiteRecords::default();
        for (number, is_gone, path) in self.list(suite)? {
            if number > current {
                continue;
            }
            if let Some(record) = read(&path)? {
                let all = if is_gone { &mut records.gone } else { &mut records.kept };
                all.insert(number, record);
            }
        }
        Ok(records)
    }

    /// Lists the records of a suite: number, whether the generation is gone, path.
    fn list(&self, suite: &Suite) -> Result<Vec<(u64, bool, PathBuf)>, ArchiveError> {
        let mut found = Vec::new();
        for path in super::generations::list(&self.directory.join(suite.as_str()))? {
            let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
            let (number, is_gone) = match name.split_once('.') {
                None => (name, false),
                Some((number, GONE)) => (number, true),
                Some(_) => continue,
            };
            if let Some(number) = number.parse().ok().filter(|it: &u64| it.to_string() == number) {
                found.push((number, is_gone, path));
            }
        }
        Ok(found)
    }
}

impl Archive {
    /// Returns the generation that a suite serves; `None` if there is no such suite, or it has no number yet.
    pub(super) fn served_generation(&self, suite: &Suite) -> Result<Option<Generation>, ArchiveError> {
        Ok(self.release(suite)?.and_then(|it| it.generation))
    }

    /// Returns the SHA-256 sum of the `InRelease` that first told readers of a generation; `None` if its record is lost.
    pub(super) fn sum_of_in_release(
        &self,
        suite: &Suite,
        generation: Generation,
    ) -> Result<Option<String>, ArchiveError> {
        let path = self.records.path(suite, generation.number());
        let record = match read(&path)? {
            None => read(&path.with_extension(GONE))?,
            found => found,
        };
        Ok(record.map(|it| super::Sum::of(it.signed.as_bytes()).sha256))
    }

    /// Finds the generation in which a package came as a suite serves it: the one that `job` made, or else the last
    /// one that changed the package, or else, if no record tells, the one that is served.
    pub(super) fn generation_of(
        &self,
        suite: &Suite,
        package: &PackageName,
        job: &JobId,
    ) -> Result<Option<Generation>, ArchiveError> {
        let Some(current) = self.served_generation(suite)? else { return Ok(None) };
        let mut numbers: Vec<u64> = self.records.list(suite)?.into_iter().map(|it| it.0).collect();
        numbers.retain(|it| *it <= current.number());
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let mut last = None;
        for number in numbers {
            let path = self.records.path(suite, number);
            let record = match read(&path)? {
                Some(record) => record,
                None => match read(&path.with_extension(GONE))? {
                    Some(record) => record,
                    None => continue,
                },
            };
            if record.reason.changes.iter().any(|it| it.package == *package) {
                if record.reason.job.as_ref() == Some(job) {
                    return Ok(Some(record.generation));
                }
                last = last.or(Some(record.generation));
            }
        }
        Ok(Some(last.unwrap_or(current)))
    }

    /// Makes the snapshot of a switch that is done, and removes what nobody needs any longer. The switch is done
    /// whatever happens here.
    pub(super) fn settle(&self, suite: &Suite, release: &Release) {
        let report = |result: Result<(), ArchiveError>, problem: &str| {
            if let Err(error) = result {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "{problem}");
            }
        };
        report(self.make_snapshot(suite, release), "a snapshot was not made; the next start makes it again");
        let number = release.generation.map_or(0, Generation::number);
        report(
            self.expire_if_due(suite, number),
            "superseded files were not removed; a later publication tries again",
        );
    }

    /// Makes what a loss of power, or the death of the process that made them, took of the snapshots. The caller
    /// holds the lock.
    pub(super) fn mend_generations(&self, suite: &Suite) -> Result<(), ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(()) };
        let Some(current) = release.generation else { return Ok(()) };
        let mut missing = Vec::new();
        for (number, is_gone, path) in self.records.list(suite)? {
            let own = self.snapshot_directory(suite, Generation::new(number));
            let is_whole =
                || std::fs::symlink_metadata(own.join("dists").join(suite.as_str()).join("InRelease"));
            if number <= current.number() && !is_gone && !is_whole().is_ok_and(|it| it.len() > 0) {
                missing.extend(read(&path)?);
                if number == current.number() {
                    // While it is served, it has files that no record has: the signature apart from its text.
                    self.make_snapshot(suite, &release)?;
                }
            }
        }
        self.mend_snapshots(suite, missing.iter())
    }

    /// Returns the generations of a suite that can be read, the latest first.
    ///
    /// # Errors
    /// The suite or its records cannot be read.
    pub fn generations(&self, suite: &Suite) -> Result<Vec<KeptGeneration>, crate::error::PublishError> {
        Ok(self.read_generations(suite)?)
    }

    fn read_generations(&self, suite: &Suite) -> Result<Vec<KeptGeneration>, ArchiveError> {
        let Some(current) = self.served_generation(suite)? else { return Ok(Vec::new()) };
        let records = self.records.read_all(suite, current.number())?;
        let mut why = policy::keep(&records, current.number(), Timestamp::now(), self.records.policy);
        let one = |(number, record): (u64, Record)| KeptGeneration {
            generation: record.generation,
            time: record.time,
            cause: record.reason.cause,
            job: record.reason.job,
            changes: record.reason.changes,
            kept: why.remove(&number),
        };
        Ok(records.kept.into_iter().rev().map(one).collect())
    }
}

/// Returns the indices that a release of a suite names, as paths below the archive.
fn by_hash(suite: &Suite, release: &Release) -> Vec<String> {
    release.files.iter().map(|it| format!("dists/{suite}/{}", it.by_hash())).collect()
}

/// Reads a record; `None` if there is none, or something else.
fn read(path: &Path) -> Result<Option<Record>, ArchiveError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => {
            let bytes = other.map_err(ArchiveError::read(path))?;
            Ok(Record::parse(&String::from_utf8_lossy(&bytes)))
        }
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
