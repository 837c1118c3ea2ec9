//! `work`: takes jobs from the queue and works them.

use std::num::NonZeroUsize;

use invirtibuilder_core::job::Outcome;
use invirtibuilder_core::site::{Exit, SiteError};
use invirtibuilder_core::stop::Stop;
use invirtibuilder_core::worker::Until;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Answer;
use crate::context::{Context, Failure};
use crate::output::{remark, stderr_is_terminal};
use crate::progress::Narrator;

/// Work the queue: validate, build, publish, record, and tell the hooks
///
/// Runs until it is stopped by SIGINT or SIGTERM; then builds are interrupted and begin again at the next start,
/// and jobs that are being published are completed. Kill it at any moment: the next start takes up what it left.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Work one job, and end
    #[arg(long, conflicts_with = "until_empty")]
    once: bool,
    /// End when no job can be worked
    #[arg(long)]
    until_empty: bool,
    /// How many jobs are worked side by side; those of one package are always worked in order
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let stop = Stop::new()?;
    stop_on_signals(&stop)?;
    let until = match (arguments.once, arguments.until_empty) {
        (true, _) => Until::Once,
        (_, true) => Until::Empty,
        _ => Until::Stopped,
    };
    if until == Until::Stopped && stderr_is_terminal() {
        remark("waiting for jobs; Ctrl-C ends");
    }
    let narrator = Narrator::new(context.is_json());
    let worker = site.worker(arguments.jobs, &narrator)?;
    // What was signed stays valid, and hooks hear what happens, for as long as this runs.
    let work = || site.while_telling(&stop, || worker.run(until, &stop));
    let worked = site.while_fresh(&stop, work).map_err(SiteError::from)?;
    Ok(match until {
        Until::Stopped => Exit::Done,
        Until::Once | Until::Empty if worked.given_back > 0 => Exit::TryAgain,
        Until::Once | Until::Empty => worst(&worked.outcomes),
    })
}

/// Returns the exit status of the first job that did not succeed.
fn worst(outcomes: &[Outcome]) -> Exit {
    outcomes.iter().map(Exit::of_outcome).find(|it| *it != Exit::Done).unwrap_or(Exit::Done)
}

/// Sets `stop` when this process is asked to end.
pub(super) fn stop_on_signals(stop: &Stop) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let stop = stop.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            stop.set();
        }
    });
    Ok(())
}
