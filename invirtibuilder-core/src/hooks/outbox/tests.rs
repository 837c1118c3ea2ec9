#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::stop::Never;

/// Hooks that note what they hear, and a log that somebody writes to.
struct World {
    directory: tempfile::TempDir,
    log: AuditLog,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for event in ["published", "failed"] {
            fs::create_dir_all(directory.path().join(format!("hooks/{event}.d"))).unwrap();
        }
        let log = AuditLog::new(&directory.path().join("audit"));
        Self { directory, log }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn outbox(&self, patience: Duration) -> Outbox {
        let hooks = Hooks::new(self.path("hooks"), Duration::from_secs(60), self.path("hooks.log"));
        Outbox::new(hooks, self.log.clone(), &self.path("outbox"), patience)
    }

    fn hook(&self, event: &str, name: &str, command: &str) {
        let heard = self.path(&format!("heard-{name}"));
        let path = self.path(&format!("hooks/{event}.d/{name}"));
        let note = "echo $INVIRTIBUILDER_EVENT $INVIRTIBUILDER_AUDIT_SEQ $INVIRTIBUILDER_PACKAGE";
        fs::write(&path, format!("#!/bin/sh\n{note} >> {}\n{command}\n", heard.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn happen(&self, kind: EventKind, package: &str) {
        let event = Event::new(kind, package.parse().unwrap());
        self.log.append(&Entry::new(Happened::Ended).telling(event)).unwrap();
    }

    fn heard(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("heard-{name}"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Forgets that a failure is recent.
    fn make_due(&self, name: &str) {
        let file = self.path(&format!("outbox/{name}.json"));
        let mut progress: Progress = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        progress.failing.as_mut().unwrap().not_before = Timestamp::MIN;
        fs::write(&file, serde_json::to_vec(&progress).unwrap()).unwrap();
    }
}

#[test]
fn hooks_of_one_name_hear_of_all_their_events_in_the_order_of_the_log_and_once() {
    let world = World::new();
    world.happen(EventKind::Published, "before");
    world.hook("published", "note", "");
    world.hook("failed", "note", "");
    for (kind, package) in
        [(EventKind::Published, "aa"), (EventKind::Submitted, "bb"), (EventKind::Failed, "cc")]
    {
        world.happen(kind, package);
    }
    let outbox = world.outbox(PATIENCE);
    outbox.deliver(&Never);
    outbox.deliver(&Never);
    let heard = world.heard("note");
    // What happened just before a hook came may be as old as it, for the clock of the file system.
    let heard: Vec<_> = heard.iter().filter(|it| !it.ends_with("before")).collect();
    assert_eq!(heard, ["published 2 aa", "failed 4 cc"]);
    let records: Vec<_> = world.log.read().unwrap().map(|it| it.unwrap().entry).collect();
    let of_hooks: Vec<_> = records.iter().filter(|it| it.event == Happened::Hook).collect();
    assert_eq!(of_hooks.last().unwrap().facts["record"], "4");
    assert_eq!(of_hooks.last().unwrap().facts["result"], "done");
}

#[test]
fn a_hook_that_fails_is_told_the_same_again_before_anything_else_and_holds_up_nobody() {
    let world = World::new();
    world.hook("published", "bad", "test -e $0.mended");
    world.hook("published", "good", "");
    world.happen(EventKind::Published, "aa");
    world.happen(EventKind::Published, "bb");
    let outbox = world.outbox(PATIENCE);
    outbox.deliver(&Never);
    outbox.deliver(&Never);
    assert_eq!(world.heard("good"), ["published 1 aa", "published 2 bb"]);
    assert_eq!(world.heard("bad"), ["published 1 aa"], "it is not told again at once");
    let standing = outbox.standing().unwrap();
    assert_eq!((standing[0].waiting, standing[1].waiting), (2, 0));
    assert!(standing[0].failing.as_ref().unwrap().problem.contains("exit status: 1"));
    fs::write(world.path("hooks/published.d/bad.mended"), "").unwrap();
    world.make_due("bad");
    outbox.deliver(&Never);
    assert_eq!(world.heard("bad"), ["published 1 aa", "published 1 aa", "published 2 bb"]);
    assert_eq!(outbox.standing().unwrap()[0].failing, None);
}

#[test]
fn a_hook_that_fails_for_too_long_is_given_up_for_that_event_and_that_is_recorded() {
    let world = World::new();
    world.hook("published", "bad", "exit 1");
    world.happen(EventKind::Published, "aa");
    let outbox = world.outbox(Duration::ZERO);
    outbox.deliver(&Never);
    let entry = world.log.read().unwrap().last().unwrap().unwrap().entry;
    assert!(entry.facts["result"].starts_with("given up: "), "{entry:?}");
    assert_eq!(outbox.standing().unwrap()[0].waiting, 0);
}

#[test]
fn what_was_recorded_by_a_process_that_died_is_told_by_the_next() {
    let world = World::new();
    world.hook("published", "note", "");
    world.happen(EventKind::Published, "aa");
    // Its writer was killed in the middle of a record.
    let text = fs::read_to_string(world.log.path()).unwrap();
    fs::write(world.log.path(), format!("{text}{{\"seq\":2,")).unwrap();
    world.outbox(PATIENCE).deliver(&Never);
    assert_eq!(world.heard("note"), ["published 1 aa"]);
    world.happen(EventKind::Published, "bb");
    world.outbox(PATIENCE).deliver(&Never);
    assert_eq!(world.heard("note"), ["published 1 aa", "published 3 bb"]);
}

#[test]
fn a_running_outbox_tells_at_once_and_ends_when_it_is_done() {
    let world = World::new();
    world.hook("published", "note", "");
    let (stop, done) = (Stop::new().unwrap(), Stop::new().unwrap());
    let outbox = world.outbox(PATIENCE);
    std::thread::scope(|scope| {
        scope.spawn(|| outbox.run(&stop, &done));
        world.happen(EventKind::Published, "aa");
        while world.heard("note").is_empty() {
            std::thread::yield_now();
        }
        world.happen(EventKind::Published, "bb");
        done.set();
    });
    let heard = world.heard("note");
    assert!(heard.len() == 2 && heard[1].ends_with("bb"), "{heard:?}");
}

#[test]
fn a_log_that_was_cut_below_what_a_hook_has_heard_is_an_error_and_not_told_again() {
    let world = World::new();
    world.hook("published", "note", "");
    world.happen(EventKind::Published, "aa");
    let outbox = world.outbox(PATIENCE);
    outbox.deliver(&Never);
    let text = fs::read_to_string(world.log.path()).unwrap();
    fs::write(world.log.path(), text.replacen("\"seq\":2", "\"seq\":9", 1)).unwrap();
    world.happen(EventKind::Published, "bb");
    assert!(matches!(outbox.standing(), Err(OutboxError::Audit(AuditError::Gap { after: 1, .. }))));
    outbox.deliver(&Never);
    assert_eq!(world.heard("note"), ["published 1 aa"]);
}
