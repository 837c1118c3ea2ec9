//! Workers that are killed while a job is published: after a restart nothing shows it.
//!
//! Packages are built in no time here; workers that are killed while sbuild runs are in `end_to_end_sbuild`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::process::Command;

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::killing::{COPIED, RESUMED, WatchedWorker, chosen, kill_at, moments};
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::sites::Site;

/// How many moments of each kind of job are tried, if nobody asks for all.
const SOME: usize = 20;

/// Fails the test unless a pocket is as after the one publication that a job asked for.
#[track_caller]
fn assert_published_once(
    site: &Site,
    apt: &Apt,
    (pocket, version): (&str, &str),
    job: &str,
    publications: usize,
) {
    assert_eq!(site.outcome(job), "published", "job {job}");
    assert_eq!(site.queued(), [""; 0]);
    let history = site.json(&["history", "--pocket", pocket, "--limit", "10000"]);
    let history = history.as_array().unwrap();
    assert_eq!(history.iter().filter(|it| it["job"] == job).count(), 1, "in the history of {pocket}");
    assert_eq!(history.len(), publications);
    let recorded = site.git(&site.path("superproject.git"), &["rev-list", "--count", pocket]);
    // The first commit of the superproject's branch publishes nothing only if it is an empty beginning.
    let recorded: usize = recorded.ok().trim().parse().unwrap();
    assert!(
        recorded == publications || recorded == publications + 1,
        "{recorded} commits for {publications}"
    );
    assert_eq!(apt.source_version("hello").as_deref(), Some(version));
    site.assert_agreement();
}

/// Publishes version after version in a pocket. Each time the worker is killed at another moment, and started again.
fn sweep(pocket: &str, prepare: impl Fn(&Site, &str), worker: impl Fn(&Site) -> Command) {
    let site = Site::new();
    let (hello, first) = Package::hosted(&site, "hello", "1");
    prepare(&site, &first);
    site.submit(pocket, "hello", &first);
    let all = moments(&worker(&site), &site.beside("trace"));
    assert!(all.len() > 50, "only {} moments", all.len());
    let moments = chosen(&all, SOME);
    let apt = Apt::of_pocket(&site, pocket);
    let mut killed = 0;
    for (moment, n) in moments.iter().zip(2..) {
        let version = n.to_string();
        let commit = hello.publishable(&site, &version);
        prepare(&site, &commit);
        let job = site.submit(pocket, "hello", &commit);
        killed += usize::from(kill_at(&worker(&site), moment));
        // Readers see the state before or after, and nothing else.
        let seen = apt.source_version("hello").unwrap();
        assert!(
            seen == version || seen == (n - 1).to_string(),
            "apt sees {seen} while {version} is published"
        );
        let restarted = worker(&site).output().unwrap();
        assert!(restarted.status.success(), "after {moment}: {restarted:?}");
        assert_published_once(&site, &apt, (pocket, &version), &job, n);
    }
    // Threads share the work otherwise each time, and a moment is a count of one thread's calls.
    assert!(killed * 2 >= moments.len(), "only {killed} of {} workers were killed", moments.len());
}

#[test]
fn a_build_that_is_killed_at_any_change_of_a_file_ends_as_if_it_had_not_been() {
    sweep("dev", |_, _| (), Site::quick_worker);
}

#[test]
fn a_copy_that_is_killed_at_any_change_of_a_file_ends_as_if_it_had_not_been() {
    let publish_in_dev = |site: &Site, commit: &str| {
        site.submit("dev", "hello", commit);
        site.work_quickly().ok();
    };
    sweep("prod", publish_in_dev, |site| site.cli_command(&["work", "--until-empty"]));
}

#[test]
fn an_architecture_that_comes_later_comes_once_whenever_its_worker_is_killed() {
    let site = Site::new();
    site.configure(|text| {
        text.replace(
            "    dev:\n",
            "    dev:\n      architectures: [amd64]\n      optional_architectures: [arm64]\n",
        )
    });
    let worker = || {
        let mut command = site.quick_worker();
        command.env("INVIRTIBUILDER_TEST_ARCHITECTURES", "each");
        command
    };
    let (hello, _) = Package::hosted(&site, "hello", "0");
    let publishable = |version: &str| {
        hello.commit(version);
        let control = hello.tree().join("debian/control");
        let text = std::fs::read_to_string(control).unwrap();
        hello.write("debian/control", &text.replace("Architecture: all", "Architecture: any"));
        let commit = hello.commit_all("for each architecture");
        hello.push(&site);
        commit
    };
    site.submit("dev", "hello", &publishable("1"));
    // The job publishes, and submits the one that adds, which the same worker then works.
    let all = moments(&worker(), &site.beside("trace"));
    assert!(all.len() > 50, "only {} moments", all.len());
    let mut killed = 0;
    let moments = chosen(&all, SOME);
    for (moment, n) in moments.iter().zip(2..) {
        let job = site.submit("dev", "hello", &publishable(&n.to_string()));
        killed += usize::from(kill_at(&worker(), moment));
        let restarted = worker().output().unwrap();
        assert!(restarted.status.success(), "after {moment}: {restarted:?}");
        assert_eq!(site.outcome(&job), "published", "after {moment}");
        assert_eq!(site.queued(), [""; 0], "after {moment}");
        let index = site.path("archive/dists/dev/main/binary-arm64/Packages.gz");
        let index = Command::new("gzip").arg("-dc").arg(index).output().unwrap();
        let index = String::from_utf8(index.stdout).unwrap();
        assert!(index.contains(&format!("\nVersion: {n}\n")), "after {moment}: {index}");
        let history = site.json(&["history", "--pocket", "dev", "--limit", "10000"]);
        assert_eq!(history.as_array().unwrap().len(), 2 * n, "after {moment}: {history:#}");
        site.assert_agreement();
    }
    assert!(killed * 2 >= moments.len(), "only {killed} of {} workers were killed", moments.len());
}

#[test]
fn a_copy_that_is_killed_in_each_of_its_stages_is_published_once() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    let job = site.submit("prod", "hello", &commit);
    let work = || WatchedWorker::start(&mut site.cli_command(&["--json", "work", "--until-empty"]));
    work().kill_in(COPIED, "validate");
    let mut stages = COPIED;
    for stage in ["publish", "record", "announce"] {
        let worker = work();
        let state = site.job(&job);
        assert_ne!(state["state"], "ended", "{state}");
        worker.kill_in(stages, stage);
        stages = RESUMED;
    }
    site.work().ok();
    assert_published_once(&site, &Apt::of_pocket(&site, "prod"), ("prod", "1.0"), &job, 1);
    site.work().ok();
    assert_published_once(&site, &Apt::of_pocket(&site, "prod"), ("prod", "1.0"), &job, 1);
}

#[test]
fn a_worker_that_is_killed_while_a_hook_runs_runs_it_again() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let (gate, heard) = (site.beside("gate"), site.beside("heard"));
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let text = format!(
        "#!/bin/sh\necho $INVIRTIBUILDER_JOB >> {}\nif [ -p {gate} ]; then cat {gate}; fi\n",
        heard.display(),
        gate = gate.display()
    );
    site.hook("published", "wait", &text);
    let job = site.submit("dev", "hello", &commit);
    let mut worker = site.quick_worker().spawn().unwrap();
    // This returns when the hook opens its end.
    let opened = std::fs::OpenOptions::new().write(true).open(&gate).unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    std::fs::remove_file(&gate).unwrap();
    drop(opened);
    site.work_quickly().ok();
    assert_eq!(std::fs::read_to_string(&heard).unwrap(), format!("{job}\n{job}\n"));
    assert_published_once(&site, &Apt::of_pocket(&site, "dev"), ("dev", "1.0"), &job, 1);
}
