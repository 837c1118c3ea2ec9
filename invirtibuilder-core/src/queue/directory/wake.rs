//! How a worker without work sleeps: on inotify(7), never by looking again and again.
//!
//! Never decides whether there is work. A watch belongs to one thread, because whoever reads its events takes them
//! from everybody else: [`begin`] empties it before the thread looks for work, and so whatever happens from then
//! on ends the thread's next [`sleep`].

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::layout::Layout;
use crate::durable::{self, DurableError, Lock};
use crate::job::Lane;
use crate::stop::Stop;

/// When a process dies, the kernel may close its bell a moment before it releases its locks; so whoever heard a
/// bell looks again after this.
const SETTLE: Duration = Duration::from_millis(50);
/// The longest sleep. Longer ones are cut, which the contract allows.
const LONGEST: Duration = Duration::from_secs(3600);

/// Tells the watches of one queue from those of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity(Arc<()>);

#[derive(Debug)]
struct Watch {
    queue: Weak<()>,
    inotify: OwnedFd,
    bells: i32,
    /// When the thread last looked for work.
    looked: Timestamp,
    look_again: Option<Instant>,
}

thread_local! {
    static WATCHES: RefCell<Vec<Watch>> = const { RefCell::new(Vec::new()) };
}

/// The lock of a package. Its release, or the death of its process, wakes those who sleep.
#[derive(Debug)]
pub(super) struct Hold {
    // Fields are dropped in this order: who hears the bell finds the lock free.
    _lock: Lock,
    _bell: File,
}

impl Hold {
    /// Takes the lock of a lane if nobody has it. The caller holds the queue's own lock, so that a look at
    /// who is alive never keeps a claim from its job.
    pub(super) fn try_now(layout: &Layout, lane: Lane<'_>) -> Result<Option<Self>, DurableError> {
        match Lock::try_now(&layout.lane_lock(lane))? {
            // The bell is opened only now: closing it after a failure would wake others to fail as well.
            Some(lock) => Ok(Some(Self { _lock: lock, _bell: durable::create_log(&layout.bell())? })),
            None => Ok(None),
        }
    }
}

/// Wakes those who sleep.
pub(super) fn ring(layout: &Layout) {
    // The queue is usable without it: sleeps have a limit.
    let _ = durable::create_log(&layout.bell());
}

/// Forgets what happened before `now`. Errors are left to [`sleep`]: a worker that never sleeps needs no watch.
pub(super) fn begin(queue: &Identity, layout: &Layout, now: Timestamp) {
    let began = with_watch(queue, |watch| watch.begin(now));
    if began.is_none()
        && let Ok(watch) = Watch::new(queue, layout, now)
    {
        WATCHES.with_borrow_mut(|it| it.push(watch));
    }
}

/// Returns the moment of this thread's last [`begin`].
pub(super) fn looked(queue: &Identity) -> Option<Timestamp> {
    with_watch(queue, |watch| watch.looked)
}

/// Sleeps until something happened since this thread's last [`begin`], `limit` has passed, or `stop` is set.
pub(super) fn sleep(queue: &Identity, layout: &Layout, limit: Duration, stop: &Stop) -> io::Result<()> {
    if stop.is_set() {
        return Ok(());
    }
    with_watch(queue, |watch| watch.sleep(limit, stop)).unwrap_or_else(|| {
        // Whatever happened before there is a watch was missed: no sleep, but say why there is none.
        Watch::new(queue, layout, Timestamp::MIN).map(drop)
    })
}

/// Calls `act` with this thread's watch, if it has one.
fn with_watch<T>(queue: &Identity, act: impl FnOnce(&mut Watch) -> T) -> Option<T> {
    WATCHES.with_borrow_mut(|watches| {
        watches.retain(|it| it.queue.strong_count() > 0);
        // The weak reference keeps the address from being used again.
        watches.iter_mut().find(|it| it.queue.as_ptr() == Arc::as_ptr(&queue.0)).map(act)
    })
}

impl Watch {
    fn new(queue: &Identity, layout: &Layout, looked: Timestamp) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Submitted jobs, and those that are given back, are renamed into their place.
        inotify::add_watch(&inotify, layout.waiting(), WatchFlags::MOVED_TO | WatchFlags::ONLYDIR)?;
        let bells =
            inotify::add_watch(&inotify, layout.running(), WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR)?;
        Ok(Self { queue: Arc::downgrade(&queue.0), inotify, bells, looked, look_again: None })
    }

    fn sleep(&self, limit: Duration, stop: &Stop) -> io::Result<()> {
        let again = self.look_again.map_or(LONGEST, |it| it.saturating_duration_since(Instant::now()));
        let limit = Timespec::try_from(limit.min(again).min(LONGEST)).map_err(|_| Errno::INVAL)?;
        let mut both = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut both, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn begin(&mut self, now: Timestamp) {
        self.looked = now;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut rang = false;
        // Whatever else goes wrong than that no event is left shows in the next poll.
        while let Ok(event) = reader.next() {
            rang |= event.wd() == self.bells || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
        }
        self.look_again = rang.then(|| Instant::now() + SETTLE);
    }
}
