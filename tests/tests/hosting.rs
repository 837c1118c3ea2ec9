//! What a hosted repository lets through, and how the world reads it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{Answer, command, run};
use invirtibuilder_tests::servers::CgiServer;
use invirtibuilder_tests::sites::Site;

/// A published package, and a commit of it that is not.
fn world() -> (Site, Package, String) {
    let site = Site::new();
    let (hello, first) = Package::hosted(&site, "hello", "1.0");
    for pocket in ["prod", "dev"] {
        site.submit(pocket, "hello", &first);
        site.work_quickly().ok();
    }
    hello.commit("2.0");
    (site, hello, first)
}

fn push(package: &Package, repository: &Path, refspec: &str) -> Answer {
    let mut git = command("git");
    run(git.arg("-C").arg(package.tree()).args(["push", "--force"]).arg(repository).arg(refspec))
}

fn refs(site: &Site) -> String {
    site.git(&site.repository("hello"), &["for-each-ref"]).ok()
}

#[test]
fn forty_hostile_updates_of_refs_are_refused_each_with_a_reason_and_nothing_moves() {
    let (site, hello, _) = world();
    let repository = site.repository("hello");
    site.git(&repository, &["symbolic-ref", "refs/heads/alias", "refs/heads/prod"]).ok();
    site.git(&repository, &["symbolic-ref", "refs/heads/through", "refs/heads/alias"]).ok();
    let before = refs(&site);
    let id = "0123456789abcdef0123456789abcdef01234567";
    let hostile = [
        "HEAD:refs/heads/prod",
        "HEAD:refs/heads/dev",
        ":refs/heads/prod",
        "HEAD:refs/heads/dev/below",
        "HEAD:refs/heads/alias",
        ":refs/heads/alias",
        "HEAD:refs/heads/through",
        "HEAD:refs/heads/PROD",
        "HEAD:refs/heads/Dev",
        "HEAD:refs/heads/pr\u{43e}d",
        "HEAD:refs/heads/prod\u{200b}",
        "HEAD:refs/heads/prod/x",
        "HEAD:refs/tags/1.0",
        ":refs/tags/1.0",
        "HEAD:refs/tags/2.0",
        "HEAD:refs/tags/1%2.0_rc1",
        "HEAD:refs/tags/prod",
        "HEAD:refs/tags/PROD",
        "HEAD:refs/replace/x",
        &format!("HEAD:refs/replace/{id}"),
        "HEAD:refs/notes/commits",
        "HEAD:refs/remotes/origin/prod",
        "HEAD:refs/bisect/bad",
        "HEAD:refs/worktree/x",
        "HEAD:refs/original/refs/heads/main",
        "HEAD:refs/pull/1/head",
        "HEAD:refs/for/main",
        "HEAD:refs/changes/01/1/1",
        "HEAD:refs/heads/HEAD",
        "HEAD:refs/heads/x/head",
        "HEAD:refs/tags/HEAD",
        "HEAD:refs/heads/@",
        &format!("HEAD:refs/heads/{id}"),
        &format!("HEAD:refs/tags/{id}"),
        "HEAD:refs/heads/-x",
        "HEAD:refs/heads/a/--help",
        "HEAD:refs/heads/refs/heads/prod",
        "HEAD:refs/heads/heads/prod",
        "HEAD:refs/tags/tags/1.0",
        "HEAD:refs/heads/$(id)",
        "HEAD:refs/heads/x;id",
        "HEAD:refs/heads/a`id`",
        "HEAD:refs/heads/a|b",
        "HEAD:refs/heads/to\u{202e}pic",
    ];
    assert!(hostile.len() >= 40);
    for refspec in hostile {
        let answer = push(&hello, &repository, refspec);
        assert_eq!(answer.code, Some(1), "{refspec}: {answer:?}");
        answer.says(&["error: refs/", "; "]);
        assert_eq!(refs(&site), before, "{refspec}");
    }
    // One of them refuses the others of its push too.
    let mut git = command("git");
    let both = ["HEAD:refs/heads/topic", "HEAD:refs/heads/prod"];
    let answer = run(git.arg("-C").arg(hello.tree()).arg("push").arg(&repository).args(both));
    assert_ne!(answer.code, Some(0));
    assert_eq!(refs(&site), before);
    site.git(&repository, &["fsck", "--strict"]).ok();
    site.assert_agreement();
}

#[test]
fn ordinary_work_is_not_hindered() {
    let (site, hello, first) = world();
    let repository = site.repository("hello");
    hello.git(&["tag", "-a", "-m", "x", "v2"]);
    for refspec in [
        "HEAD:refs/heads/topic",
        "HEAD:refs/heads/feature/some-thing_1.2+3",
        "HEAD:refs/heads/fix#12",
        "HEAD:refs/heads/product",
        "HEAD:refs/heads/gr\u{fc}n",
        "HEAD~1:refs/heads/topic",
        ":refs/heads/topic",
        "refs/tags/v2:refs/tags/v2",
        "HEAD:refs/tags/release-1.0",
        ":refs/tags/release-1.0",
        "HEAD:refs/heads/main",
        "HEAD:refs/heads/upstream/latest",
        "HEAD:refs/tags/upstream/2.0",
    ] {
        push(&hello, &repository, refspec).ok();
    }
    for words in
        [&["pack-refs", "--all"][..], &["gc", "--prune=now", "--quiet"], &["repack", "-a", "-d", "--quiet"]]
    {
        site.git(&repository, words).ok();
    }
    push(&hello, &repository, "HEAD:refs/heads/after").ok();
    push(&hello, &repository, ":refs/heads/after").ok();
    assert_eq!(push(&hello, &repository, ":refs/heads/prod").code, Some(1), "also where it is packed");
    assert_eq!(site.git(&repository, &["rev-parse", "prod"]).ok().trim(), first);
    let fsck = site.git(&repository, &["fsck", "--strict", "--no-dangling"]).expect(0);
    assert_eq!((fsck.stdout.as_str(), fsck.stderr.as_str()), ("", ""));
    // And then it is published.
    let second = hello.git(&["rev-parse", "HEAD"]);
    let job = site.submit("prod", "hello", &second);
    site.work_quickly().ok();
    assert_eq!(site.outcome(&job), "published");
    site.assert_agreement();
    site.cli(&["audit", "verify"]).ok();
}

#[test]
fn objects_that_are_not_sound_and_too_much_of_them_are_refused() {
    let (site, hello, _) = world();
    let repository = site.repository("hello");
    // A tree with an entry .git, as git mktree makes it without a look.
    let blob = hello.git(&["hash-object", "-w", "debian/control"]);
    fs::write(hello.tree().join("entry"), format!("100644 blob {blob}\t.git\n")).unwrap();
    let mut mktree = command("git");
    mktree
        .arg("-C")
        .arg(hello.tree())
        .arg("mktree")
        .stdin(fs::File::open(hello.tree().join("entry")).unwrap());
    let tree = run(&mut mktree).ok();
    let commit = hello.git(&["commit-tree", "-m", "x", tree.trim()]);
    let answer = push(&hello, &repository, &format!("{commit}:refs/heads/hostile"));
    assert_ne!(answer.code, Some(0));
    answer.says(&["hasDotgit"]);
    site.git(&repository, &["config", "receive.maxInputSize", "20k"]).ok();
    let mut noise = String::new();
    for number in 0..20_000_u64 {
        let _ = write!(noise, "{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    hello.write("big", &noise);
    hello.commit_all("big");
    let answer = push(&hello, &repository, "HEAD:refs/heads/big");
    assert_ne!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stderr.contains("exceeds maximum allowed size"), "{}", answer.stderr);
    for (key, value) in
        [("receive.fsckobjects", "true"), ("core.fsync", "all"), ("http.receivepack", "false")]
    {
        assert_eq!(site.git(&repository, &["config", key]).ok().trim(), value);
    }
    site.git(&repository, &["fsck", "--strict", "--no-dangling"]).ok();
}

#[test]
fn the_world_reads_by_http_and_writes_nothing_even_where_the_web_server_knows_the_user() {
    let (site, hello, first) = world();
    let cgi = site.beside("web/cgi-bin");
    fs::create_dir_all(&cgi).unwrap();
    let script = cgi.join("git");
    let text = format!(
        "#!/bin/sh\nexport GIT_PROJECT_ROOT={} GIT_HTTP_EXPORT_ALL=1 REMOTE_USER=somebody GIT_CONFIG_GLOBAL=/dev/null\n# The web server is another user than the one who has the repositories.\nexport GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=\"*\"\nexec git http-backend\n",
        site.path("repositories").display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let server = CgiServer::start(&site.beside("web"));
    let url = format!("{}/cgi-bin/git/hello.git", server.uri);
    let to = site.beside("by-http");
    let mut git = command("git");
    run(git.args(["clone", "--quiet", "-b", "prod", &url]).arg(&to)).ok();
    let mut git = command("git");
    assert_eq!(run(git.arg("-C").arg(&to).args(["rev-parse", "HEAD"])).ok().trim(), first);
    let before = refs(&site);
    let mut git = command("git");
    let answer = run(git.arg("-C").arg(hello.tree()).args(["push", &url, "HEAD:refs/heads/by-http"]));
    assert_ne!(answer.code, Some(0));
    assert_eq!(refs(&site), before);
}

#[test]
fn a_clone_of_what_was_imported_has_files_whatever_its_branch_is_called() {
    let site = Site::new();
    let (hello, _) = Package::hosted(&site, "hello", "1.0");
    hello.git(&["branch", "--quiet", "--move", "main", "master"]);
    site.cli(&["repo", "create", "other", "--import", hello.tree().to_str().unwrap()]).ok();
    let clone = site.beside("clone");
    run(command("git").args(["clone", "--quiet"]).arg(site.repository("other")).arg(&clone)).ok();
    assert!(clone.join("debian/changelog").exists());
}

#[test]
fn hooks_and_settings_that_somebody_changed_are_told_and_installed_anew() {
    let (site, hello, first) = world();
    let repository = site.repository("hello");
    let checked = || site.cli(&["check"]).stdout;
    assert!(checked().contains("1, with the push policy installed"), "{}", checked());
    fs::write(repository.join("hooks/update"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::remove_file(repository.join("hooks/pre-receive")).unwrap();
    for (name, value) in [("receive.fsckObjects", "false"), ("gc.auto", "0")] {
        site.git(&repository, &["config", name, value]).ok();
    }
    site.configure(|text| format!("{text}\nhosting:\n  max_push: 20kB\n"));
    let told = checked();
    for what in ["the hook update", "the hook pre-receive", "receive.fsckobjects", "receive.maxinputsize"] {
        assert!(told.contains(what), "{what}: {told}");
    }
    assert!(!told.contains("reference-transaction"), "{told}");
    let refreshed = site.cli(&["repo", "refresh"]).ok();
    assert!(
        refreshed.starts_with("hello: the hook update, the hook pre-receive, the setting"),
        "{refreshed}"
    );
    assert_eq!(site.cli(&["repo", "refresh", "hello"]).ok(), "");
    assert!(checked().contains("1, with the push policy installed"));
    let setting = |name| site.git(&repository, &["config", name]).ok().trim().to_owned();
    assert_eq!([setting("gc.auto"), setting("receive.fsckObjects")], ["0", "true"], "others stay");
    let record = &site.json(&["audit", "show", "--limit", "1"])[0];
    assert_eq!(record["event"], "repaired");
    assert_eq!(push(&hello, &repository, "HEAD:refs/heads/prod").code, Some(1));
    push(&hello, &repository, "HEAD:refs/heads/topic").ok();
    // More than may come at once.
    let mut large = String::new();
    for number in 0..20_000 {
        let _ = writeln!(large, "{:x}", number * 7919);
    }
    hello.write("large", &large);
    hello.commit_all("large");
    assert_ne!(push(&hello, &repository, "HEAD:refs/heads/large").code, Some(0));
    assert_eq!(site.git(&repository, &["rev-parse", "prod"]).ok().trim(), first);
    site.cli(&["repo", "refresh", "unknown"]).expect(70).says(&["there is no repository"]);
}
