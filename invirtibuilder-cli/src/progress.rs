//! How a job goes on, for people to see: a line a stage.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use invirtibuilder_core::job::{Job, Outcome, Stage};
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::pipeline::Observer;
use jiff::Timestamp;

use crate::output::{
    BAD, BOLD, FAINT, GOOD, WARNING, escape, json_line, remark, short, show_duration, show_time,
    stderr_is_terminal, styled,
};

mod live;

use live::Live;

/// Writes to standard error what happens, or to standard output as a line of JSON each.
#[derive(Debug)]
pub(crate) struct Narrator {
    is_json: bool,
    live: Option<Live>,
    started: Mutex<HashMap<JobId, Timestamp>>,
}

impl Narrator {
    pub(crate) fn new(is_json: bool) -> Self {
        let live = (!is_json && stderr_is_terminal()).then(Live::start);
        Self { is_json, live, started: Mutex::default() }
    }

    fn say(&self, line: &str, object: &serde_json::Value) {
        if self.is_json {
            // A reader that went away does not stop the work.
            let _ = json_line(object);
        } else if let Some(live) = &self.live {
            live.say(line);
        } else {
            remark(line);
        }
    }

    fn took(&self, job: &Job) -> String {
        if let Some(live) = &self.live {
            live.left(job);
        }
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).remove(&job.id);
        started.map_or_else(String::new, |it| {
            styled(FAINT, format!(" ({})", show_duration(it, Timestamp::now())))
        })
    }
}

impl Observer for Narrator {
    fn claimed(&self, job: &Job) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).insert(job.id.clone(), Timestamp::now());
        let request = &job.request;
        let line = format!(
            "{} {} {} at {} for {}",
            styled(FAINT, &job.id),
            styled(BOLD, &request.package),
            styled(BOLD, format!("→ {}", request.pocket)),
            short(&request.commit),
            escape(request.principal.as_str())
        );
        self.say(&line, &serde_json::json!({ "event": "claimed", "job": job }));
    }

    fn entered(&self, job: &Job, stage: Stage) {
        if let Some(live) = &self.live {
            // The line that is drawn says it, and for how long.
            return live.entered(job, stage);
        }
        self.say(
            &stage_line(job, stage),
            &serde_json::json!({ "event": "entered", "job": job.id, "stage": stage }),
        );
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        let line = format!("{}{}", ending(job, outcome), self.took(job));
        self.say(&line, &serde_json::json!({ "event": "ended", "job": job.id, "result": outcome }));
    }

    fn given_back(&self, job: &Job, reason: &str, not_before: Timestamp) {
        if let Some(live) = &self.live {
            live.left(job);
        }
        let line = format!(
            "{} {}: {}; the next try is at {}",
            styled(FAINT, &job.id),
            styled(WARNING, "given back"),
            escape(reason),
            show_time(not_before)
        );
        let object = serde_json::json!({ "event": "given-back", "job": job.id, "reason": reason, "not_before": not_before });
        self.say(&line, &object);
    }
}

/// Returns the line that says that a job entered a stage.
pub(crate) fn stage_line(job: &Job, stage: Stage) -> String {
    format!("{} {}", styled(FAINT, &job.id), stage.as_str())
}

/// Returns the line that says how a job ended.
pub(crate) fn ending(job: &Job, outcome: &Outcome) -> String {
    let Job { id, request, .. } = job;
    let added = request.adds.as_ref().map(|it| format!(", added {it}")).unwrap_or_default();
    let text = match outcome {
        Outcome::Published { version, copied_from, notes } => {
            let copied = copied_from.as_ref().map_or_else(String::new, |it| format!(", copied from {it}"));
            let noted = match notes.len() {
                0 => String::new(),
                1 => format!("; {}", styled(WARNING, "one note of its gates")),
                several => format!("; {}", styled(WARNING, format!("{several} notes of its gates"))),
            };
            let published = styled(GOOD, "published");
            format!("{published} {} {version} in {}{copied}{added}{noted}", request.package, request.pocket)
        }
        Outcome::Current { version } => {
            format!(
                "{}: {} has {} {version} already",
                styled(GOOD, "nothing to do"),
                request.pocket,
                request.package
            )
        }
        Outcome::Rejected { reasons, .. } => {
            format!("{}: {}", styled(BAD, "rejected"), escape(&reasons.join("; ")))
        }
        Outcome::Failed { stage, causes, .. } => {
            let adding = request.adds.as_ref().map(|it| format!(" for {it}")).unwrap_or_default();
            format!("{} in {}{adding}: {}", styled(BAD, "failed"), stage.as_str(), escape(&causes.join(": ")))
        }
        Outcome::Superseded { reason } => format!("{}: {}", styled(WARNING, "superseded"), escape(reason)),
        Outcome::Cancelled { by } => format!("{} by {}", styled(WARNING, "cancelled"), escape(by.as_str())),
    };
    format!("{} {text}", styled(FAINT, id))
}
