//! A real Kerberos realm and a real remctld, with the configuration that we write for it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests write files, start programs, and tell what they measured"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::servers::{REALM, Realm};
use invirtibuilder_tests::sites::Site;

/// What remctl's client says if remctld refuses.
const BY_REMCTLD: i32 = 255;

fn whole(name: &str) -> String {
    format!("{name}@{REALM}")
}

#[test]
fn everybody_may_do_what_the_lists_say_and_nothing_else_and_a_changed_list_counts_at_once() {
    let site = Site::with_pockets(&["prod", "dev:backtracking", "test:backtracking", "lab:backtracking"]);
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let file = site.beside("testers");
    fs::write(&file, format!("# testers\n{}  # since 2009\n", whole("bob"))).unwrap();
    let program = site.beside("who-may");
    // It tells all that it was given, and that is no environment of the caller's or of remctld's.
    let told = site.beside("told");
    let text =
        format!("#!/bin/sh\n{{ echo \"$@\"; env; }} > {}\necho {}\n", told.display(), whole("mallory"));
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    site.set_acl("prod", &format!("[{}]", whole("alice")));
    site.set_acl("dev", &format!("[{}, {}]", whole("alice"), whole("bob")));
    site.set_acl("test", &format!("{{ file: {} }}", file.display()));
    site.set_acl("lab", &format!("{{ command: [{}] }}", program.display()));
    let realm = Realm::new(&site, &["alice", "bob", "mallory"]);

    let ask = |who: &str, pocket: &str| {
        let answer = realm.remctl(who, &["build", pocket, "hello", &commit]);
        let queued = site.queued();
        if answer.code == Some(0) {
            assert_eq!(queued, [answer.stdout.trim()]);
            // Who asked may cancel.
            realm.remctl(who, &["buildjob", "cancel", answer.stdout.trim()]).ok();
        } else {
            assert_eq!(queued, [""; 0], "{who} {pocket}: {answer:?}");
        }
        answer
    };
    // Where remctld holds the list it refuses, else our own check.
    for (who, prod, dev, test, lab) in
        [("alice", 0, 0, 4, 4), ("bob", BY_REMCTLD, 0, 0, 4), ("mallory", BY_REMCTLD, BY_REMCTLD, 4, 0)]
    {
        for (pocket, code) in [("prod", prod), ("dev", dev), ("test", test), ("lab", lab)] {
            assert_eq!(ask(who, pocket).code, Some(code), "{who} {pocket}");
        }
    }
    let told = fs::read_to_string(told).unwrap();
    let names: Vec<&str> = told.lines().skip(1).map(|it| it.split('=').next().unwrap()).collect();
    assert!(told.starts_with("lab\n"), "{told}");
    assert!(names.iter().all(|it| ["PATH", "LC_ALL", "TZ", "PWD", "_", "SHLVL"].contains(it)), "{told}");
    let records = site.json(&["audit", "show", "--limit", "100"]);
    let denied = |it: &&serde_json::Value| it["event"] == "denied" && it["facts"]["door"] == "remctl";
    assert_eq!(records.as_array().unwrap().iter().filter(denied).count(), 4, "{records}");

    // remctld reads its lists, and we ours, at every call.
    fs::write(&file, whole("alice")).unwrap();
    assert_eq!(ask("bob", "test").code, Some(4));
    assert_eq!(ask("alice", "test").code, Some(0));
    site.set_acl("prod", &format!("[{}]", whole("bob")));
    let directory = realm.configuration();
    let written = site.json(&["remctl-config", directory.to_str().unwrap()]);
    assert_eq!(written["reload"], false, "{written}");
    assert_eq!(written["changed"].as_array().unwrap().len(), 1, "{written}");
    assert_eq!(ask("alice", "prod").code, Some(BY_REMCTLD));
    assert_eq!(ask("bob", "prod").code, Some(0));

    // Even where remctld lets everybody through.
    let acl = directory.join("acl/invirtibuilder-build-prod");
    fs::write(&acl, "anyuser:auth\n").unwrap();
    let answer = ask("mallory", "prod").expect(4);
    answer.says(&["mallory@TEST.INVALID", "build.pockets.prod.acl"]);
}

#[test]
fn remctl_help_tells_everybody_what_they_may() {
    let site = Site::new();
    site.set_acl("prod", &format!("[{}]", whole("alice")));
    site.set_acl("dev", &format!("[{}, {}]", whole("alice"), whole("bob")));
    let realm = Realm::new(&site, &["alice", "bob"]);
    let alice = realm.remctl("alice", &["help"]).ok();
    assert!(
        alice.contains("build prod PACKAGE COMMIT") && alice.contains("build dev PACKAGE COMMIT"),
        "{alice}"
    );
    let bob = realm.remctl("bob", &["help"]).ok();
    assert!(!bob.contains("build prod") && bob.contains("build dev"), "{bob}");
    assert!(bob.contains("buildinfo log JOB"), "{bob}");
    let told = realm.remctl("bob", &["help", "build", "dev"]).ok();
    assert!(told.starts_with("build dev PACKAGE COMMIT"), "{told}");
    assert_eq!(realm.remctl("bob", &["help", "build", "prod"]).code, Some(BY_REMCTLD));
    assert!(realm.remctl("bob", &["buildinfo", "pockets"]).ok().contains("dev: you may publish here"));
    assert_eq!(realm.remctl("bob", &["buildinfo", "status"]).ok(), "[]\n");
    // A new pocket needs remctld to read its configuration again; until then nobody gets through.
    site.configure(|text| {
        text.replacen("  pockets:\n", &format!("  pockets:\n    new:\n      acl: [{}]\n", whole("bob")), 1)
    });
    assert_eq!(realm.remctl("bob", &["build", "new", "x", "y"]).code, Some(BY_REMCTLD));
    let written = site.json(&["remctl-config", realm.configuration().to_str().unwrap()]);
    assert_eq!(written["reload"], true, "{written}");
    realm.reload();
    let started = Instant::now();
    while !realm.remctl("bob", &["help"]).ok().contains("build new") {
        assert!(started.elapsed() < Duration::from_secs(20), "remctld reads its configuration on SIGHUP");
    }
}

#[test]
fn a_configuration_that_remctld_cannot_hold_leaves_the_old_one() {
    let site = Site::new();
    let directory = site.beside("remctl");
    let config = |more: &[&str]| {
        let words: Vec<&str> =
            ["remctl-config", directory.to_str().unwrap()].iter().chain(more).copied().collect();
        site.cli(&words)
    };
    config(&[]).ok();
    let read = || fs::read_to_string(directory.join("conf.d/invirtibuilder")).unwrap();
    let before = read();
    assert!(!before.contains("ALL") && !before.contains("ANYUSER"), "{before}");
    for user in ["a b", "x\ny", "-x", "a=b"] {
        config(&[&format!("--user={user}")]).expect(3).says(&["the user", "cannot hold"]);
    }
    let spaced = site.beside("a directory");
    site.cli(&["remctl-config", spaced.to_str().unwrap()]).expect(3).says(&["cannot hold"]);
    assert_eq!(read(), before);
    config(&["--user=nobody"]).ok();
    assert!(read().contains(" user=nobody "), "{}", read());
    // Lists that nothing needs any more are gone, those of others are not touched.
    fs::write(directory.join("acl/other"), "princ:x@Y\n").unwrap();
    site.configure(|text| {
        text.replacen("    dev:\n", "    later:\n", 1).replace("build_against: [dev", "build_against: [later")
    });
    config(&[]).ok();
    let mut lists: Vec<String> = fs::read_dir(directory.join("acl"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    lists.sort();
    let expected = [
        "invirtibuilder-build-later",
        "invirtibuilder-build-prod",
        "invirtibuilder-job",
        "invirtibuilder-read",
        "other",
    ];
    assert_eq!(lists, expected);
}

/// Makes a package with so many versions, each with a commit, by one call of git.
fn many_versions(site: &Site, name: &str, count: usize) -> Vec<String> {
    let package = Package::new(site, name);
    package.commit("0.1");
    let mut stream = String::new();
    for number in 0..count {
        let text = format!(
            "{name} (1.{number}) bookworm; urgency=medium\n\n  * Made.\n\n -- A <a@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
        );
        let from = if number == 0 { "from refs/heads/main^0\n" } else { "" };
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.org> 1795420800 +0000\ndata 4\nmore\n{from}M 100644 inline debian/changelog\ndata {}\n{text}\n",
            text.len()
        );
    }
    let input = site.beside("stream");
    fs::write(&input, stream).unwrap();
    let mut import = command("git");
    import
        .arg("-C")
        .arg(package.tree())
        .args(["fast-import", "--quiet"])
        .stdin(fs::File::open(&input).unwrap());
    run(&mut import).ok();
    package.host(site);
    let ids = package.git(&["rev-list", "--max-count", &count.to_string(), "main"]);
    ids.lines().map(str::to_owned).collect()
}

#[test]
fn of_two_hundred_submissions_at_once_none_is_lost_and_none_is_there_twice() {
    const COUNT: usize = 200;
    let site = Site::new();
    let commits = many_versions(&site, "hello", COUNT);
    site.set_acl("dev", &format!("[{}]", whole("alice")));
    let realm = Realm::new(&site, &["alice"]);
    // The ticket for the service is fetched once.
    realm.remctl("alice", &["buildinfo", "status"]).ok();
    let started = Instant::now();
    let children: Vec<_> = commits
        .iter()
        .map(|commit| {
            let mut remctl = realm.command("alice", &["build", "dev", "hello", commit]);
            remctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut ids = BTreeSet::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ids.insert(String::from_utf8(output.stdout).unwrap().trim().to_owned());
    }
    eprintln!("{COUNT} submissions at once took {:?}", started.elapsed());
    assert_eq!(ids.len(), COUNT);
    let queued: BTreeSet<String> = site.queued().into_iter().collect();
    assert_eq!(queued, ids);
    let jobs: String =
        ids.iter().map(|it| fs::read_to_string(site.path("queue").join(it)).unwrap()).collect();
    assert!(commits.iter().all(|it| jobs.matches(it.as_str()).count() == 1), "every commit has one job");
    let submitted = site.json(&["audit", "show", "--limit", "1000"]);
    let count = submitted.as_array().unwrap().iter().filter(|it| it["event"] == "submitted").count();
    assert_eq!(count, COUNT);

    // The protocol alone: a program that does nothing.
    let nothing = realm.configuration().join("conf.d/nothing");
    fs::write(nothing, "nothing at-all /bin/true anyuser:auth\n").unwrap();
    realm.reload();
    while realm.remctl("alice", &["nothing", "at-all"]).code != Some(0) {}
    let median = |words: &[&str]| {
        let mut times: Vec<Duration> = (0..15)
            .map(|_| {
                let started = Instant::now();
                realm.remctl("alice", words).ok();
                started.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let protocol = median(&["nothing", "at-all"]);
    // Asked again and again, the latest is the same job; the work is the same as for a new one but for one file.
    let submission = median(&["build", "dev", "hello", &commits[0]]);
    eprintln!("the protocol takes {protocol:?}, a submission {submission:?}");
}

#[test]
fn every_malformed_request_is_refused_and_nothing_is_queued() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.set_acl("prod", &format!("[{}]", whole("alice")));
    site.set_acl("dev", &format!("[{}]", whole("alice")));
    let realm = Realm::new(&site, &["alice"]);
    let records = || site.json(&["audit", "show", "--limit", "10000"]).as_array().unwrap().len();
    let refused = |label: &str, words: &[&str], codes: &[i32]| {
        let before = records();
        let answer = realm.remctl("alice", words);
        assert!(codes.iter().any(|it| answer.code == Some(*it)), "{label}: {answer:?}");
        assert!(!answer.stderr.is_empty(), "{label}");
        assert_eq!(site.queued(), [""; 0], "{label}");
        // What remctld itself refuses is in its own log.
        let expected = if answer.code == Some(BY_REMCTLD) { before } else { before + 1 };
        assert_eq!(records(), expected, "{label}: one record");
    };
    let zeros = "0".repeat(40);
    let upper = commit.to_uppercase();
    let (short, long) = (&commit[..12], format!("{commit}0"));
    let (newline, tree) = (format!("{commit}\n"), format!("{commit}^{{tree}}"));
    for (label, text) in [
        ("R1", "-x"),
        ("R2", "--output=/x"),
        ("R3", "--upload-pack=x"),
        ("R4", short),
        ("R5", &upper),
        ("R6", "main"),
        ("R6b", "refs/heads/main"),
        ("R7", "HEAD"),
        ("R8", &tree),
        ("R9", ":/msg"),
        ("R10", &zeros),
        ("R11", &long),
        ("R12", &newline),
    ] {
        refused(label, &["build", "dev", "hello", text], &[3, 5]);
    }
    let name = "x".repeat(256);
    for (label, text) in [
        ("R13", "../x"),
        ("R14", "/abs"),
        ("R15", "."),
        ("R16", ".git"),
        ("R17", "-x"),
        ("R18", "a/b"),
        ("R19", ""),
        ("R20", &name),
        ("R21", "a\nb"),
        ("R21b", "a\u{1b}[31m"),
        ("R23", "h\u{435}llo"),
        ("R24", "unknown"),
    ] {
        refused(label, &["build", "dev", text, &commit], &[3, 5]);
    }
    for (label, text) in [
        ("R25", "PROD"),
        ("R26", "prod "),
        ("R27", "prod/"),
        ("R28", "ALL"),
        ("R29", "EMPTY"),
        ("R30", "prod;dev"),
        ("R30b", ""),
        ("R30c", "../prod"),
    ] {
        refused(label, &["build", text, "hello", &commit], &[BY_REMCTLD]);
        // So it would be if somebody wrote a line with ALL.
        let answer = run(&mut site.remctl_command(&whole("alice"), &["build", text, "hello", &commit]));
        assert!([Some(3), Some(5)].contains(&answer.code), "{label}: {answer:?}");
    }
    refused("R31", &["build", "dev", "hello"], &[2]);
    refused("R31b", &["build", "dev", "hello", &commit, "more"], &[2]);
    refused("R31c", &["build"], &[BY_REMCTLD]);
    refused("R32", &["build", "dev", "hello", &commit, "--principal", "root@X"], &[2]);
    refused("R32b", &["build", "dev", "--principal=root@X", "hello", &commit], &[2]);
    refused("R36", &["build", "dev", "hello", &"a".repeat(131_000)], &[3]);
    let many = vec!["x"; 4000];
    refused("R37", &[&["build", "dev"], many.as_slice()].concat(), &[2]);

    // R22: not UTF-8.
    let mut remctl = realm.command("alice", &["build", "dev"]);
    remctl.arg(OsStr::from_bytes(b"hel\xfflo")).arg(&commit);
    run(&mut remctl).expect(2).says(&["not UTF-8"]);
}

#[test]
fn whoever_is_not_named_well_or_in_no_list_is_refused_and_the_same_again_is_the_same_job() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.set_acl("dev", &format!("[{}, {}]", whole("alice"), whole("alice/root")));
    let realm = Realm::new(&site, &["alice", "alice/root"]);
    let records = || site.json(&["audit", "show", "--limit", "10000"]).as_array().unwrap().len();
    // R33: remctld never says nothing, but whoever calls the program by hand might.
    for user in [None, Some(""), Some(" "), Some("a\nb"), Some("a\u{7f}")] {
        let before = records();
        let mut call = site.remctl_command("x", &["build", "dev", "hello", &commit]);
        call.env_remove("REMOTE_USER");
        run(call.envs(user.map(|it| ("REMOTE_USER", it)))).expect(4).says(&["REMOTE_USER"]);
        assert_eq!(records(), before + 1);
    }
    // R34, R35: they are data, and in no list.
    for user in [
        "alice/root@OTHER",
        "evil\\@x@TEST.INVALID",
        "../../etc@X",
        "a b@TEST.INVALID",
        "alice@OTHER.REALM",
        "alice",
    ] {
        run(&mut site.remctl_command(user, &["build", "dev", "hello", &commit]))
            .expect(4)
            .says(&["build.pockets.dev.acl"]);
    }
    assert_eq!(site.queued(), [""; 0]);
    let by_root = realm.remctl("alice/root", &["build", "dev", "hello", &commit]).ok();
    assert_eq!(site.job(by_root.trim())["principal"], whole("alice/root"));
    // R38: the same again is the same job.
    assert_eq!(realm.remctl("alice", &["build", "dev", "hello", &commit]).ok(), by_root);
    assert_eq!(site.queued().len(), 1);
}

#[test]
fn a_version_that_is_taken_or_falls_is_refused_and_a_moving_branch_changes_no_request() {
    let site = Site::new();
    let (hello, first) = Package::hosted(&site, "hello", "2.0");
    site.set_acl("prod", "[alice@X]");
    let ask = |commit: &str| run(&mut site.remctl_command("alice@X", &["build", "prod", "hello", commit]));
    ask(&first).ok();
    site.work_quickly().ok();
    let other = hello.commit_that("2.0", "echo other");
    hello.push(&site);
    ask(&other).expect(3).says(&["2.0"]);
    let lower = hello.publishable(&site, "1.0");
    ask(&lower).expect(3).says(&["1.0"]);
    assert_eq!(site.queued(), [""; 0]);
    let next = hello.publishable(&site, "3.0");
    let job = ask(&next).ok();
    let _moved = hello.publishable(&site, "4.0");
    site.work_quickly().ok();
    assert_eq!(site.outcome(job.trim()), "published");
    assert_eq!(site.job(job.trim())["commit"], next.as_str());
    site.assert_agreement();
}

#[test]
fn where_remctld_passes_everybody_on_the_same_are_refused_and_the_log_has_them() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.set_acl("prod", &format!("[{}]", whole("alice")));
    let realm = Realm::new(&site, &["alice", "mallory"]);
    let directory = realm.configuration();
    let words = ["build", "prod", "hello", commit.as_str()];
    let denied = || {
        let records = site.json(&["audit", "show", "--limit", "1000"]);
        let of_her = |it: &&serde_json::Value| it["event"] == "denied" && it["principal"] == whole("mallory");
        records.as_array().unwrap().iter().filter(of_her).count()
    };
    assert_eq!((realm.remctl("mallory", &words).code, denied()), (Some(BY_REMCTLD), 0));
    site.cli(&["remctl-config", directory.to_str().unwrap(), "--record-denials"]).ok();
    let answer = realm.remctl("mallory", &words);
    assert_eq!((answer.code, denied()), (Some(4), 1), "{answer:?}");
    assert_eq!(site.queued(), [""; 0]);
    realm.remctl("alice", &words).ok();
    // And back again.
    site.cli(&["remctl-config", directory.to_str().unwrap()]).ok();
    assert_eq!((realm.remctl("mallory", &words).code, denied()), (Some(BY_REMCTLD), 1));
}

#[test]
fn each_right_of_each_of_three_in_each_pocket_is_what_the_lists_say() {
    let site = Site::with_pockets(&["prod", "dev:backtracking", "test:backtracking"]);
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.set_acl("prod", "[alice@X]");
    site.set_acl("dev", "[alice@X, bob@X]");
    site.set_acl("test", "[bob@X, owner@X]");
    site.configure(|text| {
        format!("{text}\nhosting:\n  read: [mallory@X, alice@X]\n  push: [bob@X]\nimpersonate: [owner@X]\n")
    });
    for (who, prod, dev, test, read, push) in [
        ("alice@X", true, true, false, true, false),
        ("bob@X", false, true, true, false, true),
        ("mallory@X", false, false, false, true, false),
    ] {
        for (pocket, may) in [("prod", prod), ("dev", dev), ("test", test)] {
            let code = if may { 0 } else { 4 };
            for right in ["build", "cancel", "rollback"] {
                assert_eq!(site.cli(&["may", who, right, pocket]).code, Some(code), "{who} {right} {pocket}");
            }
            // And so it is done: somebody else's job is cancelled by whoever may publish there.
            let by_owner = run(&mut site.remctl_command("alice@X", &["build", "dev", "hello", &commit])).ok();
            assert_eq!(site.cli(&["show", by_owner.trim()]).code, Some(0));
            let asked = run(&mut site.remctl_command(who, &["build", pocket, "hello", &commit]));
            assert_eq!(asked.code, Some(code), "{who} {pocket}");
            let cancel = |by: &str, job: &str| {
                run(&mut site.remctl_command(by, &["buildjob", "cancel", job.trim()])).code
            };
            assert_eq!(cancel(who, &by_owner), Some(if dev { 0 } else { 4 }), "{who} cancels in dev");
            if !dev {
                assert_eq!(cancel("alice@X", &by_owner), Some(0));
            }
            if may && pocket != "dev" {
                assert_eq!(cancel(who, &asked.stdout), Some(0));
            }
            assert_eq!(site.queued(), [""; 0]);
        }
        for (right, may) in [("fetch", read || push), ("push", push)] {
            let code = if may { 0 } else { 4 };
            assert_eq!(site.cli(&["may", who, right, "hello"]).code, Some(code), "{who} {right}");
        }
        for words in [["buildinfo", "status"].as_slice(), &["buildinfo", "history"]] {
            let code = if read { 0 } else { 4 };
            assert_eq!(run(&mut site.remctl_command(who, words)).code, Some(code), "{who} {words:?}");
        }
    }
}
