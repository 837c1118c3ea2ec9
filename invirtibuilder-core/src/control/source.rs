//! Source packages: `.dsc` files (dsc(5)).

use std::path::{Path, PathBuf};

use super::{
    Listed, check_file, check_sum, directory_of, file_name_of, hash_open, parse_field, parse_paragraph,
    read_checksums, read_text,
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
        Self::new(path, paragraph, files)
    }

    /// Reads a `.dsc` file that `by` lists, and whose other files were checked already.
    ///
    /// # Errors
    /// It is not the file that is listed, is malformed, or names other files than these.
    pub(crate) fn of_files(
        path: &Path,
        dsc: &Listed,
        others: Vec<Artifact>,
        by: &str,
    ) -> Result<Self, VerifyError> {
        let text = read_text(path)?;
        let own = hash_open(path, text.as_bytes(), dsc.name.clone())?;
        check_sum(path, &own, dsc, by)?;
        let paragraph = parse_paragraph(path, &text)?;
        let listed = read_checksums(path, paragraph.get("Checksums-Sha256"))?;
        let is_among_them = |it: &&Listed| {
            others.iter().any(|file| file.name == it.name && file.size == it.size && file.sha256 == it.sha256)
        };
        if let Some(missing) = listed.iter().find(|it| !is_among_them(it)) {
            let problem =
                format!("it names {} with SHA-256 {}, but {by} does not", missing.name, missing.sha256);
            return Err(VerifyError::new(path, problem));
        }
        if let Some(stray) = others.iter().find(|file| listed.iter().all(|it| it.name != file.name)) {
            return Err(VerifyError::new(path, format!("it does not name {}, but {by} does", stray.name)));
        }
        Self::new(path, paragraph, std::iter::once(own).chain(others).collect())
    }

    fn new(
        path: &Path,
        paragraph: deb822_fast::Paragraph,
        files: Vec<Artifact>,
    ) -> Result<Self, VerifyError> {
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
