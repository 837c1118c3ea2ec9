//! From one state of a suite to the next, and to an end what a process that died had begun.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::record::{Phase, Record, sum};
use super::served::{PoolFile, Served};
use super::upload::{self, Source, Staged, Sums, Upload};
use super::{Place, ToolError, ToolPublisher};
use crate::durable;
use crate::error::PublishError;
use crate::names::{Architecture, PackageName};
use crate::policy::Held;
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan};

/// What a state has other than the one before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    /// A source package, and all binary packages of it, have this upload in their place.
    Upload(&'a Upload),
    /// The program is told something else of the suite.
    Configuration,
}

impl ToolPublisher {
    pub(super) fn publish_artifacts(&self, artifacts: &BuildArtifacts) -> Result<(), PublishError> {
        let plan = artifacts.plan();
        let suite = self.suite(plan.suite())?;
        let files = upload::of_artifacts(artifacts).map_err(|problem| unfit(plan, problem))?;
        let built = artifacts.builds().iter().flat_map(crate::control::Changes::binaries);
        for binary in built {
            let (name, architecture) = (&binary.artifact().name, binary.architecture());
            if !has(&suite.architectures, architecture.as_str()) {
                let problem = format!(
                    "{name} is for {architecture}, which is not an architecture of the suite; add it to the pocket"
                );
                return Err(unfit(plan, problem));
            }
        }
        let lock = self.lock()?;
        self.serve(&self.place(suite, &lock), plan, &files)
    }

    pub(super) fn copy_held(&self, copy: &CopyPlan) -> Result<(), PublishError> {
        let plan = copy.plan();
        let (suite, from) = (self.suite(plan.suite())?, self.suite(&copy.from().suite)?);
        let lock = self.lock()?;
        let (place, from) = (self.place(suite, &lock), self.place(from, &lock));
        self.settle(&from)?;
        let is_meant = |it: &Held| {
            it.version.as_str() == plan.version().as_str()
                && it.commit.as_ref().is_none_or(|it| it == plan.commit())
        };
        let held_there = self.open(&from)?.held(plan.package()).map_err(ToolError::from)?;
        if !held_there.as_ref().is_some_and(is_meant) {
            return Err(PublishError::NotHeld {
                suite: from.suite.suite.clone(),
                package: plan.package().clone(),
                version: plan.version().clone(),
            });
        }
        let files = self.open(&from)?.files_of(plan.package(), |it| has(&suite.architectures, it));
        let files = files.map_err(ToolError::from)?;
        let source = |it: &PoolFile| {
            let name = it.name().parse().map_err(|e| ToolError::Damaged {
                path: from.served(),
                problem: format!("serves a file whose name nobody can use: {e}"),
            })?;
            Ok(Source { from: from.served().join(&it.path), name, sha256: it.sha256.clone() })
        };
        let files = files.iter().map(source).collect::<Result<Vec<_>, ToolError>>()?;
        self.serve(&place, plan, &files)
    }

    /// Makes a suite serve these files as what it has of the plan's package.
    fn serve(&self, place: &Place<'_>, plan: &BuildPlan, files: &[Source]) -> Result<(), PublishError> {
        let record = self.settle(place)?;
        let served = self.open(place)?;
        let wanted = upload::sums(files);
        let current = served.files_of(plan.package(), |_| true).map_err(ToolError::from)?;
        if sums(&current) == wanted && served.check_files(&current).is_ok() {
            return Ok(());
        }
        self.check_conflicts(place, plan, files)?;
        let next = record.number + 1;
        let result = Staged::new(&place.incoming(next), files).map_err(PublishError::from).and_then(|it| {
            let upload = it.assign(place.suite).map_err(|problem| unfit(plan, problem))?;
            check_owners(&served, plan, &upload)?;
            self.advance(place, &record, Change::Upload(&upload), &wanted)?;
            Ok(())
        });
        if result.is_err() {
            self.tidy(place)?;
        }
        result
    }

    /// Refuses other bytes under a name that a suite serves for good.
    fn check_conflicts(
        &self,
        place: &Place<'_>,
        plan: &BuildPlan,
        files: &[Source],
    ) -> Result<(), PublishError> {
        if !place.suite.reserves_versions {
            return Ok(());
        }
        for owner in self.suites.values().filter(|it| it.reserves_versions) {
            let owner = self.place(owner, place.lock);
            if owner.suite.suite != place.suite.suite {
                self.settle(&owner)?;
            }
            let served = self.open(&owner)?;
            let held = served.held(plan.package()).map_err(ToolError::from)?;
            // The same commit may be built twice, where a pocket takes no copies from another.
            let Some(held) = held.filter(|it| it.commit.as_ref() != Some(plan.commit())) else { continue };
            let theirs = served.files_of(plan.package(), |_| true).map_err(ToolError::from)?;
            let differs = |file: &&PoolFile| {
                files.iter().any(|it| it.name.as_str() == file.name() && it.sha256 != file.sha256)
            };
            if let Some(file) = theirs.iter().find(differs) {
                let (suite, file) = (&owner.suite.suite, file.name());
                let problem =
                    format!("{suite} serves {file} of {} {} with other bytes", held.package, held.version);
                return Err(conflict(plan, problem));
            }
        }
        Ok(())
    }

    /// Ends what a process that died had begun in a suite, makes the suite if there is none, and lets it say what
    /// the configuration says. Returns the record of what is published.
    pub(super) fn settle(&self, place: &Place<'_>) -> Result<Record, ToolError> {
        let temporary = place.spec.state.join("tmp");
        durable::remove_directory(&temporary)?;
        for directory in [&place.served(), &place.state()] {
            durable::create_directory(directory)?;
        }
        remove_unfinished(&place.state())?;
        let configuration = sum(&self.tool.configuration(place));
        let record = match Record::read(place)? {
            Some(record) => record,
            None => self.create(place, &configuration)?,
        };
        self.tidy(place)?;
        let mut record = record;
        if record.phase != Phase::Published {
            // Whatever it was: the process that wrote it is dead.
            let phase = if record.phase == Phase::Anew { Phase::Anew } else { Phase::Again };
            self.publish_state(place, &record.with(phase))?;
            record = record.with(Phase::Published);
            record.write(place)?;
            self.tidy(place)?;
        }
        if record.configuration != configuration {
            let changed = Record { configuration, ..record };
            return self.advance(place, &changed, Change::Configuration, &Sums::new());
        }
        Ok(record)
    }

    fn create(&self, place: &Place<'_>, configuration: &str) -> Result<Record, ToolError> {
        if place.dists().join("InRelease").exists() {
            let problem = format!(
                "has no record of what {} serves, though it serves something (or move that away to begin anew)",
                place.served().display()
            );
            return Err(ToolError::Damaged { path: place.state(), problem });
        }
        // What is there is of a process that died before it wrote the record.
        for number in numbers(place)? {
            self.tool.discard(place, number)?;
            durable::remove_directory(&place.directory(number))?;
        }
        let record = Record { number: 1, phase: Phase::Anew, configuration: configuration.to_owned() };
        durable::create_directory(&place.directory(record.number))?;
        self.tool.create(place, record.number)?;
        record.write(place)?;
        Ok(record)
    }

    /// Makes the next state of a suite, publishes it, and returns its record.
    fn advance(
        &self,
        place: &Place<'_>,
        present: &Record,
        change: Change<'_>,
        wanted: &Sums,
    ) -> Result<Record, ToolError> {
        let before = self.open(place)?.contents()?;
        let number = present.number + 1;
        durable::create_directory(&place.directory(number))?;
        self.tool.derive(place, present.number, change)?;
        let phase = match change {
            Change::Upload(_) => Phase::Publishing,
            Change::Configuration => Phase::Anew,
        };
        let next = Record { number, phase, configuration: present.configuration.clone() };
        next.write(place)?;
        let published = self.publish_state(place, &next).and_then(|()| match change {
            Change::Upload(upload) => self.check(place, upload, wanted, &before),
            Change::Configuration => Ok(()),
        });
        if let Err(error) = published {
            tracing::warn!(suite = %place.suite.suite, %error, "a publication failed; going back to the one before");
            self.tool.undo(place, number)?;
            let back = present.with(Phase::Again);
            back.write(place)?;
            self.publish_state(place, &back)?;
            back.with(Phase::Published).write(place)?;
            return Err(error);
        }
        let next = next.with(Phase::Published);
        next.write(place)?;
        self.tidy(place)?;
        Ok(next)
    }

    /// Publishes the state that a record names, checks that the whole of it is there, and syncs it.
    fn publish_state(&self, place: &Place<'_>, record: &Record) -> Result<(), ToolError> {
        self.tool.publish(place, record.number, record.phase)?;
        let served = self.open(place)?;
        if record.phase == Phase::Publishing {
            return sync_tree(&place.dists());
        }
        // Nobody knows what the process that died had synced.
        served.check_sizes(&served.all_files()?)?;
        Ok(durable::sync_file_system(&place.served())?)
    }

    /// Checks that a suite serves a change, all of it, and that of other packages it serves what it served.
    fn check(
        &self,
        place: &Place<'_>,
        upload: &Upload,
        wanted: &Sums,
        before: &[Held],
    ) -> Result<(), ToolError> {
        let package = upload.source.package();
        let served = self.open(place)?;
        let unproven = |problem: String| ToolError::Unproven {
            program: self.name(),
            suite: place.suite.suite.clone(),
            problem,
        };
        let files = served.files_of(package, |_| true)?;
        let found = sums(&files);
        if let Some((name, _)) = wanted.symmetric_difference(&found).next() {
            let problem =
                format!("does not serve {package} {} as it is: look at {name}", upload.source.version());
            return Err(unproven(problem));
        }
        served.check_files(&files)?;
        let others =
            |held: &[Held]| held.iter().filter(|it| it.package != *package).cloned().collect::<Vec<_>>();
        if others(before) != others(&served.contents()?) {
            return Err(unproven(format!("serves something else of other packages than before {package}")));
        }
        let mut directories = BTreeSet::new();
        for file in &files {
            let path = place.served().join(&file.path);
            durable::sync_file(&path)?;
            directories.extend(
                path.ancestors().skip(1).take_while(|it| it.starts_with(place.served())).map(Path::to_owned),
            );
        }
        directories.iter().try_for_each(|it| durable::sync_directory(it)).map_err(ToolError::from)
    }

    /// Removes every state but the one that the record names, and what it no longer needs of that one.
    fn tidy(&self, place: &Place<'_>) -> Result<(), ToolError> {
        let Some(record) = Record::read(place)? else { return Ok(()) };
        for number in numbers(place)? {
            if number == record.number {
                if record.phase == Phase::Published {
                    durable::remove_directory(&place.change(number))?;
                }
                continue;
            }
            if number > record.number {
                self.tool.undo(place, number)?;
            }
            // Until the named state is published, readers may be served another.
            if record.phase != Phase::Published {
                continue;
            }
            self.tool.discard(place, number)?;
            durable::remove_directory(&place.directory(number))?;
        }
        Ok(())
    }

    fn open(&self, place: &Place<'_>) -> Result<Served, ToolError> {
        let served = Served::open(&place.served(), &place.suite.suite)?;
        served.ok_or_else(|| ToolError::Unproven {
            program: self.name(),
            suite: place.suite.suite.clone(),
            problem: "has no InRelease".to_owned(),
        })
    }
}

/// Refuses a binary package that the suite has from another source package.
fn check_owners(served: &Served, plan: &BuildPlan, upload: &Upload) -> Result<(), PublishError> {
    for theirs in served.binaries().map_err(ToolError::from)? {
        let (name, owner) = (theirs.field("Package").unwrap_or_default(), theirs.source());
        let Some(ours) = upload.binaries.iter().find(|it| it.control.package().as_str() == name) else {
            continue;
        };
        if owner != plan.package().as_str() {
            return Err(PublishError::Owned {
                suite: plan.suite().clone(),
                package: plan.package().clone(),
                binary: ours.control.package().clone(),
                owner: owner.parse().map_err(|e| PublishError::Backend(Box::new(e)))?,
            });
        }
    }
    Ok(())
}

/// Returns the numbers of the states that have a directory.
fn numbers(place: &Place<'_>) -> Result<Vec<u64>, ToolError> {
    let path = place.state();
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(ToolError::read(&path))? {
        let entry = entry.map_err(ToolError::read(&path))?;
        numbers.extend(entry.file_name().to_str().and_then(|it| it.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// Returns whether packages of an architecture belong to a suite.
fn has(architectures: &[Architecture], name: &str) -> bool {
    name == "all" || architectures.iter().any(|it| it.as_str() == name)
}

fn sums(files: &BTreeSet<PoolFile>) -> Sums {
    files.iter().map(|it| (it.name().to_owned(), it.sha256.clone())).collect()
}

/// Syncs all files and directories below a directory.
fn sync_tree(directory: &Path) -> Result<(), ToolError> {
    for path in entries(directory)? {
        if path.is_dir() {
            sync_tree(&path)?;
        } else if path.is_file() {
            durable::sync_file(&path)?;
        }
    }
    Ok(durable::sync_directory(directory)?)
}

/// Removes the files in a directory that a process died over while it wrote them.
pub(super) fn remove_unfinished(directory: &Path) -> Result<(), ToolError> {
    for path in entries(directory)? {
        if path.file_name().is_some_and(|it| durable::is_unfinished(&it.to_string_lossy())) {
            durable::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes the files below a directory whose names are such that a program that was killed left them.
pub(super) fn remove_litter(directory: &Path, is_litter: fn(&str) -> bool) -> Result<(), ToolError> {
    for path in entries(directory)? {
        if path.is_dir() {
            remove_litter(&path, is_litter)?;
        } else if path.file_name().is_some_and(|it| is_litter(&it.to_string_lossy())) {
            durable::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Returns the paths in a directory; none if it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, ToolError> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(ToolError::read(directory))?,
    };
    entries.map(|it| it.map(|it| it.path()).map_err(ToolError::read(directory))).collect()
}

/// Returns the directory of a source package below a suite's (the prefix as in Debian's own archive: `h`, or
/// `libx`).
pub(super) fn pool_directory(component: &str, package: &PackageName) -> String {
    let name = package.as_str();
    let prefix: String =
        name.chars().take(if name.starts_with("lib") && name.len() > 3 { 4 } else { 1 }).collect();
    format!("pool/{component}/{prefix}/{name}")
}

fn unfit(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Unfit { suite, package, version, problem }
}

fn conflict(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Conflict { suite, package, version, problem }
}
