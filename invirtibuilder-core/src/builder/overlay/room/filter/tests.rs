use super::*;

/// Runs a filter as the kernel does, on a little-endian machine.
fn answer(architecture: &str, audit: u32, number: u32, argument: u32) -> u32 {
    answer_with(Mounting::Denied, architecture, audit, number, argument)
}

fn answer_with(mounting: Mounting, architecture: &str, audit: u32, number: u32, argument: u32) -> u32 {
    let program = program(architecture, mounting).unwrap();
    let (mut at, mut value) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        at += 1;
        let holds = match code {
            LOAD => {
                value = [(NUMBER, number), (AUDIT_ARCH, audit), (FIRST_ARGUMENT, argument)]
                    .into_iter()
                    .find_map(|(offset, value)| (offset == k).then_some(value))
                    .unwrap();
                continue;
            }
            RETURN => return k,
            JUMP_IF_EQUAL => value == k,
            JUMP_IF_AT_LEAST => value >= k,
            JUMP_IF_ANY_BIT => value & k != 0,
            other => panic!("the kernel knows no instruction {other}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

#[test]
fn what_builds_do_is_allowed_and_mounting_is_not_in_any_interface_of_the_machine() {
    for (machine, interface, mount, read) in [
        ("x86_64", &X86_64, 165, 0),
        ("x86_64", &I386, 21, 3),
        ("aarch64", &AARCH64, 40, 63),
        ("aarch64", &ARM, 21, 3),
    ] {
        assert_eq!(answer(machine, interface.audit, mount, 0), NOT_PERMITTED);
        assert_eq!(answer(machine, interface.audit, read, 0), ALLOW);
        assert_eq!(answer(machine, interface.audit, 429, 0), NOT_PERMITTED, "move_mount");
        assert_eq!(answer(machine, interface.audit, 435, 0), NO_SUCH_CALL, "clone3");
    }
}

#[test]
fn who_may_mount_has_the_older_calls_and_nothing_else_besides() {
    for (machine, interface, [mount, unmount]) in [
        ("x86_64", &X86_64, [165, 166]),
        ("x86_64", &I386, [21, 52]),
        ("aarch64", &AARCH64, [40, 39]),
        ("aarch64", &ARM, [21, 52]),
    ] {
        let answer = |number| answer_with(Mounting::Allowed, machine, interface.audit, number, 0);
        assert_eq!([answer(mount), answer(unmount)], [ALLOW; 2]);
        assert_eq!([answer(429), answer(430)], [NO_SUCH_CALL; 2], "mount(8) does without them");
        assert!(interface.denied.iter().skip(2).all(|it| answer(*it) == NOT_PERMITTED));
    }
}

#[test]
fn processes_and_threads_can_be_made_and_namespaces_cannot() {
    const CLONE_NEWUSER: u32 = 0x1000_0000;
    const OF_A_THREAD: u32 = 0x003d_0f00;
    const SIGCHLD: u32 = 17;
    for flags in [SIGCHLD, OF_A_THREAD] {
        assert_eq!(answer("x86_64", X86_64.audit, X86_64.clone, flags), ALLOW);
        assert_eq!(answer("x86_64", X86_64.audit, X86_64.clone, flags | CLONE_NEWUSER), NOT_PERMITTED);
    }
    assert_eq!(answer("x86_64", X86_64.audit, X86_64.unshare, CLONE_NEWUSER), NOT_PERMITTED);
    assert_eq!(answer("x86_64", X86_64.audit, X86_64.unshare, 0x400), ALLOW, "unshare of open files");
}

#[test]
fn an_interface_that_the_filter_does_not_know_is_the_end_of_the_process() {
    assert_eq!(answer("x86_64", AARCH64.audit, 0, 0), KILL);
    assert_eq!(answer("x86_64", X86_64.audit, X32 + 1, 0), NO_SUCH_CALL);
    assert!(program("alpha", Mounting::Denied).is_err());
}
