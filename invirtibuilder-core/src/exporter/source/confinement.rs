//! Where programs run that read what somebody else wrote: as the account of builds, in a throw-away directory, without
//! network, within limits.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use crate::builder::account::Account;
use crate::builder::scratch::{Entry, Part, Scratch};
use crate::builder::walls::Walls;
use crate::error::BoxError;
use crate::process::{self, Command, Limits, ProcessError};

/// How much memory a process may use: what xz at its highest level needs, several times.
const MEMORY: u64 = 4 << 30;
/// How large a file may grow.
const FILE: u64 = 4 << 30;
/// How many processes there may be.
const PROCESSES: u64 = 2000;
/// How long a program may run.
const TIME: Duration = Duration::from_secs(900);

/// A directory and an account for programs that read what somebody else wrote.
#[derive(Clone, Debug)]
pub struct Confinement {
    scratch: Scratch,
    account: String,
}

impl Confinement {
    /// Names an absolute directory that every account can reach, and the account, which counts where this process is
    /// root; otherwise it is this process's own.
    #[must_use]
    pub fn new(scratch: &Path, account: &str) -> Self {
        Self { scratch: Scratch::new(scratch), account: account.to_owned() }
    }

    /// Makes a throw-away directory.
    pub(crate) fn enter(&self) -> Result<Entry, BoxError> {
        self.scratch.enter(&self.walls()?)
    }

    fn walls(&self) -> Result<Walls, BoxError> {
        let walls = Walls::new(Account::find(&self.account)?, PROCESSES);
        Ok(walls.with_memory(Some(MEMORY)).with_file(Some(FILE)))
    }

    /// Gives a file or directory to the account.
    pub(crate) fn give(&self, path: &Path) -> Result<(), BoxError> {
        let account = Account::find(&self.account)?;
        if account.is_other() {
            crate::durable::give_to(path, account.user(), account.group())?;
        }
        Ok(())
    }

    /// Begins a program in an entry; its arguments follow.
    pub(crate) fn command(&self, entry: &Entry, program: &str) -> Result<Command, BoxError> {
        let command = self.walls()?.command(&entry.part(Part::Home), "unshare");
        let limits = Limits { time: TIME, silence: TIME, ..Limits::default() };
        Ok(command.args(["--net", "--", program]).limits(limits))
    }
}

/// Runs a program in an entry of these walls, in a directory, to its end.
pub(crate) fn run_apart(
    confinement: &Confinement,
    entry: &Entry,
    directory: &Path,
    program: &str,
    arguments: &[&OsStr],
) -> Result<(), ProcessError> {
    // What starts it inside the walls would say so in words of its own.
    if process::find(program).is_none() {
        let package = process::debian_package_of(program).to_owned();
        return Err(ProcessError::Missing { program: program.to_owned(), package });
    }
    let command = confinement
        .command(entry, program)
        .map_err(|e| ProcessError::Io { program: program.to_owned(), source: std::io::Error::other(e) })?;
    command.current_dir(directory).args(arguments).run().map(drop)
}
