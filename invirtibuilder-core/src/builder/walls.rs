//! The namespaces that everything of a build runs in: an account without privilege, its subordinate ids, and a
//! PID namespace with which every process of the build dies.
//!
//! Never decides what runs in them. [`Walls::command`] keeps the host's network: what makes bases and fetches packages
//! needs it. What runs of packages is in `Walls::room` and `Walls::enclosure`, which have none.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use super::account::{Account, SUBORDINATES};
use super::limits::Group;
use crate::process::{Command, ProcessError};

/// How a program finds itself that was passed on open.
const HELPER: &str = "/proc/self/fd/0";

/// The walls around the builds of one account.
#[derive(Clone, Debug)]
pub struct Walls {
    account: Account,
    processes: u64,
    memory: Option<u64>,
    file: Option<u64>,
}

impl Walls {
    /// Makes walls for an account, with at most `processes` processes of all its builds together
    /// (`RLIMIT_NPROC`, setrlimit(2)).
    #[must_use]
    pub fn new(account: Account, processes: u64) -> Self {
        Self { account, processes, memory: None, file: None }
    }

    /// Bounds the bytes of memory of each process (`RLIMIT_AS`).
    #[must_use]
    pub fn with_memory(self, memory: Option<u64>) -> Self {
        Self { memory, ..self }
    }

    /// Bounds the bytes of each file (`RLIMIT_FSIZE`).
    #[must_use]
    pub fn with_file(self, file: Option<u64>) -> Self {
        Self { file, ..self }
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
        let (account, command) = (&self.account, self.drop_privilege(Command::new("setpriv")));
        self.keep_ids(command)
            .arg("--")
            .arg(program)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("USER", account.name())
            .env("LOGNAME", account.name())
    }

    /// Begins a command of `helper`, a program that is passed on open, in thicker walls; its arguments follow.
    ///
    /// Inside, root is the first of the account's subordinate ids, and the account itself has the number behind the
    /// last of them; besides what [`Walls::command`] has, there are an own network, IPC, UTS and cgroup namespace.
    /// The process is in `group` before anything of this happens.
    #[must_use]
    pub(super) fn room(&self, helper: File, group: Option<&Group>) -> Command {
        let account = &self.account;
        self.drop_privilege(begin(group))
            .arg(format!("--map-user={SUBORDINATES}"))
            .arg(format!("--map-group={SUBORDINATES}"))
            .arg(format!("--map-users={}", range(account.subordinate_users(), 0)))
            .arg(format!("--map-groups={}", range(account.subordinate_groups(), 0)))
            .args(["--keep-caps", "--setuid=0", "--setgid=0", "--pid", "--fork", "--kill-child"])
            .args(["--mount", "--mount-proc", "--net", "--ipc", "--uts", "--cgroup", "--", HELPER])
            .stdin(helper)
    }

    /// Begins a command of `helper`, a program that is passed on open, in walls like those of [`Walls::command`] with
    /// an own network, IPC and UTS namespace too; its arguments follow.
    ///
    /// The process is in `group` before anything of this happens.
    #[must_use]
    pub(super) fn enclosure(&self, helper: File, group: Option<&Group>, home: &Path) -> Command {
        let command = self.drop_privilege(begin(group));
        self.keep_ids(command)
            .args(["--net", "--ipc", "--uts", "--", HELPER])
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("USER", self.account.name())
            .env("LOGNAME", self.account.name())
            .stdin(helper)
    }

    /// As [`Walls::enclosure`] for root itself, which keeps of its capabilities those that schroot needs.
    #[must_use]
    pub(super) fn enclosure_of_root(&self, helper: File, group: Option<&Group>) -> Command {
        const KEPT: &str = "--bounding-set=-all,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+kill,+setgid,+setuid,+setfcap,+setpcap,+sys_chroot,+sys_admin,+net_admin,+audit_write";
        let command = begin(group).args([KEPT, "--pdeathsig", "KILL", "--", "prlimit", "--core=0"]);
        self.bound(command)
            .args(["--", "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])
            .args(["--net", "--ipc", "--uts", "--", HELPER])
            .stdin(helper)
    }

    /// Adds the arguments of `prlimit` that both kinds of walls have.
    fn bound(&self, mut command: Command) -> Command {
        if let Some(memory) = self.memory {
            command = command.arg(format!("--as={memory}"));
        }
        if let Some(file) = self.file {
            command = command.arg(format!("--fsize={file}"));
        }
        command
    }

    /// Adds namespaces in which the account and its subordinate ids keep their numbers.
    fn keep_ids(&self, command: Command) -> Command {
        let account = &self.account;
        let (users, groups) = (account.subordinate_users(), account.subordinate_groups());
        command
            .arg(format!("--map-user={}", account.user()))
            .arg(format!("--map-group={}", account.group()))
            .arg(format!("--map-users={}", range(users, users)))
            .arg(format!("--map-groups={}", range(groups, groups)))
            .args(["--keep-caps", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])
    }

    /// Adds what makes a program run as the account and die with this process, up to the ids of a user namespace.
    fn drop_privilege(&self, mut command: Command) -> Command {
        let account = &self.account;
        if account.is_other() {
            command = command
                .arg(format!("--reuid={}", account.user()))
                .arg(format!("--regid={}", account.group()))
                .arg("--init-groups");
        }
        command = command
            .args(["--pdeathsig", "KILL", "--", "prlimit"])
            .arg(format!("--nproc={}", self.processes))
            .arg("--core=0");
        self.bound(command).args(["--", "unshare", "--user"])
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

/// Begins a command that joins a group first, if there is one.
fn begin(group: Option<&Group>) -> Command {
    let groups: Vec<_> = group.iter().flat_map(|it| it.directories()).collect();
    if groups.is_empty() {
        Command::new("setpriv")
    } else {
        Command::new(HELPER).args(["room", "join"]).args(groups).args(["--", "setpriv"])
    }
}

/// Writes a range of ids: outside, inside, count. The order of numbers with commas is the same in every version of
/// unshare(1).
fn range(outside: u32, inside: u32) -> String {
    format!("{outside},{inside},{SUBORDINATES}")
}
