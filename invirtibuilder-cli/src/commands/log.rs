//! `log`: a job's build log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use invirtibuilder_core::job::JobState;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::plain_text::PlainText;
use invirtibuilder_core::site::{Exit, Site};
use invirtibuilder_core::stop::Stop;

use super::{Answer, wait_for_change};
use crate::context::{Context, Failure, job_id};
use crate::output::remark;

/// Print the build log of a job
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The job's id, as `submit` and `status` print it
    job: String,
    /// Which of its logs, such as `amd64` or `lintian-amd64`. Default: that of its last build
    name: Option<String>,
    /// Go on as the log grows, until the job has ended
    #[arg(short, long, conflicts_with = "name")]
    follow: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let id = job_id(&arguments.job)?;
    let state = site.job(&id)?;
    let logs = site.logs_of(state.job());
    let chosen = match &arguments.name {
        Some(name) if !logs.iter().any(|it| it.0 == *name) => {
            let names: Vec<&str> = logs.iter().map(|it| it.0.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Failure::NotFound(format!("job {id} has no log {name}; it has {names}")));
        }
        Some(name) => logs.iter().find(|it| it.0 == *name).map(|it| it.1.clone()),
        None => site.log_of(state.job()),
    };
    let others: Vec<&str> =
        logs.iter().filter(|it| Some(&it.1) != chosen.as_ref()).map(|it| it.0.as_str()).collect();
    if arguments.name.is_none() && !arguments.follow && !others.is_empty() {
        remark(&format!("job {id} has more logs: `invirtibuilder log {id} NAME` with {}", others.join(", ")));
    }
    match chosen {
        _ if arguments.follow => follow(&site, &id)?,
        Some(path) => print_rest(&mut File::open(path)?)?,
        None => {
            return Err(Failure::NotFound(format!(
                "job {id} has no log, because it has not been built; `invirtibuilder show {id}` says where it is"
            )));
        }
    }
    Ok(Exit::Done)
}

/// Prints the log as it grows, and each further log of the job, until the job has ended.
fn follow(site: &Site, id: &JobId) -> Result<(), Failure> {
    const LOOK: Duration = Duration::from_millis(300);
    let stop = Stop::new()?;
    let mut open: Option<(PathBuf, File)> = None;
    loop {
        // Asked before the log is read: what a job wrote before it ended is printed.
        let state = site.job(id)?;
        let path = site.log_of(state.job());
        if let Some(path) = path.filter(|it| !is_open(open.as_ref(), it)) {
            if let Some((_, file)) = &mut open {
                print_rest(file)?;
            }
            open = Some((path.clone(), File::open(path)?));
        }
        if let Some((_, file)) = &mut open {
            print_rest(file)?;
        }
        if matches!(state, JobState::Ended(_)) {
            return Ok(());
        }
        wait_for_change(site, LOOK, &stop)?;
    }
}

fn is_open(open: Option<&(PathBuf, File)>, path: &Path) -> bool {
    open.is_some_and(|it| it.0 == path)
}

/// Copies what is left of a file to standard output. A terminal is given plain text: a log holds what a package
/// printed.
fn print_rest(file: &mut File) -> Result<(), Failure> {
    use std::io::IsTerminal;
    let mut stdout = io::stdout().lock();
    let is_terminal = stdout.is_terminal();
    let mut plain = PlainText::default();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            stdout.write_all(plain.finish().as_bytes())?;
            return Ok(stdout.flush()?);
        }
        if is_terminal {
            stdout.write_all(plain.push(bytes).as_bytes())?;
        } else {
            stdout.write_all(bytes)?;
        }
    }
}
