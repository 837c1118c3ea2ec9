use super::*;
use crate::memory::Lab;
use crate::policy::{DeclaredBinary, Policy};

/// What one binary package says.
#[derive(Clone)]
struct Built {
    file: String,
    name: &'static str,
    version: &'static str,
    architecture: &'static str,
    source: (&'static str, &'static str),
    kind: Option<&'static str>,
    is_debug_symbols: bool,
    is_essential: bool,
    target: &'static str,
    sha256: &'static str,
}

/// A package that hello 1:1.0-1 may make.
fn package(package: &'static str, architecture: &'static str) -> Built {
    Built {
        file: format!("{package}_1.0-1_{architecture}.deb"),
        name: package,
        version: "1:1.0-1",
        architecture,
        source: ("hello", "1:1.0-1"),
        kind: None,
        is_debug_symbols: false,
        is_essential: false,
        target: "amd64",
        sha256: "00",
    }
}

fn debug(name: &'static str) -> Built {
    Built { is_debug_symbols: true, ..package(name, "amd64") }
}

/// A world in which hello declares hello, hello-doc, libhello1 and an udeb; `other` has libother1 already; and the
/// base has bash.
struct Case {
    policy: Policy,
    declared: Vec<(&'static str, &'static str, PackageType)>,
}

type Parsed = (FileName, PackageName, Version, Architecture, PackageName, Version, Architecture);

impl Case {
    fn new() -> Self {
        let declared = vec![
            ("hello", "any", PackageType::Deb),
            ("hello-doc", "all", PackageType::Deb),
            ("libhello1", "linux-any", PackageType::Deb),
            ("hello-arm", "arm64 armhf", PackageType::Deb),
            ("hello-udeb", "any", PackageType::Udeb),
            ("libother1", "any", PackageType::Deb),
            ("bash", "any", PackageType::Deb),
        ];
        Self { policy: Policy::default(), declared }
    }

    fn reasons(&self, packages: &[Built]) -> Vec<String> {
        let declared = Declaration {
            source: "hello".parse().unwrap(),
            binaries: self
                .declared
                .iter()
                .map(|(package, architectures, package_type)| DeclaredBinary {
                    package: package.parse().unwrap(),
                    architectures: architectures.split(' ').map(|it| it.parse().unwrap()).collect(),
                    package_type: *package_type,
                })
                .collect(),
            ..Declaration::of_one("hello".parse().unwrap())
        };
        let pocket = PocketSpec {
            architectures: vec!["amd64".parse().unwrap(), "i386".parse().unwrap()],
            ..Lab::spec("prod", self.policy.clone())
        };
        let parsed: Vec<Parsed> = packages
            .iter()
            .map(|it| {
                (
                    it.file.parse().unwrap(),
                    it.name.parse().unwrap(),
                    it.version.parse().unwrap(),
                    it.architecture.parse().unwrap(),
                    it.source.0.parse().unwrap(),
                    it.source.1.parse().unwrap(),
                    it.target.parse().unwrap(),
                )
            })
            .collect();
        let binaries: Vec<BuiltBinary<'_>> = parsed
            .iter()
            .zip(packages)
            .map(|(of, it)| BuiltBinary {
                file: &of.0,
                sha256: it.sha256,
                package: &of.1,
                version: &of.2,
                architecture: &of.3,
                source: &of.4,
                source_version: &of.5,
                package_type: it.kind,
                is_debug_symbols: it.is_debug_symbols,
                is_essential: it.is_essential,
                target: &of.6,
                // The pocket's first architecture is the one that makes the packages for all.
                with_all: it.target == "amd64",
            })
            .collect();
        let owner =
            |binary: &str, source: &str| (binary.parse().unwrap(), BTreeSet::from([source.parse().unwrap()]));
        let broken = check_output(&OutputFacts {
            package: &"hello".parse().unwrap(),
            version: &"1:1.0-1".parse().unwrap(),
            pocket: &pocket,
            declared: &declared,
            binaries: &binaries,
            owners: &Owners::from([owner("libother1", "other"), owner("hello", "hello")]),
            protected: &BTreeSet::from(["bash".parse().unwrap()]),
        });
        broken.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn refuses(&self, package: Built, reason: &str) {
        let reasons = self.reasons(&[package]);
        assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reason:?} is not why: {reasons:#?}");
    }
}

#[test]
fn what_is_declared_is_let_through_with_its_debug_symbols() {
    let udeb = Built { file: "hello-udeb_1.0-1_amd64.udeb".to_owned(), ..package("hello-udeb", "amd64") };
    let ddeb = Built {
        file: "libhello1-dbgsym_1.0-1_amd64.ddeb".to_owned(),
        kind: Some("ddeb"),
        ..debug("libhello1-dbgsym")
    };
    let packages = [
        package("hello", "amd64"),
        package("hello-doc", "all"),
        package("libhello1", "amd64"),
        Built { target: "i386", ..package("libhello1", "i386") },
        debug("hello-dbgsym"),
        ddeb,
        udeb,
    ];
    assert_eq!(Case::new().reasons(&packages), [""; 0]);
}

#[test]
fn what_the_commit_does_not_declare_is_refused() {
    let case = Case::new();
    case.refuses(package("evil", "amd64"), "evil, which debian/control of the commit does not declare");
    // Debug symbols only of what is declared, and only as debhelper makes them.
    case.refuses(debug("evil-dbgsym"), "does not declare");
    case.refuses(package("hello-dbgsym", "amd64"), "does not declare");
    case.refuses(debug("hello-debug"), "does not declare");
}

#[test]
fn an_architecture_is_the_declared_one_and_the_run_s_and_the_pocket_s() {
    let case = Case::new();
    case.refuses(
        package("hello", "all"),
        "is for all, but debian/control of the commit declares hello for any",
    );
    case.refuses(package("hello-doc", "amd64"), "declares hello-doc for all");
    case.refuses(package("hello-arm", "amd64"), "declares hello-arm for arm64 armhf");
    case.refuses(package("hello-arm", "arm64"), "prod is not for");
    case.refuses(package("libhello1", "i386"), "is for i386, but was built for amd64");
    case.refuses(debug("hello-doc-dbgsym"), "declares hello-doc-dbgsym for all");
}

#[test]
fn a_package_has_its_source_s_version_unless_the_pocket_takes_any() {
    let other = Built { version: "2:9", file: "hello_9_amd64.deb".to_owned(), ..package("hello", "amd64") };
    let mut case = Case::new();
    case.refuses(other.clone(), "binary_versions: any");
    // A rebuild without a new source, as other archives have them.
    let rebuild = Built {
        version: "1:1.0-1+b1",
        file: "hello_1.0-1+b1_amd64.deb".to_owned(),
        ..package("hello", "amd64")
    };
    case.refuses(
        rebuild.clone(),
        "hello_1.0-1+b1_amd64.deb has the version 1:1.0-1+b1, and its source 1:1.0-1",
    );
    case.policy.binary_versions = BinaryVersions::Any;
    assert_eq!(case.reasons(&[other]), [""; 0]);
    let both = case.reasons(&[rebuild, package("hello", "amd64")]);
    assert!(both.len() == 1 && both[0].contains("is the second hello for amd64"), "{both:?}");
}

#[test]
fn a_file_has_the_name_that_its_control_information_gives_it() {
    let case = Case::new();
    for file in [
        "libc6_1.0-1_amd64.deb",
        "hello_1-1.0-1_amd64.deb",
        "hello_1.0-1_amd64.x.deb",
        "hello_1.0-1_i386.deb",
    ] {
        let package = Built { file: file.to_owned(), ..package("hello", "amd64") };
        case.refuses(package, "has the control information of hello_1.0-1_amd64.deb");
    }
    let typed = Built { kind: Some("udeb"), ..package("hello", "amd64") };
    case.refuses(typed, "has the control information of hello_1.0-1_amd64.udeb");
}

#[test]
fn a_package_of_the_installer_is_declared_as_one() {
    let case = Case::new();
    let hidden = Built { file: "hello_1.0-1_amd64.udeb".to_owned(), ..package("hello", "amd64") };
    case.refuses(hidden, "is a udeb, but debian/control of the commit declares hello as a deb");
    case.refuses(package("hello-udeb", "amd64"), "declares hello-udeb as a udeb");
    let ddeb = Built { file: "hello_1.0-1_amd64.ddeb".to_owned(), ..package("hello", "amd64") };
    case.refuses(ddeb, "is a ddeb");
}

#[test]
fn a_package_says_that_it_comes_from_the_source_that_was_built() {
    let case = Case::new();
    for source in [("other", "1:1.0-1"), ("hello", "1.0-1"), ("hello", "1:1.0-2")] {
        case.refuses(Built { source, ..package("hello", "amd64") }, "not from hello 1:1.0-1");
    }
}

#[test]
fn the_name_of_another_source_s_package_is_refused_with_its_owner() {
    Case::new().refuses(
        package("libother1", "amd64"),
        "prod serves the package libother1 from the source package other; publish a version of other without it",
    );
}

#[test]
fn a_package_of_the_base_is_replaced_only_where_the_pocket_says_so() {
    let mut case = Case::new();
    case.refuses(package("bash", "amd64"), "add it to build.pockets.prod.may_replace");
    let forced = Built { is_essential: true, ..package("hello", "amd64") };
    case.refuses(forced.clone(), "no system can do without it");
    case.policy.may_replace = ["bash", "hello"].map(|it| it.parse().unwrap()).into();
    assert_eq!(case.reasons(&[package("bash", "amd64"), forced]), [""; 0]);
}

#[test]
fn packages_for_all_come_from_the_one_run_that_makes_them() {
    let case = Case::new();
    let doc = package("hello-doc", "all");
    let again = Built { target: "i386", ..doc.clone() };
    assert_eq!(case.reasons(std::slice::from_ref(&doc)), [""; 0]);
    case.refuses(again.clone(), "was built for i386, where only its own packages are asked for");
    let other = case.reasons(&[doc, Built { sha256: "11", ..again }]);
    assert!(other.len() == 2 && other[1].contains("second hello-doc for all"), "{other:?}");
}

#[test]
fn packages_of_one_name_for_several_architectures_are_fine() {
    let case = Case::new();
    let i386 = Built { target: "i386", ..package("libhello1", "i386") };
    assert_eq!(case.reasons(&[package("libhello1", "amd64"), i386]), [""; 0]);
}

#[test]
fn every_broken_rule_of_every_file_is_named_at_once() {
    let worst = Built {
        file: "x_1_arm64.udeb".to_owned(),
        version: "9",
        source: ("other", "1"),
        is_essential: true,
        ..package("bash", "arm64")
    };
    let reasons = Case::new().reasons(&[worst, package("evil", "amd64"), package("libother1", "amd64")]);
    assert_eq!(reasons.len(), 9, "{reasons:#?}");
}
