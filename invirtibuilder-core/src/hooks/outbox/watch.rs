//! How the outbox sleeps: until the audit log changes, or until a hook is to be told again.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::audit::AuditLog;
use crate::durable;
use crate::stop::Stop;

/// The longest sleep.
const NAP: Duration = Duration::from_secs(60);
/// The longest sleep while hooks run, whose ends wake nobody, or where changes cannot be watched.
const SHORT_NAP: Duration = Duration::from_millis(200);

/// A watch on the log.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
}

impl Watch {
    /// Begins to watch; where the system refuses that, the log is looked at again and again.
    pub(super) fn new(log: &AuditLog) -> Self {
        let begin = || -> Result<OwnedFd, crate::error::BoxError> {
            let directory = log.path().parent().unwrap_or(log.path());
            durable::create_directory(directory)?;
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(&inotify, directory, WatchFlags::MODIFY | WatchFlags::CREATE)?;
            Ok(inotify)
        };
        let inotify = begin().map_err(|e| tracing::warn!("the audit log cannot be watched: {e}")).ok();
        Self { inotify }
    }

    /// Forgets what changed before. What changes from now on ends the next sleep.
    pub(super) fn begin(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let Some(inotify) = &self.inotify else { return };
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while reader.next().is_ok() {}
    }

    /// Sleeps until the log changes, a moment has come, or somebody ends it.
    pub(super) fn sleep(&self, stop: &Stop, done: &Stop, until: Option<Timestamp>, is_busy: bool) {
        let longest = if is_busy || self.inotify.is_none() { SHORT_NAP } else { NAP };
        let left =
            until.map(|it| Duration::try_from(it.duration_since(Timestamp::now())).unwrap_or_default());
        let left = left.map_or(longest, |it| it.clamp(Duration::from_millis(10), longest));
        let ends = [stop, done].map(AsFd::as_fd).into_iter().chain(self.inotify.as_ref().map(AsFd::as_fd));
        let mut ends: Vec<PollFd<'_>> = ends.map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN)).collect();
        // A signal that interrupts it makes it look once more than it must.
        let _ = poll(&mut ends, Timespec::try_from(left).ok().as_ref());
    }
}
