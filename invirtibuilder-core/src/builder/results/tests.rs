#![allow(clippy::disallowed_methods, reason = "tests make what a build might leave")]

use std::os::unix::fs::symlink;

use super::*;
use crate::memory::files::{Binary, write_build};

/// Makes a finished build, and an empty directory for its results.
fn build() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (output, into) = (directory.path().join("output"), directory.path().join("into"));
    fs::create_dir(&output).unwrap();
    fs::create_dir(&into).unwrap();
    let binary = Binary {
        package: "hello".parse().unwrap(),
        architecture: "all".parse().unwrap(),
        content: "hello".into(),
    };
    let amd64 = "amd64".parse().unwrap();
    write_build(&output, &"hello".parse().unwrap(), &"1.0".parse().unwrap(), &amd64, &[binary]).unwrap();
    (directory, output, into)
}

fn refusal(output: &Path, into: &Path) -> String {
    match take(output, into, u64::MAX) {
        Err(Refused::Build(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_changes_and_the_files_that_it_names_are_taken_and_nothing_else() {
    let (_directory, output, into) = build();
    fs::write(output.join("core"), "dumped").unwrap();
    let changes = take(&output, &into, u64::MAX).unwrap();
    assert_eq!(changes, into.join("hello_1.0_amd64.changes"));
    assert_eq!(fs::read_dir(&into).unwrap().count(), 3);
}

#[test]
fn a_build_without_changes_is_refused() {
    let (_directory, output, into) = build();
    fs::remove_file(output.join("hello_1.0_amd64.changes")).unwrap();
    assert!(refusal(&output, &into).contains("0 .changes files"));
}

#[test]
fn a_package_that_is_a_link_is_refused_and_not_followed() {
    let (_directory, output, into) = build();
    fs::rename(output.join("hello_1.0_all.deb"), output.join("elsewhere")).unwrap();
    symlink("elsewhere", output.join("hello_1.0_all.deb")).unwrap();
    refusal(&output, &into);
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
}

#[test]
fn changes_that_are_a_link_are_refused() {
    let (_directory, output, into) = build();
    let changes = output.join("hello_1.0_amd64.changes");
    fs::rename(&changes, output.join("elsewhere")).unwrap();
    symlink("elsewhere", &changes).unwrap();
    refusal(&output, &into);
}

#[test]
fn a_pipe_in_place_of_a_package_is_refused_and_not_waited_for() {
    let (_directory, output, into) = build();
    let package = output.join("hello_1.0_all.deb");
    fs::remove_file(&package).unwrap();
    crate::process::Command::new("mkfifo").arg("--").arg(&package).run().unwrap();
    refusal(&output, &into);
}

#[test]
fn a_package_that_is_not_what_the_changes_say_is_refused() {
    let (_directory, output, into) = build();
    fs::write(output.join("hello_1.0_all.deb"), "other").unwrap();
    refusal(&output, &into);
}
