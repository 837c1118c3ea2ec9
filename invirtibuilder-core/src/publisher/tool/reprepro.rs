//! reprepro (5.3.1 and later, without the patches for several versions).
//!
//! A state of a suite is a database and a configuration of its own: `<number>/db` and `<number>/conf`. The next one is
//! a copy that all commands of a change work on, none of which exports; so the database that is in use is never one
//! in which a command was killed. Only `export` is run on it, and of the files that `export` writes there, which are
//! caches, none is read by the next one.
//!
//! The pool is what states share. A file that another is put in the place of is kept in `<number>/change/displaced/`
//! until the change is published, and `<number>/change/new` names the files that came; so a change that is not published can be
//! taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::change::{Change, pool_directory, remove_litter};
use super::record::Phase;
use super::served::sum_of;
use super::upload::{Binary, PRIORITY, SECTION, Upload, field_of};
use super::{Place, Tool, ToolError};
use crate::durable::{self, scratch};
use crate::job::Artifact;
use crate::names::Component;
use crate::process::Command;
use crate::publisher::archive::Upgrades;

const PROGRAM: &str = "reprepro";

/// The files of a database that only spare work. One in which a command was killed is worth nothing.
const CACHES: [&str; 2] = ["release.caches.db", "contents.cache.db"];

/// Returns whether a file of a database is one that Berkeley DB was about to rename. There is one such name for each
/// file: while it is there, whoever makes the file waits for another to go on, and fails in the end.
fn is_half_made(name: &str) -> bool {
    name.starts_with("__db.")
}

/// Drives reprepro.
#[derive(Debug)]
pub(super) struct Reprepro;

impl Tool for Reprepro {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn configuration(&self, place: &Place<'_>) -> String {
        let suite = place.suite;
        let architectures: Vec<&str> = suite.architectures.iter().map(AsRef::as_ref).collect();
        let keys: Vec<String> = place.spec.keys.iter().map(ToString::to_string).collect();
        let components = suite.all_components().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ");
        let yes = |it: bool| if it { "yes".to_owned() } else { String::new() };
        let fields = [
            ("Codename", suite.suite.to_string()),
            ("Suite", suite.suite.to_string()),
            ("Origin", suite.origin.clone()),
            ("Label", suite.label.clone()),
            ("Description", suite.description.clone()),
            ("Architectures", format!("{} source", architectures.join(" "))),
            ("Components", components.clone()),
            ("UDebComponents", components),
            ("NotAutomatic", yes(suite.upgrades != Upgrades::Automatic)),
            ("ButAutomaticUpgrades", yes(suite.upgrades == Upgrades::OfInstalled)),
            ("DebIndices", "Packages Release . .gz".to_owned()),
            ("UDebIndices", "Packages . .gz".to_owned()),
            ("DscIndices", "Sources Release . .gz".to_owned()),
            ("Contents", if suite.contents { ".gz".to_owned() } else { String::new() }),
            ("SignWith", keys.join(" ")),
        ];
        let mut text = String::new();
        for (name, value) in fields {
            // Another line would be another field.
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            if !value.is_empty() {
                let _ = writeln!(text, "{name}: {value}");
            }
        }
        text
    }

    fn create(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError> {
        self.write_configuration(place, number)?;
        durable::create_directory(&database(place, number))?;
        // The first command makes the files.
        privately(place, number)?.args(["flood", place.suite.suite.as_str()]).run()?;
        sync(&database(place, number))
    }

    fn derive(&self, place: &Place<'_>, from: u64, change: Change<'_>) -> Result<(), ToolError> {
        let (number, suite) = (from + 1, place.suite.suite.as_str());
        self.write_configuration(place, number)?;
        copy_database(&database(place, from), &database(place, number))?;
        let run =
            |arguments: &[&str]| privately(place, number)?.args(arguments).run().map_err(ToolError::from);
        match change {
            Change::Configuration => {
                run(&["--delete", "clearvanished"])?;
                // What runs anywhere comes to the architectures that are new.
                run(&["flood", suite])?;
            }
            Change::Upload(upload) => {
                // What the present state does not name, no reader needs any more.
                reprepro(place, number)?.args(["deleteunreferenced"]).run()?;
                run(&["removesrc", suite, upload.source.package().as_str()])?;
                make_room(place, number, upload)?;
                include(place, number, upload)?;
                for directory in upload.files().map(|it| directory(it.0, upload)).collect::<BTreeSet<_>>() {
                    sync(&place.served().join(directory))?;
                }
            }
        }
        sync(&database(place, number))
    }

    fn undo(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError> {
        let displaced = place.change(number).join("displaced");
        let list = place.change(number).join("new");
        let list = match std::fs::read_to_string(&list) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(ToolError::read(&list))?,
        };
        for line in list.lines() {
            match line.split_once(' ') {
                Some(("new", path)) => durable::remove_file(&place.served().join(path))?,
                Some(("displaced", path)) => {
                    let name = Path::new(path).file_name().unwrap_or_default();
                    let kept = displaced.join(name);
                    // Not yet displaced where it was not yet kept.
                    if kept.exists() {
                        durable::copy(&kept, &place.served().join(path))?;
                    }
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn publish(&self, place: &Place<'_>, number: u64, phase: Phase) -> Result<(), ToolError> {
        let database = database(place, number);
        // Who has our lock is alone: the lock of a program that was killed keeps nobody out but us.
        durable::remove_file(&database.join("lockfile"))?;
        let [releases, contents] = CACHES.map(|it| database.join(it));
        durable::remove_file(&releases)?;
        remove_litter(&database, is_half_made)?;
        if phase != Phase::Publishing {
            durable::remove_file(&contents)?;
            remove_litter(&place.dists(), |name| name.ends_with(".new"))?;
        }
        let suite = place.suite.suite.as_str();
        reprepro(place, number)?.args(["export", suite]).run()?;
        if phase != Phase::Publishing {
            reprepro(place, number)?.args(["check", suite]).run()?;
        }
        Ok(())
    }

    fn discard(&self, _: &Place<'_>, _: u64) -> Result<(), ToolError> {
        // It is what its directory holds.
        Ok(())
    }
}

impl Reprepro {
    fn write_configuration(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError> {
        if let Some(key) = place.spec.keys.iter().find(|it| it.exactly) {
            return Err(ToolError::Unsupported(format!(
                "reprepro leaves to gpg which subkey signs, so it cannot sign with {key}; remove the exclamation mark"
            )));
        }
        let directory = place.directory(number).join("conf");
        durable::create_directory(&directory)?;
        Ok(durable::write(&directory.join("distributions"), self.configuration(place).as_bytes())?)
    }
}

fn database(place: &Place<'_>, number: u64) -> PathBuf {
    place.directory(number).join("db")
}

/// Begins a command on a state.
fn reprepro(place: &Place<'_>, number: u64) -> Result<Command, ToolError> {
    let directory = place.directory(number);
    let command = place.command(PROGRAM)?.arg("--basedir").arg(&directory);
    let command = command.arg("--confdir").arg(directory.join("conf"));
    Ok(command.arg("--dbdir").arg(database(place, number)).arg("--outdir").arg(place.served()))
}

/// Begins a command that changes neither the indices nor removes a file.
fn privately(place: &Place<'_>, number: u64) -> Result<Command, ToolError> {
    Ok(reprepro(place, number)?.args(["--export=silent-never", "--keepunreferencedfiles"]))
}

/// Copies a database without its caches of what is exported, and without what a program that was killed left.
fn copy_database(from: &Path, to: &Path) -> Result<(), ToolError> {
    durable::create_directory(to)?;
    for entry in std::fs::read_dir(from).map_err(ToolError::read(from))? {
        let name = entry.map_err(ToolError::read(from))?.file_name();
        if name != "lockfile" && name != CACHES[0] && !is_half_made(&name.to_string_lossy()) {
            scratch::copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

/// Returns the directory of the pool that files of an upload come to.
fn directory(component: &Component, upload: &Upload) -> String {
    pool_directory(component.as_str(), upload.source.package())
}

/// Keeps what files of an upload are put in the place of, and notes which files will have come to the pool.
fn make_room(place: &Place<'_>, number: u64, upload: &Upload) -> Result<(), ToolError> {
    let displaced = place.change(number).join("displaced");
    let (mut list, mut others) = (String::new(), Vec::new());
    for (component, Artifact { name, sha256, .. }) in upload.files() {
        let path = format!("{}/{name}", directory(component, upload));
        let there = place.served().join(&path);
        match sum_of(&there) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let _ = writeln!(list, "new {path}");
            }
            Err(e) => return Err(ToolError::read(&there)(e)),
            Ok((found, _)) if found == *sha256 => (),
            Ok(_) => {
                let _ = writeln!(list, "displaced {path}");
                others.push((path, displaced.join(name.as_str())));
            }
        }
    }
    durable::write(&place.change(number).join("new"), list.as_bytes())?;
    if others.is_empty() {
        return Ok(());
    }
    durable::create_directory(&displaced)?;
    for (path, kept) in &others {
        durable::copy(&place.served().join(path), kept)?;
    }
    // reprepro takes other bytes under a name only where it knows nothing of the name.
    let known = privately(place, number)?.args(["_listchecksums"]).run()?;
    let known = String::from_utf8_lossy(&known).into_owned();
    let is_known = |path: &str| known.lines().any(|it| it.split_whitespace().next() == Some(path));
    for (path, _) in others.iter().filter(|it| is_known(&it.0)) {
        privately(place, number)?.args(["_forget", path]).run()?;
    }
    Ok(())
}

fn include(place: &Place<'_>, number: u64, upload: &Upload) -> Result<(), ToolError> {
    let suite = place.suite.suite.as_str();
    let begin = |component: &Component| {
        Ok::<_, ToolError>(privately(place, number)?.arg("-C").arg(component.as_str()))
    };
    let dsc =
        begin(&upload.component)?.args(["-S", &upload.section, "-P", &upload.priority, "includedsc", suite]);
    dsc.arg(upload.source.path()).run()?;

    let mut groups: BTreeMap<(&Component, &str, bool, bool), Vec<PathBuf>> = BTreeMap::new();
    for Binary { component, control } in &upload.binaries {
        let name = control.artifact().name.as_str();
        let action = if name.ends_with(".udeb") { "includeudeb" } else { "includedeb" };
        let lacks = |field| field_of(control.text(), field).is_none();
        let group = groups.entry((component, action, lacks("Section"), lacks("Priority"))).or_default();
        group.push(upload.directory.join(name));
    }
    for ((component, action, lacks_section, lacks_priority), paths) in groups {
        let mut command = begin(component)?;
        if lacks_section {
            command = command.args(["-S", SECTION]);
        }
        if lacks_priority {
            command = command.args(["-P", PRIORITY]);
        }
        command.args([action, suite]).args(paths).run()?;
    }
    Ok(())
}

/// Syncs the files in a directory, and the directory.
fn sync(directory: &Path) -> Result<(), ToolError> {
    for entry in std::fs::read_dir(directory).map_err(ToolError::read(directory))? {
        let path = entry.map_err(ToolError::read(directory))?.path();
        if path.is_file() {
            durable::sync_file(&path)?;
        }
    }
    Ok(durable::sync_directory(directory)?)
}
