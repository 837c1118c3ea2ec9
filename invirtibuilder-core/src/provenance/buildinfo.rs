//! What is read of a record of a build (deb-buildinfo(5)).

use std::path::Path;

use super::statement::Resource;
use crate::error::VerifyError;

/// A `.buildinfo` file.
#[derive(Debug)]
pub(super) struct BuildInfo {
    /// The source package.
    pub(super) source: String,
    /// Its version.
    pub(super) version: String,
    /// The files that the build made: name and SHA-256 sum.
    pub(super) files: Vec<(String, String)>,
    /// The packages that were installed.
    pub(super) installed: Vec<Resource>,
}

impl BuildInfo {
    /// Reads one from its text.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, VerifyError> {
        let paragraph = crate::control::parse_paragraph(path, text)?;
        let field = |name: &str| paragraph.get(name).unwrap_or_default().trim().to_owned();
        let listed = crate::control::read_checksums(path, paragraph.get("Checksums-Sha256"))?;
        let source = field("Source");
        Ok(Self {
            source: source.split_whitespace().next().unwrap_or_default().to_owned(),
            version: field("Version"),
            files: listed.into_iter().map(|it| (it.name.to_string(), it.sha256)).collect(),
            installed: installed(&field("Installed-Build-Depends"), &field("Build-Architecture")),
        })
    }
}

/// Reads `Installed-Build-Depends`, such as `gcc-12 (= 12.2.0-14), …`, as package URLs.
fn installed(field: &str, architecture: &str) -> Vec<Resource> {
    let one = |item: &str| {
        let (name, version) = item.trim().split_once(" (= ")?;
        let version = version.strip_suffix(')')?;
        let (name, architecture) = name.split_once(':').unwrap_or((name, architecture));
        let uri =
            format!("pkg:deb/debian/{}@{}?arch={}", escaped(name), escaped(version), escaped(architecture));
        Some(Resource { uri: Some(uri), ..Resource::default() })
    };
    field.split(',').filter_map(one).collect()
}

/// Escapes what a package URL may not have as it is.
fn escaped(text: &str) -> String {
    super::escaped(text, b".-_~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_installed_is_told_as_package_urls() {
        let text = "Format: 1.0\nSource: hello (1.0)\nVersion: 1.0+b1\nBuild-Architecture: amd64\n\
            Checksums-Sha256:\n aa 12 hello_1.0+b1_amd64.deb\nInstalled-Build-Depends:\n g++-12 (= 1:12.2.0-14),\n libc6:i386 (= 2.36-9)\n";
        let info = BuildInfo::parse(Path::new("x.buildinfo"), text).unwrap();
        assert_eq!((info.source.as_str(), info.version.as_str()), ("hello", "1.0+b1"));
        assert_eq!(info.files, [("hello_1.0+b1_amd64.deb".to_owned(), "aa".to_owned())]);
        let uris: Vec<_> = info.installed.iter().map(|it| it.uri.clone().unwrap()).collect();
        assert_eq!(
            uris,
            ["pkg:deb/debian/g%2B%2B-12@1%3A12.2.0-14?arch=amd64", "pkg:deb/debian/libc6@2.36-9?arch=i386"]
        );
    }
}
