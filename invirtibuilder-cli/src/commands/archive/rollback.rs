//! `archive rollback`: returns a pocket to what it served before.

use std::io::{self, Write};

use invirtibuilder_core::publisher::Generation;
use invirtibuilder_core::rollback::{Move, Place, Rollback};
use invirtibuilder_core::site::Exit;
use serde::Serialize;

use crate::commands::Answer;
use crate::context::{Context, Failure, principal};
use crate::output::{Table, plain, remark, short};

/// Return a pocket to what it served in an earlier generation, in the archive and in Git
///
/// It is a new publication: readers get the old packages with the next index, each package's branch moves to where
/// it was then, and one commit of the superproject records all of it. Tags stay. Killed at any moment, the next
/// worker, the next job of the pocket or the same command completes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The pocket
    #[arg(required_unless_present = "resume")]
    pocket: Option<String>,
    /// The generation to return to; `archive snapshot POCKET` lists them
    #[arg(value_parser = generation, required_unless_present = "resume")]
    generation: Option<Generation>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Ask in the name of another, if the configuration allows it
    #[arg(long)]
    principal: Option<String>,
    /// Only complete what was begun and not completed
    #[arg(long, conflicts_with_all = ["pocket", "generation", "dry_run", "principal"])]
    resume: bool,
}

/// What is answered.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    rollback: &'a Rollback,
    /// The new generation; none if nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
}

/// Reads the number of a generation.
pub(super) fn generation(text: &str) -> Result<Generation, String> {
    text.parse().map_err(|_| format!("{text:?} is not the number of a generation"))
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let (Some(pocket), Some(to)) = (&arguments.pocket, arguments.generation) else {
        let completed = site.resume_rollbacks()?;
        context.output().answer(&completed, |to| {
            completed.iter().try_for_each(|it| writeln!(to, "the rollback of {it} is complete"))
        })?;
        return Ok(Exit::Done);
    };
    let by = principal(&site, arguments.principal.as_deref())?;
    let pocket = site.pocket_name(pocket)?;
    if arguments.dry_run {
        let rollback = site.plan_rollback(&pocket, to, &by)?;
        show(context, &rollback, None)?;
        return Ok(Exit::Done);
    }
    let done = site.roll_back(&pocket, to, &by)?;
    show(context, done.rollback(), Some(done.generation()))?;
    if !context.is_json() {
        remark(&format!(
            "{pocket} serves again what it served in generation {to}, as generation {}",
            done.generation()
        ));
    }
    Ok(Exit::Done)
}

fn show(context: &Context, rollback: &Rollback, generation: Option<Generation>) -> Result<(), Failure> {
    context.output().answer(&Shown { rollback, generation }, |to| table(&rollback.moves, to))
}

fn table(moves: &[Move], to: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["PACKAGE", "FROM", "TO", "COMMIT"]);
    for Move { package, old, new } in moves {
        let version = |place: &Option<Place>| match place {
            None => "-".to_owned(),
            Some(place) => place.version.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
        };
        let commit = new.as_ref().map_or_else(|| "-".to_owned(), |it| short(&it.commit));
        table.row(vec![plain(package), plain(version(old)), plain(version(new)), plain(commit)]);
    }
    table.write(to)
}
