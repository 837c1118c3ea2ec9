//! The outbox: tells each hook of what the audit log has recorded, in order, until it has listened.
//!
//! What is to be told is kept in the log itself: a record has the events that it announces. So nothing that was
//! recorded is forgotten, nothing is told that was not recorded, and whoever is told can count: the numbers of the
//! log have no gap. All that is kept here is how far each hook has heard.
//!
//! Hooks of one name, in whatever events' directories, are one listener: it hears in the order of the log, one event
//! at a time, and one that fails is told the same again, later and later, before it hears of anything else. Listeners
//! do not wait for each other, and no build waits for any of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Announce, Event, EventKind, HookResult, Hooks};
use crate::audit::{AuditError, AuditLog, Entry, Happened, Head, Place};
use crate::durable::{self, DurableError, Lock};
use crate::error::causes;
use crate::stop::{Interrupt, Stop};

mod watch;

use watch::Watch;

/// How long a hook that fails is told the same again by default: three days.
pub const PATIENCE: Duration = Duration::from_secs(3 * 24 * 3600);

/// What a listener waits after its first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest that a listener waits.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Why hooks could not be told, besides their own failures.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum OutboxError {
    /// The audit log cannot be read or written.
    Audit(#[from] AuditError),
    /// How far a hook has heard cannot be noted.
    Durable(#[from] DurableError),
    /// The hooks cannot be listed.
    Io(#[from] std::io::Error),
}

/// The hooks of one name.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    /// Its name.
    pub(super) name: String,
    /// The executable for each event that it hears of.
    pub(super) files: BTreeMap<EventKind, PathBuf>,
    /// When the first of them was put there: it hears of what was recorded since.
    pub(super) since: Timestamp,
}

/// How far a listener has heard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Up to here.
    place: Place,
    /// And so many events of the record that follows.
    #[serde(default)]
    within: usize,
    /// That it failed to hear of the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing: Option<Failing>,
    /// The last record before that it was to hear of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Head>,
}

/// That a hook fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// How often it has failed to hear of one event.
    pub attempts: u32,
    /// Since when.
    pub since: Timestamp,
    /// When it is told again.
    pub not_before: Timestamp,
    /// What went wrong the last time.
    pub problem: String,
}

/// How a hook stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub hook: String,
    /// The events that it hears of.
    pub events: Vec<EventKind>,
    /// The number of the last record of the audit log that it needs not be told of any more.
    pub heard: u64,
    /// How many events it has not heard of yet.
    pub waiting: usize,
    /// That it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
}

/// Tells hooks. See the module.
#[derive(Clone, Debug)]
pub struct Outbox {
    hooks: Hooks,
    log: AuditLog,
    directory: PathBuf,
    patience: Duration,
}

impl Outbox {
    /// Takes the hooks, the log that has what they are to hear of, the directory that keeps how far they have heard,
    /// and for how long one that fails is told the same again.
    #[must_use]
    pub fn new(hooks: Hooks, log: AuditLog, directory: &Path, patience: Duration) -> Self {
        Self { hooks, log, directory: directory.to_owned(), patience }
    }

    /// Tells hooks until `done` or `stop` is set. Then, unless it is `stop`, everything that is due is told.
    ///
    /// What goes wrong is logged, and tried again.
    pub fn run(&self, stop: &Stop, done: &Stop) {
        let watch = Watch::new(&self.log);
        std::thread::scope(|scope| {
            let mut busy = BTreeMap::new();
            while !stop.is_set() && !done.is_set() {
                watch.begin();
                busy.retain(|_, it: &mut std::thread::ScopedJoinHandle<'_, ()>| !it.is_finished());
                let mut next = None;
                for (listener, due) in self.due() {
                    if due > Timestamp::now() {
                        next = next.into_iter().chain([due]).min();
                    } else if !busy.contains_key(&listener.name) {
                        let name = listener.name.clone();
                        busy.insert(name, scope.spawn(move || self.tell_and_log(&listener, stop)));
                    }
                }
                watch.sleep(stop, done, next, !busy.is_empty());
            }
        });
        if !stop.is_set() {
            self.deliver(stop);
        }
    }

    /// Tells everything that is due now, and returns.
    pub fn deliver(&self, interrupt: &dyn Interrupt) {
        std::thread::scope(|scope| {
            for (listener, due) in self.due() {
                if due <= Timestamp::now() {
                    scope.spawn(move || self.tell_and_log(&listener, interrupt));
                }
            }
        });
    }

    /// Returns how the hooks stand, in the order of their names.
    ///
    /// # Errors
    /// The hooks cannot be listed, or the log cannot be read.
    pub fn standing(&self) -> Result<Vec<Standing>, OutboxError> {
        let standing = self.hooks.listeners()?.into_iter().map(|listener| {
            let Progress { place, within, failing, previous: _ } = self.progress(&listener)?;
            let (heard, mut waiting) = (place.seq, 0);
            for record in self.log.follow(place)? {
                let told = record?.line.entry.tell;
                waiting += told.iter().filter(|it| listener.files.contains_key(&it.kind)).count();
            }
            let events = listener.files.into_keys().collect();
            Ok(Standing {
                hook: listener.name,
                events,
                heard,
                waiting: waiting.saturating_sub(within),
                failing,
            })
        });
        standing.collect()
    }

    /// Returns the listeners that may have something to hear, and from when on.
    fn due(&self) -> Vec<(Listener, Timestamp)> {
        let listeners = self.hooks.listeners().unwrap_or_else(|e| {
            tracing::warn!("the hooks cannot be listed: {e}");
            Vec::new()
        });
        self.forget_all_but(&listeners);
        let length = self.log.length();
        let due = listeners.into_iter().filter_map(|listener| {
            let progress = self.read(&listener.name).unwrap_or_default();
            let due = progress.failing.map_or(Timestamp::MIN, |it| it.not_before);
            (progress.place.offset < length).then_some((listener, due))
        });
        due.collect()
    }

    /// Forgets hooks that are no longer there: should one come back, it hears of what happens from then on.
    fn forget_all_but(&self, listeners: &[Listener]) {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        for path in entries.map(|it| it.path()).filter(|it| it.extension() == Some("json".as_ref())) {
            let name = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
            // A hidden file is one that is being written.
            let is_gone = !name.starts_with('.') && !listeners.iter().any(|it| it.name == name);
            if is_gone && let Err(e) = durable::remove_file(&path) {
                tracing::warn!("a hook that is gone is not forgotten: {}", causes(&e).join(": "));
            }
        }
    }

    fn tell_and_log(&self, listener: &Listener, interrupt: &dyn Interrupt) {
        if let Err(e) = self.tell(listener, interrupt) {
            tracing::error!(hook = listener.name, "it cannot be told: {}", causes(&e).join(": "));
        }
    }

    /// Tells a listener what it has not heard of, up to a failure. Does nothing while another process does.
    fn tell(&self, listener: &Listener, interrupt: &dyn Interrupt) -> Result<(), OutboxError> {
        durable::create_directory(&self.directory)?;
        let lock = self.directory.join(format!("{}.lock", listener.name));
        let Some(_lock) = Lock::try_now(&lock)? else { return Ok(()) };
        let mut progress = self.progress(listener)?;
        if progress.failing.as_ref().is_some_and(|it| it.not_before > Timestamp::now()) {
            return Ok(());
        }
        for record in self.log.follow(progress.place)? {
            let record = record?;
            for event in record.line.entry.tell.iter().skip(progress.within) {
                if let Some(file) = listener.files.get(&event.kind) {
                    let (audit, previous) = (Some(record.head()), progress.previous.clone());
                    let event = Event { audit, previous, ..event.clone() };
                    if !self.tell_of(&event, file, &mut progress, interrupt)? {
                        return self.save(listener, &progress);
                    }
                    progress.within += 1;
                    self.save(listener, &progress)?;
                } else {
                    progress.within += 1;
                }
            }
            // Also what it was given up for: whoever keeps all events then sees that it never came.
            let is_its = record.line.entry.tell.iter().any(|it| listener.files.contains_key(&it.kind));
            let previous = if is_its { Some(record.head()) } else { progress.previous };
            progress = Progress { place: record.next, previous, ..Progress::default() };
        }
        self.save(listener, &progress)
    }

    /// Runs one hook. Returns whether its listener may go on.
    fn tell_of(
        &self,
        event: &Event,
        file: &Path,
        progress: &mut Progress,
        interrupt: &dyn Interrupt,
    ) -> Result<bool, OutboxError> {
        let result = self.hooks.run_one(file, event, interrupt);
        if result.problem.is_some() && interrupt.is_interrupted() {
            return Ok(false);
        }
        let Some(problem) = result.problem.clone() else {
            progress.failing = None;
            self.log.append(&of_hook(event, &result, "done"))?;
            return Ok(true);
        };
        let now = Timestamp::now();
        let (attempts, since) = progress.failing.as_ref().map_or((1, now), |it| (it.attempts + 1, it.since));
        if Duration::try_from(now.duration_since(since)).unwrap_or_default() >= self.patience {
            progress.failing = None;
            self.log.append(&of_hook(event, &result, &format!("given up: {problem}")))?;
            tracing::error!(hook = result.hook, attempts, "it was never told of a {}: {problem}", event.kind);
            return Ok(true);
        }
        let wait = FIRST_WAIT.saturating_mul(1 << attempts.min(16).saturating_sub(1)).min(LONGEST_WAIT);
        let not_before = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        progress.failing = Some(Failing { attempts, since, not_before, problem });
        Ok(false)
    }

    /// Returns how far a listener has heard; of one that is new, where what was recorded since it is there begins.
    fn progress(&self, listener: &Listener) -> Result<Progress, OutboxError> {
        if let Some(mut progress) = self.read(&listener.name) {
            // What an older version noted does not say.
            if progress.previous.is_none() && progress.place.seq > 0 {
                progress.previous = self.last_before(progress.place, listener)?;
            }
            return Ok(progress);
        }
        let mut place = Place::default();
        for record in self.log.follow(place)? {
            let record = record?;
            if record.line.time >= listener.since {
                break;
            }
            place = record.next;
        }
        Ok(Progress { place, ..Progress::default() })
    }

    /// Returns the last record before a place that a listener was to hear of.
    fn last_before(&self, place: Place, listener: &Listener) -> Result<Option<Head>, OutboxError> {
        let mut last = None;
        for record in self.log.follow(Place::default())? {
            let record = record?;
            if record.line.seq > place.seq {
                break;
            }
            let is_its = record.line.entry.tell.iter().any(|it| listener.files.contains_key(&it.kind));
            if is_its && record.line.time >= listener.since {
                last = Some(record.head());
            }
        }
        Ok(last)
    }

    fn read(&self, name: &str) -> Option<Progress> {
        serde_json::from_slice(&std::fs::read(self.file(name)).ok()?).ok()
    }

    fn save(&self, listener: &Listener, progress: &Progress) -> Result<(), OutboxError> {
        let text = serde_json::to_vec(progress).map_err(std::io::Error::from)?;
        Ok(durable::write(&self.file(&listener.name), &text)?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

/// Whatever is announced has been recorded, and so is told by [`Outbox::run`] or [`Outbox::deliver`].
impl Announce for Outbox {
    fn announce(&self, event: &Event) {
        if event.audit.is_none() {
            tracing::error!(%event.kind, "an event was announced that is not recorded; no hook hears of it");
        }
    }
}

/// Tells the audit log of what became of a hook.
fn of_hook(event: &Event, result: &HookResult, end: &str) -> Entry {
    let entry = Entry {
        pocket: event.pocket.clone(),
        package: Some(event.package.clone()),
        version: event.version.clone(),
        job: event.job.clone(),
        ..Entry::new(Happened::Hook)
    };
    let seq = event.audit.as_ref().map_or(0, |it: &Head| it.seq);
    entry.with("hook", &result.hook).with("of", event.kind).with("record", seq).with("result", end)
}

#[cfg(test)]
mod tests;
