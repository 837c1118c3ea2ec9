//! The files of a change, in a private directory where nobody changes them after they were verified.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::ToolError;
use super::served::transfer;
use crate::control::{BinaryControl, SourceControl};
use crate::durable::{self, NewFile};
use crate::job::Artifact;
use crate::names::{Component, FileName};
use crate::publisher::archive::SuiteSpec;
use crate::states::BuildArtifacts;

/// Section and priority of what says neither: reprepro publishes nothing without.
pub(super) const SECTION: &str = "misc";
pub(super) const PRIORITY: &str = "optional";

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

/// The files of a change, copied and read.
#[derive(Debug)]
pub(super) struct Staged {
    directory: PathBuf,
    source: SourceControl,
    binaries: Vec<BinaryControl>,
}

impl Staged {
    /// Copies files into a new directory, checks while copying that they are what was verified, and reads them.
    pub(super) fn new(directory: &Path, files: &[Source]) -> Result<Self, ToolError> {
        durable::create_directory(directory)?;
        let (mut dsc, mut binaries) = (None, Vec::new());
        for file in files {
            let to = directory.join(file.name.as_str());
            let size = copy(file, &to)?;
            if file.name.as_str().ends_with(".dsc") {
                dsc = Some(to);
            } else if [".deb", ".udeb", ".ddeb"].iter().any(|it| file.name.as_str().ends_with(it)) {
                binaries.push(BinaryControl::read_known(&to, &file.name, size, &file.sha256)?);
            }
        }
        let damaged = || ToolError::Damaged {
            path: directory.to_owned(),
            problem: "has packages whose source has no .dsc".to_owned(),
        };
        let source = SourceControl::read(&dsc.ok_or_else(damaged)?)?;
        Ok(Self { directory: directory.to_owned(), source, binaries })
    }

    /// Finds the component of each package.
    ///
    /// # Errors
    /// The suite does not have the component that a section names.
    pub(super) fn assign(self, suite: &SuiteSpec) -> Result<Upload, String> {
        let list = self.source.paragraph().get("Package-List").unwrap_or_default();
        let (section, priority) = listed(list, self.source.package().as_str());
        let component = suite.component_of(&section)?.clone();
        let binary = |control: BinaryControl| {
            let has_symbols = field_of(control.text(), "Auto-Built-Package") == Some("debug-symbols");
            let component = match &suite.debug {
                Some(debug) if has_symbols => debug,
                _ => suite.component_of(field_of(control.text(), "Section").unwrap_or_default())?,
            };
            Ok(Binary { component: component.clone(), control })
        };
        let binaries = self.binaries.into_iter().map(binary).collect::<Result<_, String>>()?;
        Ok(Upload { directory: self.directory, source: self.source, component, section, priority, binaries })
    }
}

/// A binary package, and where it belongs.
#[derive(Debug)]
pub(super) struct Binary {
    pub(super) component: Component,
    pub(super) control: BinaryControl,
}

/// The files of a change, and where each belongs.
#[derive(Debug)]
pub(super) struct Upload {
    /// Where they are.
    pub(super) directory: PathBuf,
    pub(super) source: SourceControl,
    /// The component of the source package.
    pub(super) component: Component,
    /// The section of the source package.
    pub(super) section: String,
    /// The priority of the source package.
    pub(super) priority: String,
    pub(super) binaries: Vec<Binary>,
}

impl Upload {
    /// Returns its files, with the component of each.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Component, &Artifact)> {
        let source = self.source.files().iter().map(|it| (&self.component, it));
        source.chain(self.binaries.iter().map(|it| (&it.component, it.control.artifact())))
    }
}

/// Returns the first line of a field that is not empty.
pub(super) fn field_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let fields = text.lines().filter_map(|it| it.split_once(':'));
    fields.filter(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.trim()).find(|it| !it.is_empty())
}

/// Reads section and priority from a `Package-List` (dsc(5)): those of the binary package that has the source's
/// name, or else of the first.
fn listed(list: &str, package: &str) -> (String, String) {
    let words = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, (words.nth(1)?, words.next()?)))
    };
    let lines: Vec<_> = list.lines().filter_map(words).collect();
    let found = lines.iter().find(|it| it.0 == package).or(lines.first());
    found.map_or_else(|| (SECTION.to_owned(), PRIORITY.to_owned()), |it| it.1.clone())
}

/// Copies a file and returns its size.
fn copy(file: &Source, to: &Path) -> Result<u64, ToolError> {
    let mut from = File::open(&file.from).map_err(ToolError::read(&file.from))?;
    let mut new = NewFile::create(to)?;
    let (sha256, size) = transfer(&mut from, &mut new).map_err(|source| ToolError::Copy {
        from: file.from.clone(),
        to: to.to_owned(),
        source,
    })?;
    if sha256 != file.sha256 {
        return Err(ToolError::Changed { path: file.from.clone() });
    }
    new.commit()?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_package_has_the_section_of_the_binary_package_of_its_name() {
        let list = "\n hello-doc deb doc optional arch=all\n hello deb devel extra arch=any";
        assert_eq!(listed(list, "hello"), ("devel".to_owned(), "extra".to_owned()));
        assert_eq!(listed(list, "other"), ("doc".to_owned(), "optional".to_owned()));
        assert_eq!(listed("", "hello"), ("misc".to_owned(), "optional".to_owned()));
    }
}
