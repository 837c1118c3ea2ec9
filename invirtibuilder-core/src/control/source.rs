//! Source packages: `.dsc` files (dsc(5)).

use std::path::{Path, PathBuf};

use super::{
    check_file, directory_of, file_name_of, hash_open, parse_field, parse_paragraph, read_checksums,
    read_text,
};
use crate::error::VerifyError;
use crate::job::Artifact;
use crate::names::{PackageName, Version};

/// A `.dsc` file and the files that it names, all checked.
#[derive(Clone, Debug)]
pub struct SourceControl {
    path: PathBuf,
    directory: PathBuf,
    package: PackageName,
    version: Version,
    paragraph: deb822_fast::Paragraph,
    files: Vec<Artifact>,
}

impl SourceControl {
    /// Reads a `.dsc` file, and checks the size and the SHA-256 of every file that it names.
    ///
    /// # Errors
    /// It, or a file that it names, is missing, malformed, not a regular file, or has other content.
    pub fn read(path: &Path) -> Result<Self, VerifyError> {
        let text = read_text(path)?;
        let paragraph = parse_paragraph(path, &text)?;
        let listed = read_checksums(path, paragraph.get("Checksums-Sha256"))?;
        let mut files = vec![hash_open(path, text.as_bytes(), file_name_of(path)?)?];
        for it in &listed {
            files.push(check_file(path, it)?);
        }
        Ok(Self {
            path: path.to_owned(),
            directory: directory_of(path),
            package: parse_field(path, &paragraph, "Source")?,
            version: parse_field(path, &paragraph, "Version")?,
            paragraph,
            files,
        })
    }

    /// Returns the path of the `.dsc`.
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

    /// Returns the `.dsc` itself, first, and the files that it names.
    #[must_use]
    pub fn files(&self) -> &[Artifact] {
        &self.files
    }

    /// Returns the fields of the `.dsc`, without a signature.
    #[must_use]
    pub fn paragraph(&self) -> &deb822_fast::Paragraph {
        &self.paragraph
    }
}
