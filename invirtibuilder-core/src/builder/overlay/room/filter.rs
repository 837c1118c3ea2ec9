//! The seccomp filter (seccomp(2)) of everything that runs in a room: system calls that no build needs and through
//! which kernels were taken over are answered with an error.
//!
//! Never the only wall: all of these need a capability that nothing in a room has, or act in the room's own
//! namespaces. It keeps hostile code away from the parts of the kernel that have such checks.

use seccompiler::{BpfProgram, sock_filter};

use crate::error::BoxError;

/// An interface between programs and the kernel, as `AUDIT_ARCH_*` of `<linux/audit.h>` numbers it, with the numbers
/// of its system calls.
struct Interface {
    audit: u32,
    clone: u32,
    unshare: u32,
    denied: &'static [u32],
}

/// `x86_64`: mount umount2 `pivot_root` setns keyctl `add_key` `request_key` bpf `perf_event_open` userfaultfd
/// `kexec_load` `kexec_file_load` `init_module` `finit_module` `delete_module` reboot swapon swapoff acct quotactl syslog
/// `open_by_handle_at` settimeofday `clock_settime` iopl ioperm `fanotify_init` sethostname setdomainname.
const X86_64: Interface = Interface {
    audit: 0xc000_003e,
    clone: 56,
    unshare: 272,
    denied: &[
        165, 166, 155, 308, 250, 248, 249, 321, 298, 323, 246, 320, 175, 313, 176, 169, 167, 168, 163, 179,
        103, 304, 164, 227, 172, 173, 300, 170, 171,
    ],
};

/// i386, whose programs run on `x86_64` too: the same, and umount stime `clock_settime64` vm86 vm86old.
const I386: Interface = Interface {
    audit: 0x4000_0003,
    clone: 120,
    unshare: 310,
    denied: &[
        21, 52, 22, 217, 346, 288, 286, 287, 357, 336, 374, 283, 128, 350, 129, 88, 87, 115, 51, 131, 103,
        342, 79, 264, 404, 25, 110, 101, 338, 74, 121, 166, 113,
    ],
};

/// arm64: the same as `x86_64`, less what it does not have.
const AARCH64: Interface = Interface {
    audit: 0xc000_00b7,
    clone: 220,
    unshare: 97,
    denied: &[
        40, 39, 41, 268, 219, 217, 218, 280, 241, 282, 104, 294, 105, 273, 106, 142, 224, 225, 89, 60, 116,
        265, 170, 112, 262, 161, 162,
    ],
};

/// armhf, whose programs run on some arm64 machines.
const ARM: Interface = Interface {
    audit: 0x4000_0028,
    clone: 120,
    unshare: 337,
    denied: &[
        21, 52, 218, 375, 311, 309, 310, 386, 364, 388, 347, 401, 128, 379, 129, 88, 87, 115, 51, 131, 103,
        371, 79, 262, 404, 367, 74, 121,
    ],
};

/// The calls that have one number everywhere: `open_tree` `move_mount` fsopen fsconfig fsmount fspick
/// `mount_setattr` `quotactl_fd` and `open_tree_attr`.
const DENIED_EVERYWHERE: [u32; 9] = [428, 429, 430, 431, 432, 433, 442, 443, 467];

/// The calls that programs do without when they are told that there are none: `clone3`, whose flags a filter cannot
/// see, and `io_uring_setup` to `io_uring_register`.
const ABSENT_EVERYWHERE: [u32; 4] = [435, 425, 426, 427];

/// `CLONE_NEW*` (`<linux/sched.h>`) but `CLONE_NEWTIME`, which is among the bits of the exit signal in clone(2).
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Only unshare(2) makes it.
const NEW_TIME_NAMESPACE: u32 = 0x80;

// <linux/bpf_common.h> and <linux/seccomp.h>.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const NUMBER: u32 = 0;
const AUDIT_ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const NOT_PERMITTED: u32 = 0x0005_0001;
const NO_SUCH_CALL: u32 = 0x0005_0026;
/// Numbers from here on are those of x32, an interface that Debian's kernels have off.
const X32: u32 = 0x4000_0000;

/// What a filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mounting {
    /// No mounts.
    Denied,
    /// mount(2) and umount2(2), for who has the capability over the room's own mounts.
    Allowed,
}

/// Installs the filter for this thread and all that it starts. It cannot be removed; and no program gains privilege
/// any more (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
///
/// # Errors
/// There is no filter for this machine's architecture, or the kernel has no seccomp.
pub(super) fn install(mounting: Mounting) -> Result<(), BoxError> {
    Ok(seccompiler::apply_filter(&program(std::env::consts::ARCH, mounting)?)?)
}

fn program(architecture: &str, mounting: Mounting) -> Result<BpfProgram, BoxError> {
    let interfaces = match architecture {
        "x86_64" => [X86_64, I386],
        "aarch64" => [AARCH64, ARM],
        other => {
            return Err(format!("there is no seccomp filter for {other} yet; use the sbuild builder").into());
        }
    };
    let mut program = vec![load(AUDIT_ARCH)];
    for interface in &interfaces {
        let block = block(interface, mounting);
        // A jump goes 255 instructions far at most.
        let length = u8::try_from(block.len())?;
        program.push(sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: length, k: interface.audit });
        program.extend(block);
    }
    program.push(end(KILL));
    Ok(program)
}

/// Returns the instructions for one interface; all ways through them end in there.
fn block(interface: &Interface, mounting: Mounting) -> BpfProgram {
    /// The first numbers of those that are denied are mount and umount2.
    const MOUNTS: usize = 2;
    let mut block = vec![load(NUMBER), when(JUMP_IF_AT_LEAST, X32), end(NO_SUCH_CALL)];
    let (newer, allowed) = match mounting {
        Mounting::Denied => (NOT_PERMITTED, 0),
        // So that mount(8) takes the older calls.
        Mounting::Allowed => (NO_SUCH_CALL, MOUNTS),
    };
    for (numbers, answer) in [(&ABSENT_EVERYWHERE[..], NO_SUCH_CALL), (&DENIED_EVERYWHERE[..], newer)] {
        for number in numbers {
            block.extend([when(JUMP_IF_EQUAL, *number), end(answer)]);
        }
    }
    for number in interface.denied.iter().skip(allowed) {
        block.extend([when(JUMP_IF_EQUAL, *number), end(NOT_PERMITTED)]);
    }
    for (number, flags) in
        [(interface.clone, NEW_NAMESPACES), (interface.unshare, NEW_NAMESPACES | NEW_TIME_NAMESPACE)]
    {
        block.push(sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 4, k: number });
        block.extend([load(FIRST_ARGUMENT), when(JUMP_IF_ANY_BIT, flags), end(NOT_PERMITTED), end(ALLOW)]);
    }
    block.push(end(ALLOW));
    block
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

/// Goes on with the next instruction if the condition holds, else with the one after it.
fn when(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 1, k }
}

fn end(answer: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: answer }
}

#[cfg(test)]
mod tests;
