//! What a hostile build leaves is refused with every reason at once, and nothing has changed: neither a byte of the
//! archive nor a branch; the log and the record are kept, and the hooks are told.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use invirtibuilder_core::policy::ArchitecturePattern;
use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// What `debian/control` of hello declares besides hello itself.
const DECLARED: &str = "
Package: hello-more
Architecture: all
Description: made for a test

Package: hello-any
Architecture: any
Description: made for a test

Package: libother1
Architecture: all
Description: made for a test
";

/// A site that publishes hello 1.0, and other, which makes libother1; and a commit of hello 1.1.
struct World {
    site: Site,
    commit: String,
}

impl World {
    fn new() -> Self {
        let site = Site::new();
        let (hello, first) = Package::hosted(&site, "hello", "1.0");
        let other = Package::new(&site, "libother1");
        let owner = other.commit("1.0");
        other.host(&site);
        for (package, commit) in [("hello", &first), ("libother1", &owner)] {
            site.submit("prod", package, commit);
        }
        site.work_quickly().ok();
        hello.commit("1.1");
        let control = fs::read_to_string(hello.tree().join("debian/control")).unwrap();
        hello.write("debian/control", &(control + DECLARED));
        let commit = hello.commit_all("more packages");
        hello.push(&site);
        site.hook("failed", "tell", &format!("#!/bin/sh\ncat >> {}\n", site.beside("told").display()));
        Self { site, commit }
    }

    /// Works hello 1.1 with a builder that leaves this, in a base with bash, and returns the id of the job.
    fn build(&self, output: &str) -> String {
        let job = self.site.submit("prod", "hello", &self.commit);
        let mut worker = self.site.quick_worker();
        worker.env("INVIRTIBUILDER_TEST_OUTPUT", output).env("INVIRTIBUILDER_TEST_BASE", "bash libc6");
        run(&mut worker).ok();
        job
    }

    /// Everything that a job may not change unless it succeeds.
    fn picture(&self) -> (BTreeMap<PathBuf, Vec<u8>>, String, String) {
        let refs = |repository: &Path| self.site.git(repository, &["for-each-ref"]).ok();
        let own = refs(&self.site.repository("hello"));
        (files(&self.site.path("archive")), own, refs(&self.site.path("superproject.git")))
    }

    /// Fails the test unless a build that leaves this fails for exactly these reasons, and changes nothing.
    #[track_caller]
    fn refuses(&self, output: &str, reasons: &[&str]) {
        let before = self.picture();
        let _ = fs::remove_file(self.site.beside("told"));
        let job = self.build(output);
        let shown = self.site.job(&job);
        assert_eq!(
            (&shown["outcome"], &shown["stage"]),
            (&"failed".into(), &"build".into()),
            "{output}: {shown}"
        );
        let causes: Vec<&str> =
            shown["causes"].as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
        assert_eq!(causes.len(), reasons.len() + 1, "{output}: {causes:#?}");
        assert!(causes[0].contains("nothing of it is published"), "{output}: {causes:#?}");
        for reason in reasons {
            assert!(causes[1..].iter().any(|it| it.contains(reason)), "{output}: {reason}: {causes:#?}");
        }
        assert!(self.picture() == before, "{output} changed something");
        assert!(self.site.cli(&["log", &job]).ok().contains("building hello 1.1"), "{output} has no log");
        let told = fs::read_to_string(self.site.beside("told")).unwrap();
        assert!(told.contains(&job) && told.contains("nothing of it is published"), "{output}: {told}");
        self.site.assert_agreement();
    }
}

/// Returns the content of every file below a directory.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            found.insert(path, target);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

#[test]
fn files_that_are_not_what_changes_say_are_refused() {
    let world = World::new();
    // A link, also to a good package; what is no package; a way out; another file than was hashed.
    world.refuses("link", &["hello_1.1_all.deb: it is a link, not a regular file"]);
    world.refuses("no-package", &["hello-more_1.1_all.deb: it is not a Debian package"]);
    world.refuses("traversal", &["\"../../../../../etc/hostname\" is not a valid file name"]);
    world.refuses("rewritten", &["hello_1.1_all.deb: it has"]);
    world.refuses("absent", &["hello_1.1_all.deb: it cannot be read"]);
    world.refuses(
        "renamed",
        &["hello-less_1.1_all.deb has the control information of hello-more_1.1_all.deb"],
    );
    world.refuses("directory", &["hello_1.1_all.deb: it is not a regular file"]);
}

#[test]
fn pipes_and_devices_are_refused_and_nobody_waits_for_them() {
    let world = World::new();
    let started = Instant::now();
    world.refuses("pipe", &["hello_1.1_all.deb: it is not a regular file"]);
    if rustix::process::geteuid().is_root() {
        world.refuses("device", &["hello_1.1_all.deb: it is not a regular file"]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_file_without_end_is_refused_before_anybody_reads_it() {
    let world = World::new();
    let started = Instant::now();
    world.refuses(
        "huge",
        &["and 4294967296 are allowed; make it leave less, or raise builder.limits.results"],
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn packages_that_the_commit_does_not_declare_so_are_refused() {
    let world = World::new();
    world.refuses(
        "undeclared",
        &["evil_1.1_all.deb is the package evil, which debian/control of the commit does not"],
    );
    world.refuses("version", &["hello-more_9_all.deb has the version 9, and its source 1.1"]);
    world.refuses("rebuild", &["has the version 1.1+b1, and its source 1.1"]);
    world.refuses("architecture", &["which prod is not for"]);
    world.refuses("source", &["says that it comes from other 1.1, not from hello 1.1"]);
    world.refuses("udeb", &["hello-more_1.1_all.udeb is a udeb, but debian/control of the commit declares"]);
    world
        .site
        .configure(|text| text.replace("      apt: prod\n", "      apt: prod\n      binary_versions: any\n"));
    let job = world.build("version");
    assert_eq!(world.site.outcome(&job), "published", "{}", world.site.job(&job));
    world.site.assert_agreement();
}

#[test]
fn names_that_belong_to_others_are_refused_and_the_owner_is_named() {
    let world = World::new();
    world.refuses(
        "owned",
        &["prod serves the package libother1 from the source package libother1; publish a version"],
    );
    world.refuses(
        "base",
        &["bash_1.1_all.deb is the package bash, which", "bash is a package of the base bookworm"],
    );
    world.refuses("essential", &["hello-more_1.1_all.deb says that no system can do without it"]);
}

#[test]
fn a_build_that_breaks_many_rules_hears_of_all_of_them_at_once() {
    let world = World::new();
    world.refuses(
        "undeclared,owned,base,version,architecture,rewritten",
        &[
            "evil_1.1_all.deb",
            "libother1",
            "bash_1.1_all.deb is",
            "bash is a package of the base",
            "hello-more_9_all.deb",
            "prod is not for",
            "with SHA-256",
        ],
    );
}

#[test]
fn a_commit_that_declares_a_package_of_the_base_needs_the_pocket_s_word() {
    let world = World::new();
    let (bash, commit) = Package::hosted(&world.site, "bash", "9");
    let before = world.picture();
    let job = world.site.submit("prod", "bash", &commit);
    let mut worker = world.site.quick_worker();
    run(worker.env("INVIRTIBUILDER_TEST_BASE", "bash")).ok();
    let shown = world.site.job(&job);
    assert_eq!(shown["outcome"], "rejected", "{shown}");
    assert!(
        shown["reasons"][0].as_str().unwrap().contains("add it to build.pockets.prod.may_replace"),
        "{shown}"
    );
    assert!(world.picture() == before);
    world
        .site
        .configure(|text| text.replace("      apt: prod\n", "      apt: prod\n      may_replace: [bash]\n"));
    let job = world.site.submit("prod", "bash", &commit);
    run(worker.env("INVIRTIBUILDER_TEST_BASE", "bash")).ok();
    assert_eq!(world.site.outcome(&job), "published");
    // Another pocket has not given its word, and takes no copy; the submitter hears at once.
    let refused = world.site.cli(&["submit", "dev", bash.name(), &commit]).expect(3);
    refused.says(&["debian/control declares bash", "add it to build.pockets.dev.may_replace"]);
    world.site.assert_agreement();
}

#[test]
fn what_changes_do_not_name_is_not_published() {
    let world = World::new();
    let job = world.build("unlisted");
    assert_eq!(world.site.outcome(&job), "published");
    let names: Vec<String> =
        files(&world.site.path("archive")).into_keys().map(|it| it.display().to_string()).collect();
    assert!(names.iter().any(|it| it.ends_with("hello_1.1_all.deb")), "{names:#?}");
    assert!(!names.iter().any(|it| it.ends_with("evil_1_all.deb") || it.ends_with("core")), "{names:#?}");
}

#[test]
fn a_copy_does_not_take_a_name_from_its_owner() {
    let world = World::new();
    // In dev, nobody else has libother1.
    let job = world.site.submit("dev", "hello", &world.commit);
    run(world.site.quick_worker().env("INVIRTIBUILDER_TEST_OUTPUT", "owned")).ok();
    assert_eq!(world.site.outcome(&job), "published");
    let before = world.picture();
    let job = world.site.submit("prod", "hello", &world.commit);
    world.site.work_quickly().ok();
    let shown = world.site.job(&job);
    assert_eq!(shown["outcome"], "failed", "{shown}");
    let cause = shown["causes"][0].as_str().unwrap();
    assert!(cause.contains("it serves the package libother1 from the source package libother1"), "{cause}");
    assert!(world.picture() == before);
    world.site.assert_agreement();
}

#[test]
fn a_version_that_an_untrusted_pocket_took_blocks_no_trusted_one() {
    let site = Site::new();
    site.configure(|text| {
        text.replace("allow_backtracking: yes\n", "allow_backtracking: yes\n      trust: none\n")
    });
    let (hello, evil) = Package::hosted(&site, "hello", "1.0");
    site.submit("dev", "hello", &evil);
    site.work_quickly().ok();
    hello.write("more", "text\n");
    let good = hello.commit_all("the same version, of somebody who is trusted");
    hello.push(&site);
    let job = site.submit("prod", "hello", &good);
    site.work_quickly().ok();
    assert_eq!(site.outcome(&job), "published", "{}", site.job(&job));
    let [dev, prod] = ["dev", "prod"].map(|pocket| Apt::of_pocket(&site, pocket).download(&["hello"]));
    assert_eq!(dev[0].0, prod[0].0, "one name and version");
    assert_ne!(dev[0].1, prod[0].1, "and bytes of its own for each pocket");
    site.assert_agreement();
}

#[test]
fn a_log_is_shown_without_what_a_terminal_obeys_and_kept_as_it_is() {
    const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m<b>red</b>";
    let world = World::new();
    let job = world.site.submit("prod", "hello", &world.commit);
    run(world.site.quick_worker().env("INVIRTIBUILDER_TEST_LOG", EVIL)).ok();
    assert!(world.site.cli(&["log", &job]).ok().contains(EVIL), "a file gets the bytes");
    let by_remctl =
        run(&mut world.site.remctl_command("alice@EXAMPLE.ORG", &["buildinfo", "log", &job])).ok();
    let typescript = world.site.beside("typescript");
    let called = world.site.cli_command(&["log", &job]);
    let words: Vec<String> = [called.get_program()]
        .into_iter()
        .chain(called.get_args())
        .map(|it| it.display().to_string())
        .collect();
    let mut terminal = world.site.command(Path::new("script"));
    run(terminal.args(["--quiet", "--return", "--command", &words.join(" ")]).arg(&typescript)).ok();
    for shown in [by_remctl, fs::read_to_string(typescript).unwrap()] {
        assert!(shown.contains("]0;owned[2J31m<b>red</b>"), "{shown:?}");
        let is_obeyed = |c: char| c.is_control() && !"\r\n\t".contains(c);
        assert!(!shown.contains(is_obeyed), "{shown:?}");
    }
}

#[test]
fn wildcards_of_architectures_mean_what_dpkg_says() {
    const SCRIPT: &str = "use Dpkg::Arch qw(debarch_is get_valid_arches); my @p = @ARGV; for my $a (get_valid_arches()) { for my $p (@p, $a) { print \"$a $p \", (debarch_is($a, $p) ? 1 : 0), \"\\n\" } }";
    const PATTERNS: [&str; 16] = [
        "any",
        "linux-any",
        "hurd-any",
        "kfreebsd-any",
        "any-amd64",
        "any-i386",
        "any-arm",
        "any-arm64",
        "any-mips64el",
        "gnu-any-any",
        "musl-any-any",
        "musl-linux-any",
        "uclibc-any-any",
        "eabihf-any-any-any",
        "any-any",
        "bsd-any-any",
    ];
    let said = run(command("perl").args(["-e", SCRIPT, "--"]).args(PATTERNS)).ok();
    let mut count = 0;
    for line in said.lines() {
        let [architecture, pattern, means] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let parsed: ArchitecturePattern = pattern.parse().unwrap();
        assert_eq!(parsed.matches(&architecture.parse().unwrap()), means == "1", "{line}");
        count += 1;
    }
    assert!(count > 5000, "{count} of all architectures and patterns");
}
