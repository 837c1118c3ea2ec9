//! Several architectures of one job, over the world in memory.

use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::*;
use crate::builder::Builder;
use crate::job::{Outcome, Relations, Stage};
use crate::memory::{Lab, MemoryBuilder, MemoryPocket};
use crate::names::{BaseName, PackageName};
use crate::pipeline::{Observer, Slots, Turn};
use crate::policy::{DeclaredBinary, PackageType, Policy};
use crate::queue::Queue as _;
use crate::stop::Stop;

#[derive(Debug)]
struct Unheard;

impl Observer for Unheard {
    fn claimed(&self, _: &crate::job::Job) {}
    fn entered(&self, _: &crate::job::Job, _: Stage) {}
    fn ended(&self, _: &crate::job::Job, _: &Outcome) {}
    fn given_back(&self, _: &crate::job::Job, _: &str, _: jiff::Timestamp) {}
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

fn declare(lab: &Lab, binaries: &[(&str, &str)]) {
    let binary = |(package, architecture): &(&str, &str)| DeclaredBinary {
        package: package.parse().unwrap(),
        architectures: vec![architecture.parse().unwrap()],
        package_type: PackageType::Deb,
    };
    let binaries = binaries.iter().map(binary).collect();
    lab.memory.world().declared.insert(hello(), Declaration { binaries, ..Declaration::of_one(hello()) });
}

fn prod() -> PocketSpec {
    PocketSpec {
        architectures: ["amd64", "arm64", "i386"].map(|it| it.parse().unwrap()).into(),
        ..Lab::spec("prod", Policy::default())
    }
}

/// A pipeline with one pocket, for three architectures.
fn pipeline(lab: &Lab) -> Pipeline {
    let mut pipeline = lab.pipeline();
    let spec = prod();
    pipeline.pockets.insert(spec.name.clone(), Box::new(MemoryPocket::new(lab.memory.clone(), spec)));
    Pipeline { slots: Slots::new(NonZeroUsize::new(3)), ..pipeline }
}

fn submit(lab: &Lab) {
    let commit = lab.commit(&hello(), &"1.0".parse().unwrap(), None);
    lab.queue().submit(Lab::request("prod", &hello(), &commit), &Relations::default()).unwrap();
}

fn work(lab: &Lab, pipeline: &Pipeline) -> Turn {
    let claim = lab.queue().claim().unwrap().unwrap();
    pipeline.work(claim, &Stop::new().unwrap(), &Unheard).unwrap()
}

/// The runs that succeeded, by the names of what they left.
fn files(lab: &Lab) -> Vec<String> {
    let world = lab.memory.world();
    world.archive.values().flat_map(|it| it.2.iter().map(ToString::to_string)).collect()
}

#[test]
fn each_architecture_is_built_once_and_one_of_the_runs_makes_what_is_for_all() {
    let lab = Lab::new().unwrap();
    declare(&lab, &[("hello", "any"), ("hello-doc", "all"), ("hello-arm", "arm64")]);
    submit(&lab);
    assert!(matches!(work(&lab, &pipeline(&lab)), Turn::Ended(Outcome::Published { .. })));
    assert_eq!(files(&lab), ["hello", "hello-arm", "hello-doc"]);
    let world = lab.memory.world();
    assert_eq!(world.effects.iter().filter(|it| *it == "build").count(), 3);
    // A .dsc and its tarball, three packages for any, one for arm64, one for all; .buildinfo and .changes of each run.
    assert_eq!(world.archive.values().next().unwrap().1.len(), 2 + 3 + 1 + 1 + 3 * 2);
}

#[test]
fn an_architecture_for_which_nothing_is_declared_is_not_built() {
    let lab = Lab::new().unwrap();
    for (binaries, runs) in [
        (&[("hello", "all")][..], "amd64 with all"),
        (&[("hello", "arm64")], "arm64"),
        (&[("hello", "linux-any"), ("hello-doc", "all")], "amd64 with all, arm64, i386"),
        (&[("hello", "i386"), ("hello-doc", "all")], "amd64 with all, i386"),
        (&[("hello", "riscv64")], ""),
    ] {
        declare(&lab, binaries);
        let declared = lab.memory.world().declared.get(&hello()).cloned().unwrap();
        let text = |it: &Target| format!("{}{}", it.architecture, if it.with_all { " with all" } else { "" });
        let found: Vec<_> = targets(&prod(), &declared).iter().map(text).collect();
        assert_eq!(found.join(", "), runs, "{binaries:?}");
    }
}

#[test]
fn the_pocket_says_which_architecture_makes_what_is_for_all() {
    let mut spec = prod();
    spec.building.all_with = Some("i386".parse().unwrap());
    let found = targets(&spec, &Declaration::of_one(hello()));
    assert!(found.len() == 1 && found[0].with_all && found[0].architecture.as_str() == "i386", "{found:?}");
}

#[test]
fn what_is_declared_for_none_of_the_pocket_s_architectures_is_refused_before_anything_is_built() {
    let lab = Lab::new().unwrap();
    declare(&lab, &[("hello", "riscv64")]);
    submit(&lab);
    let turn = work(&lab, &pipeline(&lab));
    let Turn::Ended(Outcome::Rejected { reasons, .. }) = turn else { panic!("{turn:?}") };
    assert!(reasons[0].contains("declares packages for riscv64 only"), "{reasons:?}");
    assert!(reasons[0].contains("is built for amd64, arm64, i386"), "{reasons:?}");
}

/// A builder whose run for arm64 fails, and whose other runs go on until they are interrupted.
#[derive(Debug)]
struct Failing(MemoryBuilder);

impl Builder for Failing {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        _: &Path,
        _: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        if target.architecture.as_str() == "arm64" {
            let (package, version) = (source.plan().package().clone(), source.plan().version().clone());
            return Err(BuildError::Attempted { package, version, problem: "exit status 1".to_owned() });
        }
        while !interrupt.is_interrupted() {
            std::thread::yield_now();
        }
        Err(BuildError::Interrupted)
    }
    fn protected(&self, base: &BaseName, of: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        self.0.protected(base, of)
    }
    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}

#[test]
fn an_architecture_that_fails_ends_the_others_and_the_job_says_which_it_was() {
    let lab = Lab::new().unwrap();
    declare(&lab, &[("hello", "any")]);
    submit(&lab);
    let failing = Failing(MemoryBuilder(lab.memory.clone()));
    let turn = work(&lab, &Pipeline { builder: Box::new(failing), ..pipeline(&lab) });
    let Turn::Ended(Outcome::Failed { stage: Stage::Build, causes, log: Some(log) }) = turn else {
        panic!("{turn:?}")
    };
    assert_eq!(causes, ["hello 1.0 does not build: for arm64, exit status 1"]);
    assert!(log.to_string_lossy().ends_with("-arm64.log"), "{}", log.display());
    assert!(lab.memory.world().archive.is_empty());
}

#[test]
fn a_worker_that_stops_ends_all_runs_and_keeps_the_job() {
    let lab = Lab::new().unwrap();
    declare(&lab, &[("hello", "amd64"), ("hello-i386", "i386")]);
    submit(&lab);
    let failing = Failing(MemoryBuilder(lab.memory.clone()));
    let pipeline = Pipeline { builder: Box::new(failing), ..pipeline(&lab) };
    let (claim, stop) = (lab.queue().claim().unwrap().unwrap(), Stop::new().unwrap());
    stop.set();
    assert!(matches!(pipeline.work(claim, &stop, &Unheard).unwrap(), Turn::Stopped));
    assert_eq!(lab.queue().pending().unwrap().len(), 1);
}

#[test]
fn a_crash_at_any_effect_of_several_architectures_is_repaired_by_the_next_worker() {
    let lab = Lab::new().unwrap();
    declare(&lab, &[("hello", "any"), ("hello-doc", "all")]);
    submit(&lab);
    work(&lab, &pipeline(&lab));
    let (calm, effects) = (format!("{:?}", lab.memory.world().archive), lab.memory.world().effects.len());
    assert_eq!(effects, 10);
    for half_effect in 0..2 * effects {
        let lab = Lab::new().unwrap();
        declare(&lab, &[("hello", "any"), ("hello-doc", "all")]);
        submit(&lab);
        lab.memory.crash_at(half_effect);
        let claim = lab.queue().claim().unwrap().unwrap();
        let crashed = pipeline(&lab).work(claim, &Stop::new().unwrap(), &Unheard);
        drop(crashed);
        lab.memory.never_crash();
        while let Some(claim) = lab.queue().claim().unwrap() {
            pipeline(&lab).work(claim, &Stop::new().unwrap(), &Unheard).unwrap();
        }
        assert_eq!(format!("{:?}", lab.memory.world().archive), calm, "after a crash at {half_effect}");
        assert_eq!(lab.memory.world().branches.len(), 1);
    }
}
