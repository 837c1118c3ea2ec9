//! Provenance as a stranger checks it: with the public key, the statement, what was downloaded, and the archive.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::path::{Path, PathBuf};

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{Answer, CLI, command, program, run};
use invirtibuilder_tests::servers::CgiServer;
use invirtibuilder_tests::sites::Site;
use serde_json::Value;

/// A site with `hello 1.0` in dev, built, and in prod, copied.
struct World {
    site: Site,
    hello: Package,
    commit: String,
    built: String,
    copied: String,
}

fn world() -> World {
    let site = Site::new();
    let (hello, commit) = Package::hosted(&site, "hello", "1.0");
    let built = site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    let copied = site.submit("prod", "hello", &commit);
    site.work_quickly().ok();
    World { site, hello, commit, built, copied }
}

impl World {
    fn show(&self, job: &str) -> Value {
        self.site.json(&["provenance", "show", job])[0].clone()
    }

    fn file(&self, job: &str) -> PathBuf {
        self.site.path("archive").join(self.show(job)["file"].as_str().unwrap())
    }

    /// Asks as somebody who has no site.
    fn verify(&self, file: &Path, words: &[&str]) -> Answer {
        let key = self.site.path("archive/archive-key.asc");
        let mut cli = command(program(CLI));
        cli.args(["provenance", "verify"]).arg(file).arg("--keyring").arg(key).args(words);
        run(&mut cli)
    }

    /// Returns where a file of the package lies in the pool.
    fn in_pool(&self, ending: &str) -> PathBuf {
        let directory = self.site.path("archive/pool/main/h/hello");
        let mut names = fs::read_dir(&directory).unwrap().map(|it| it.unwrap().path());
        names.find(|it| it.to_str().unwrap().ends_with(ending)).unwrap()
    }
}

#[test]
fn a_stranger_follows_a_package_back_to_its_commit_and_every_broken_link_is_named() {
    let world = world();
    let archive = world.site.path("archive");
    let (root, file) = (archive.to_str().unwrap(), world.file(&world.built));
    let statement = world.show(&world.built)["statement"].clone();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["commit"], world.commit.as_str());
    assert_eq!(definition["resolvedDependencies"][0]["digest"]["gitCommit"], world.commit.as_str());
    assert_eq!(
        definition["resolvedDependencies"][1]["uri"].as_str().unwrap()[..30],
        *"pkg:deb/debian/base-files@12.4"
    );
    assert_eq!(statement["predicate"]["runDetails"]["metadata"]["invocationId"], world.built.as_str());

    let downloads = [".dsc", ".deb", ".buildinfo"].map(|it| world.in_pool(it));
    let paths = downloads.each_ref().map(|it| it.to_str().unwrap());
    let answer = world.verify(&file, &paths);
    assert!(answer.stderr.contains(&world.commit), "{answer:?}");
    assert_eq!(answer.ok().lines().filter(|it| it.starts_with("ok ")).count(), 4);
    let all = world.verify(&file, &["--archive", root]).ok();
    assert!(all.contains("lists all") && all.contains("made from commit"), "{all}");
    // Whoever has a file finds its provenance by its sum.
    let sum = run(command("sha256sum").arg(paths[1])).ok();
    let by_hash = archive.join("provenance/by-hash/SHA256").join(sum.split(' ').next().unwrap());
    assert_eq!(fs::read(by_hash).unwrap(), fs::read(world.file(&world.copied)).unwrap());

    // One byte is another, in each link: it is named, and it is the only one that is.
    let release = archive.join("dists/dev/InRelease");
    let text = fs::read_to_string(&release).unwrap();
    let index = text.lines().find(|it| it.ends_with(" main/source/Sources.gz")).unwrap();
    let index = index.split_whitespace().next().unwrap();
    let index = archive.join("dists/dev/main/source/by-hash/SHA256").join(index);
    for (path, named) in [
        (world.in_pool(".dsc"), ".dsc: it has SHA-256"),
        (world.in_pool(".deb"), ".deb: it has SHA-256"),
        (world.in_pool(".buildinfo"), ".buildinfo: it has SHA-256"),
        (release, "InRelease of dev: dists/dev/InRelease has no good signature"),
        (index, "is not the file that InRelease names"),
    ] {
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        let middle = after.len() / 2;
        after[middle] ^= 1;
        fs::write(&path, after).unwrap();
        let answer = world.verify(&file, &["--archive", root]).expect(1);
        let broken: Vec<_> = answer.stdout.lines().filter(|it| it.starts_with("BROKEN")).collect();
        assert!(matches!(broken[..], [one] if one.contains(named)), "{named}: {answer:?}");
        fs::write(&path, before).unwrap();
    }
    world.verify(&file, &["--archive", root]).ok();

    // A statement that somebody changed, and a good one of another package.
    let envelope: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let other = world.site.beside("other.jsonl");
    let mut changed = envelope;
    let copy: Value = serde_json::from_slice(&fs::read(world.file(&world.copied)).unwrap()).unwrap();
    changed["payload"] = copy["payload"].clone();
    fs::write(&other, changed.to_string()).unwrap();
    let answer = world.verify(&other, &[]).expect(1);
    assert!(answer.stdout.contains("BROKEN signature"), "{answer:?}");
    let strange = world.site.beside("strange.deb");
    fs::write(&strange, "something else").unwrap();
    let answer = world.verify(&file, &[strange.to_str().unwrap()]).expect(1);
    assert!(answer.stdout.contains("says nothing of a file strange.deb"), "{answer:?}");
    let answer = world.verify(&world.in_pool(".dsc"), &[]);
    answer.expect(70).says(&[".dsc", "no DSSE envelope"]);
}

#[test]
fn a_copy_names_the_provenance_of_its_build_and_what_is_superseded_stays_proved() {
    let world = world();
    let archive = world.site.path("archive");
    let (root, file) = (archive.to_str().unwrap(), world.file(&world.copied));
    let statement = world.show(&world.copied)["statement"].clone();
    let original = &statement["predicate"]["buildDefinition"]["resolvedDependencies"][1];
    assert_eq!(original["downloadLocation"], world.show(&world.built)["file"]);
    let answer = world.verify(&file, &["--archive", root]).ok();
    assert!(answer.contains("built for dev by urn:invirtibuilder:"), "{answer}");
    let first = world.file(&world.built);
    let before = fs::read(&first).unwrap();
    fs::write(&first, b"{}").unwrap();
    let answer = world.verify(&file, &["--archive", root]).expect(1);
    assert!(answer.stdout.contains("but the copy's provenance says"), "{answer:?}");
    // The site itself sees that, too, because its audit log knows the sum.
    let answer = world.site.cli(&["verify"]).expect(1);
    assert!(answer.stdout.contains("dev hello: provenance/hello/1.0/"), "{answer:?}");
    fs::write(&first, before).unwrap();
    world.site.assert_agreement();

    let next = world.hello.publishable(&world.site, "2.0");
    world.site.submit("dev", "hello", &next);
    world.site.work_quickly().ok();
    let answer = world.verify(&world.file(&world.built), &["--archive", root]).ok();
    assert!(answer.contains("does not list hello 1.0 any more, but 2.0"), "{answer}");
    assert!(answer.contains("is kept and lists all"), "{answer}");
    let shown = world.site.cli(&["provenance", "show", "hello", "--limit", "9"]).ok();
    assert_eq!(shown.lines().filter(|it| it.starts_with("hello ")).count(), 3, "{shown}");
    world.site.assert_agreement();
    fs::remove_file(world.file(&world.copied)).unwrap();
    let answer = world.site.cli(&["verify"]).expect(1);
    assert!(
        answer.stdout.contains("prod hello: ") && answer.stdout.contains("there is nothing"),
        "{answer:?}"
    );
}

#[test]
fn gpgv_alone_checks_a_provenance_and_keys_may_change_hands_and_archives_be_far() {
    let world = world();
    // What docs/provenance.md tells to type.
    let ring = world.site.beside("ring.pgp");
    let dearmor = "gpg --dearmor < \"$1\" > \"$2\"";
    let key = world.site.path("archive/archive-key.asc");
    run(command("sh").env("HOME", world.site.beside("")).args(["-c", dearmor, "sh"]).arg(&key).arg(&ring))
        .ok();
    let by_hand = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/provenance.md")).unwrap();
    let by_hand = by_hand.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let by_hand = by_hand.replace("hello.intoto.jsonl", world.file(&world.built).to_str().unwrap());
    let by_hand = by_hand.replace("archive-keyring.pgp", ring.to_str().unwrap());
    let work = world.site.beside("by-hand");
    fs::create_dir(&work).unwrap();
    let answer = run(command("sh").current_dir(&work).args(["-ec", &by_hand]));
    assert!(answer.stderr.contains("Good signature"), "{answer:?}");
    assert!(answer.ok().contains(&world.commit));

    // Over HTTP, and by somebody who has another key.
    let server = CgiServer::start(&world.site.root());
    let uri = format!("{}/archive/", server.uri);
    let far = world.verify(&world.file(&world.copied), &["--archive", &uri]).ok();
    assert!(far.contains("built for dev"), "{far}");
    let strange = Site::new().path("archive/archive-key.asc");
    let other = Site::new();
    let mut cli = command(program(CLI));
    cli.args(["provenance", "verify"]).arg(world.file(&world.built)).arg("--keyring");
    let answer = run(cli.arg(other.path("archive/archive-key.asc"))).expect(1);
    assert!(answer.stdout.contains("no key of the keyring has signed it"), "{answer:?}");
    assert!(!strange.exists());
}

#[test]
fn old_ones_go_when_they_may() {
    let world = world();
    let next = world.hello.publishable(&world.site, "2.0");
    world.site.configure(|text| {
        text.replacen(
            "\npublisher:\n",
            "\npublisher:\n  provenance: { builder_id: \"https://build.example.org/\", keep: 1d }\n",
            1,
        )
    });
    for pocket in ["dev", "prod"] {
        world.site.submit(pocket, "hello", &next);
        world.site.work_quickly().ok();
    }
    let id = &world.site.json(&["provenance", "show", "hello"])[0]["statement"]["predicate"]["runDetails"]["builder"];
    assert_eq!(id["id"], "https://build.example.org/");
    // The files go first, and what was said of them when it is old enough.
    let old = [world.file(&world.built), world.file(&world.copied)];
    for ending in ["1.0.dsc", "1.0.tar.xz", "1.0_all.deb", "1.0_amd64.buildinfo"] {
        let _ = fs::remove_file(world.site.path("archive/pool/main/h/hello").join(format!("hello_{ending}")));
    }
    assert!(!world.site.cli(&["archive", "expire"]).ok().contains(".jsonl"), "they are of today");
    for file in &old {
        run(command("touch").args(["--date", "2 days ago"]).arg(file)).ok();
    }
    assert!(world.site.cli(&["archive", "expire", "--dry-run"]).ok().contains(".jsonl"));
    let gone = world.site.cli(&["archive", "expire"]).ok();
    let left = world.site.json(&["provenance", "show", "hello", "--limit", "9"]);
    let versions: Vec<_> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["statement"]["predicate"]["buildDefinition"]["internalParameters"]["version"].clone())
        .collect();
    assert_eq!(versions, ["2.0", "2.0"], "{gone}");
    world.site.assert_agreement();
    world.site.cli(&["provenance", "show", &world.built]).expect(5).says(&["left no provenance"]);
}
