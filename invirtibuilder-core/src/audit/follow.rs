//! Reading the log from a place on, again and again, as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AuditError, AuditLog, Entry, Happened, Head, Line, MAX_LINE, hash_of};
use crate::durable::Lock;
use crate::names::JobId;

/// How many bytes at the end of the log are searched first.
const FIRST_WINDOW: u64 = 64 << 10;

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The number of the record before it; zero at the beginning.
    pub(crate) seq: u64,
    /// Where it is in the file, in bytes.
    pub(crate) offset: u64,
}

/// A record, and the place after it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) line: Line,
    pub(crate) next: Place,
    hash: String,
}

impl Record {
    /// Returns where the log ended when it had this record.
    pub(crate) fn head(&self) -> Head {
        Head { seq: self.line.seq, hash: self.hash.clone() }
    }
}

impl AuditLog {
    /// Returns how many bytes the file has.
    pub(crate) fn length(&self) -> u64 {
        std::fs::metadata(self.path()).map_or(0, |it| it.len())
    }

    /// Reads the records after a place, as far as they are synced now.
    ///
    /// # Errors
    /// The log cannot be read, or has no record that follows the place: its past is not what it was.
    pub(crate) fn follow(
        &self,
        place: Place,
    ) -> Result<impl Iterator<Item = Result<Record, AuditError>>, AuditError> {
        let end = if self.length() == 0 {
            0
        } else {
            // Whoever is writing a record syncs it before it lets the lock go.
            let _lock = Lock::wait(&self.lock)?;
            self.end()?.length
        };
        let mut reader: Box<dyn BufRead> = Box::new(io::empty());
        if place.offset < end {
            let mut file = File::open(self.path()).map_err(|e| self.unreadable(e))?;
            file.seek(SeekFrom::Start(place.offset)).map_err(|e| self.unreadable(e))?;
            reader = Box::new(BufReader::with_capacity(64 << 10, file));
        }
        let (log, mut place) = (self.clone(), place);
        Ok(std::iter::from_fn(move || {
            (place.offset < end).then(|| {
                let mut text = String::new();
                let read = Read::take(&mut reader, MAX_LINE + 1).read_line(&mut text);
                let read = read.map_err(|e| log.unreadable(e));
                let length = match read {
                    Ok(length) => length as u64,
                    Err(e) => {
                        place.offset = end;
                        return Err(e);
                    }
                };
                let text = text.trim_end_matches('\n');
                let line = serde_json::from_str::<Line>(text).ok().filter(|it| it.seq == place.seq + 1);
                let Some(line) = line else {
                    let after = place.seq;
                    place.offset = end;
                    return Err(log.gap(after));
                };
                place = Place { seq: line.seq, offset: place.offset + length };
                Ok(Record { line, next: place, hash: hash_of(text) })
            })
        }))
    }

    /// Returns whether it is recorded that something happened to a job. Looks no further back than the job is old.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn has(&self, event: Happened, job: &JobId) -> Result<bool, AuditError> {
        Ok(self.last(event, job)?.is_some())
    }

    /// Returns the last record of something that happened to a job. Looks no further back than the job is old.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn last(&self, event: Happened, job: &JobId) -> Result<Option<Entry>, AuditError> {
        let (end, submitted) = (self.end()?.length, time_of(job));
        let mut window = FIRST_WINDOW;
        loop {
            let from = end.saturating_sub(window);
            let mut lines = self.between(from, end)?;
            let is_it = |it: &Line| it.entry.event == event && it.entry.job.as_ref() == Some(job);
            if let Some(at) = lines.iter().rposition(is_it) {
                return Ok(Some(lines.swap_remove(at).entry));
            }
            if from == 0 || lines.first().is_some_and(|it| submitted.is_some_and(|time| it.time < time)) {
                return Ok(None);
            }
            window = window.saturating_mul(4);
        }
    }

    /// Reads the records that lie as a whole between two places of the file.
    fn between(&self, from: u64, end: u64) -> Result<Vec<Line>, AuditError> {
        if end == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        let mut file = File::open(self.path()).map_err(|e| self.unreadable(e))?;
        file.seek(SeekFrom::Start(from)).map_err(|e| self.unreadable(e))?;
        Read::take(file, end - from).read_to_end(&mut bytes).map_err(|e| self.unreadable(e))?;
        let lines = bytes.split(|it| *it == b'\n').skip(usize::from(from > 0));
        Ok(lines.filter_map(|it| serde_json::from_slice(it).ok()).collect())
    }

    fn gap(&self, after: u64) -> AuditError {
        AuditError::Gap { path: self.path().to_owned(), after }
    }
}

/// Returns the moment that a job's id names.
fn time_of(job: &JobId) -> Option<Timestamp> {
    let (time, _) = job.as_str().split_once('_')?;
    jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", time)
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|it| it.timestamp())
}
