//! The files of imported packages: checked where they lie, and brought into our pool.
//!
//! Never changes anything below the other archive. What an index of ours will say is made here of the files alone.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Placing;
use super::choice::Chosen;
use super::listing::{Binary, Expected};
use crate::control::{BinaryControl, SourceControl, check_listed};
use crate::durable::{self, NewFile};
use crate::job::Artifact;
use crate::names::CommitId;
use crate::publisher::archive::entries::{self, Entries, Home};
use crate::publisher::archive::pool::{self, Upload};
use crate::publisher::archive::publishing::moved;
use crate::publisher::archive::release::{IndexPath, Kind};
use crate::publisher::archive::stanza::Stanza;
use crate::publisher::archive::{Archive, ArchiveError, SuiteSpec};

/// At most so many packages are worked on side by side: what is slow is syncing, not computing.
const THREADS: usize = 8;
/// At most so many files are written before they are synced together: a process may have about a thousand open.
const OPEN_FILES: usize = 512;

/// What lists the files, in errors.
const INDEX: &str = "the index";

/// A package whose files are what the other archive says.
#[derive(Debug)]
pub(super) struct Checked {
    /// Where each file lies, and what it is called in the pool.
    files: Vec<(PathBuf, Artifact)>,
    /// What our indices say of it if it lies in `home`.
    entries: Entries,
    home: String,
}

impl Checked {
    /// Reads all files of a package, compares their sums, and makes the entries of the suite's indices.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn new(suite: &SuiteSpec, chosen: &Chosen, commit: Option<&CommitId>) -> Result<Self, String> {
        let source = &chosen.source;
        let [dsc, others @ ..] = source.files.as_slice() else { return Err("it has no .dsc".to_owned()) };
        let mut files = Vec::new();
        for it in others {
            let path = place_of(it)?;
            let artifact = check_listed(&path, &it.listed(), INDEX).map_err(|e| e.to_string())?;
            files.push((path, artifact));
        }
        let path = place_of(dsc)?;
        let artifacts = files.iter().map(|it| it.1.clone()).collect();
        let control =
            SourceControl::of_files(&path, &dsc.listed(), artifacts, INDEX).map_err(|e| e.to_string())?;
        files.extend(control.files().first().map(|it| (path, it.clone())));
        let dsc = &dsc.path;
        if *control.package() != source.package || control.version().as_str() != source.version.as_str() {
            return Err(format!(
                "{} is of {} {}, not of {} {}",
                dsc.display(),
                control.package(),
                control.version(),
                source.package,
                source.version
            ));
        }
        let home = pool::directory_of(&source.component, &source.package);
        let stanza = Stanza::of_source(&control, commit, &home, std::iter::empty())
            .map_err(|e| format!("{}: {e}", dsc.display()))?;
        let mut entries = Entries::new();
        entries.insert(IndexPath::new(&source.component, Kind::Source), vec![stanza]);
        for binary in &chosen.binaries {
            let path = place_of(&binary.file)?;
            let control =
                BinaryControl::read(&path, &binary.file.listed(), INDEX).map_err(|e| e.to_string())?;
            let of_file = |problem: String| format!("{}: {problem}", binary.file.path.display());
            check_control(binary, &control).map_err(of_file)?;
            let place = Home::In(&binary.component);
            entries::add_binary(suite, place, &path, &control, &home, &mut entries).map_err(of_file)?;
            files.push((path, control.artifact().clone()));
        }
        entries::sort(&mut entries);
        Ok(Self { files, entries, home })
    }

    /// Returns how many bytes its files have.
    pub(super) fn size(&self) -> u64 {
        self.files.iter().map(|it| it.1.size).sum()
    }

    fn uploads(&self) -> Vec<Upload<'_>> {
        self.files.iter().map(|(path, artifact)| Upload { from: path, artifact }).collect()
    }

    /// Begins to bring its files into the pool, unless they are there, and returns the entries for where they will lie.
    /// Files that are linked are there at once. Nothing is synced.
    fn stage(&self, archive: &Archive, placing: Placing) -> Result<(Vec<NewFile>, Entries), ArchiveError> {
        let uploads = self.uploads();
        let (directory, missing) = pool::settle(&archive.directory, &self.home, &uploads)?;
        let path = archive.directory.join(&directory);
        durable::create_directory_unsynced(&path)?;
        let entries = moved(&self.entries, &self.home, &directory);
        if placing == Placing::Copy {
            let stage = |it: &Upload<'_>| pool::stage_from(it.from, &path, it.artifact);
            return Ok((missing.into_iter().map(stage).collect::<Result<_, _>>()?, entries));
        }
        for it in missing {
            durable::link_unsynced(it.from, &path.join(it.artifact.name.as_str()))?;
        }
        Ok((Vec::new(), entries))
    }
}

/// Brings the files of packages into the pool, unless they are there, and gives the entries for where they lie to
/// `take`. Nothing is served by that yet. The caller holds the lock.
pub(super) fn place(
    archive: &Archive,
    mut packages: &[Checked],
    placing: Placing,
    mut take: impl FnMut(Entries),
) -> Result<(), ArchiveError> {
    while !packages.is_empty() {
        let mut open = 0;
        let fits = |it: &&Checked| {
            open += it.files.len();
            open <= OPEN_FILES
        };
        let count = packages.iter().take_while(fits).count().max(1);
        let (batch, rest) = packages.split_at(count);
        let mut files = Vec::new();
        for staged in side_by_side(batch, |it| it.stage(archive, placing)) {
            let (staged, entries) = staged?;
            files.extend(staged);
            take(entries);
        }
        durable::commit_together(files, &archive.directory)?;
        packages = rest;
    }
    Ok(())
}

/// Returns where a file lies, which may be elsewhere: the other archive may have a link to it.
fn place_of(expected: &Expected) -> Result<PathBuf, String> {
    expected.path.canonicalize().map_err(|e| format!("{} cannot be read: {e}", expected.path.display()))
}

/// Refuses a package whose control file does not say what the index said.
fn check_control(binary: &Binary, control: &BinaryControl) -> Result<(), String> {
    let said = |package, version, architecture, source, source_version| {
        format!("{package} {version} {architecture} of {source} {source_version}")
    };
    let index =
        said(&binary.package, &binary.version, &binary.architecture, &binary.source, &binary.source_version);
    let (package, version) = (control.package(), control.version());
    let file = said(package, version, control.architecture(), control.source(), control.source_version());
    if index == file { Ok(()) } else { Err(format!("it is {file}, but the index says {index}")) }
}

/// Does some work for each item, several at a time, and returns the results in the order of the items.
pub(super) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut results = Vec::new();
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|it| (at, it))
        } {
            results.push((at, work(item)));
        }
        results
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .flat_map(|it| it.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect()
    });
    results.sort_by_key(|it| it.0);
    results.into_iter().map(|it| it.1).collect()
}
