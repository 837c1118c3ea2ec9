//! `submit`: asks for a commit to be published.

use std::time::Duration;

use invirtibuilder_core::job::{Job, JobState, Outcome};
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::queue::Submission;
use invirtibuilder_core::site::{Exit, Site, Submitted, Words};
use invirtibuilder_core::stop::Stop;

use super::{Answer, wait_for_change};
use crate::context::{Context, Failure, principal};
use crate::output::{self, escape, remark};
use crate::progress;

/// Ask for a commit of a package to be published in a pocket
///
/// The request is checked against the pocket's policy at once; every rule that it breaks is named, with what to
/// do. Then it waits in the queue for `invirtibuilder work`. Prints the id of the job, alone, on standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  invirtibuilder submit dev hello $(git -C hello rev-parse HEAD) --wait")]
pub(crate) struct Arguments {
    /// The pocket to publish in; `invirtibuilder pocket list` names them
    pocket: String,
    /// The source package
    package: String,
    /// The full id of the commit, as `git rev-parse HEAD` prints it
    commit: String,
    /// Wait until the job has ended, and exit as it did
    #[arg(long)]
    wait: bool,
    /// Ask in the name of another, if the configuration lets you
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let principal = principal(&site, arguments.principal.as_deref())?;
    let Arguments { pocket, package, commit, .. } = arguments;
    let submitted = site.submit(Words { pocket, package, commit, principal: &principal })?;
    report(&submitted, context, pocket)?;
    match submitted {
        Submitted::Queued(submission) if arguments.wait => wait(&site, &submission.job().id, context),
        _ => Ok(Exit::Done),
    }
}

/// Prints what became of a request.
pub(super) fn report(submitted: &Submitted, context: &Context, pocket: &str) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "lowercase", tag = "submission")]
    enum Report<'a> {
        Accepted { job: &'a JobId },
        AlreadyQueued { job: &'a JobId },
        Current { version: &'a str },
    }
    let report = match submitted {
        Submitted::Queued(Submission::Accepted(job)) => Report::Accepted { job: &job.id },
        Submitted::Queued(Submission::AlreadyQueued(job)) => {
            remark(&format!("job {} asks for the same already", job.id));
            Report::AlreadyQueued { job: &job.id }
        }
        Submitted::Current(version) => {
            remark(&format!(
                "{} already has version {version} from this commit; there is nothing to do",
                escape(pocket)
            ));
            Report::Current { version: version.as_str() }
        }
    };
    context.output().answer(&report, |to| match &report {
        Report::Accepted { job } | Report::AlreadyQueued { job } => writeln!(to, "{job}"),
        Report::Current { .. } => Ok(()),
    })
}

/// Waits until a job has ended.
pub(super) fn wait(site: &Site, id: &JobId, context: &Context) -> Answer {
    const LOOK: Duration = Duration::from_millis(500);
    let stop = Stop::new()?;
    let (mut shown, mut given_back, mut told) = (None, 0, false);
    loop {
        match site.job(id)? {
            JobState::Ended(ended) => {
                if !context.is_json() {
                    remark(&progress::ending(&ended.job, &ended.outcome));
                }
                explain(&ended.outcome);
                return Ok(Exit::of_outcome(&ended.outcome));
            }
            state @ JobState::Waiting { behind: None, .. } if attempts(state.job()) > given_back => {
                given_back = attempts(state.job());
                remark(&format!("{id} waits: {}", super::status::explain(&state)));
            }
            state @ JobState::Waiting { .. } if waits_for(&state) && !told => {
                told = true;
                remark(&format!("{id} waits {}", super::status::explain(&state)));
            }
            JobState::Running { job, stage: Some(stage), .. } if shown != Some(stage) => {
                remark(&progress::stage_line(&job, stage));
                shown = Some(stage);
            }
            _ => wait_for_change(site, LOOK, &stop)?,
        }
    }
}

fn waits_for(state: &JobState) -> bool {
    matches!(state, JobState::Waiting { behind: None, waits_for, .. } if !waits_for.is_empty())
}

fn attempts(job: &Job) -> u32 {
    job.given_back.as_ref().map_or(0, |it| it.attempts)
}

/// Says why a job did not succeed.
fn explain(outcome: &Outcome) {
    match outcome {
        Outcome::Rejected { reasons, .. } => {
            for reason in reasons {
                output::complain(reason);
            }
        }
        Outcome::Failed { causes, log, .. } => {
            for cause in causes {
                output::complain(cause);
            }
            if let Some(log) = log {
                remark(&format!("the log is {}", log.display()));
            }
        }
        Outcome::Superseded { reason } => output::complain(reason),
        Outcome::Cancelled { by } => output::complain(&format!("cancelled by {by}")),
        Outcome::Published { .. } | Outcome::Current { .. } => (),
    }
}
