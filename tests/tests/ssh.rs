//! A real sshd: the same commands as by remctl, and Git.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{Answer, command, run};
use invirtibuilder_tests::servers::Sshd;
use invirtibuilder_tests::sites::Site;

/// A site where alice may publish in prod and dev, bob in dev, and mallory nowhere; all have keys.
fn world() -> (Site, Package, String, Sshd) {
    let site = Site::new();
    let (package, commit) = Package::hosted(&site, "hello", "1.0");
    site.set_acl("prod", "[alice@KEYS]");
    site.set_acl("dev", "[alice@KEYS, \"bob o'hara@KEYS\"]");
    let sshd = Sshd::new(&site);
    sshd.add(&site, "alice", "alice@KEYS");
    sshd.add(&site, "bob", "bob o'hara@KEYS");
    sshd.add(&site, "mallory", "mallory@KEYS");
    (site, package, commit, sshd)
}

fn push(sshd: &Sshd, package: &Package, key: &str, refspecs: &[&str]) -> Answer {
    let mut git = sshd.git(key, package.tree());
    run(git.args(["push", "--force", &sshd.url("hello.git")]).args(refspecs))
}

#[test]
fn the_same_request_by_every_door_leaves_the_same_job_and_keys_can_be_taken_away() {
    let (site, _, commit, sshd) = world();
    let job_of = |id: &str| {
        let text = fs::read_to_string(site.path("queue").join(id.trim())).unwrap();
        site.cli(&["cancel", id.trim()]).ok();
        let lines = text.lines().filter(|line| !line.starts_with("id:") && !line.starts_with("principal:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    site.configure(|text| text.replace("acl: [", "acl: [root@operator, "));
    let own = site.json(&["audit", "show", "--limit", "1"])[0]["principal"].as_str().unwrap().to_owned();
    site.configure(|text| text.replace("root@operator", &own));
    let by_cli = job_of(&site.submit("prod", "hello", &commit));
    let words = ["build", "prod", "hello", commit.as_str()];
    let by_remctl = job_of(&run(&mut site.remctl_command("alice@KEYS", &words)).ok());
    let id = sshd.ssh("alice", &words).ok();
    assert_eq!(site.job(id.trim())["principal"], "alice@KEYS");
    let by_ssh = job_of(&id);
    assert!(
        !by_cli.is_empty() && by_cli == by_remctl && by_cli == by_ssh,
        "{by_cli:?} {by_remctl:?} {by_ssh:?}"
    );

    assert_eq!(sshd.ssh("bob", &words).code, Some(4));
    sshd.ssh("bob", &["build", "dev", "hello", &commit]).ok();
    assert_eq!(sshd.ssh("mallory", &words).code, Some(4));
    assert_eq!(site.queued().len(), 1);
    let records = site.json(&["audit", "show", "--limit", "100"]);
    let denied: Vec<_> = records.as_array().unwrap().iter().filter(|it| it["event"] == "denied").collect();
    assert_eq!(denied.len(), 2);
    assert_eq!(denied[1]["principal"], "mallory@KEYS");
    assert_eq!(denied[1]["facts"]["address"], "127.0.0.1");
    let fingerprint = denied[1]["facts"]["key"].as_str().unwrap();
    assert!(fingerprint.starts_with("SHA256:"), "{fingerprint}");

    // A key of somebody else cannot be taken, and one that was taken away is nobody's at once.
    let public = site.beside("ssh/alice.pub");
    site.cli(&["key", "add", "mallory@KEYS", public.to_str().unwrap()]).expect(3).says(&["alice@KEYS"]);
    site.cli(&["key", "remove", "alice@KEYS"]).ok();
    assert_eq!(sshd.ssh("alice", &["buildinfo", "status"]).code, Some(255));
    assert_eq!(sshd.ssh("mallory", &["buildinfo", "status"]).code, Some(0));
    assert_eq!(site.json(&["key", "list"]).as_array().unwrap().len(), 2);
    site.cli(&["key", "remove", "alice@KEYS"]).expect(5).says(&["key list"]);
    // Without the program, the same as a file.
    let lines = site.cli(&["authorized-keys"]).ok();
    assert!(
        lines.lines().count() == 2 && lines.lines().all(|it| it.starts_with("restrict,command=\"")),
        "{lines}"
    );
}

#[test]
fn nothing_that_somebody_types_reaches_a_shell_or_becomes_an_option() {
    let (site, _, commit, sshd) = world();
    let witness = site.beside("witness");
    let shown = witness.display();
    let ssh = |line: &str| sshd.ssh("alice", &[line]);
    for (line, code) in [
        (format!("build dev hello {commit}; touch {shown}"), 2),
        (format!("build dev hello $(touch {shown})"), 2),
        ("build dev hello $(id)".to_owned(), 3),
        (format!("build dev hello `touch {shown}`"), 2),
        (format!("touch {shown}"), 2),
        (format!("git-upload-pack '/hello.git'; touch {shown}"), 2),
        (format!("git-upload-pack --upload-pack='touch {shown}' hello"), 2),
        ("git-upload-pack '../superproject.git'".to_owned(), 2),
        (format!("git-upload-pack '{}'", site.repository("hello").display()), 2),
        ("git-upload-pack '-x'".to_owned(), 2),
        ("git-upload-pack ''".to_owned(), 2),
        ("git-upload-pack other".to_owned(), 5),
        ("git-upload-archive hello".to_owned(), 2),
        ("git-shell".to_owned(), 2),
        ("scp -t /tmp".to_owned(), 2),
        ("build dev hello --output=/x".to_owned(), 3),
        ("build PROD hello x".to_owned(), 3),
        (format!("build dev hello {commit} --principal root@X"), 2),
        (format!("build dev 'hello {commit}"), 2),
        ("build dev hello main\u{1b}[31m".to_owned(), 2),
        ("x ".repeat(40_000), 2),
        (String::new(), 2),
    ] {
        let answer = ssh(&line);
        assert_eq!(answer.code, Some(code), "{}: {answer:?}", &line[..line.len().min(100)]);
        assert!(!answer.stderr.is_empty() && !answer.stderr.contains('\u{1b}'), "{answer:?}");
        assert_eq!(site.queued(), [""; 0], "{line}");
    }
    assert!(!witness.exists());
    // A shell, a terminal, a forwarding: none is there.
    let answer = sshd.ssh("alice", &[]);
    assert_eq!(answer.code, Some(2));
    answer.says(&["there is no shell here"]);
    assert!(ssh("help").ok().contains("build POCKET PACKAGE COMMIT"));
    // What a client's shell quotes arrives as it was.
    assert_eq!(ssh(&format!("build 'dev' \"hello\" {commit}")).code, Some(0));
}

#[test]
fn git_is_served_by_rights_and_the_hooks_and_the_log_know_who_pushes() {
    let (site, package, first, sshd) = world();
    site.configure(|text| {
        format!("{text}\nhosting:\n  read: {{ pattern: \"*@KEYS\" }}\n  repositories:\n    secret: {{ read: [alice@KEYS] }}\n")
    });
    let _ = Package::hosted(&site, "secret", "1.0");
    let clone = |key: &str, name: &str| {
        let to = site.beside(&format!("clone-{key}-{name}"));
        let mut git = sshd.git(key, &site.beside("."));
        run(git.args(["clone", "--quiet", &sshd.url(name)]).arg(to))
    };
    clone("mallory", "hello.git").ok();
    clone("mallory", "secret.git").expect(128).says(&["mallory@KEYS may not fetch from secret"]);
    clone("alice", "secret.git").ok();
    let second = package.commit("2.0");
    push(&sshd, &package, "mallory", &["HEAD:refs/heads/main"]).expect(128).says(&["may not push to hello"]);
    push(&sshd, &package, "bob", &["HEAD:refs/heads/main", "HEAD:refs/tags/v2"]).ok();
    let refused = push(&sshd, &package, "bob", &["HEAD:refs/heads/prod"]).expect(1);
    refused.says(&["refs/heads/prod", "moves only when something is published"]);
    refused.says(&["invirtibuilder submit prod"]);
    // A right to push is no right to publish.
    assert_eq!(sshd.ssh("bob", &["build", "prod", "hello", &second]).code, Some(4));

    let records = site.json(&["audit", "show", "--limit", "100"]);
    let of = |event: &str| {
        let all = records.as_array().unwrap().iter();
        all.filter(|it| it["event"] == event && it["package"] == "hello").cloned().collect::<Vec<_>>()
    };
    let pushed = &of("pushed")[0];
    assert_eq!(pushed["principal"], "bob o'hara@KEYS");
    assert!(pushed["facts"]["door"].as_str().unwrap().starts_with("ssh SHA256:"), "{pushed}");
    let refs = pushed["facts"]["refs"].as_str().unwrap();
    assert!(refs.contains(&format!("refs/heads/main {first}..{second}")), "{refs}");
    assert_eq!(of("refused")[0]["principal"], "bob o'hara@KEYS");
    assert_eq!(of("denied")[0]["principal"], "mallory@KEYS");
    site.cli(&["audit", "verify"]).ok();

    // The superproject is for reading.
    sshd.ssh("alice", &["build", "prod", "hello", &second]).ok();
    site.work_quickly().ok();
    let to = site.beside("all");
    let mut git = sshd.git("mallory", &site.beside("."));
    let url = sshd.url("superproject.git");
    run(git.args(["clone", "--quiet", "--recurse-submodules", "-b", "prod", &url]).arg(&to)).ok();
    assert!(to.join("hello/debian/changelog").exists(), "its submodules come too");
    let mut git = sshd.git("alice", &to);
    run(git.args(["push", &sshd.url("superproject.git"), "HEAD:refs/heads/mine"]))
        .expect(128)
        .says(&["only publications write the superproject"]);
    for (words, code) in [
        (["may", "bob o'hara@KEYS", "push", "hello"], 0),
        (["may", "mallory@KEYS", "push", "hello"], 4),
        (["may", "mallory@KEYS", "fetch", "secret"], 4),
        (["may", "alice@KEYS", "fetch", "secret"], 0),
    ] {
        assert_eq!(site.cli(&words).code, Some(code), "{words:?}");
    }
}

#[test]
fn a_push_by_ssh_cannot_move_what_an_alias_names() {
    let (site, package, first, sshd) = world();
    sshd.ssh("alice", &["build", "dev", "hello", &first]).ok();
    site.work_quickly().ok();
    let repository = site.repository("hello");
    site.git(&repository, &["symbolic-ref", "refs/heads/alias", "refs/heads/dev"]).ok();
    package.commit("2.0");
    push(&sshd, &package, "bob", &["HEAD:refs/heads/alias"])
        .expect(1)
        .says(&["only another name of refs/heads/dev"]);
    // Nor where the hooks that look at names are not there: one looks at what moves.
    for hook in ["update", "pre-receive"] {
        fs::remove_file(repository.join("hooks").join(hook)).unwrap();
    }
    let answer = push(&sshd, &package, "bob", &["HEAD:refs/heads/alias"]);
    assert_ne!(answer.code, Some(0), "{answer:?}");
    answer.says(&["refs/heads/dev", "moves only when something is published"]);
    assert_eq!(site.git(&repository, &["rev-parse", "dev"]).ok().trim(), first);
    push(&sshd, &package, "bob", &["HEAD:refs/heads/topic"]).ok();
    site.assert_agreement();
}

#[test]
fn a_key_database_that_somebody_spoilt_lets_nobody_in() {
    let site = Site::new();
    let public = site.beside("x.pub");
    run(command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(site.beside("x"))).ok();
    site.cli(&["key", "add", "alice@KEYS", public.to_str().unwrap()]).ok();
    let file = site.path("ssh-keys");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}ssh-ed25519 nonsense mallory@KEYS\n")).unwrap();
    let answer = site.cli(&["authorized-keys"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(3), ""), "{answer:?}");
    answer.says(&["ssh-keys:3"]);
}

#[test]
fn every_malformed_request_by_ssh_is_refused_and_nothing_is_queued() {
    let (site, _, commit, sshd) = world();
    let records = || site.json(&["audit", "show", "--limit", "10000"]).as_array().unwrap().len();
    // What sshd starts for a key, and gives what was typed: without sshd, which takes longer than all of it.
    let ssh = |typed: &OsStr| {
        let mut shell = site.cli_command(&["ssh-shell", "--principal", "alice@KEYS"]);
        run(shell.env("SSH_ORIGINAL_COMMAND", typed).env("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22"))
    };
    // As somebody types it who knows how the client's words are cut.
    let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
    let (upper, long, name) = (commit.to_uppercase(), format!("{commit}0"), "x".repeat(256));
    let (zeros, tree, large) = ("0".repeat(40), format!("{commit}^{{tree}}"), "a".repeat(100_000));
    let requests: Vec<(&str, Vec<&str>)> = vec![
        ("R1", vec!["dev", "hello", "-x"]),
        ("R2", vec!["dev", "hello", "--output=/x"]),
        ("R3", vec!["dev", "hello", "--upload-pack=x"]),
        ("R4", vec!["dev", "hello", &commit[..12]]),
        ("R5", vec!["dev", "hello", &upper]),
        ("R6", vec!["dev", "hello", "refs/heads/main"]),
        ("R7", vec!["dev", "hello", "HEAD"]),
        ("R8", vec!["dev", "hello", &tree]),
        ("R9", vec!["dev", "hello", ":/msg"]),
        ("R10", vec!["dev", "hello", &zeros]),
        ("R11", vec!["dev", "hello", &long]),
        ("R13", vec!["dev", "../x", &commit]),
        ("R14", vec!["dev", "/abs", &commit]),
        ("R15", vec!["dev", ".", &commit]),
        ("R16", vec!["dev", ".git", &commit]),
        ("R17", vec!["dev", "-x", &commit]),
        ("R18", vec!["dev", "a/b", &commit]),
        ("R19", vec!["dev", "", &commit]),
        ("R20", vec!["dev", &name, &commit]),
        ("R23", vec!["dev", "h\u{435}llo", &commit]),
        ("R24", vec!["dev", "unknown", &commit]),
        ("R25", vec!["PROD", "hello", &commit]),
        ("R26", vec!["prod ", "hello", &commit]),
        ("R27", vec!["prod/", "hello", &commit]),
        ("R28", vec!["ALL", "hello", &commit]),
        ("R29", vec!["EMPTY", "hello", &commit]),
        ("R30", vec!["prod;dev", "hello", &commit]),
        ("R31", vec!["dev", "hello"]),
        ("R31b", vec!["dev", "hello", &commit, "more"]),
        ("R31c", vec![]),
        ("R32", vec!["dev", "hello", &commit, "--principal", "root@X"]),
        ("R36", vec!["dev", "hello", &large]),
        ("R12", vec!["dev", "hello", "0\n"]),
        ("R21", vec!["dev", "a\nb", &commit]),
        ("R21b", vec!["dev", "a\u{1b}[31m", &commit]),
    ];
    for (label, words) in &requests {
        let before = records();
        let line = std::iter::once("build".to_owned()).chain(words.iter().map(|it| quoted(it)));
        let answer = ssh(OsStr::new(&line.collect::<Vec<_>>().join(" ")));
        assert!([2, 3, 5].into_iter().any(|it| answer.code == Some(it)), "{label}: {answer:?}");
        assert!(!answer.stderr.is_empty() && !answer.stderr.contains('\u{1b}'), "{label}: {answer:?}");
        assert_eq!(site.queued(), [""; 0], "{label}");
        assert_eq!(records(), before + 1, "{label}: one record");
    }
    // R22: not UTF-8. R37: as many words as a client sends.
    let many = format!("build dev {}", "x ".repeat(4_000));
    assert_eq!(ssh(OsStr::new(&many)).code, Some(2));
    assert!([Some(2), Some(3)].contains(&ssh(OsStr::from_bytes(b"build dev hel\xfflo 0")).code));
    assert_eq!(site.queued(), [""; 0]);
    // R38, R42 to R44 are the same: what is asked for is asked of one place.
    let words = ["build", "dev", "hello", commit.as_str()];
    let first = sshd.ssh("alice", &words).ok();
    assert_eq!(sshd.ssh("alice", &words).ok(), first);
    assert_eq!(site.queued().len(), 1);
}

#[test]
fn of_many_submissions_by_ssh_at_once_none_is_lost() {
    let (site, package, _, sshd) = world();
    let commits: Vec<String> = (2..12).map(|it| package.commit(&format!("{it}.0"))).collect();
    package.push(&site);
    let children: Vec<_> = commits
        .iter()
        .map(|commit| {
            let mut ssh = sshd.command("alice");
            ssh.args(["build", "dev", "hello", commit]);
            ssh.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut ids: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        })
        .collect();
    let mut queued = site.queued();
    ids.sort();
    ids.dedup();
    queued.sort();
    assert_eq!((ids.len(), &queued), (commits.len(), &ids));
}
