//! Which architectures this machine can build for: its own, those that its processor runs too, and those that the
//! kernel hands to an emulator (`binfmt_misc`, `Documentation/admin-guide/binfmt-misc.rst` of the kernel).
//!
//! Never registers an emulator: that is the administrator's.

use std::fs;
use std::path::Path;

use crate::error::BoxError;
use crate::finding::Finding;
use crate::names::Architecture;

use super::host_architecture;

/// Where the kernel says which programs it hands to whom.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// The architectures whose name qemu spells otherwise.
const QEMU_NAMES: [(&str, &str); 14] = [
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("armel", "arm"),
    ("armhf", "arm"),
    ("hppa", "hppa"),
    ("i386", "i386"),
    ("loong64", "loongarch64"),
    ("mips64el", "mips64el"),
    ("mipsel", "mipsel"),
    ("powerpc", "ppc"),
    ("ppc64", "ppc64"),
    ("ppc64el", "ppc64le"),
    ("riscv64", "riscv64"),
    ("s390x", "s390x"),
];

/// How a machine runs an architecture's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// By itself.
    Natively,
    /// By an emulator, some ten times slower.
    Emulated,
}

/// An architecture's programs do not run here. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine, which is {host}, does not run programs for {architecture}: {problem}")]
pub struct CannotRun {
    /// The architecture.
    pub architecture: Architecture,
    /// The machine's own.
    pub host: Architecture,
    /// Why not, and what to do.
    pub problem: String,
}

/// Returns whether a machine's processor and kernel run an architecture's programs by themselves.
#[must_use]
pub fn is_native(architecture: &Architecture, host: &Architecture) -> bool {
    architecture == host || matches!((host.as_str(), architecture.as_str()), ("amd64", "i386"))
}

/// Returns how this machine runs an architecture's programs.
///
/// # Errors
/// It does not ([`CannotRun`]), or its own architecture is not known.
pub fn runs(architecture: &Architecture) -> Result<Runs, BoxError> {
    Ok(runs_on(architecture, &host_architecture()?, Path::new(BINFMT))?)
}

fn runs_on(architecture: &Architecture, host: &Architecture, binfmt: &Path) -> Result<Runs, CannotRun> {
    if is_native(architecture, host) {
        return Ok(Runs::Natively);
    }
    let cannot =
        |problem: String| CannotRun { architecture: architecture.clone(), host: host.clone(), problem };
    if !binfmt.join("register").exists() {
        return Err(cannot(format!(
            "the kernel's register of emulators is not there; `mount -t binfmt_misc binfmt_misc {BINFMT}`, in a container by its host; and `apt-get install qemu-user-static binfmt-support`"
        )));
    }
    let name = QEMU_NAMES.iter().find(|it| it.0 == architecture.as_str()).map(|it| it.1);
    let Some(name) = name else {
        return Err(cannot("no emulator for it is known; remove it from the pocket".to_owned()));
    };
    let Ok(text) = fs::read_to_string(binfmt.join(format!("qemu-{name}"))) else {
        return Err(cannot(format!(
            "there is no emulator qemu-{name} in {BINFMT}; `apt-get install qemu-user-static binfmt-support`, and if that is there, `update-binfmts --enable qemu-{name}`"
        )));
    };
    let mut lines = text.lines();
    if lines.next() != Some("enabled") || !is_enabled(binfmt) {
        return Err(cannot(format!(
            "its emulator is registered and off; `echo 1 > {BINFMT}/qemu-{name}` and `echo 1 > {BINFMT}/status`"
        )));
    }
    let flags = lines.find_map(|it| it.strip_prefix("flags:")).unwrap_or_default();
    if !flags.contains('F') {
        return Err(cannot(format!(
            "its emulator is not at hand in a chroot (flag F of {BINFMT}/qemu-{name}); `apt-get install qemu-user-static`, whose emulators are"
        )));
    }
    Ok(Runs::Emulated)
}

fn is_enabled(binfmt: &Path) -> bool {
    fs::read_to_string(binfmt.join("status")).is_ok_and(|it| it.trim() == "enabled")
}

/// Checks that packages can be built for an architecture.
#[must_use]
pub fn check(architecture: &Architecture) -> Finding {
    let subject = format!("architecture {architecture}");
    match runs(architecture) {
        Ok(Runs::Natively) => Finding::ok(subject, "this machine runs its programs"),
        Ok(Runs::Emulated) => Finding::ok(subject, "emulated, so builds for it take some ten times as long"),
        Err(e) => match e.downcast::<CannotRun>() {
            Ok(it) => Finding::error(
                subject,
                format!("this machine, which is {}, does not run its programs", it.host),
                it.problem,
            ),
            Err(e) => Finding::error(subject, e.to_string(), "apt-get install dpkg"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    fn arch(name: &str) -> Architecture {
        name.parse().unwrap()
    }

    fn on_amd64(architecture: &str, binfmt: &Path) -> Result<Runs, String> {
        runs_on(&arch(architecture), &arch("amd64"), binfmt).map_err(|e| e.problem)
    }

    #[test]
    fn a_machine_runs_its_own_programs_and_amd64_those_of_i386() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(on_amd64("amd64", nowhere), Ok(Runs::Natively));
        assert_eq!(on_amd64("i386", nowhere), Ok(Runs::Natively));
        assert!(runs_on(&arch("amd64"), &arch("i386"), nowhere).is_err());
    }

    #[test]
    fn an_emulator_counts_if_it_is_on_and_at_hand_in_a_chroot_and_each_want_has_its_remedy() {
        let binfmt = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| durable::write(&binfmt.path().join(name), text.as_bytes()).unwrap();
        let arm64 = || on_amd64("arm64", binfmt.path());
        assert!(arm64().unwrap_err().contains("mount -t binfmt_misc"));
        write("register", "");
        write("status", "enabled\n");
        assert!(arm64().unwrap_err().contains("apt-get install qemu-user-static binfmt-support"));
        write("qemu-aarch64", "disabled\ninterpreter /usr/bin/qemu\nflags: F\n");
        assert!(arm64().unwrap_err().contains("echo 1 >"));
        write("qemu-aarch64", "enabled\ninterpreter /usr/bin/qemu\nflags: OC\noffset 0\n");
        assert!(arm64().unwrap_err().contains("flag F"));
        write("qemu-aarch64", "enabled\ninterpreter /usr/bin/qemu\nflags: POCF\noffset 0\n");
        assert_eq!(arm64(), Ok(Runs::Emulated));
        write("status", "disabled\n");
        assert!(arm64().unwrap_err().contains("status"));
        assert!(on_amd64("pdp11", binfmt.path()).unwrap_err().contains("no emulator"));
    }
}
