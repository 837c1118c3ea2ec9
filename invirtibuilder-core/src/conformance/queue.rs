//! The contract of [`Queue`] and [`Claim`], as functions that any backend can be run through.
//!
//! Each panics with a sentence that says what the backend broke. None looks below the trait.
#![allow(clippy::missing_panics_doc, reason = "panicking is how a check of the contract fails")]

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::QueueError;
use crate::job::{Checkpoint, Decision, Job, JobState, Outcome, Relations, Request, Stage};
use crate::names::{CommitId, JobId, Principal};
use crate::policy::{GateKind, Note};
use crate::queue::{Cancellation, Claim, Queue, Submission};
use crate::stop::Stop;

pub mod order;

/// Makes an empty queue.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Queue>;

/// Runs every check, each with a queue of its own.
pub fn run(make: Make<'_>) {
    let checks: [fn(&dyn Queue); 22] = [
        a_submitted_job_is_pending_and_found,
        a_repeated_request_is_the_same_job_until_it_ends,
        another_commit_is_another_job,
        ids_rise_in_the_order_of_submission,
        submissions_at_once_are_each_accepted_once,
        the_same_request_at_once_is_one_job,
        jobs_of_one_package_are_claimed_in_order_one_at_a_time,
        order::a_job_waits_for_an_earlier_one_that_builds_what_it_needs_until_that_ends,
        order::a_job_waits_only_for_earlier_jobs_of_other_packages_in_pockets_that_it_is_built_against,
        order::a_job_waits_for_one_that_is_given_back_or_whose_worker_died,
        order::the_end_of_a_job_wakes_those_who_wait_for_it,
        order::jobs_that_are_submitted_at_once_wait_for_all_that_came_before,
        a_dropped_claim_leaves_its_job_first_with_its_checkpoint_and_workspace,
        a_job_that_was_given_back_keeps_its_place_and_is_not_claimed_early,
        a_job_that_was_given_back_is_claimed_again_with_what_it_had,
        a_job_ends_exactly_once_and_its_record_is_kept,
        a_waiting_job_is_cancelled_at_once,
        a_running_job_is_asked_to_end,
        cancelling_and_claiming_at_once_give_one_end,
        an_unknown_job_is_not_found_and_not_cancelled,
        sleeping_ends_at_its_limit_and_when_asked_to_stop,
        sleeping_ends_when_a_job_becomes_claimable,
    ];
    for check in checks {
        check(&*make());
    }
}

fn request(package: &str, commit: char) -> Request {
    let valid = "the names in these checks are valid";
    Request {
        pocket: "dev".parse().expect(valid),
        package: package.parse().expect(valid),
        commit: commit_id(commit),
        principal: person("alice@EXAMPLE.ORG"),
        adds: None,
    }
}

fn commit_id(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().expect("it is a commit id")
}

fn person(name: &str) -> Principal {
    name.parse().expect("it is a principal")
}

fn submit(queue: &dyn Queue, package: &str, commit: char) -> Job {
    match queue.submit(request(package, commit), &Relations::default()) {
        Ok(Submission::Accepted(job)) => job,
        other => panic!("submitting a new request for {package} must give a new job; it gave {other:?}"),
    }
}

fn claim(queue: &dyn Queue) -> Option<Box<dyn Claim>> {
    queue.claim().expect("claiming must not fail")
}

fn claim_job(queue: &dyn Queue, job: &Job) -> Box<dyn Claim> {
    let claim = claim(queue).unwrap_or_else(|| panic!("{} must be claimable", job.id));
    assert_eq!(claim.job().id, job.id, "this job must be claimed first");
    assert_eq!(claim.job().request, job.request, "a claimed job must be what was submitted");
    claim
}

fn assert_nothing_claimable(queue: &dyn Queue, why: &str) {
    if let Some(claim) = claim(queue) {
        panic!("{:?} must not be claimable: {why}", claim.job());
    }
}

fn find(queue: &dyn Queue, id: &JobId) -> Option<JobState> {
    queue.find(id).expect("finding must not fail")
}

fn pending_ids(queue: &dyn Queue) -> Vec<JobId> {
    let pending = queue.pending().expect("listing must not fail");
    pending.into_iter().map(|it| it.job().id.clone()).collect()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        bases: Vec::new(),
        version: "1:2.0~rc1-1".parse().expect("it is a version"),
        expected_head: Some(commit_id('9')),
        notes: vec![Note { gate: GateKind::Lintian, text: "E: hello: \"x\"".into() }],
        decision: Decision::Publish {
            dsc: "source/hello_2.0.dsc".into(),
            changes: vec!["amd64/hello_2.0_amd64.changes".into()],
        },
    }
}

fn failure() -> Outcome {
    Outcome::Failed { stage: Stage::Build, causes: vec!["it does not build: \"x\"".into()], log: None }
}

fn soon(after: Duration) -> Timestamp {
    Timestamp::now() + after
}

/// A submitted job waits, is listed, and is found by its id.
pub fn a_submitted_job_is_pending_and_found(queue: &dyn Queue) {
    let job = submit(queue, "hello", 'a');
    assert_eq!(job.request, request("hello", 'a'), "a job must hold its request");
    let state = JobState::Waiting { job: job.clone(), behind: None, waits_for: Vec::new() };
    assert_eq!(find(queue, &job.id), Some(state.clone()), "an accepted job must be found waiting");
    assert_eq!(queue.pending().expect("listing must not fail"), [state], "an accepted job must be listed");
}

/// A request for what the latest job asks for already is that job, also while it is worked.
pub fn a_repeated_request_is_the_same_job_until_it_ends(queue: &dyn Queue) {
    let again = |principal: &str| {
        let request = Request { principal: person(principal), ..request("hello", 'a') };
        queue.submit(request, &Relations::default()).expect("submitting must not fail")
    };
    let job = submit(queue, "hello", 'a');
    assert_eq!(again("alice@EXAMPLE.ORG"), Submission::AlreadyQueued(job.clone()), "it waits already");
    assert_eq!(again("bob@EXAMPLE.ORG"), Submission::AlreadyQueued(job.clone()), "whoever asks for it");
    let claim = claim_job(queue, &job);
    assert_eq!(again("alice@EXAMPLE.ORG"), Submission::AlreadyQueued(job.clone()), "it is worked already");
    claim.finish(failure()).expect("finishing must not fail");
    let after = submit(queue, "hello", 'a');
    assert!(after.id > job.id, "a request after the end of a job must be a new, later job");
}

/// Only the latest job of a pocket and package counts, and another pocket is another matter.
pub fn another_commit_is_another_job(queue: &dyn Queue) {
    submit(queue, "hello", 'a');
    submit(queue, "hello", 'b');
    submit(queue, "hello", 'a');
    let elsewhere = Request { pocket: "prod".parse().expect("it is a pocket"), ..request("hello", 'a') };
    let accepted = queue.submit(elsewhere, &Relations::default()).expect("submitting must not fail");
    assert!(matches!(accepted, Submission::Accepted(_)), "another pocket makes another job");
    assert_eq!(pending_ids(queue).len(), 4, "each of them must be listed");
}

/// Ids sort in the order of submission.
pub fn ids_rise_in_the_order_of_submission(queue: &dyn Queue) {
    let ids: Vec<JobId> = (0..50).map(|n| submit(queue, &format!("package{n}"), 'a').id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "ids must rise: {ids:?}");
    assert_eq!(pending_ids(queue), ids, "jobs must be listed in the order of submission");
}

/// None is lost, and none has the id of another.
pub fn submissions_at_once_are_each_accepted_once(queue: &dyn Queue) {
    let ids: Vec<JobId> = at_once(8, |thread| {
        (0..25).map(|n| submit(queue, &format!("package{}", thread * 25 + n), 'a').id).collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect();
    let distinct: BTreeSet<JobId> = ids.iter().cloned().collect();
    assert_eq!(distinct.len(), 200, "each submission must have an id of its own");
    assert_eq!(pending_ids(queue), distinct.into_iter().collect::<Vec<_>>(), "none may be lost or doubled");
}

/// However many ask for the same at once, one job is made.
pub fn the_same_request_at_once_is_one_job(queue: &dyn Queue) {
    let submissions = at_once(8, |_| {
        queue.submit(request("hello", 'a'), &Relations::default()).expect("submitting must not fail")
    });
    let accepted = submissions.iter().filter(|it| matches!(it, Submission::Accepted(_))).count();
    assert_eq!(accepted, 1, "one of them must be the first");
    assert_eq!(pending_ids(queue).len(), 1, "the same request must not be queued twice");
}

fn at_once<T: Send>(threads: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let start = |n| {
            let (barrier, act) = (&barrier, &act);
            scope.spawn(move || {
                barrier.wait();
                act(n)
            })
        };
        let handles: Vec<_> = (0..threads).map(start).collect();
        handles.into_iter().map(|it| it.join().expect("a thread of the check failed")).collect()
    })
}

/// One package is worked by one worker; other packages beside it.
pub fn jobs_of_one_package_are_claimed_in_order_one_at_a_time(queue: &dyn Queue) {
    let (first, second) = (submit(queue, "hello", 'a'), submit(queue, "hello", 'b'));
    let other = submit(queue, "world", 'a');
    let behind =
        JobState::Waiting { job: second.clone(), behind: Some(first.id.clone()), waits_for: Vec::new() };
    assert_eq!(find(queue, &second.id), Some(behind.clone()), "the second job waits for the first");
    let held = claim_job(queue, &first);
    let beside = claim_job(queue, &other);
    thread::scope(|scope| {
        scope.spawn(|| assert_nothing_claimable(queue, "its package is being worked"));
    });
    for _ in 0..20 {
        let states = queue.pending().expect("listing must not fail");
        let alive = |id: &JobId| {
            states.iter().any(|it| matches!(it, JobState::Running { job, alive: true, .. } if job.id == *id))
        };
        assert!(alive(&first.id) && alive(&other.id), "held jobs must be shown as alive: {states:?}");
        assert!(states.contains(&behind), "the second job still waits for the first");
    }
    held.finish(failure()).expect("finishing must not fail");
    drop(claim_job(queue, &second));
    drop(beside);
}

/// Whoever comes next goes on where the dead worker was.
pub fn a_dropped_claim_leaves_its_job_first_with_its_checkpoint_and_workspace(queue: &dyn Queue) {
    let job = submit(queue, "hello", 'a');
    let later = submit(queue, "hello", 'b');
    let mut held = claim_job(queue, &job);
    assert_eq!(held.checkpoint(), None, "a new job has no checkpoint");
    assert!(held.workspace().is_dir(), "the workspace must exist");
    held.enter(Stage::Publish);
    held.save(checkpoint()).expect("saving must not fail");
    assert_eq!(held.checkpoint(), Some(checkpoint()), "the claim must know what it saved");
    let workspace = held.workspace().to_owned();
    drop(held);
    let state = find(queue, &job.id);
    assert!(
        matches!(&state, Some(JobState::Running { alive: false, stage: Some(Stage::Publish), .. })),
        "a dropped job must be shown as running, not alive, in its stage: {state:?}"
    );
    let held = claim_job(queue, &job);
    assert_eq!(held.checkpoint(), Some(checkpoint()), "the checkpoint must survive");
    assert_eq!(held.workspace(), workspace, "the workspace must survive");
    held.finish(failure()).expect("finishing must not fail");
    assert!(!workspace.exists(), "the workspace must end with the job");
    drop(claim_job(queue, &later));
}

/// Later jobs of its package wait with it, others do not.
pub fn a_job_that_was_given_back_keeps_its_place_and_is_not_claimed_early(queue: &dyn Queue) {
    let (first, second) = (submit(queue, "hello", 'a'), submit(queue, "hello", 'b'));
    let not_before = soon(Duration::from_secs(3600));
    claim_job(queue, &first).give_back("no space".into(), not_before).expect("giving back must not fail");
    let other = submit(queue, "world", 'a');
    drop(claim_job(queue, &other).finish(failure()));
    assert_nothing_claimable(queue, "the first job was given back for later, and the second waits for it");
    let Some(JobState::Waiting { job, behind: None, .. }) = find(queue, &first.id) else {
        panic!("a job that was given back must wait, behind nobody");
    };
    let given_back = job.given_back.expect("a job that was given back must say so");
    assert_eq!((given_back.attempts, &*given_back.reason), (1, "no space"), "it must say how often and why");
    assert_eq!(given_back.not_before, not_before, "it must say until when");
    assert_eq!(pending_ids(queue), [first.id, second.id], "it must keep its place");
}

/// It may be given back again, which is counted; its workspace and checkpoint live until it ends.
pub fn a_job_that_was_given_back_is_claimed_again_with_what_it_had(queue: &dyn Queue) {
    let job = submit(queue, "hello", 'a');
    submit(queue, "hello", 'b');
    let mut held = claim_job(queue, &job);
    held.save(checkpoint()).expect("saving must not fail");
    let workspace = held.workspace().to_owned();
    held.give_back("first".into(), Timestamp::UNIX_EPOCH).expect("giving back must not fail");
    assert!(workspace.is_dir(), "the workspace must live until the job ends");
    let held = claim_job(queue, &job);
    assert_eq!(held.checkpoint(), Some(checkpoint()), "the checkpoint must live until the job ends");
    assert_eq!(held.workspace(), workspace, "the workspace must be the same");
    held.give_back("second".into(), Timestamp::UNIX_EPOCH).expect("giving back must not fail");
    let held = claim_job(queue, &job);
    let attempts = held.job().given_back.as_ref().map(|it| (it.attempts, it.reason.as_str()));
    assert_eq!(attempts, Some((2, "second")), "each time must be counted");
}

/// Records are listed with the latest job first.
pub fn a_job_ends_exactly_once_and_its_record_is_kept(queue: &dyn Queue) {
    let outcomes = [
        failure(),
        Outcome::Published {
            version: "1:1.0~rc1-1".parse().expect("valid"),
            copied_from: None,
            notes: Vec::new(),
        },
        Outcome::Rejected { reasons: vec!["the version is: taken\nand old".into()], not_permitted: true },
        Outcome::Current { version: "1.0".parse().expect("valid") },
    ];
    let mut ids = Vec::new();
    for (n, outcome) in outcomes.iter().enumerate() {
        let job = submit(queue, &format!("package{n}"), 'a');
        let before = Timestamp::now();
        claim_job(queue, &job).finish(outcome.clone()).expect("finishing must not fail");
        let Some(JobState::Ended(ended)) = find(queue, &job.id) else { panic!("an ended job must be found") };
        assert_eq!(
            (&ended.job, &ended.outcome),
            (&job, outcome),
            "the record must say what became of the job"
        );
        assert!(ended.started.is_some_and(|it| it <= ended.ended), "it must say when the job was worked");
        assert!(before.as_second() <= ended.ended.as_second(), "it must say when the job ended");
        ids.insert(0, job.id);
    }
    assert_nothing_claimable(queue, "it has ended");
    assert!(pending_ids(queue).is_empty(), "an ended job must not be listed as pending");
    let listed = |limit| {
        let ended = queue.ended(limit).expect("listing must not fail");
        ended.into_iter().map(|it| it.job.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(usize::MAX), ids, "each end must be recorded once, the latest first");
    assert_eq!(listed(2), ids.get(..2).unwrap_or_default(), "the limit must be kept");
}

/// It ends without a worker, once.
pub fn a_waiting_job_is_cancelled_at_once(queue: &dyn Queue) {
    let (job, later) = (submit(queue, "hello", 'a'), submit(queue, "hello", 'b'));
    let bob = person("bob@EXAMPLE.ORG");
    assert_eq!(queue.cancel(&job.id, &bob).expect("cancelling must not fail"), Cancellation::Done);
    let Some(JobState::Ended(ended)) = find(queue, &job.id) else {
        panic!("a cancelled job must have ended")
    };
    assert_eq!(ended.outcome, Outcome::Cancelled { by: bob.clone() }, "it must say who cancelled it");
    assert_eq!(ended.started, None, "no worker had it");
    let again = queue.cancel(&job.id, &bob).expect("cancelling must not fail");
    assert_eq!(again, Cancellation::AlreadyEnded(Box::new(ended)), "a job ends once");
    let held = claim_job(queue, &later);
    held.give_back("later".into(), soon(Duration::from_secs(3600))).expect("giving back must not fail");
    assert_eq!(queue.cancel(&later.id, &bob).expect("cancelling must not fail"), Cancellation::Done);
    assert!(pending_ids(queue).is_empty(), "a cancelled job must not be pending");
}

/// Its worker learns who asked, and so does the next one after a crash.
pub fn a_running_job_is_asked_to_end(queue: &dyn Queue) {
    let job = submit(queue, "hello", 'a');
    let held = claim_job(queue, &job);
    assert_eq!(held.cancelled(), None, "nobody asked yet");
    let bob = person("bob@EXAMPLE.ORG");
    assert_eq!(queue.cancel(&job.id, &bob).expect("cancelling must not fail"), Cancellation::Requested);
    assert_eq!(held.cancelled(), Some(bob.clone()), "the worker must learn it");
    drop(held);
    let held = claim_job(queue, &job);
    assert_eq!(held.cancelled(), Some(bob), "the next worker must learn it as well");
}

/// A job is either cancelled or claimed.
pub fn cancelling_and_claiming_at_once_give_one_end(queue: &dyn Queue) {
    for n in 0..30 {
        let job = submit(queue, &format!("package{n}"), 'a');
        let bob = person("bob");
        let claimed = at_once(2, |thread| {
            if thread == 0 {
                return claim(queue)
                    .map(|it| it.finish(failure()).expect("finishing must not fail"))
                    .is_some();
            }
            let cancelled = queue.cancel(&job.id, &bob).expect("cancelling must not fail");
            cancelled != Cancellation::Done
        });
        assert_eq!(claimed.first(), claimed.get(1), "a job is cancelled if and only if it was not claimed");
        let ends = queue.ended(usize::MAX).expect("listing must not fail");
        assert_eq!(ends.iter().filter(|it| it.job.id == job.id).count(), 1, "a job must end exactly once");
    }
    assert!(pending_ids(queue).is_empty(), "nothing may be left of jobs that ended");
}

/// It is an error of its own, which frontends tell from others.
pub fn an_unknown_job_is_not_found_and_not_cancelled(queue: &dyn Queue) {
    let id: JobId = "20010101000000_aaaaaa".parse().expect("it is a job id");
    assert_eq!(find(queue, &id), None, "there never was such a job");
    let cancelled = queue.cancel(&id, &person("bob"));
    assert!(
        matches!(cancelled, Err(QueueError::UnknownJob(it)) if it == id),
        "it must be said to be unknown"
    );
}

const LONG: Duration = Duration::from_secs(60);

/// It returns in time, whatever happens.
pub fn sleeping_ends_at_its_limit_and_when_asked_to_stop(queue: &dyn Queue) {
    let stop = Stop::new().expect("a stop must be made");
    let start = Instant::now();
    assert_nothing_claimable(queue, "nothing was submitted");
    queue.wait(Duration::from_millis(30), &stop).expect("waiting must not fail");
    assert!(start.elapsed() < LONG / 2, "a sleep must end at its limit");
    assert_nothing_claimable(queue, "nothing was submitted");
    let waiting = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            waiting.wait();
            stop.set();
        });
        waiting.wait();
        queue.wait(LONG, &stop).expect("waiting must not fail");
    });
    queue.wait(LONG, &stop).expect("waiting must not fail");
    assert!(start.elapsed() < LONG / 2, "a sleep must end when asked to stop");
}

/// Whether the job was submitted, released, ended, cancelled, or has become due, and also if that was just before.
pub fn sleeping_ends_when_a_job_becomes_claimable(queue: &dyn Queue) {
    let stop = Stop::new().expect("a stop must be made");
    let sleep_for = |job: &Job, event: &(dyn Fn() + Sync)| {
        let start = Instant::now();
        assert_nothing_claimable(queue, "it is not yet time");
        let held = thread::scope(|scope| {
            scope.spawn(event);
            loop {
                queue.wait(LONG, &stop).expect("waiting must not fail");
                if let Some(claim) = claim(queue) {
                    break claim;
                }
                assert!(start.elapsed() < LONG / 2, "{} has become claimable, and nobody woke", job.id);
            }
        });
        assert!(start.elapsed() < LONG / 2, "a sleep must end when a job becomes claimable");
        held
    };
    let first = std::sync::Mutex::new(None);
    let held = sleep_for(&submit_later(queue), &|| {
        *first.lock().expect("nobody panicked") = Some(submit(queue, "hello", 'a'));
    });
    let second = submit(queue, "hello", 'b');
    let third = submit(queue, "hello", 'c');
    let slot = std::sync::Mutex::new(Some(held));
    let held = sleep_for(&second, &|| drop(slot.lock().expect("nobody panicked").take()));
    let slot = std::sync::Mutex::new(Some(held));
    let held = sleep_for(&second, &|| {
        let held = slot.lock().expect("nobody panicked").take().expect("it was put there");
        held.finish(failure()).expect("finishing must not fail");
    });
    assert_eq!(held.job().id, second.id, "the next one of the package comes next");
    let slot = std::sync::Mutex::new(Some(held));
    let held = sleep_for(&second, &|| {
        let held = slot.lock().expect("nobody panicked").take().expect("it was put there");
        held.give_back("soon".into(), soon(Duration::from_millis(150))).expect("giving back must not fail");
    });
    assert!(held.job().given_back.as_ref().is_some_and(|it| it.not_before <= Timestamp::now()), "not early");
    held.give_back("late".into(), soon(LONG * 60)).expect("giving back must not fail");
    let held = sleep_for(&third, &|| {
        queue.cancel(&second.id, &person("bob")).expect("cancelling must not fail");
    });
    assert_eq!(held.job().id, third.id, "what waited behind a cancelled job comes next");
}

/// Stands for a job that does not exist yet, in messages.
fn submit_later(queue: &dyn Queue) -> Job {
    assert!(pending_ids(queue).is_empty(), "a new queue must be empty");
    let id = "20010101000000_aaaaaa".parse().expect("it is a job id");
    Job::new(id, request("hello", 'a'))
}
