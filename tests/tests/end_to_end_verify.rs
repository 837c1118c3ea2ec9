//! `verify` names everything that somebody changed behind the product's back.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// A site whose two pockets have `hello` 2.0, and 1.0 before it.
struct Published {
    site: Site,
    /// The commits of both versions.
    commits: [String; 2],
    /// What `dists` was after the first.
    earlier: PathBuf,
}

impl Published {
    fn new() -> Self {
        let site = Site::new();
        let (hello, first) = Package::hosted(&site, "hello", "1.0");
        publish(&site, &first);
        let earlier = site.beside("earlier");
        copy(&site.path("archive/dists"), &earlier);
        let second = hello.publishable(&site, "2.0");
        publish(&site, &second);
        site.assert_agreement();
        Self { site, commits: [first, second], earlier }
    }

    /// Runs git in the repository of the package.
    fn git(&self, arguments: &[&str]) -> String {
        self.site.git(&self.site.repository("hello"), arguments).ok().trim().to_owned()
    }

    fn superproject(&self, arguments: &[&str]) -> String {
        let mut git = command("git");
        // A bare repository has no working tree, and git wants one to remove an entry, though it looks at no file.
        git.current_dir(self.site.beside("")).env("GIT_WORK_TREE", self.site.beside("")).args(arguments);
        git.env("GIT_DIR", self.site.path("superproject.git"))
            .env("GIT_INDEX_FILE", self.site.beside("index"));
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Mallory").env(format!("GIT_{who}_EMAIL"), "m@example.org");
        }
        run(&mut git).ok().trim().to_owned()
    }

    /// Fails the test unless `verify` names the package in a pocket, and says all of this of it.
    #[track_caller]
    fn assert_named(&self, pocket: &str, texts: &[&str]) {
        let answer = self.site.cli(&["verify"]).expect(1);
        let is_it = |line: &str| {
            let mut all = [pocket, "hello"].into_iter().chain(texts.iter().copied());
            all.all(|it| line.contains(it))
        };
        assert!(
            answer.stdout.lines().any(is_it),
            "no line names {pocket}, hello, {texts:?}:\n{}",
            answer.stdout
        );
        let json = run(&mut self.site.cli_command(&["--json", "verify"])).expect(1).stdout;
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        let is_it = |it: &serde_json::Value| it["pocket"] == pocket && it["package"] == "hello";
        assert!(found.as_array().unwrap().iter().any(is_it), "{found}");
    }
}

fn publish(site: &Site, commit: &str) {
    for pocket in ["dev", "prod"] {
        site.submit(pocket, "hello", commit);
        site.work_quickly().ok();
    }
}

fn copy(from: &Path, to: &Path) {
    run(command("cp").arg("-a").arg("--").arg(from).arg(to)).ok();
}

#[test]
fn a_branch_that_was_moved_by_hand_is_named() {
    let it = Published::new();
    let [first, second] = &it.commits;
    it.git(&["update-ref", "refs/heads/prod", first]);
    it.assert_named("prod", &[first, second]);
}

#[test]
fn a_branch_that_was_deleted_is_named() {
    let it = Published::new();
    it.git(&["update-ref", "-d", "refs/heads/dev"]);
    it.assert_named("dev", &["2.0", "no branch"]);
}

#[test]
fn a_repository_that_was_removed_is_named() {
    let it = Published::new();
    fs::rename(it.site.repository("hello"), it.site.beside("away")).unwrap();
    it.assert_named("prod", &["2.0"]);
}

#[test]
fn an_older_index_that_was_restored_is_named() {
    let it = Published::new();
    let suite = it.site.path("archive/dists/prod");
    fs::remove_dir_all(&suite).unwrap();
    copy(&it.earlier.join("prod"), &suite);
    // apt cannot tell: the signature is the site's own.
    assert_eq!(Apt::of_pocket(&it.site, "prod").source_version("hello").as_deref(), Some("1.0"));
    it.assert_named("prod", &it.commits.each_ref().map(String::as_str));
}

#[test]
fn a_package_that_was_taken_out_of_the_index_is_named() {
    let it = Published::new();
    resign(&it.site, "main/source/Sources", |_| String::new());
    assert_eq!(Apt::of_pocket(&it.site, "prod").source_version("hello"), None);
    it.assert_named("prod", &[it.commits[1].as_str(), "not serve"]);
}

#[test]
fn an_index_that_names_another_commit_is_named_though_the_site_signed_it() {
    let it = Published::new();
    let [first, second] = &it.commits;
    resign(&it.site, "main/source/Sources", |text| text.replace(second, first));
    it.assert_named("prod", &[first, second]);
}

#[test]
fn a_submodule_at_another_commit_is_named() {
    let it = Published::new();
    let [first, second] = &it.commits;
    let path = submodule(&it);
    it.superproject(&["read-tree", "prod"]);
    it.superproject(&["update-index", "--cacheinfo", &format!("160000,{first},{path}")]);
    let tree = it.superproject(&["write-tree"]);
    let commit = it.superproject(&["commit-tree", "-p", "prod", "-m", "nothing to see here", &tree]);
    it.superproject(&["update-ref", "refs/heads/prod", &commit]);
    it.assert_named("prod", &["superproject", first, second]);
}

#[test]
fn a_submodule_that_was_removed_is_named() {
    let it = Published::new();
    let path = submodule(&it);
    it.superproject(&["read-tree", "dev"]);
    it.superproject(&["update-index", "--force-remove", &path]);
    let tree = it.superproject(&["write-tree"]);
    let commit = it.superproject(&["commit-tree", "-p", "dev", "-m", "tidying up", &tree]);
    it.superproject(&["update-ref", "refs/heads/dev", &commit]);
    it.assert_named("dev", &["superproject"]);
}

fn submodule(it: &Published) -> String {
    let entries = it.superproject(&["ls-tree", "-r", "--full-tree", "prod"]);
    let entry =
        entries.lines().find(|line| line.starts_with("160000")).expect("the superproject has a submodule");
    entry.split_once('\t').unwrap().1.to_owned()
}

#[test]
fn a_version_tag_that_was_moved_is_named() {
    let it = Published::new();
    assert_eq!(it.git(&["tag", "--list"]), "1.0\n2.0");
    it.git(&["update-ref", "refs/tags/2.0", &it.commits[0]]);
    it.assert_named("prod", &["2.0", &it.commits[1]]);
}

#[test]
fn the_tag_of_an_earlier_version_that_was_deleted_is_named() {
    let it = Published::new();
    it.git(&["update-ref", "-d", "refs/tags/1.0"]);
    it.assert_named("prod", &["1.0", &it.commits[0]]);
}

/// Changes an index of `prod` and signs the suite anew, as somebody could who holds the site's key.
fn resign(site: &Site, index: &str, change: impl FnOnce(String) -> String) {
    let suite = site.path("archive/dists/prod");
    let compressed = suite.join(format!("{index}.xz"));
    let before = run(command("xz").args(["--decompress", "--stdout"]).arg(&compressed)).ok();
    let plain = site.beside("index.txt");
    fs::write(&plain, change(before)).unwrap();
    run(command("xz").args(["--force", "--keep"]).arg(&plain)).ok();
    run(command("gzip").args(["--force", "--keep", "--no-name"]).arg(&plain)).ok();
    let mut release = String::new();
    let mut section = "";
    for line in fs::read_to_string(suite.join("Release")).unwrap().lines() {
        if let Some((field, _)) = line.split_once(':').filter(|_| !line.starts_with(' ')) {
            section = match field {
                "SHA256" => "sha256sum",
                "SHA1" => "sha1sum",
                "SHA512" => "sha512sum",
                "MD5Sum" => "md5sum",
                _ => "",
            };
        }
        let name = line.split_whitespace().last().unwrap_or_default();
        let suffix = name.strip_prefix(index).filter(|_| line.starts_with(' ') && !section.is_empty());
        if let Some(suffix) = suffix {
            let file = site.beside(&format!("index.txt{suffix}"));
            let sum = run(command(section).arg(&file)).ok();
            let sum = sum.split(' ').next().unwrap();
            let _ = writeln!(release, " {sum} {} {name}", fs::metadata(&file).unwrap().len());
            if section == "sha256sum" {
                let directory = suite.join(name).parent().unwrap().to_owned();
                fs::copy(&file, directory.join("by-hash/SHA256").join(sum)).unwrap();
                if suite.join(name).exists() {
                    fs::copy(&file, suite.join(name)).unwrap();
                }
            }
        } else {
            release.push_str(line);
            release.push('\n');
        }
    }
    fs::write(suite.join("Release"), release).unwrap();
    let mut gpg = command("gpg");
    gpg.arg("--homedir").arg(site.path("gnupg")).args(["--batch", "--yes", "--pinentry-mode", "loopback"]);
    gpg.args(["--passphrase", "", "--clearsign", "--output"]).arg(suite.join("InRelease"));
    run(gpg.arg(suite.join("Release"))).ok();
}

#[test]
fn where_two_agree_a_repair_mends_the_third_and_is_recorded_and_the_archive_stays() {
    let it = Published::new();
    let [first, second] = it.commits.clone();
    let history = it.site.json(&["history"]);
    let archive = run(command("sha256sum").arg(it.site.path("archive/dists/prod/InRelease"))).ok();
    it.git(&["update-ref", "refs/heads/prod", &first]);
    it.git(&["update-ref", "-d", "refs/heads/dev"]);
    it.git(&["update-ref", "-d", "refs/tags/1.0"]);
    it.git(&["update-ref", "refs/tags/2.0", &first]);
    let verified = || it.site.cli(&["verify"]).expect(1).stdout;
    let before = verified();
    assert!(before.lines().count() >= 4, "{before}");
    let planned = it.site.cli(&["repair", "--dry-run"]).ok();
    assert!(planned.contains(&format!("prod hello: the branch goes from {first} to {second}")), "{planned}");
    assert!(planned.contains("because the archive and the superproject say so"), "{planned}");
    assert_eq!(verified(), before, "nothing is done yet");
    let done = it.site.cli(&["repair"]).ok();
    assert_eq!(done.lines().count(), 4, "{done}");
    it.site.assert_agreement();
    // Where the branch was is not lost; and the tag is the tagger's again.
    let kept = format!("refs/heads/repaired/prod/{}", &first[..12]);
    assert_eq!(it.git(&["rev-parse", &kept]), first);
    assert_eq!(it.git(&["cat-file", "-t", "refs/tags/2.0"]), "tag");
    let records = it.site.json(&["audit", "show", "--limit", "1000"]);
    let repaired = records.as_array().unwrap().iter().filter(|it| it["event"] == "repaired").count();
    assert_eq!(repaired, 4);
    assert_eq!(it.site.cli(&["repair"]).ok(), "", "there is nothing to do any more");

    // The superproject, which somebody moved back.
    let parent = it.superproject(&["rev-parse", "prod~1"]);
    it.superproject(&["update-ref", "refs/heads/prod", &parent]);
    let done = it.site.cli(&["repair", "--pocket", "prod"]).ok();
    assert!(done.contains("the superproject's submodule goes to"), "{done}");
    it.site.assert_agreement();
    assert_eq!(run(command("sha256sum").arg(it.site.path("archive/dists/prod/InRelease"))).ok(), archive);
    // Dev's publications are as they were, and the next one goes on from there.
    let of_dev = |all: &serde_json::Value| {
        all.as_array().unwrap().iter().filter(|it| it["pocket"] == "dev").cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_dev(&it.site.json(&["history"])), of_dev(&history));

    // An older archive cannot be mended by Git, and nobody without the right mends anything.
    fs::remove_dir_all(it.site.path("archive/dists")).unwrap();
    copy(&it.earlier, &it.site.path("archive/dists"));
    let answer = it.site.cli(&["repair"]).expect(1);
    assert!(answer.stdout.starts_with("left: ") && answer.stdout.contains("archive rollback"), "{answer:?}");
    it.git(&["update-ref", "-d", "refs/tags/1.0"]);
    it.site.set_acl("prod", "[nobody@X]");
    it.site.set_acl("dev", "[nobody@X]");
    it.site.cli(&["repair"]).expect(4).says(&["may not repair"]);
}
