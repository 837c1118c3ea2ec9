//! How long the directory queue takes, on the file system of the temporary directory: prints medians.
#![allow(clippy::disallowed_methods, reason = "it makes files that need not be durable")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use invirtibuilder_core::job::{Outcome, Relations, Request, Stage};
use invirtibuilder_core::queue::Queue;
use invirtibuilder_core::queue::directory::DirectoryQueue;

const MANY: usize = 10_000;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let open = |name: &str| DirectoryQueue::open(&directory.path().join(name)).expect("the queue opens");

    let queue = open("submit");
    report("submit, durable, one after the other", &median(500, |n| submit(&queue, &format!("p{n}"), n)));
    let queue = open("at-once");
    let begin = Instant::now();
    thread::scope(|scope| {
        for thread in 0..8 {
            let queue = &queue;
            scope.spawn(move || (0..25).for_each(|n| submit(queue, &format!("p{thread}x{n}"), n)));
        }
    });
    report("submit, 200 at once from 8 threads, all", &begin.elapsed());

    let (distinct, busy) = (directory.path().join("distinct"), directory.path().join("busy"));
    let package = |n: usize| format!("package{n}");
    fill(&distinct, &package);
    claims("10,000 packages", &distinct);
    fill(&busy, &|n| if n + 1 < MANY { "busy".to_owned() } else { "idle".to_owned() });
    let worker = open("busy").claim().expect("claiming works").expect("there is a job");
    claims("9,999 jobs of a busy package", &busy);
    drop(worker);
}

/// Makes many waiting jobs, as a person could.
fn fill(path: &Path, package: &dyn Fn(usize) -> String) {
    DirectoryQueue::open(path).expect("the queue opens");
    for n in 0..MANY {
        let (package, principal) = (package(n), "alice@EXAMPLE.ORG");
        let job = format!("pocket: dev\npackage: {package}\ncommit: {n:040x}\nprincipal: {principal}\n");
        std::fs::write(path.join(format!("20260101000000_{n:06}")), job).expect("the disk has space");
    }
}

fn claims(what: &str, path: &Path) {
    let mut cold = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let queue = DirectoryQueue::open(path).expect("the queue opens");
        drop(queue.claim().expect("claiming works").expect("there is a job"));
        cold.push(begin.elapsed());
    }
    report(&format!("first claim after opening, {what}"), &middle(cold));
    let queue = DirectoryQueue::open(path).expect("the queue opens");
    drop(queue.claim().expect("claiming works"));
    let warm = median(50, |_| drop(queue.claim().expect("claiming works").expect("there is a job")));
    report(&format!("claim of a job that a dead worker had, {what}"), &warm);
    report(&format!("list of what is pending, {what}"), &median(10, |_| drop(queue.pending())));
    let mut taken = Vec::new();
    for _ in 0..50 {
        let begin = Instant::now();
        let Some(held) = queue.claim().expect("claiming works") else { break };
        taken.push(begin.elapsed());
        let causes = vec!["a benchmark".to_owned()];
        held.finish(Outcome::Failed { stage: Stage::Build, causes, log: None }).expect("finishing works");
    }
    report(&format!("claim of a waiting job, {what}"), &middle(taken));
}

fn submit(queue: &DirectoryQueue, package: &str, n: usize) {
    let valid = "the benchmark's names are valid";
    let request = Request {
        pocket: "dev".parse().expect(valid),
        package: package.parse().expect(valid),
        commit: format!("{n:040x}").parse().expect(valid),
        principal: "alice@EXAMPLE.ORG".parse().expect(valid),
        adds: None,
    };
    queue.submit(request, &Relations::default()).expect("submitting works");
}

fn median(times: usize, mut act: impl FnMut(usize)) -> Duration {
    let measure = |n| {
        let begin = Instant::now();
        act(n);
        begin.elapsed()
    };
    middle((0..times).map(measure).collect())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn report(what: &str, time: &Duration) {
    println!("{:>10.3} ms  {what}", time.as_secs_f64() * 1e3);
}
