//! The backends of this package keep the contracts of the library, and the program that uses them does what it says.

use std::path::Path;

use invirtibuilder_core::builder::{Target, Variation};
use invirtibuilder_core::conformance;
use invirtibuilder_core::durable;
use invirtibuilder_core::error::BoxError;
use invirtibuilder_core::job::{Job, Request};
use invirtibuilder_core::policy::Policy;
use invirtibuilder_core::process::Command;
use invirtibuilder_core::states::{BuildPlan, SourcePackage};
use invirtibuilder_examples::builder::DataBuilder;
use invirtibuilder_examples::demo;
use invirtibuilder_examples::publisher::FlatArchive;

/// Makes a real native source package with a `data` directory, by dpkg-source.
fn source_package(directory: &Path) -> Result<SourcePackage, BoxError> {
    let tree = directory.join("greeting-1.0");
    let files = [
        (
            "debian/changelog",
            "greeting (1.0) unstable; urgency=medium\n\n  * First.\n\n -- Alice <alice@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n",
        ),
        (
            "debian/control",
            "Source: greeting\nSection: misc\nPriority: optional\nMaintainer: Alice <alice@example.org>\nStandards-Version: 4.6.2\n\nPackage: greeting\nArchitecture: all\nDescription: greeting\n A text that greets.\n",
        ),
        ("debian/source/format", "3.0 (native)\n"),
        ("data/usr/share/greeting/text", "Hello, world!\n"),
    ];
    for (name, text) in files {
        let path = tree.join(name);
        durable::create_directory(path.parent().unwrap_or(&tree))?;
        durable::write(&path, text.as_bytes())?;
    }
    Command::new("dpkg-source").current_dir(directory).args(["-b", "--", "greeting-1.0"]).run()?;
    let request = Request {
        pocket: "dev".parse()?,
        package: "greeting".parse()?,
        commit: "0123456789012345678901234567890123456789".parse()?,
        principal: "alice@EXAMPLE.ORG".parse()?,
        adds: None,
    };
    let job = Job::new("20261123080000_000001".parse()?, request);
    let pocket = invirtibuilder_core::memory::Lab::spec("dev", Policy::default());
    SourcePackage::for_tests(
        BuildPlan::for_tests(job, pocket, "1.0".parse()?, None),
        &directory.join("greeting_1.0.dsc"),
    )
    .map_err(Into::into)
}

fn target() -> Result<Target, BoxError> {
    Ok(Target {
        architecture: "amd64".parse()?,
        with_all: true,
        base: "none".parse()?,
        variation: Variation::None,
    })
}

#[test]
fn the_builder_of_data_packages_keeps_the_contract_of_builders() -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let source = source_package(directory.path())?;
    let target = target()?;
    conformance::builder::a_success_leaves_the_changes_and_every_file_that_it_names(
        &DataBuilder,
        &source,
        &target,
    );
    conformance::builder::an_interrupted_build_ends_soon_and_can_be_repeated(&DataBuilder, &source, &target);
    conformance::builder::cleaning_up_can_be_repeated(&DataBuilder);
    Ok(())
}

#[test]
fn the_flat_archive_keeps_the_contract_of_publishers() -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let mut count = 0;
    conformance::publisher::all(|| {
        count += 1;
        FlatArchive::open(&directory.path().join(count.to_string()))
            .expect("a temporary directory can be written")
    });
    Ok(())
}

#[test]
fn the_demonstration_builds_once_copies_once_and_refuses_a_stranger() -> Result<(), BoxError> {
    let mut told = Vec::new();
    demo::run(&mut told)?;
    let told = String::from_utf8(told)?;
    for line in [
        "dev hello: published\n",
        "prod hello: published, copied from dev\n",
        "prod: refused: mallory@EXAMPLE.ORG may not publish in prod",
        "Git and the archive say the same\n",
    ] {
        assert!(told.contains(line), "{line:?} is missing in\n{told}");
    }
    assert_eq!(told.matches(": build\n").count(), 1, "{told}");
    Ok(())
}
