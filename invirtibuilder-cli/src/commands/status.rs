//! `status`: what runs, waits, and ended lately.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use invirtibuilder_core::job::{Ended, Job, JobState, Outcome};
use invirtibuilder_core::names::Architecture;
use invirtibuilder_core::site::{Exit, Site, SiteError};
use invirtibuilder_core::stop::Stop;
use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, wait_for_change};
use crate::context::{Context, Failure};
use crate::output::{BAD, BOLD, GOOD, Table, WARNING, plain, short, show_duration, show_time, styled};

/// Show what runs, what waits and why, and what ended lately
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show it anew whenever something changes
    #[arg(long)]
    watch: bool,
}

/// How many ended jobs are shown.
const LATELY: usize = 10;

#[derive(Serialize)]
struct Status {
    pending: Vec<JobState>,
    ended: Vec<Ended>,
    pockets: Vec<PocketSize>,
}

#[derive(Serialize)]
struct PocketSize {
    pocket: String,
    packages: usize,
    /// The packages that the pocket does not serve yet for an optional architecture, with those.
    lacking: BTreeMap<String, Vec<Architecture>>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    const GLANCE: Duration = Duration::from_secs(5);
    let site = context.site()?;
    let stop = Stop::new()?;
    loop {
        let status = read(&site)?;
        if arguments.watch && !context.is_json() {
            // Home, and clear to the end of the screen.
            write!(anstream::stdout(), "\x1b[H\x1b[J")?;
        }
        context.output().answer(&status, |to| show(&status, to))?;
        if !arguments.watch {
            return Ok(Exit::Done);
        }
        wait_for_change(&site, GLANCE, &stop)?;
    }
}

fn read(site: &Site) -> Result<Status, Failure> {
    let mut pockets = Vec::new();
    for name in site.config().pockets.keys() {
        let served = site.served(name)?;
        let mut lacking = BTreeMap::new();
        for it in &served {
            let Some(commit) = &it.commit else { continue };
            let missing = site.missing(name, &it.package, commit)?;
            if !missing.is_empty() {
                lacking.insert(it.package.to_string(), missing);
            }
        }
        pockets.push(PocketSize { pocket: name.to_string(), packages: served.len(), lacking });
    }
    Ok(Status {
        pending: site.queue().pending().map_err(SiteError::from)?,
        ended: site.ended(LATELY)?,
        pockets,
    })
}

fn show(status: &Status, to: &mut dyn Write) -> io::Result<()> {
    let running: Vec<_> = status.pending.iter().filter(|it| matches!(it, JobState::Running { .. })).collect();
    let waiting: Vec<_> = status.pending.iter().filter(|it| matches!(it, JobState::Waiting { .. })).collect();
    writeln!(to, "{}", styled(BOLD, format!("Running: {}", running.len())))?;
    show_jobs(&running, to)?;
    writeln!(to, "{}", styled(BOLD, format!("Waiting: {}", waiting.len())))?;
    show_jobs(&waiting, to)?;
    writeln!(to, "{}", styled(BOLD, "Ended lately"))?;
    let mut table = Table::default();
    for ended in &status.ended {
        let style = match ended.outcome {
            Outcome::Published { .. } | Outcome::Current { .. } => GOOD,
            Outcome::Cancelled { .. } | Outcome::Superseded { .. } => WARNING,
            Outcome::Rejected { .. } | Outcome::Failed { .. } => BAD,
        };
        let mut row = job_cells(&ended.job);
        row.extend([(style, ended.outcome.word().to_owned()), plain(show_time(ended.ended))]);
        table.row(row);
    }
    table.write(to)?;
    let sizes: Vec<String> =
        status.pockets.iter().map(|it| format!("{} {}", it.pocket, it.packages)).collect();
    writeln!(to, "{} {}", styled(BOLD, "Packages:"), sizes.join(", "))?;
    for it in &status.pockets {
        for (package, missing) in &it.lacking {
            let missing: Vec<&str> = missing.iter().map(Architecture::as_str).collect();
            writeln!(to, "  {} serves {package} without {}", it.pocket, missing.join(", "))?;
        }
    }
    Ok(())
}

fn show_jobs(states: &[&JobState], to: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::default();
    for state in states {
        let mut row = job_cells(state.job());
        row.push(plain(explain(state)));
        table.row(row);
    }
    table.write(to)
}

fn job_cells(job: &Job) -> Vec<(anstyle::Style, String)> {
    let request = &job.request;
    vec![
        plain(format!("  {}", job.id)),
        plain(&request.pocket),
        plain(match &request.adds {
            Some(architecture) => format!("{}, adding {architecture}", request.package),
            None => request.package.to_string(),
        }),
        plain(short(&request.commit)),
        plain(&request.principal),
    ]
}

/// Says what a job that has not ended does, or waits for.
pub(super) fn explain(state: &JobState) -> String {
    match state {
        JobState::Running { stage, started, alive: true, .. } => {
            let stage = stage.map_or("begins", |it| it.as_str());
            format!("{stage}, for {} so far", show_duration(*started, Timestamp::now()))
        }
        JobState::Running { alive: false, .. } => "its worker died; the next one takes it up".to_owned(),
        JobState::Waiting { behind: Some(earlier), .. } => format!("behind {earlier}, of the same package"),
        JobState::Waiting { job, waits_for, .. } if !waits_for.is_empty() => {
            let waits_for = job.after.iter().filter(|it| waits_for.contains(&it.job)).map(|it| {
                let names: Vec<_> = it.builds.iter().map(ToString::to_string).collect();
                format!("{}, which builds {} of {}", it.job, names.join(" and "), it.package)
            });
            format!("for {}", waits_for.collect::<Vec<_>>().join("; for "))
        }
        JobState::Waiting { job, .. } => match &job.given_back {
            Some(it) => format!(
                "given back {} times; next try at {}: {}",
                it.attempts,
                show_time(it.not_before),
                it.reason
            ),
            None => "for a worker".to_owned(),
        },
        JobState::Ended(ended) => ended.outcome.word().to_owned(),
    }
}
