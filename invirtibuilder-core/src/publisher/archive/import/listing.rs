//! What the indices of another archive say of its packages.
//!
//! Pure: never reads or writes a file, and believes nothing but names, versions and sums.

use std::path::{Path, PathBuf};

use super::tree::{below, file_name};
use crate::control::Listed;
use crate::names::{Architecture, CommitId, Component, FileName, PackageName, Version};
use crate::publisher::archive::release::{IndexPath, Kind};
use crate::publisher::archive::stanza::field;

/// All packages of a suite.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) sources: Vec<Source>,
    pub(super) binaries: Vec<Binary>,
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Expected {
    /// The name that it gets in the pool.
    pub(super) name: FileName,
    /// Where it lies now.
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) sha256: String,
}

/// A source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) package: PackageName,
    pub(super) version: Version,
    pub(super) component: Component,
    /// The commit that it says it was made from.
    pub(super) commit: Option<CommitId>,
    /// The `.dsc` first, then the others by name.
    pub(super) files: Vec<Expected>,
}

/// A binary package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) package: PackageName,
    pub(super) version: Version,
    pub(super) architecture: Architecture,
    pub(super) source: PackageName,
    pub(super) source_version: Version,
    pub(super) component: Component,
    pub(super) file: Expected,
}

impl Source {
    /// Reads a paragraph of `Sources`.
    pub(super) fn parse(text: &str, component: &Component, root: &Path) -> Result<Self, String> {
        let package: PackageName = parse(text, "Package")?;
        let of_package =
            |problem: String| format!("it has a paragraph of {package} that is unfit: {problem}");
        let version: Version = parse(text, "Version").map_err(of_package)?;
        let directory = field(text, "Directory").unwrap_or_default();
        let mut files = Vec::new();
        for line in lines_of(text, "Checksums-Sha256") {
            files.push(Expected::of_line(line, directory, root).map_err(of_package)?);
        }
        files.sort_by_key(|it| (!it.name.as_str().ends_with(".dsc"), it.name.clone()));
        files.dedup();
        let is_dsc = |it: &Expected| it.name.as_str().ends_with(".dsc");
        if !files.first().is_some_and(is_dsc) || files.iter().skip(1).any(is_dsc) {
            return Err(of_package("its Checksums-Sha256 does not name exactly one .dsc".to_owned()));
        }
        let commit = field(text, "Git-Commit").and_then(|it| it.parse().ok());
        Ok(Self { package, version, component: component.clone(), commit, files })
    }
}

impl Binary {
    /// Reads a paragraph of `Packages`. The file's name becomes the one that dpkg gives it.
    pub(super) fn parse(text: &str, index: &IndexPath, root: &Path) -> Result<Self, String> {
        let package: PackageName = parse(text, "Package")?;
        let of_package =
            |problem: String| format!("it has a paragraph of {package} that is unfit: {problem}");
        let version: Version = parse(text, "Version").map_err(of_package)?;
        let architecture: Architecture = parse(text, "Architecture").map_err(of_package)?;
        let (source, source_version) = match field(text, "Source").filter(|it| !it.is_empty()) {
            None => (package.clone(), version.clone()),
            Some(source) => {
                let (name, rest) = source.split_once(' ').unwrap_or((source, ""));
                let rest = rest.trim().trim_start_matches('(').trim_end_matches(')');
                let source = name.parse().map_err(|e| of_package(format!("in its Source field, {e}")))?;
                let of = if rest.is_empty() { Ok(version.clone()) } else { rest.parse() };
                (source, of.map_err(|e| of_package(format!("in its Source field, {e}")))?)
            }
        };
        let ending = if matches!(index.kind, Kind::Installer(_)) { "udeb" } else { "deb" };
        let name = format!("{package}_{}_{architecture}.{ending}", version.without_epoch());
        let path = field(text, "Filename").unwrap_or_default();
        let size = field(text, "Size").and_then(|it| it.parse().ok());
        let sha256 = field(text, "SHA256").map(str::to_ascii_lowercase).filter(|it| it.len() == 64);
        let (Some(size), Some(sha256)) = (size, sha256) else {
            return Err(of_package("it has no Size or no SHA256".to_owned()));
        };
        let name = file_name(&name).map_err(of_package)?;
        let file = Expected { name, path: below(root, path).map_err(of_package)?, size, sha256 };
        let component = index.component.clone();
        Ok(Self { package, version, architecture, source, source_version, component, file })
    }
}

impl Expected {
    /// Returns it as it is to be checked.
    pub(super) fn listed(&self) -> Listed {
        Listed { name: self.name.clone(), size: self.size, sha256: self.sha256.clone() }
    }

    /// Reads a line of `Checksums-Sha256`.
    fn of_line(line: &str, directory: &str, root: &Path) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [sha256, size, name] = words.as_slice() else {
            return Err(format!("its Checksums-Sha256 has the line {line:?}"));
        };
        let size = size.parse().map_err(|_| format!("the size of {name} is {size:?}"))?;
        let path = if directory.is_empty() { (*name).to_owned() } else { format!("{directory}/{name}") };
        let path = below(root, &path)?;
        Ok(Self { name: file_name(name)?, path, size, sha256: sha256.to_ascii_lowercase() })
    }
}

fn parse<T>(text: &str, name: &str) -> Result<T, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let value = field(text, name).ok_or_else(|| format!("it has a paragraph without {name}"))?;
    value.parse().map_err(|e| format!("{e}"))
}

/// Returns the continued lines of a field. Its first line may end in a blank, as reprepro writes it.
fn lines_of<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let is_field = move |line: &str| {
        line.split_once(':').is_some_and(|it| it.0.eq_ignore_ascii_case(name) && it.1.trim().is_empty())
    };
    let mut is_inside = false;
    text.lines().filter(move |line| {
        if line.starts_with([' ', '\t']) {
            return is_inside && !line.trim().is_empty();
        }
        is_inside = is_field(line);
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source, String> {
        Source::parse(text, &"main".parse().unwrap(), Path::new("/tree"))
    }

    fn binary(fields: &str) -> Result<Binary, String> {
        let text = format!("Package: hello\nVersion: 2:1.0\nArchitecture: all\n{fields}");
        let kind = Kind::Binary("amd64".parse().unwrap());
        Binary::parse(&text, &IndexPath { component: "main".parse().unwrap(), kind }, Path::new("/tree"))
    }

    #[test]
    fn a_source_package_is_read_as_reprepro_writes_it() {
        let text = "Package: hello\nVersion: 1.0\nDirectory: pool/h\nFiles: \n x 1 hello_1.0.dsc\nChecksums-Sha256: \n cd 4 hello_1.0.tar.xz\n AB 3 hello_1.0.dsc\nPackage-List:\n hello deb\n";
        let found = source(text).unwrap();
        let files: Vec<_> =
            found.files.iter().map(|it| (it.name.as_str(), it.size, it.sha256.as_str())).collect();
        assert_eq!(files, [("hello_1.0.dsc", 3, "ab"), ("hello_1.0.tar.xz", 4, "cd")]);
        assert_eq!(found.files[0].path, Path::new("/tree/pool/h/hello_1.0.dsc"));
    }

    #[test]
    fn a_binary_package_gets_the_name_that_dpkg_gives_it() {
        let sum = "a".repeat(64);
        let found =
            binary(&format!("Source: tools (1.9)\nFilename: ./pool/My Tool.deb\nSize: 7\nSHA256: {sum}\n"));
        let found = found.unwrap();
        assert_eq!(found.file.name.as_str(), "hello_1.0_all.deb");
        assert_eq!((found.source.as_str(), found.source_version.as_str()), ("tools", "1.9"));
    }

    #[test]
    fn what_leads_out_of_the_tree_or_names_no_sum_is_refused() {
        let sum = "a".repeat(64);
        for path in ["../evil.deb", "/etc/passwd", "pool/../../evil.deb", ""] {
            assert!(binary(&format!("Filename: {path}\nSize: 7\nSHA256: {sum}\n")).is_err(), "{path}");
        }
        for fields in ["Filename: a.deb\nSize: 7\n", "Filename: a.deb\nSHA256: ab\nSize: 7\n"] {
            assert!(binary(fields).is_err(), "{fields}");
        }
        let begin = "Package: hello\nVersion: 1.0\n";
        for fields in [
            "",
            "Directory: ..\nChecksums-Sha256:\n ab 1 a.dsc\n",
            "Checksums-Sha256:\n ab 1 ../a.dsc\n",
            "Checksums-Sha256:\n ab 1 a.dsc\n ab 1 b.dsc\n",
            "Checksums-Sha256:\n ab 1 a.tar.xz\n",
            "Checksums-Sha256:\n ab a.dsc\n",
        ] {
            assert!(source(&format!("{begin}{fields}")).is_err(), "{fields}");
        }
    }
}
