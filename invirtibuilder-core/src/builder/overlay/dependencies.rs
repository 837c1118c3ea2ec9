//! Build dependencies: apt says in advance which packages are needed, and they are fetched and checked before anything
//! of them runs.
//!
//! This is the only part that has the network, and it runs no code of a package: this machine's own apt reads the
//! signed lists, and downloads files.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Workplace;
use super::store::{Kind, Store, identity};
use super::tree::Tree;
use super::{Domain, Trouble};
use crate::builder::base;
use crate::builder::scratch::{Entry, Part};
use crate::durable;
use crate::error::BoxError;
use crate::names::Architecture;
use crate::process::{Command, Limits, ProcessError};

mod against;
mod apt;
mod fetch;
mod installing;

pub(in crate::builder) use against::Against;
pub(in crate::builder) use fetch::link;
pub(super) use installing::find_uninstallable;

/// A package to install: exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::builder) struct Package {
    /// `<name>_<version>_<architecture>.deb`, as apt writes it.
    pub(in crate::builder) file: String,
    /// The SHA-256, in lower-case hexadecimal digits.
    pub(in crate::builder) sha256: String,
    uri: String,
}

/// What a source package needs besides the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::builder) struct Needs {
    text: String,
    /// The paragraphs of packages that can meet them too, and that are brought in otherwise.
    beside: String,
}

impl Needs {
    /// Reads what the fields of a `.dsc` declare, for a build with or without the packages for all architectures.
    pub(in crate::builder) fn of(fields: &deb822_fast::Paragraph, with_all: bool) -> Self {
        let mut text =
            "Format: 1.0\nSource: needs\nBinary: needs\nArchitecture: any\nVersion: 1\n".to_owned();
        let mut copy = |name: &str, more: &str| {
            let declared = fields.get(name).unwrap_or_default();
            let declared = declared.split_whitespace().collect::<Vec<_>>().join(" ");
            let declared = declared.trim_end_matches([',', ' ']);
            let separator = if declared.is_empty() || more.is_empty() { "" } else { ", " };
            if !declared.is_empty() || !more.is_empty() {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{name}: {declared}{separator}{more}");
            }
        };
        // dpkg-buildpackage is run without privilege (Debian Policy 4.9.2).
        copy("Build-Depends", "fakeroot");
        copy("Build-Depends-Arch", "");
        copy("Build-Conflicts", "");
        copy("Build-Conflicts-Arch", "");
        if with_all {
            copy("Build-Depends-Indep", "");
            copy("Build-Conflicts-Indep", "");
        }
        Self { text, beside: String::new() }
    }

    /// Takes relationships as `Build-Depends` has them, and the paragraphs of packages that are there without being
    /// fetched.
    pub(super) fn on(relations: &str, beside: &str) -> Self {
        let relations = relations.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = format!(
            "Format: 1.0\nSource: needs\nBinary: needs\nArchitecture: any\nVersion: 1\nBuild-Depends: {relations}\n"
        );
        Self { text, beside: beside.to_owned() }
    }

    /// Returns the need of some packages, by their names.
    pub(in crate::builder) fn of_packages(names: &[&str]) -> Self {
        Self::on(&names.join(", "), "")
    }
}

/// What apt is asked, and about what.
pub(in crate::builder) struct Question<'a> {
    pub(in crate::builder) tree: &'a Tree,
    pub(in crate::builder) architecture: &'a Architecture,
    pub(in crate::builder) needs: &'a Needs,
    pub(in crate::builder) domain: &'a Domain,
    /// The suites of the site that it sees besides the tree's mirror.
    pub(in crate::builder) against: Against<'a>,
}

/// Returns the packages that meet the needs in a tree, all of them at hand unless there is a layer of them, which
/// `is_installed` tells.
///
/// What apt once said of the same needs, the same lists and the same suites is not asked again.
pub(in crate::builder) fn resolve(
    place: &Workplace<'_>,
    question: &Question<'_>,
    is_installed: &dyn Fn(&[Package]) -> Result<bool, Trouble>,
    log: &mut (dyn Write + Send),
) -> Result<Vec<Package>, Trouble> {
    let Question { tree, .. } = question;
    if let Some(stamp) = apt::stamp(place.store, tree)?
        && let Some(known) = read(&answer(place.store, question, &stamp, &question.against.now()?)?)
        && (is_installed(&known)? || fetch::are_at_hand(place.store, &known)?)
    {
        return Ok(known);
    }
    let _turn = place.store.turn(Kind::Lists, &tree.id, place.interrupt)?;
    let mut when = apt::When::Missing;
    loop {
        let stamp = apt::update(place, tree, question.architecture, when, log)?;
        let may_be_newer = when == apt::When::Missing;
        when = apt::When::Always;
        let view = question.against.view(place, tree, question.architecture, &stamp, log)?;
        let packages = match apt::ask(place, question, &view, log) {
            // What is needed may have come since.
            Err(Trouble::Package(_)) if may_be_newer && apt::is_old(place.store, tree)? => continue,
            other => other?,
        };
        if !is_installed(&packages)? {
            match fetch::all(place, question, &packages, log) {
                Err(Trouble::Moment(problem)) if may_be_newer => {
                    // The mirror may have newer versions and have dropped those that the lists name.
                    tracing::debug!(problem, "fetching apt's lists again");
                    continue;
                }
                other => other?,
            }
        }
        let text = serde_json::to_vec(&packages).map_err(|e| Trouble::Machine(e.into()))?;
        let file = answer(place.store, question, &stamp, &view.moment())?;
        durable::note(&file, &text).map_err(|e| Trouble::Machine(e.into()))?;
        return Ok(packages);
    }
}

/// Returns where apt's answer to a question is kept.
fn answer(store: &Store, question: &Question<'_>, stamp: &str, moment: &str) -> Result<PathBuf, BoxError> {
    let Question { tree, architecture, needs, domain, .. } = question;
    let (needs, beside) = (&needs.text, &needs.beside);
    let name = identity([&*tree.id, stamp, architecture.as_str(), needs, beside, &domain.to_string()]);
    Ok(store.answers(moment)?.join(format!("{name}.json")))
}

fn read(file: &Path) -> Option<Vec<Package>> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

impl Workplace<'_> {
    /// Begins a program of apt's in the walls, with the tree's sources and status and nothing of this machine's but its
    /// proxy. It has the host's network.
    fn apt(
        &self,
        program: &str,
        entry: &Entry,
        sources: &apt::Sources<'_>,
        architecture: &Architecture,
    ) -> Result<Command, Trouble> {
        let settings = entry.part(Part::Input).join("apt.conf");
        let text = apt::settings(entry, sources, architecture, base::proxy()?.as_deref());
        durable::note(&settings, text.as_bytes()).map_err(|e| Trouble::Machine(e.into()))?;
        let limits = Limits { output: 16 << 20, ..Limits::default() };
        let command = self.walls.command(&entry.part(Part::Home), program);
        Ok(command.env("APT_CONFIG", settings).current_dir(&entry.part(Part::Output)).limits(limits))
    }
}

/// Sorts what became of one of apt's programs: `Some` of its output if it failed.
fn sort(result: Result<Vec<u8>, ProcessError>) -> Result<Result<Vec<u8>, String>, Trouble> {
    match result {
        Ok(output) => Ok(Ok(output)),
        Err(ProcessError::Failed { stderr, .. }) => Ok(Err(stderr)),
        Err(ProcessError::Interrupted { .. }) => Err(Trouble::Interrupted),
        Err(e @ ProcessError::Limit { .. }) => Err(Trouble::Moment(e.to_string())),
        Err(e) => Err(Trouble::Machine(e.into())),
    }
}

#[cfg(test)]
mod tests;
