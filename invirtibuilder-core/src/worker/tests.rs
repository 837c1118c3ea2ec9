use std::collections::BTreeSet;
use std::time::Instant;

use super::*;
use crate::job::{Job, Relations, Stage};
use crate::memory::Lab;
use crate::names::PackageName;
use jiff::Timestamp;

/// Notes which packages are worked at once.
#[derive(Debug, Default)]
struct Watcher {
    running: Mutex<Vec<PackageName>>,
    clashes: AtomicUsize,
    most: AtomicUsize,
}

impl Observer for Watcher {
    fn claimed(&self, job: &Job) {
        let mut running = self.running.lock().unwrap();
        if running.contains(&job.request.package) {
            self.clashes.fetch_add(1, Ordering::SeqCst);
        }
        running.push(job.request.package.clone());
        self.most.fetch_max(running.len(), Ordering::SeqCst);
    }
    fn entered(&self, _: &Job, stage: Stage) {
        if stage == Stage::Announce {
            // The claim, and so the package, is still held here.
            std::thread::yield_now();
        }
    }
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: Timestamp) {}
}

/// Forgets a package when its job announces: the last thing before the claim ends.
#[derive(Debug)]
struct Leaving<'a>(&'a Watcher);

impl Observer for Leaving<'_> {
    fn claimed(&self, job: &Job) {
        self.0.claimed(job);
    }
    fn entered(&self, job: &Job, stage: Stage) {
        self.0.entered(job, stage);
        if stage == Stage::Announce {
            let mut running = self.0.running.lock().unwrap();
            let at = running.iter().position(|it| *it == job.request.package).unwrap();
            running.remove(at);
        }
    }
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: Timestamp) {}
}

/// Submits four versions of each of six packages to `dev`.
fn fill(lab: &Lab) -> usize {
    let mut count = 0;
    for package in 0..6 {
        let package: PackageName = format!("package{package}").parse().unwrap();
        let mut parent = None;
        for version in 0..4 {
            let version = format!("1.{version}").parse().unwrap();
            let commit = lab.commit(&package, &version, parent.as_ref());
            lab.queue().submit(Lab::request("dev", &package, &commit), &Relations::default()).unwrap();
            parent = Some(commit);
            count += 1;
        }
    }
    count
}

#[test]
fn jobs_run_side_by_side_and_those_of_one_package_one_at_a_time_in_order() {
    let lab = Lab::new().unwrap();
    let count = fill(&lab);
    let watcher = Watcher::default();
    let (queue, pipeline) = (lab.queue(), lab.pipeline());
    let worker = Worker {
        queue: &queue,
        pipeline: &pipeline,
        observer: &Leaving(&watcher),
        jobs: NonZeroUsize::new(4).unwrap(),
    };
    let worked = worker.run(Until::Empty, &Stop::new().unwrap()).unwrap();
    assert_eq!(worked.outcomes.len(), count);
    assert!(worked.outcomes.iter().all(|it| matches!(it, Outcome::Published { .. })), "{worked:?}");
    assert_eq!(watcher.clashes.load(Ordering::SeqCst), 0, "two jobs of one package ran at once");
    assert!(watcher.most.load(Ordering::SeqCst) > 1, "nothing ran side by side");
    let world = lab.memory.world();
    let heads: BTreeSet<_> = world.archive.values().map(|it| it.0.version.to_string()).collect();
    assert_eq!(heads, BTreeSet::from(["1.3".to_owned()]), "the last submission of each package won");
}

#[test]
fn once_works_a_single_job() {
    let lab = Lab::new().unwrap();
    let count = fill(&lab);
    let (queue, pipeline, watcher) = (lab.queue(), lab.pipeline(), Watcher::default());
    let jobs = NonZeroUsize::new(4).unwrap();
    let worker = Worker { queue: &queue, pipeline: &pipeline, observer: &watcher, jobs };
    let worked = worker.run(Until::Once, &Stop::new().unwrap()).unwrap();
    assert_eq!(worked.outcomes.len(), 1);
    assert_eq!(queue.pending().unwrap().len(), count - 1);
}

#[test]
fn a_worker_that_is_asked_to_stop_ends_soon_and_keeps_the_jobs() {
    let lab = Lab::new().unwrap();
    let count = fill(&lab);
    let (queue, pipeline, watcher) = (lab.queue(), lab.pipeline(), Watcher::default());
    let worker = Worker { queue: &queue, pipeline: &pipeline, observer: &watcher, jobs: NonZeroUsize::MIN };
    let stop = Stop::new().unwrap();
    stop.set();
    let begun = Instant::now();
    let worked = worker.run(Until::Stopped, &stop).unwrap();
    assert!(worked.outcomes.is_empty());
    assert_eq!(queue.pending().unwrap().len(), count);
    assert!(begun.elapsed() < NAP);
}

#[test]
fn a_job_that_stops_half_way_ends_the_worker_with_the_reason() {
    let lab = Lab::new().unwrap();
    fill(&lab);
    // Export, build and save succeed; publish does not.
    lab.memory.crash_at(2 * 3);
    let (queue, pipeline, watcher) = (lab.queue(), lab.pipeline(), Watcher::default());
    let worker = Worker { queue: &queue, pipeline: &pipeline, observer: &watcher, jobs: NonZeroUsize::MIN };
    let error = worker.run(Until::Empty, &Stop::new().unwrap()).unwrap_err();
    assert!(matches!(error, WorkerError::Halt(_)), "{error}");
    lab.memory.never_crash();
    worker.run(Until::Empty, &Stop::new().unwrap()).unwrap();
    assert!(queue.pending().unwrap().is_empty());
}
