//! The attack that the original's README admits: a developer of an untrusted pocket publishes a package whose
//! maintainer script tries everything, and has another package build-depend on it.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

use super::super::*;

/// What children that should not survive are known by.
const SURVIVORS: [&str; 4] = ["3155764001", "3155764002", "3155764003", "3155764004"];

/// The maintainer script and the program of the package do this: each attempt says whether it worked.
fn attack(site: &Site, service: u16) -> String {
    let root = site.root().display().to_string();
    let secret = site.beside("secret").display().to_string();
    let local = format!(
        "use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); exit(connect($s, pack(\"Sa*\", AF_UNIX, \"\\0invirtibuilder-attack-{service}\")) ? 0 : 1)"
    );
    let connect = |address: &str| {
        format!(
            "perl -e 'use Socket; socket(my $s, AF_INET, SOCK_STREAM, 6); my ($h, $p) = split /:/, \"{address}\"; exit(connect($s, pack_sockaddr_in($p, inet_aton($h))) ? 0 : 1)'"
        )
    };
    let attempts: Vec<(&str, String)> = vec![
        ("read a host file", format!("cat {secret}")),
        ("write a host file", format!("echo evil > {secret}")),
        ("read the key of the archive", format!("ls {root}/gnupg/private-keys-v1.d")),
        ("change the configuration", format!("echo evil >> {root}/invirtibuilder.yaml")),
        ("change the archive", format!("echo evil >> {root}/archive/dists/prod/InRelease")),
        ("add to the pool", format!("touch {root}/archive/pool/evil")),
        ("change a Git repository", format!("echo evil > {root}/repositories/victim.git/refs/heads/prod")),
        ("change the superproject", format!("echo evil > {root}/superproject.git/refs/heads/prod")),
        ("reach the queue", format!("ls {root}/queue")),
        ("reach the workspace of another job", format!("ls {root}/queue/running/*/workspace")),
        ("reach the rooms of others", format!("ls {root}/scratch")),
        ("change the audit log", format!("echo evil >> {root}/audit/log")),
        ("poison the layers", format!("touch {root}/cache/overlay/layers/evil")),
        ("poison the kept packages", format!("touch {root}/cache/overlay/packages/evil")),
        ("poison the lists of apt", format!("touch {root}/cache/overlay/lists/evil")),
        ("poison the packages that are shown", "echo evil > /build/packages/evil.deb".into()),
        (
            "poison the packages that are there",
            "for it in /build/packages/*.deb; do echo evil >> $it; done".into(),
        ),
        ("see the processes of the host", "cat /proc/[0-9]*/cmdline | grep -qa '[o]verlay_sbuild'".into()),
        ("leave by the first process", "ls /proc/1/root/ /proc/1/cwd/".into()),
        ("read the first process", "cat /proc/1/environ".into()),
        ("reach the loopback of the host", connect(&format!("127.0.0.1:{service}"))),
        ("reach an abstract socket", format!("perl -e '{local}'")),
        ("reach the network", connect("9.9.9.9:53")),
        ("send raw packets", "perl -e 'use Socket; socket(my $s, AF_INET, SOCK_RAW, 1) or exit 1'".into()),
        ("mount", "mount -t tmpfs evil /mnt".into()),
        ("mount proc", "mount -t proc proc /mnt".into()),
        ("unmount what hides", "umount /proc/sys || umount /build/packages".into()),
        ("make the node of the disk", "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk".into()),
        ("make the node of the memory", "mknod /tmp/memory c 1 1 && head -c 1 /tmp/memory".into()),
        ("set the core pattern", "echo '|/tmp/evil' > /proc/sys/kernel/core_pattern".into()),
        ("set the module loader", "echo /tmp/evil > /proc/sys/kernel/modprobe".into()),
        ("reach the control groups", "mkdir /sys/fs/cgroup/evil || ls /sys/fs/cgroup/*/release_agent".into()),
        ("use the system request", "echo b > /proc/sysrq-trigger".into()),
        ("read the log of the kernel", "dmesg".into()),
        ("name the host", "hostname evil".into()),
        ("make namespaces", "unshare --user true || unshare --mount true".into()),
        ("enter namespaces", "nsenter --target 1 --mount true".into()),
        ("set the clock", "date -s @0".into()),
        ("trace a process", "perl -e 'exit(syscall(101, 16, 1, 0, 0) < 0 ? 1 : 0)'".into()),
        ("load a program into the kernel", "perl -e 'exit(syscall(321, 0, 0, 0) < 0 ? 1 : 0)'".into()),
    ];
    let is_usual = std::env::consts::ARCH == "x86_64";
    let mut text = "#!/bin/sh\n".to_owned();
    for (name, does) in attempts.iter().filter(|it| is_usual || !it.1.contains("syscall(")) {
        let _ = writeln!(
            text,
            "if ( {does} ) >/dev/null 2>&1; then echo 'attack: {name}: IT WORKED'; else echo 'attack: {name}: failed'; fi"
        );
    }
    let _ = writeln!(text, "setsid sleep {} </dev/null >/dev/null 2>&1 &", SURVIVORS[0]);
    let _ = writeln!(
        text,
        "setsid setsid sh -c 'trap \"\" TERM HUP; exec sleep {}' </dev/null >/dev/null 2>&1 &",
        SURVIVORS[1]
    );
    text.push_str("echo 'attack: it is over'\nexit 0\n");
    text
}

/// Returns how many attempts an attack has, after seeing that the record of one has them all and that none worked.
#[track_caller]
fn assert_all_failed(record: &str, attack: &str, where_: &str) {
    let said: Vec<_> = record.lines().filter(|it| it.contains("attack: ")).collect();
    let attempts = attack.lines().filter(|it| it.starts_with("if ( ")).count();
    assert!(said.iter().any(|it| it.contains("it is over")), "{where_}: the attack did not end:\n{record}");
    assert!(!record.contains("IT WORKED"), "{where_}: {said:#?}");
    assert_eq!(said.iter().filter(|it| it.ends_with(": failed")).count(), attempts, "{where_}: {said:#?}");
}

/// Commits the package that attacks: it is called `bc`, which Debian has too, in a lesser version.
fn evil(site: &Site, attack: &str) -> (Package, String) {
    let package = Package::new(site, "evil");
    package.commit_that("99:1.0", "true");
    let paragraph = |name: &str| {
        format!("\nPackage: {name}\nArchitecture: all\nDescription: made for a test\n It attacks.\n")
    };
    let bombs = [
        (
            "evil-forks",
            format!("i=0; while [ $i -lt 2000 ]; do sleep {} & i=$((i+1)); done; wait", SURVIVORS[2]),
        ),
        ("evil-memory", "perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 20) }'".to_owned()),
        ("evil-disk", "i=0; while head -c 10M /dev/zero > /var/evil$i; do i=$((i+1)); done".to_owned()),
        ("evil-log", format!("yes {}", SURVIVORS[3])),
    ];
    let mut control = "Source: evil\nMaintainer: A Developer <dev@example.org>\nSection: misc\nPriority: optional\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n".to_owned();
    let mut rules = "#!/usr/bin/make -f\nbuild build-arch build-indep:\nclean:\n\trm -rf debian/made debian/files\nbinary-arch:\nbinary binary-indep: build\n".to_owned();
    let scripts =
        [("bc", "/usr/share/evil/attack > /usr/share/evil/record 2>&1\necho evil > /etc/evil".to_owned())];
    for (name, script) in scripts.into_iter().chain(bombs) {
        control.push_str(&paragraph(name));
        package.write(&format!("debian/{name}.postinst"), &format!("#!/bin/sh\n{script}\n"));
        let made = format!("debian/made/{name}");
        let _ = writeln!(rules, "\tmkdir -p {made}/DEBIAN {made}/usr/share/evil {made}/usr/bin");
        let _ = writeln!(rules, "\tinstall -m 755 debian/{name}.postinst {made}/DEBIAN/postinst");
        if name == "bc" {
            let _ = writeln!(rules, "\tinstall -m 755 attack {made}/usr/share/evil/attack");
            let _ = writeln!(rules, "\tinstall -m 755 attack {made}/usr/bin/bc");
        }
        let _ = writeln!(rules, "\tdpkg-gencontrol -p{name} -P{made}");
        let _ = writeln!(rules, "\tdpkg-deb --root-owner-group --build {made} ..");
    }
    rules.push_str(".PHONY: build build-arch build-indep clean binary binary-arch binary-indep\n");
    package.write("debian/control", &control);
    package.write("debian/rules", &rules);
    package.write("attack", attack);
    let commit = package.commit_all("it attacks");
    package.host(site);
    (package, commit)
}

/// Commits a package that needs one, and whose build tells what it sees of it.
fn needing(site: &Site, name: &str, needs: &str) -> String {
    let package = Package::new(site, name);
    let shows = "cat /usr/share/evil/record || echo nothing evil is here; ls /etc/evil || echo nothing evil is there; bc --version </dev/null | head -n 60";
    let commit = super::against::commit_needing(&package, "1.0", needs, shows);
    package.host(site);
    commit
}

/// Tells all files below a directory with their sums, modes and owners, but for those below some paths.
fn fingerprint(directory: &Path, but: &[&str]) -> Vec<String> {
    let find = |arguments: &[&str]| {
        let mut find = command("find");
        find.current_dir(directory).arg(".");
        for (at, path) in but.iter().enumerate() {
            find.args(if at == 0 { &["("][..] } else { &["-o"][..] }).args(["-path", &format!("./{path}")]);
        }
        run(find.args([")", "-prune", "-o"]).args(arguments)).ok()
    };
    let files = find(&["-type", "f", "-exec", "sha256sum", "{}", "+"]);
    let all = find(&["-printf", "%p %y %m %U %l\\n"]);
    let mut lines: Vec<_> = files.lines().chain(all.lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What a host has that no build may change.
fn host_facts() -> String {
    let kernel = ["core_pattern", "modprobe", "hostname", "domainname"];
    let kernel = kernel.map(|it| fs::read_to_string(format!("/proc/sys/kernel/{it}")).unwrap_or_default());
    let files = ["/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/resolv.conf"];
    kernel.concat() + &run(command("sha256sum").args(files)).stdout
}

/// Everything of a site that neither the job of `victim` in `dev` nor reading it changes.
const CHANGES: [&str; 15] = [
    "archive/dists/dev",
    "archive/pool/main/v",
    // Second names of what is covered below the packages' own.
    "archive/provenance/by-hash",
    "archive/provenance/victim",
    "archive/snapshot",
    "audit",
    "cache/archive",
    "cache/bases",
    "cache/overlay",
    "gnupg",
    "logs",
    // What hooks were told.
    "outbox",
    "queue",
    "repositories/victim.git",
    "superproject.git",
];

#[test]
fn what_a_package_of_an_untrusted_pocket_tries_fails_and_other_pockets_never_see_it() {
    let site = Site::new();
    super::against::build_by(&site, "overlay", "archive");
    site.configure(|text| {
        let text = text.replace("build_against: [dev]", "build_against: [dev]\n      trust: none");
        let text = text.replace("build_against: [prod]", "build_against: [prod]\n      copy_from: []");
        text.replace(
            "  layers: 1GiB\n",
            "  layers: 1GiB\n  limits: { disk: 400MiB, memory: 400MiB, processes: 300, log: 2MiB }\n",
        )
    });
    fs::write(site.beside("secret"), "of the host\n").unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let address = SocketAddr::from_abstract_name(format!("invirtibuilder-attack-{port}")).unwrap();
    let socket = UnixListener::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let record = off_site_record(&site);

    let attack = attack(&site, port);
    let (_, evil) = evil(&site, &attack);
    let victim = needing(&site, "victim", "bc");
    let evil_job = site.submit("dev", "evil", &evil);
    let victim_job = site.submit("dev", "victim", &victim);
    let waits = site.cli(&["status"]).ok();
    assert!(waits.contains(&format!("for {evil_job}, which builds bc of evil")), "{waits}");

    site.cli(&["work", "--once"]).ok();
    assert_eq!(site.outcome(&evil_job), "published");
    // It is known elsewhere before anything of it ran here.
    assert_eq!(site.job(&victim_job)["state"], "waiting");
    let _ = site.cli(&["hooks", "deliver"]);
    let told = site.git(&record, &["log", "-p", "--format=%B", "main"]).ok();
    assert!(told.starts_with("published evil 99:1.0\n") && told.contains(&evil), "{told}");
    let head = told.lines().find_map(|it| it.strip_prefix("Audit: ")).unwrap().to_owned();
    let prod = |repository: &str| site.git(&site.path(repository), &["for-each-ref", "refs/heads/prod"]).ok();
    let before = (host_facts(), fingerprint(&site.root(), &CHANGES), prod("superproject.git"));

    site.work().ok();
    assert_eq!(site.outcome(&victim_job), "published");
    let log = site.cli(&["log", &victim_job]).ok();
    let (installed, built) = log.split_once("attack: it is over\n").unwrap_or_else(|| panic!("{log}"));
    assert_all_failed(&format!("{installed}attack: it is over\n"), &attack, "while it was installed");
    assert_all_failed(built, &attack, "while the other was built");
    assert!(log.contains("in a layer for the pocket dev alone\n") && log.contains("/etc/evil\n"), "{log}");
    assert!(service.accept().is_err() && socket.accept().is_err(), "somebody connected");
    for survivor in SURVIVORS {
        assert!(!runs(survivor), "a process of the attack runs on: {survivor}");
    }
    let after = (host_facts(), fingerprint(&site.root(), &CHANGES), prod("superproject.git"));
    assert_eq!(
        (&before.0, &before.2),
        (&after.0, &after.2),
        "the attack changed the host, or the history of prod"
    );
    let [gone, new] = [(&before.1, &after.1), (&after.1, &before.1)]
        .map(|(of, than)| of.iter().filter(|it| !than.contains(it)).collect::<Vec<_>>());
    assert!(gone.is_empty() && new.is_empty(), "the attack changed the site: {gone:#?} became {new:#?}");
    assert_eq!(fs::read_to_string(site.beside("secret")).unwrap(), "of the host\n");

    // Bombs: each ends the one job, and nothing else.
    for (bomb, problem) in [
        ("evil-forks", "its build dependencies cannot be installed"),
        ("evil-memory", "its build dependencies cannot be installed"),
        (
            "evil-disk",
            "its build dependencies cannot be installed: it wrote more than its limit of 419430400 bytes",
        ),
        ("evil-log", "its build dependencies cannot be installed: it was ended"),
    ] {
        let name = bomb.replace("evil", "victim-of");
        let job = site.submit("dev", &name, &needing(&site, &name, bomb));
        assert_eq!(site.work().code, Some(6), "{bomb}");
        assert_eq!(site.outcome(&job), "failed", "{bomb}");
        let told = site.job(&job).to_string();
        assert!(told.contains(problem), "{bomb}: {told}");
        for survivor in SURVIVORS {
            assert!(!runs(survivor), "a process of {bomb} runs on: {survivor}");
        }
        assert_eq!(site.scratch(), Vec::<String>::new(), "{bomb}");
    }

    // The same commit, with the same build dependency, in the pocket that is trusted.
    let prod_job = site.submit("prod", "victim", &victim);
    site.work().ok();
    assert_eq!(site.outcome(&prod_job), "published");
    let log = site.cli(&["log", &prod_job]).ok();
    assert!(
        log.contains("in a layer for trusted pockets\n") && log.contains("nothing evil is here\n"),
        "{log}"
    );
    assert!(log.contains("nothing evil is there\n") && !log.contains("attack"), "{log}");
    assert_nothing_evil_is_kept_for_trusted_pockets(&site);
    assert_eq!(before.0, host_facts());
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
    site.cli(&["audit", "verify", "--head", &head]).ok();
    // And nobody makes untold what was told.
    let tree = site.git(&record, &["write-tree"]).ok();
    let other = ["-c", "user.name=x", "-c", "user.email=x@y", "commit-tree", "-m", "nothing", tree.trim()];
    let other = site.git(&record, &other).ok();
    for forced in [":refs/heads/main".to_owned(), format!("{}:refs/heads/main", other.trim())] {
        assert_ne!(
            site.git(&record, &["push", "--quiet", "--force", ".", &forced]).code,
            Some(0),
            "{forced}"
        );
    }
    assert!(site.git(&record, &["log", "--format=%s", "main"]).ok().contains("published evil 99:1.0\n"));
}

/// Makes a repository that only accepts more, and lets the hook that is shipped add to it.
fn off_site_record(site: &Site) -> PathBuf {
    let record = site.beside("elsewhere.git");
    run(command("git").args(["init", "--quiet", "--bare", "-b", "main"]).arg(&record)).ok();
    for key in ["receive.denyNonFastForwards", "receive.denyDeletes"] {
        site.git(&record, &["config", key, "true"]).ok();
    }
    let (settings, clone) = (site.beside("hooks.conf"), site.beside("record"));
    run(command("git").args(["clone", "--quiet"]).arg(&record).arg(&clone)).ok();
    fs::write(&settings, format!("GIT_RECORD={}\n", clone.display())).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/site/hooks/git");
    let text = format!(
        "#!/bin/sh\nINVIRTIBUILDER_HOOKS_CONF={} exec {}\n",
        settings.display(),
        shipped.canonicalize().unwrap().display()
    );
    for event in ["published", "failed"] {
        site.hook(event, "git", &text);
    }
    record
}

/// Looks through the base, its lists, all kept packages and the layers of trusted pockets.
fn assert_nothing_evil_is_kept_for_trusted_pockets(site: &Site) {
    let store = site.path("cache/overlay");
    let mut layers = 0;
    for record in fs::read_dir(store.join("layers")).unwrap().map(|it| it.unwrap().path()) {
        if record.extension().is_none_or(|it| it != "json") {
            continue;
        }
        let text = fs::read_to_string(&record).unwrap();
        if text.contains("trusted pockets") {
            layers += 1;
            assert!(!text.contains("evil") && !text.contains("bc_99"), "{text}");
            assert_no_file_is_evil(&record.with_extension(""));
        }
    }
    assert!(layers > 0, "there is a layer of trusted pockets");
    assert_no_file_is_evil(&store.join("trees"));
    let sums = run(command("find").arg(store.join("packages")).args([
        "-type",
        "f",
        "-exec",
        "sha256sum",
        "{}",
        "+",
    ]));
    for line in sums.ok().lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        assert!(path.ends_with(&format!("/{sum}.deb")), "a kept package was changed: {line}");
    }
    let lists = run(command("grep").args(["-rlx", "Version: 99:1.0"]).arg(store.join("lists")));
    assert_eq!(lists.stdout, "", "the mirror's lists name what is evil");
}

#[track_caller]
fn assert_no_file_is_evil(directory: &Path) {
    // The base has a Libreville.
    let found = run(command("find").arg(directory).args(["-regex", ".*/evil[^/]*"]));
    assert_eq!(found.ok(), "", "in {}", directory.display());
}
