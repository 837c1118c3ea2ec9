//! Checks that builds can work on this machine, and says what to do where they cannot.
//!
//! Never mends anything.

use jiff::Timestamp;

use super::schroot::NOT_ROOT;
use super::{Account, Groups, Mode, SbuildBuilder, Walls};
use crate::builder::base::{BaseSpec, Bases};
use crate::builder::host_architecture;
use crate::builder::overlay::checks::check_limits;
use crate::builder::overlay::vm::machine::Kind;
use crate::builder::scratch::check_reachable;
use crate::error::causes;
use crate::finding::Finding;
use crate::names::BaseName;
use crate::process::{debian_package_of, find};

/// The programs that a build needs.
const PROGRAMS: [&str; 10] = [
    "sbuild",
    "mmdebstrap",
    "apt-get",
    "tar",
    "newuidmap",
    "newgidmap",
    "setpriv",
    "unshare",
    "prlimit",
    "mount",
];

impl SbuildBuilder {
    /// Checks programs, account, namespaces, directories and bases, in this order.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = PROGRAMS.into_iter().map(program).collect();
        findings.extend(self.check_chroots());
        if let Mode::Unshare = self.mode {
            // sbuild brings up the loopback interface by it, and fails where it cannot as of its version 0.89.
            findings.push(program("ip"));
        }
        if let Mode::Qemu(_) = self.mode {
            let emulator = host_architecture().ok().and_then(|it| Some(Kind::of(&it)?.program));
            let programs = ["autopkgtest-virt-qemu", "qemu-img", "mke2fs"].into_iter().chain(emulator);
            findings.extend(programs.map(program));
        }
        match Account::find(&self.account) {
            Ok(account) => {
                let text = format!("builds run as {}, with 65,536 subordinate ids", account.name());
                findings.push(Finding::ok("build account", text));
                findings.push(namespaces(&Walls::new(account, self.limits.processes)));
            }
            Err(e) => {
                let remedy = e.remedy().unwrap_or_else(|| "name another account".to_owned());
                findings.push(Finding::error("build account", causes(&e).join(": "), remedy));
            }
        }
        for (subject, path) in [
            ("scratch directory", self.scratch.directory()),
            ("cache directory", self.bases.cache()),
            ("directory of packages", self.store.directory()),
        ] {
            findings.push(match check_reachable(path) {
                Ok(()) => Finding::ok(subject, format!("builds can reach {}", path.display())),
                Err(e) => Finding::error(subject, e.to_string(), e.remedy()),
            });
        }
        findings.extend(check_limits(&self.limits, &Groups::detect()));
        findings.extend(self.bases.specs().map(|(name, spec)| check_base(&self.bases, name, spec)));
        findings
    }
}

impl SbuildBuilder {
    /// Checks the chroots of the mode that has some.
    fn check_chroots(&self) -> Vec<Finding> {
        let Mode::Schroot(_) = self.mode else { return Vec::new() };
        let mut findings = vec![program("schroot")];
        if !Account::find(&self.account).is_ok_and(|it| it.is_other()) {
            findings.push(Finding::error(
                "schroot",
                NOT_ROOT,
                "run the worker as root, or write mode: unshare",
            ));
        }
        let Ok(host) = host_architecture() else { return findings };
        for (base, _) in self.bases.specs() {
            let subject = format!("chroot of {base}");
            findings.push(match self.chroot(base, &host) {
                Ok(Some(it)) => Finding::ok(subject, format!("{} in {}", it.name, it.directory.display())),
                Ok(None) => continue,
                Err(e) => Finding::error(
                    subject,
                    causes(&*e).join(": "),
                    format!("sbuild-createchroot {base} /srv/chroot/{base}-{host}-sbuild, and write union-type=overlay into its file in /etc/schroot/chroot.d"),
                ),
            });
        }
        findings
    }
}

/// Checks the age of a base.
pub(in crate::builder) fn check_base(bases: &Bases, name: &BaseName, spec: &BaseSpec) -> Finding {
    let subject = format!("base {name}");
    let architecture = match host_architecture() {
        Ok(architecture) => architecture,
        Err(e) => return Finding::error(subject, e.to_string(), "apt-get install dpkg"),
    };
    let Some(base) = bases.on_disk(name, &architecture) else {
        return Finding::ok(subject, "not made yet; the first build makes it, which takes about a minute");
    };
    let age = Timestamp::now().duration_since(base.made).unsigned_abs();
    let days = age.as_secs() / (24 * 3600);
    if age > 2 * spec.refresh {
        let text = format!("made {days} days ago; making it anew seems to fail");
        return Finding::warning(subject, text, "read the log of the last build");
    }
    Finding::ok(subject, format!("made {days} days ago, {}", base.tarball.display()))
}

/// Checks that a program is installed.
pub(crate) fn program(name: &str) -> Finding {
    let subject = format!("program {name}");
    match find(name) {
        Some(path) => Finding::ok(subject, path.display().to_string()),
        None => {
            Finding::error(subject, "not installed", format!("apt-get install {}", debian_package_of(name)))
        }
    }
}

fn namespaces(walls: &Walls) -> Finding {
    match walls.probe() {
        Ok(()) => Finding::ok("user namespaces", "the account can make them"),
        Err(e) => Finding::error(
            "user namespaces",
            format!("the account cannot make them: {e}"),
            "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000, and in a container allow them to it",
        ),
    }
}
