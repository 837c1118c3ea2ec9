//! The output gate: what a build left, judged before anything of it is published.
//!
//! Pure, and complete: every broken rule is named at once, each with what was found and what to do about it. What
//! the files are was read by [`crate::control`]; a file that could not be read is one of the broken rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{BinaryVersions, Declaration, PackageType, PocketSpec};
use crate::names::{Architecture, FileName, PackageName, Suite, Version};
use crate::publisher::Owners;

/// A binary package that a build left, as its file and the control information in it say.
#[derive(Clone, Copy, Debug)]
pub struct BuiltBinary<'a> {
    /// The file's name.
    pub file: &'a FileName,
    /// The SHA-256 sum of its bytes.
    pub sha256: &'a str,
    /// The package's name.
    pub package: &'a PackageName,
    /// Its version.
    pub version: &'a Version,
    /// Its architecture.
    pub architecture: &'a Architecture,
    /// The source package that it says it comes from.
    pub source: &'a PackageName,
    /// The version of that source package.
    pub source_version: &'a Version,
    /// Its `Package-Type`, if it has one.
    pub package_type: Option<&'a str>,
    /// Whether it says that it holds the debug symbols of another package, and was made for that by debhelper
    /// (`Auto-Built-Package`, and a `Section` of debug packages).
    pub is_debug_symbols: bool,
    /// Whether it says that a system cannot do without it (`Essential`, `Protected`).
    pub is_essential: bool,
    /// The architecture that it was built for.
    pub target: &'a Architecture,
    /// Whether that run was to make the packages for all architectures.
    pub with_all: bool,
}

/// Everything that the judgement of a build depends on.
#[derive(Clone, Copy, Debug)]
pub struct OutputFacts<'a> {
    /// The source package that was built.
    pub package: &'a PackageName,
    /// Its version.
    pub version: &'a Version,
    /// The pocket to publish in.
    pub pocket: &'a PocketSpec,
    /// What `debian/control` of the commit declares, which need not be what it was when the build ended.
    pub declared: &'a Declaration,
    /// The binary packages.
    pub binaries: &'a [BuiltBinary<'a>],
    /// Which source packages the pocket's suite serves packages of these names from.
    pub owners: &'a Owners,
    /// The packages of the base, which every build begins with.
    pub protected: &'a BTreeSet<PackageName>,
}

/// One rule that the results of a build break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputViolation {
    /// A file is not what it should be: not regular, not as `.changes` says, or malformed.
    #[error("{file}: {problem}")]
    Unfit {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The files are larger than they may be.
    #[error(
        "the build left {found} bytes, and {limit} are allowed; make it leave less, or raise builder.limits.results"
    )]
    TooLarge {
        /// The size of all files together, as `.changes` says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The `.changes` are of something else.
    #[error(
        "{file} is of {found} {found_version}, not of {package} {version}; mend debian/changelog, which the build must not change"
    )]
    OtherSubject {
        /// The `.changes` file.
        file: String,
        /// The source package that it names.
        found: PackageName,
        /// The version that it names.
        found_version: Version,
        /// The source package that was built.
        package: PackageName,
        /// The version that was built.
        version: Version,
    },
    /// A binary package says that it comes from something else.
    #[error(
        "{file} says that it comes from {found} {found_version}, not from {package} {version}; let dpkg-gencontrol write its control file"
    )]
    OtherSource {
        /// The file.
        file: FileName,
        /// The source package that it names.
        found: PackageName,
        /// The version that it names.
        found_version: Version,
        /// The source package that was built.
        package: PackageName,
        /// The version that was built.
        version: Version,
    },
    /// A file has another name than its control information gives it.
    #[error("{file} has the control information of {wanted}; let dpkg-deb name it")]
    OtherName {
        /// The file.
        file: FileName,
        /// The name that it should have.
        wanted: String,
    },
    /// Nothing declares the package.
    #[error(
        "{file} is the package {package}, which debian/control of the commit does not declare; add it there, or do not build it"
    )]
    NotDeclared {
        /// The file.
        file: FileName,
        /// The package.
        package: PackageName,
    },
    /// The package is declared for other architectures.
    #[error(
        "{file} is for {architecture}, but debian/control of the commit declares {package} for {declared}; change one of the two"
    )]
    OtherArchitecture {
        /// The file.
        file: FileName,
        /// The package.
        package: PackageName,
        /// The architecture of the file.
        architecture: Architecture,
        /// The architectures that are declared.
        declared: String,
    },
    /// The package is declared as another kind.
    #[error(
        "{file} is a {found}, but debian/control of the commit declares {package} as a {declared}; change Package-Type there"
    )]
    OtherType {
        /// The file.
        file: FileName,
        /// The package.
        package: PackageName,
        /// The kind that the file is.
        found: String,
        /// The kind that is declared.
        declared: PackageType,
    },
    /// The package is for an architecture that this run did not build for.
    #[error(
        "{file} is for {architecture}, but was built for {target}; do not build for another architecture"
    )]
    OtherTarget {
        /// The file.
        file: FileName,
        /// Its architecture.
        architecture: Architecture,
        /// The architecture of the run.
        target: Architecture,
    },
    /// The package is for all architectures, and another run makes those.
    #[error(
        "{file} is for all architectures, but was built for {target}, where only its own packages are asked for (binary-arch); do not build it there"
    )]
    OtherRun {
        /// The file.
        file: FileName,
        /// The architecture of the run.
        target: Architecture,
    },
    /// The pocket is not for the architecture.
    #[error(
        "{file} is for {architecture}, which {pocket} is not for; add it to build.pockets.{pocket}.architectures, or do not build it"
    )]
    NotInPocket {
        /// The file.
        file: FileName,
        /// Its architecture.
        architecture: Architecture,
        /// The pocket.
        pocket: crate::names::PocketName,
    },
    /// The package has a version of its own.
    #[error(
        "{file} has the version {found}, and its source {version}; build it with the source's version, or write binary_versions: any at build.pockets.{pocket}"
    )]
    OtherVersion {
        /// The file.
        file: FileName,
        /// The version of the package.
        found: Version,
        /// The version of the source.
        version: Version,
        /// The pocket.
        pocket: crate::names::PocketName,
    },
    /// There are two packages of one name and architecture.
    #[error(
        "{file} is the second {package} for {architecture}, after {other}; build it once, and the same each time"
    )]
    Twice {
        /// The file.
        file: FileName,
        /// The file that came before.
        other: FileName,
        /// The package.
        package: PackageName,
        /// The architecture.
        architecture: Architecture,
    },
    /// The suite serves the package from another source.
    #[error(
        "{suite} serves the package {package} from the source package {owner}; publish a version of {owner} without it there first, or rename it"
    )]
    Owned {
        /// The suite.
        suite: Suite,
        /// The package.
        package: PackageName,
        /// The source package that it belongs to.
        owner: PackageName,
    },
    /// The package says that every system needs it.
    #[error(
        "{file} says that no system can do without it (Essential, Protected), so apt would install it on all; take that out of debian/control, or add {package} to build.pockets.{pocket}.may_replace"
    )]
    Essential {
        /// The file.
        file: FileName,
        /// The package.
        package: PackageName,
        /// The pocket.
        pocket: crate::names::PocketName,
    },
    /// The package would replace one that every system has.
    #[error(
        "{package} is a package of the base {base}, which nothing replaces by accident, not even its own source; if {pocket} shall replace it, add it to build.pockets.{pocket}.may_replace"
    )]
    Protected {
        /// The package.
        package: PackageName,
        /// The base that it is a part of.
        base: crate::names::BaseName,
        /// The pocket.
        pocket: crate::names::PocketName,
    },
}

/// All the rules that the results of a build break. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputRejection(Vec<OutputViolation>);

impl OutputRejection {
    /// Takes the broken rules; `None` if there are none.
    #[must_use]
    pub fn of(violations: Vec<OutputViolation>) -> Option<Self> {
        (!violations.is_empty()).then_some(Self(violations))
    }

    /// Returns the broken rules.
    #[must_use]
    pub fn violations(&self) -> &[OutputViolation] {
        &self.0
    }

    /// Returns a line for each broken rule.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl std::error::Error for OutputRejection {}

impl fmt::Display for OutputRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what the build left cannot be published: {}", self.reasons().join("; "))
    }
}

/// Judges what a build left by everything that is known, and names every rule that it breaks.
#[must_use]
pub fn check_output(facts: &OutputFacts<'_>) -> Vec<OutputViolation> {
    let mut broken = check_identity(facts.package, facts.version, facts.binaries);
    for binary in facts.binaries {
        check_declared(facts, binary, &mut broken);
        check_pocket(facts, binary, &mut broken);
    }
    check_twice(facts.binaries, &mut broken);
    let names: BTreeSet<&PackageName> = facts.binaries.iter().map(|it| it.package).collect();
    for name in names {
        check_name(facts, name, &mut broken);
    }
    broken
}

/// Judges by what never changes: whose packages these are, and whether their files have their names.
#[must_use]
pub fn check_identity(
    package: &PackageName,
    version: &Version,
    binaries: &[BuiltBinary<'_>],
) -> Vec<OutputViolation> {
    let mut broken = Vec::new();
    for binary in binaries {
        let file = binary.file.clone();
        if binary.source != package || binary.source_version.as_str() != version.as_str() {
            broken.push(OutputViolation::OtherSource {
                file: file.clone(),
                found: binary.source.clone(),
                found_version: binary.source_version.clone(),
                package: package.clone(),
                version: version.clone(),
            });
        }
        let ending = binary.package_type.unwrap_or_else(|| ending(&file));
        let wanted =
            format!("{}_{}_{}.{ending}", binary.package, binary.version.without_epoch(), binary.architecture);
        if file.as_str() != wanted {
            broken.push(OutputViolation::OtherName { file, wanted });
        }
    }
    broken
}

/// A package is declared, under its name or as the debug symbols of one that is.
fn check_declared(facts: &OutputFacts<'_>, binary: &BuiltBinary<'_>, broken: &mut Vec<OutputViolation>) {
    let (file, package) = (binary.file.clone(), binary.package.clone());
    let mut declared: Vec<_> = facts.declared.paragraphs(binary.package).collect();
    let is_declared = !declared.is_empty();
    let parent = binary.package.as_str().strip_suffix("-dbgsym").and_then(|it| it.parse().ok());
    let parent: Option<PackageName> = parent.filter(|_| binary.is_debug_symbols && !is_declared);
    if let Some(parent) = &parent {
        declared.extend(facts.declared.paragraphs(parent));
    }
    let Some(first) = declared.first() else {
        let package = binary.package.clone();
        return broken.push(OutputViolation::NotDeclared { file, package });
    };
    if !declared.iter().any(|it| it.is_for(binary.architecture)) {
        let patterns = declared.iter().flat_map(|it| &it.architectures).map(ToString::to_string);
        broken.push(OutputViolation::OtherArchitecture {
            file: file.clone(),
            package: package.clone(),
            architecture: binary.architecture.clone(),
            declared: patterns.collect::<Vec<_>>().join(" "),
        });
    }
    // Some distributions give packages of debug symbols a kind of their own, which is no installer's.
    let found = ending(&file);
    let is_right = |wanted: PackageType| found == wanted.as_str() || (parent.is_some() && found == "ddeb");
    if !declared.iter().any(|it| is_right(it.package_type)) {
        broken.push(OutputViolation::OtherType {
            found: found.to_owned(),
            file,
            package,
            declared: first.package_type,
        });
    }
}

/// A package is for the architecture that it was built for, which is the pocket's, has the source's version, and
/// forces itself on nobody.
fn check_pocket(facts: &OutputFacts<'_>, binary: &BuiltBinary<'_>, broken: &mut Vec<OutputViolation>) {
    let (file, pocket) = (binary.file.clone(), facts.pocket.name.clone());
    let architecture = binary.architecture.clone();
    if architecture == Architecture::all() {
        if !binary.with_all {
            broken.push(OutputViolation::OtherRun { file: file.clone(), target: binary.target.clone() });
        }
    } else if !facts.pocket.all_architectures().any(|it| *it == architecture) {
        broken.push(OutputViolation::NotInPocket {
            file: file.clone(),
            architecture,
            pocket: pocket.clone(),
        });
    } else if architecture != *binary.target {
        let target = binary.target.clone();
        broken.push(OutputViolation::OtherTarget { file: file.clone(), architecture, target });
    }
    if binary.is_essential && !facts.pocket.policy.may_replace.contains(binary.package) {
        broken.push(OutputViolation::Essential {
            file: file.clone(),
            package: binary.package.clone(),
            pocket: pocket.clone(),
        });
    }
    let is_same = binary.version.as_str() == facts.version.as_str();
    if !is_same && facts.pocket.policy.binary_versions == BinaryVersions::Same {
        broken.push(OutputViolation::OtherVersion {
            file,
            found: binary.version.clone(),
            version: facts.version.clone(),
            pocket,
        });
    }
}

/// One package of a name and an architecture.
fn check_twice(binaries: &[BuiltBinary<'_>], broken: &mut Vec<OutputViolation>) {
    let mut first: BTreeMap<(&PackageName, &Architecture), &BuiltBinary<'_>> = BTreeMap::new();
    for binary in binaries {
        let other = first.entry((binary.package, binary.architecture)).or_insert(binary);
        if other.file != binary.file || other.sha256 != binary.sha256 {
            broken.push(OutputViolation::Twice {
                file: binary.file.clone(),
                other: other.file.clone(),
                package: binary.package.clone(),
                architecture: binary.architecture.clone(),
            });
        }
    }
}

/// Nobody else has the name: neither another source package of the suite nor the base.
fn check_name(facts: &OutputFacts<'_>, package: &PackageName, broken: &mut Vec<OutputViolation>) {
    let owners = facts.owners.get(package).into_iter().flatten();
    broken.extend(owners.filter(|it| *it != facts.package).map(|owner| OutputViolation::Owned {
        suite: facts.pocket.suite.clone(),
        package: package.clone(),
        owner: owner.clone(),
    }));
    if facts.protected.contains(package) && !facts.pocket.policy.may_replace.contains(package) {
        broken.push(OutputViolation::Protected {
            package: package.clone(),
            base: facts.pocket.base.clone(),
            pocket: facts.pocket.name.clone(),
        });
    }
}

fn ending(file: &FileName) -> &str {
    file.as_str().rsplit_once('.').map_or("", |it| it.1)
}

#[cfg(test)]
mod tests;
