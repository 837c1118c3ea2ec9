//! What a check of the installation found: plain data, for `invirtibuilder check` and whoever else asks.
//!
//! Never looks at anything itself.

use serde::Serialize;

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// Jobs work, but somebody should look at it.
    Warning,
    /// Jobs cannot work before it is mended.
    Error,
}

/// One fact about the installation, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `program sbuild`.
    pub subject: String,
    /// How much it matters.
    pub level: Level,
    /// What was found, a phrase without a full stop.
    pub text: String,
    /// What to do, often a command to run; `None` where nothing needs to be done.
    pub remedy: Option<String>,
}

impl Finding {
    /// Reports something that is as it should be.
    #[must_use]
    pub fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Ok, text: text.into(), remedy: None }
    }

    /// Reports something that somebody should look at.
    #[must_use]
    pub fn warning(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            level: Level::Warning,
            text: text.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Reports something that must be mended first.
    #[must_use]
    pub fn error(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Error, text: text.into(), remedy: Some(remedy.into()) }
    }
}
