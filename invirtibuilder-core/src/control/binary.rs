//! Binary packages: `.deb` files (deb(5)), read without unpacking them.

use std::io::Read;
use std::path::Path;

use super::contents::unpack;
use super::{MAX_CONTROL_BYTES, open_regular, parse_field};
use crate::error::{BoxError, VerifyError};
use crate::job::Artifact;
use crate::names::{Architecture, PackageName, Version};

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
}

impl BinaryControl {
    /// Reads the control information of a package that was hashed already.
    pub(crate) fn read(directory: &Path, artifact: Artifact) -> Result<Self, VerifyError> {
        let path = directory.join(artifact.name.as_str());
        let file = open_regular(&path)?;
        let text = control_file(file)
            .map_err(|e| VerifyError::new(&path, format!("it is not a Debian package: {e}")))?;
        Self::parse(&path, artifact, &text)
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
        Ok(Self { artifact, text, package, version, architecture, source, source_version })
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
}

/// Finds the file `control` in the archive `control.tar*` in a package.
fn control_file(file: std::fs::File) -> Result<String, BoxError> {
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
