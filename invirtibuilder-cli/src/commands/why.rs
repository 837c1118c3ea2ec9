//! `why`: why a package is, or is not, what a pocket serves.

use invirtibuilder_core::names::PackageName;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;
use crate::output::escape;

/// Tell why a package is, or is not, in a pocket
///
/// What is served and since when, who asked for it, what was asked for since and came to nothing, and what waits.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The source package
    package: String,
    /// Only this pocket
    pocket: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let package: PackageName = arguments.package.parse()?;
    let pocket = arguments.pocket.as_deref().map(|it| site.pocket_name(it)).transpose()?;
    let told = site.why(&package, pocket.as_ref())?;
    context.output().answer(&told, |to| {
        let sentences = told.iter().flat_map(|it| it.sentences(&package));
        sentences.into_iter().try_for_each(|it| writeln!(to, "{}", escape(&it)))
    })?;
    Ok(Exit::Done)
}
