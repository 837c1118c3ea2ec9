//! `history`: what was published.

use invirtibuilder_core::job::PublicationKind;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;
use crate::output::{Table, plain, short, show_time};

/// Show what was published when, by whom, and from which commit
///
/// The history of a pocket is the history of its branch in the superproject.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this pocket
    #[arg(long)]
    pocket: Option<String>,
    /// Only this package
    #[arg(long)]
    package: Option<String>,
    /// How many publications at most
    #[arg(long, value_name = "N", default_value = "50")]
    limit: usize,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let pocket = arguments.pocket.as_deref().map(|it| site.pocket_name(it)).transpose()?;
    let package = arguments.package.as_deref().map(str::parse).transpose()?;
    let publications = site.history(pocket.as_ref(), package.as_ref(), arguments.limit)?;
    context.output().answer(&publications, |to| {
        let mut table =
            Table::new(&["TIME", "POCKET", "GENERATION", "PACKAGE", "VERSION", "COMMIT", "PRINCIPAL", "JOB"]);
        for it in &publications {
            table.row(vec![
                plain(show_time(it.time)),
                plain(&it.pocket),
                plain(it.generation.map_or_else(|| "-".to_owned(), |it| it.to_string())),
                plain(&it.package),
                plain(match it.kind {
                    PublicationKind::Published => match &it.added {
                        Some(architecture) => format!("{} (added {architecture})", it.version),
                        None => it.version.to_string(),
                    },
                    PublicationKind::Rollback => format!("{} (back)", it.version),
                    PublicationKind::Removal => format!("{} (removed)", it.version),
                }),
                plain(short(&it.commit)),
                plain(&it.principal),
                plain(&it.job),
            ]);
        }
        table.write(to)
    })?;
    Ok(Exit::Done)
}
