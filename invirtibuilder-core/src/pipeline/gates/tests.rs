//! The gates as a specification, over the world in memory.

use std::collections::BTreeMap;

use super::super::Plan;
use super::*;
use crate::job::{Outcome, Relations};
use crate::memory::{Irreproducible, Lab, MemoryPocket};
use crate::names::CommitId;
use crate::pipeline::{Observer, Turn};
use crate::pocket::Pocket;
use crate::policy::{Building, Demand, Gates, Policy};
use crate::queue::Queue;
use crate::stop::Stop;

#[derive(Debug)]
struct Unheard;

impl Observer for Unheard {
    fn claimed(&self, _: &Job) {}
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: jiff::Timestamp) {}
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

fn first(lab: &Lab) -> CommitId {
    lab.commit(&hello(), &"1.0".parse().unwrap(), None)
}

/// Returns a pipeline whose pocket `prod` asks this, and takes copies so.
fn pipeline(lab: &Lab, demands: &[(GateKind, Demand)], copies: Copies) -> Pipeline {
    let gates = Gates { demands: demands.iter().copied().collect(), ..Gates::default() };
    let mut pipeline = lab.pipeline();
    let policy = Policy { copies, ..Policy::default() };
    let spec =
        PocketSpec { building: Building { gates, ..Building::default() }, ..Lab::spec("prod", policy) };
    let pocket: Box<dyn Pocket> = Box::new(MemoryPocket::new(lab.memory.clone(), spec.clone()));
    pipeline.pockets.insert(spec.name, pocket);
    pipeline
}

fn work(lab: &Lab, pipeline: &Pipeline, pocket: &str, commit: &CommitId) -> Turn {
    lab.queue().submit(Lab::request(pocket, &hello(), commit), &Relations::default()).unwrap();
    let claim = lab.queue().claim().unwrap().unwrap();
    pipeline.work(claim, &Stop::new().unwrap(), &Unheard).unwrap()
}

#[track_caller]
fn outcome(lab: &Lab, pipeline: &Pipeline, pocket: &str, commit: &CommitId) -> Outcome {
    match work(lab, pipeline, pocket, commit) {
        Turn::Ended(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn causes(outcome: Outcome) -> Vec<String> {
    let Outcome::Failed { stage: Stage::Examine, causes, .. } = outcome else { panic!("{outcome:?}") };
    causes
}

fn find(lab: &Lab, findings: &[(GateKind, &str)]) {
    let found = findings.iter().map(|(gate, text)| (*gate, vec![Finding::Fault((*text).to_owned())]));
    lab.memory.world().findings = found.collect::<BTreeMap<_, _>>();
}

fn notes(outcome: &Outcome) -> Vec<String> {
    let Outcome::Published { notes, .. } = outcome else { panic!("{outcome:?}") };
    notes.iter().map(ToString::to_string).collect()
}

const LINTIAN: GateKind = GateKind::Lintian;
const AUTOPKGTEST: GateKind = GateKind::Autopkgtest;
const REPRODUCIBILITY: GateKind = GateKind::Reproducibility;

#[test]
fn what_a_gate_notes_is_in_the_record_of_what_was_published() {
    let lab = Lab::new().unwrap();
    let pipeline = pipeline(&lab, &[(LINTIAN, Demand::Note)], Copies::Believed);
    find(&lab, &[(LINTIAN, "E: hello: bad"), (AUTOPKGTEST, "nobody asked")]);
    assert_eq!(notes(&outcome(&lab, &pipeline, "prod", &first(&lab))), ["lintian: E: hello: bad"]);
}

#[test]
fn gates_that_refuse_name_all_their_faults_at_once_and_nothing_is_published() {
    let lab = Lab::new().unwrap();
    let demands = [(LINTIAN, Demand::Refuse), (AUTOPKGTEST, Demand::Refuse), (REPRODUCIBILITY, Demand::Note)];
    let pipeline = pipeline(&lab, &demands, Copies::Believed);
    find(&lab, &[(LINTIAN, "bad"), (AUTOPKGTEST, "fails")]);
    lab.memory.world().irreproducible = Irreproducible::ByVariation;
    let causes = causes(outcome(&lab, &pipeline, "prod", &first(&lab)));
    let expected = [
        "lintian: bad",
        "autopkgtest: fails",
        "reproducibility: hello_1.0_all.deb differs in data.tar.gz: usr/share/hello/content (its content) (noted only)",
    ];
    assert_eq!(causes[1..4], expected);
    assert!(causes[0].starts_with("hello was built, but the gates of prod refuse it"), "{causes:?}");
    assert!(lab.memory.world().archive.is_empty());
    assert!(lab.memory.world().branches.is_empty());
}

#[test]
fn a_package_that_does_not_depend_on_its_environment_is_reproducible() {
    let lab = Lab::new().unwrap();
    let pipeline = pipeline(&lab, &[(REPRODUCIBILITY, Demand::Refuse)], Copies::Believed);
    assert_eq!(notes(&outcome(&lab, &pipeline, "prod", &first(&lab))), [""; 0]);
    let world = lab.memory.world();
    assert_eq!(world.effects.iter().filter(|it| *it == "build").count(), 2);
}

#[test]
fn what_is_copied_passes_the_gates_of_the_pocket_that_it_comes_to() {
    let lab = Lab::new().unwrap();
    let pipeline = pipeline(&lab, &[(LINTIAN, Demand::Refuse)], Copies::Believed);
    find(&lab, &[(LINTIAN, "bad")]);
    let first = first(&lab);
    assert_eq!(notes(&outcome(&lab, &pipeline, "dev", &first)), [""; 0]);
    assert_eq!(causes(outcome(&lab, &pipeline, "prod", &first))[1], "lintian: bad");
    assert_eq!(lab.memory.world().archive.len(), 1);
}

#[test]
fn a_copy_that_a_rebuild_gives_too_is_promoted_with_the_bytes_of_its_source() {
    let lab = Lab::new().unwrap();
    let pipeline = pipeline(&lab, &[], Copies::Rebuilt);
    let first = first(&lab);
    outcome(&lab, &pipeline, "dev", &first);
    let copied = outcome(&lab, &pipeline, "prod", &first);
    assert!(matches!(copied, Outcome::Published { copied_from: Some(_), .. }), "{copied:?}");
    let world = lab.memory.world();
    let served: Vec<_> = world.archive.values().map(|it| &it.1).collect();
    assert_eq!(served[0], served[1]);
    assert_eq!(world.effects.iter().filter(|it| *it == "build").count(), 2);
}

#[test]
fn a_copy_that_a_rebuild_does_not_give_is_refused_with_the_files_that_differ() {
    let lab = Lab::new().unwrap();
    let pipeline = pipeline(&lab, &[], Copies::Rebuilt);
    lab.memory.world().irreproducible = Irreproducible::Always;
    let first = first(&lab);
    outcome(&lab, &pipeline, "dev", &first);
    let causes = causes(outcome(&lab, &pipeline, "prod", &first));
    let expected = "rebuild: hello_1.0_all.deb differs in data.tar.gz: usr/share/hello/content (its content)";
    assert_eq!(causes[1], expected);
    assert_eq!(lab.memory.world().archive.len(), 1);
}

#[test]
fn a_rebuild_that_finds_another_package_in_its_place_begins_again() {
    let lab = Lab::new().unwrap();
    let pipeline = pipeline(&lab, &[], Copies::Rebuilt);
    let first = first(&lab);
    outcome(&lab, &pipeline, "dev", &first);
    let Ok(Plan::Copy(copy)) = lab
        .queue()
        .submit(Lab::request("prod", &hello(), &first), &Relations::default())
        .map(|_| pipeline.plan(lab.queue().claim().unwrap().unwrap().job()).unwrap())
    else {
        panic!("it is not copied")
    };
    let elsewhere = Vetted { from: "dev".parse().unwrap(), files: Vec::new(), notes: Vec::new() };
    for vetted in [None, Some(elsewhere)] {
        let result = pipeline.let_pass(&copy, vetted);
        assert!(matches!(result, Err(StageError::Build(BuildError::GivenBack { .. }))), "{result:?}");
    }
}

#[test]
fn a_crash_at_any_effect_of_an_examination_is_repaired_by_the_next_worker() {
    let at = |half_effect: usize| {
        let lab = Lab::new().unwrap();
        let demands = [(LINTIAN, Demand::Note), (REPRODUCIBILITY, Demand::Note)];
        find(&lab, &[(LINTIAN, "bad")]);
        let first = first(&lab);
        lab.queue().submit(Lab::request("prod", &hello(), &first), &Relations::default()).unwrap();
        lab.memory.crash_at(half_effect);
        while let Some(claim) = lab.queue().claim().unwrap() {
            let turn =
                pipeline(&lab, &demands, Copies::Believed).work(claim, &Stop::new().unwrap(), &Unheard);
            drop(turn);
            lab.memory.never_crash();
        }
        lab.memory.world().ended.iter().map(|it| notes(&it.outcome)).collect::<Vec<_>>()
    };
    for half_effect in 6..20 {
        let ends = at(half_effect);
        assert!(ends.iter().all(|it| *it == ["lintian: bad"]), "{half_effect}: {ends:?}");
    }
}

#[test]
fn the_build_log_is_not_one_of_the_gates() {
    for (kind, is_gates) in
        [("amd64", false), ("lintian", true), ("reproducibility-amd64", true), ("rebuild-all", true)]
    {
        assert_eq!(is_log(kind), is_gates, "{kind}");
    }
}
