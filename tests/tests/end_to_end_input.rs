//! What is refused is refused whole: a reason, what to do, a status, and nothing queued. And what is asked for by
//! another door is the same.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{CLI, command, program, run};
use invirtibuilder_tests::sites::Site;

const ZEROS: &str = "0000000000000000000000000000000000000000";

#[test]
fn requests_that_are_malformed_are_refused_and_leave_nothing_in_the_queue() {
    let site = Site::new();
    let (package, commit) = Package::hosted(&site, "hello", "1.0");
    let tree = package.git(&["rev-parse", "HEAD^{tree}"]);
    let (short, upper) = (&commit[..12], commit.to_uppercase());
    let long = format!("{commit}0");
    let newline = format!("{commit}\n");
    let name = "a".repeat(300);
    let cases: &[(&str, &str, &str, i32, &str)] = &[
        // Commits.
        ("dev", "hello", "--output=/tmp/x", 2, ""),
        ("dev", "hello", short, 3, "commit id"),
        ("dev", "hello", &upper, 3, "commit id"),
        ("dev", "hello", "main", 3, "commit id"),
        ("dev", "hello", "HEAD", 3, "commit id"),
        ("dev", "hello", "HEAD^{tree}", 3, "commit id"),
        ("dev", "hello", ":/version", 3, "commit id"),
        ("dev", "hello", &long, 3, "commit id"),
        ("dev", "hello", &newline, 3, "commit id"),
        ("dev", "hello", "", 3, "commit id"),
        ("dev", "hello", ZEROS, 5, "has no commit"),
        ("dev", "hello", &tree, 3, "is a tree, not a commit"),
        // Packages.
        ("dev", "../hello", &commit, 3, "package name"),
        ("dev", "/hello", &commit, 3, "package name"),
        ("dev", ".", &commit, 3, "package name"),
        ("dev", ".git", &commit, 3, "package name"),
        ("dev", "a/b", &commit, 3, "package name"),
        ("dev", "", &commit, 3, "package name"),
        ("dev", &name, &commit, 3, "package name"),
        ("dev", "hello\n", &commit, 3, "package name"),
        ("dev", "h\u{435}llo", &commit, 3, "package name"),
        ("dev", "unknown", &commit, 5, "repo create unknown"),
        // Pockets.
        ("DEV", "hello", &commit, 5, "there are dev, prod"),
        ("dev ", "hello", &commit, 5, "there is no pocket"),
        ("dev/", "hello", &commit, 5, "there is no pocket"),
        ("ALL", "hello", &commit, 5, "there is no pocket"),
        ("EMPTY", "hello", &commit, 5, "there is no pocket"),
        ("prod;dev", "hello", &commit, 5, "there is no pocket"),
    ];
    for (pocket, package, commit, code, says) in cases {
        let answer = site.cli(&["submit", pocket, package, commit]);
        assert_eq!(answer.code, Some(*code), "{pocket:?} {package:?} {commit:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(says), "{pocket:?} {package:?} {commit:?}: {}", answer.stderr);
        assert_eq!(answer.stdout, "");
        assert_eq!(site.queued(), [""; 0], "{pocket:?} {package:?} {commit:?}");
    }
}

#[test]
fn all_malformed_words_are_named_at_once() {
    let site = Site::new();
    let answer = site.cli(&["submit", "nowhere", "Hello", "main"]).expect(3);
    answer.says(&["there is no pocket", "nowhere"]);
    answer.says(&["Hello", "package name"]);
    answer.says(&["main", "commit id"]);
}

#[test]
fn every_broken_rule_of_a_pocket_is_named_at_once_and_nothing_is_queued() {
    let site = Site::new();
    let (hello, _) = Package::hosted(&site, "hello", "1.0");
    let second = hello.publishable(&site, "2.0");
    site.submit("prod", "hello", &second);
    site.work_quickly().ok();
    // Neither a descendant of what prod has, nor a greater version; and the principal is not in the list.
    hello.git(&["checkout", "--quiet", "--orphan", "aside"]);
    let aside = hello.publishable(&site, "1.5");
    site.configure(|text| {
        text.replace("acl: [", "acl: [somebody.else@EXAMPLE.ORG, ").replace("root@", "nobody@")
    });
    let answer = site.cli(&["submit", "prod", "hello", &aside]).expect(3);
    answer.says(&["may not publish in prod", "ask an administrator"]);
    answer.says(&["prod already has hello 2.0", "raise the version in debian/changelog"]);
    answer.says(&[&aside, "does not contain", &second, "merge or rebase"]);
    assert_eq!(site.queued(), [""; 0]);
    let denied = site.cli(&["submit", "dev", "hello", &aside]);
    assert_eq!(denied.code, Some(4), "the access list alone: {}", denied.stderr);
}

#[test]
fn a_version_belongs_to_one_commit() {
    let site = Site::new();
    let (hello, first) = Package::hosted(&site, "hello", "1.0");
    site.submit("prod", "hello", &first);
    site.work_quickly().ok();
    hello.write("more", "text\n");
    let other = hello.commit_all("the same version again");
    hello.push(&site);
    let answer = site.cli(&["submit", "dev", "hello", &other]).expect(3);
    answer.says(&["prod already has hello 1.0 from commit", &first]);
    answer.says(&["the version tag of hello 1.0 is at commit", &first]);
}

#[test]
fn files_of_the_commit_that_do_not_parse_are_named_with_the_remedy() {
    let site = Site::new();
    let (hello, _) = Package::hosted(&site, "hello", "1.0");
    hello.write("debian/changelog", "no changelog at all\n");
    hello.write("debian/control", "Source: other\n\nPackage: other\nArchitecture: all\n");
    let commit = hello.commit_all("broken");
    hello.push(&site);
    let answer = site.cli(&["submit", "dev", "hello", &commit]).expect(3);
    answer.says(&["debian/changelog", "no changelog at all", "dch"]);
    answer.says(&["debian/control", "other", "hello"]);
    assert_eq!(site.queued(), [""; 0]);
}

#[test]
fn what_a_pocket_has_already_is_no_job_and_the_same_request_twice_is_one_job() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    assert_eq!(site.submit("dev", "hello", &commit), job);
    assert_eq!(site.queued(), [job.as_str()]);
    site.work_quickly().ok();
    let again = site.cli(&["submit", "dev", "hello", &commit]).expect(0);
    assert_eq!(again.stdout, "");
    again.says(&["already has version 1.0"]);
    assert_eq!(site.queued(), [""; 0]);
}

#[test]
fn a_malformed_configuration_is_told_by_file_line_and_key_with_the_remedy() {
    let site = Site::new();
    site.configure(|text| text.replace("apt: dev", "apt: prod").replace("tagger:", "taggr:"));
    let answer = site.cli(&["status"]).expect(2);
    let file = site.config().display().to_string();
    answer.says(&[&file, "build.pockets.dev.apt", "prod", "own suite"]);
    answer.says(&[&file, "taggr", "tagger"]);
    assert!(answer.stderr.lines().all(|line| line.contains(".yaml:")), "{}", answer.stderr);
    let missing = run(command(program(CLI)).args(["--config", "/nonexistent.yaml", "status"])).expect(2);
    missing.says(&["/nonexistent.yaml", "invirtibuilder init"]);
}

#[test]
fn init_never_overwrites() {
    let site = Site::new();
    let before = fs::read(site.config()).unwrap();
    let again = site.cli(&["init", site.root().to_str().unwrap()]).expect(2);
    again.says(&["is not empty", "nothing is ever overwritten"]);
    assert_eq!(fs::read(site.config()).unwrap(), before);
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let site = Site::new();
    let gpgv = invirtibuilder_core::process::find("gpgv").expect("the package gpgv is installed");
    // In a mount namespace of its own, a device is where the program was: it is no file, and so not there.
    let mut check = command("unshare");
    check.args(["--mount", "--", "sh", "-c", "mount --bind /dev/null \"$0\" && exec \"$@\""]);
    check.arg(&gpgv).arg(program(CLI)).arg("check").env("INVIRTIBUILDER_CONFIG", site.config());
    let answer = run(&mut check).expect(70);
    let line = answer.stdout.lines().find(|line| line.contains("program gpgv")).unwrap_or_default();
    assert!(line.starts_with("error") && line.ends_with("apt-get install gpgv"), "{}", answer.stdout);
}

#[test]
fn a_queue_that_cannot_be_written_takes_no_job() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let queue = site.path("queue");
    // A full disk: a small file system with nothing left.
    let full = run(command("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&queue));
    assert_eq!(full.code, Some(0), "this test mounts a file system, so it runs as root: {}", full.stderr);
    fs::write(queue.join("filler"), vec![0; 60 << 10]).ok();
    fs::write(queue.join("filler2"), vec![0; 64 << 10]).ok();
    let answer = site.cli(&["submit", "dev", "hello", &commit]);
    let jobs = site.queued();
    run(command("umount").arg(&queue)).ok();
    assert_eq!(answer.code, Some(70), "{answer:?}");
    answer.says(&["No space left on device"]);
    assert_eq!(jobs, [""; 0]);
}

#[test]
fn the_same_request_by_remctl_leaves_the_same_job() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job_of = |id: &str| {
        let text = fs::read_to_string(site.path("queue").join(id)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("id:") && !line.starts_with("principal:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let by_cli = site.submit("dev", "hello", &commit);
    let first = job_of(&by_cli);
    site.cli(&["cancel", &by_cli]).ok();
    site.configure(|text| text.replace("acl: [", "acl: [alice@EXAMPLE.ORG, "));
    let words = ["build", "dev", "hello", &commit];
    let by_remctl = run(&mut site.remctl_command("alice@EXAMPLE.ORG", &words)).ok();
    assert_eq!(job_of(by_remctl.trim()), first);
    let shown =
        run(&mut site.remctl_command("alice@EXAMPLE.ORG", &["buildinfo", "show", by_remctl.trim()])).ok();
    assert!(shown.contains("alice@EXAMPLE.ORG"), "{shown}");
}

#[test]
fn remctl_refuses_strangers_and_loses_nothing_when_the_client_is_gone() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let words = ["build", "dev", "hello", commit.as_str()];
    assert_eq!(run(&mut site.remctl_command("mallory@EXAMPLE.ORG", &words)).code, Some(4));
    assert_eq!(run(&mut site.remctl_command("", &words)).code, Some(4));
    let mut nobody = site.remctl_command("x", &words);
    assert_eq!(run(nobody.env_remove("REMOTE_USER")).code, Some(4));
    assert_eq!(site.queued(), [""; 0]);
    site.configure(|text| text.replace("acl: [", "acl: [alice@EXAMPLE.ORG, "));
    assert_eq!(run(&mut site.remctl_command("alice@EXAMPLE.ORG", &["build", "dev"])).code, Some(2));
    let (reading, writing) = std::io::pipe().unwrap();
    drop(reading);
    let mut gone = site.remctl_command("alice@EXAMPLE.ORG", &words);
    let status = gone.stdout(writing).stderr(Stdio::null()).status().unwrap();
    assert!(status.code().is_some(), "{status}");
    assert_eq!(site.queued().len(), 1, "the job is durable before the first byte of the answer");
}

#[test]
fn jobs_can_be_cancelled_while_they_wait_and_asked_for_again() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    site.cli(&["cancel", &job]).ok();
    assert_eq!(site.outcome(&job), "cancelled");
    assert_eq!(site.cli(&["cancel", &job]).code, Some(3));
    let again = site.cli(&["retry", &job]).ok();
    assert_ne!(again.trim(), job);
    site.work_quickly().ok();
    assert_eq!(site.outcome(again.trim()), "published");
    assert_eq!(site.cli(&["show", "20260101000000_aaaaaa"]).code, Some(5));
    assert_eq!(site.cli(&["show", "nonsense"]).code, Some(2));
}

#[test]
fn hooks_hear_of_every_event_and_change_nothing() {
    let site = Site::new();
    let heard = site.beside("heard");
    for event in ["submitted", "refused", "published", "failed", "repo-created"] {
        let text = format!(
            "#!/bin/sh\necho $INVIRTIBUILDER_EVENT $INVIRTIBUILDER_POCKET $INVIRTIBUILDER_PACKAGE $INVIRTIBUILDER_VERSION >> {}\n",
            heard.display()
        );
        site.hook(event, "note", &text);
    }
    site.hook("published", "aaa-fails", "#!/bin/sh\nexit 1\n");
    site.hook("published", "bbb-hangs", "#!/bin/sh\nsleep 1000\n");
    site.configure(|text| format!("{text}\nhooks: {{ timeout: 1s }}\n"));
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    assert_eq!(site.outcome(&job), "published");
    assert_eq!(site.cli(&["submit", "dev", "hello", ZEROS]).code, Some(5));
    // No worker runs, so nobody has told them yet.
    assert_eq!(fs::read_to_string(&heard).unwrap().lines().count(), 3);
    let standing = site.json(&["hooks", "list"]);
    let standing: Vec<_> =
        standing.as_array().unwrap().iter().map(|it| (&it["hook"], &it["waiting"])).collect();
    assert_eq!(
        format!("{standing:?}"),
        r#"[(String("aaa-fails"), Number(1)), (String("bbb-hangs"), Number(1)), (String("note"), Number(1))]"#
    );
    // The two that failed are not told again so soon.
    let _ = site.cli(&["hooks", "deliver"]).expect(75);
    let lines = fs::read_to_string(&heard).unwrap();
    let expected =
        ["repo-created hello", "submitted dev hello", "published dev hello 1.0", "refused dev hello"];
    let lines: Vec<String> =
        lines.lines().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, expected);
    let log = fs::read_to_string(site.path("logs/hooks.log")).unwrap();
    assert!(log.contains("aaa-fails") && log.contains("bbb-hangs"), "{log}");
}

#[test]
fn pushes_to_pockets_and_version_tags_are_refused_with_a_reason_and_others_are_let_through() {
    let site = Site::new();
    let (hello, commit) = Package::hosted(&site, "hello", "1.0");
    site.submit("prod", "hello", &commit);
    site.work_quickly().ok();
    let repository = site.repository("hello");
    hello.commit("2.0");
    let push = |refspec: &str| {
        let mut git: Command = command("git");
        run(git.arg("-C").arg(hello.tree()).args(["push", "--force"]).arg(&repository).arg(refspec))
    };
    for refspec in [
        "HEAD:refs/heads/prod",
        ":refs/heads/prod",
        "HEAD:refs/tags/1.0",
        "HEAD:refs/tags/2.0",
        "HEAD:refs/replace/x",
        "HEAD:refs/heads/dev",
    ] {
        let answer = push(refspec);
        assert_ne!(answer.code, Some(0), "{refspec}");
        assert!(answer.stderr.contains("error:"), "{refspec}: {}", answer.stderr);
    }
    for refspec in ["HEAD:refs/heads/topic", "HEAD:refs/tags/v-some", ":refs/heads/topic"] {
        push(refspec).ok();
    }
    site.assert_agreement();
    run(command("git").arg("-C").arg(&repository).args(["fsck", "--strict"])).ok();
}

#[test]
fn a_site_of_another_user_says_so() {
    let site = Site::new();
    fs::set_permissions(site.path("queue"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut other = command("setpriv");
    other
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(program(CLI))
        .arg("status");
    other.env("INVIRTIBUILDER_CONFIG", site.config());
    let answer = run(&mut other);
    assert_ne!(answer.code, Some(0));
    assert!(
        answer.stderr.contains("ermission denied") || answer.stderr.contains("belongs to"),
        "{}",
        answer.stderr
    );
}
