//! What a whole run of sbuild happens in: namespaces without network, and with as much space as the limits say.
//!
//! Its first process is this program itself, called again as [`enter`]; its end is the end of every process of the run
//! and of all its mounts. Unlike a room, it sees the host's files as the account of builds does: sbuild needs some of
//! them, and the chroot that it makes has only the base's.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::builder::limits::Group;
use crate::builder::overlay::room::{End, disk, inside, loopback, open};
use crate::builder::walls::Walls;
use crate::durable;
use crate::error::BoxError;
use crate::process::Command;

/// What is run, and with how much space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enclosure {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, besides `PATH`, `LC_ALL` and `TZ`.
    pub environment: Vec<(String, String)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Where it writes.
    pub space: Space,
    /// What it sees in place of the host's.
    pub binds: Vec<Bind>,
    /// Who its first process is.
    pub privilege: Privilege,
}

/// Who the first process of an enclosure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {
    /// The account of builds, in a user namespace of its own.
    Account,
    /// Root, for programs that are root's.
    Root,
}

/// A directory that is seen at another place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The directory.
    pub from: PathBuf,
    /// Where it is seen.
    pub at: PathBuf,
}

/// Where a run writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// To memory of its own, mounted on a directory, so many bytes.
    Memory(PathBuf, u64),
    /// To a directory on a disk, so many bytes; `None` for as many as there are.
    Disk(PathBuf, Option<u64>),
}

/// Returns the command that makes the enclosure inside the walls and enters it. Writes the plan to `file`, which the
/// account of the walls must be able to read.
///
/// # Errors
/// The plan cannot be written, or the helper cannot be opened.
pub fn command(
    helper: &Path,
    walls: &Walls,
    group: Option<&Group>,
    plan: &Enclosure,
    home: &Path,
    file: &Path,
) -> Result<Command, BoxError> {
    durable::note(file, &serde_json::to_vec(plan)?)?;
    let command = match plan.privilege {
        Privilege::Account => walls.enclosure(open(helper)?, group, home),
        Privilege::Root => walls.enclosure_of_root(open(helper)?, group),
    };
    Ok(command.args(["room", "enclose"]).arg(file))
}

/// Reads a plan, runs it, and returns an exit status: the program's own, or one of [`End`]'s where the program failed
/// and had no more space. This process is the first of its PID namespace.
///
/// # Errors
/// The enclosure could not be made.
pub fn enter(file: &Path) -> Result<u8, BoxError> {
    let plan: Enclosure = serde_json::from_slice(&std::fs::read(file)?)?;
    inside::die_with_parent()?;
    inside::refuse_open_files()?;
    loopback::bring_up()?;
    let was_full = Arc::new(AtomicBool::new(false));
    match &plan.space {
        Space::Memory(at, bytes) => {
            inside::tmpfs(at, &format!("mode=755,size={bytes},nr_inodes={}", bytes / 2048))?;
            note_fullness(at.clone(), &was_full);
        }
        Space::Disk(at, limit) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory: OwnedFd = rustix::fs::openat(CWD, at, flags, Mode::empty())?;
            note_fullness(at.clone(), &was_full);
            if let Some(limit) = limit {
                disk::watch(directory, *limit);
            }
        }
    }
    for Bind { from, at } in &plan.binds {
        if !at.exists() {
            durable::create_directory(at)?;
        }
        rustix::mount::mount_bind(from, at)?;
    }
    let mut command = Command::new(&plan.program).args(&plan.arguments).current_dir(&plan.directory);
    for (name, value) in &plan.environment {
        command = command.env(name, value);
    }
    let status = command.run_attached()?;
    Ok(match status.code().map(u8::try_from) {
        Some(Ok(0)) => 0,
        _ if was_full.load(Ordering::Relaxed) => End::DiskFull.code(),
        Some(Ok(code)) if code < End::Failed.code() => code,
        _ => End::Failed.code(),
    })
}

/// Looks now and then whether there is any space left, as sbuild removes what filled it before it ends.
fn note_fullness(at: PathBuf, was_full: &Arc<AtomicBool>) {
    const PAUSE: Duration = Duration::from_millis(100);
    const LEAST: u64 = 1 << 20;
    let was_full = Arc::clone(was_full);
    std::thread::spawn(move || {
        loop {
            let is_full = |it: rustix::fs::StatVfs| {
                it.f_bavail.saturating_mul(it.f_frsize) < LEAST || (it.f_files > 0 && it.f_ffree == 0)
            };
            if rustix::fs::statvfs(&at).is_ok_and(is_full) {
                was_full.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(PAUSE);
        }
    });
}
