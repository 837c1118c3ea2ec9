//! The output gate in the pipeline: what stands before the checkpoint, and what is left to decide after a crash.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::builder::{Builder, Target};
use crate::job::{Outcome, Relations, Stage};
use crate::memory::files::{Binary, write_build};
use crate::memory::{Lab, MemoryBuilder};
use crate::names::{Architecture, BaseName};
use crate::pipeline::{Halt, Observer, Turn};
use crate::policy::Held;
use crate::queue::Queue as _;
use crate::stop::{Interrupt, Stop};

#[derive(Debug)]
struct Unheard;

impl Observer for Unheard {
    fn claimed(&self, _: &Job) {}
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: jiff::Timestamp) {}
}

/// A builder that makes packages of these names.
#[derive(Debug)]
struct Making(&'static [&'static str], MemoryBuilder);

impl Builder for Making {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        _: &mut (dyn Write + Send + 'a),
        _: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        let plan = source.plan();
        let binary = |name: &&str| Binary {
            package: name.parse().unwrap(),
            architecture: Architecture::all(),
            content: String::new(),
        };
        let binaries: Vec<Binary> = self.0.iter().map(binary).collect();
        let built = write_build(into, plan.package(), plan.version(), &target.architecture, &binaries);
        built.map_err(BuildError::Backend)
    }
    fn protected(&self, base: &BaseName, of: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        self.1.protected(base, of)
    }
    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

/// Submits hello 1.0 to prod.
fn submitted(lab: &Lab) {
    let commit = lab.commit(&hello(), &"1.0".parse().unwrap(), None);
    lab.queue().submit(Lab::request("prod", &hello(), &commit), &Relations::default()).unwrap();
}

fn work(lab: &Lab, pipeline: &Pipeline) -> Result<Turn, Halt> {
    pipeline.work(lab.queue().claim().unwrap().unwrap(), &Stop::new().unwrap(), &Unheard)
}

/// Lets the suite of prod serve a binary package from another source package.
fn served_by_another(lab: &Lab, binary: &str) {
    let other: PackageName = "other".parse().unwrap();
    let held = Held { package: other.clone(), version: "1".parse().unwrap(), commit: None };
    let names = BTreeSet::from([binary.parse().unwrap()]);
    lab.memory
        .world()
        .archive
        .insert(("prod".parse().unwrap(), other), (held, Vec::new(), names, BTreeSet::new()));
}

#[test]
fn every_broken_rule_is_a_cause_of_the_failure_and_nothing_is_published() {
    let lab = Lab::new().unwrap();
    submitted(&lab);
    served_by_another(&lab, "libother1");
    lab.memory.world().protected.insert("bash".parse().unwrap());
    let making = Making(&["hello", "bash", "libother1"], MemoryBuilder(lab.memory.clone()));
    let turn = work(&lab, &Pipeline { builder: Box::new(making), ..lab.pipeline() }).unwrap();
    let Turn::Ended(Outcome::Failed { stage: Stage::Build, causes, log: Some(_) }) = turn else {
        panic!("{turn:?}")
    };
    assert_eq!(causes.len(), 5, "{causes:#?}");
    assert!(causes[0].contains("breaks 4 rules"), "{causes:#?}");
    for text in [
        "bash_1.0_all.deb is the package bash",
        "libother1_1.0_all.deb is",
        "from the source package other",
        "may_replace",
    ] {
        assert!(causes.iter().any(|it| it.contains(text)), "{text}: {causes:#?}");
    }
    let world = lab.memory.world();
    assert_eq!(world.effects.join(", "), "export, announce, finish");
    assert!(world.branches.is_empty());
}

#[test]
fn results_that_are_too_large_are_refused() {
    let lab = Lab::new().unwrap();
    submitted(&lab);
    let turn = work(&lab, &Pipeline { max_results: 100, ..lab.pipeline() }).unwrap();
    let Turn::Ended(Outcome::Failed { stage: Stage::Build, causes, .. }) = turn else { panic!("{turn:?}") };
    assert!(causes.len() == 2 && causes[1].contains("and 100 are allowed"), "{causes:?}");
}

#[test]
fn a_name_that_is_taken_between_a_crash_and_the_publication_ends_the_job_without_effect() {
    const AFTER_SAVE: usize = 5;
    let lab = Lab::new().unwrap();
    submitted(&lab);
    lab.memory.crash_at(AFTER_SAVE);
    work(&lab, &lab.pipeline()).unwrap_err();
    lab.memory.never_crash();
    served_by_another(&lab, "hello");
    let turn = work(&lab, &lab.pipeline()).unwrap();
    let Turn::Ended(Outcome::Failed { stage: Stage::Publish, causes, .. }) = turn else { panic!("{turn:?}") };
    assert!(causes[0].contains("it serves the package hello from the source package other"), "{causes:?}");
    assert_eq!(lab.memory.world().archive.len(), 1);
    assert!(lab.memory.world().branches.is_empty());
}

#[test]
fn what_was_published_before_a_crash_is_recorded_though_it_would_be_refused_now() {
    const AFTER_PUBLISH: usize = 7;
    let lab = Lab::new().unwrap();
    submitted(&lab);
    lab.memory.crash_at(AFTER_PUBLISH);
    work(&lab, &lab.pipeline()).unwrap_err();
    lab.memory.never_crash();
    served_by_another(&lab, "hello");
    lab.memory.world().protected.insert(hello());
    let turn = work(&lab, &lab.pipeline()).unwrap();
    assert!(matches!(turn, Turn::Ended(Outcome::Published { .. })), "{turn:?}");
    assert_eq!(lab.memory.world().branches.len(), 1);
}

#[test]
fn a_copy_to_a_suite_where_another_package_has_the_name_fails_and_names_the_owner() {
    let lab = Lab::new().unwrap();
    let commit = lab.commit(&hello(), &"1.0".parse().unwrap(), None);
    for pocket in ["dev", "prod"] {
        lab.queue().submit(Lab::request(pocket, &hello(), &commit), &Relations::default()).unwrap();
    }
    served_by_another(&lab, "hello");
    work(&lab, &lab.pipeline()).unwrap();
    let turn = work(&lab, &lab.pipeline()).unwrap();
    let Turn::Ended(Outcome::Failed { stage: Stage::Publish, causes, .. }) = turn else { panic!("{turn:?}") };
    assert!(causes[0].contains("publish a version of other without it there first"), "{causes:?}");
    assert_eq!(lab.memory.world().branches.len(), 1, "that of dev");
}
