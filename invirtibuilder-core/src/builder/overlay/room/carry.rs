//! Carries what a room in memory wrote to a disk, before the room and its memory go away.
//!
//! It is done by the room's first process when it has no privilege any more, and when everything else in the room is
//! dead. Never follows a link, opens a device or waits for a pipe. Directories of the base belong to root, which this
//! process may not give them to: their owners are noted in a file beside, and restored by who looks at it.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write;
use std::num::TryFromIntError;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::inside::{failed, give_to_user};
use super::{Keep, OWNERS, USER};
use crate::durable::scratch;
use crate::error::BoxError;

/// The mark of a directory that hides what is below it (overlayfs, `userxattr`).
const OPAQUE: &str = "user.overlay.opaque";

/// Who owns a directory.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    path: Vec<u8>,
    user: u32,
    group: u32,
}

/// A place to carry to.
#[derive(Debug)]
pub(super) struct Carrier {
    upper: OwnedFd,
    owners: File,
    bytes: u64,
}

impl Carrier {
    /// Makes the place, while this process may do so and still sees the host's files.
    pub(super) fn prepare(keep: &Keep) -> Result<Self, BoxError> {
        let (upper, owners) = (keep.into.join("upper"), keep.into.join(OWNERS));
        scratch::create_directory(&upper, 0o755)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &owners, flags, Mode::from_raw_mode(0o644));
        let file = file.map_err(failed("create", &owners))?;
        Ok(Self { upper: give_to_user(&upper, USER)?, owners: file.into(), bytes: keep.bytes })
    }

    /// Carries all that is below a directory. Leaves [`OWNERS`] empty if it is too much.
    pub(super) fn carry(mut self, from: &OwnedFd) -> Result<(), BoxError> {
        let mut carrying = Carrying {
            top: self.upper.as_fd(),
            left: self.bytes,
            links: BTreeMap::new(),
            owners: Vec::new(),
        };
        let top = rustix::fs::fstat(from)?;
        carrying.note_owner(Path::new(""), &top);
        match carrying.content(from.as_fd(), self.upper.as_fd(), Path::new(""), DEPTH) {
            Ok(()) => (),
            // It is for people to look at, and not worth the failure's own cause.
            Err(Errno::DQUOT | Errno::NOSPC | Errno::FBIG | Errno::LOOP) => return Ok(()),
            Err(e) => return Err(failed("carry", "what was built")(e)),
        }
        rustix::fs::fchmod(&self.upper, Mode::from_raw_mode(top.st_mode))?;
        Ok(self.owners.write_all(&serde_json::to_vec(&carrying.owners)?)?)
    }
}

/// Gives directories back to their owners, if all was carried. This process is root in its user namespace.
pub(super) fn restore_owners(upper: &Path, owners: &Path) -> Result<(), BoxError> {
    let Ok(text) = std::fs::read(owners) else { return Ok(()) };
    for Owner { path, user, group } in serde_json::from_slice::<Vec<Owner>>(&text)? {
        let path = upper.join(OsStr::from_bytes(&path));
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        rustix::fs::chownat(CWD, &path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("restore the owner of", &path))?;
    }
    Ok(())
}

/// Kills every process of this PID namespace but the first, which is this.
pub(super) fn end_all_others() {
    const ROUNDS: u32 = 100;
    for _ in 0..ROUNDS {
        let mut is_alone = true;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            let number = entry.file_name().to_str().and_then(|it| it.parse::<i32>().ok());
            let Some(process) = number.filter(|it| *it > 1).and_then(rustix::process::Pid::from_raw) else {
                continue;
            };
            is_alone = false;
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        while rustix::process::wait(rustix::process::WaitOptions::NOHANG).is_ok_and(|it| it.is_some()) {}
        if is_alone {
            break;
        }
    }
}

/// Directories that are nested deeper are too much.
const DEPTH: usize = 200;

struct Carrying<'a> {
    top: BorrowedFd<'a>,
    left: u64,
    /// Where files went that have several names.
    links: BTreeMap<u64, PathBuf>,
    owners: Vec<Owner>,
}

impl Carrying<'_> {
    fn note_owner(&mut self, path: &Path, stat: &Stat) {
        let (user, group) = (stat.st_uid, stat.st_gid);
        if (user, group) != (USER, USER) {
            self.owners.push(Owner { path: path.as_os_str().as_bytes().to_owned(), user, group });
        }
    }

    fn spend(&mut self, stat: &Stat) -> Result<(), Errno> {
        const UNIT: u64 = 512;
        const NAME: u64 = 4096;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        let cost = blocks.saturating_mul(UNIT).saturating_add(NAME);
        self.left = self.left.checked_sub(cost).ok_or(Errno::DQUOT)?;
        Ok(())
    }

    fn content(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), Errno> {
        if depth == 0 {
            return Err(Errno::LOOP);
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.spend(&stat)?;
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.directory(from, to, name, &stat, &path, depth)?,
                FileType::RegularFile => self.file(from, to, name, &stat, &path)?,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                    rustix::fs::symlinkat(&target, to, name)?;
                    rustix::fs::utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                // What the overlay says is gone.
                FileType::CharacterDevice if stat.st_rdev == 0 => {
                    rustix::fs::mknodat(to, name, FileType::CharacterDevice, Mode::empty(), 0)?;
                }
                FileType::Fifo => {
                    rustix::fs::mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(stat.st_mode), 0)?;
                }
                // A socket whose process is dead.
                _ => (),
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &Path,
        depth: usize,
    ) -> Result<(), Errno> {
        rustix::fs::mkdirat(to, name, Mode::RWXU)?;
        let (source, copy) =
            (open(from, name, stat, OFlags::DIRECTORY)?, open(to, name, stat, OFlags::DIRECTORY)?);
        self.note_owner(path, stat);
        self.content(source.as_fd(), copy.as_fd(), path, depth - 1)?;
        let mut mark = [0_u8; 1];
        if rustix::fs::fgetxattr(&source, OPAQUE, &mut mark).is_ok_and(|it| it == mark.len()) {
            rustix::fs::fsetxattr(&copy, OPAQUE, &mark, XattrFlags::empty())?;
        }
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(&copy, &times(stat))
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &Path,
    ) -> Result<(), Errno> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                return rustix::fs::linkat(self.top, first, to, name, AtFlags::empty());
            }
            self.links.insert(stat.st_ino, path.to_owned());
        }
        let source = open(from, name, stat, OFlags::NONBLOCK)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        let (mut source, mut copy) = (File::from(source), File::from(copy));
        std::io::copy(&mut source, &mut copy).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(&copy, &times(stat))
    }
}

/// Opens what may have been closed by its owner, which this process is.
fn open(at: BorrowedFd<'_>, name: &CStr, stat: &Stat, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) if stat.st_uid == USER => {
            rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(at, name, flags, Mode::empty())
        }
        other => other,
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: Result<i64, TryFromIntError>| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.try_into()),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.try_into()),
    }
}
