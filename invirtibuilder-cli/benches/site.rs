//! How fast a whole site is: `submit` as a process, `verify`, and what a job costs beside its build.
//!
//! `cargo bench -p invirtibuilder-cli --bench site [-- PACKAGES]` makes a site of 1,000 packages in two pockets below
//! the temporary directory, which takes some minutes, and prints medians.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::fmt::Write as _;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use invirtibuilder_core::access::{Acl, Member};
use invirtibuilder_core::config::{Config, Host};
use invirtibuilder_core::job::{Job, Outcome, Stage};
use invirtibuilder_core::memory::{Memory, MemoryBuilder};
use invirtibuilder_core::pipeline::Observer;
use invirtibuilder_core::site::Site;
use invirtibuilder_core::stop::Stop;
use invirtibuilder_core::worker::Until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_invirtibuilder");
/// How many commits the repository has that `submit` is measured on.
const COMMITS: usize = 10_000;

fn main() {
    let packages = std::env::args().find_map(|it| it.parse().ok()).unwrap_or(1000);
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("site");
    run(Command::new(PROGRAM).arg("init").arg(&site));
    let config = site.join("invirtibuilder.yaml");
    let bench = Bench { directory: directory.path().to_owned(), config };

    println!("making {packages} packages in two pockets");
    for n in 0..packages {
        bench.make_package(&format!("package{n:05}"), 1);
    }
    let mut jobs = bench.publish("dev");
    bench.publish("prod");
    report("a job beside its build, from claim to published", &mut jobs);

    bench.make_package("deep", COMMITS);
    report(
        &format!("submit, a process, {COMMITS} commits, at the tip"),
        &mut bench.submissions("deep", COMMITS),
    );
    report("submit, the same, 9,000 commits below the tip", &mut bench.submissions("deep", COMMITS - 9_000));
    let mut verify: Vec<Duration> =
        (0..7).map(|_| time(Command::new(PROGRAM).arg("verify"), &bench.config)).collect();
    report(&format!("verify, a process, {packages} packages in two pockets"), &mut verify);
}

struct Bench {
    directory: PathBuf,
    config: PathBuf,
}

impl Bench {
    /// Makes a hosted repository with a chain of commits, each of a version of its own.
    fn make_package(&self, package: &str, commits: usize) {
        run(self.command(&["repo", "create", package]));
        let repository = self.repository(package);
        let mut import = Command::new("git")
            .args(["fast-import", "--quiet", "--force"])
            .current_dir(repository)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        import.stdin.take().unwrap().write_all(stream(package, commits).as_bytes()).unwrap();
        assert!(import.wait().unwrap().success());
    }

    fn repository(&self, package: &str) -> PathBuf {
        self.directory.join("site/repositories").join(format!("{package}.git"))
    }

    /// Returns the id of the n-th commit, counted from one.
    fn commit(&self, package: &str, n: usize) -> String {
        let output = Command::new("git")
            .args(["rev-parse", &format!("v{n}")])
            .current_dir(self.repository(package))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    /// Submits the tip of every package to a pocket, works all, and returns how long each job took.
    fn publish(&self, pocket: &str) -> Vec<Duration> {
        let site = Site::open(Config::load(&self.config, &Host::detect().unwrap()).unwrap()).unwrap();
        // A builder that takes no time, so that everything else is what is measured.
        let site = site.with_builder(Box::new(MemoryBuilder(Memory::new().unwrap())));
        let principal = site.config().acls.values().find_map(|acl| match acl {
            Acl::Members(members) => members.iter().find_map(|it| match it {
                Member::Principal(it) => Some(it.clone()),
                _ => None,
            }),
            _ => None,
        });
        let principal = principal.unwrap();
        for package in site.repositories().unwrap() {
            let commit = self.commit(package.as_str(), 1);
            let words = invirtibuilder_core::site::Words {
                pocket,
                package: package.as_str(),
                commit: &commit,
                principal: &principal,
            };
            site.submit(words).unwrap();
        }
        let clock = Clock::default();
        let worked =
            site.worker(NonZeroUsize::MIN, &clock).unwrap().run(Until::Empty, &Stop::new().unwrap()).unwrap();
        assert!(worked.outcomes.iter().all(|it| matches!(it, Outcome::Published { .. })), "{worked:?}");
        clock.took.into_inner().unwrap()
    }

    /// Submits a commit again and again; each job is cancelled, so that the next submission is a new one.
    fn submissions(&self, package: &str, n: usize) -> Vec<Duration> {
        let commit = self.commit(package, n);
        let submit = |_| {
            let begun = Instant::now();
            let output = self.command(&["submit", "prod", package, &commit]).output().unwrap();
            let took = begun.elapsed();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            run(self.command(&["cancel", String::from_utf8(output.stdout).unwrap().trim()]));
            took
        };
        (0..21).map(submit).collect()
    }
}

/// Returns a stream for git-fast-import(1).
fn stream(package: &str, commits: usize) -> String {
    let mut stream = String::new();
    for n in 1..=commits {
        let time = 1_700_000_000 + n * 60;
        let changelog = format!(
            "{package} (1.{n}) unstable; urgency=medium\n\n  * Version {n}.\n\n -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
        );
        let control = format!(
            "Source: {package}\nMaintainer: Nobody <nobody@example.org>\nSection: misc\nPriority: optional\n\nPackage: {package}\nArchitecture: all\nDescription: made for a benchmark\n"
        );
        writeln!(
            stream,
            "commit refs/heads/main\ncommitter Nobody <nobody@example.org> {time} +0000\ndata 2\nv\n"
        )
        .unwrap();
        let files = [
            ("debian/changelog", changelog),
            ("debian/control", control),
            ("debian/source/format", "3.0 (native)\n".to_owned()),
        ];
        for (path, content) in files {
            writeln!(stream, "M 100644 inline {path}\ndata {}\n{content}", content.len()).unwrap();
        }
        if n == 1 || n == commits || n + 9_000 == commits {
            writeln!(stream, "reset refs/heads/v{n}\nfrom refs/heads/main\n").unwrap();
        }
    }
    stream
}

/// Measures each job from its claim to its end.
#[derive(Debug, Default)]
struct Clock {
    begun: std::sync::Mutex<Option<Instant>>,
    took: std::sync::Mutex<Vec<Duration>>,
}

impl Observer for Clock {
    fn claimed(&self, _: &Job) {
        *self.begun.lock().unwrap() = Some(Instant::now());
    }
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {
        let begun = self.begun.lock().unwrap().take().unwrap();
        self.took.lock().unwrap().push(begun.elapsed());
    }
    fn given_back(&self, _: &Job, _: &str, _: jiff::Timestamp) {}
}

fn run(mut command: impl std::borrow::BorrowMut<Command>) {
    let output = command.borrow_mut().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn time(command: &mut Command, config: &Path) -> Duration {
    command.env("INVIRTIBUILDER_CONFIG", config);
    let begun = Instant::now();
    run(command);
    begun.elapsed()
}

fn report(what: &str, samples: &mut [Duration]) {
    samples.sort();
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = ((samples.len() - 1) as f64 * share) as usize;
        samples.get(index).map_or(0.0, |it| it.as_secs_f64() * 1000.0)
    };
    println!("{what:<70} median {:8.1} ms   90 % {:8.1} ms   ({} times)", at(0.5), at(0.9), samples.len());
}
