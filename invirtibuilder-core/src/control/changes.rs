//! Results of builds: `.changes` files (deb-changes(5)).

use std::path::{Path, PathBuf};

use super::{
    BinaryControl, check_file, directory_of, file_name_of, hash_open, parse_field, parse_paragraph,
    read_checksums, read_text, shown_name, total,
};
use crate::error::VerifyError;
use crate::job::Artifact;
use crate::names::{PackageName, Version};

/// A `.changes` file and the files that it names, all checked.
#[derive(Clone, Debug)]
pub struct Changes {
    path: PathBuf,
    directory: PathBuf,
    package: PackageName,
    version: Version,
    files: Vec<Artifact>,
    binaries: Vec<BinaryControl>,
}

impl Changes {
    /// Reads a `.changes` file, checks the size and the SHA-256 of every file that it names, and reads the
    /// control information of each binary package.
    ///
    /// # Errors
    /// It, or a file that it names, is missing, malformed, not a regular file, or has other content.
    pub fn read(path: &Path) -> Result<Self, VerifyError> {
        let inspected = Self::inspect(path, u64::MAX)?;
        inspected.problems.into_iter().next().map_or(Ok(inspected.changes), Err)
    }

    /// As [`Changes::read`], but reads on after a file that is not what it should be, and reads no file at all
    /// if they have more than `limit` bytes together.
    pub(crate) fn inspect(path: &Path, limit: u64) -> Result<Inspected, VerifyError> {
        let text = read_text(path)?;
        let paragraph = parse_paragraph(path, &text)?;
        let listed = read_checksums(path, paragraph.get("Checksums-Sha256"))?;
        // A binary-only upload has `Source: package (version)`.
        let source: String = parse_field(path, &paragraph, "Source")?;
        let name = source.split_whitespace().next().unwrap_or_default();
        let mut changes = Self {
            path: path.to_owned(),
            directory: directory_of(path),
            package: name.parse().map_err(|e| VerifyError::new(path, format!("{e}")))?,
            version: parse_field(path, &paragraph, "Version")?,
            files: vec![hash_open(path, text.as_bytes(), file_name_of(path)?)?],
            binaries: Vec::new(),
        };
        let bytes = total(&listed);
        let mut problems = Vec::new();
        for it in listed.iter().filter(|_| bytes <= limit) {
            if is_package(it.name.as_str()) {
                let path = changes.directory.join(it.name.as_str());
                match BinaryControl::read(&path, it, &shown_name(&changes.path)) {
                    Ok(binary) => {
                        changes.files.push(binary.artifact().clone());
                        changes.binaries.push(binary);
                    }
                    Err(e) => problems.push(e),
                }
            } else {
                match check_file(path, it) {
                    Ok(file) => changes.files.push(file),
                    Err(e) => problems.push(e),
                }
            }
        }
        Ok(Inspected { changes, bytes, problems })
    }

    /// Returns the path of the `.changes` file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of the files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the source package's name.
    #[must_use]
    pub fn package(&self) -> &PackageName {
        &self.package
    }

    /// Returns its version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Returns the `.changes` itself, first, and the files that it names.
    #[must_use]
    pub fn files(&self) -> &[Artifact] {
        &self.files
    }

    /// Returns the binary packages among the files.
    #[must_use]
    pub fn binaries(&self) -> &[BinaryControl] {
        &self.binaries
    }

    /// Returns the records of the build (deb-buildinfo(5)) among the files.
    pub fn buildinfos(&self) -> impl Iterator<Item = &Artifact> {
        self.files.iter().filter(|it| it.name.as_str().ends_with(".buildinfo"))
    }
}

/// A `.changes` file as it is, whether or not it is fit to be used.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// What it says, with the files that are as it says.
    pub(crate) changes: Changes,
    /// The bytes of all files that it names, by its own word.
    pub(crate) bytes: u64,
    /// What is wrong with the other files.
    pub(crate) problems: Vec<VerifyError>,
}

fn is_package(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|ending| name.ends_with(ending))
}
