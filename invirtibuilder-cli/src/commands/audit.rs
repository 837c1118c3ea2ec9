//! `audit`: who asked for what, what came of it, and whether that record is what it was.

use std::io::{self, Write};

use clap::Subcommand;
use invirtibuilder_core::audit::{Head, Line};
use invirtibuilder_core::site::{Exit, SiteError};

use super::Answer;
use crate::context::Context;

/// Read the audit log, and prove its past
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what was recorded, the latest last
    Show {
        /// Only of this package
        #[arg(long)]
        package: Option<String>,
        /// Only of this job
        #[arg(long)]
        job: Option<String>,
        /// Only so many, the latest
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
    },
    /// Prove that no record was changed, removed or inserted; the exit status is 1 if one was
    Verify {
        /// A head that is known from elsewhere, such as a notification: `SEQ:HASH`. It also proves that the log was not
        /// written anew as a whole.
        #[arg(long, value_name = "HEAD")]
        head: Option<Head>,
    },
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    match command {
        Command::Show { package, job, limit } => show(package.as_deref(), job.as_deref(), limit, context),
        Command::Verify { head } => verify(head.as_ref(), context),
    }
}

fn show(package: Option<&str>, job: Option<&str>, limit: usize, context: &Context) -> Answer {
    let site = context.site()?;
    let mut lines = Vec::new();
    for line in site.audit().read().map_err(SiteError::from)? {
        let line = line.map_err(SiteError::from)?;
        let is = |fact: Option<&str>, wanted: Option<&str>| wanted.is_none_or(|it| fact == Some(it));
        let entry = &line.entry;
        if is(entry.package.as_ref().map(AsRef::as_ref), package)
            && is(entry.job.as_ref().map(AsRef::as_ref), job)
        {
            lines.push(line);
        }
    }
    let lines = lines.split_off(lines.len().saturating_sub(limit));
    context
        .output()
        .answer(&lines, |to: &mut dyn Write| lines.iter().try_for_each(|it| write_line(it, to)))?;
    Ok(Exit::Done)
}

fn write_line(line: &Line, to: &mut dyn Write) -> io::Result<()> {
    let entry = &line.entry;
    write!(to, "{:>6} {:.0} {:<13}", line.seq, line.time, entry.event)?;
    let words = [
        entry.pocket.as_ref().map(ToString::to_string),
        entry.package.as_ref().map(ToString::to_string),
        entry.version.as_ref().map(ToString::to_string),
        entry.commit.as_ref().map(|it| it.as_str().chars().take(12).collect()),
        entry.principal.as_ref().map(ToString::to_string),
        entry.job.as_ref().map(ToString::to_string),
    ];
    for word in words.into_iter().flatten() {
        write!(to, " {word}")?;
    }
    for (name, value) in &entry.facts {
        write!(to, " {name}={value:?}")?;
    }
    writeln!(to)
}

fn verify(head: Option<&Head>, context: &Context) -> Answer {
    let site = context.site()?;
    let found = site.audit().verify(head).map_err(SiteError::from)?;
    let (object, text, exit) = match found {
        Ok(verified) => {
            let text = match &verified.head {
                None => "there is no record".to_owned(),
                Some(head) => {
                    format!("{} records, none changed, removed or inserted; the head is {head}", head.seq)
                }
            };
            let head = verified.head.map(|it| it.to_string());
            (serde_json::json!({ "whole": true, "head": head }), text, Exit::Done)
        }
        Err(broken) => {
            let text = format!("the audit log is not what it was: {broken}");
            (serde_json::json!({ "whole": false, "problem": broken.to_string() }), text, Exit::Differences)
        }
    };
    context.output().answer(&object, |to| writeln!(to, "{text}"))?;
    Ok(exit)
}
