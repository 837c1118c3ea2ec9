#![allow(clippy::disallowed_methods)]

use std::fs;

use super::*;
use crate::job::{Ended, Job, Outcome, Request, Stage};
use crate::names::Version;

struct World {
    directory: tempfile::TempDir,
    hooks: Hooks,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("failed.d")).unwrap();
        let log = directory.path().join("logs/hooks.log");
        let hooks = Hooks::new(directory.path(), Duration::from_secs(60), log);
        Self { directory, hooks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn hook(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path("failed.d").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("logs/hooks.log")).unwrap()
    }
}

fn ended() -> Ended {
    let request = Request {
        pocket: "dev".parse().unwrap(),
        package: "hello".parse().unwrap(),
        commit: "3f".repeat(20).parse().unwrap(),
        principal: "alice $(id) 'x' \"y\"@EXAMPLE.ORG".parse().unwrap(),
        adds: None,
    };
    let job = Job::new("20261123101500_k3x9ab".parse().unwrap(), request);
    let outcome = Outcome::Failed {
        stage: Stage::Build,
        causes: vec!["hello 1.0 does not build: exit status 2".to_owned()],
        log: Some("/logs/hello.log".into()),
    };
    Ended { job, started: None, ended: "2026-11-23T10:16:00Z".parse().unwrap(), outcome }
}

fn failed() -> Event {
    let audit = crate::audit::Head { seq: 17, hash: "ab".repeat(32) };
    Event { version: Some("1:2.0~rc1".parse().unwrap()), audit: Some(audit), ..Event::ended(&ended()) }
}

#[test]
fn hooks_get_the_facts_as_environment_and_as_json() {
    let world = World::new();
    world.hook("facts", "env | grep ^INVIRTIBUILDER_ | sort; cat; echo \"$EXTRA\"");
    let results = world.hooks.clone().env("EXTRA", "more").run(&failed());
    let lines: Vec<&str> = results[0].output.lines().collect();
    assert_eq!(
        lines[..12],
        [
            "INVIRTIBUILDER_ADDS=",
            format!("INVIRTIBUILDER_AUDIT_HEAD=17:{}", "ab".repeat(32)).as_str(),
            "INVIRTIBUILDER_AUDIT_PREVIOUS=",
            "INVIRTIBUILDER_AUDIT_SEQ=17",
            "INVIRTIBUILDER_COMMIT=3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f",
            "INVIRTIBUILDER_EVENT=failed",
            "INVIRTIBUILDER_JOB=20261123101500_k3x9ab",
            "INVIRTIBUILDER_LOG=/logs/hello.log",
            "INVIRTIBUILDER_PACKAGE=hello",
            "INVIRTIBUILDER_POCKET=dev",
            "INVIRTIBUILDER_PRINCIPAL=alice $(id) 'x' \"y\"@EXAMPLE.ORG",
            "INVIRTIBUILDER_VERSION=1:2.0~rc1",
        ]
    );
    let json: serde_json::Value = serde_json::from_str(lines[12]).unwrap();
    assert_eq!(json["event"], "failed");
    assert_eq!(json["time"], "2026-11-23T10:16:00Z");
    assert_eq!(json["principal"], "alice $(id) 'x' \"y\"@EXAMPLE.ORG");
    assert_eq!(json["result"]["stage"], "build");
    assert_eq!(json["result"]["causes"][0], "hello 1.0 does not build: exit status 2");
    assert_eq!(json["audit"]["seq"], 17);
    assert_eq!(lines[13], "more");
    assert!(results[0].problem.is_none());
}

#[test]
fn facts_that_there_are_not_are_empty_in_the_environment_and_left_out_of_the_json() {
    let world = World::new();
    world.hook("facts", "set -u; echo \"[$INVIRTIBUILDER_POCKET$INVIRTIBUILDER_LOG]\"; cat");
    let output = world.hooks.run(&Event::new(EventKind::Failed, "hello".parse().unwrap())).remove(0).output;
    assert!(output.starts_with("[]\n{") && !output.contains("pocket"), "{output}");
}

#[test]
fn only_executable_files_with_plain_names_run_in_the_order_of_their_names() {
    let world = World::new();
    for name in ["20-b", "10-a", "9_c", "mail.sh", "30-d~", ".hidden", "README.md"] {
        world.hook(name, "echo ran");
    }
    fs::set_permissions(world.hook("not-executable", ""), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(world.hook("everybodys", ""), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(world.path("failed.d/directory")).unwrap();
    std::os::unix::fs::symlink(world.path("failed.d/10-a"), world.path("failed.d/40-link")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", world.path("failed.d/50-dangling")).unwrap();
    let results = world.hooks.run(&failed());
    let names: Vec<&str> = results.iter().map(|it| it.hook.as_str()).collect();
    assert_eq!(names, ["10-a", "20-b", "40-link", "9_c"]);
}

#[test]
fn a_hook_that_fails_is_logged_and_the_next_one_runs() {
    let world = World::new();
    world.hook("1-fails", "echo to stderr >&2; exit 7");
    world.hook("2-killed", "kill -9 $$");
    world.hook("3-no-program", "");
    fs::write(world.path("failed.d/3-no-program"), "#!/nonexistent\n").unwrap();
    world.hook("4-runs", "echo fine; printf 'forged\\033[2J'");
    world.hooks.announce(&failed());
    let log = world.log();
    let heads: Vec<&str> = log.lines().filter(|it| !it.starts_with("    ")).collect();
    assert_eq!(heads.len(), 4, "{log}");
    assert!(
        heads[0].ends_with("failed 1-fails 20261123101500_k3x9ab: it ended with exit status: 7"),
        "{log}"
    );
    assert!(heads[1].contains("signal: 9") && heads[2].contains("No such file"), "{log}");
    assert!(heads[3].ends_with(": done"), "{log}");
    assert!(log.contains("\n    to stderr\n") && log.contains("    forged\\u{1b}[2J\n"), "{log}");
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started() {
    let mut world = World::new();
    world.hooks.timeout = Duration::from_millis(300);
    let pid = world.path("pid");
    world.hook("hangs", &format!("sleep 1000 & echo $! > {}; wait", pid.display()));
    let started = Instant::now();
    let results = world.hooks.run(&failed());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(results[0].problem.as_ref().unwrap().contains("was ended"), "{results:?}");
    let pid = fs::read_to_string(pid).unwrap();
    // It may be a zombie until its new parent asks for it, but it does not run.
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(status.is_empty() || status.contains(") Z") || status.contains(") X"), "{status}");
}

#[test]
fn a_hook_that_floods_is_ended_and_its_output_is_cut() {
    let world = World::new();
    world.hook("floods", "yes");
    let results = world.hooks.run(&failed());
    assert!(results[0].problem.as_ref().unwrap().contains("it printed more than"), "{results:?}");
    assert_eq!(results[0].output.len(), KEPT_OUTPUT);
}

#[test]
fn a_hook_that_reads_nothing_does_not_hold_up_the_job() {
    let world = World::new();
    world.hook("deaf", "exit 0");
    let mut event = failed();
    let causes = vec!["x".repeat(1 << 20)];
    event.outcome = Some(Outcome::Failed { stage: Stage::Build, causes, log: None });
    assert!(world.hooks.run(&event)[0].problem.is_none());
}

#[test]
fn no_directory_is_no_hook_and_a_log_that_cannot_be_written_is_no_failure() {
    let world = World::new();
    assert!(world.hooks.run(&Event::new(EventKind::Submitted, "hello".parse().unwrap())).is_empty());
    world.hook("a", "echo ran");
    let hooks = Hooks::new(world.directory.path(), Duration::from_secs(60), "/proc/nonexistent/log");
    assert_eq!(hooks.run(&failed())[0].output, "ran\n");
}

#[test]
fn a_log_that_has_grown_too_long_is_moved_aside() {
    let world = World::new();
    world.hook("a", "echo ran");
    world.hooks.run(&failed());
    let log = fs::File::options().write(true).open(world.path("logs/hooks.log")).unwrap();
    log.set_len(MAX_LOG + 1).unwrap();
    world.hooks.run(&failed());
    assert!(world.path("logs/hooks.log.1").exists());
    assert_eq!(world.log().lines().count(), 2);
}

/// Installs one of the hooks that are shipped, with these settings.
fn shipped(world: &World, name: &str, settings: &str) -> Hooks {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/site/hooks").join(name);
    fs::copy(source, world.path("failed.d").join(name)).unwrap();
    fs::write(world.path("hooks.conf"), settings).unwrap();
    world.hooks.clone().env("INVIRTIBUILDER_HOOKS_CONF", world.path("hooks.conf").to_str().unwrap())
}

#[test]
fn the_shipped_mail_hook_gives_sendmail_a_letter() {
    let world = World::new();
    let (letter, sendmail) = (world.path("letter"), world.path("sendmail"));
    fs::write(&sendmail, format!("#!/bin/sh\n{{ echo \"$@\"; cat; }} > {}\n", letter.display())).unwrap();
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = format!("MAIL_TO=team@example.org\nSENDMAIL={}\n", sendmail.display());
    let results = shipped(&world, "mail", &settings).run(&failed());
    assert!(results[0].problem.is_none(), "{results:?}");
    let letter = fs::read_to_string(letter).unwrap();
    let (head, body) = letter.split_once("\n\n").unwrap();
    assert!(
        head.starts_with(
            "-t -oi\nTo: team@example.org\nSubject: [invirtibuilder] failed: hello 1:2.0~rc1 in dev\n"
        ),
        "{head}"
    );
    assert!(body.contains("principal: alice $(id) 'x' \"y\"@EXAMPLE.ORG\n"), "{body}");
    assert!(body.contains("\"result\":{\"outcome\":\"failed\""), "{body}");
    let unset = shipped(&world, "mail", "").run(&failed());
    assert!(unset[0].output.contains("write MAIL_TO=address into"), "{unset:?}");
}

#[test]
fn the_shipped_webhook_posts_the_json_with_curl() {
    use std::io::{BufRead, BufReader, Read};
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    fs::write(world.path("headers"), "Authorization: Bearer secret\n").unwrap();
    let headers = world.path("headers");
    let hooks =
        shipped(&world, "webhook", &format!("WEBHOOK_URL={url}\nWEBHOOK_HEADERS={}\n", headers.display()));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").unwrap();
        (head, body)
    });
    let results = hooks.run(&failed());
    assert!(results[0].problem.is_none(), "{results:?}");
    let (head, body) = server.join().unwrap();
    assert!(
        head.starts_with("POST /hook HTTP/1.1\r\n") && head.contains("Authorization: Bearer secret"),
        "{head}"
    );
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&json["package"], &json["version"]), (&"hello".into(), &"1:2.0~rc1".into()));
    // Nobody listens there any more.
    let refused = hooks.run(&failed());
    assert!(refused[0].problem.as_ref().unwrap().contains("exit status"), "{refused:?}");
}

#[test]
fn the_shipped_syslog_hook_reaches_a_server() {
    let world = World::new();
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let port = server.local_addr().unwrap().port();
    let hooks = shipped(&world, "syslog", &format!("SYSLOG_SERVER=127.0.0.1\nSYSLOG_PORT={port}\n"));
    let results = hooks.run(&failed());
    assert!(results[0].problem.is_none(), "{results:?}");
    let mut buffer = [0; 2000];
    let count = server.recv(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(line.contains("event=failed pocket=dev package=hello version=1:2.0~rc1 commit=3f3f"), "{line}");
}

#[test]
fn every_outcome_is_an_event_of_its_kind() {
    let version: Version = "1.0".parse().unwrap();
    let rejected = Outcome::Rejected { reasons: vec!["no".to_owned()], not_permitted: true };
    assert_eq!(EventKind::of(&rejected), EventKind::Refused);
    assert_eq!(EventKind::of(&Outcome::Cancelled { by: "a@B".parse().unwrap() }), EventKind::Refused);
    let mut ended = ended();
    ended.outcome = Outcome::Published { version: version.clone(), copied_from: None, notes: Vec::new() };
    let event = Event::ended(&ended);
    assert_eq!((event.kind, event.version), (EventKind::Published, Some(version)));
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}
