//! A process that another worker started, and that is held so that its number does not become another's.
//!
//! Never kills by a number.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, held open (`pidfd_open(2)`).
#[derive(Debug)]
pub(crate) struct Process(OwnedFd);

impl Process {
    /// Holds the process that has this number now; `None` if there is none. Only what is seen of it from now on is
    /// of the process that is held.
    pub(crate) fn open(number: &str) -> Option<Self> {
        let pid = Pid::from_raw(number.parse().ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Kills it, if it has not ended and this process may.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}
