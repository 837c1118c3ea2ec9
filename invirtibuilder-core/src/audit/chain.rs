//! Whether the log's past is what it was.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use super::{AuditError, AuditLog, BEGINNING, Head, Line, MAX_LINE, hash_of};

/// The chain is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where it ends; `None` if there is no record.
    pub head: Option<Head>,
    /// Whether something follows the last record that was never acknowledged.
    pub has_rest: bool,
}

/// What is wrong with the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A line is no record.
    Unreadable {
        /// Its number in the file, from 1 on.
        line: u64,
    },
    /// A line does not follow the one before: one of the two was changed, or others were removed or inserted between
    /// them.
    Unchained {
        /// Its number in the file, from 1 on.
        line: u64,
        /// The number of the record that it is.
        seq: u64,
    },
    /// The log ends before a head that somebody was told of.
    Cut {
        /// That head.
        known: Head,
        /// Where it ends; `None` if it is empty.
        found: Option<Head>,
    },
    /// The chain is whole, but it is another one than that of a head that somebody was told of.
    Rewritten {
        /// That head.
        known: Head,
        /// The hash that its record has now.
        found: String,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { line } => write!(f, "line {line} is no record"),
            Self::Unchained { line, seq } => write!(
                f,
                "line {line}, record {seq}, does not follow the line before: one of them was changed, or lines were removed or inserted between them"
            ),
            Self::Cut { known, found: Some(found) } => {
                write!(f, "it ends with record {}, but there was a record {}", found.seq, known.seq)
            }
            Self::Cut { known, found: None } => {
                write!(f, "it is empty, but there was a record {}", known.seq)
            }
            Self::Rewritten { known, found } => write!(
                f,
                "record {} has the hash {found}, but it had {}: everything up to it may have been rewritten",
                known.seq, known.hash
            ),
        }
    }
}

impl AuditLog {
    /// Proves that no line was changed, removed or inserted; with a head that was known before, also that the chain
    /// was not written anew.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn verify(&self, known: Option<&Head>) -> Result<Result<Verified, Broken>, AuditError> {
        let mut head: Option<Head> = None;
        let mut has_rest = false;
        for (number, line) in (1..).zip(self.lines()?) {
            let text = match line? {
                Whole::Line(text) => text,
                Whole::Rest => {
                    has_rest = true;
                    break;
                }
                Whole::NoText => return Ok(Err(Broken::Unreadable { line: number })),
            };
            let Ok(line) = serde_json::from_str::<Line>(&text) else {
                return Ok(Err(Broken::Unreadable { line: number }));
            };
            let (seq, prev) = head.as_ref().map_or((1, BEGINNING), |it| (it.seq + 1, it.hash.as_str()));
            if line.seq != seq || line.prev != prev {
                return Ok(Err(Broken::Unchained { line: number, seq: line.seq }));
            }
            let here = Head { seq, hash: hash_of(&text) };
            if let Some(known) = known.filter(|it| it.seq == seq && it.hash != here.hash) {
                return Ok(Err(Broken::Rewritten { known: known.clone(), found: here.hash }));
            }
            head = Some(here);
        }
        Ok(match known.filter(|known| head.as_ref().is_none_or(|it| it.seq < known.seq)) {
            Some(known) => Err(Broken::Cut { known: known.clone(), found: head }),
            None => Ok(Verified { head, has_rest }),
        })
    }

    /// Reads the records, the earliest first. What is no record is left out: `verify` tells of it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn read(&self) -> Result<impl Iterator<Item = Result<Line, AuditError>>, AuditError> {
        Ok(self.lines()?.filter_map(|it| match it {
            Ok(Whole::Line(text)) => serde_json::from_str(&text).ok().map(Ok),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        }))
    }

    fn lines(&self) -> Result<impl Iterator<Item = Result<Whole, AuditError>>, AuditError> {
        let reader: Box<dyn BufRead> = match File::open(self.path()) {
            Ok(file) => Box::new(BufReader::with_capacity(256 << 10, file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Box::new(io::empty()),
            Err(e) => return Err(self.unreadable(e)),
        };
        let (log, mut reader) = (self.clone(), reader);
        Ok(std::iter::from_fn(move || {
            let mut bytes = Vec::new();
            let read = io::Read::take(&mut reader, MAX_LINE + 1).read_until(b'\n', &mut bytes);
            match read {
                Ok(0) => None,
                Ok(_) if bytes.pop() != Some(b'\n') => Some(Ok(Whole::Rest)),
                Ok(_) => Some(Ok(String::from_utf8(bytes).map_or(Whole::NoText, Whole::Line))),
                Err(e) => Some(Err(log.unreadable(e))),
            }
        }))
    }
}

/// A line of the file.
enum Whole {
    Line(String),
    /// One that is not UTF-8.
    NoText,
    /// What follows the last line.
    Rest,
}
