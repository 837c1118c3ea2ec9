//! The audit log: what everybody asked for and what came of it, one line a record, each chained to the one before (rule
//! H3).
//!
//! Never changes or removes a line. A record is synced before [`AuditLog::append`] returns. Who cannot write the file
//! cannot change its past unnoticed; who can, is found out by anybody who knows a later head: each notification has one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::control::hex;
use crate::durable::{self, DurableError, Lock};

mod chain;
mod follow;
mod record;

pub use chain::{Broken, Verified};
pub(crate) use follow::Place;
pub use record::{Entry, Happened};

/// What the first record is chained to.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest record, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// How many bytes at the end of the log are looked at first.
const USUAL_TAIL: u64 = 16 << 10;

/// A place in the log: a record's number, and the hash of it and so of everything before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The record's number, from 1 on, without a gap.
    pub seq: u64,
    /// The SHA-256 sum of its line, in lower-case hexadecimal.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem =
            || format!("{text:?} is not a head; write it as notifications have it, such as 17:3f2a…");
        let (seq, hash) = text.split_once(':').ok_or_else(problem)?;
        let is_hash = hash.len() == BEGINNING.len() && hash.bytes().all(|c| b"0123456789abcdef".contains(&c));
        let seq = seq.parse().ok().filter(|it| *it > 0 && is_hash).ok_or_else(problem)?;
        Ok(Self { seq, hash: hash.to_owned() })
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// The hash of the line before.
    pub prev: String,
    /// When it was written.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be read.
    #[error("cannot read the audit log {}", path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Its last line is no record, so that nothing can be chained to it.
    #[error("the last line of the audit log {} is no record; `invirtibuilder audit verify` says more", .0.display())]
    Damaged(PathBuf),
    /// Somebody knows a record that is not followed by the next one.
    #[error("the audit log {} has no record {} where it was; `invirtibuilder audit verify` says more", path.display(), after + 1)]
    Gap {
        /// The log.
        path: PathBuf,
        /// The number of the record that should be followed by the next.
        after: u64,
    },
    /// A record is too long.
    #[error("a record of {0} bytes is too long for the audit log")]
    TooLong(u64),
}

/// The log of a site. Processes may use it at the same time.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    lock: PathBuf,
}

impl AuditLog {
    /// Takes the directory of the log. Nothing is read or written before it is used.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("log"), lock: directory.join("lock") }
    }

    /// Returns the path of the file, one JSON object a line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a record, durably, and returns the new head.
    ///
    /// # Errors
    /// It could not be written; then it is not there.
    pub fn append(&self, entry: &Entry) -> Result<Head, AuditError> {
        if let Some(directory) = self.path.parent() {
            durable::create_directory(directory)?;
        }
        let _lock = Lock::wait(&self.lock)?;
        let end = self.end()?;
        let (seq, prev) = match end.head {
            Some(head) => (head.seq + 1, head.hash),
            None => (1, BEGINNING.to_owned()),
        };
        let line = Line { seq, prev, time: Timestamp::now(), entry: entry.clone() };
        let mut text = serde_json::to_string(&line).map_err(|e| self.unreadable(e.into()))?;
        if text.len() as u64 > MAX_LINE {
            return Err(AuditError::TooLong(text.len() as u64));
        }
        let hash = hash_of(&text);
        text.push('\n');
        durable::append_at(&self.path, end.length, text.as_bytes())?;
        Ok(Head { seq, hash })
    }

    /// Returns the head; `None` if there is no record.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn head(&self) -> Result<Option<Head>, AuditError> {
        Ok(self.end()?.head)
    }

    /// Reads the last line, and where it ends. What follows it was never acknowledged: its writer died.
    fn end(&self) -> Result<End, AuditError> {
        let mut file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(End { length: 0, head: None }),
            other => other.map_err(|e| self.unreadable(e))?,
        };
        let whole = file.metadata().map_err(|e| self.unreadable(e))?.len();
        // Nearly always the last line is short. Else two of the longest: one that is whole, and one that is not.
        for window in [USUAL_TAIL, 2 * MAX_LINE + 2] {
            let from = whole.saturating_sub(window);
            let mut tail = Vec::new();
            let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut tail));
            read.map_err(|e| self.unreadable(e))?;
            let Some(last) = tail.iter().rposition(|it| *it == b'\n') else {
                if from == 0 {
                    return Ok(End { length: 0, head: None });
                }
                continue;
            };
            let lines = tail.get(..last).unwrap_or_default();
            let begin = match lines.iter().rposition(|it| *it == b'\n') {
                Some(at) => at + 1,
                None if from == 0 => 0,
                None => continue,
            };
            let text = lines.get(begin..).and_then(|it| std::str::from_utf8(it).ok());
            let text = text.ok_or_else(|| self.damaged())?;
            let line: Line = serde_json::from_str(text).map_err(|_| self.damaged())?;
            let head = Head { seq: line.seq, hash: hash_of(text) };
            return Ok(End { length: from + last as u64 + 1, head: Some(head) });
        }
        Err(self.damaged())
    }

    fn unreadable(&self, source: io::Error) -> AuditError {
        AuditError::Read { path: self.path.clone(), source }
    }

    fn damaged(&self) -> AuditError {
        AuditError::Damaged(self.path.clone())
    }
}

/// Where the whole lines of the log end.
struct End {
    length: u64,
    head: Option<Head>,
}

fn hash_of(line: &str) -> String {
    hex(&Sha256::digest(line.as_bytes()))
}

#[cfg(test)]
mod tests;
