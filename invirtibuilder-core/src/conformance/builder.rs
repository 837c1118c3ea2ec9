//! The contract of [`Builder`], as functions. Each panics where a builder breaks it.
//!
//! Each takes a source package that builds, and a target for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::builder::{Builder, Target};
use crate::control::Changes;
use crate::durable;
use crate::error::BuildError;
use crate::states::SourcePackage;
use crate::stop::{Never, Stop};

/// How soon an interrupted build must have ended.
const SOON: Duration = Duration::from_secs(30);

/// A build that succeeds leaves its `.changes`, every file that it names, a `.buildinfo` among them, and a log;
/// and writes nothing outside the directory that it was given.
///
/// # Panics
/// The builder breaks its contract.
pub fn a_success_leaves_the_changes_and_every_file_that_it_names(
    builder: &dyn Builder,
    source: &SourcePackage,
    target: &Target,
) {
    let outside = tempfile::tempdir().expect("a temporary directory");
    let into = outside.path().join("into");
    durable::create_directory(&into).expect("an empty directory");
    check_success(builder, source, target, &into);
    assert_eq!(names(outside.path()), BTreeSet::from(["into".to_owned()]), "it wrote beside its directory");
}

/// A build that is interrupted ends soon, with [`BuildError::Interrupted`], and its directory can be used for the
/// next try.
///
/// # Panics
/// The builder breaks its contract.
pub fn an_interrupted_build_ends_soon_and_can_be_repeated(
    builder: &dyn Builder,
    source: &SourcePackage,
    target: &Target,
) {
    let outside = tempfile::tempdir().expect("a temporary directory");
    let into = outside.path().join("into");
    durable::create_directory(&into).expect("an empty directory");
    let stop = Stop::new().expect("a descriptor");
    stop.set();
    let started = Instant::now();
    let result = builder.build(source, target, &into, &mut Vec::new(), &stop);
    assert!(matches!(result, Err(BuildError::Interrupted)), "an interrupted build gave {result:?}");
    assert!(started.elapsed() < SOON, "an interrupted build took {:?}", started.elapsed());
    check_success(builder, source, target, &into);
}

/// Cleaning up may be repeated, and a build after it works as before it.
///
/// # Panics
/// The builder breaks its contract.
pub fn cleaning_up_can_be_repeated(builder: &dyn Builder) {
    for _ in 0..2 {
        builder.clean_up().expect("cleaning up");
    }
}

fn check_success(builder: &dyn Builder, source: &SourcePackage, target: &Target, into: &Path) {
    let before = names(source.control().directory());
    let mut log = Vec::new();
    let path = builder.build(source, target, into, &mut log, &Never).unwrap_or_else(|e| {
        panic!("the build failed: {:?}\n{}", crate::error::causes(&e), String::from_utf8_lossy(&log))
    });
    assert_eq!(path.parent(), Some(into), "the .changes is not in the directory that was given");
    let changes = Changes::read(&path).expect("a .changes whose files are there");
    assert_eq!(changes.package(), source.plan().package());
    assert_eq!(changes.version(), source.plan().version());
    assert!(!changes.binaries().is_empty(), "it built no package");
    let listed: BTreeSet<String> = changes.files().iter().map(|it| it.name.to_string()).collect();
    assert!(listed.iter().any(|it| it.ends_with(".buildinfo")), "no .buildinfo among {listed:?}");
    let unlisted: Vec<_> = names(into).difference(&listed).cloned().collect();
    assert!(unlisted.is_empty(), "it left files that the .changes does not name: {unlisted:?}");
    assert!(!log.is_empty(), "the log is empty");
    assert_eq!(names(source.control().directory()), before, "it wrote beside the source package");
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}
