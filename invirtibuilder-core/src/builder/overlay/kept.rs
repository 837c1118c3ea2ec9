//! What failed builds wrote, kept for a while so that somebody can look at it.
//!
//! A kept tree lies in the store like a layer, and has a record beside it that says how to enter it. Without a record
//! it is what a dead run left. Never pins a base or a layer: what is older than these is no longer of use.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Workplace;
use super::build::{Build, steps};
use super::layer::size;
use super::memory::Space;
use super::room::{Keep, OWNERS, Step};
use super::store::{Kind, Store};
use crate::builder::scratch::{Entry, Part};
use crate::builder::walls::Walls;
use crate::durable;
use crate::error::BoxError;
use crate::names::{Architecture, JobId};

/// For how long, and how many of them, failed builds are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFailed {
    /// How long after its end; zero to keep none.
    pub time: Duration,
    /// How many bytes all of them may take, on disk.
    pub bytes: u64,
}

impl Default for KeepFailed {
    /// A day, and 10 GiB.
    fn default() -> Self {
        Self { time: Duration::from_secs(24 * 3600), bytes: 10 << 30 }
    }
}

impl KeepFailed {
    /// Nothing is kept.
    pub const OFF: Self = Self { time: Duration::ZERO, bytes: 0 };

    fn is_off(self) -> bool {
        self.time.is_zero() || self.bytes == 0
    }
}

/// What is known of a kept tree.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    job: JobId,
    architecture: Architecture,
    ended: Timestamp,
    bytes: u64,
    /// The base that it lies on.
    pub(super) tree: String,
    /// The layer that it lies on.
    pub(super) layer: String,
    /// What failed: a program in its directory, with its environment.
    pub(super) step: Step,
}

/// Where a build's tree will be kept, should it fail.
#[derive(Debug)]
pub(super) struct Keeping<'a> {
    config: KeepFailed,
    /// Where what is written to memory is carried to; `None` for a build that is on a disk.
    entry: Option<Entry>,
    store: &'a Store,
}

impl<'a> Keeping<'a> {
    /// Makes the place; `None` if nothing is to be kept.
    pub(super) fn prepare(
        config: KeepFailed,
        place: &Workplace<'a>,
        space: Space,
    ) -> Result<Option<Self>, BoxError> {
        if config.is_off() {
            return Ok(None);
        }
        let entry = match space {
            Space::Memory(_) => Some(place.store.workshop().enter(place.walls)?),
            Space::Disk => None,
        };
        Ok(Some(Self { config, entry, store: place.store }))
    }

    /// Returns what the room has to do for it.
    pub(super) fn plan(&self) -> Option<Keep> {
        let entry = self.entry.as_ref()?;
        Some(Keep { into: entry.part(Part::Chroots), bytes: self.config.bytes })
    }

    /// Keeps what a build wrote that failed in its room `entry`, and says so. That it cannot is no failure of its own.
    pub(super) fn keep(self, build: &Build<'_>, entry: &Entry, log: &mut dyn Write) -> Result<(), BoxError> {
        let made = self.entry.as_ref().unwrap_or(entry);
        let said = match self.store_away(build, made) {
            Ok(None) => {
                let job = build.source.plan().job();
                format!("what it wrote is kept for a while; look at it with: invirtibuilder shell {}", job.id)
            }
            Ok(Some(reason)) => format!("what it wrote is not kept: {reason}"),
            Err(e) => {
                tracing::warn!(error = %e, "what a failed build wrote cannot be kept");
                format!("what it wrote is not kept: {e}")
            }
        };
        writeln!(log, "invirtibuilder: {said}")?;
        self.entry.map_or(Ok(()), Entry::remove)
    }

    /// Returns why it is not kept.
    fn store_away(&self, build: &Build<'_>, made: &Entry) -> Result<Option<&'static str>, BoxError> {
        let directory = made.part(Part::Chroots);
        let walls = build.place.walls;
        let upper = directory.join("upper");
        if !upper.is_dir() {
            return Ok(Some("there was no time to carry it out of memory"));
        }
        if self.entry.is_some() && fs::metadata(directory.join(OWNERS)).map_or(true, |it| it.len() == 0) {
            return Ok(Some("it was ended while it was in memory, or is more than builder.keep_failed_size"));
        }
        let bytes = size(&upper, walls)?;
        if bytes > self.config.bytes {
            return Ok(Some("it is more than builder.keep_failed_size"));
        }
        let Some(step) = steps(build.source, build.target).pop() else {
            return Ok(Some("nothing was to be done"));
        };
        let record = Record {
            job: build.source.plan().job().id.clone(),
            architecture: build.target.architecture.clone(),
            ended: Timestamp::now(),
            bytes,
            tree: build.tree.id.clone(),
            layer: build.layer.name.clone(),
            step,
        };
        let name = name(&record.job, &record.architecture);
        remove(self.store, &name, walls)?;
        // As while it was built, only the account of builds gets in.
        durable::set_mode(&directory, 0o700)?;
        self.store.keep(Kind::Failed, &name, made, Part::Chroots)?;
        durable::write(&record_of(self.store, &name)?, &serde_json::to_vec_pretty(&record)?)?;
        evict(self.store, &|| Ok(walls.clone()), self.config)?;
        Ok(None)
    }
}

fn name(job: &JobId, architecture: &Architecture) -> String {
    format!("{job}-{architecture}")
}

fn record_of(store: &Store, name: &str) -> Result<PathBuf, BoxError> {
    Ok(store.all(Kind::Failed)?.join(format!("{name}.json")))
}

fn read(store: &Store, name: &str) -> Result<Option<Record>, BoxError> {
    let text = fs::read(record_of(store, name)?).ok();
    Ok(text.and_then(|it| serde_json::from_slice(&it).ok()))
}

/// Returns what is kept of a job: the name of each tree, and for which architecture it was built.
pub(super) fn of_job(store: &Store, job: &JobId) -> Result<Vec<(String, Architecture, Record)>, BoxError> {
    let mut found = Vec::new();
    for name in store.names(Kind::Failed)? {
        if let Some(record) = read(store, &name)?.filter(|it| it.job == *job) {
            found.push((name, record.architecture.clone(), record));
        }
    }
    Ok(found)
}

/// Removes what is kept for too long or is too much, the oldest first, and what has no record. What somebody looks at
/// stays.
pub(super) fn evict(
    store: &Store,
    walls: &dyn Fn() -> Result<Walls, BoxError>,
    config: KeepFailed,
) -> Result<(), BoxError> {
    if !store.directory().join(Kind::Failed.directory()).is_dir() {
        return Ok(());
    }
    let walls = &walls()?;
    let mut all = Vec::new();
    for name in store.names(Kind::Failed)? {
        match read(store, &name)? {
            Some(record) => all.push((record.ended, record.bytes, name)),
            None => drop(remove(store, &name, walls)?),
        }
    }
    all.sort();
    let mut total = all.iter().fold(0_u64, |sum, it| sum.saturating_add(it.1));
    for (ended, bytes, name) in all {
        let age = Duration::try_from(Timestamp::now().duration_since(ended)).unwrap_or_default();
        if (age >= config.time || total > config.bytes) && remove(store, &name, walls)? {
            total = total.saturating_sub(bytes);
        }
    }
    Ok(())
}

/// Removes a kept tree unless somebody looks at it. Returns whether it did.
fn remove(store: &Store, name: &str, walls: &Walls) -> Result<bool, BoxError> {
    let removed = store.remove(Kind::Failed, name, walls)?;
    if removed {
        durable::discard(&record_of(store, name)?);
        // No other job has this name.
        durable::discard(&store.all(Kind::Failed)?.join(format!("{name}.lock")));
    }
    Ok(removed)
}
