//! How work is asked to end early.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A request to stop, shared between threads; once set it stays set.
///
/// A thread that sleeps in `poll(2)` may include [`Stop::as_fd`], which becomes readable when it is set.
#[derive(Clone)]
pub struct Stop(Arc<Inner>);

struct Inner {
    set: AtomicBool,
    event: OwnedFd,
}

impl Stop {
    /// Makes one that is not set.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { set: AtomicBool::new(false), event })))
    }

    /// Asks everybody who holds a clone to stop.
    pub fn set(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        // A full counter is readable as well, which is all that matters.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
    }

    /// Returns whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.is_set()).finish()
    }
}

/// Tells a long-running stage whether to go on. Asked a few times a second.
pub trait Interrupt: Sync {
    /// Returns whether the stage should end now, and leave nothing behind.
    fn is_interrupted(&self) -> bool;
}

/// Never interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Never;

impl Interrupt for Never {
    fn is_interrupted(&self) -> bool {
        false
    }
}

impl Interrupt for Stop {
    fn is_interrupted(&self) -> bool {
        self.is_set()
    }
}
