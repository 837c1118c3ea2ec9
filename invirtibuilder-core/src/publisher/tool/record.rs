//! The record of a suite: which state of it is published, or is to be.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest, Sha256};

use super::{Place, ToolError};
use crate::control::hex;
use crate::durable;

/// How far the publication of a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Begun, after what was prepared by the same process.
    Publishing,
    /// Begun, perhaps by a process that died: nothing is known of what it did.
    Again,
    /// Begun, and what the program was told of the suite is not what it was told before.
    Anew,
    /// Ended, and read back.
    Published,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Again => "again",
            Self::Anew => "anew",
            Self::Published => "published",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Publishing, Self::Again, Self::Anew, Self::Published]
            .into_iter()
            .find(|it| it.as_str() == text)
    }
}

/// What is known of a suite's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) phase: Phase,
    /// The SHA-256 sum of what the program was told of the suite.
    pub(super) configuration: String,
}

/// Returns the sum of what a program is told of a suite.
pub(super) fn sum(configuration: &str) -> String {
    hex(&Sha256::digest(configuration.as_bytes()))
}

impl Record {
    /// Reads the record; `None` if the suite was never made.
    pub(super) fn read(place: &Place<'_>) -> Result<Option<Self>, ToolError> {
        let path = place.state().join("record");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(ToolError::read(&path))?,
        };
        let record = Self::parse(&text);
        record.map(Some).ok_or_else(|| ToolError::Damaged { path, problem: "is not a record".to_owned() })
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(": "));
        Some(Self {
            number: field("number")?.parse().ok()?,
            phase: Phase::parse(field("phase")?)?,
            configuration: field("configuration")?.to_owned(),
        })
    }

    /// Writes it: the one moment in which a change is decided.
    pub(super) fn write(&self, place: &Place<'_>) -> Result<(), ToolError> {
        let mut text = String::new();
        let _ = writeln!(text, "number: {}\nphase: {}", self.number, self.phase.as_str());
        let _ = writeln!(text, "configuration: {}", self.configuration);
        Ok(durable::write(&place.state().join("record"), text.as_bytes())?)
    }

    /// Returns the same in another phase.
    pub(super) fn with(&self, phase: Phase) -> Self {
        Self { phase, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_cut_off_is_none() {
        let whole = "number: 7\nphase: published\nconfiguration: ab\n";
        assert_eq!(Record::parse(whole).unwrap().number, 7);
        assert_eq!(Record::parse("number: 7\nphase: publi"), None);
        assert_eq!(Record::parse(""), None);
    }
}
