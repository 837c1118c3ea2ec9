//! Upstream tarballs: their names, and where they come from.
//!
//! What the archive holds already is taken as it is, always; the rest is looked for in an order that can be configured.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::format::Format;
use super::{Export, Problem};
use crate::control::hex;
use crate::durable::NewFile;
use crate::error::BoxError;
use crate::names::{FileName, PackageName};
use crate::publisher::ServedFile;
use crate::states::BuildPlan;

/// Knows which files of source packages an archive has.
pub trait Origs: Debug + Send + Sync {
    /// Returns the files that the archive serves of the plan's source package, in whatever version, those that count
    /// more first; what is no upstream tarball does not matter. What a pocket publishes that the plan's pocket does not trust is not among them.
    fn held(&self, plan: &BuildPlan) -> Result<Vec<ServedFile>, BoxError>;
}

/// An archive that has nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoOrigs;

impl Origs for NoOrigs {
    fn held(&self, _: &BuildPlan) -> Result<Vec<ServedFile>, BoxError> {
        Ok(Vec::new())
    }
}

/// Where an upstream tarball may come from that the archive does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrigSource {
    /// The branch `pristine-tar` of the package's repository.
    PristineTar,
    /// The tag or branch that `debian/gbp.conf` names.
    UpstreamTag,
}

impl OrigSource {
    /// All of them, in their order.
    pub const ALL: [Self; 2] = [Self::PristineTar, Self::UpstreamTag];

    /// Returns its name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PristineTar => "pristine-tar",
            Self::UpstreamTag => "upstream-tag",
        }
    }
}

impl std::str::FromStr for OrigSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| {
            format!("{text:?} is no source of upstream tarballs; write pristine-tar or upstream-tag")
        })
    }
}

/// The name of an upstream tarball or its signature, `PACKAGE_UPSTREAM.orig[-COMPONENT].tar.EXTENSION[.asc]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrigName {
    pub(crate) name: FileName,
    /// The component; `None` of the main tarball.
    pub(crate) component: Option<String>,
    pub(crate) extension: &'static str,
    pub(crate) is_signature: bool,
}

/// How tarballs may be compressed, those first that are preferred where there are several.
const EXTENSIONS: [&str; 5] = ["xz", "gz", "bz2", "lzma", "zst"];

impl OrigName {
    /// Reads a file's name; `None` if it is none of this upstream version of the package.
    pub(crate) fn parse(package: &PackageName, upstream: &str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(&format!("{package}_{upstream}.orig"))?;
        let (middle, rest) = rest.split_once(".tar.")?;
        let (extension, is_signature) = match rest.strip_suffix(".asc") {
            Some(extension) => (extension, true),
            None => (rest, false),
        };
        let extension = EXTENSIONS.into_iter().find(|it| *it == extension)?;
        let is_component =
            |it: &&str| !it.is_empty() && it.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let component = match middle {
            "" => None,
            other => Some(other.strip_prefix('-').filter(is_component)?.to_owned()),
        };
        Some(Self { name: text.parse().ok()?, component, extension, is_signature })
    }

    fn role(&self) -> (Option<String>, bool) {
        (self.component.clone(), self.is_signature)
    }
}

/// An upstream tarball or its signature, beside the `.dsc` that is to name it.
#[derive(Clone, Debug)]
pub(super) struct Orig {
    pub(super) name: FileName,
    pub(super) component: Option<String>,
    pub(super) extension: &'static str,
    pub(super) is_signature: bool,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
}

impl Orig {
    /// Takes a file into the source package's directory, and hashes it meanwhile.
    pub(super) fn take(name: OrigName, from: &Path, into: &Path) -> Result<Self, Problem> {
        let path = into.join(name.name.as_str());
        let sha256 = copy(from, &path)?;
        let OrigName { name, component, extension, is_signature } = name;
        Ok(Self { name, component, extension, is_signature, path, sha256 })
    }

    fn role(&self) -> (Option<String>, bool) {
        (self.component.clone(), self.is_signature)
    }
}

/// Copies a regular file, and returns its SHA-256 sum.
fn copy(from: &Path, to: &Path) -> Result<String, Problem> {
    let failed = |e: io::Error| Problem::Backend(format!("cannot copy {}: {e}", from.display()).into());
    let is_regular = from.symlink_metadata().map_err(failed)?.is_file();
    if !is_regular {
        return Err(Problem::Backend(format!("{} is not a regular file", from.display()).into()));
    }
    let mut source = File::open(from).map_err(failed)?;
    let mut target = NewFile::create(to)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(failed(e)),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        hash.update(chunk);
        target.write_all(chunk).map_err(failed)?;
    }
    target.commit()?;
    Ok(hex(&hash.finalize()))
}

impl Export<'_> {
    /// Finds the upstream tarballs and their signatures, and puts them beside the `.dsc` that is to be.
    pub(super) fn find_origs(&mut self) -> Result<Vec<Orig>, Problem> {
        let mut found = self.held_origs()?;
        let mut tried = vec!["the archive does not hold it".to_owned()];
        for source in self.exporter.order.clone() {
            let has_main = found.iter().any(|it| it.role() == (None, false));
            match source {
                OrigSource::PristineTar => self.pristine_origs(&mut found, &mut tried)?,
                OrigSource::UpstreamTag if has_main => (),
                OrigSource::UpstreamTag => self.upstream_origs(&mut found, &mut tried)?,
            }
        }
        let names: BTreeSet<String> = found.iter().map(|it| it.name.to_string()).collect();
        // A signature is of one tarball: of exactly those bytes.
        found.retain(|it| !it.is_signature || names.contains(it.name.as_str().trim_end_matches(".asc")));
        found.sort_by_key(|it| (it.component.clone(), it.is_signature));
        let package = self.plan.package();
        let upstream = self.plan.version().upstream();
        let Some(main) = found.iter().find(|it| it.role() == (None, false)) else {
            return Err(Problem::Tree(format!(
                "there is no upstream tarball of {package} {upstream}: {}; \
                 push the branch pristine-tar (`gbp import-orig --pristine-tar`, pristine-tar(1)) or upstream's tag",
                tried.join("; ")
            )));
        };
        if self.facts.format == Format::One
            && (main.extension != "gz" || found.iter().any(|it| it.component.is_some()))
        {
            return Err(Problem::Tree(format!(
                "its source format 1.0 takes one upstream tarball that is compressed by gzip, and there is {}; \
                 use 3.0 (quilt) in debian/source/format",
                main.name
            )));
        }
        Ok(found)
    }

    /// Takes what the archive holds: it wins always, or one name would have two contents.
    fn held_origs(&mut self) -> Result<Vec<Orig>, Problem> {
        let mut found: Vec<Orig> = Vec::new();
        for held in self.exporter.origs.held(self.plan).map_err(Problem::Backend)? {
            let Some(name) = self.orig_name(held.name()) else { continue };
            if found.iter().any(|it| it.role() == name.role()) {
                continue;
            }
            let orig = Orig::take(name, &held.path, self.into)?;
            if orig.sha256 != held.sha256 {
                let (path, expected) = (held.path.display(), &held.sha256);
                return Err(Problem::Backend(
                    format!(
                        "{path} has the SHA-256 sum {}, but the archive's index says {expected}",
                        orig.sha256
                    )
                    .into(),
                ));
            }
            self.note(format!("{} is the archive's, {}", orig.name, orig.sha256));
            found.push(orig);
        }
        Ok(found)
    }

    /// Reads the name of a tarball of the plan's upstream version.
    pub(super) fn orig_name(&self, text: &str) -> Option<OrigName> {
        OrigName::parse(self.plan.package(), self.plan.version().upstream(), text)
    }

    /// Takes a tarball that was made now, unless there is one in its role.
    pub(super) fn add_orig(
        &mut self,
        found: &mut Vec<Orig>,
        name: OrigName,
        from: &Path,
        origin: &str,
    ) -> Result<(), Problem> {
        if found.iter().any(|it| it.role() == name.role()) {
            return Ok(());
        }
        let orig = Orig::take(name, from, self.into)?;
        self.note(format!("{} is {origin}, {}", orig.name, orig.sha256));
        found.push(orig);
        Ok(())
    }

    /// Returns whether there is a file in a role.
    pub(super) fn has_role(found: &[Orig], name: &OrigName) -> bool {
        found.iter().any(|it| it.role() == name.role())
    }
}

#[cfg(test)]
mod tests {
    use super::OrigName;

    #[test]
    fn names_of_upstream_tarballs_are_read() {
        let parse = |text: &str| OrigName::parse(&"hello".parse().unwrap(), "1.0~rc1", text);
        let main = parse("hello_1.0~rc1.orig.tar.xz").unwrap();
        assert_eq!((main.component, main.extension, main.is_signature), (None, "xz", false));
        let signature = parse("hello_1.0~rc1.orig-doc-de.tar.bz2.asc").unwrap();
        assert_eq!(signature.component.as_deref(), Some("doc-de"));
        assert!(signature.is_signature);
        for other in [
            "hello_1.0.orig.tar.xz",
            "hello_1.0~rc1-1.debian.tar.xz",
            "hello_1.0~rc1.orig.tar",
            "hello_1.0~rc1.orig.tar.zip",
            "hello_1.0~rc1.orig-.tar.gz",
            "hello_1.0~rc1.orig-a/b.tar.gz",
            "hello_1.0~rc1.origx.tar.gz",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
