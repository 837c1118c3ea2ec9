//! The archive's keys: several at once, their package, and what is said of those that cannot sign.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::keys::{KEYRING, another_key, first_key, gpg, sign_with, write_public};
use invirtibuilder_tests::killing::{chosen, kill_at, moments};
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// Publishes a version of `hello`, so that a suite is signed.
fn publish(site: &Site, pocket: &str) {
    let (_, commit) = Package::hosted(site, "hello", "1.0");
    site.submit(pocket, "hello", &commit);
    site.work_quickly().ok();
}

/// Returns an apt that trusts one key for one pocket.
fn client(site: &Site, pocket: &str, name: &str, key: &str) -> Apt {
    let keyring = site.beside(name).join("keyring.pgp");
    write_public(site, key, &keyring);
    let signed_by = format!("--signed-by={}", keyring.display());
    Apt::of_sources(site.beside(name), &site.cli(&["archive", "sources", pocket, &signed_by]).ok())
}

#[test]
fn what_two_keys_signed_is_trusted_by_clients_of_either_and_of_both() {
    let site = Site::new();
    let (old, new) = (first_key(&site), another_key(&site, "New <new@example.org>"));
    sign_with(&site, &[&old, &new]);
    publish(&site, "prod");
    for (name, key) in [("old", &old), ("new", &new)] {
        client(&site, "prod", name, key).update().ok();
    }
    let both = Apt::of_pocket(&site, "prod");
    assert_eq!(both.source_version("hello").as_deref(), Some("1.0"));
    // The key file of the archive has both, and so has what `archive sources` prints.
    let file = site.path("archive/archive-key.asc");
    let shown = gpg(&site, &["--show-keys", "--with-colons", file.to_str().unwrap()]).ok();
    assert!(shown.contains(&old) && shown.contains(&new), "{shown}");
    // A client that trusts a key that did not sign is refused.
    let other = another_key(&site, "Other <other@example.org>");
    let answer = client(&site, "prod", "other", &other).update();
    assert_ne!(answer.code, Some(0));
    answer.says(&["NO_PUBKEY"]);
}

#[test]
fn the_keyring_is_published_once_for_the_same_keys_and_again_for_others() {
    let site = Site::new();
    let jobs = site.cli(&["archive", "keyring"]).ok();
    assert_eq!(jobs.lines().count(), 2, "one for each pocket");
    let again = site.cli(&["archive", "keyring"]).expect(0);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), (jobs.as_str(), ""));
    site.work_quickly().ok();
    // The pocket that only goes forward was first; the other has its package.
    let jobs: Vec<&str> = jobs.lines().collect();
    assert_eq!(site.job(jobs[0])["pocket"], "prod");
    assert_eq!(site.job(jobs[1])["copied_from"], "prod");
    site.cli(&["archive", "keyring", "--wait"]).ok();
    let repository = site.repository(KEYRING);
    let count = || site.git(&repository, &["rev-list", "--count", "keyring"]).ok().trim().to_owned();
    assert_eq!(count(), "1");

    let (old, new) = (first_key(&site), another_key(&site, "New <new@example.org>"));
    sign_with(&site, &[&old, &new]);
    let made = site.json(&["archive", "keyring", "dev"]);
    assert_eq!((&made["new"], made["pockets"].as_array().unwrap().len()), (&true.into(), 1));
    site.cli(&["archive", "keyring"]).ok();
    site.work_quickly().ok();
    assert_eq!(count(), "2");
    let version = made["version"].as_str().unwrap();
    let held = site.json(&["pocket", "show", "prod"]);
    assert_eq!(held["packages"][0]["version"], version);
    let tree = site.git(&repository, &["ls-tree", "-r", "--name-only", "prod"]).ok();
    assert!(tree.contains("debian/rules") && tree.contains("keyring.pgp"), "{tree}");
    let keys = site.git(&repository, &["show", "prod:debian/changelog"]).ok();
    assert!(keys.contains(&old) && keys.contains(&new), "{keys}");
    site.assert_agreement();
}

#[test]
fn nothing_is_made_for_a_principal_whom_one_of_the_pockets_does_not_admit() {
    let site = Site::with_pockets(&["prod", "dev"]);
    site.configure(|text| {
        let line = text.lines().find(|it| it.trim().starts_with("acl: ")).unwrap().to_owned();
        text.replacen(&line, "      acl: [somebody@ELSE]", 1)
    });
    let answer = site.cli(&["archive", "keyring"]).expect(4);
    answer.says(&["may not publish in prod"]);
    assert!(!site.repository(KEYRING).exists());
    assert_eq!(site.queued(), [""; 0]);
    site.cli(&["archive", "keyring", "dev"]).ok();
    site.cli(&["archive", "keyring", "nowhere"]).expect(5).says(&["nowhere"]);
}

#[test]
fn nobody_pushes_to_the_keyring_and_a_package_of_its_name_is_left_alone() {
    let site = Site::new();
    site.cli(&["archive", "keyring", "dev"]).ok();
    let clone = site.beside("clone");
    let repository = site.repository(KEYRING);
    run(command("git").args(["clone", "--quiet"]).arg(&repository).arg(&clone)).ok();
    let push = run(command("git").arg("-C").arg(&clone).args(["push", "origin", "HEAD:refs/heads/topic"]));
    assert_ne!(push.code, Some(0));
    push.says(&["archive keyring"]);
    let other = "other-archive-keyring";
    let (_, commit) = Package::hosted(&site, other, "1.0");
    site.configure(|text| text.replace("publisher:\n", &format!("publisher:\n  keyring_package: {other}\n")));
    site.cli(&["archive", "keyring"]).expect(70).says(&["publisher.keyring_package"]);
    assert_eq!(site.git(&site.repository(other), &["rev-parse", "main"]).ok().trim(), commit);
}

#[test]
fn a_keyring_command_that_is_killed_is_completed_by_the_next() {
    let site = Site::new();
    let (old, new) = (first_key(&site), another_key(&site, "New <new@example.org>"));
    let keyring = || site.cli_command(&["archive", "keyring"]);
    site.cli(&["archive", "keyring"]).ok();
    // What is killed later commits the keys anew, and has a repository already.
    sign_with(&site, &[&new]);
    let all = moments(&keyring(), &site.beside("trace"));
    site.work_quickly().ok();
    let repository = site.repository(KEYRING);
    let versions = || {
        let log = site.git(&repository, &["log", "--format=%s", "keyring"]).ok();
        log.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut killed = 0;
    for (moment, n) in chosen(&all, 15).iter().zip(0..) {
        let keys = [&old, &new].map(String::as_str);
        sign_with(&site, if n % 2 == 0 { &keys } else { &keys[..1] });
        let before = versions().len();
        killed += usize::from(kill_at(&keyring(), moment));
        site.cli(&["archive", "keyring"]).ok();
        assert_eq!(versions().len(), before + 1, "{moment:?}");
        site.work_quickly().ok();
        site.assert_agreement();
        for pocket in ["prod", "dev"] {
            let held = site.json(&["pocket", "show", pocket]);
            let version = held["packages"][0]["version"].as_str().unwrap();
            assert_eq!(versions()[0], format!("{KEYRING} {version}"), "{moment:?}");
        }
    }
    assert!(killed > 8, "only {killed} were killed of {}", all.len());
}

#[test]
fn a_keyring_command_that_is_killed_in_a_new_site_is_completed_by_the_next() {
    let all = {
        let site = Site::new();
        moments(&site.cli_command(&["archive", "keyring"]), &site.beside("trace"))
    };
    let mut killed = 0;
    for moment in chosen(&all, 10) {
        let site = Site::new();
        killed += usize::from(kill_at(&site.cli_command(&["archive", "keyring"]), &moment));
        site.cli(&["archive", "keyring"]).ok();
        site.work_quickly().ok();
        site.assert_agreement();
        let count = site.git(&site.repository(KEYRING), &["rev-list", "--count", "keyring"]).ok();
        assert_eq!(count.trim(), "1", "{moment:?}");
        let refused = site.repository(KEYRING).join("hooks/pre-receive");
        assert!(fs::read_to_string(refused).unwrap().contains("archive keyring"), "{moment:?}");
    }
    assert!(killed > 5, "only {killed} were killed of {}", all.len());
}

#[test]
fn a_job_whose_key_was_revoked_waits_until_another_key_signs() {
    let site = Site::new();
    let (old, new) = (first_key(&site), another_key(&site, "New <new@example.org>"));
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("prod", "hello", &commit);
    let path = site.path(&format!("gnupg/openpgp-revocs.d/{old}.rev"));
    let text = fs::read_to_string(&path).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(&path, text).unwrap();
    gpg(&site, &["--import", path.to_str().unwrap()]).ok();
    let check = site.cli(&["check"]).stdout;
    assert!(check.contains(&old) && check.contains("is revoked"), "{check}");
    let answer = site.work_quickly();
    assert_ne!(answer.code, Some(0));
    answer.says(&[&old, "is revoked"]);
    sign_with(&site, &[&new]);
    site.work_quickly().ok();
    assert_eq!(site.outcome(&job), "published");
    client(&site, "prod", "new", &new).update().ok();
    site.assert_agreement();
}

#[test]
fn check_warns_of_a_key_that_ends_soon_and_refuses_keys_that_others_can_read() {
    let site = Site::new();
    let key = first_key(&site);
    gpg(&site, &["--quick-set-expire", &key, "20d"]).ok();
    let line = |text: &str| {
        let found = site.cli(&["check"]).stdout;
        let line = found.lines().find(|it| it.contains(text)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no line has {text}:\n{found}"))
    };
    assert!(line(&key).contains("warning") && line(&key).contains("expires on"), "{}", line(&key));
    gpg(&site, &["--quick-set-expire", &key, "2y"]).ok();
    assert!(line(&key).starts_with("ok"), "{}", line(&key));
    let home = site.path("gnupg");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(line("directory of the keys").starts_with("error"));
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(line("directory of the keys").starts_with("ok"));
    // A link hides from the configuration that a web server would serve the keys.
    let inside = site.path("archive/keys");
    fs::rename(&home, &inside).unwrap();
    std::os::unix::fs::symlink(&inside, &home).unwrap();
    assert!(line("by way of a link").starts_with("error"));
    fs::remove_file(&home).unwrap();
    fs::rename(&inside, &home).unwrap();
}

#[test]
fn sources_name_the_keyring_of_the_package_or_another_and_refuse_what_cannot_stand_there() {
    let site = Site::new();
    let sources = |arguments: &[&str]| site.cli(&[&["archive", "sources", "prod"], arguments].concat());
    let own = sources(&["--signed-by", "--uri", "https://apt.example.org/"]).ok();
    assert!(own.contains(&format!("Signed-By: /usr/share/keyrings/{KEYRING}.pgp\n")), "{own}");
    assert!(own.contains("URIs: https://apt.example.org/\n"), "{own}");
    assert!(sources(&[]).ok().contains("Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n"));
    for arguments in [["--signed-by=key.pgp"], ["--signed-by=/a b"], ["--uri=x"], ["--uri=http://x y"]] {
        assert_ne!(sources(&arguments).code, Some(0), "{arguments:?}");
    }
}

#[test]
fn a_tag_is_signed_as_git_signs_it_and_one_without_its_signature_is_named() {
    let site = Site::new();
    let (hello, first) = Package::hosted(&site, "hello", "1.0");
    let publish = |commit: &str| {
        let job = site.submit("prod", "hello", commit);
        site.work_quickly().ok();
        assert_eq!(site.outcome(&job), "published");
    };
    publish(&first);
    let key = first_key(&site);
    site.configure(|text| text.replacen("  tagger:\n", &format!("  tagger:\n    key: {key}\n"), 1));
    assert!(site.cli(&["check"]).stdout.contains("tag key"));
    publish(&hello.publishable(&site, "2.0"));
    publish(&hello.publishable(&site, "3.0"));
    // Whoever has the public key checks it by git alone.
    let home = site.beside("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let import = ["--batch", "--import"];
    let public = site.path("archive/archive-key.asc");
    run(command("gpg").env("GNUPGHOME", &home).args(import).arg(public)).ok();
    let repository = site.repository("hello");
    let git =
        |words: &[&str]| run(command("git").env("GNUPGHOME", &home).arg("-C").arg(&repository).args(words));
    for words in [["verify-tag", "2.0"], ["verify-tag", "3.0"]] {
        git(&words).says(&["Good signature"]);
        git(&words).ok();
    }
    git(&["tag", "-v", "3.0"]).ok();
    git(&["fsck", "--strict"]).ok();
    assert_ne!(git(&["verify-tag", "1.0"]).code, Some(0), "a tag from before stays as it is");
    site.assert_agreement();

    // Without its signature; with that of another text; by another key.
    let text = git(&["cat-file", "tag", "3.0"]).ok();
    let bare = text.split("-----BEGIN").next().unwrap().to_owned();
    let other = git(&["cat-file", "tag", "2.0"]).ok();
    let foreign = format!("{bare}-----BEGIN{}", other.split_once("-----BEGIN").unwrap().1);
    let stranger = another_key(&site, "Somebody <x@example.org>");
    let file = site.beside("tag");
    fs::write(&file, &bare).unwrap();
    let signature = gpg(
        &site,
        &["--local-user", &stranger, "--armor", "--output", "-", "--detach-sign", file.to_str().unwrap()],
    );
    let strange = format!("{bare}{}", signature.ok());
    for (text, named) in [
        (bare.clone(), "without the signature"),
        (foreign, "whose signature is wrong"),
        (strange, "signed, not"),
    ] {
        fs::write(&file, text).unwrap();
        let mut mktag = command("git");
        mktag.arg("-C").arg(&repository).arg("mktag").stdin(fs::File::open(&file).unwrap());
        let id = run(&mut mktag).ok();
        git(&["update-ref", "refs/tags/3.0", id.trim()]).ok();
        let answer = site.cli(&["verify"]).expect(1);
        assert!(answer.stdout.contains("the tag 3.0") && answer.stdout.contains(named), "{answer:?}");
        assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
    }
}
