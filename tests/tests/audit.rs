//! What a site records of its jobs, and how its past is proved.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use invirtibuilder_tests::packages::Package;
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
