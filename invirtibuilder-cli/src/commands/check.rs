//! `check`: whether the installation can work.

use invirtibuilder_core::finding::Level;
use invirtibuilder_core::site::{Exit, check};

use super::Answer;
use crate::context::Context;
use crate::output::{BAD, GOOD, Table, WARNING, plain};

/// Check the configuration, programs, permissions, build environments and keys
///
/// Each line is ok, a warning or an error, with what to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments, context: &Context) -> Answer {
    let findings = check(&context.config()?, &context.config_path());
    let worst = findings.iter().map(|it| it.level).max().unwrap_or(Level::Ok);
    context.output().answer(&findings, |to| {
        let mut table = Table::default();
        for finding in &findings {
            let level = match finding.level {
                Level::Ok => (GOOD, "ok"),
                Level::Warning => (WARNING, "warning"),
                Level::Error => (BAD, "error"),
            };
            let text = match &finding.remedy {
                // Some errors name it themselves.
                Some(remedy) if !finding.text.contains(remedy) => format!("{}; {remedy}", finding.text),
                _ => finding.text.clone(),
            };
            table.row(vec![(level.0, level.1.to_owned()), plain(&finding.subject), plain(text)]);
        }
        table.write(to)
    })?;
    Ok(if worst == Level::Error { Exit::Internal } else { Exit::Done })
}
