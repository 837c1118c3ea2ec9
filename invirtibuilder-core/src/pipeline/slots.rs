//! How many builds run at once: a job with several architectures wants several, and so do several jobs.
//!
//! A job's own thread always gets on before a job that builds already gets one more, so that a package with many
//! architectures does not keep the others waiting for longer than one build takes.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::BuildError;
use crate::stop::Interrupt;

/// The builds of a process that may run at once.
#[derive(Debug)]
pub struct Slots {
    limit: Option<NonZeroUsize>,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many builds may run.
    limit: usize,
    running: usize,
    /// How many jobs wait for their first.
    first: usize,
}

/// Whether a job has a build already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It has none.
    First,
    /// It has one, or waits for it.
    More,
}

/// The right to run a build; dropping it lets another go on.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    /// Lets so many builds run at once; or, without a number, as many as this machine has processors, and at least
    /// one for each job that is worked.
    #[must_use]
    pub fn new(limit: Option<NonZeroUsize>) -> Self {
        let derived = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let state = State { limit: limit.unwrap_or_else(derived).get(), running: 0, first: 0 };
        Self { limit, state: Mutex::new(state), freed: Condvar::new() }
    }

    /// Says how many jobs are worked side by side.
    pub(crate) fn serve(&self, jobs: NonZeroUsize) {
        if self.limit.is_none() {
            let mut state = self.state();
            state.limit = state.limit.max(jobs.get());
        }
    }

    /// Waits for the right to run a build.
    pub(super) fn take(&self, order: Order, interrupt: &dyn Interrupt) -> Result<Slot<'_>, BuildError> {
        const TICK: Duration = Duration::from_millis(200);
        let first = usize::from(order == Order::First);
        let mut state = self.state();
        state.first += first;
        let may = |state: &State| state.running < state.limit && (order == Order::First || state.first == 0);
        while !may(&state) && !interrupt.is_interrupted() {
            state = self.freed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let is_given = may(&state);
        state.first -= first;
        state.running += usize::from(is_given);
        drop(state);
        self.freed.notify_all();
        if is_given { Ok(Slot(self)) } else { Err(BuildError::Interrupted) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::{Never, Stop};

    fn slots(limit: usize) -> Slots {
        Slots::new(NonZeroUsize::new(limit))
    }

    #[test]
    fn a_build_more_than_may_run_waits_until_one_ends() {
        let slots = slots(1);
        let held = slots.take(Order::First, &Never).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.take(Order::More, &Never).map(|_| ()));
            drop(held);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(slots.state().running, 0);
    }

    #[test]
    fn a_job_without_a_build_comes_before_a_job_that_has_one() {
        let slots = slots(1);
        let held = slots.take(Order::First, &Never).unwrap();
        slots.state().first += 1; // as a thread that waits has it
        let stop = Stop::new().unwrap();
        drop(held);
        stop.set();
        assert!(slots.take(Order::More, &stop).is_err(), "the other comes first");
        assert!(slots.take(Order::First, &Never).is_ok());
    }

    #[test]
    fn whoever_waits_and_is_interrupted_waits_no_longer() {
        let (slots, stop) = (slots(1), Stop::new().unwrap());
        let _held = slots.take(Order::First, &Never).unwrap();
        stop.set();
        assert!(matches!(slots.take(Order::First, &stop), Err(BuildError::Interrupted)));
        assert_eq!(slots.state().first, 0);
    }

    #[test]
    fn each_job_that_is_worked_has_a_build_unless_somebody_says_otherwise() {
        let (derived, fixed) = (Slots::new(None), slots(2));
        for slots in [&derived, &fixed] {
            slots.serve(NonZeroUsize::new(500).unwrap());
        }
        assert_eq!((derived.state().limit, fixed.state().limit), (500, 2));
    }
}
