//! How long a pocket takes to answer: `cargo bench -p invirtibuilder-core --features conformance --bench git`.
//!
//! Prints medians in milliseconds. Real git makes the repositories.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a program that measures")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use invirtibuilder_core::conformance::pocket::published;
use invirtibuilder_core::names::{CommitId, PackageName, PocketName, Version};
use invirtibuilder_core::pocket::Pocket;
use invirtibuilder_core::pocket::git::{GitSite, Tagger};
use invirtibuilder_core::policy::{Building, PocketSpec, Policy};
use invirtibuilder_core::repository::{Hooks, Repositories};

const PACKAGES: usize = 1000;
const COMMITS: usize = 10_000;

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("repositories")).expect("a directory");
    let repositories = Repositories::open(&directory.path().join("repositories")).expect("repositories");
    let site = site(&repositories, directory.path().join("super.git"));
    let prod = site.pocket(&"prod".parse().expect("a name")).expect("a pocket");
    let dev = site.pocket(&"dev".parse().expect("a name")).expect("a pocket");
    let version: Version = "1.0".parse().expect("a version");
    let mut times = Vec::new();
    for number in 0..PACKAGES {
        let package: PackageName = format!("package{number}").parse().expect("a name");
        let path = create(&repositories, &package);
        let commit = import(&path, &package, 1);
        let number = u32::try_from(number).expect("a small number");
        let started = Instant::now();
        prod.record(&published(&prod, &package, &version, &commit, None, number)).expect("recorded");
        times.push(started.elapsed().as_secs_f64());
        dev.record(&published(&dev, &package, &version, &commit, None, number)).expect("recorded");
    }
    report("record, the first 1,000", times);
    report("contents of 1,000 packages, a pocket that keeps tags", measure(9, || drop(prod.contents())));
    report("contents of 1,000 packages, a pocket that may go back", measure(9, || drop(dev.contents())));
    report("history, all", measure(9, || drop(prod.history(usize::MAX))));

    let package: PackageName = "long".parse().expect("a name");
    let path = create(&repositories, &package);
    let tip = import(&path, &package, COMMITS);
    git(&path, &["update-ref", "refs/heads/prod", &format!("{tip}~3")]);
    let near: CommitId = git(&path, &["rev-parse", &format!("{tip}~2")]).parse().expect("an id");
    let old: CommitId = git(&path, &["rev-parse", &format!("{tip}~9000")]).parse().expect("an id");
    let survey = |commit: &CommitId| drop(prod.survey(&package, commit).expect("a survey"));
    report("survey of the tip of 10,000 commits", measure(21, || survey(&tip)));
    report("survey near the tip of 10,000 commits", measure(21, || survey(&near)));
    report("survey 9,000 commits below the tip", measure(5, || survey(&old)));
}

fn site(repositories: &Repositories, superproject: PathBuf) -> Arc<GitSite> {
    let spec = |name: &str, allow_backtracking| PocketSpec {
        name: name.parse().expect("a name"),
        branch: name.parse().expect("a name"),
        suite: name.parse().expect("a name"),
        components: vec!["main".parse().expect("a name")],
        architectures: Vec::new(),
        base: "bookworm".parse().expect("a name"),
        policy: Policy { allow_backtracking, ..Policy::default() },
        building: Building::default(),
    };
    let pockets: BTreeMap<PocketName, PocketSpec> =
        [spec("prod", false), spec("dev", true)].into_iter().map(|it| (it.name.clone(), it)).collect();
    let tagger = Tagger::new("Bench", "bench@example.org").expect("a tagger");
    GitSite::new(repositories.clone(), superproject, pockets, tagger, "")
}

fn create(repositories: &Repositories, package: &PackageName) -> PathBuf {
    let hooks = Hooks { program: "/bin/true".into(), config: "/dev/null".into() };
    repositories.create(package, &hooks).expect("a repository")
}

/// Makes a history of a package by `git fast-import`, and returns its tip.
fn import(path: &Path, package: &PackageName, commits: usize) -> CommitId {
    let changelog = format!(
        "{package} (1.0) unstable; urgency=medium\n\n  * A bench.\n\n -- Nobody <n@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
    );
    let control = format!(
        "Source: {package}\nMaintainer: N <n@example.org>\n\nPackage: {package}\nArchitecture: all\nDescription: x\n"
    );
    let mut stream = String::new();
    for number in 0..commits {
        let text = format!("{number}\n");
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata 2\nx\n",
            1_700_000_000 + number * 60
        );
        for (file, text) in [("debian/changelog", &changelog), ("debian/control", &control), ("file", &text)]
        {
            let _ = write!(stream, "M 100644 inline {file}\ndata {}\n{text}\n", text.len());
        }
    }
    let mut child = Command::new("git")
        .arg("-C")
        .arg(path)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git starts");
    child.stdin.take().expect("a pipe").write_all(stream.as_bytes()).expect("git reads");
    assert!(child.wait().expect("git ends").success());
    git(path, &["rev-parse", "refs/heads/main"]).parse().expect("an id")
}

fn git(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(path).args(arguments).output().expect("git starts");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn measure(times: usize, what: impl Fn()) -> Vec<f64> {
    let once = |_| {
        let started = Instant::now();
        what();
        started.elapsed().as_secs_f64()
    };
    (0..times).map(once).collect()
}

fn report(what: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
    println!("{:9.2} ms  {what}", median * 1000.0);
}
