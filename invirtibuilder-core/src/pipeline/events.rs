//! What the hooks are told about the end of a job.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::hooks::{Event, EventKind};
use crate::job::{Job, Outcome};

/// Returns the event of a job's end.
pub(super) fn event_of(job: &Job, outcome: &Outcome, log: Option<PathBuf>) -> Event {
    let (kind, version) = match outcome {
        Outcome::Published { version, .. } | Outcome::Current { version } => {
            (EventKind::Published, Some(version.clone()))
        }
        Outcome::Rejected { .. } => (EventKind::Refused, None),
        Outcome::Failed { .. } | Outcome::Cancelled { .. } => (EventKind::Failed, None),
    };
    Event {
        kind,
        pocket: Some(job.request.pocket.clone()),
        package: job.request.package.clone(),
        version,
        commit: Some(job.request.commit.clone()),
        principal: job.request.principal.clone(),
        job: Some(job.id.clone()),
        log,
        outcome: Some(outcome.clone()),
        time: Timestamp::now(),
    }
}
