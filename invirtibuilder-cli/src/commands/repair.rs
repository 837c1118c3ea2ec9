//! `repair`: brings Git and the archive together again.

use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::{Context, principal};
use crate::output::{BAD, GOOD, escape, remark, styled};

/// Mend what `verify` finds: where the archive, the branch and the superproject differ, two of them decide
///
/// Only what Git says is ever changed: a branch, a submodule of the superproject, or a version's tag. Where a branch was
/// is kept below the branch repaired/. Each repair is in the audit log. Nothing is guessed: what only a publication can
/// mend is left, with what to do, and the exit status is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this pocket
    #[arg(long)]
    pocket: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Ask in the name of another, if the configuration lets you
    #[arg(long)]
    principal: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let by = principal(&site, arguments.principal.as_deref())?;
    let pocket = arguments.pocket.as_deref().map(|it| site.pocket_name(it)).transpose()?;
    let (done, left) = site.repair(pocket.as_ref(), &by, arguments.dry_run)?;
    let answer = serde_json::json!({ "done": !arguments.dry_run, "repairs": done, "left": left });
    context.output().answer(&answer, |to| {
        done.iter().try_for_each(|it| writeln!(to, "{}", escape(&it.to_string())))?;
        left.iter().try_for_each(|it| writeln!(to, "left: {}", escape(&it.to_string())))
    })?;
    let exit = if left.is_empty() { Exit::Done } else { Exit::Differences };
    if !context.is_json() {
        remark(&match (exit, arguments.dry_run) {
            (Exit::Done, true) => styled(GOOD, format!("{} repairs would be made", done.len())),
            (Exit::Done, false) => styled(GOOD, "Git and APT say the same"),
            _ => styled(BAD, format!("{} differences are left", left.len())),
        });
    }
    Ok(exit)
}
