//! `hooks`: who hears of what happens, and how far.

use std::io::Write;

use clap::Subcommand;
use invirtibuilder_core::hooks::Standing;
use invirtibuilder_core::site::Exit;
use invirtibuilder_core::stop::Never;

use super::Answer;
use crate::context::Context;
use crate::output::{BAD, BOLD, FAINT, GOOD, Table, WARNING};

/// Tell how the hooks stand, or tell them now what they have not heard
///
/// A hook is told of each event at least once, in the order of the audit log, by the worker. One that fails is told the
/// same again, later and later, for as long as `hooks: retry_for:` says.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the hooks: of what they hear, how much waits for them, and whether they fail
    List,
    /// Tell them now what is due, as the worker does, and list them; the exit status is 75 if something still waits
    Deliver,
}

pub(crate) fn run(command: &Command, context: &Context) -> Answer {
    let site = context.site()?;
    if matches!(command, Command::Deliver) {
        site.tell_hooks(&Never);
    }
    let standing = site.hooks()?;
    context.output().answer(&standing, |to: &mut dyn Write| {
        if standing.is_empty() {
            return writeln!(
                to,
                "there are no hooks; {} is where they belong",
                site.config().paths.hooks.display()
            );
        }
        let mut table = Table::new(&["HOOK", "EVENTS", "HEARD", "WAITING", "STATE"]);
        for it in &standing {
            let events = it.events.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let (style, state) = state(it);
            table.row(vec![
                (BOLD, it.hook.clone()),
                (FAINT, events),
                (FAINT, it.heard.to_string()),
                (if it.waiting == 0 { FAINT } else { WARNING }, it.waiting.to_string()),
                (style, state),
            ]);
        }
        table.write(to)
    })?;
    let is_left = matches!(command, Command::Deliver) && standing.iter().any(|it| it.waiting > 0);
    Ok(if is_left { Exit::TryAgain } else { Exit::Done })
}

fn state(standing: &Standing) -> (anstyle::Style, String) {
    match &standing.failing {
        Some(failing) => {
            let (attempts, next, problem) = (failing.attempts, failing.not_before, &failing.problem);
            (BAD, format!("failed {attempts} times, again at {next:.0}: {problem}"))
        }
        None if standing.waiting > 0 => (WARNING, "waits for the worker".to_owned()),
        None => (GOOD, "ok".to_owned()),
    }
}
