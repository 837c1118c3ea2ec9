//! `archive snapshot`: what a pocket served before, and how apt uses it.

use std::io::Write;

use invirtibuilder_core::names::{CommitId, Version};
use invirtibuilder_core::publisher::Generation;
use invirtibuilder_core::publisher::archive::{Cause, Changed, KeptGeneration};
use invirtibuilder_core::site::{Exit, Site};
use serde::Serialize;

use super::rollback::generation;
use crate::commands::Answer;
use crate::context::Context;
use crate::output::{Table, plain, short, show_time};

/// List what a pocket served before, or print the .sources file with which apt uses it
///
/// Every publication makes the next generation of a pocket. Those that are kept can be read under
/// snapshot/SUITE/GENERATION/ of the archive, and `archive rollback` returns the pocket to one.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The pocket
    pocket: String,
    /// The generation to print the .sources file of; without one, all that are kept are listed
    #[arg(value_parser = generation)]
    generation: Option<Generation>,
    /// Where clients find the archive, such as `https://apt.example.org/`; default: its directory on this machine
    #[arg(long, requires = "generation")]
    uri: Option<String>,
}

/// A generation and the commit of the superproject that records it.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    generation: KeptGeneration,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_in: Option<CommitId>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let Some(generation) = arguments.generation else { return list(&site, &arguments.pocket, context) };
    let pocket = site.pocket_name(&arguments.pocket)?;
    let sources = site.snapshot_sources(&pocket, generation, arguments.uri.as_deref())?;
    let object = serde_json::json!({ "pocket": pocket, "generation": generation, "sources": sources });
    context.output().answer(&object, |to: &mut dyn Write| write!(to, "{sources}"))?;
    Ok(Exit::Done)
}

fn list(site: &Site, pocket: &str, context: &Context) -> Answer {
    let kept = site.generations(&site.pocket_name(pocket)?)?;
    let rows: Vec<Row> =
        kept.into_iter().map(|(generation, recorded_in)| Row { generation, recorded_in }).collect();
    context.output().answer(&rows, |to| {
        let mut table = Table::new(&["GENERATION", "TIME", "RECORDED", "WHAT"]);
        for Row { generation: it, recorded_in } in &rows {
            let recorded = recorded_in.as_ref().map_or_else(|| "-".to_owned(), short);
            table.row(vec![
                plain(it.generation),
                plain(show_time(it.time)),
                plain(recorded),
                plain(what(it)),
            ]);
        }
        table.write(to)
    })?;
    Ok(Exit::Done)
}

/// Says in one line what a generation changed.
fn what(generation: &KeptGeneration) -> String {
    const FEW: usize = 3;
    let changes = &generation.changes;
    let shown: Vec<String> = changes.iter().take(FEW).map(change).collect();
    let rest = changes.len().saturating_sub(FEW);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let packages = format!("{}{more}", shown.join(", "));
    match generation.cause {
        Cause::Job => packages,
        Cause::Configuration => "the configuration of the suite".to_owned(),
        Cause::Import => format!("import: {packages}"),
        Cause::Rollback(to) => format!("rollback to {to}: {packages}"),
    }
}

fn change(it: &Changed) -> String {
    let text = |version: &Version| version.to_string();
    match (&it.old, &it.new) {
        (Some(old), Some(new)) => format!("{} {old} -> {new}", it.package),
        (Some(old), None) => format!("{} {old} removed", it.package),
        (None, new) => format!("{} {}", it.package, new.as_ref().map_or_else(String::new, text)),
    }
}
