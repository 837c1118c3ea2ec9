//! Looking at what a failed build left.

use std::io::Write;
use std::process::Stdio;

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::Answer;
use invirtibuilder_tests::sites::Site;

use super::super::*;

/// Makes a site whose builder has these settings.
fn site(builder: &str) -> Site {
    let site = Site::new();
    site.share_base();
    site.configure(|text| {
        let settings = format!("  backend: overlay\n{builder}");
        let changed = text.replace("builder:\n", &format!("builder:\n{settings}"));
        if changed == text { format!("{text}\nbuilder:\n{settings}") } else { changed }
    });
    site
}

/// Submits a package whose build does this and fails, and returns the job.
#[track_caller]
fn failed(site: &Site, name: &str, does: &str) -> String {
    let package = Package::new(site, name);
    let commit = package.commit_that("1.0", does);
    package.host(site);
    let job = site.submit("dev", name, &commit);
    drop(site.work());
    assert_eq!(site.outcome(&job), "failed");
    job
}

fn shell(site: &Site, job: &str, script: &str) -> Answer {
    site.cli(&["shell", job, "--", "sh", "-c", script])
}

/// Types lines at a terminal of 33 rows and 77 columns on which a shell runs.
fn type_lines(site: &Site, job: &str, lines: &str) -> Answer {
    let shell = format!("stty rows 33 cols 77; exec {} shell {job}", program(CLI).display());
    let mut script = site.command(Path::new("script"));
    script.args(["-qefc", &shell, "/dev/null"]).env("TERM", "dumb").env("SHELL", "/bin/sh");
    let mut child =
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_failed_build_is_looked_at_as_it_was_and_what_is_changed_there_is_gone() {
    let site = site("");
    let made = "mkdir -p made/deep && echo was here > made/deep/note && ln made/deep/note made/linked && ln -s nowhere made/pointing && touch -d @1000000000 made/old && mkfifo made/pipe && echo x > made/closed && chmod 0 made/closed && touch /tmp/beside; sleep 3155764001 & exit 7";
    let job = failed(&site, "broken", made);
    assert!(!runs("3155764001"));
    let log = site.cli(&["log", &job]).ok();
    assert!(log.contains(&format!("invirtibuilder shell {job}")) && log.contains("MiB of memory"), "{log}");

    let look = "pwd; cat made/linked; readlink made/pointing; stat -c %h made/deep/note; stat -c %Y made/old; stat -c %a made/closed; test -p made/pipe && echo pipe; ls /tmp; stat -c '%u %a' / /tmp .; id -u; hostname; grep -c : /proc/net/dev; echo $DEB_BUILD_OPTIONS | cut -c1-8; touch /new 2>/dev/null || echo refused; echo changed > made/deep/note; echo loud >&2; exit 3";
    let answer = shell(&site, &job, look).expect(3);
    let expected = [
        "/build/reproducible-path/broken-1.0",
        "was here",
        "nowhere",
        "2",
        "1000000000",
        "0",
        "pipe",
        "beside",
        "0 755",
        "0 1777",
        "1000 755",
        "1000",
        "build",
        "1",
        "parallel",
        "refused",
    ];
    assert_eq!(answer.stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!(answer.stderr, "loud\n");
    // What was changed is gone, and the tree is there for the next.
    assert_eq!(shell(&site, &job, "cat made/deep/note").ok(), "was here\n");
    assert_eq!(site.scratch(), Vec::<String>::new());

    // Bytes go through both ways, more than a pipe holds.
    let mut cat = site.cli_command(&["shell", &job, "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|it| (it / 7).to_le_bytes()[0]).collect();
    let (mut input, sent) = (cat.stdin.take().unwrap(), bytes.clone());
    let writer = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let output = cat.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == bytes);

    // A person has a terminal with job control.
    let lines = "tty; stty size; sleep 3155764002 &\njobs; kill %1; wait\necho in $PWD\nexit 5\n";
    let answer = type_lines(&site, &job, lines).expect(5);
    for text in ["/dev/pts/0", "33 77", "Running", "in /build/reproducible-path/broken-1.0"] {
        assert!(answer.stdout.contains(text), "no {text:?} in {:?}", answer.stdout);
    }
    assert!(!runs("3155764002"));
    let _ = shell(&site, &job, "kill -TERM $$").expect(143);
    assert_eq!(site.scratch(), Vec::<String>::new());

    // What cannot be is told.
    let (_, commit) = Package::hosted(&site, "fine", "1.0");
    let good = site.submit("dev", "fine", &commit);
    site.work().ok();
    shell(&site, &good, "true").expect(5).says(&["no failed build"]);
    shell(&site, "20200101000000_aaaaaa", "true").expect(5).says(&["20200101000000_aaaaaa"]);
    for entry in fs::read_dir(site.path("cache/overlay/layers")).unwrap().map(|it| it.unwrap().path()) {
        if entry.is_dir() { fs::remove_dir_all(entry) } else { fs::remove_file(entry) }.unwrap();
    }
    shell(&site, &job, "true").expect(5).says(&[
        "the layer",
        "made way",
        &format!("invirtibuilder retry {job}"),
    ]);
    site.configure(|text| text.replace("  backend: overlay\n", "  backend: sbuild\n"));
    shell(&site, &job, "true").expect(2).says(&["backend: overlay"]);
}

#[test]
fn a_build_on_disk_is_kept_though_a_limit_ended_it_and_goes_when_its_time_is_over() {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let free = text.lines().find_map(|it| it.strip_prefix("MemAvailable:")).unwrap();
    let free: u64 = free.trim().trim_end_matches(" kB").parse().unwrap();
    let site = site(&format!("  keep_failed: 1h\n  limits: {{ disk: {free}KiB, silence: 3s }}\n"));
    let job = failed(&site, "hanging", "echo was here > note; sleep 3155764003");
    assert!(!runs("3155764003"));
    let log = site.cli(&["log", &job]).ok();
    assert!(log.contains(", on disk\n") && log.contains("it printed nothing for 3 s"), "{log}");
    assert_eq!(shell(&site, &job, "cat note; echo more > note; stat -c %u / .").ok(), "was here\n0\n1000\n");
    assert_eq!(shell(&site, &job, "cat note").ok(), "was here\n");

    let kept = || {
        let entries = fs::read_dir(site.path("cache/overlay/failed")).unwrap();
        entries.map(|it| it.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert!(!kept().is_empty());
    // What a dead run left without a record, and what is too old.
    fs::create_dir(site.path("cache/overlay/failed/torn")).unwrap();
    site.work().ok();
    assert!(!kept().iter().any(|it| it == "torn"));
    site.configure(|text| text.replace("keep_failed: 1h", "keep_failed: no"));
    site.work().ok();
    assert_eq!(kept(), Vec::<std::ffi::OsString>::new());
    shell(&site, &job, "true").expect(5).says(&["nothing is kept", "invirtibuilder retry"]);
    let unkept = failed(&site, "unkept", "exit 1");
    shell(&site, &unkept, "true").expect(5).says(&["nothing is kept"]);
}
