use super::*;
use crate::publisher::archive::import::listing::Expected;
use crate::publisher::archive::release::{IndexPath, Kind};

fn source(package: &str, version: &str) -> Source {
    let name: String = format!("{package}_{version}.dsc");
    let file = Expected {
        name: name.parse().unwrap(),
        path: format!("/tree/pool/{name}").into(),
        size: 1,
        sha256: format!("{package} {version}"),
    };
    Source {
        package: package.parse().unwrap(),
        version: version.parse().unwrap(),
        component: "main".parse().unwrap(),
        commit: None,
        files: vec![file],
    }
}

fn binary(package: &str, version: &str, architecture: &str, source: &str) -> Binary {
    let text = format!(
        "Package: {package}\nVersion: {version}\nArchitecture: {architecture}\nSource: {source}\nFilename: pool/{package}_{version}_{architecture}.deb\nSize: 1\nSHA256: {}\n",
        "0".repeat(64)
    );
    let index =
        IndexPath { component: "main".parse().unwrap(), kind: Kind::Binary(architecture.parse().unwrap()) };
    Binary::parse(&text, &index, std::path::Path::new("/tree")).unwrap()
}

fn shown(choice: &Choice) -> (Vec<String>, Vec<String>) {
    let package = |it: &Chosen| {
        let binaries: Vec<String> = it
            .binaries
            .iter()
            .map(|it| format!("{}_{}_{}", it.package, it.version, it.architecture))
            .collect();
        format!("{} {}: {}", it.source.package, it.source.version, binaries.join(" "))
    };
    (choice.packages.iter().map(package).collect(), choice.left.iter().map(ToString::to_string).collect())
}

#[test]
fn the_greatest_version_is_taken_with_what_was_built_from_it_and_the_rest_is_named() {
    let choice = choose(Listing {
        sources: vec![source("hello", "1.9"), source("hello", "1.10"), source("hello", "1.2")],
        binaries: vec![
            binary("hello", "1.9", "amd64", "hello"),
            binary("hello", "1.10", "amd64", "hello"),
            binary("hello", "1.10+b1", "amd64", "hello (1.10)"),
            binary("hello-doc", "1.10", "all", "hello"),
            binary("hello-doc", "1.10", "all", "hello"),
            binary("hello-old", "1.9", "all", "hello (1.9)"),
        ],
    });
    let (packages, left) = shown(&choice);
    assert_eq!(packages, ["hello 1.10: hello_1.10+b1_amd64 hello-doc_1.10_all"]);
    assert_eq!(
        left,
        [
            "hello 1.2 (source): the suite has 1.10 too",
            "hello 1.9 (amd64): it is not of hello 1.10, which is taken",
            "hello 1.9 (source): the suite has 1.10 too",
            "hello 1.10 (amd64): the suite has 1.10+b1 too",
            "hello-old 1.9 (all): it is not of hello 1.10, which is taken",
        ]
    );
    assert!(choice.problems.is_empty());
}

#[test]
fn a_binary_package_without_its_source_is_named() {
    let choice = choose(Listing {
        sources: vec![source("hello", "1.0")],
        binaries: vec![binary("hello", "2.0", "amd64", "hello"), binary("tool", "1", "amd64", "tools (3)")],
    });
    let (packages, left) = shown(&choice);
    assert_eq!(packages, ["hello 1.0: "]);
    assert_eq!(
        left,
        [
            "hello 2.0 (amd64): the suite does not have its source package hello 2.0",
            "tool 1 (amd64): the suite does not have its source package tools 3",
        ]
    );
}

#[test]
fn a_binary_package_of_two_sources_stays_with_the_one_of_its_greatest_version() {
    let choice = choose(Listing {
        sources: vec![source("old", "1.0"), source("new", "2.0")],
        binaries: vec![binary("lib", "1.0", "amd64", "old"), binary("lib", "2.0", "all", "new")],
    });
    let (packages, left) = shown(&choice);
    assert_eq!(packages, ["new 2.0: lib_2.0_all", "old 1.0: "]);
    assert_eq!(left, ["lib 1.0 (amd64): the suite has 2.0 too"]);
}

#[test]
fn one_version_with_two_contents_is_a_problem() {
    let mut other = source("hello", "1.0");
    other.files[0].sha256 = "else".to_owned();
    let mut twin = binary("hello", "1.0", "amd64", "hello");
    twin.file.sha256 = "1".repeat(64);
    let choice = choose(Listing {
        sources: vec![source("hello", "1.0"), other],
        binaries: vec![binary("hello", "1.0", "amd64", "hello"), twin],
    });
    assert_eq!(choice.problems.len(), 2, "{:?}", choice.problems);
}
