//! Pockets that are returned to what they served before: in APT, in Git, and whatever dies meanwhile.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::killing::{BUILT, WatchedWorker, chosen, kill_at, moments};
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::sites::Site;
use serde_json::Value;

/// Publishes commits in a pocket, each by a job of its own.
#[track_caller]
fn publish(site: &Site, pocket: &str, package: &str, commit: &str) {
    let job = site.submit(pocket, package, commit);
    site.work_quickly().ok();
    assert_eq!(site.outcome(&job), "published");
}

/// Returns the generation that a pocket serves.
#[track_caller]
fn generation(site: &Site, pocket: &str) -> u64 {
    let kept = site.json(&["archive", "snapshot", pocket]);
    kept[0]["generation"].as_u64().unwrap()
}

fn head(site: &Site, package: &str, pocket: &str) -> String {
    let name = format!("refs/heads/{pocket}");
    let refs = site.git(&site.repository(package), &["for-each-ref", "--format=%(objectname)", &name]);
    refs.ok().trim().to_owned()
}

/// The rest of a history, the latest first, as kind, package and version.
fn told(history: &Value) -> Vec<String> {
    let word = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let entries = history.as_array().unwrap().iter();
    entries
        .map(|it| format!("{} {} {}", word(it, "kind"), word(it, "package"), word(it, "version")))
        .collect()
}

#[test]
fn a_rollback_takes_several_packages_back_in_apt_and_in_git() {
    let site = Site::new();
    let (hello, hello1) = Package::hosted(&site, "hello", "1");
    let (_, world1) = Package::hosted(&site, "world", "1");
    let (_, late1) = Package::hosted(&site, "late", "1");
    publish(&site, "dev", "hello", &hello1);
    publish(&site, "dev", "world", &world1);
    let then = generation(&site, "dev");
    let hello2 = hello.publishable(&site, "2");
    publish(&site, "dev", "hello", &hello2);
    publish(&site, "dev", "late", &late1);
    let before = generation(&site, "dev");
    assert_eq!(before, then + 2);
    let apt = Apt::of_pocket(&site, "dev");
    assert_eq!(apt.source_version("hello").as_deref(), Some("2"));

    let to = then.to_string();
    let planned = site.json(&["archive", "rollback", "dev", &to, "--dry-run"]);
    assert_eq!((planned["moves"].as_array().unwrap().len(), planned.get("generation")), (2, None));
    assert_eq!(generation(&site, "dev"), before, "nothing was done");
    site.hook(
        "rolled-back",
        "note",
        &format!(
            "#!/bin/sh\necho $INVIRTIBUILDER_PACKAGE $INVIRTIBUILDER_VERSION >> {}\n",
            site.beside("heard").display()
        ),
    );
    let done = site.json(&["archive", "rollback", "dev", &to]);
    assert_eq!(done["generation"].as_u64(), Some(before + 1));
    site.cli(&["hooks", "deliver"]).ok();
    assert_eq!(std::fs::read_to_string(site.beside("heard")).unwrap(), "hello 1\nlate\n");

    site.assert_agreement();
    assert_eq!((head(&site, "hello", "dev"), head(&site, "late", "dev")), (hello1.clone(), String::new()));
    assert_eq!(apt.source_version("hello").as_deref(), Some("1"));
    assert_eq!(apt.source_version("world").as_deref(), Some("1"));
    assert_eq!(apt.source_version("late"), None);
    let _ = apt.download(&["hello=1", "world"]);
    let history = site.json(&["history", "--pocket", "dev"]);
    assert_eq!(told(&history)[..2], ["rollback hello 1", "removal late 1"]);
    assert!(history[0]["recorded_in"] == history[1]["recorded_in"] && history[0]["job"] == done["id"]);
    assert_eq!(history[0]["generation"].as_u64(), Some(before + 1));
    let message = site.git(&site.path("superproject.git"), &["log", "-1", "--format=%B", "dev"]).ok();
    let begin =
        format!("Roll back dev from generation {before} to {then}\n\nhello 2 -> 1\nlate 1 -> nothing\n");
    assert!(message.starts_with(&begin), "{message}");
    // The snapshots list tells the same, with the commit that records it.
    let kept = site.json(&["archive", "snapshot", "dev"]);
    assert_eq!(kept[0]["cause"]["rollback"].as_u64(), Some(then));
    assert_eq!(kept[0]["recorded_in"], history[0]["recorded_in"]);
    assert!(
        site.cli(&["archive", "snapshot", "dev"]).ok().contains(&format!("rollback to {then}: hello 2 -> 1"))
    );

    // And forth again: what went comes back.
    site.cli(&["archive", "rollback", "dev", &before.to_string()]).ok();
    site.assert_agreement();
    assert_eq!((head(&site, "hello", "dev"), head(&site, "late", "dev")), (hello2, late1));
    assert_eq!(apt.source_version("late").as_deref(), Some("1"));
    let hello3 = hello.publishable(&site, "3");
    publish(&site, "dev", "hello", &hello3);
    site.assert_agreement();
    // Apt can still ask for what was served first.
    let sources = site.cli(&["archive", "snapshot", "dev", &to]).ok();
    assert!(sources.contains("Check-Valid-Until: no\n"), "{sources}");
    let old = Apt::of_sources(site.beside("apt-old"), &sources);
    assert_eq!(old.source_version("hello").as_deref(), Some("1"));
    let simulated = old.get(&["--simulate", "install", "hello=1"]).ok();
    assert!(simulated.contains("Inst hello (1 "), "{simulated}");
}

#[test]
fn a_pocket_that_only_goes_forward_goes_on_from_where_a_rollback_left_it() {
    let site = Site::new();
    let (hello, one) = Package::hosted(&site, "hello", "1");
    publish(&site, "prod", "hello", &one);
    let then = generation(&site, "prod").to_string();
    let two = hello.publishable(&site, "2");
    publish(&site, "prod", "hello", &two);
    let denied = site.cli(&["archive", "rollback", "prod", &then, "--principal", "mallory@EXAMPLE.ORG"]);
    let _ = denied.expect(4);
    site.cli(&["archive", "rollback", "prod", &then]).ok();
    site.assert_agreement();
    assert_eq!(head(&site, "hello", "prod"), one);
    let again = site.cli(&["archive", "rollback", "prod", &generation(&site, "prod").to_string()]);
    assert_ne!(again.code, Some(0));
    assert!(again.stderr.contains("there is nothing to do"), "{}", again.stderr);
    let _ = site.cli(&["archive", "rollback", "prod", "99"]).expect(5);
    // The version 2 has its tag, so only the same commit may have it.
    let other = {
        hello.git(&["reset", "--quiet", "--hard", &one]);
        hello.write("README", "another way");
        hello.publishable(&site, "2")
    };
    let refused = site.cli(&["submit", "prod", "hello", &other]).expect(3);
    assert!(refused.stderr.contains("the version tag of hello 2"), "{}", refused.stderr);
    publish(&site, "prod", "hello", &two);
    site.assert_agreement();
    assert_eq!(Apt::of_pocket(&site, "prod").source_version("hello").as_deref(), Some("2"));
}

#[test]
fn a_rollback_waits_for_no_job_that_died_half_way_and_says_so() {
    let site = Site::new();
    let (hello, one) = Package::hosted(&site, "hello", "1");
    publish(&site, "dev", "hello", &one);
    let then = generation(&site, "dev").to_string();
    let two = hello.publishable(&site, "2");
    publish(&site, "dev", "hello", &two);
    let job = site.submit("prod", "hello", &two);
    // It copies from dev, and dies before it does.
    WatchedWorker::start(&mut site.cli_command(&["--json", "work", "--until-empty"]))
        .kill_in(&["claimed", "validate", "publish", "record", "announce"], "publish");
    let refused = site.cli(&["archive", "rollback", "dev", &then]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains(&job), "{}", refused.stderr);
    site.work().ok();
    assert_eq!(site.outcome(&job), "published");
    site.cli(&["archive", "rollback", "dev", &then]).ok();
    site.assert_agreement();
    assert!(BUILT.len() > 3);
}

#[test]
fn a_rollback_that_is_killed_at_any_change_of_a_file_is_completed_by_whoever_comes_next() {
    const SOME: usize = 24;
    let site = Site::new();
    let (hello, hello1) = Package::hosted(&site, "hello", "1");
    let (_, late1) = Package::hosted(&site, "late", "1");
    site.configure(|text| {
        text.replacen("publisher:\n", "publisher:\n  retention: { generations: 100000, time: 1s }\n", 1)
    });
    publish(&site, "dev", "hello", &hello1);
    let then = generation(&site, "dev");
    let hello2 = hello.publishable(&site, "2");
    publish(&site, "dev", "hello", &hello2);
    publish(&site, "dev", "late", &late1);
    let now = generation(&site, "dev");
    let (then, now) = (then.to_string(), now.to_string());
    let rollback = |to: &str| site.cli_command(&["archive", "rollback", "dev", to]);
    let all = moments(&rollback(&then), &site.beside("trace"));
    assert!(all.len() > 30, "only {} moments", all.len());
    let apt = Apt::of_pocket(&site, "dev");
    let mut is_back = true;
    let (mut killed, tried) = (0, chosen(&all, SOME));
    for (round, moment) in tried.iter().enumerate() {
        let (to, version) = if is_back { (&now, "2") } else { (&then, "1") };
        let count = site.json(&["history", "--pocket", "dev", "--limit", "10000"]).as_array().unwrap().len();
        killed += usize::from(kill_at(&rollback(to), moment));
        // Readers see the state before or after, and nothing else.
        let seen = apt.source_version("hello").unwrap();
        assert_eq!(apt.source_version("late").is_some(), seen == "2", "after {moment}");
        // Whoever comes next: a worker, the same command, or the command that only completes.
        let begun = site.path("queue/rollbacks/dev").exists();
        match round % 3 {
            0 => drop(site.work_quickly().ok()),
            1 => drop(site.cli(&["archive", "rollback", "--resume"]).ok()),
            _ if begun => drop(rollback(to).output().unwrap()),
            _ => (),
        }
        let history = || site.json(&["history", "--pocket", "dev", "--limit", "10000"]);
        if history().as_array().unwrap().len() == count {
            assert!(!begun, "after {moment} nobody completed it");
            // It died before it had decided.
            site.cli(&["archive", "rollback", "dev", to]).ok();
        }
        is_back = !is_back;
        site.assert_agreement();
        assert!(!site.path("queue/rollbacks/dev").exists());
        assert_eq!(apt.source_version("hello").as_deref(), Some(version), "after {moment}");
        let history = history();
        assert_eq!(history.as_array().unwrap().len(), count + 2, "each is told once, after {moment}");
    }
    assert!(killed * 10 >= tried.len() * 7, "only {killed} of {} were killed", tried.len());
}

#[test]
fn a_worker_that_runs_keeps_what_it_serves_valid() {
    let site = Site::new();
    site.configure(|text| text.replacen("publisher:\n", "publisher:\n  valid_for: 6s\n", 1));
    let (_, one) = Package::hosted(&site, "hello", "1");
    publish(&site, "dev", "hello", &one);
    let apt = Apt::of_pocket(&site, "dev");
    let mut worker = site.cli_command(&["work"]).spawn().unwrap();
    // Longer than any signature is valid: what is tested is the passing of time.
    std::thread::sleep(std::time::Duration::from_secs(9));
    let updated = apt.update();
    worker.kill().unwrap();
    worker.wait().unwrap();
    updated.ok();
    std::thread::sleep(std::time::Duration::from_secs(8));
    let expired = apt.update();
    assert!(expired.code != Some(0) && expired.stderr.contains("expired"), "{expired:?}");
    assert_eq!(site.json(&["archive", "refresh"]).as_array().unwrap().len(), 2);
    apt.update().ok();
    let generations = site.json(&["archive", "snapshot", "dev"]);
    assert_eq!(generations.as_array().unwrap().len(), 2, "no signature is a generation");
}
