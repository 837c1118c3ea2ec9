//! `archive refresh`: signs again what would expire.

use invirtibuilder_core::site::Exit;

use crate::commands::Answer;
use crate::context::Context;

/// Sign the suites again whose Valid-Until comes near
///
/// With `publisher: valid_for:`, apt refuses a suite that was signed too long ago. A worker that runs all the time
/// signs in time by itself; call this from a timer where it does not.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sign all suites
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let refreshed = context.site()?.refresh(arguments.all)?;
    context
        .output()
        .answer(&refreshed, |to| refreshed.iter().try_for_each(|it| writeln!(to, "{it} was signed again")))?;
    Ok(Exit::Done)
}
