//! The message of a superproject commit: one publication, for people and for `history`.
//!
//! Each fact is one line of the last paragraph, as `git interpret-trailers` reads them. No value can hold a line
//! end (names forbid control characters), so no value can pass for another line.

use std::str::FromStr;

use jiff::Timestamp;

use crate::job::Publication;
use crate::names::{CommitId, PocketName};
use crate::states::Published;

/// Returns the message that records a publication.
pub(super) fn compose(published: &Published) -> String {
    let plan = published.plan();
    let (package, version, pocket) = (plan.package(), plan.version(), &plan.pocket().name);
    let copied = published.copied_from().map(|it| format!("Copied-From: {it}\n")).unwrap_or_default();
    let generation = published.generation().map(|it| format!("Generation: {it}\n")).unwrap_or_default();
    format!(
        "{package} {version} in {pocket}\n\nPackage: {package}\nVersion: {version}\nPocket: {pocket}\n\
         Commit: {}\n{copied}{generation}Principal: {}\nJob: {}\n",
        plan.commit(),
        plan.principal(),
        plan.job().id,
    )
}

/// Reads a publication from a message; `None` if it is not one of ours, or of another pocket.
pub(super) fn parse(
    message: &[u8],
    pocket: &PocketName,
    seconds: i64,
    recorded_in: CommitId,
) -> Option<Publication> {
    let text = std::str::from_utf8(message).ok()?;
    let (_, facts) = text.trim_end_matches('\n').rsplit_once("\n\n")?;
    let publication = Publication {
        pocket: fact(facts, "Pocket")?,
        package: fact(facts, "Package")?,
        version: fact(facts, "Version")?,
        commit: fact(facts, "Commit")?,
        principal: fact(facts, "Principal")?,
        job: fact(facts, "Job")?,
        generation: fact(facts, "Generation"),
        time: Timestamp::from_second(seconds).ok()?,
        recorded_in,
    };
    (publication.pocket == *pocket).then_some(publication)
}

fn fact<T: FromStr>(facts: &str, name: &str) -> Option<T> {
    let lines = facts.split('\n');
    let value = lines.filter_map(|line| line.strip_prefix(name)).find_map(|rest| rest.strip_prefix(": "))?;
    value.parse().ok()
}
