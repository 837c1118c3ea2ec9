//! What runs at every end of a job: the executables of the hook directories (rules H1 and H2).
//!
//! Never changes the outcome of a job: a hook that fails, hangs or floods is ended and logged, and told again by the
//! [`Outbox`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::durable;
use crate::error::causes;
use crate::process::{Command, Limits};
use crate::stop::{Interrupt, Never};

mod event;
mod outbox;

pub use event::{Event, EventKind};
pub use outbox::{Failing, Outbox, OutboxError, PATIENCE, Standing};

use outbox::Listener;

/// What a hook may print, in bytes, before it is ended.
const MAX_OUTPUT: u64 = 1 << 20;

/// How many bytes of a hook's output are kept.
const KEPT_OUTPUT: usize = 64 << 10;

/// The size, in bytes, at which the log of the hooks is moved aside.
const MAX_LOG: u64 = 16 << 20;

/// Tells the world outside what happened.
///
/// # Contract
/// - `announce` returns when everybody was told, or could not be, or when it is certain that they will be.
/// - It fails for nobody: what went wrong is logged.
/// - It may be called again for the same event, after a crash; those who listen must bear that.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Announce: Debug + Send + Sync {
    /// Tells of one event.
    fn announce(&self, event: &Event);
}

/// What became of one hook.
#[derive(Clone, Debug)]
pub struct HookResult {
    /// The hook's file name.
    pub hook: String,
    /// How long it ran.
    pub duration: Duration,
    /// What went wrong; `None` if it ended with zero.
    pub problem: Option<String>,
    /// The first 64 KiB of what it printed.
    pub output: String,
}

/// The hook directories of a site: `<directory>/<event>.d/`.
///
/// As with run-parts(8), the executables of a directory run one after the other in the order of their names,
/// and only names of ASCII letters, digits, `_` and `-` count. What is not a regular file, or what every user of
/// the machine may write, does not run.
#[derive(Clone, Debug)]
pub struct Hooks {
    directory: PathBuf,
    timeout: Duration,
    log: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Hooks {
    /// Takes the directory of the hook directories, which need not exist, the time that one hook may run, and
    /// the file that what they print is added to.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, timeout: Duration, log: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), timeout, log: log.into(), environment: BTreeMap::new() }
    }

    /// Gives every hook one more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Runs the hooks of an event, logs them, and returns what became of them, in their order.
    pub fn run(&self, event: &Event) -> Vec<HookResult> {
        let directory = self.directory.join(format!("{}.d", event.kind));
        let hooks = match executables(&directory) {
            Ok(hooks) => hooks,
            Err(e) => {
                tracing::warn!(directory = %directory.display(), "the hooks cannot be listed: {e}");
                return Vec::new();
            }
        };
        hooks.iter().map(|path| self.run_one(path, event, &Never)).collect()
    }

    /// Returns the hooks by their names, in the order of these.
    fn listeners(&self) -> io::Result<Vec<Listener>> {
        let mut found: BTreeMap<String, Listener> = BTreeMap::new();
        for kind in EventKind::ALL {
            for path in executables(&self.directory.join(format!("{kind}.d")))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // The time when it got its name or its rights.
                let metadata = std::fs::symlink_metadata(&path)?;
                let nanoseconds = i32::try_from(metadata.ctime_nsec()).unwrap_or_default();
                let since = Timestamp::new(metadata.ctime(), nanoseconds).unwrap_or(Timestamp::MIN);
                let new = || Listener { name: name.clone(), files: BTreeMap::new(), since };
                let listener = found.entry(name.clone()).or_insert_with(new);
                listener.since = listener.since.min(since);
                listener.files.insert(kind, path);
            }
        }
        Ok(found.into_values().collect())
    }

    fn run_one(&self, path: &Path, event: &Event, interrupt: &dyn Interrupt) -> HookResult {
        let hook = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let started = Instant::now();
        let mut kept = Kept(Vec::new());
        let problem = self.execute(path, event, &mut kept, interrupt).err();
        let output = String::from_utf8_lossy(&kept.0).into_owned();
        let result = HookResult { hook, duration: started.elapsed(), problem, output };
        let (hook, milliseconds) = (&result.hook, result.duration.as_millis());
        match &result.problem {
            None => tracing::info!(%event.kind, hook, milliseconds, "a hook ran"),
            Some(problem) => tracing::warn!(%event.kind, hook, milliseconds, "a hook failed: {problem}"),
        }
        if let Err(e) = self.log(event, &result) {
            tracing::warn!("the log of the hooks cannot be written: {}", causes(&*e).join(": "));
        }
        result
    }

    fn execute(
        &self,
        path: &Path,
        event: &Event,
        output: &mut Kept,
        interrupt: &dyn Interrupt,
    ) -> Result<(), String> {
        let facts = facts(event).map_err(|e| format!("its input cannot be made: {e}"))?;
        let limits = Limits { time: self.timeout, silence: self.timeout, output: MAX_OUTPUT };
        let program = path.to_str().ok_or("its path is not UTF-8")?;
        let mut command = Command::new(program).current_dir(Path::new("/")).stdin(facts).limits(limits);
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        for (name, value) in event.environment() {
            command = command.env(name, value);
        }
        match command.run_logged(output, interrupt) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("it ended with {status}")),
            Err(e) => Err(causes(&e).join(": ")),
        }
    }

    /// Adds a hook's output to the log, each line of it indented, so that no hook can forge a heading.
    fn log(&self, event: &Event, result: &HookResult) -> Result<(), crate::error::BoxError> {
        use std::fmt::Write as _;
        let mut text = format!("{} {} {}", Timestamp::now(), event.kind, result.hook);
        if let Some(job) = &event.job {
            write!(text, " {job}")?;
        }
        writeln!(text, ": {}", result.problem.as_deref().unwrap_or("done"))?;
        for line in result.output.lines() {
            writeln!(text, "    {}", line.escape_debug())?;
        }
        if std::fs::metadata(&self.log).is_ok_and(|it| it.len() > MAX_LOG) {
            let mut old = self.log.clone().into_os_string();
            old.push(".1");
            durable::rename(&self.log, Path::new(&old))?;
        }
        durable::append_log(&self.log)?.write_all(text.as_bytes())?;
        Ok(())
    }
}

impl Announce for Hooks {
    fn announce(&self, event: &Event) {
        self.run(event);
    }
}

/// Keeps the beginning of what is written to it.
struct Kept(Vec<u8>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = KEPT_OUTPUT.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a file in memory with the event as one line of JSON, to be read from its beginning.
fn facts(event: &Event) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("event", rustix::fs::MemfdFlags::CLOEXEC)?);
    serde_json::to_writer(&mut file, event)?;
    file.write_all(b"\n")?;
    file.rewind()?;
    Ok(file)
}

/// Returns the hooks of a directory, in the order of their names; none if there is no directory.
fn executables(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut hooks = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if is_hook(&path) {
            hooks.push(path);
        }
    }
    hooks.sort();
    Ok(hooks)
}

fn is_hook(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c)) {
        return false;
    }
    let Ok(metadata) = std::fs::metadata(path) else {
        tracing::warn!(hook = %path.display(), "a hook cannot be read, and is left out");
        return false;
    };
    let mode = metadata.permissions().mode();
    if metadata.is_file() && mode & 0o111 != 0 && mode & 0o002 != 0 {
        tracing::warn!(hook = %path.display(), "everybody may write this hook, so it is left out; `chmod o-w` it");
        return false;
    }
    metadata.is_file() && mode & 0o111 != 0
}

#[cfg(test)]
mod tests;
