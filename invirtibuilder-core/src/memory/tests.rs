//! The backends in memory, run through the contracts like any others.
#![cfg(feature = "conformance")]

use super::*;
use crate::builder::{Target, Variation};
use crate::conformance::{builder, exporter, pocket, publisher, queue};
use crate::exporter::Exporter;
use crate::names::Architecture;
use crate::pocket::Pocket;
use crate::states::SourcePackage;

fn memory() -> Memory {
    Memory::new().unwrap()
}

#[test]
fn the_queue_in_memory_fulfils_the_contract() {
    queue::run(&|| Box::new(MemoryQueue(memory())));
}

#[test]
fn the_publisher_in_memory_fulfils_the_contract() {
    publisher::all(|| MemoryPublisher(memory()));
}

struct Pockets {
    lab: Lab,
    dev: MemoryPocket,
    prod: MemoryPocket,
}

impl pocket::World for Pockets {
    fn pocket(&self, name: &PocketName) -> &dyn Pocket {
        if name.as_str() == "prod" { &self.prod } else { &self.dev }
    }

    fn commit(&self, package: &PackageName, version: &Version, parent: Option<&CommitId>) -> CommitId {
        self.lab.commit(package, version, parent)
    }
}

#[test]
fn pockets_in_memory_fulfil_the_contract() {
    let lab = Lab::new().unwrap();
    let [dev, prod] = Lab::specs().map(|spec| MemoryPocket::new(lab.memory.clone(), spec));
    pocket::check(&Pockets { lab, dev, prod });
}

struct Exports(MemoryExporter);

impl exporter::World for Exports {
    fn exporter(&self) -> &dyn Exporter {
        &self.0
    }

    fn commit(&self, package: &PackageName, version: &Version, files: &[(&str, &str)]) -> CommitId {
        let commit = files::commit_id(&format!("{package} {version} {files:?}"));
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let content = MemoryCommit { version: version.clone(), parents: Vec::new(), files };
        self.0.0.commit_tree(package, &commit, content);
        commit
    }

    fn directory(&self) -> std::path::PathBuf {
        tempfile::tempdir_in(self.0.0.directory()).unwrap().keep()
    }
}

#[test]
fn the_exporter_in_memory_fulfils_the_contract() {
    exporter::check(&Exports(MemoryExporter(memory())));
}

#[test]
fn the_builder_in_memory_fulfils_the_contract() {
    let (lab, into) = (Lab::new().unwrap(), tempfile::tempdir().unwrap());
    let (hello, version) = ("hello".parse().unwrap(), "1:1.0~rc1".parse().unwrap());
    let plan = exporter::plan(&hello, &version, &lab.commit(&hello, &version, None));
    let dsc = MemoryExporter(lab.memory.clone()).export(&plan, into.path()).unwrap().dsc;
    let source = SourcePackage::for_tests(plan, &dsc).unwrap();
    let memory_builder = MemoryBuilder(lab.memory.clone());
    let architecture: Architecture = "amd64".parse().unwrap();
    builder::cleaning_up_can_be_repeated(&memory_builder);
    for with_all in [true, false] {
        let target = Target {
            architecture: architecture.clone(),
            with_all,
            base: "bookworm".parse().unwrap(),
            variation: Variation::None,
        };
        builder::a_success_leaves_the_changes_and_every_file_that_it_names(&memory_builder, &source, &target);
        builder::an_interrupted_build_ends_soon_and_can_be_repeated(&memory_builder, &source, &target);
    }
}
