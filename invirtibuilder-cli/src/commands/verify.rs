//! `verify`: proves that Git and the archive say the same.

use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;
use crate::output::{BAD, GOOD, remark, styled};

/// Prove for the whole site that what Git says and what APT serves are the same
///
/// For each package of each pocket: the head of the branch, what the suite serves, the superproject's submodule,
/// and the tags of everything that was ever published. Prints one line for each difference, and exits with 1 if
/// there is any.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let differences = site.verify()?;
    context.output().answer(&differences, |to| differences.iter().try_for_each(|it| writeln!(to, "{it}")))?;
    if !differences.is_empty() {
        if !context.is_json() {
            remark(&styled(BAD, format!("{} differences", differences.len())));
        }
        return Ok(Exit::Differences);
    }
    if !context.is_json() {
        remark(&styled(GOOD, "Git and APT say the same"));
    }
    Ok(Exit::Done)
}
