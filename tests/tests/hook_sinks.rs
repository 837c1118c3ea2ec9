//! The shipped hooks, each against the real thing, and what they hear while the worker is killed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

const EVENTS: [&str; 5] = ["submitted", "refused", "published", "failed", "repo-created"];

/// Puts a shipped hook into the directories of all events, with these settings.
fn install(site: &Site, hook: &str, settings: &str) {
    let shipped = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/site/hooks")).join(hook);
    let conf = site.beside(&format!("{hook}.conf"));
    fs::write(&conf, settings).unwrap();
    let text =
        format!("#!/bin/sh\nINVIRTIBUILDER_HOOKS_CONF='{}' exec '{}'\n", conf.display(), shipped.display());
    for event in EVENTS {
        site.hook(event, hook, &text);
    }
}

/// Has `hello 1.0` published, and a request refused; returns the job.
fn publish(site: &Site) -> String {
    let (_, commit) = Package::hosted(site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    let _ = site.cli(&["submit", "dev", "hello", &"0".repeat(40)]).expect(5);
    site.work_quickly().ok();
    job
}

/// Returns a port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns the seconds and microseconds of a name in a maildir, such as `1790000000.M42P7Q1.host`: both are numbers
/// without leading zeros.
fn when_it_came(name: &str) -> (u64, u64) {
    let (seconds, rest) = name.split_once(".M").unwrap();
    let (microseconds, _) = rest.split_once('P').unwrap();
    (seconds.parse().unwrap(), microseconds.parse().unwrap())
}

#[test]
fn mail_reaches_a_mail_server_that_keeps_it() {
    let site = Site::new();
    let (box_, port) = (site.beside("mail"), free_port());
    let mut server = command("python3");
    server.args(["-m", "aiosmtpd", "--nosetuid", "--listen", &format!("127.0.0.1:{port}")]);
    let mut server = server.args(["-c", "aiosmtpd.handlers.Mailbox"]).arg(&box_).spawn().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(server.try_wait().unwrap().is_none(), "the mail server has ended");
        std::thread::yield_now();
    }
    let (file, sendmail) = (site.beside("msmtp.conf"), site.beside("sendmail"));
    fs::write(&file, format!("account default\nhost 127.0.0.1\nport {port}\nfrom build@example.org\n"))
        .unwrap();
    fs::write(&sendmail, format!("#!/bin/sh\nexec msmtp --file={} \"$@\"\n", file.display())).unwrap();
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
    install(&site, "mail", &format!("MAIL_TO=team@example.org\nSENDMAIL={}\n", sendmail.display()));
    let job = publish(&site);
    server.kill().unwrap();
    server.wait().unwrap();
    let mut names: Vec<_> = fs::read_dir(box_.join("new")).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort_by_key(|it| when_it_came(it.file_name().unwrap().to_str().unwrap()));
    let kept: String = names.iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let subjects: Vec<_> = kept.lines().filter(|it| it.starts_with("Subject: ")).collect();
    assert_eq!(
        subjects,
        [
            "Subject: [invirtibuilder] repo-created: hello",
            "Subject: [invirtibuilder] submitted: hello in dev",
            "Subject: [invirtibuilder] refused: hello in dev",
            "Subject: [invirtibuilder] published: hello 1.0 in dev",
        ]
    );
    let head = kept.lines().filter_map(|it| it.strip_prefix("audit:     ")).next_back().unwrap();
    assert!(kept.contains(&format!("job:       {job}")), "{kept}");
    site.cli(&["audit", "verify", "--head", head]).ok();
}

/// The requests that a server got, as head and body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A server that keeps the requests that it gets, and answers so to each.
fn server(answer: &'static str) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, kept) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let to = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                head.push_str(&std::mem::take(&mut line));
            }
            let length = head.lines().find_map(|it| it.strip_prefix("Content-Length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            to.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
            write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (port, kept)
}

#[test]
fn a_webhook_gets_all_facts_in_a_signed_body() {
    let site = Site::new();
    let (port, kept) = server("204 No Content");
    let secret = site.beside("secret");
    fs::write(&secret, "key\n").unwrap();
    install(
        &site,
        "webhook",
        &format!("WEBHOOK_URL=http://127.0.0.1:{port}/in\nWEBHOOK_SECRET={}\n", secret.display()),
    );
    let job = publish(&site);
    let kept = kept.lock().unwrap();
    let facts: Vec<serde_json::Value> = kept.iter().map(|it| serde_json::from_str(&it.1).unwrap()).collect();
    let events: Vec<_> = facts.iter().map(|it| it["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["repo-created", "submitted", "refused", "published"]);
    assert_eq!(facts[3]["job"], job.as_str());
    let check = |bodies: &[&String]| {
        let received = site.beside("received");
        let text: String = bodies.iter().map(|it| it.as_str()).collect();
        fs::write(&received, text).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/site/hooks/check-record");
        run(command(script).stdin(fs::File::open(received).unwrap()))
    };
    let bodies: Vec<&String> = kept.iter().map(|it| &it.1).collect();
    // Twice is no fault; one that is missing is, and so is a changed one.
    assert!(check(&[bodies[0], bodies[1], bodies[1], bodies[2], bodies[3]]).ok().starts_with("4 records"));
    let _ = check(&[bodies[0], bodies[2], bodies[3]]).expect(1);
    let changed = bodies[1].replacen("\"hash\":\"", "\"hash\":\"0", 1);
    let answer = check(&[bodies[0], &changed, bodies[2]]).expect(1);
    assert!(answer.stdout.contains("WRONG record"), "{answer:?}");
    for (head, body) in &*kept {
        let said =
            head.lines().find_map(|it| it.strip_prefix("X-Invirtibuilder-Signature: sha256=")).unwrap();
        let file = site.beside("body");
        fs::write(&file, body).unwrap();
        let openssl = run(command("openssl").args(["dgst", "-sha256", "-hmac", "key", "-r"]).arg(file)).ok();
        assert_eq!(openssl.split(' ').next(), Some(said));
    }
}

#[test]
fn a_webhook_that_answers_with_an_error_is_told_again_and_a_build_does_not_wait_for_it() {
    let site = Site::new();
    let (port, kept) = server("500 No");
    install(&site, "webhook", &format!("WEBHOOK_URL=http://127.0.0.1:{port}/in\n"));
    let job = publish(&site);
    assert_eq!(site.outcome(&job), "published");
    assert!(!kept.lock().unwrap().is_empty());
    let standing = &site.json(&["hooks", "list"])[0];
    assert_eq!(standing["waiting"], 4);
    assert!(standing["failing"]["problem"].as_str().unwrap().contains("exit status: 22"), "{standing}");
}

#[test]
fn syslog_gets_one_line_an_event() {
    let site = Site::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let port = socket.local_addr().unwrap().port();
    install(&site, "syslog", &format!("SYSLOG_SERVER=127.0.0.1\nSYSLOG_PORT={port}\n"));
    let job = publish(&site);
    for event in ["repo-created", "submitted", "refused", "published"] {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.contains(&format!("event={event} ")), "{text}");
        assert!(event != "published" || text.contains("version=1.0 ") && text.contains(&job), "{text}");
    }
}

#[test]
fn zephyr_is_told_by_this_command_line() {
    let site = Site::new();
    let (bin, heard) = (site.beside("bin"), site.beside("heard"));
    fs::create_dir(&bin).unwrap();
    let stub = format!("#!/bin/sh\nfor word; do printf '<%s>' \"$word\"; done >> {}\n", heard.display());
    fs::write(bin.join("zwrite"), stub).unwrap();
    fs::set_permissions(bin.join("zwrite"), fs::Permissions::from_mode(0o755)).unwrap();
    install(&site, "zephyr", &format!("PATH={}:$PATH\n", bin.display()));
    let job = publish(&site);
    let heard = fs::read_to_string(heard).unwrap();
    let expected =
        "<-d><-l><-c><invirtibuilder><-i><dev><-s><invirtibuilder><-m><published: hello 1.0\ncommit ";
    assert!(heard.contains(expected) && heard.contains(&format!("job {job}\naudit ")), "{heard}");
}

/// A realm-less Zephyr in namespaces of its own: `zephyrd`, `zhm`, and somebody who listens.
const ZEPHYR: &str = r#"
set -e
cd "$1"
ip link set lo up
ip addr add 10.9.9.1/32 dev lo
cp -a /etc/zephyr etc
mount --bind etc /etc/zephyr
printf '127.0.0.1 localhost\n10.9.9.1 zephyr.test.invalid\n' > hosts
mount --bind hosts /etc/hosts
hostname zephyr.test.invalid
mount -t tmpfs none /run
echo zephyr.test.invalid > /etc/zephyr/server.list
printf '[libdefaults]\n default_realm = TEST.INVALID\n dns_lookup_kdc = false\n' > krb5.conf
export KRB5_CONFIG="$1/krb5.conf" HOME="$1" WGFILE="$1/wg" TERM=dumb
zephyrd -d -n > zephyrd.log 2>&1 &
until ss -Hlun 'sport = :2103' | grep -q 2103; do :; done
zhm -d -n zephyr.test.invalid > zhm.log 2>&1 &
until ss -Hlun 'sport = :2104' | grep -q 2104; do :; done
echo 'invirtibuilder,*,*' > subscriptions
zwgc -nofork -ttymode -subfile subscriptions > heard 2>&1 &
until zwrite -d -q -c invirtibuilder -i probe -m ready > probe.log 2>&1; do :; done
echo ready
wait
"#;

#[test]
fn zephyr_is_heard_by_whoever_listens_to_a_real_server_and_nobody_is_no_failure() {
    let site = Site::new();
    let (lab, bin) = (site.beside("zephyr"), site.beside("bin"));
    fs::create_dir(&lab).unwrap();
    fs::create_dir(&bin).unwrap();
    let mut server = command("unshare");
    server.args(["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    server.args(["sh", "-c", ZEPHYR, "sh"]).arg(&lab).stdout(std::process::Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let id = server.id();
    let inside = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let text = format!(
        "#!/bin/sh\nKRB5_CONFIG={}/krb5.conf exec nsenter --target {} --net --mount --uts /usr/bin/zwrite \"$@\"\n",
        lab.display(),
        inside.trim()
    );
    fs::write(bin.join("zwrite"), text).unwrap();
    fs::set_permissions(bin.join("zwrite"), fs::Permissions::from_mode(0o755)).unwrap();
    install(&site, "zephyr", &format!("PATH={}:$PATH\n", bin.display()));
    let job = publish(&site);
    let heard = || String::from_utf8_lossy(&fs::read(lab.join("heard")).unwrap()).into_owned();
    let started = std::time::Instant::now();
    let is_whole = |it: &str| it.contains("published: hello 1.0") && it.contains(&format!("job {job}"));
    while !is_whole(&heard()) && started.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let told = heard();
    assert!(told.contains("Class invirtibuilder, Instance dev:"), "{told}");
    assert!(told.contains(&format!("job {job}")) && told.contains("published: hello 1.0"), "{told}");
    assert_eq!(site.json(&["hooks", "list"])[0]["waiting"], 0);
    // Nobody listens to another class, and the hook goes on all the same.
    install(&site, "zephyr", &format!("PATH={}:$PATH\nZEPHYR_CLASS=nobody\n", bin.display()));
    let _ = site.cli(&["submit", "dev", "hello", &"0".repeat(40)]).expect(5);
    site.cli(&["hooks", "deliver"]).ok();
    let standing = &site.json(&["hooks", "list"])[0];
    assert!(standing["waiting"] == 0 && standing["failing"].is_null(), "{standing}");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// An append-only repository elsewhere, and a clone of it for the hook.
fn record(site: &Site) -> (PathBuf, PathBuf) {
    let (remote, clone) = (site.beside("remote.git"), site.beside("record"));
    run(command("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&remote)).ok();
    for setting in ["receive.denyNonFastForwards", "receive.denyDeletes"] {
        run(command("git").arg("-C").arg(&remote).args(["config", setting, "true"])).ok();
    }
    run(command("git").args(["clone", "--quiet"]).arg(&remote).arg(&clone)).ok();
    run(command("git").arg("-C").arg(&clone).args(["symbolic-ref", "HEAD", "refs/heads/main"])).ok();
    (remote, clone)
}

#[test]
fn a_record_elsewhere_shows_a_rewritten_chain_and_refuses_to_be_rewritten_itself() {
    let site = Site::new();
    let (remote, clone) = record(&site);
    install(&site, "git", &format!("GIT_RECORD={}\n", clone.display()));
    publish(&site);
    let git = |repository: &PathBuf, words: &[&str]| site.git(repository, words);
    let bodies =
        git(&remote, &["log", "--reverse", "--format=%s/%(trailers:key=Audit,valueonly)", "main"]).ok();
    let told: Vec<_> = bodies.lines().filter(|it| !it.is_empty()).collect();
    assert_eq!(told.len(), 4, "{bodies}");
    let head = told[3].rsplit('/').next().unwrap();
    site.cli(&["audit", "verify", "--head", head]).ok();
    let check = |clone: &PathBuf| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/site/hooks/check-record");
        run(command(script).arg(clone))
    };
    assert!(check(&clone).ok().ends_with(&format!("; the last is {head}\n")));
    // Whoever takes the machine over writes the whole log anew, with a chain that is whole.
    fs::remove_file(site.path("audit/log")).unwrap();
    let (_, commit) = Package::hosted(&site, "other", "1.0");
    for version in ["dev", "prod"] {
        site.submit(version, "other", &commit);
        site.work_quickly().ok();
    }
    site.cli(&["audit", "verify"]).ok();
    let found = site.cli(&["audit", "verify", "--head", head]).expect(1);
    assert!(found.stdout.contains("rewritten"), "{}", found.stdout);
    // The other side sees it alone: from what it is told from then on, if the hook is made to hear of the new log.
    fs::remove_dir_all(site.path("outbox")).unwrap();
    site.cli(&["hooks", "deliver"]).ok();
    let elsewhere = site.beside("elsewhere");
    run(command("git").args(["clone", "--quiet"]).arg(&remote).arg(&elsewhere)).ok();
    let answer = check(&elsewhere).expect(1);
    assert!(answer.stdout.contains("the log was written anew"), "{answer:?}");
    // And where an event never came, or was taken away.
    git(&elsewhere, &["reset", "--quiet", "--hard", "HEAD~1"]).ok();
    while check(&elsewhere).code != Some(0) {
        git(&elsewhere, &["reset", "--quiet", "--hard", "HEAD~1"]).ok();
    }
    let files = git(&elsewhere, &["ls-tree", "--name-only", "HEAD"]).ok();
    let second = files.lines().nth(1).unwrap();
    git(&elsewhere, &["rm", "--quiet", second]).ok();
    let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
    git(&elsewhere, &[&identity[..], &["commit", "--quiet", "-m", "gone"]].concat()).ok();
    let answer = check(&elsewhere).expect(1);
    assert!(answer.stdout.contains(&format!("{second} was changed or removed")), "{answer:?}");
    assert!(answer.stdout.contains("but what is here before it is"), "{answer:?}");
    let amend = ["commit", "--quiet", "--amend", "-m", "nothing happened"];
    git(&clone, &[&identity[..], &amend].concat()).ok();
    assert_ne!(git(&clone, &["push", "--quiet", "--force", "origin", "HEAD"]).code, Some(0));
}

#[test]
fn over_kills_of_the_worker_every_event_is_heard_in_order_and_without_a_gap() {
    let kills: usize = std::env::var("INVIRTIBUILDER_TEST_HOOK_KILLS").map_or(4, |it| it.parse().unwrap());
    let site = Site::new();
    let (remote, clone) = record(&site);
    install(&site, "git", &format!("GIT_RECORD={}\n", clone.display()));
    let heard = site.beside("heard");
    for event in EVENTS {
        let text = format!(
            "#!/bin/sh\necho $INVIRTIBUILDER_AUDIT_SEQ $INVIRTIBUILDER_EVENT >> {}\n",
            heard.display()
        );
        site.hook(event, "note", &text);
    }
    let (hello, mut commit) = Package::hosted(&site, "hello", "1.0");
    for number in 0..kills {
        site.submit("dev", "hello", &commit);
        commit = hello.publishable(&site, &format!("1.{}", number + 1));
        let mut worker = site.quick_worker().spawn().unwrap();
        // Each is killed a little later in its life than the one before.
        let life = Duration::from_millis(20 + 600 * number as u64 / kills as u64);
        let ended = std::time::Instant::now() + life;
        while std::time::Instant::now() < ended && worker.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = worker.kill();
        worker.wait().unwrap();
    }
    site.work_quickly().ok();
    // A git that was killed leaves its locks, which the operator of that repository removes.
    for lock in ["index.lock", "HEAD.lock", "refs/heads/main.lock"] {
        let _ = fs::remove_file(clone.join(".git").join(lock));
    }
    while site.json(&["hooks", "list"]).as_array().unwrap().iter().any(|it| it["waiting"] != 0) {
        for state in ["git", "note"].map(|it| site.path(&format!("outbox/{it}.json"))) {
            let text = fs::read_to_string(&state).unwrap();
            let mut state_now: serde_json::Value = serde_json::from_str(&text).unwrap();
            state_now.as_object_mut().unwrap().remove("failing");
            fs::write(&state, state_now.to_string()).unwrap();
        }
        let _ = site.cli(&["hooks", "deliver"]);
    }
    let lines = site.json(&["audit", "show", "--limit", "100000"]);
    let recorded: Vec<String> = lines
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|line| {
            let told = line["tell"].as_array().cloned().unwrap_or_default();
            told.into_iter().map(move |it| format!("{} {}", line["seq"], it["event"].as_str().unwrap()))
        })
        .collect();
    let heard = fs::read_to_string(heard).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for line in heard.lines() {
        *counts.entry(line).or_default() += 1;
        if order.last() != Some(&line) {
            order.push(line);
        }
    }
    assert_eq!(order, recorded, "each in order, and again only at once");
    let again: usize = counts.values().map(|it| it - 1).sum();
    assert!(again <= kills, "{again} were told again over {kills} kills");
    let files = site.git(&remote, &["ls-tree", "--name-only", "main"]).ok();
    let files: Vec<u64> = files.lines().map(|it| it.trim_end_matches(".json").parse().unwrap()).collect();
    let seqs: Vec<u64> = recorded.iter().map(|it| it.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(files, seqs, "each once, as its number names the file");
    site.cli(&["audit", "verify"]).ok();
    site.assert_agreement();
}
