//! The namespaces that everything of a build runs in: an account without privilege, its subordinate ids, and a
//! PID namespace with which every process of the build dies.
//!
//! Never decides what runs in them. They keep the host's network: sbuild needs it to install build dependencies,
//! and runs the build itself in a network namespace of its own that has only a loopback interface.

use std::ffi::OsStr;
use std::path::Path;

use super::account::{Account, SUBORDINATES};
use crate::process::{Command, ProcessError};

/// The walls around the builds of one account.
#[derive(Clone, Debug)]
pub struct Walls {
    account: Account,
    processes: u64,
}

impl Walls {
    /// Makes walls for an account, with at most `processes` processes of all its builds together
    /// (`RLIMIT_NPROC`, setrlimit(2)).
    #[must_use]
    pub fn new(account: Account, processes: u64) -> Self {
        Self { account, processes }
    }

    /// Returns the account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Begins a command inside the walls; its arguments follow.
    ///
    /// The account and its subordinate ids keep their numbers inside, and the program has all capabilities over
    /// them and over nothing else, so that sbuild and mmdebstrap can make namespaces of their own in there. The
    /// kernel kills everything inside when `unshare` dies, and `unshare` when this process dies.
    #[must_use]
    pub fn command(&self, home: &Path, program: impl AsRef<OsStr>) -> Command {
        let account = &self.account;
        let mut command = Command::new("setpriv");
        if account.is_other() {
            command = command
                .arg(format!("--reuid={}", account.user()))
                .arg(format!("--regid={}", account.group()))
                .arg("--init-groups");
        }
        let users = range(account.subordinate_users());
        let groups = range(account.subordinate_groups());
        command
            .args(["--pdeathsig", "KILL", "--", "prlimit"])
            .arg(format!("--nproc={}", self.processes))
            .args(["--core=0", "--", "unshare", "--user"])
            .arg(format!("--map-user={}", account.user()))
            .arg(format!("--map-group={}", account.group()))
            .arg(format!("--map-users={users}"))
            .arg(format!("--map-groups={groups}"))
            .args(["--keep-caps", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--"])
            .arg(program)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("USER", account.name())
            .env("LOGNAME", account.name())
    }

    /// Removes a file or directory that a build left, whoever of the account and its subordinates owns what.
    ///
    /// # Errors
    /// `rm` failed.
    pub fn remove(&self, path: &Path) -> Result<(), ProcessError> {
        self.command(Path::new("/"), "rm").args(["-rf", "--one-file-system", "--"]).arg(path).run().map(drop)
    }

    /// Finds out whether this machine lets the account make these walls.
    ///
    /// # Errors
    /// It does not, or a program is missing.
    pub fn probe(&self) -> Result<(), ProcessError> {
        self.command(Path::new("/"), "true").run().map(drop)
    }
}

/// Writes a range of ids that is mapped to itself: inside, outside, count.
fn range(start: u32) -> String {
    format!("{start},{start},{SUBORDINATES}")
}
