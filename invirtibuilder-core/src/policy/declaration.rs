//! What the `debian/control` of a commit declares: its source package, and which binary packages it may make.
//!
//! Reads nothing: [`crate::control::read_control`] parses. Architecture wildcards follow dpkg-architecture(1).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::names::{Architecture, NameError, PackageName};

/// The source package and the binary packages that a `debian/control` declares (deb-src-control(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The source package.
    pub source: PackageName,
    /// The binary packages, in the order of their paragraphs.
    pub binaries: Vec<DeclaredBinary>,
    /// The names that it build-depends on: all alternatives, for every architecture and profile.
    pub needs: BTreeSet<PackageName>,
    /// The names that the binary packages provide besides their own.
    pub provides: BTreeSet<PackageName>,
}

impl Declaration {
    /// Declares a source package that makes one binary package of its own name, for `all`.
    #[must_use]
    pub fn of_one(source: PackageName) -> Self {
        let binary = DeclaredBinary {
            package: source.clone(),
            architectures: vec![ArchitecturePattern(Architecture::all())],
            package_type: PackageType::Deb,
        };
        Self { source, binaries: vec![binary], needs: BTreeSet::new(), provides: BTreeSet::new() }
    }

    /// Returns the names by which other packages may depend on what it makes.
    #[must_use]
    pub fn builds(&self) -> BTreeSet<PackageName> {
        self.binaries.iter().map(|it| &it.package).chain(&self.provides).cloned().collect()
    }

    /// Returns whether any binary package is declared for an architecture, which may be `all`.
    #[must_use]
    pub fn is_for(&self, architecture: &Architecture) -> bool {
        self.binaries.iter().any(|it| it.is_for(architecture))
    }

    /// Returns the paragraphs of a binary package; more than one is unusual, and each of them counts.
    pub fn paragraphs<'a>(&'a self, package: &'a PackageName) -> impl Iterator<Item = &'a DeclaredBinary> {
        self.binaries.iter().filter(move |it| it.package == *package)
    }
}

/// A binary package as its paragraph declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredBinary {
    /// Its name.
    pub package: PackageName,
    /// What it is made for. Not empty.
    pub architectures: Vec<ArchitecturePattern>,
    /// Whether it is for systems or for the installer.
    pub package_type: PackageType,
}

impl DeclaredBinary {
    /// Returns whether it is declared for an architecture, which may be `all`.
    #[must_use]
    pub fn is_for(&self, architecture: &Architecture) -> bool {
        self.architectures.iter().any(|it| it.matches(architecture))
    }
}

/// The kinds of binary packages (`Package-Type`, deb-src-control(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageType {
    /// A package for systems.
    Deb,
    /// A package for the installer, which no system installs.
    Udeb,
}

impl PackageType {
    /// Returns what the names of such packages end with, without the dot.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Udeb => "udeb",
        }
    }
}

impl fmt::Display for PackageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An architecture, `all`, or a wildcard such as `any`, `linux-any` or `any-amd64` (Debian Policy 11.1.1).
///
/// ```
/// use invirtibuilder_core::policy::ArchitecturePattern;
/// let amd64 = "amd64".parse()?;
/// assert!("linux-any".parse::<ArchitecturePattern>()?.matches(&amd64));
/// assert!(!"any-arm64".parse::<ArchitecturePattern>()?.matches(&amd64));
/// # Ok::<(), invirtibuilder_core::names::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchitecturePattern(Architecture);

impl FromStr for ArchitecturePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ArchitecturePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl ArchitecturePattern {
    /// Returns whether an architecture is meant. `all` is meant by `all` alone.
    #[must_use]
    pub fn matches(&self, architecture: &Architecture) -> bool {
        if self.0 == *architecture {
            return true;
        }
        if *architecture == Architecture::all() || self.0 == Architecture::all() {
            return false;
        }
        match (wildcard(self.0.as_str()), tuple(architecture.as_str())) {
            (Some(wanted), Some(found)) => {
                wanted.iter().zip(found).all(|(wanted, found)| *wanted == "any" || *wanted == found)
            }
            _ => false,
        }
    }
}

/// ABI, libc, kernel and processor: what dpkg takes an architecture apart into.
type Tuple<'a> = [&'a str; 4];

/// The architectures whose name does not say what they consist of (dpkg's `tupletable`).
const SPECIAL: [(&str, Tuple<'static>); 17] = [
    ("uclibc-linux-armel", ["eabi", "uclibc", "linux", "arm"]),
    ("musl-linux-armhf", ["eabihf", "musl", "linux", "arm"]),
    ("arm64ilp32", ["ilp32", "gnu", "linux", "arm64"]),
    ("armhf", ["eabihf", "gnu", "linux", "arm"]),
    ("armel", ["eabi", "gnu", "linux", "arm"]),
    ("mipsn32r6el", ["abin32", "gnu", "linux", "mips64r6el"]),
    ("mipsn32r6", ["abin32", "gnu", "linux", "mips64r6"]),
    ("mipsn32el", ["abin32", "gnu", "linux", "mips64el"]),
    ("mipsn32", ["abin32", "gnu", "linux", "mips64"]),
    ("mips64r6el", ["abi64", "gnu", "linux", "mips64r6el"]),
    ("mips64r6", ["abi64", "gnu", "linux", "mips64r6"]),
    ("mips64el", ["abi64", "gnu", "linux", "mips64el"]),
    ("mips64", ["abi64", "gnu", "linux", "mips64"]),
    ("powerpcspe", ["spe", "gnu", "linux", "powerpc"]),
    ("x32", ["x32", "gnu", "linux", "amd64"]),
    ("kfreebsd-armhf", ["eabihf", "gnu", "kfreebsd", "arm"]),
    ("uclinux-armel", ["eabi", "uclibc", "uclinux", "arm"]),
];

/// What stands before the processor in the name of an architecture that is not for Linux with the GNU libc.
const SYSTEMS: [(&str, [&str; 3]); 15] = [
    ("uclibc-linux-", ["base", "uclibc", "linux"]),
    ("musl-linux-", ["base", "musl", "linux"]),
    ("kfreebsd-", ["base", "gnu", "kfreebsd"]),
    ("knetbsd-", ["base", "gnu", "knetbsd"]),
    ("kopensolaris-", ["base", "gnu", "kopensolaris"]),
    ("hurd-", ["base", "gnu", "hurd"]),
    ("dragonflybsd-", ["base", "bsd", "dragonflybsd"]),
    ("freebsd-", ["base", "bsd", "freebsd"]),
    ("openbsd-", ["base", "bsd", "openbsd"]),
    ("netbsd-", ["base", "bsd", "netbsd"]),
    ("darwin-", ["base", "bsd", "darwin"]),
    ("aix-", ["base", "sysv", "aix"]),
    ("solaris-", ["base", "sysv", "solaris"]),
    ("uclinux-", ["base", "uclibc", "uclinux"]),
    ("mint-", ["base", "tos", "mint"]),
];

fn tuple(architecture: &str) -> Option<Tuple<'_>> {
    if let Some((_, tuple)) = SPECIAL.iter().find(|it| it.0 == architecture) {
        return Some(*tuple);
    }
    let system = SYSTEMS.iter().find_map(|(prefix, it)| Some((*it, architecture.strip_prefix(prefix)?)));
    let ([abi, libc, kernel], processor) = system.unwrap_or((["base", "gnu", "linux"], architecture));
    (!processor.is_empty() && !processor.contains('-')).then_some([abi, libc, kernel, processor])
}

/// Takes a wildcard apart; what it leaves out in front is `any`. Without an `any` it is an architecture.
fn wildcard(text: &str) -> Option<Tuple<'_>> {
    let parts: Vec<&str> = text.split('-').collect();
    if !parts.contains(&"any") {
        return tuple(text);
    }
    match *parts.as_slice() {
        ["any"] => Some(["any"; 4]),
        [kernel, processor] => Some(["any", "any", kernel, processor]),
        [libc, kernel, processor] => Some(["any", libc, kernel, processor]),
        [abi, libc, kernel, processor] => Some([abi, libc, kernel, processor]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, architecture: &str) -> bool {
        pattern.parse::<ArchitecturePattern>().unwrap().matches(&architecture.parse().unwrap())
    }

    #[test]
    fn wildcards_mean_what_dpkg_says() {
        for (pattern, architecture) in [
            ("any", "amd64"),
            ("any", "hurd-i386"),
            ("linux-any", "armhf"),
            ("any-amd64", "amd64"),
            ("any-amd64", "kfreebsd-amd64"),
            ("any-amd64", "x32"),
            ("any-arm", "armel"),
            ("gnu-any-any", "amd64"),
            ("musl-any-any", "musl-linux-amd64"),
            ("eabihf-any-any-any", "armhf"),
            ("all", "all"),
            ("riscv64", "riscv64"),
        ] {
            assert!(matches(pattern, architecture), "{pattern} means {architecture}");
        }
        for (pattern, architecture) in [
            ("any", "all"),
            ("all", "amd64"),
            ("linux-any", "hurd-i386"),
            ("linux-any", "all"),
            ("any-i386", "amd64"),
            ("any-armhf", "armhf"),
            ("musl-any-any", "amd64"),
            ("hurd-any", "amd64"),
            ("any-any-any-any-any", "amd64"),
            ("amd64", "arm64"),
        ] {
            assert!(!matches(pattern, architecture), "{pattern} does not mean {architecture}");
        }
    }
}
