//! The files of a change, in a private directory where nobody changes them after they were verified.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::ToolError;
use super::served::transfer;
use crate::control::{BinaryControl, SourceControl, hash_file};
use crate::durable::{self, NewFile};
use crate::job::Artifact;
use crate::names::FileName;
use crate::states::BuildArtifacts;

/// A file to publish, where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) from: PathBuf,
    pub(super) name: FileName,
    pub(super) sha256: String,
}

/// Names and SHA-256 sums of files.
pub(super) type Sums = BTreeSet<(String, String)>;

/// Returns the names and sums of files.
pub(super) fn sums(files: &[Source]) -> Sums {
    files.iter().map(|it| (it.name.to_string(), it.sha256.clone())).collect()
}

/// Returns the files that are served of what was built: the source package's and the binary packages, each once.
///
/// # Errors
/// Two files have one name and different bytes.
pub(super) fn of_artifacts(artifacts: &BuildArtifacts) -> Result<Vec<Source>, String> {
    let source = artifacts.source();
    let of_source = source.files().iter().map(|it| (source.directory(), it));
    let mut files: Vec<Source> = Vec::new();
    let mut add = |directory: &Path, artifact: &Artifact| {
        let file = Source {
            from: directory.join(artifact.name.as_str()),
            name: artifact.name.clone(),
            sha256: artifact.sha256.clone(),
        };
        match files.iter().find(|it| it.name == file.name) {
            Some(it) if it.sha256 == file.sha256 => Ok(()),
            Some(_) => Err(format!("two builds made {} with different bytes", file.name)),
            None => {
                files.push(file);
                Ok(())
            }
        }
    };
    for (directory, artifact) in of_source {
        add(directory, artifact)?;
    }
    for build in artifacts.builds() {
        for binary in build.binaries() {
            add(build.directory(), binary.artifact())?;
        }
    }
    Ok(files)
}

/// The files of a change, staged.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) directory: PathBuf,
    pub(super) source: SourceControl,
    pub(super) binaries: Vec<BinaryControl>,
}

impl Upload {
    /// Copies files into a new directory, checks while copying that they are what was verified, and reads them.
    pub(super) fn stage(directory: &Path, files: &[Source]) -> Result<Self, ToolError> {
        durable::create_directory(directory)?;
        let (mut dsc, mut binaries) = (None, Vec::new());
        for file in files {
            let to = directory.join(file.name.as_str());
            copy(file, &to)?;
            if file.name.as_str().ends_with(".dsc") {
                dsc = Some(to);
            } else if [".deb", ".udeb", ".ddeb"].iter().any(|it| file.name.as_str().ends_with(it)) {
                binaries.push(BinaryControl::read(directory, hash_file(&to, file.name.clone())?)?);
            }
        }
        let damaged = || ToolError::Damaged {
            path: directory.to_owned(),
            problem: "has packages whose source has no .dsc".to_owned(),
        };
        let source = SourceControl::read(&dsc.ok_or_else(damaged)?)?;
        Ok(Self { directory: directory.to_owned(), source, binaries })
    }

    /// Returns the SHA-256 sums of its files, with their names.
    pub(super) fn sums(&self) -> impl Iterator<Item = (&FileName, &str)> {
        let binaries = self.binaries.iter().map(BinaryControl::artifact);
        self.source.files().iter().chain(binaries).map(|it| (&it.name, it.sha256.as_str()))
    }
}

fn copy(file: &Source, to: &Path) -> Result<(), ToolError> {
    let mut from = File::open(&file.from).map_err(ToolError::read(&file.from))?;
    let mut new = NewFile::create(to)?;
    let (sha256, _) = transfer(&mut from, &mut new).map_err(|source| ToolError::Copy {
        from: file.from.clone(),
        to: to.to_owned(),
        source,
    })?;
    if sha256 != file.sha256 {
        return Err(ToolError::Changed { path: file.from.clone() });
    }
    Ok(new.commit()?)
}
