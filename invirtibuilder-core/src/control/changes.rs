//! Results of builds: `.changes` files (deb-changes(5)).

use std::path::{Path, PathBuf};

use super::{
    BinaryControl, check_files, directory_of, file_name_of, hash_file, parse_field, parse_paragraph,
    read_checksums, read_text,
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
        let paragraph = parse_paragraph(path, &read_text(path)?)?;
        let listed = read_checksums(path, paragraph.get("Checksums-Sha256"))?;
        let mut files = vec![hash_file(path, file_name_of(path)?)?];
        files.extend(check_files(path, &listed)?);
        let directory = directory_of(path);
        let packages = files.iter().filter(|it| is_package(it.name.as_str()));
        let binaries =
            packages.map(|it| BinaryControl::read(&directory, it.clone())).collect::<Result<_, _>>()?;
        // A binary-only upload has `Source: package (version)`.
        let source: String = parse_field(path, &paragraph, "Source")?;
        let name = source.split_whitespace().next().unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            directory,
            package: name.parse().map_err(|e| VerifyError::new(path, format!("{e}")))?,
            version: parse_field(path, &paragraph, "Version")?,
            files,
            binaries,
        })
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

    /// Checks that every binary package says that it comes from this source package, and has the file name that
    /// its control information gives it.
    pub(crate) fn check_binaries(&self) -> Result<(), VerifyError> {
        for binary in &self.binaries {
            let problem =
                |text| Err(VerifyError::new(self.directory.join(binary.artifact().name.as_str()), text));
            if *binary.source() != self.package || binary.source_version().as_str() != self.version.as_str() {
                return problem(format!(
                    "it says that it comes from {} {}, not from {} {}",
                    binary.source(),
                    binary.source_version(),
                    self.package,
                    self.version
                ));
            }
            let stem = format!(
                "{}_{}_{}.",
                binary.package(),
                binary.version().without_epoch(),
                binary.architecture()
            );
            if !binary.artifact().name.as_str().starts_with(&stem) {
                return problem(format!("its control information wants a name that begins with {stem}"));
            }
        }
        Ok(())
    }
}

fn is_package(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|ending| name.ends_with(ending))
}
