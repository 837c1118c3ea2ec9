//! Changes the first archive of a world, as a process of its own that can be killed and made to fail.
//!
//! All that it does itself is done by its first thread, so that each of its system calls has a number.
#![allow(clippy::disallowed_methods, reason = "a program reads its environment")]

use std::error::Error;
use std::io::Write;
use std::path::Path;

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::error::{PublishError, causes};
use invirtibuilder_core::policy::PocketSpec;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::Archive;
use invirtibuilder_core::states::{BuildArtifacts, CopyPlan, SourcePackage};
use invirtibuilder_tests::world::{WORLD, World};

const USAGE: &str = "prepare | publish SUITE PACKAGE VERSION DIRECTORY | add PACKAGE VERSION DIRECTORY | copy PACKAGE VERSION | churn";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let world = World::open(Path::new(&std::env::var_os(WORLD).ok_or("there is no world")?));
    // Everything that changes a site prepares its archive first.
    let archive = world.open_archive();
    let changed = archive.prepare().and_then(|()| match words.as_slice() {
        ["prepare"] => Ok(()),
        ["publish", suite, package, version, directory] => {
            let artifacts = built(&Sample::new(package, version, ""), &pocket(suite), Path::new(directory));
            archive.publish(&artifacts.map_err(PublishError::Backend)?).map(drop)
        }
        ["add", package, version, directory] => {
            let artifacts = Sample::new(package, version, "").addition_in(Path::new(directory));
            archive.add(&artifacts.map_err(PublishError::Backend)?).map(drop)
        }
        ["copy", package, version] => archive.copy(&copied(&Sample::new(package, version, ""))).map(drop),
        ["churn"] => churn(&world, &archive),
        _ => Err(PublishError::Backend(USAGE.into())),
    });
    changed.map_err(|e| causes(&e).join(": ").into())
}

fn pocket(suite: &str) -> PocketSpec {
    if suite == "stable" { stable() } else { unstable() }
}

fn copied(sample: &Sample) -> CopyPlan {
    CopyPlan::for_tests(sample.plan(&stable()), unstable())
}

/// Reads what was built before, so that nothing but the archive is changed.
fn built(
    sample: &Sample,
    pocket: &PocketSpec,
    directory: &Path,
) -> Result<BuildArtifacts, Box<dyn Error + Send + Sync>> {
    let stem = format!("{}_{}", sample.package, sample.version.without_epoch());
    let source = SourcePackage::for_tests(sample.plan(pocket), &directory.join(format!("{stem}.dsc")))?;
    Ok(BuildArtifacts::for_tests(source, &[directory.join(format!("{stem}_amd64.changes"))])?)
}

/// Publishes, copies and describes without pause until its standard output has no reader. Writes a line for each
/// change.
fn churn(world: &World, archive: &Archive) -> Result<(), PublishError> {
    let mut out = std::io::stdout();
    for round in 1_u32.. {
        for package in ["apple", "hello", "libmango"] {
            let sample = Sample::new(package, &format!("1.{round}"), "");
            sample.publish(archive, &unstable())?;
            if writeln!(out, "published").is_err() {
                return Ok(());
            }
            if package != "apple" || round % 2 == 0 {
                archive.copy(&copied(&sample))?;
                if writeln!(out, "copied").is_err() {
                    return Ok(());
                }
            }
        }
        if round % 5 == 0 {
            // Another process with another configuration, which publishes both suites again.
            drop(world.archive_described(&format!("as of {round}")));
            if writeln!(out, "described").is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
