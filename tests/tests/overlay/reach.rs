//! What a package can reach from where it is built: nothing.

use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use invirtibuilder_core::builder::account::Account;
use invirtibuilder_core::builder::overlay::room::{self, Plan, Shown, Step, Surroundings, User};
use invirtibuilder_core::builder::scratch::{Part, Scratch};
use invirtibuilder_core::builder::walls::Walls;
use invirtibuilder_tests::programs::{command, run};

use super::super::*;

/// Perl, as `debian/rules` has it, that fails unless every attempt fails.
fn attempts(attempts: &[&str]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        text.push_str("\t@echo 'trying: ");
        text.push_str(&attempt.replace('\'', "").replace('$', "$$"));
        text.push_str("'; if perl -e '");
        text.push_str(&attempt.replace('$', "$$"));
        text.push_str("' 2>/dev/null; then echo IT WORKED; exit 1; fi\n");
    }
    format!("{GOOD}override_dh_auto_build:\n{text}")
}

#[test]
fn a_build_reaches_no_name_server_no_service_of_the_machine_and_no_abstract_socket() {
    let world = World::new();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let address = SocketAddr::from_abstract_name(format!("invirtibuilder-test-{port}")).unwrap();
    let socket = UnixListener::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let connect = format!(
        "use IO::Socket::INET; exit(IO::Socket::INET->new(PeerAddr => \"127.0.0.1:{port}\", Timeout => 5) ? 0 : 1)"
    );
    let local = format!(
        "use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); exit(connect($s, pack(\"Sa*\", AF_UNIX, \"\\0invirtibuilder-test-{port}\")) ? 0 : 1)"
    );
    for attempt in [&connect, &local] {
        run(command("perl").args(["-e", attempt])).ok();
    }
    while service.accept().is_ok() || socket.accept().is_ok() {}
    let rules = attempts(&[
        &connect,
        &local,
        "exit(gethostbyname(\"www.example.org\") ? 0 : 1)",
        "use IO::Socket::INET; exit(IO::Socket::INET->new(PeerAddr => \"9.9.9.9:53\", Timeout => 5) ? 0 : 1)",
    ]);
    // Its own loopback works.
    let own = "\tperl -e 'use IO::Socket::INET; my $$l = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1\") or exit 1; IO::Socket::INET->new(PeerAddr => \"127.0.0.1:\" . $$l->sockport) or exit 2'\n";
    let (result, log) = world.build(&world.source("lonely", &(rules + own), DEBHELPER));
    result.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
    assert!(service.accept().is_err() && socket.accept().is_err(), "somebody connected");
}

#[test]
fn a_build_has_no_privilege_and_cannot_reach_what_belongs_to_the_machine() {
    let world = World::new();
    let secret = world.path("secret");
    fs::write(&secret, "of the machine").unwrap();
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let open = format!("exit(open(my $f, \"<\", \"{}\") ? 0 : 1)", secret.display());
    let call = |number: u32, arguments: &str| format!("exit(syscall({number}, {arguments}) < 0 ? 1 : 0)");
    let system_calls = [
        call(272, "0x10000000"),                          // unshare(CLONE_NEWUSER)
        call(165, "\"none\", \"/mnt\", \"tmpfs\", 0, 0"), // mount
        call(161, "\"/tmp\""),                            // chroot
        call(250, "0, -3, 1"),                            // keyctl
        call(321, "0, 0, 0"),                             // bpf
        call(425, "1, 0"),                                // io_uring_setup
        call(101, "16, 1, 0, 0"),                         // ptrace(PTRACE_ATTACH, 1)
        call(133, "\"/tmp/kmem\", 020600, 0x102"),        // mknod
    ];
    let writes = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/usr/bin/perl", "/build/source/x"]
        .map(|it| format!("exit(open(my $f, \">\", \"{it}\") && print($f \"x\") && close($f) ? 0 : 1)"));
    let mut all = vec![
        open.as_str(),
        "exit(open(my $f, \"<\", \"/proc/1/environ\") ? 0 : 1)",
        "exit(open(my $f, \"<\", \"/etc/shadow\") ? 0 : 1)",
        "exit(chown(0, 0, \"debian/control\") ? 0 : 1)",
        "exit(kill(9, 1) && !kill(0, 1) ? 0 : 1)",
        "$> = 0; exit($> == 0 ? 0 : 1)",
    ];
    if std::env::consts::ARCH == "x86_64" {
        all.extend(system_calls.iter().map(String::as_str));
    }
    all.extend(writes.iter().map(String::as_str));
    let status = "\tgrep -E '^(Cap(Eff|Prm|Bnd|Amb|Inh)):' /proc/self/status | grep -v 0000000000000000 && exit 1 || true\n\tgrep -x 'NoNewPrivs:.1' /proc/self/status\n\tgrep -x 'Seccomp:.2' /proc/self/status\n\ttest \"$$(id -u)\" = 1000\n\ttest \"$$(hostname)\" = build\n\ttest \"$$(ls /dev | wc -l)\" = 13\n\ttest ! -w /sys/kernel\n";
    let rules = attempts(&all) + status;
    let (result, log) = world.build(&world.source("curious", &rules, DEBHELPER));
    result.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    let mut text = String::new();
    fs::File::open(&secret).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "of the machine");
    world.assert_nothing_is_left();
}

#[test]
fn results_that_are_links_or_devices_are_not_taken() {
    let world = World::new();
    let link = "override_dh_builddeb:\n\tdh_builddeb\n\tmv ../linking_1.0_*.deb ../elsewhere; ln -s elsewhere $$(echo ../linking_1.0_$$(dpkg --print-architecture).deb)\n";
    let source = world.source("linking", &format!("{GOOD}{link}"), DEBHELPER);
    let (result, log) = world.build(&source);
    assert!(result.is_err(), "{log}");
    let left: Vec<_> = fs::read_dir(world.path("into")).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(!left.iter().any(|it| it.extension().is_some_and(|it| it == "changes")), "{left:?}");
    world.assert_nothing_is_left();
}

/// What a maintainer script, which is root in its room, must not be able to do.
const FORBIDDEN: [&str; 19] = [
    "mount -t tmpfs x /mnt",
    "umount /proc/sys",
    "umount /build/packages",
    "touch /build/packages/x",
    "echo x > /proc/sys/kernel/core_pattern",
    "echo c > /proc/sysrq-trigger",
    "mknod /tmp/disk b 253 0",
    "mknod /tmp/memory c 1 1",
    "unshare --mount true",
    "unshare --user true",
    "nsenter --target 1 --mount true",
    "cat /proc/1/environ",
    "readlink /proc/1/fd/1",
    "ls /proc/1/root/",
    "kill -9 1; ! kill -0 1",
    "dmesg",
    "hostname evil",
    "perl -e 'use Socket; socket(my $s, AF_INET, SOCK_RAW, 1) or exit 1'",
    "chown 100000 /tmp",
];

#[test]
fn a_maintainer_script_has_no_privilege_but_over_the_files_of_its_room() {
    let world = World::new();
    let (result, log) = world.build(&world.source("first", GOOD, DEBHELPER));
    result.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
    let trees = fs::read_dir(world.store.join("trees")).unwrap().map(|it| it.unwrap().path().join("tree"));
    let tree = trees.into_iter().find(|it| it.is_dir()).unwrap();

    let attempts = FORBIDDEN
        .map(|it| format!("if ({it}) >/dev/null 2>&1; then cat <<'END'\nIT WORKED: {it}\nEND\nfi\n"));
    let script = format!(
        "set -e; id -u | grep -x 0; touch /usr/bin/new; perl -e 1; grep -x 'Seccomp:.2' /proc/self/status; set +e\n{}",
        attempts.concat()
    );
    let walls = Walls::new(Account::find(ACCOUNT).unwrap(), 1000);
    let entry = Scratch::new(&world.path("scratch")).enter(&walls).unwrap();
    let packages = entry.part(Part::Input).join("packages");
    fs::create_dir(&packages).unwrap();
    let step = Step {
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script],
        directory: "/".into(),
        environment: Vec::new(),
    };
    let plan = Plan {
        lower: vec![tree.clone()],
        upper: Some(entry.part(Part::Chroots)),
        memory: 0,
        disk: None,
        shown: vec![Shown { from: packages, at: "/build/packages".into() }],
        user: User::Root,
        surroundings: Surroundings::usual(),
        steps: vec![step],
        results: None,
        keep: None,
    };
    let file = entry.part(Part::Input).join("plan.json");
    let output = room::command(&program(CLI), &walls, None, &plan, &file).unwrap().run().unwrap();
    let output = String::from_utf8_lossy(&output);
    assert!(!output.contains("IT WORKED"), "{output}");
    assert!(entry.part(Part::Chroots).join("upper/usr/bin/new").exists());
    assert!(!tree.join("usr/bin/new").exists(), "the base was changed");
}
