//! Rooms: the environment that a build, or the installation of its dependencies, runs in.
//!
//! A room is a kernel overlay of read-only layers with a writable one on top, in a user, mount, PID, network, IPC, UTS
//! and cgroup namespace of its own. Its only network interface is a loopback; it has no device but those that give
//! and take bytes; its programs have no capability over anything outside, gain no privilege (`no_new_privs`), and a
//! seccomp filter keeps them from the parts of the kernel that no build needs.
//!
//! The room's first process is this program itself, called again as [`enter`]; its end is the end of every process of
//! the room and of all its mounts, so that a killed room leaves nothing but the directories that it was given.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::builder::limits::Group;
use crate::builder::walls::Walls;
use crate::durable;
use crate::error::BoxError;
use crate::process::Command;

mod collect;
mod disk;
mod filter;
mod inside;
mod loopback;

pub use inside::{enter, unpack};

/// The host's name inside of a room.
const HOST: &str = "build";
/// The id of the user and of the group that builds run as, inside of a room.
const USER: u32 = 1000;
/// Where a package is built: the same place in every room, as its binary packages may name it.
pub(super) const BUILD: &str = "/build/reproducible-path";

/// What a room consists of, and what happens in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The read-only layers, the uppermost first.
    pub lower: Vec<PathBuf>,
    /// An empty directory for what the room writes, which keeps it as `upper`; `None` for memory, which forgets it.
    pub upper: Option<PathBuf>,
    /// How many bytes a room in memory may write.
    pub memory: u64,
    /// How many bytes a room on a disk may write; `None` for as much as there is.
    pub disk: Option<u64>,
    /// What of the host the room sees.
    pub shown: Vec<Shown>,
    /// Who runs the steps.
    pub user: User,
    /// What is done, one after the other, as long as each succeeds.
    pub steps: Vec<Step>,
    /// The directory that the regular files beside the package's tree are copied to at the end.
    pub results: Option<PathBuf>,
}

/// A directory of the host that the room sees, read-only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The directory.
    pub from: PathBuf,
    /// Where it is in the room; the base has an empty directory there.
    pub at: PathBuf,
}

/// Who somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// Root over the room's own files, for dpkg and maintainer scripts.
    Root,
    /// Nobody in particular.
    Builder,
}

/// A program to run in a room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its working directory, in the room.
    pub directory: PathBuf,
    /// Its environment, besides `PATH`, `LC_ALL` and `TZ`.
    pub environment: Vec<(String, String)>,
}

/// How a room ended, as an exit status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step succeeded.
    Finished,
    /// A step failed.
    Failed,
    /// A step failed, and there is no space left in the room.
    DiskFull,
    /// It wrote more than it may.
    DiskLimit,
}

impl End {
    const ALL: [Self; 4] = [Self::Finished, Self::Failed, Self::DiskFull, Self::DiskLimit];

    /// Returns the exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Failed => 40,
            Self::DiskFull => 41,
            Self::DiskLimit => 42,
        }
    }

    /// Returns what an exit status tells; `None` if the room itself could not be made, or was killed.
    #[must_use]
    pub fn of(code: Option<i32>) -> Option<Self> {
        Self::ALL.into_iter().find(|it| Some(i32::from(it.code())) == code)
    }
}

/// Reads a plan that [`command`] wrote.
///
/// # Errors
/// There is none.
pub fn read_plan(file: &Path) -> Result<Plan, BoxError> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Returns the command that makes a room inside the walls and enters it. Writes the plan to `file`, which the account
/// of the walls must be able to read.
///
/// `helper` is the program that has the commands `room enter` and `room join`: it need not be in a place that the
/// account can reach, as it is passed on as an open file.
///
/// # Errors
/// The plan cannot be written, or the helper cannot be opened.
pub fn command(
    helper: &Path,
    walls: &Walls,
    group: Option<&Group>,
    plan: &Plan,
    file: &Path,
) -> Result<Command, BoxError> {
    durable::note(file, &serde_json::to_vec(plan)?)?;
    Ok(walls.room(open(helper)?, group).args(["room", "enter"]).arg(file))
}

/// Returns the command that unpacks a base's tarball inside the walls.
pub(super) fn unpack_command(
    helper: &Path,
    walls: &Walls,
    tarball: &Path,
    into: &Path,
) -> Result<Command, BoxError> {
    Ok(walls.room(open(helper)?, None).args(["room", "unpack"]).arg(tarball).arg(into))
}

fn open(helper: &Path) -> Result<File, BoxError> {
    File::open(helper).map_err(|e| format!("cannot open {}: {e}", helper.display()).into())
}
