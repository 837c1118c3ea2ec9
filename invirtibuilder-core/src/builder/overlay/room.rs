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

mod carry;
mod collect;
pub(in crate::builder) mod disk;
mod filter;
pub(in crate::builder) mod inside;
pub(in crate::builder) mod loopback;
mod visit;

pub use inside::{enter, run, unpack};
pub use visit::visit;
pub(super) use visit::{give, receive};

/// The host's name inside of a room, as every base has it.
const HOST: &str = "build";
/// The id of the user and of the group that builds run as, inside of a room, as every base has them.
pub(super) const USER: u32 = 1000;
/// Where a package is built: the same place in every room, as its binary packages may name it.
pub(super) const BUILD: &str = "/build/reproducible-path";

/// Where a room whose user may mount sees the last of its lower layers: an empty directory of every base.
pub(super) const CHROOT: &str = "/build/packages";

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
    /// Where they seem to run.
    pub surroundings: Surroundings,
    /// What is done, one after the other, as long as each succeeds.
    pub steps: Vec<Step>,
    /// The directory that the regular files beside the package's tree are copied to at the end.
    pub results: Option<PathBuf>,
    /// Where what a room in memory wrote is carried to if a step fails; `None` to let it go.
    pub keep: Option<Keep>,
}

/// Where what a room in memory wrote is carried to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keep {
    /// An empty directory, which gets an `upper` and `OWNERS`.
    pub into: PathBuf,
    /// How many bytes it may be.
    pub bytes: u64,
}

/// The file beside an `upper` that was carried: who owned what was not the builder's, and at the same time the sign
/// that all of it was carried. It is empty until then.
pub(super) const OWNERS: &str = "owners.json";

/// A look at what a failed build left: a room with the same base and layer, and what it wrote on top of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Visit {
    /// The room. The first of its lower layers is what the build wrote. Of its steps, one is done.
    pub plan: Plan,
    /// The file `OWNERS` of that layer; there is none if the build was on a disk.
    pub owners: PathBuf,
    /// Whether the program gets a terminal of its own; else it gets the streams that the caller sends.
    pub has_terminal: bool,
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
    /// Root who may mount, too, for a program that makes a chroot of its own. Such a room sees the last of its lower
    /// layers at `CHROOT` once more, and may change what it sees there. There is nothing of the host's in it that
    /// could be mounted otherwise: what it is shown are copies.
    Mounter,
    /// Nobody in particular.
    Builder,
}

/// What programs of a room can see of it that has nothing to do with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The host's name.
    pub host: String,
    /// The name of the user that builds run as.
    pub name: String,
    /// The id of that user and of its group.
    pub id: u32,
    /// The permissions that new files do not have.
    pub umask: u32,
}

impl Surroundings {
    /// Returns those of a usual build.
    #[must_use]
    pub fn usual() -> Self {
        Self { host: HOST.to_owned(), name: "builder".to_owned(), id: USER, umask: 0o022 }
    }

    /// Returns those of a build that is to show that they make no difference.
    #[must_use]
    pub fn other() -> Self {
        Self { host: "second-host".to_owned(), name: "second".to_owned(), id: USER + 1, umask: 0o002 }
    }
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
    /// Its environment, besides `PATH`, `LC_ALL` and `TZ`, which it may change.
    pub environment: Vec<(String, String)>,
}

/// How a room ended, as an exit status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step succeeded.
    Finished,
    /// A step failed, such as by a signal.
    Failed,
    /// A step ended with this status, which is not zero.
    Exited(u8),
    /// A step failed, and there is no space left in the room.
    DiskFull,
    /// It wrote more than it may.
    DiskLimit,
}

impl End {
    const ALL: [Self; 4] = [Self::Finished, Self::Failed, Self::DiskFull, Self::DiskLimit];
    /// What is added to the status of a step.
    const EXITED: u8 = 150;
    /// The statuses of steps that are told.
    const TOLD: std::ops::RangeInclusive<u8> = 1..=100;

    /// Returns the end of a room whose step ended with this status, or by a signal.
    #[must_use]
    pub fn of_step(status: Option<i32>) -> Self {
        let status = status.and_then(|it| u8::try_from(it).ok()).filter(|it| Self::TOLD.contains(it));
        status.map_or(Self::Failed, Self::Exited)
    }

    /// Returns the exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Failed => 40,
            Self::Exited(status) => Self::EXITED.saturating_add(status),
            Self::DiskFull => 41,
            Self::DiskLimit => 42,
        }
    }

    /// Returns what an exit status tells; `None` if the room itself could not be made, or was killed.
    #[must_use]
    pub fn of(code: Option<i32>) -> Option<Self> {
        let exited = || {
            let status = u8::try_from(code?).ok()?.checked_sub(Self::EXITED)?;
            Self::TOLD.contains(&status).then_some(Self::Exited(status))
        };
        Self::ALL.into_iter().find(|it| Some(i32::from(it.code())) == code).or_else(exited)
    }
}

/// Reads a plan that [`command`] wrote.
///
/// # Errors
/// There is none.
pub fn read_plan(file: &Path) -> Result<Plan, BoxError> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Reads what `visit_command` wrote.
///
/// # Errors
/// There is none.
pub fn read_visit(file: &Path) -> Result<Visit, BoxError> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Returns the command that makes a room to look at what a build left, as [`command`] does.
pub(super) fn visit_command(
    helper: &Path,
    walls: &Walls,
    group: Option<&Group>,
    visit: &Visit,
    file: &Path,
) -> Result<Command, BoxError> {
    durable::note(file, &serde_json::to_vec(visit)?)?;
    Ok(walls.room(open(helper)?, group).args(["room", "visit"]).arg(file))
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

/// Returns the command that writes a tree into a disk image inside the walls.
pub(super) fn image_command(
    helper: &Path,
    walls: &Walls,
    tree: &Path,
    file: &Path,
) -> Result<Command, BoxError> {
    Ok(walls.room(open(helper)?, None).args(["room", "image"]).arg(tree).arg(file))
}

pub(in crate::builder) fn open(helper: &Path) -> Result<File, BoxError> {
    File::open(helper).map_err(|e| format!("cannot open {}: {e}", helper.display()).into())
}
