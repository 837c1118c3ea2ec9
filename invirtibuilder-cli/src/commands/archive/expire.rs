//! `archive expire`: lets go of what is not kept any longer.

use std::io::{self, Write};

use invirtibuilder_core::publisher::archive::{Expiry, Keep};
use invirtibuilder_core::site::Exit;

use crate::commands::Answer;
use crate::context::Context;
use crate::output::{Table, plain, show_time};

/// Remove what the archive does not keep any longer, and what dead processes left
///
/// Publications do this by themselves, now and then; only what nothing names and no record tells of is left to this
/// command. Never removes what a pocket serves.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only say what would go, and why the rest stays
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let expiry = context.site()?.expire(arguments.dry_run)?;
    context.output().answer(&expiry, |to| show(&expiry, arguments.dry_run, to))?;
    Ok(Exit::Done)
}

fn show(expiry: &Expiry, is_trial: bool, to: &mut dyn Write) -> io::Result<()> {
    let goes = if is_trial { "would go" } else { "went" };
    let mut table = Table::new(&["SUITE", "GENERATION", "STAYS"]);
    for (suite, kept) in &expiry.kept {
        for generation in expiry.generations.get(suite).into_iter().flatten() {
            table.row(vec![plain(suite), plain(generation), plain(goes)]);
        }
        for (number, keep) in kept {
            let reason = match keep {
                Keep::Served => "it is served".to_owned(),
                Keep::Recent => "it is one of the last".to_owned(),
                Keep::Young { until } => format!("it was served not long ago, until {}", show_time(*until)),
                Keep::Version { package, version } => format!("it is the last with {package} {version}"),
            };
            table.row(vec![plain(suite), plain(number), plain(reason)]);
        }
    }
    table.write(to)?;
    if !expiry.files.is_empty() {
        writeln!(to)?;
    }
    for file in &expiry.files {
        writeln!(to, "{}", crate::output::escape(&file.path))?;
    }
    writeln!(to, "\n{} files {goes}, {} bytes", expiry.files.len(), expiry.bytes())?;
    if expiry.orphans > 0 {
        writeln!(
            to,
            "{} more files have no record; they go when they have been seen for long enough",
            expiry.orphans
        )?;
    }
    Ok(())
}
