//! The whole path with real builds: from a commit to what apt installs, and what is left when a build is ended.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use invirtibuilder_tests::apt::{Apt, assert_same_tree};
use invirtibuilder_tests::killing::{BUILT, WatchedWorker};
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// Fails the test if a build left anything.
#[track_caller]
fn assert_nothing_left(site: &Site) {
    assert!(!invirtibuilder_tests::programs::runs(&naptime(site)), "a process of the build still runs");
    assert_eq!(site.scratch(), Vec::<String>::new());
}

/// Returns for how many seconds the builds of a site sleep: a number by which they are known.
fn naptime(site: &Site) -> String {
    let name = site.root().parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let digits = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("{}", 10_000 + digits % 1_000_000)
}

fn site() -> Site {
    let site = Site::new();
    site.share_base();
    site
}

#[test]
fn a_commit_is_built_published_copied_and_installable() {
    let site = site();
    assert!(!site.cli(&["check"]).expect(0).stdout.contains("error"));
    let (hello, commit) = Package::hosted(&site, "hello", "1.0");
    let built = site.submit("dev", "hello", &commit);
    site.work().ok();
    assert_eq!(site.outcome(&built), "published");
    assert!(site.cli(&["log", &built]).ok().contains("dpkg-deb"));
    let copied = site.submit("prod", "hello", &commit);
    site.work().ok();
    assert_eq!(site.job(&copied)["copied_from"], "dev");
    assert_eq!(site.cli(&["log", &copied]).code, Some(5), "a copy has no log, for it was not built");
    let files: Vec<_> = ["dev", "prod"]
        .iter()
        .map(|pocket| {
            let apt = Apt::of_pocket(&site, pocket);
            apt.get(&["--simulate", "install", "hello"]).ok();
            assert_same_tree(&apt.source("hello"), hello.tree());
            apt.download(&["hello"])
        })
        .collect();
    assert_eq!(files[0].len(), 1);
    assert_eq!(files[0], files[1], "a copy has the bytes of its original");
    site.assert_agreement();
    assert_nothing_left(&site);

    // The superproject leads a newcomer to the same commit.
    let clone = site.beside("clone");
    let superproject = site.path("superproject.git");
    let mut git = command("git");
    git.args([
        "-c",
        "protocol.file.allow=always",
        "clone",
        "--quiet",
        "--recurse-submodules",
        "--branch",
        "prod",
    ]);
    run(git.arg(&superproject).arg(&clone)).ok();
    let module = run(command("git").arg("-C").arg(&clone).args(["submodule", "status"])).ok();
    assert!(module.trim_start().starts_with(&commit), "{module}");
}

#[test]
fn a_worker_that_is_killed_while_sbuild_runs_leaves_nothing_and_the_next_one_publishes() {
    let site = site();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    for stage in ["export", "build"] {
        let mut worker = WatchedWorker::start(&mut site.cli_command(&["--json", "work", "--until-empty"]));
        worker.await_stage(BUILT, stage);
        if stage == "build" {
            // The log grows while sbuild runs.
            let mut log = site.cli_command(&["log", "--follow", &job]);
            let mut follower = log.stdout(Stdio::piped()).spawn().unwrap();
            let mut first = [0; 1];
            follower.stdout.take().unwrap().read_exact(&mut first).unwrap();
            follower.kill().unwrap();
            follower.wait().unwrap();
        }
        worker.kill();
        assert_eq!(site.job(&job)["alive"], false);
    }
    site.work().ok();
    assert_eq!(site.outcome(&job), "published");
    assert_eq!(site.json(&["history"]).as_array().unwrap().len(), 1);
    assert_eq!(Apt::of_pocket(&site, "dev").source_version("hello").as_deref(), Some("1.0"));
    site.assert_agreement();
    assert_nothing_left(&site);
}

/// Starts a worker on a package whose build hangs, and returns when it does, with the reader of the log.
fn hanging(site: &Site) -> (String, std::process::Child, impl BufRead + use<>) {
    let hello = Package::new(site, "hello");
    // It sleeps twice, once in a session of its own.
    let nap = naptime(site);
    let commit =
        hello.commit_that("1.0", &format!("echo the build hangs now; setsid sleep {nap} & sleep {nap}"));
    hello.host(site);
    let job = site.submit("dev", "hello", &commit);
    let mut work = site.cli_command(&["work", "--until-empty"]);
    let worker = work.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut log = site.cli_command(&["log", "--follow", &job]);
    let (reading, writing) = std::io::pipe().unwrap();
    let follower = log.stdout(writing).spawn().unwrap();
    // The writing end is the follower's alone.
    drop(log);
    let mut lines = BufReader::new(reading);
    let mut line = String::new();
    while line != "the build hangs now\n" {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the log ended before the build hung");
    }
    // It ends with the job; nobody needs its status.
    std::thread::spawn(move || { follower }.wait());
    (job, worker, lines)
}

#[test]
fn a_build_is_followed_as_it_runs_and_cancelled_without_leaving_anything() {
    let site = site();
    let (job, mut worker, mut log) = hanging(&site);
    assert_eq!(site.job(&job)["stage"], "build");
    site.cli(&["cancel", &job]).ok();
    // The follower ends with the job.
    log.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(site.outcome(&job), "cancelled");
    assert_eq!(worker.wait().unwrap().code(), Some(6));
    assert_nothing_left(&site);
    site.assert_agreement();
}

#[test]
fn a_build_that_takes_too_long_fails_and_leaves_nothing() {
    let site = site();
    site.configure(|text| {
        let limited = text.replace("builder:\n", "builder:\n  limits: { silence: 30s }\n");
        if limited == text { format!("{text}\nbuilder: {{ limits: {{ silence: 30s }} }}\n") } else { limited }
    });
    let (job, mut worker, mut log) = hanging(&site);
    log.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(site.outcome(&job), "failed");
    let shown = site.cli(&["show", &job]).ok();
    assert!(shown.contains("printed nothing for 30 s"), "{shown}");
    assert_eq!(worker.wait().unwrap().code(), Some(6));
    assert_nothing_left(&site);
}

#[test]
fn a_worker_that_is_asked_to_stop_keeps_the_job_and_leaves_no_build() {
    let site = site();
    let (job, mut worker, _log) = hanging(&site);
    let pid = rustix::process::Pid::from_child(&worker);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    worker.wait().unwrap();
    assert_nothing_left(&site);
    let state = site.job(&job);
    assert_eq!((&state["state"], &state["alive"]), (&"running".into(), &false.into()), "{state}");
    site.cli(&["cancel", &job]).ok();
    let ended = site.cli(&["work", "--until-empty"]);
    assert_eq!((ended.code, site.outcome(&job).as_str()), (Some(6), "cancelled"));
}

#[test]
fn real_native_packages_are_built_published_and_copied_side_by_side() {
    const PACKAGES: [(&str, &str); 3] =
        [("hostname", "hostname"), ("ucf", "ucf"), ("init-system-helpers", "init")];
    let site = Site::new();
    site.build_by_overlay();
    // Two of them are packages of the base: the pockets say that they mean it.
    site.configure(|text| {
        text.replace("      base: ", "      may_replace: [hostname, init-system-helpers, init]\n      base: ")
    });
    let mut packages = Vec::new();
    for (source, binary) in PACKAGES {
        let package = Package::of_tree(
            source,
            Apt::of_debian_sources(site.beside("debian").join(source)).source(source),
        );
        let commit = package.commit_all("as Debian has it");
        package.host(&site);
        let job = site.submit("dev", source, &commit);
        packages.push((package, binary, commit, job));
    }
    site.cli(&["work", "--until-empty", "--jobs", "2"]).ok();
    for (package, _, commit, job) in &packages {
        assert_eq!(site.outcome(job), "published", "{}", package.name());
        let copy = site.submit("prod", package.name(), commit);
        site.work().ok();
        assert_eq!(site.job(&copy)["copied_from"], "dev");
    }
    let pockets = ["dev", "prod"].map(|pocket| Apt::of_pocket(&site, pocket));
    for (package, binary, ..) in &packages {
        let files = pockets.each_ref().map(|apt| {
            assert_same_tree(&apt.source(package.name()), package.tree());
            apt.download(&[*binary])
        });
        assert_eq!(files[0], files[1], "{}", package.name());
    }
    site.assert_agreement();
    assert_nothing_left(&site);
    let held = site.json(&["pocket", "show", "prod"]);
    assert_eq!(held["packages"].as_array().unwrap().len(), PACKAGES.len());
    assert!(fs::read_dir(site.path("logs")).unwrap().count() >= PACKAGES.len());
}

/// Returns shell commands that make a package by hand and let it be a result of the build.
fn made_by_hand(package: &str, version: &str) -> String {
    let control = format!(
        "Package: {package}\\nSource: hello (1.0)\\nVersion: {version}\\nArchitecture: all\\nMaintainer: A <a@example.org>\\nDescription: x\\n"
    );
    format!(
        "mkdir -p debian/{package}/DEBIAN; printf '{control}' > debian/{package}/DEBIAN/control; dpkg-deb --root-owner-group -b debian/{package} ..; echo {package}_{version}_all.deb misc optional >> debian/files"
    )
}

#[test]
fn what_a_hostile_build_leaves_is_refused_and_nothing_is_published() {
    let site = Site::new();
    site.build_by_overlay();
    let (hello, good) = Package::hosted(&site, "hello", "0.9");
    site.submit("prod", "hello", &good);
    site.work().ok();
    let refs = || site.git(&site.repository("hello"), &["rev-parse", "refs/heads/prod"]).ok();
    let served = || fs::read(site.path("archive/dists/prod/InRelease")).unwrap();
    let before = (refs(), served());
    let failed = |does: &str| {
        let commit = hello.commit_that("1.0", does);
        hello.push(&site);
        let job = site.submit("prod", "hello", &commit);
        assert_eq!(site.work().code, Some(6), "{does}");
        assert!((refs(), served()) == before, "{does} changed something");
        assert_nothing_left(&site);
        site.cli(&["show", &job]).ok()
    };
    // A package that nobody declared, with a version of its own, and one of the base.
    let shown = failed(&format!("{}; {}", made_by_hand("evil", "9"), made_by_hand("bash", "1.0")));
    for reason in [
        "evil_9_all.deb is the package evil, which debian/control of the commit does not declare",
        "evil_9_all.deb has the version 9, and its source 1.0",
        "bash_1.0_all.deb is the package bash, which",
        "bash is a package of the base",
    ] {
        assert!(shown.contains(reason), "{reason}: {shown}");
    }
    // A link out of the build: nobody follows it.
    let link = "ln -s /etc/passwd ../evil_9_all.deb; echo evil_9_all.deb misc optional >> debian/files";
    let shown = failed(link);
    assert!(
        shown.contains("evil_9_all.deb does not match") && shown.contains("stage        build"),
        "{shown}"
    );
    // A way out of the directory.
    let shown = failed("echo ../../../../etc/hostname misc optional >> debian/files");
    assert!(shown.contains("stage        build"), "{shown}");
    site.assert_agreement();
}

#[test]
fn a_build_that_goes_on_changing_its_results_publishes_what_was_checked_or_nothing() {
    let site = site();
    let hello = Package::new(&site, "hello");
    let change = "(setsid sh -c 'while sleep 0.01; do for f in ../*.changes; do test -e $$f && echo Evil: yes >> $$f; done; done' > /dev/null 2>&1 &)";
    let commit = hello.commit_that("1.0", change);
    hello.host(&site);
    let job = site.submit("prod", "hello", &commit);
    // Whoever is faster: the build is over when its results are read. sbuild itself may stumble over what it reads, and
    // then the job is given back.
    let _either = site.work();
    assert_nothing_left(&site);
    site.assert_agreement();
    let state = site.job(&job);
    if state["state"] == "ended" && site.outcome(&job) == "published" {
        Apt::of_pocket(&site, "prod").get(&["--simulate", "install", "hello"]).ok();
    }
}
