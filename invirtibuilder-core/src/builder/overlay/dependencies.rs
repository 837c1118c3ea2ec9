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
use super::store::{Kind, identity};
use super::tree::Tree;
use super::{Domain, Trouble};
use crate::builder::base;
use crate::builder::scratch::{Entry, Part};
use crate::durable;
use crate::error::BoxError;
use crate::names::Architecture;
use crate::process::{Command, Limits, ProcessError};

mod apt;
mod fetch;

pub(super) use fetch::link;

/// A package to install: exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Package {
    /// `<name>_<version>_<architecture>.deb`, as apt writes it.
    pub(super) file: String,
    /// The SHA-256, in lower-case hexadecimal digits.
    pub(super) sha256: String,
    uri: String,
}

/// What a source package needs besides the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    text: String,
}

impl Needs {
    /// Reads what the fields of a `.dsc` declare, for a build with or without the packages for all architectures.
    pub(super) fn of(fields: &deb822_fast::Paragraph, with_all: bool) -> Self {
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
        Self { text }
    }
}

/// Returns the packages that meet the needs in a tree, all of them at hand unless there is a layer of them, which
/// `is_installed` tells.
///
/// What apt once said of the same needs and the same lists is not asked again.
pub(super) fn resolve(
    place: &Workplace<'_>,
    tree: &Tree,
    architecture: &Architecture,
    needs: &Needs,
    domain: &Domain,
    is_installed: &dyn Fn(&[Package]) -> Result<bool, Trouble>,
    log: &mut (dyn Write + Send),
) -> Result<Vec<Package>, Trouble> {
    let answer = |stamp: &str| -> Result<PathBuf, BoxError> {
        let name =
            identity([tree.id.as_str(), stamp, architecture.as_str(), &needs.text, &domain.to_string()]);
        Ok(place.store.answers()?.join(format!("{name}.json")))
    };
    if let Some(stamp) = apt::stamp(place.store, tree)?
        && let Some(known) = read(&answer(&stamp)?)
        && (is_installed(&known)? || fetch::are_at_hand(place.store, &known)?)
    {
        return Ok(known);
    }
    let _turn = place.store.turn(Kind::Lists, &tree.id, place.interrupt)?;
    let mut stamp = apt::update(place, tree, architecture, apt::When::Missing, log)?;
    let mut packages = match apt::ask(place, tree, architecture, needs, log) {
        Err(Trouble::Package(_)) if apt::is_old(place.store, tree)? => {
            // What is needed may have come since.
            stamp = apt::update(place, tree, architecture, apt::When::Always, log)?;
            apt::ask(place, tree, architecture, needs, log)?
        }
        other => other?,
    };
    if !is_installed(&packages)? {
        match fetch::all(place, tree, architecture, &packages, log) {
            Err(Trouble::Moment(problem)) => {
                // The mirror may have newer versions and have dropped those that the lists name.
                tracing::debug!(problem, "fetching apt's lists again");
                stamp = apt::update(place, tree, architecture, apt::When::Always, log)?;
                packages = apt::ask(place, tree, architecture, needs, log)?;
                fetch::all(place, tree, architecture, &packages, log)?;
            }
            other => other?,
        }
    }
    let text = serde_json::to_vec(&packages).map_err(|e| Trouble::Machine(e.into()))?;
    durable::note(&answer(&stamp)?, &text).map_err(|e| Trouble::Machine(e.into()))?;
    Ok(packages)
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
        tree: &Tree,
        lists: &Path,
        architecture: &Architecture,
    ) -> Result<Command, Trouble> {
        let settings = entry.part(Part::Input).join("apt.conf");
        let text = apt::settings(entry, tree, lists, architecture, base::proxy()?.as_deref());
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
