//! The only module that starts programs: an argument vector, never a shell; a clean environment; limits.
//!
//! Never reads what a program prints to decide whether it succeeded.
#![allow(clippy::disallowed_methods, reason = "this is the module that the ban on spawning leads to")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stop::{Interrupt, Never};

mod held;
mod packages;

pub(crate) use held::Process;
pub use packages::debian_package_of;

/// Where programs are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often a running program is checked for interruption.
const TICK: Duration = Duration::from_millis(100);

/// Why a program did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not installed.
    #[error("the program {program} is missing; install it with `apt-get install {package}`")]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: String,
    },
    /// It ended with an exit status other than zero, or by a signal.
    #[error("{program} failed with {status}{}", shown(stderr))]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// It was killed, with its process group, because a limit was reached.
    #[error("{program} was ended: {limit}")]
    Limit {
        /// The program.
        program: String,
        /// The limit that was reached.
        limit: String,
    },
    /// It was killed, with its process group, because the work was interrupted.
    #[error("{program} was interrupted")]
    Interrupted {
        /// The program.
        program: String,
    },
    /// It could not be started, or spoken to.
    #[error("cannot run {program}")]
    Io {
        /// The program.
        program: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

fn shown(stderr: &str) -> String {
    if stderr.trim().is_empty() { String::new() } else { format!(": {}", stderr.trim()) }
}

/// What a program may use before it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time from its start.
    pub time: Duration,
    /// Time without a byte of output.
    pub silence: Duration,
    /// Bytes of output.
    pub output: u64,
}

impl Default for Limits {
    /// For tools that are meant to answer at once.
    fn default() -> Self {
        Self { time: Duration::from_secs(600), silence: Duration::from_secs(600), output: 64 << 20 }
    }
}

/// A program to run.
#[derive(Debug)]
pub struct Command {
    program: String,
    inner: std::process::Command,
    limits: Limits,
}

impl Command {
    /// Begins a command. Its environment has `PATH`, `LC_ALL=C.UTF-8` and `TZ=UTC`, and nothing else; its
    /// standard input is empty.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let mut inner = std::process::Command::new(program);
        inner.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        inner.stdin(Stdio::null()).process_group(0);
        Self { program: program.to_owned(), inner, limits: Limits::default() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, path: &Path) -> Self {
        self.inner.current_dir(path);
        self
    }

    /// Reads standard input from a file.
    #[must_use]
    pub fn stdin(mut self, file: File) -> Self {
        self.inner.stdin(Stdio::from(file));
        self
    }

    /// Sets standard input, output and error, for [`Command::run_attached`].
    #[must_use]
    pub fn streams(mut self, input: OwnedFd, output: OwnedFd, errors: OwnedFd) -> Self {
        self.inner.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs it to its end and returns what it wrote to standard output.
    ///
    /// # Errors
    /// It could not be started, did not exit with zero, or reached a limit.
    pub fn run(self) -> Result<Vec<u8>, ProcessError> {
        self.run_interruptible(&Never)
    }

    /// As [`Command::run`], unless it is interrupted.
    pub fn run_interruptible(self, interrupt: &dyn Interrupt) -> Result<Vec<u8>, ProcessError> {
        let mut output = Vec::new();
        let program = self.program.clone();
        let (status, stderr) = self.start(&mut output, true, interrupt)?;
        if status.success() {
            return Ok(output);
        }
        Err(ProcessError::Failed { program, status, stderr })
    }

    /// Runs it to its end, writes standard output and standard error to `log` as they come, and returns its
    /// exit status, whatever that is.
    ///
    /// # Errors
    /// It could not be started, reached a limit, or was interrupted. Then its whole process group is dead.
    pub fn run_logged(
        self,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<ExitStatus, ProcessError> {
        self.start(log, false, interrupt).map(|it| it.0)
    }

    /// Runs it to its end with this process's own standard output and standard error, and returns its exit status,
    /// whatever that is. Meanwhile every orphan is reaped that this process inherits, as the first process of a PID
    /// namespace does (`pid_namespaces(7)`). No limit applies.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run_attached(mut self) -> Result<ExitStatus, ProcessError> {
        let program = self.program.clone();
        let child = self.inner.spawn().map_err(|e| self.spawn_error(e))?;
        let pid = rustix::process::Pid::from_child(&child);
        loop {
            match rustix::process::wait(rustix::process::WaitOptions::empty()) {
                Ok(Some((ended, status))) if ended == pid => {
                    return Ok(ExitStatus::from_raw(status.as_raw()));
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => (),
                Err(e) => return Err(ProcessError::Io { program, source: e.into() }),
            }
        }
    }

    /// Starts it beside this process, with `output` as its standard output and this process's own standard error. No
    /// limit applies.
    ///
    /// # Errors
    /// It could not be started.
    pub fn attach(mut self, output: OwnedFd) -> Result<Attached, ProcessError> {
        self.inner.stdout(output);
        let child = self.inner.spawn().map_err(|e| self.spawn_error(e))?;
        Ok(Attached(Running::new(child, self.program, self.limits)))
    }

    /// Becomes it: this process ends here, and the program goes on in its place, with the same standard streams.
    ///
    /// # Errors
    /// It could not be started. If it was, this does not return.
    #[must_use]
    pub fn exec(self) -> ProcessError {
        // Not by the command itself, which would take a refusal for a failure: the leader of a session, as sshd starts
        // one, cannot begin a process group, and leads one already (setpgid(2)).
        let _ = rustix::process::setpgid(None, None);
        let mut inner = std::process::Command::new(self.inner.get_program());
        inner.env_clear().args(self.inner.get_args());
        inner.envs(self.inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = self.inner.get_current_dir() {
            inner.current_dir(directory);
        }
        let error = inner.exec();
        self.spawn_error(error)
    }

    fn start(
        mut self,
        log: &mut dyn Write,
        apart: bool,
        interrupt: &dyn Interrupt,
    ) -> Result<(ExitStatus, String), ProcessError> {
        let program = self.program.clone();
        let io_error = |source| ProcessError::Io { program: program.clone(), source };
        let (output, output_end) = io::pipe().map_err(io_error)?;
        let (errors, errors_end) = io::pipe().map_err(io_error)?;
        if apart {
            self.inner.stdout(output_end).stderr(errors_end);
        } else {
            self.inner.stderr(output_end.try_clone().map_err(io_error)?).stdout(output_end);
            drop(errors_end);
        }
        let child = self.inner.spawn().map_err(|e| self.spawn_error(e))?;
        // The command keeps the writing ends of the pipes open until it is dropped.
        let Self { inner, limits, .. } = self;
        drop(inner);
        let mut running = Running::new(child, program.clone(), limits);
        let mut discarded = io::sink();
        let mut outputs = [Output::new(output.into(), log), Output::new(errors.into(), &mut discarded)];
        running.watch(&mut outputs, interrupt)
    }

    fn spawn_error(&self, error: io::Error) -> ProcessError {
        let program = self.program.clone();
        let is_missing = error.kind() == io::ErrorKind::NotFound && find(&self.program).is_none();
        if is_missing {
            let package = debian_package_of(&program).to_owned();
            return ProcessError::Missing { program, package };
        }
        ProcessError::Io { program, source: error }
    }
}

/// A program that runs beside this process, and is dead with its process group when this value is.
#[derive(Debug)]
pub struct Attached(Running);

impl Attached {
    /// Waits for its end, and returns its exit status, whatever that is.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn wait(mut self) -> Result<ExitStatus, ProcessError> {
        let status = self.0.child.wait();
        self.0.reaped = status.is_ok();
        status.map_err(|source| ProcessError::Io { program: self.0.program.clone(), source })
    }
}

/// Returns where a program is, or `None` if it is not installed.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|it| it.is_file());
    }
    PATH.split(':').map(|directory| Path::new(directory).join(program)).find(|it| it.is_file())
}

/// A reading end of a pipe, and where its bytes go.
struct Output<'a> {
    pipe: Option<OwnedFd>,
    sink: &'a mut dyn Write,
    /// The last bytes, for an error's text.
    tail: Vec<u8>,
}

impl<'a> Output<'a> {
    fn new(pipe: OwnedFd, sink: &'a mut dyn Write) -> Self {
        Self { pipe: Some(pipe), sink, tail: Vec::new() }
    }

    /// Reads once. Returns how many bytes there were; zero at the end.
    fn read(&mut self) -> io::Result<usize> {
        const TAIL: usize = 2000;
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let mut buffer = vec![0_u8; 64 << 10];
        let count = File::from(pipe.try_clone()?).read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        self.sink.write_all(bytes)?;
        self.tail.extend_from_slice(bytes);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        if count == 0 {
            self.pipe = None;
        }
        Ok(count)
    }
}

/// A child whose process group dies with this value.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Becomes readable when the child ends (`pidfd_open(2)`); `None` where that cannot be had.
    end: Option<OwnedFd>,
    program: String,
    limits: Limits,
    started: Instant,
    reaped: bool,
}

impl Running {
    fn new(child: Child, program: String, limits: Limits) -> Self {
        let pid = rustix::process::Pid::from_child(&child);
        let end = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
        Self { child, end, program, limits, started: Instant::now(), reaped: false }
    }

    fn watch(
        &mut self,
        outputs: &mut [Output<'_>; 2],
        interrupt: &dyn Interrupt,
    ) -> Result<(ExitStatus, String), ProcessError> {
        let program = self.program.clone();
        let io_error = |source| ProcessError::Io { program: program.clone(), source };
        let (mut last_output, mut total) = (Instant::now(), 0_u64);
        loop {
            let status = self.child.try_wait().map_err(io_error)?;
            // What is in the pipes is read also after the end, but nobody waits for a grandchild that keeps
            // them open.
            let patience = if status.is_some() { Duration::ZERO } else { TICK };
            let ready = wait_readable(outputs, self.end.as_ref(), patience).map_err(io_error)?;
            for (output, _) in outputs.iter_mut().zip(ready).filter(|it| it.1) {
                total += output.read().map_err(io_error)? as u64;
                last_output = Instant::now();
            }
            if let Some(status) = status
                && ready == [false, false]
            {
                self.reaped = true;
                let tail = &outputs.last().map(|it| it.tail.as_slice()).unwrap_or_default();
                return Ok((status, String::from_utf8_lossy(tail).into_owned()));
            }
            self.check_limits(last_output, total, interrupt)?;
        }
    }

    fn check_limits(
        &self,
        last_output: Instant,
        total: u64,
        interrupt: &dyn Interrupt,
    ) -> Result<(), ProcessError> {
        let program = self.program.clone();
        if interrupt.is_interrupted() {
            return Err(ProcessError::Interrupted { program });
        }
        let limit = if self.started.elapsed() > self.limits.time {
            format!("it ran for more than {} s", self.limits.time.as_secs())
        } else if last_output.elapsed() > self.limits.silence {
            format!("it printed nothing for {} s", self.limits.silence.as_secs())
        } else if total > self.limits.output {
            format!("it printed more than {} bytes", self.limits.output)
        } else {
            return Ok(());
        };
        Err(ProcessError::Limit { program, limit })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let children = if self.reaped { Vec::new() } else { children_of(group) };
        // Also after a regular end: a tool leaves nothing running behind it.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        if !self.reaped {
            let _ = self.child.wait();
        }
        for child in children {
            end(&child);
        }
    }
}

/// Returns descriptors of a process's children.
fn children_of(parent: rustix::process::Pid) -> Vec<OwnedFd> {
    let number = parent.as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children"));
    let listed = listed.unwrap_or_default();
    let pids = listed.split_whitespace().filter_map(|it| it.parse().ok());
    let pids = pids.filter_map(rustix::process::Pid::from_raw);
    let flags = rustix::process::PidfdFlags::empty();
    pids.filter_map(|it| rustix::process::pidfd_open(it, flags).ok()).collect()
}

/// Kills a process, which may have left the process group, and waits for its end. For the first process of a PID
/// namespace, such as `unshare` makes, that is the end of everything in the namespace (`pid_namespaces(7)`).
fn end(process: &OwnedFd) {
    const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
    // It may be dead already, or run as somebody else.
    let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    while matches!(poll(&mut fds, Some(&PATIENCE)), Err(rustix::io::Errno::INTR)) {}
}

/// Waits until something can be read or the child has ended, and returns which of the outputs can be read.
fn wait_readable(
    outputs: &[Output<'_>; 2],
    end: Option<&OwnedFd>,
    patience: Duration,
) -> io::Result<[bool; 2]> {
    let open: Vec<usize> = (0..2).filter(|at| outputs.get(*at).is_some_and(|it| it.pipe.is_some())).collect();
    if open.is_empty() && end.is_none() {
        std::thread::sleep(patience.min(Duration::from_millis(5)));
        return Ok([false, false]);
    }
    let pipes = outputs.iter().filter_map(|it| it.pipe.as_ref());
    let mut fds: Vec<PollFd<'_>> =
        pipes.chain(end).map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)).collect();
    let timeout = Timespec::try_from(patience).unwrap_or_default();
    match poll(&mut fds, Some(&timeout)) {
        Err(rustix::io::Errno::INTR) | Ok(0) => return Ok([false, false]),
        other => other?,
    };
    let mut ready = [false, false];
    for (at, fd) in open.iter().zip(&fds) {
        if let Some(slot) = ready.get_mut(*at) {
            *slot = !fd.revents().is_empty();
        }
    }
    Ok(ready)
}

#[cfg(test)]
mod tests;
