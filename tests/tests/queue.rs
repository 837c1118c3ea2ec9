//! The directory queue between processes: submissions at once, killed workers, a full disk, and death at every
//! system call that changes something.
#![allow(clippy::disallowed_methods, reason = "tests start programs and make files")]
#![allow(clippy::print_stdout, reason = "a process says what it did, for the one that started it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use invirtibuilder_core::job::{Checkpoint, Decision, JobState, Outcome, Relations, Request, Stage};
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::queue::directory::DirectoryQueue;
use invirtibuilder_core::queue::{Cancellation, Queue, Submission};
use invirtibuilder_core::stop::Stop;
use jiff::Timestamp;

const ROLE: &str = "QUEUE_TEST_ROLE";
const QUEUE: &str = "QUEUE_TEST_DIRECTORY";

/// What another process does when it runs this test; without a role, this is no test at all.
#[test]
fn another_process_plays_its_role() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var(QUEUE)) else { return };
    let queue = DirectoryQueue::open(Path::new(&path)).unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    match *words.as_slice() {
        ["submit", prefix, count] => {
            for n in 0..count.parse().unwrap() {
                say("accepted", &submit(&queue, &format!("{prefix}{n}")));
            }
        }
        ["hold"] => {
            let mut held = queue.claim().unwrap().unwrap();
            held.save(checkpoint()).unwrap();
            say("claimed", &held.job().id);
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        ["drain"] => {
            while let Some(held) = queue.claim().unwrap() {
                let id = held.job().id.clone();
                fs::write(held.workspace().join("result"), "built").unwrap();
                held.finish(failure()).unwrap();
                say("ended", &id);
            }
        }
        ["live"] => live(&queue),
        _ => panic!("there is no role {role:?}"),
    }
}

/// Everything that can happen to a job.
fn live(queue: &DirectoryQueue) {
    let hello = submit(queue, "hello");
    say("accepted", &hello);
    let world = submit(queue, "world");
    say("accepted", &world);
    let mut held = queue.claim().unwrap().unwrap();
    held.enter(Stage::Build);
    fs::write(held.workspace().join("result"), "built").unwrap();
    held.save(checkpoint()).unwrap();
    say("saved", &held.job().id);
    held.give_back("no space".into(), Timestamp::UNIX_EPOCH).unwrap();
    let held = queue.claim().unwrap().unwrap();
    held.finish(failure()).unwrap();
    say("ended", &hello);
    let bob = "bob".parse().unwrap();
    assert_eq!(queue.cancel(&world, &bob).unwrap(), Cancellation::Done);
    say("cancelled", &world);
    let hello = submit(queue, "hello");
    say("accepted", &hello);
    let held = queue.claim().unwrap().unwrap();
    assert_eq!(queue.cancel(&hello, &bob).unwrap(), Cancellation::Requested);
    say("asked", &hello);
    drop(held);
    println!("alive");
}

fn say(word: &str, id: &JobId) {
    println!("\n{word} {id}");
}

fn role(queue: &Path, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    as_role(&mut command, queue, role);
    command
}

fn as_role(command: &mut Command, queue: &Path, role: &str) {
    command.args(["--exact", "another_process_plays_its_role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(QUEUE, queue).stdin(Stdio::piped()).stdout(Stdio::piped());
}

/// Returns the ids that a process said with a word.
fn said(output: &str, word: &str) -> Vec<JobId> {
    output.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
}

fn output(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn request(package: &str) -> Request {
    Request {
        pocket: "dev".parse().unwrap(),
        package: package.parse().unwrap(),
        commit: "0123456789".repeat(4).parse().unwrap(),
        principal: "alice@EXAMPLE.ORG".parse().unwrap(),
        adds: None,
    }
}

fn submit(queue: &dyn Queue, package: &str) -> JobId {
    match queue.submit(request(package), &Relations::default()).unwrap() {
        Submission::Accepted(job) => job.id,
        Submission::AlreadyQueued(job) => panic!("{} was queued already", job.id),
    }
}

fn checkpoint() -> Checkpoint {
    let decision = Decision::Copy { from: "staging".parse().unwrap() };
    Checkpoint {
        version: "1:2.0~rc1-1".parse().unwrap(),
        expected_head: None,
        notes: Vec::new(),
        bases: Vec::new(),
        decision,
    }
}

fn failure() -> Outcome {
    Outcome::Failed { stage: Stage::Build, causes: vec!["it does not build".into()], log: None }
}

#[test]
fn submissions_of_many_processes_at_once_are_each_accepted_once() {
    let directory = tempfile::tempdir().unwrap();
    let start = |n: i32| role(directory.path(), &format!("submit p{n}x 25")).spawn().unwrap();
    let children: Vec<Child> = (0..8).map(start).collect();
    let ids: Vec<JobId> = children.into_iter().flat_map(|it| said(&output(it), "accepted")).collect();
    let distinct: BTreeSet<JobId> = ids.iter().cloned().collect();
    assert_eq!((ids.len(), distinct.len()), (200, 200));
    let queue = DirectoryQueue::open(directory.path()).unwrap();
    let pending: BTreeSet<JobId> = queue.pending().unwrap().iter().map(|it| it.job().id.clone()).collect();
    assert_eq!(pending, distinct);
}

#[test]
fn many_processes_share_the_jobs_and_each_job_is_worked_once() {
    let directory = tempfile::tempdir().unwrap();
    let queue = DirectoryQueue::open(directory.path()).unwrap();
    let mut submitted = BTreeSet::new();
    for n in 0..60 {
        let commit = format!("{n:040x}").parse().unwrap();
        let request = Request { commit, ..request(&format!("package{}", n % 5)) };
        submitted.insert(queue.submit(request, &Relations::default()).unwrap().job().id.clone());
    }
    let children: Vec<Child> = (0..4).map(|_| role(directory.path(), "drain").spawn().unwrap()).collect();
    let ended: Vec<JobId> = children.into_iter().flat_map(|it| said(&output(it), "ended")).collect();
    assert_eq!(ended.len(), 60, "each is ended by one process");
    assert_eq!(ended.into_iter().collect::<BTreeSet<_>>(), submitted);
    let mut last: BTreeMap<String, Timestamp> = BTreeMap::new();
    for record in queue.ended(usize::MAX).unwrap().into_iter().rev() {
        let before = last.insert(record.job.request.package.to_string(), record.ended);
        assert!(before <= record.started, "{} began before its package was free", record.job.id);
    }
}

#[test]
fn a_killed_worker_frees_its_job_and_wakes_the_next_worker() {
    let directory = tempfile::tempdir().unwrap();
    let queue = DirectoryQueue::open(directory.path()).unwrap();
    let id = submit(&queue, "hello");
    let mut child = role(directory.path(), "hold").spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let claimed = lines.map_while(Result::ok).find(|line| line.starts_with("claimed"));
    assert_eq!(claimed, Some(format!("claimed {id}")));
    assert!(matches!(queue.find(&id).unwrap(), Some(JobState::Running { alive: true, .. })));
    assert!(queue.claim().unwrap().is_none());

    let begin = Instant::now();
    let stop = Stop::new().unwrap();
    let held = thread::scope(|scope| {
        scope.spawn(|| child.kill().unwrap());
        loop {
            queue.wait(Duration::from_secs(60), &stop).unwrap();
            if let Some(held) = queue.claim().unwrap() {
                break held;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "nobody woke");
        }
    });
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(begin.elapsed() < Duration::from_secs(30), "it took {:?}", begin.elapsed());
    assert_eq!((&held.job().id, held.checkpoint()), (&id, Some(checkpoint())));
}

/// A small file system of its own, unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(directory.path());
        let status = mount.status().unwrap();
        assert!(
            status.success(),
            "this test cannot mount a tmpfs: run it as root, where mount(2) is allowed"
        );
        Self(directory)
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_cleanly_and_loses_nothing() {
    let disk = Disk::mount();
    let path = disk.0.path().join("queue");
    let queue = DirectoryQueue::open(&path).unwrap();
    let first = submit(&queue, "hello");
    let held = queue.claim().unwrap().unwrap();
    let second = submit(&queue, "world");
    let files = || {
        let names = fs::read_dir(&path).unwrap().map(|it| it.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    let before = files();
    disk.fill();
    queue.submit(request("other"), &Relations::default()).unwrap_err();
    assert_eq!(files(), before, "nothing of the refused job is left");
    held.finish(failure()).unwrap_err();
    assert_eq!(queue.pending().unwrap().len(), 2);
    disk.free();
    let other = submit(&queue, "other");
    let ended = drain(&queue);
    assert_eq!(ended.into_iter().map(|it| it.0).collect::<Vec<_>>(), [first, second, other]);
}

/// Ends everything; returns the jobs with their checkpoints.
fn drain(queue: &dyn Queue) -> Vec<(JobId, Option<Checkpoint>, bool)> {
    let mut ended = Vec::new();
    while let Some(held) = queue.claim().unwrap() {
        ended.push((held.job().id.clone(), held.checkpoint(), held.cancelled().is_some()));
        held.finish(Outcome::Current { version: "9".parse().unwrap() }).unwrap();
    }
    ended
}

/// Each process dies just before the n-th call of one system call, for every n until it lives to the end.
fn die_at_every(syscall: &str) {
    for n in 1.. {
        let directory = tempfile::tempdir().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={syscall}")]);
        strace.args(["-e", &format!("inject={syscall}:signal=KILL:when={n}"), "--"]);
        strace.arg(std::env::current_exe().unwrap());
        as_role(&mut strace, directory.path(), "live");
        let output = strace.output().expect("this test needs strace: apt-get install strace");
        let output = String::from_utf8(output.stdout).unwrap();
        check_after(directory.path(), &output, &format!("{syscall} {n}"));
        if output.lines().any(|line| line == "alive") {
            assert!(n > 1, "the role never calls {syscall}");
            println!("{} deaths at {syscall}", n - 1);
            return;
        }
    }
}

/// Checks that whatever the dead process was told is true, and that the others need do nothing but go on.
fn check_after(path: &Path, output: &str, at: &str) {
    let queue = DirectoryQueue::open(path).unwrap();
    let accepted = said(output, "accepted");
    let known: BTreeSet<JobId> = (queue.pending().unwrap().iter().map(|it| it.job().id.clone()))
        .chain(queue.ended(usize::MAX).unwrap().into_iter().map(|it| it.job.id))
        .collect();
    assert!(accepted.iter().all(|it| known.contains(it)), "{at}: an accepted job is lost");
    assert!(known.len() <= accepted.len() + 1, "{at}: {known:?} holds a job too many");

    // Asking again for what may have been accepted gives no second job.
    for state in queue.pending().unwrap() {
        let latest = accepted.last().is_none_or(|last| state.job().id >= *last);
        if latest {
            let again = queue.submit(state.job().request.clone(), &Relations::default()).unwrap();
            assert_eq!(again, Submission::AlreadyQueued(state.job().clone()), "{at}");
        }
    }
    let ended = drain(&queue);
    for (id, checkpoint, cancelled) in &ended {
        let told = |word| said(output, word).contains(id);
        assert!(!told("ended") && !told("cancelled"), "{at}: {id} ended twice");
        assert!(!told("saved") || checkpoint.is_some(), "{at}: the checkpoint of {id} is lost");
        assert!(!told("asked") || *cancelled, "{at}: the request to cancel {id} is lost");
    }
    let records = queue.ended(usize::MAX).unwrap();
    let recorded: BTreeSet<JobId> = records.iter().map(|it| it.job.id.clone()).collect();
    assert_eq!((recorded.len(), &recorded), (records.len(), &known), "{at}: each job ends once");
    let outcome = |word: &str, is: fn(&Outcome) -> bool| {
        let of = said(output, word);
        assert!(
            records.iter().filter(|it| of.contains(&it.job.id)).all(|it| is(&it.outcome)),
            "{at}: {word}"
        );
    };
    outcome("ended", |it| matches!(it, Outcome::Failed { .. }));
    outcome("cancelled", |it| matches!(it, Outcome::Cancelled { .. }));

    assert!(queue.pending().unwrap().is_empty(), "{at}: something is left");
    let left = |directory: &Path| {
        let names = fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        // An unfinished file is removed when it is certain that nobody writes it.
        let ours = [".bell", ".index", ".lock", "ended", "locks", "running"];
        names.filter(|it| !it.starts_with(".new-") && !ours.contains(&&**it)).collect::<Vec<_>>()
    };
    assert_eq!(left(path), [""; 0], "{at}: the queue is empty");
    assert_eq!(left(&path.join("running")), [""; 0], "{at}: no directory is left");
    let later = submit(&queue, "hello");
    assert!(recorded.iter().all(|it| *it < later), "{at}: ids rise");
}

#[test]
fn death_before_a_file_gets_its_name_harms_nothing() {
    die_at_every("rename");
    die_at_every("renameat2");
}

#[test]
fn death_before_a_file_is_removed_harms_nothing() {
    die_at_every("unlink");
    die_at_every("unlinkat");
}

#[test]
fn death_before_a_directory_is_made_harms_nothing() {
    die_at_every("mkdir");
}

#[test]
fn death_before_something_is_synced_harms_nothing() {
    die_at_every("fsync");
}

#[test]
fn death_before_something_is_written_harms_nothing() {
    die_at_every("write");
}
