//! Checks that builds can work on this machine, and says what to do where they cannot.
//!
//! Never mends anything.

use super::room::{self, Plan, Surroundings, User};
use super::{Groups, OverlayBuilder, Part, Resource, Walls};
use crate::builder::account::Account;
use crate::builder::limits::BuildLimits;
use crate::builder::sbuild::{check_base, program};
use crate::builder::scratch::check_reachable;
use crate::durable::scratch;
use crate::error::{BoxError, causes};
use crate::finding::Finding;

/// The programs that a build needs.
const PROGRAMS: [&str; 8] =
    ["mmdebstrap", "apt-get", "tar", "newuidmap", "newgidmap", "setpriv", "unshare", "prlimit"];

impl OverlayBuilder {
    /// Checks programs, account, directories, rooms, limits and bases, in this order.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = PROGRAMS.into_iter().map(program).collect();
        let directories = [
            ("scratch directory", self.scratch.directory()),
            ("cache directory", self.bases.cache()),
            ("directory of layers", self.store.directory()),
        ];
        for (subject, path) in directories {
            findings.push(match check_reachable(path) {
                Ok(()) => Finding::ok(subject, format!("builds can reach {}", path.display())),
                Err(e) => Finding::error(subject, e.to_string(), e.remedy()),
            });
        }
        let groups = Groups::detect();
        match Account::find(&self.account) {
            Ok(account) => {
                let text = format!("builds run as {}, with 65,536 subordinate ids", account.name());
                findings.push(Finding::ok("build account", text));
                findings.push(self.check_room(&Walls::new(account, self.limits.processes)));
            }
            Err(e) => {
                let remedy = e.remedy().unwrap_or_else(|| "name another account".to_owned());
                findings.push(Finding::error("build account", causes(&e).join(": "), remedy));
            }
        }
        findings.extend(check_limits(&self.limits, &groups));
        findings.extend(self.bases.specs().map(|(name, spec)| check_base(&self.bases, name, spec)));
        findings
    }

    /// Makes an empty room, on disk, and leaves it at once.
    fn check_room(&self, walls: &Walls) -> Finding {
        let probe = || -> Result<(), BoxError> {
            let entry = self.scratch.enter(walls)?;
            let lower = entry.part(Part::Input).join("lower");
            scratch::create_directory(&lower, 0o755)?;
            for name in ["dev", "proc", "sys"] {
                scratch::create_directory(&lower.join(name), 0o755)?;
            }
            let plan = Plan {
                lower: vec![lower],
                upper: Some(entry.part(Part::Chroots)),
                memory: 0,
                disk: None,
                shown: Vec::new(),
                user: User::Builder,
                surroundings: Surroundings::usual(),
                steps: Vec::new(),
                results: None,
                keep: None,
            };
            let file = entry.part(Part::Input).join("plan.json");
            let run = room::command(&self.helper, walls, None, &plan, &file)?.run();
            entry.remove()?;
            Ok(run.map(drop)?)
        };
        match probe() {
            Ok(()) => Finding::ok("rooms", "the account can make them"),
            Err(e) => Finding::error(
                "rooms",
                format!("the account cannot make one: {}", causes(&*e).join(": ")),
                "it takes Linux 5.11 with overlayfs, and sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000; in a container allow user namespaces to it; or write `backend: sbuild`",
            ),
        }
    }
}

/// Checks how far a machine's control groups hold builds to their limits.
pub(in crate::builder) fn check_limits(limits: &BuildLimits, groups: &Groups) -> Vec<Finding> {
    const REMEDY: &str = "give the worker a control group of its own, such as with Delegate=yes and DelegateSubgroup=worker in its systemd service (systemd 254)";
    let mut findings = Vec::new();
    findings.push(if groups.can_limit(Resource::Processes) {
        Finding::ok("limit of processes", "of each build, by a control group")
    } else {
        Finding::ok("limit of processes", "of all builds of the account together, by RLIMIT_NPROC")
    });
    findings.push(match (limits.memory, groups.can_limit(Resource::Memory)) {
            (None, _) => Finding::ok("limit of memory", "none is configured (builder.limits.memory)"),
            (Some(_), true) => Finding::ok("limit of memory", "of each build, by a control group"),
            (Some(_), false) => Finding::warning(
                "limit of memory",
                "there are no control groups that this process may make, so it holds for each process of a build and not for all of them together",
                REMEDY,
            ),
        });
    findings.push(match limits.disk {
        None => Finding::ok("limit of disk", "none is configured (builder.limits.disk)"),
        Some(_) => {
            Finding::ok("limit of disk", "of each build: the size of its memory, or watched every second")
        }
    });
    findings
}
