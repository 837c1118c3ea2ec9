//! `show`: one job, whole.

use std::io::{self, Write};

use invirtibuilder_core::job::{JobState, Outcome};
use invirtibuilder_core::site::Exit;

use super::{Answer, status};
use crate::context::{Context, job_id};
use crate::output::{FAINT, escape, show_duration, show_time, styled};

/// Show everything about one job
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The job's id, as `submit` and `status` print it
    job: String,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let state = site.job(&job_id(&arguments.job)?)?;
    let log = site.log_of(state.job());
    context.output().answer(&state, |to| {
        show(&state, to)?;
        log.map_or(Ok(()), |log| line(to, "log", &log.display().to_string()))
    })?;
    Ok(Exit::Done)
}

fn show(state: &JobState, to: &mut dyn Write) -> io::Result<()> {
    let job = state.job();
    line(to, "job", job.id.as_str())?;
    line(to, "pocket", job.request.pocket.as_str())?;
    line(to, "package", job.request.package.as_str())?;
    line(to, "commit", job.request.commit.as_str())?;
    line(to, "principal", job.request.principal.as_str())?;
    if let Some(architecture) = &job.request.adds {
        line(to, "adds", architecture.as_str())?;
    }
    let JobState::Ended(ended) = state else { return line(to, "state", &status::explain(state)) };
    if let Some(started) = ended.started {
        line(to, "started", &show_time(started))?;
    }
    let took =
        ended.started.map_or_else(String::new, |it| format!(", after {}", show_duration(it, ended.ended)));
    line(to, "ended", &format!("{}{took}", show_time(ended.ended)))?;
    line(to, "outcome", ended.outcome.word())?;
    match &ended.outcome {
        Outcome::Published { version, copied_from, notes } => {
            line(to, "version", version.as_str())?;
            copied_from.as_ref().map_or(Ok(()), |from| line(to, "copied from", from.as_str()))?;
            notes.iter().try_for_each(|it| line(to, "note", &it.to_string()))
        }
        Outcome::Current { version } => line(to, "version", version.as_str()),
        Outcome::Rejected { reasons, .. } => reasons.iter().try_for_each(|it| line(to, "reason", it)),
        Outcome::Failed { stage, causes, .. } => {
            line(to, "stage", stage.as_str())?;
            causes.iter().try_for_each(|it| line(to, "cause", it))
        }
        Outcome::Superseded { reason } => line(to, "reason", reason),
        Outcome::Cancelled { by } => line(to, "by", by.as_str()),
    }
}

fn line(to: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(to, "{} {}", styled(FAINT, format!("{name:<12}")), escape(value))
}
