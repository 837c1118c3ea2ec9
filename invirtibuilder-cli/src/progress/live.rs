//! One line at the bottom of a terminal that tells what runs, and for how long.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use invirtibuilder_core::job::{Job, Stage};
use invirtibuilder_core::names::JobId;

use crate::output::{FAINT, draw, styled};

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(500);
/// The narrowest terminal that is reckoned with, in columns.
const WIDTH: usize = 79;
/// Goes to the beginning of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Draws the line until it is dropped.
#[derive(Debug)]
pub(super) struct Live {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<JobId, Running>,
    is_over: bool,
}

#[derive(Debug)]
struct Running {
    label: String,
    stage: Stage,
    since: Instant,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&self) -> String {
        let one =
            |it: &Running| format!("{}: {} {} s", it.label, it.stage.as_str(), it.since.elapsed().as_secs());
        let text = self.running.values().map(one).collect::<Vec<_>>().join("   ");
        // A line that is wider than the terminal could not be drawn over.
        text.chars().take(WIDTH).collect()
    }
}

impl Live {
    pub(super) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let drawn = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut state = drawn.state();
            while !state.is_over {
                draw(&format!("{CLEAR}{}", styled(FAINT, state.line())));
                state = drawn.over.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
            }
            draw(CLEAR);
        });
        Self { shared, thread: Some(thread) }
    }

    /// Writes a line that stays, above the one that is drawn.
    pub(super) fn say(&self, line: &str) {
        // Nobody draws in between.
        let state = self.shared.state();
        draw(&format!("{CLEAR}{line}\n"));
        drop(state);
    }

    pub(super) fn entered(&self, job: &Job, stage: Stage) {
        let label = format!("{} → {}", job.request.package, job.request.pocket);
        self.shared.state().running.insert(job.id.clone(), Running { label, stage, since: Instant::now() });
    }

    pub(super) fn left(&self, job: &Job) {
        self.shared.state().running.remove(&job.id);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.over.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
