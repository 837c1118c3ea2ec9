//! Takes what a build left, as regular files only.
//!
//! Never follows a link, opens a device or waits for a pipe: the directory belongs to the account of builds.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::control::Changes;
use crate::durable::{self, NewFile};
use crate::error::BoxError;
use crate::policy::OutputViolation;

/// Why results were not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The build left something else than it should.
    Build(String),
    /// They could not be copied.
    Backend(BoxError),
}

/// Copies the `.changes` and the files that it names from `output` to `into`, and returns where the `.changes` is.
///
/// A file that is not as the `.changes` says, or all of them if they have more than `limit` bytes, are named
/// together. Whether the packages are those that were to be made is not asked here.
pub(super) fn take(output: &Path, into: &Path, limit: u64) -> Result<PathBuf, Refused> {
    let backend = |e: BoxError| Refused::Backend(e);
    let mut found = Vec::new();
    for entry in fs::read_dir(output).map_err(|e| backend(e.into()))? {
        let path = entry.map_err(|e| backend(e.into()))?.path();
        if path.extension().is_some_and(|it| it == "changes") {
            found.push(path);
        }
    }
    let [path] = found.as_slice() else {
        return Err(Refused::Build(format!(
            "the build succeeded, but left {} .changes files instead of one; is there a package for this architecture in debian/control?",
            found.len()
        )));
    };
    let found = Changes::inspect(path, limit).map_err(|e| Refused::Build(e.to_string()))?;
    if found.bytes > limit {
        let rule = OutputViolation::TooLarge { found: found.bytes, limit };
        return Err(Refused::Build(rule.to_string()));
    }
    if !found.problems.is_empty() {
        let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        return Err(Refused::Build(problems.join("; ")));
    }
    let names = found.changes.files().iter().map(|it| it.name.as_str());
    let copies = names.map(|it| copy(&output.join(it), &into.join(it))).collect::<Result<_, _>>();
    durable::commit_all(copies.map_err(backend)?).map_err(|e| backend(e.into()))?;
    let copied = into.join(path.file_name().unwrap_or_default());
    // What was copied is what was checked, whatever happened to the files in between.
    Changes::read(&copied).map_err(|e| Refused::Build(e.to_string()))?;
    Ok(copied)
}

fn copy(from: &Path, to: &Path) -> Result<NewFile, BoxError> {
    let (mut source, mut target) = (open_regular(from)?, NewFile::create(to)?);
    io::copy(&mut source, &mut target)?;
    Ok(target)
}

/// Opens a file that is no link, device, pipe or directory.
pub(super) fn open_regular(path: &Path) -> Result<File, BoxError> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits())?;
    let shown = path.display();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|e| format!("cannot read {shown}, which a build left: {e}"))?;
    if !file.metadata()?.is_file() {
        return Err(format!("a build left {shown}, which is not a regular file").into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
