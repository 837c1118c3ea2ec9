//! The part of the contract that is about jobs which build what others need.
#![allow(clippy::missing_panics_doc, reason = "panicking is how a check of the contract fails")]

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::{assert_nothing_claimable, at_once, claim_job, failure, find, person, request, soon, submit};
use crate::job::{Job, JobState, Predecessor, Relations, Request};
use crate::names::JobId;
use crate::queue::{Queue, Submission};
use crate::stop::Stop;

const VALID: &str = "the names in these checks are valid";

fn names<T: std::str::FromStr + Ord>(names: &str) -> BTreeSet<T>
where
    T::Err: std::fmt::Debug,
{
    names.split_whitespace().map(|it| it.parse().expect(VALID)).collect()
}

/// Returns relations: what is built, what is needed, and the pockets whose packages are seen.
fn relations(builds: &str, needs: &str, against: &str) -> Relations {
    Relations { builds: names(builds), needs: names(needs), against: names(against) }
}

fn submit_with(queue: &dyn Queue, request: Request, relations: &Relations) -> Job {
    match queue.submit(request, relations) {
        Ok(Submission::Accepted(job)) => job,
        other => panic!("submitting a new request must give a new job; it gave {other:?}"),
    }
}

fn library(queue: &dyn Queue) -> Job {
    submit_with(queue, request("lib", 'a'), &relations("lib1 lib-dev", "", "dev"))
}

fn user(queue: &dyn Queue) -> Job {
    submit_with(queue, request("user", 'a'), &relations("user", "debhelper lib-dev", "dev"))
}

fn waits_for(queue: &dyn Queue, job: &Job) -> Vec<JobId> {
    match find(queue, &job.id) {
        Some(JobState::Waiting { waits_for, .. }) => waits_for,
        other => panic!("{} must wait: {other:?}", job.id),
    }
}

/// It says for whom and why, and ends to wait with the end of the other, however that is; that is durable.
pub fn a_job_waits_for_an_earlier_one_that_builds_what_it_needs_until_that_ends(queue: &dyn Queue) {
    let (library, user) = (library(queue), user(queue));
    let because = Predecessor {
        job: library.id.clone(),
        package: "lib".parse().expect(VALID),
        builds: vec!["lib-dev".parse().expect(VALID)],
    };
    assert_eq!(user.after, [because], "a job must say for whom it waits and why");
    assert_eq!(waits_for(queue, &user), std::slice::from_ref(&library.id), "the other has not ended");
    let other = submit(queue, "other", 'a');
    let held = claim_job(queue, &library);
    let beside = claim_job(queue, &other);
    assert_nothing_claimable(queue, "what it needs is being built");
    assert_eq!(waits_for(queue, &user), std::slice::from_ref(&library.id), "the other is still worked");
    held.finish(failure()).expect("finishing must not fail");
    assert_eq!(waits_for(queue, &user), [], "the other has ended");
    let held = claim_job(queue, &user);
    assert_eq!(held.job(), &user, "a claimed job must be what was accepted");
    beside.finish(failure()).expect("finishing must not fail");
    held.finish(failure()).expect("finishing must not fail");

    let (library, user) = (self::library(queue), self::user(queue));
    queue.cancel(&library.id, &person("alice@EXAMPLE.ORG")).expect("cancelling must not fail");
    assert_eq!(waits_for(queue, &user), [], "the other was cancelled");
    drop(claim_job(queue, &user));
}

/// Neither for its own package, which comes in order anyway, nor for later jobs.
pub fn a_job_waits_only_for_earlier_jobs_of_other_packages_in_pockets_that_it_is_built_against(
    queue: &dyn Queue,
) {
    let elsewhere = Request { pocket: "prod".parse().expect(VALID), ..request("lib", 'a') };
    submit_with(queue, elsewhere, &relations("lib-dev", "", ""));
    let own = relations("user lib-dev", "user lib-dev", "dev");
    submit_with(queue, request("user", 'a'), &own);
    let second = submit_with(queue, request("user", 'b'), &own);
    assert_eq!(second.after, [], "it needs what only another pocket and its own package build");
    let reader = submit_with(queue, request("reader", 'a'), &relations("", "late", "dev"));
    submit_with(queue, request("late", 'a'), &relations("late", "", "dev"));
    assert_eq!(waits_for(queue, &reader), [], "it does not wait for a later job");
    let against_both = submit_with(queue, request("both", 'a'), &relations("", "lib-dev", "dev prod"));
    assert_eq!(against_both.after.len(), 3, "it sees what both pockets build: {:?}", against_both.after);
}

/// Only an end is an end.
pub fn a_job_waits_for_one_that_is_given_back_or_whose_worker_died(queue: &dyn Queue) {
    let (library, user) = (library(queue), user(queue));
    drop(claim_job(queue, &library));
    assert_eq!(waits_for(queue, &user), std::slice::from_ref(&library.id), "the worker of the other died");
    let held = claim_job(queue, &library);
    held.give_back("no space".into(), soon(Duration::from_secs(3600))).expect("giving back must not fail");
    assert_eq!(waits_for(queue, &user), std::slice::from_ref(&library.id), "the other was given back");
    assert_nothing_claimable(queue, "the first waits for its next try, and the second for the first");
    let later = submit_with(queue, request("later", 'a'), &relations("", "lib1", "dev"));
    assert_eq!(
        waits_for(queue, &later),
        std::slice::from_ref(&library.id),
        "a job that was given back still builds"
    );
}

/// A worker that found nothing to do hears of it.
pub fn the_end_of_a_job_wakes_those_who_wait_for_it(queue: &dyn Queue) {
    let (library, user) = (library(queue), user(queue));
    let held = claim_job(queue, &library);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let stop = Stop::new().expect("making a stop must not fail");
            loop {
                if let Some(claim) = queue.claim().expect("claiming must not fail") {
                    return claim.job().id.clone();
                }
                queue.wait(Duration::from_secs(20), &stop).expect("waiting must not fail");
            }
        });
        held.finish(failure()).expect("finishing must not fail");
        assert_eq!(waiter.join().expect("the waiter must not fail"), user.id);
    });
}

/// No job is missed that comes between a look at the queue and the submission.
pub fn jobs_that_are_submitted_at_once_wait_for_all_that_came_before(queue: &dyn Queue) {
    let jobs = at_once(12, |n| {
        let needs = (0..12).map(|it| format!("lib{it}")).collect::<Vec<_>>().join(" ");
        let relations = relations(&format!("lib{n}"), &needs, "dev");
        submit_with(queue, request(&format!("package{n}"), 'a'), &relations)
    });
    for job in &jobs {
        let earlier = jobs.iter().map(|it| it.id.clone()).filter(|it| *it < job.id);
        let after = job.after.iter().map(|it| it.job.clone());
        assert_eq!(after.collect::<BTreeSet<_>>(), earlier.collect(), "{} misses one", job.id);
    }
}
