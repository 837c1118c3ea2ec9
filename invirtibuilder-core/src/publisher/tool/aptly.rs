//! aptly (1.5).
//!
//! All suites share one database, which aptly changes in transactions of its own. A state of a suite is
//! a snapshot for each component: `<suite>:<number>:<component>`. A change makes a local repository from the present
//! one, changes that, and makes the next snapshot of it; publishing is `publish switch`. The indices can be had by hash, so readers are served all or
//! nothing, though aptly renames its files in no order.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::json;

use super::change::{Change, pool_directory, remove_litter};
use super::record::Phase;
use super::upload::Upload;
use super::{Place, Tool, ToolError};
use crate::durable;
use crate::job::Artifact;
use crate::names::{Component, PackageName};
use crate::process::{Command, ProcessError};
use crate::publisher::archive::Upgrades;

const PROGRAM: &str = "aptly";

/// The local repository in which a change is made.
const WORK: &str = "invirtibuilder-work";

/// The name of the directory that is served in aptly's configuration.
const ENDPOINT: &str = "served";

/// After how many publications of a suite packages that no snapshot names are removed from aptly's own pool, which
/// takes a time that grows with the archive.
const CLEANUP: u64 = 16;

/// Drives aptly.
#[derive(Debug)]
pub(super) struct Aptly;

impl Tool for Aptly {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn configuration(&self, place: &Place<'_>) -> String {
        let keys: Vec<String> = place.spec.keys.iter().map(ToString::to_string).collect();
        let components: Vec<&str> = place.suite.all_components().map(AsRef::as_ref).collect();
        let (contents, description) = (place.suite.contents, description(place));
        format!("{components:?} {contents} {description:?} {keys:?}")
    }

    fn create(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError> {
        check(place)?;
        for component in place.suite.all_components() {
            aptly(place)?.args(["snapshot", "create", &snapshot(place, number, component), "empty"]).run()?;
        }
        Ok(())
    }

    fn derive(&self, place: &Place<'_>, from: u64, change: Change<'_>) -> Result<(), ToolError> {
        check(place)?;
        match change {
            Change::Upload(upload) => {
                for component in place.suite.all_components() {
                    let (present, next) =
                        (snapshot(place, from, component), snapshot(place, from + 1, component));
                    if touches(place, upload, component) {
                        replace(place, upload, component, (&present, &next))?;
                    } else {
                        aptly(place)?.args(["snapshot", "merge", &next, &present]).run()?;
                    }
                }
                sync_pool(place, upload)
            }
            Change::Configuration => {
                let known = snapshots(place)?;
                for component in place.suite.all_components() {
                    let (present, next) =
                        (snapshot(place, from, component), snapshot(place, from + 1, component));
                    let command = aptly(place)?;
                    let command = if known.contains(&present) {
                        command.args(["snapshot", "merge", &next, &present])
                    } else {
                        command.args(["snapshot", "create", &next, "empty"])
                    };
                    command.run()?;
                }
                Ok(())
            }
        }
    }

    fn undo(&self, _: &Place<'_>, _: u64) -> Result<(), ToolError> {
        // aptly puts files in the pool that is served only when it publishes.
        Ok(())
    }

    fn publish(&self, place: &Place<'_>, number: u64, phase: Phase) -> Result<(), ToolError> {
        check(place)?;
        // aptly would write into what a killed one left under such a name, though it may be what an index that is
        // named by its hash consists of by now.
        remove_litter(&place.dists(), is_temporary)?;
        let (suite, prefix) = (place.suite.suite.as_str(), prefix(place));
        let mut is_published = phase == Phase::Publishing
            || lines(aptly(place)?.args(["publish", "list", "-raw"]))?.contains(&format!("{prefix} {suite}"));
        if is_published && phase == Phase::Anew {
            // What aptly is told of a suite once cannot be told otherwise. The files stay in the pool.
            aptly(place)?.args(["publish", "drop", "-force-drop", "-skip-cleanup", suite, &prefix]).run()?;
            is_published = false;
        }
        let keys = place.spec.keys.iter().map(|it| format!("-gpg-key={it}"));
        let components: Vec<&str> = place.suite.all_components().map(AsRef::as_ref).collect();
        let mut options = vec![format!("-component={}", components.join(","))];
        options.extend(["-batch".to_owned(), "-force-overwrite".to_owned()].into_iter().chain(keys));
        if !place.suite.contents {
            options.push("-skip-contents".to_owned());
        }
        let snapshots = place.suite.all_components().map(|it| snapshot(place, number, it));
        if is_published {
            aptly(place)?
                .args(["publish", "switch"])
                .args(options)
                .args([suite, &prefix])
                .args(snapshots)
                .run()?;
        } else {
            let command = aptly(place)?.args(["publish", "snapshot", "-acquire-by-hash"]).args(options);
            command.args(description(place)).args(snapshots).arg(&prefix).run()?;
        }
        Ok(())
    }

    fn discard(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError> {
        let is_of_it = |it: &&String| it.strip_prefix(&format!("{}:{number}:", place.suite.suite)).is_some();
        for name in snapshots(place)?.iter().filter(is_of_it) {
            aptly(place)?.args(["snapshot", "drop", "-force", name]).run()?;
        }
        if number.is_multiple_of(CLEANUP) {
            aptly(place)?.args(["db", "cleanup"]).run()?;
        }
        Ok(())
    }
}

/// Refuses what aptly cannot do, and writes its configuration.
fn check(place: &Place<'_>) -> Result<(), ToolError> {
    if place.spec.keys.len() > 1 {
        let problem =
            "aptly signs with one key only; name one, or use another publisher while you change keys";
        return Err(ToolError::Unsupported(problem.to_owned()));
    }
    let device = |path: &std::path::Path| path.metadata().map(|it| it.dev()).map_err(ToolError::read(path));
    if device(&place.served())? != device(&place.spec.state)? {
        let problem = format!(
            "{} and {} are on two file systems, but aptly's pool shares its files with the one that is served; set paths.cache and paths.archive to one file system",
            place.spec.directory.display(),
            place.spec.state.display()
        );
        return Err(ToolError::Unsupported(problem));
    }
    let path = place.spec.state.join("aptly.conf");
    let endpoint =
        json!({ "rootDir": place.spec.directory, "linkMethod": "hardlink", "verifyMethod": "md5" });
    let configuration = json!({
        "rootDir": place.spec.state.join("aptly"),
        "gpgProvider": "gpg",
        "FileSystemPublishEndpoints": { ENDPOINT: endpoint },
    });
    let text = format!("{configuration:#}\n");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == text => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ToolError::read(&path)(e)),
        _ => Ok(durable::write(&path, text.as_bytes())?),
    }
}

/// Begins a command.
fn aptly(place: &Place<'_>) -> Result<Command, ToolError> {
    let path = place.spec.state.join("aptly.conf");
    Ok(place.command(PROGRAM)?.arg(format!("-config={}", path.display())))
}

/// Returns the lines that a command prints for programs to read.
fn lines(command: Command) -> Result<Vec<String>, ToolError> {
    let output = command.run()?;
    Ok(String::from_utf8_lossy(&output).lines().map(|it| it.trim().to_owned()).collect())
}

/// Returns the name of what a state has in one component. No name of a suite has a colon.
fn snapshot(place: &Place<'_>, number: u64, component: &Component) -> String {
    format!("{}:{number}:{component}", place.suite.suite)
}

/// Returns the names of all snapshots, of all suites.
fn snapshots(place: &Place<'_>) -> Result<Vec<String>, ToolError> {
    lines(aptly(place)?.args(["snapshot", "list", "-raw"]))
}

/// Returns whether a name is one that aptly gives to a file until the whole suite is written: `Packages.tmp.gz`.
fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp") || name.contains(".tmp.")
}

/// Returns the name of the directory of a suite, as aptly's commands want it.
fn prefix(place: &Place<'_>) -> String {
    format!("filesystem:{ENDPOINT}:{}", place.suite.suite)
}

/// Returns the options that say what the suite's `Release` says.
fn description(place: &Place<'_>) -> Vec<String> {
    let suite = place.suite;
    let architectures: Vec<&str> = suite.architectures.iter().map(AsRef::as_ref).collect();
    let yes = |it: bool| if it { "yes" } else { "" };
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![
        format!("-distribution={}", suite.suite),
        format!("-suite={}", suite.suite),
        format!("-architectures={},source", architectures.join(",")),
        format!("-origin={}", line(&suite.origin)),
        format!("-label={}", line(&suite.label)),
        format!("-notautomatic={}", yes(suite.upgrades != Upgrades::Automatic)),
        format!("-butautomaticupgrades={}", yes(suite.upgrades == Upgrades::OfInstalled)),
    ]
}

/// Returns the query that a source package and all its binary packages answer. A name has no character that means
/// something in it.
fn all_of(package: &PackageName) -> String {
    format!(
        "(Name (= {package}), $PackageType (= source)) | ($Source (= {package}), !($PackageType (= source)))"
    )
}

/// Returns whether an upload changes what a suite has in a component.
fn touches(place: &Place<'_>, upload: &Upload, component: &Component) -> bool {
    let served = place.served().join(pool_directory(component.as_str(), upload.source.package()));
    upload.files().any(|it| it.0 == component) || served.exists()
}

/// Makes the next snapshot of a component, in which what an upload has for it is in the place of what the present one
/// has of the package.
fn replace(
    place: &Place<'_>,
    upload: &Upload,
    component: &Component,
    (present, next): (&str, &str),
) -> Result<(), ToolError> {
    match aptly(place)?.args(["repo", "drop", "-force", WORK]).run() {
        // There is none at first. If it cannot be dropped, it cannot be created either.
        Ok(_) | Err(ProcessError::Failed { .. }) => (),
        Err(other) => return Err(other.into()),
    }
    aptly(place)?.args(["repo", "create", WORK, "from", "snapshot", present]).run()?;
    aptly(place)?.args(["repo", "remove", WORK, &all_of(upload.source.package())]).run()?;
    // aptly takes the other files of a source package from beside its .dsc.
    let source = (upload.component == *component).then(|| upload.source.path().to_owned());
    let binaries = upload.binaries.iter().filter(|it| it.component == *component);
    let binaries = binaries.map(|it| upload.directory.join(it.control.artifact().name.as_str()));
    let files: Vec<PathBuf> = source.into_iter().chain(binaries).collect();
    if !files.is_empty() {
        aptly(place)?.args(["repo", "add", WORK]).args(files).run()?;
    }
    aptly(place)?.args(["snapshot", "create", next, "from", "repo", WORK]).run()?;
    Ok(())
}

/// Syncs the files of an upload in aptly's own pool, which aptly does not.
fn sync_pool(place: &Place<'_>, upload: &Upload) -> Result<(), ToolError> {
    let pool = place.spec.state.join("aptly/pool");
    for (_, Artifact { name, sha256, .. }) in upload.files() {
        let parts = (sha256.get(..2), sha256.get(2..4), sha256.get(4..32));
        let (Some(first), Some(second), Some(rest)) = parts else { continue };
        let directory = pool.join(first).join(second);
        let path = directory.join(format!("{rest}_{name}"));
        if path.is_file() {
            durable::sync_file(&path)?;
            for directory in [&directory, &pool.join(first), &pool] {
                durable::sync_directory(directory)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_has_its_mark_before_the_ending_of_a_compressed_file() {
        for name in ["Release.tmp", "Packages.tmp.gz", "InRelease.tmp"] {
            assert!(is_temporary(name), "{name}");
        }
        assert!(!is_temporary("Packages.gz"));
    }
}
