//! Fetches packages into a directory in which each is named by its hash.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::apt::Sources;
use super::{Package, Question, against, sort};
use crate::builder::overlay::store::Store;
use crate::builder::overlay::{Trouble, Workplace};
use crate::builder::results::open_regular;
use crate::builder::scratch::Part;
use crate::control::hex;
use crate::durable::{self, NewFile, scratch};
use crate::error::BoxError;

/// The program of apt's that fetches files.
const HELPER: &str = "/usr/lib/apt/apt-helper";

fn place_of(store: &Store, package: &Package) -> Result<PathBuf, BoxError> {
    Ok(store.packages()?.join(format!("{}.deb", package.sha256)))
}

/// Returns whether all packages have been fetched.
pub(super) fn are_at_hand(store: &Store, packages: &[Package]) -> Result<bool, BoxError> {
    for package in packages {
        if !place_of(store, package)?.is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fetches the packages that are not at hand, and checks their hashes.
pub(super) fn all(
    place: &Workplace<'_>,
    question: &Question<'_>,
    packages: &[Package],
    log: &mut (dyn Write + Send),
) -> Result<(), Trouble> {
    let mut missing = Vec::new();
    for package in packages {
        if !place_of(place.store, package)?.is_file() {
            missing.push(package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    writeln!(log, "invirtibuilder: fetching {} packages", missing.len())
        .map_err(|e| Trouble::Machine(e.into()))?;
    let (local, missing): (Vec<&Package>, Vec<&Package>) =
        missing.into_iter().partition(|it| it.local().is_some());
    let mut files = Vec::new();
    for package in local {
        files.push(against::take(package, &place_of(place.store, package)?)?);
    }
    if missing.is_empty() {
        return durable::commit_all(files).map_err(|e| Trouble::Machine(e.into()));
    }
    let entry = place.store.workshop().enter(place.walls)?;
    let lists = entry.part(Part::Chroots);
    let sources = Sources::of(question.tree, &lists);
    let mut command = place.apt(HELPER, &entry, &sources, question.architecture)?.arg("download-file");
    for package in &missing {
        // Apt makes links to files of `file:`, and copies those of `copy:`.
        let uri = package.uri.strip_prefix("file:").map(|it| format!("copy:{it}"));
        let uri = uri.as_deref().unwrap_or(&package.uri);
        command = command.arg(uri).arg(&package.sha256).arg(format!("SHA256:{}", package.sha256));
    }
    if let Err(problem) = sort(command.run_interruptible(place.interrupt))? {
        return Err(Trouble::Moment(format!("build dependencies cannot be fetched: {}", problem.trim())));
    }
    for package in missing {
        let fetched = entry.part(Part::Output).join(&package.sha256);
        files.push(take(&fetched, package, &place_of(place.store, package)?)?);
    }
    durable::commit_all(files).map_err(|e| Trouble::Machine(e.into()))?;
    Ok(entry.remove()?)
}

/// Copies a package whose hash is right.
pub(super) fn take(from: &Path, package: &Package, to: &Path) -> Result<NewFile, BoxError> {
    let mut source = open_regular(from)?;
    let mut target = NewFile::create(to)?;
    if copy(&mut source, &mut target)? != package.sha256 {
        return Err(format!("{} is not what apt's lists say", from.display()).into());
    }
    Ok(target)
}

/// Copies, and returns the SHA-256 of what it copied.
fn copy(source: &mut File, target: &mut impl Write) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        let count = source.read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(bytes);
        target.write_all(bytes)?;
    }
}

/// Makes packages visible in a directory, under the names that apt expects. Their hashes are checked once more, as
/// they may have lain there for long; one that is not right is forgotten.
pub(in crate::builder) fn link(store: &Store, packages: &[Package], into: &Path) -> Result<(), BoxError> {
    for package in packages {
        let from = place_of(store, package)?;
        if copy(&mut File::open(&from)?, &mut io::sink())? != package.sha256 {
            durable::remove_file(&from)?;
            return Err(format!("the kept copy of {} was damaged; it is removed", package.file).into());
        }
        let to = into.join(&package.file);
        match scratch::link(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => scratch::copy(&from, &to)?,
            other => other?,
        }
    }
    Ok(())
}
