//! How much a room has written.
//!
//! A room in memory is bounded by the size of its tmpfs. One on a disk has no such bound without quotas, so it is
//! looked through now and then.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::End;

/// Returns whether the room's file system has no more space, or no more names.
pub(super) fn is_full() -> bool {
    rustix::fs::statvfs("/").is_ok_and(|it| {
        let is_out_of_names = it.f_files > 0 && it.f_ffree == 0;
        it.f_bavail <= it.f_blocks / 100 || is_out_of_names
    })
}

/// Ends this process, and with it the room, once more than `limit` bytes are below the upper directory.
pub(in crate::builder) fn watch(upper: OwnedFd, limit: u64) {
    const PAUSE: Duration = Duration::from_secs(1);
    std::thread::spawn(move || {
        loop {
            let started = Instant::now();
            let used = used_below(&upper, DEPTH);
            if used > limit {
                std::process::exit(i32::from(End::DiskLimit.code()));
            }
            // Looking takes a twentieth of a core at most.
            std::thread::sleep(PAUSE.max(started.elapsed() * 20));
        }
    });
}

/// Directories that are nested deeper are passed over.
const DEPTH: usize = 200;

/// Adds up the blocks of everything below a directory. What cannot be read is left out.
fn used_below(directory: impl AsFd, depth: usize) -> u64 {
    const UNIT: u64 = 512;
    let Ok(entries) = Dir::read_from(&directory) else { return 0 };
    let mut used = 0_u64;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let links = u64::from(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX)).max(1);
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if depth > 0
                && let Ok(below) = rustix::fs::openat(&directory, name, flags, Mode::empty())
            {
                used = used.saturating_add(used_below(&below, depth - 1));
            }
            used = used.saturating_add(blocks * UNIT);
        } else {
            // Each name of a file counts for its part.
            used = used.saturating_add(blocks * UNIT / links);
        }
    }
    used
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
