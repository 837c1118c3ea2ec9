//! What a site records of its jobs, and how its past is proved.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::run;
use invirtibuilder_tests::sites::Site;

fn events(site: &Site) -> Vec<String> {
    let lines = site.json(&["audit", "show", "--limit", "1000"]);
    lines.as_array().unwrap().iter().map(|it| it["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn everything_that_is_asked_for_and_done_is_recorded_and_hooks_know_where() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let heard = site.beside("heard");
    let hook = format!(
        "#!/bin/sh\necho $INVIRTIBUILDER_AUDIT_SEQ $INVIRTIBUILDER_AUDIT_HEAD >> {}\n",
        heard.display()
    );
    site.hook("published", "tell", &hook);
    let job = site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    let refused = site.cli(&["submit", "dev", "hello", &"0".repeat(40)]);
    assert_ne!(refused.code, Some(0));
    let refused = site.cli(&["submit", "dev", "../hello", "HEAD"]);
    assert_ne!(refused.code, Some(0));
    assert_eq!(
        events(&site),
        [
            "repo-created",
            "submitted",
            "configuration",
            "started",
            "published",
            "ended",
            "hook",
            "refused",
            "refused"
        ]
    );
    let of_job = site.json(&["audit", "show", "--job", &job]);
    assert_eq!(of_job.as_array().unwrap().len(), 5);
    assert_eq!(of_job[2]["facts"]["suite"], "dev");
    let heard = std::fs::read_to_string(heard).unwrap();
    let (seq, head) = heard.trim().split_once(' ').unwrap();
    assert_eq!(seq, "6");
    assert!(site.cli(&["audit", "verify", "--head", head]).ok().contains("9 records, none changed"));
}

#[test]
fn a_change_of_the_past_is_found_by_its_line_and_a_rewritten_past_by_a_head() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    let head = site.json(&["audit", "verify"])["head"].as_str().unwrap().to_owned();
    let path = site.path("audit/log");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("hello", "jello", 1)).unwrap();
    let found = site.cli(&["audit", "verify"]).expect(1);
    assert!(found.stdout.contains("line 2, record 2, does not follow the line before"), "{}", found.stdout);
    std::fs::write(&path, text.lines().take(3).map(|it| it.to_owned() + "\n").collect::<String>()).unwrap();
    site.cli(&["audit", "verify"]).ok();
    let found = site.cli(&["audit", "verify", "--head", &head]).expect(1);
    assert!(found.stdout.contains("it ends with record 3, but there was a record"), "{}", found.stdout);
    // What cannot be recorded does not happen.
    std::fs::write(&path, "no record\n").unwrap();
    let answer = site.cli(&["submit", "prod", "hello", &commit]);
    assert_eq!(answer.code, Some(70), "{answer:?}");
    assert_eq!(site.queued(), [""; 0]);
}

#[test]
fn why_tells_what_is_there_since_when_and_what_was_asked_for_in_vain() {
    let site = Site::new();
    let (hello, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    let waiting = site.cli(&["why", "hello"]).ok();
    assert!(waiting.contains("prod does not serve hello: it was never published there"), "{waiting}");
    assert!(waiting.contains(&format!("job {job} of ")) && waiting.contains(" waits: commit"), "{waiting}");
    site.work_quickly().ok();
    let lower = hello.publishable(&site, "0.1");
    site.submit("prod", "hello", &commit);
    site.work_quickly().ok();
    let _ = site.cli(&["submit", "prod", "hello", &lower]).expect(3);
    let told = site.cli(&["why", "hello", "prod"]).ok();
    assert!(told.starts_with(&format!("prod serves hello 1.0 from commit {commit}\n  since ")), "{told}");
    assert!(told.contains("provenance: provenance/hello/1.0/"), "{told}");
    assert!(told.contains("a request of ") && told.contains(" was refused: "), "{told}");
    assert_eq!(site.json(&["why", "hello"]).as_array().unwrap().len(), 2);
    site.cli(&["why", "other"]).expect(5).says(&["nothing is known of other"]);
    // Every log of a job has a name.
    let log = site.cli(&["log", &job, "amd64"]);
    assert!(log.code == Some(5) && log.stderr.contains("it has ") || log.ok().contains("building hello"));
}

#[test]
fn the_end_of_a_job_that_nobody_worked_and_a_request_for_nothing_new_are_recorded_too() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let heard = site.beside("heard");
    site.hook("refused", "tell", &format!("#!/bin/sh\ncat >> {}\n", heard.display()));
    let job = site.submit("dev", "hello", &commit);
    assert_eq!(site.submit("dev", "hello", &commit), job);
    site.cli(&["cancel", &job]).ok();
    let _ = site.cli(&["cancel", &job]).expect(3);
    let of_job = site.json(&["audit", "show", "--job", &job]);
    let told: Vec<_> = of_job
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["event"].as_str().unwrap(), it["facts"]["outcome"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(told, [("submitted", ""), ("submitted", "pending"), ("ended", "cancelled")]);
    site.cli(&["hooks", "deliver"]).ok();
    assert_eq!(std::fs::read_to_string(&heard).unwrap().matches(&job).count(), 1);
    site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    assert!(site.cli(&["submit", "dev", "hello", &commit]).ok().is_empty());
    let last = &site.json(&["audit", "show", "--limit", "1"])[0];
    assert_eq!(
        (last["event"].as_str(), last["facts"]["outcome"].as_str()),
        (Some("submitted"), Some("current"))
    );
    // A changed configuration is a record of the next worker's.
    let before = events(&site).iter().filter(|it| *it == "configuration").count();
    site.configure(|text| format!("{text}\n# another\n"));
    site.work_quickly().ok();
    site.work_quickly().ok();
    let after = events(&site).iter().filter(|it| *it == "configuration").count();
    assert_eq!((before, after), (1, 2));
}

#[test]
fn a_shell_and_a_reader_of_manuals_are_served() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = site.cli(&["completions", shell]).ok();
        assert!(text.contains("remctl-config") && text.contains("provenance"), "{shell}");
    }
    let pages = site.beside("man");
    let written = site.cli(&["man", pages.to_str().unwrap()]).ok();
    assert!(written.lines().count() > 40, "{written}");
    let page = std::fs::read_to_string(pages.join("invirtibuilder-archive-rollback.1")).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && page.contains("invirtibuilder-archive-rollback"), "{page}");
    assert!(!written.contains("git-hook") && !written.contains("room"));
}

#[test]
fn whoever_may_not_is_recorded_whatever_was_asked_for() {
    let site = Site::new();
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    let job = site.submit("prod", "hello", &commit);
    for pocket in ["prod", "dev"] {
        site.set_acl(pocket, "[nobody@X]");
    }
    let _ = site.cli(&["submit", "dev", "hello", &commit, "--principal", "root@X"]).expect(4);
    let _ = site.cli(&["archive", "rollback", "dev", "1"]).expect(4);
    let _ = site.cli(&["archive", "keyring"]).expect(4);
    let _ = run(&mut site.remctl_command("mallory@X", &["buildjob", "cancel", &job])).expect(4);
    let _ = run(&mut site.remctl_command("mallory@X", &["build", "prod", "hello", &commit])).expect(4);
    let records = site.json(&["audit", "show", "--limit", "1000"]);
    let denied = records.as_array().unwrap().iter().filter(|it| it["event"] == "denied");
    let actions: Vec<_> = denied.map(|it| it["facts"]["action"].as_str().unwrap_or("build")).collect();
    assert_eq!(actions, ["impersonate", "rollback", "keyring", "keyring", "cancel", "build"]);
}
