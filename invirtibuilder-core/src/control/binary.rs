//! Binary packages: `.deb` files (deb(5)), read without unpacking them.

use std::io::Read;
use std::path::Path;

use super::contents::unpack;
use super::hashing::Hashing;
use super::{Listed, MAX_CONTROL_BYTES, check_sum, open_listed, parse_field};
use crate::error::{BoxError, VerifyError};
use crate::job::Artifact;
use crate::names::{Architecture, FileName, PackageName, Version};
use crate::policy::BuiltBinary;

/// The longest `control.tar`, unpacked; the sums of very large packages are in it too.
const MAX_TARBALL_BYTES: u64 = 256 << 20;

/// The control information of a binary package (deb-control(5)).
#[derive(Clone, Debug)]
pub struct BinaryControl {
    artifact: Artifact,
    text: String,
    package: PackageName,
    version: Version,
    architecture: Architecture,
    source: PackageName,
    source_version: Version,
    package_type: Option<String>,
    is_debug_symbols: bool,
    is_essential: bool,
}

impl BinaryControl {
    /// Reads a listed package once: its hashes, and the control information in the bytes that were hashed.
    pub(crate) fn read(path: &Path, listed: &Listed, by: &str) -> Result<Self, VerifyError> {
        let file = open_listed(path, listed, by)?;
        let mut bytes = Hashing::new(file.take(listed.size.saturating_add(1)));
        let text = control_file(&mut bytes);
        let artifact = bytes.finish(listed.name.clone());
        let artifact = artifact.map_err(|e| VerifyError::new(path, format!("it cannot be read: {e}")))?;
        // A file that is not what is listed is that first of all.
        check_sum(path, &artifact, listed, by)?;
        let text = text.map_err(|e| VerifyError::new(path, format!("it is not a Debian package: {e}")))?;
        Self::parse(path, artifact, &text)
    }

    /// Reads a package whose size and SHA-256 sum are known otherwise.
    pub(crate) fn read_known(
        path: &Path,
        name: &FileName,
        size: u64,
        sha256: &str,
    ) -> Result<Self, VerifyError> {
        let listed = Listed { name: name.clone(), size, sha256: sha256.to_owned() };
        Self::read(path, &listed, "the archive")
    }

    fn parse(path: &Path, artifact: Artifact, text: &str) -> Result<Self, VerifyError> {
        let text = text.trim_matches('\n').to_owned();
        let paragraph: deb822_fast::Paragraph = text
            .parse()
            .map_err(|e| VerifyError::new(path, format!("its control file does not parse: {e}")))?;
        let package: PackageName = parse_field(path, &paragraph, "Package")?;
        let version: Version = parse_field(path, &paragraph, "Version")?;
        // `Source` is left out where it would repeat the package, and its version where it would repeat that
        // (Debian Policy 5.6.1).
        let (source, source_version) = match paragraph.get("Source").map(str::trim) {
            None => (package.clone(), version.clone()),
            Some(source) => {
                let invalid = |e| VerifyError::new(path, format!("in its Source field, {e}"));
                let (name, rest) = source.split_once(' ').unwrap_or((source, ""));
                let rest = rest.trim().trim_start_matches('(').trim_end_matches(')');
                let source_version =
                    if rest.is_empty() { version.clone() } else { rest.parse().map_err(invalid)? };
                (name.parse().map_err(invalid)?, source_version)
            }
        };
        let architecture = parse_field(path, &paragraph, "Architecture")?;
        let field = |name| paragraph.get(name).map(str::trim);
        let is_debug = |section: &str| section.rsplit('/').next() == Some("debug");
        let is_debug_symbols =
            field("Auto-Built-Package") == Some("debug-symbols") && field("Section").is_some_and(is_debug);
        // `Protected` was `Important` before it had a name of its own (apt-pkg, deb-control(5)).
        let is_yes = |name| field(name).is_some_and(|it| it.eq_ignore_ascii_case("yes"));
        let is_essential = ["Essential", "Protected", "Important"].into_iter().any(is_yes);
        let package_type = field("Package-Type").map(str::to_owned);
        Ok(Self {
            artifact,
            text,
            package,
            version,
            architecture,
            source,
            source_version,
            package_type,
            is_debug_symbols,
            is_essential,
        })
    }

    /// Returns the file.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Returns the control file as it is in the package, without empty lines at its ends.
    ///
    /// An index is made from this text and not from parsed fields, so that fields which nobody here knows
    /// survive.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the package's name.
    #[must_use]
    pub fn package(&self) -> &PackageName {
        &self.package
    }

    /// Returns its version, which may differ from its source's.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Returns its architecture.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Returns the source package that it says it comes from.
    #[must_use]
    pub fn source(&self) -> &PackageName {
        &self.source
    }

    /// Returns the version of that source package.
    #[must_use]
    pub fn source_version(&self) -> &Version {
        &self.source_version
    }

    /// Returns its `Package-Type`, if it has one (deb-control(5)).
    #[must_use]
    pub fn package_type(&self) -> Option<&str> {
        self.package_type.as_deref()
    }

    /// Returns whether it says that debhelper made it of another package's debug symbols.
    #[must_use]
    pub fn is_debug_symbols(&self) -> bool {
        self.is_debug_symbols
    }

    /// Returns it as a fact for policy, from a run of the builder for `target`, with or without the packages for all
    /// architectures.
    pub(crate) fn as_built<'a>(&'a self, target: &'a Architecture, with_all: bool) -> BuiltBinary<'a> {
        BuiltBinary {
            file: &self.artifact.name,
            sha256: &self.artifact.sha256,
            package: &self.package,
            version: &self.version,
            architecture: &self.architecture,
            source: &self.source,
            source_version: &self.source_version,
            package_type: self.package_type(),
            is_debug_symbols: self.is_debug_symbols,
            is_essential: self.is_essential,
            target,
            with_all,
        }
    }
}

/// Finds the file `control` in the archive `control.tar*` in a package.
fn control_file(file: impl Read) -> Result<String, BoxError> {
    let mut package = ar::Archive::new(std::io::BufReader::new(file));
    let mut is_first = true;
    while let Some(member) = package.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        if is_first {
            check_format(&name, member)?;
            is_first = false;
            continue;
        }
        // deb(5): members that begin with an underscore are skipped, and nothing else comes before this one.
        if name.starts_with('_') {
            continue;
        }
        let ending = name.strip_prefix("control.tar").filter(|it| ["", ".gz", ".xz", ".zst"].contains(it));
        let Some(ending) = ending else {
            return Err(format!("its second member is {name:?}, not a control.tar (deb(5))").into());
        };
        return control_member(unpack(ending, member)?.take(MAX_TARBALL_BYTES));
    }
    Err("it has no control.tar".into())
}

fn check_format(name: &str, member: impl Read) -> Result<(), BoxError> {
    let mut format = String::new();
    member.take(16).read_to_string(&mut format)?;
    if name == "debian-binary" && format.starts_with("2.") {
        return Ok(());
    }
    Err("its first member is not a debian-binary of format 2 (deb(5))".into())
}

/// Returns the one file `control`. A second one would be what dpkg installs and nobody here has read.
fn control_member(tarball: impl Read) -> Result<String, BoxError> {
    let mut tarball = tar::Archive::new(tarball);
    let mut found = None;
    for entry in tarball.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if path.strip_prefix(".").unwrap_or(&path) != Path::new("control") {
            continue;
        }
        if found.is_some() {
            return Err("its control.tar has the file control twice".into());
        }
        if !entry.header().entry_type().is_file() || entry.size() > MAX_CONTROL_BYTES {
            return Err(format!("its control is not a file of at most {MAX_CONTROL_BYTES} bytes").into());
        }
        let mut text = String::new();
        entry.take(MAX_CONTROL_BYTES).read_to_string(&mut text)?;
        found = Some(text);
    }
    found.ok_or_else(|| "its control.tar has no file control".into())
}

/// Returns the file `control` of a package that is otherwise known to be the right one.
pub(crate) fn control_text(file: impl Read) -> Result<String, BoxError> {
    control_file(file)
}
