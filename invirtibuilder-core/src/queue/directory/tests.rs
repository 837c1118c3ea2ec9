//! Tests of the directory queue; the contract itself is in `conformance::queue`.
#![allow(clippy::disallowed_methods, reason = "tests make the files that they need")]

use super::*;

#[cfg(feature = "conformance")]
#[test]
fn the_directory_queue_fulfils_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    crate::conformance::queue::run(&|| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::new(DirectoryQueue::open(&directory.path().join(n.to_string())).unwrap())
    });
}

use std::sync::atomic::{AtomicI64, Ordering};

struct World {
    directory: tempfile::TempDir,
    queue: DirectoryQueue,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue = DirectoryQueue::open(directory.path()).unwrap();
        Self { directory, queue }
    }

    /// Another process that uses the same directory, as far as memory is concerned.
    fn other(&self) -> DirectoryQueue {
        DirectoryQueue::open(self.directory.path()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn submit(&self, package: &str, commit: char) -> JobId {
        submit(&self.queue, package, commit)
    }

    fn claim(&self, id: &JobId) -> Box<dyn Claim> {
        let claim = self.queue.claim().unwrap().expect("a job is claimable");
        assert_eq!(claim.job().id, *id);
        claim
    }

    fn pending(&self) -> Vec<JobId> {
        self.queue.pending().unwrap().iter().map(|it| it.job().id.clone()).collect()
    }
}

fn request(package: &str, commit: char) -> Request {
    Request {
        pocket: "dev".parse().unwrap(),
        package: package.parse().unwrap(),
        commit: commit.to_string().repeat(40).parse().unwrap(),
        principal: "alice@EXAMPLE.ORG".parse().unwrap(),
        adds: None,
    }
}

fn submit(queue: &DirectoryQueue, package: &str, commit: char) -> JobId {
    let submission = queue.submit(request(package, commit), &Relations::default()).unwrap();
    assert!(matches!(submission, Submission::Accepted(_)), "{submission:?}");
    submission.job().id.clone()
}

fn current() -> Outcome {
    Outcome::Current { version: "1.0".parse().unwrap() }
}

#[test]
fn a_waiting_job_is_a_file_that_a_person_can_read() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    let text = fs::read_to_string(world.path(id.as_str())).unwrap();
    let commit = "a".repeat(40);
    assert_eq!(
        text,
        format!("pocket: dev\npackage: hello\ncommit: {commit}\nprincipal: alice@EXAMPLE.ORG\n")
    );
}

#[test]
fn the_record_of_an_end_is_a_file_below_the_month_of_submission() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    world.claim(&id).finish(current()).unwrap();
    let month = format!("{}-{}", &id.as_str()[..4], &id.as_str()[4..6]);
    let text = fs::read_to_string(world.path("ended").join(month).join(id.as_str())).unwrap();
    assert!(text.starts_with(&format!("id: {id}\npocket: dev\n")), "{text}");
    assert!(text.ends_with("outcome: current\nversion: '1.0'\n"), "{text}");
}

#[test]
fn ids_rise_when_the_clock_steps_back_and_when_the_process_is_another_one() {
    static SECOND: AtomicI64 = AtomicI64::new(2_000_000_000);
    let directory = tempfile::tempdir().unwrap();
    let clock = || Timestamp::from_second(SECOND.fetch_sub(10, Ordering::SeqCst)).unwrap();
    let mut ids = Vec::new();
    for n in 0..20 {
        let queue = DirectoryQueue::with_clock(directory.path(), clock).unwrap();
        ids.push(submit(&queue, &format!("package{n}"), 'a'));
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn after_a_boot_the_index_is_made_anew_from_the_jobs() {
    let world = World::new();
    let ended = world.submit("old", 'a');
    world.claim(&ended).finish(current()).unwrap();
    let (running, waiting) = (world.submit("hello", 'a'), world.submit("world", 'b'));
    drop(world.claim(&running));
    fs::write(world.path(".index/.boot"), "another boot").unwrap();
    fs::remove_file(world.path(".index/dev/hello")).unwrap();
    fs::write(world.path(".index/.last-id"), "20010101000000_aaaaaa").unwrap();
    let again =
        |package, commit| world.queue.submit(request(package, commit), &Relations::default()).unwrap();
    assert!(matches!(again("hello", 'a'), Submission::AlreadyQueued(job) if job.id == running));
    assert!(matches!(again("world", 'b'), Submission::AlreadyQueued(job) if job.id == waiting));
    assert!(world.submit("old", 'a') > waiting);
}

#[test]
fn a_note_of_a_job_that_never_was_leads_to_the_one_before_it() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    // The process died between the note and the name.
    fs::write(world.path(".index/dev/hello"), format!("99991231235959_zzzzzz {id}")).unwrap();
    let again = world.queue.submit(request("hello", 'a'), &Relations::default()).unwrap();
    assert!(matches!(again, Submission::AlreadyQueued(job) if job.id == id));
}

#[test]
fn foreign_and_malformed_files_do_not_stop_the_queue() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    let text = fs::read_to_string(world.path(id.as_str())).unwrap();
    fs::write(world.path(&format!("{id}~")), &text).unwrap();
    fs::write(world.path(".new-0000000000000000-job"), "pock").unwrap();
    fs::write(world.path("README"), "notes").unwrap();
    fs::create_dir(world.path("20010101000000_aaaaaa")).unwrap();
    fs::write(world.path("20010101000000_bbbbbb"), "pocket: [").unwrap();
    fs::write(world.path("20010101000000_cccccc"), [0xff, 0xfe]).unwrap();
    fs::write(world.path("20010101000000_dddddd"), format!("{text}priority: high\n")).unwrap();
    fs::write(world.path("running/20010101000000_eeeeee"), "").unwrap();
    fs::write(world.path("ended/2001-01"), "").unwrap();
    assert_eq!(world.pending(), std::slice::from_ref(&id));
    world.claim(&id).finish(current()).unwrap();
    assert!(world.queue.claim().unwrap().is_none());
    // Once mended it is a job like any other.
    let mended = text.replace("hello", "mended");
    fs::write(world.path("20010101000000_bbbbbb"), mended).unwrap();
    drop(world.claim(&"20010101000000_bbbbbb".parse().unwrap()));
}

#[test]
fn a_damaged_checkpoint_stops_its_own_package_only_and_wakes_nobody() {
    let world = World::new();
    let damaged = world.submit("hello", 'a');
    let other = world.submit("world", 'a');
    drop(world.claim(&damaged));
    fs::write(world.path("running").join(damaged.as_str()).join("checkpoint"), "decision: [").unwrap();
    let held = world.claim(&other);
    assert!(world.queue.claim().unwrap().is_none());
    assert!(world.queue.claim().unwrap().is_none());
    let begin = Instant::now();
    world.queue.wait(Duration::from_millis(200), &Stop::new().unwrap()).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    drop(held);
}

#[test]
fn looking_for_work_and_at_the_queue_wakes_nobody() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    let held = world.claim(&id);
    assert!(world.queue.claim().unwrap().is_none());
    let other = world.other();
    assert!(other.claim().unwrap().is_none());
    assert!(matches!(other.pending().unwrap().as_slice(), [JobState::Running { alive: true, .. }]));
    let begin = Instant::now();
    world.queue.wait(Duration::from_millis(200), &Stop::new().unwrap()).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200), "woke after {:?}", begin.elapsed());
    drop(held);
}

#[test]
fn a_job_that_another_process_gave_back_is_read_again() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    assert_eq!(world.pending(), std::slice::from_ref(&id));
    let held = world.other().claim().unwrap().unwrap();
    let later = Timestamp::now() + Duration::from_secs(3600);
    held.give_back("no space".into(), later).unwrap();
    assert!(world.queue.claim().unwrap().is_none());
    let pending = world.queue.pending().unwrap();
    assert!(pending.iter().all(|it| it.job().given_back.is_some()), "{pending:?}");
}

#[test]
fn what_is_left_of_a_job_that_ended_is_cleared_by_the_next_claim() {
    let world = World::new();
    let id = world.submit("hello", 'a');
    let text = fs::read_to_string(world.path(id.as_str())).unwrap();
    world.claim(&id).finish(current()).unwrap();
    let running = world.path("running").join(id.as_str());
    fs::create_dir(&running).unwrap();
    fs::write(running.join("job"), &text).unwrap();
    fs::write(world.path(id.as_str()), &text).unwrap();
    fs::create_dir(world.path(&format!("running/.ended-{id}"))).unwrap();
    fs::write(world.path(&format!("running/.ended-{id}/job")), &text).unwrap();
    assert_eq!(world.pending(), [], "the record of the end counts");
    let again = world.queue.submit(request("hello", 'a'), &Relations::default()).unwrap();
    let claim = world.claim(&again.job().id);
    assert_ne!(claim.job().id, id);
    assert!(!running.exists() && !world.path(id.as_str()).exists());
    assert!(!world.path(&format!("running/.ended-{id}")).exists());
    assert_eq!(world.queue.ended(9).unwrap().len(), 1);
}

#[test]
fn unfinished_files_are_removed_when_they_are_old() {
    let world = World::new();
    let (old, new) = (world.path(".new-1-job"), world.path(".new-2-job"));
    for path in [&old, &new] {
        fs::write(path, "pock").unwrap();
    }
    let day_ago = SystemTime::now() - Duration::from_secs(86_400);
    fs::File::options().write(true).open(&old).unwrap().set_modified(day_ago).unwrap();
    assert!(world.queue.claim().unwrap().is_none());
    assert!(!old.exists() && new.exists());
}

fn relations(builds: &str, needs: &str) -> Relations {
    let names = |it: &str| it.split_whitespace().map(|it| it.parse().unwrap()).collect();
    Relations { builds: names(builds), needs: names(needs), against: ["dev".parse().unwrap()].into() }
}

#[test]
fn a_job_file_says_what_the_job_comes_after_and_why() {
    let world = World::new();
    let library = world.queue.submit(request("lib", 'a'), &relations("lib-dev", "")).unwrap();
    let user = world.queue.submit(request("user", 'a'), &relations("", "lib-dev make")).unwrap();
    let (library, user) = (&library.job().id, &user.job().id);
    let text = |id: &JobId| fs::read_to_string(world.path(id.as_str())).unwrap();
    assert!(text(library).ends_with("\nbuilds:\n- lib-dev\n"), "{}", text(library));
    let after = format!("\nafter:\n- job: {library}\n  package: lib\n  builds:\n  - lib-dev\n");
    assert!(text(user).ends_with(&after), "{}", text(user));
}

#[test]
fn what_builds_what_is_known_again_after_the_loss_of_power() {
    let world = World::new();
    let library = world.queue.submit(request("lib", 'a'), &relations("lib-dev", "")).unwrap();
    let noted = fs::read_to_string(world.path(".index/.builds/lib-dev")).unwrap();
    assert_eq!(noted, format!("{} dev lib\n", library.job().id));
    // Notes of another boot may be torn.
    fs::write(world.path(".index/.builds/lib-dev"), "2026").unwrap();
    fs::write(world.path(".index/.boot"), "another").unwrap();
    let user = world.other().submit(request("user", 'a'), &relations("", "lib-dev")).unwrap();
    assert_eq!(user.job().after.len(), 1, "{user:?}");
    assert_eq!(fs::read_to_string(world.path(".index/.builds/lib-dev")).unwrap(), noted);
}

#[test]
fn a_job_that_somebody_moved_away_releases_those_who_wait_for_it() {
    let world = World::new();
    let library = world.queue.submit(request("lib", 'a'), &relations("lib-dev", "")).unwrap();
    let user = world.queue.submit(request("user", 'a'), &relations("", "lib-dev")).unwrap();
    fs::rename(world.path(library.job().id.as_str()), world.path(".away")).unwrap();
    drop(world.claim(&user.job().id));
}
