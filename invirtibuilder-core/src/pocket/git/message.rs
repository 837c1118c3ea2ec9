//! The message of a superproject commit: one publication or rollback, for people and for `history`.
//!
//! Each fact is one line of the last paragraph, as `git interpret-trailers` reads them. No value can hold a line
//! end (names forbid control characters), so no value can pass for another line.

use std::fmt::Write as _;
use std::str::FromStr;

use jiff::Timestamp;

use crate::job::{Publication, PublicationKind};
use crate::names::{CommitId, JobId, PocketName, Principal};
use crate::publisher::Generation;
use crate::repair::Repair;
use crate::rollback::{Move, Place, Rollback, RolledBack};
use crate::states::Published;

/// The fact that tells of one package in a rollback: package, old version and commit, new version and commit.
const MOVED: &str = "Moved";
/// Stands for the version and the commit where a package is not there.
const NOTHING: &str = "nothing";
/// Stands for a version that cannot be read; no version is this word.
const UNKNOWN: &str = "unknown";

/// Returns the message that records a publication.
///
/// `signed_by` is the key that signed the version's tag.
pub(super) fn compose(published: &Published, signed_by: Option<&str>) -> String {
    let plan = published.plan();
    let (package, version, pocket) = (plan.package(), plan.version(), &plan.pocket().name);
    let copied = published.copied_from().map(|it| format!("Copied-From: {it}\n")).unwrap_or_default();
    let generation = published.generation().map(|it| format!("Generation: {it}\n")).unwrap_or_default();
    let signed = signed_by.map(|it| format!("Tag-Signed-By: {it}\n")).unwrap_or_default();
    let adds = plan.job().request.adds.as_ref();
    let subject = adds.map(|it| format!(", added {it}")).unwrap_or_default();
    let added = adds.map(|it| format!("Added: {it}\n")).unwrap_or_default();
    format!(
        "{package} {version} in {pocket}{subject}\n\nPackage: {package}\nVersion: {version}\nPocket: {pocket}\n\
         Commit: {}\n{copied}{added}{generation}{signed}Principal: {}\nJob: {}\n",
        plan.commit(),
        plan.principal(),
        plan.job().id,
    )
}

/// Returns the message that records a rollback: a line a package for people, and again among the facts.
pub(super) fn compose_rollback(rolled_back: &RolledBack) -> String {
    let Rollback { id, pocket, principal, from, to, moves } = rolled_back.rollback();
    let (mut told, mut facts) = (String::new(), String::new());
    for Move { package, old, new } in moves {
        let words = |place: Option<&Place>| match place {
            Some(Place { version: Some(version), commit }) => (version.to_string(), commit.to_string()),
            Some(Place { version: None, commit }) => (UNKNOWN.to_owned(), commit.to_string()),
            None => (NOTHING.to_owned(), NOTHING.to_owned()),
        };
        let ((old, old_commit), (new, new_commit)) = (words(old.as_ref()), words(new.as_ref()));
        // Writing to a text cannot fail.
        let _ = writeln!(told, "{package} {old} -> {new}");
        let _ = writeln!(facts, "{MOVED}: {package} {old} {old_commit} {new} {new_commit}");
    }
    if moves.is_empty() {
        told.push_str("No package changes.\n");
    }
    format!(
        "Roll back {pocket} from generation {from} to {to}\n\n{told}\n\
         Pocket: {pocket}\nFrom-Generation: {from}\nTo-Generation: {to}\nGeneration: {}\n\
         Principal: {principal}\nJob: {id}\n{facts}",
        rolled_back.generation(),
    )
}

/// Returns the message of a repair. It has no version, and so is no publication.
pub(super) fn compose_repair(repair: &Repair, by: &Principal) -> String {
    let Repair { pocket, package, because, .. } = repair;
    format!(
        "Repair {package} in {pocket}\n\nIt is so, because {because}.\n\nPackage: {package}\nPocket: {pocket}\nPrincipal: {by}\n"
    )
}

/// Reads the publications from a message: none if it is not one of ours, or of another pocket.
pub(super) fn parse(
    message: &[u8],
    pocket: &PocketName,
    seconds: i64,
    recorded_in: &CommitId,
) -> Vec<Publication> {
    let facts =
        std::str::from_utf8(message).ok().and_then(|it| it.trim_end_matches('\n').rsplit_once("\n\n"));
    let Some((_, facts)) = facts else { return Vec::new() };
    if fact::<PocketName>(facts, "Pocket").as_ref() != Some(pocket) {
        return Vec::new();
    }
    if fact::<Generation>(facts, "To-Generation").is_none() {
        return publication(facts, seconds, recorded_in).into_iter().collect();
    }
    let lines = facts.split('\n').filter_map(|line| line.strip_prefix(MOVED)?.strip_prefix(": "));
    lines.filter_map(|line| moved(line, facts, seconds, recorded_in)).collect()
}

/// Returns the job or rollback that a message is the record of.
pub(super) fn job(message: &[u8]) -> Option<JobId> {
    let (_, facts) = std::str::from_utf8(message).ok()?.trim_end_matches('\n').rsplit_once("\n\n")?;
    fact(facts, "Job")
}

/// Reads what a rollback did to one package.
fn moved(line: &str, facts: &str, seconds: i64, recorded_in: &CommitId) -> Option<Publication> {
    let mut words = line.split(' ');
    let package = words.next()?.parse().ok()?;
    let (old, old_commit, new, new_commit) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (kind, version, commit) = match new {
        NOTHING => (PublicationKind::Removal, old, old_commit),
        _ => (PublicationKind::Rollback, new, new_commit),
    };
    Some(Publication {
        kind,
        pocket: fact(facts, "Pocket")?,
        package,
        version: version.parse().ok()?,
        commit: commit.parse().ok()?,
        principal: fact(facts, "Principal")?,
        job: fact(facts, "Job")?,
        added: None,
        signed_by: None,
        generation: fact(facts, "Generation"),
        time: Timestamp::from_second(seconds).ok()?,
        recorded_in: recorded_in.clone(),
    })
}

fn publication(facts: &str, seconds: i64, recorded_in: &CommitId) -> Option<Publication> {
    Some(Publication {
        kind: PublicationKind::Published,
        pocket: fact(facts, "Pocket")?,
        package: fact(facts, "Package")?,
        version: fact(facts, "Version")?,
        commit: fact(facts, "Commit")?,
        principal: fact(facts, "Principal")?,
        job: fact(facts, "Job")?,
        added: fact(facts, "Added"),
        signed_by: fact(facts, "Tag-Signed-By"),
        generation: fact(facts, "Generation"),
        time: Timestamp::from_second(seconds).ok()?,
        recorded_in: recorded_in.clone(),
    })
}

fn fact<T: FromStr>(facts: &str, name: &str) -> Option<T> {
    let lines = facts.split('\n');
    let value = lines.filter_map(|line| line.strip_prefix(name)).find_map(|rest| rest.strip_prefix(": "))?;
    value.parse().ok()
}
