//! Kills programs: at chosen system calls with strace(1), and in chosen stages of a job.
//!
//! Never waits for a while and hopes: each kill is at a place that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::programs::command;

/// The system calls that change files. Others are between two of these.
const CHANGING: &str = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,write,ftruncate";

/// A moment in the life of a program: just before the n-th call of a system call by one of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    call: String,
    n: usize,
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} number {}", self.call, self.n)
    }
}

/// Runs a program to its end and returns the moments at which it changes files, those of each call in order.
///
/// Moments at which a program that it starts would be hit in its place are left out.
#[must_use]
pub fn moments(program: &Command, note: &Path) -> Vec<Moment> {
    let trace = format!("trace={CHANGING},clone,clone3,vfork");
    let status = under_strace(program, &["-o".as_ref(), note.as_os_str(), "-e".as_ref(), trace.as_ref()]);
    assert!(status.success(), "the program that is to be killed fails by itself: {status}");
    let text = fs::read_to_string(note).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut own = BTreeSet::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if own.is_empty() {
            own.insert(pid);
        }
        if rest.contains("CLONE_THREAD")
            && let Some(thread) = rest.rsplit([' ', '=']).next()
        {
            own.insert(thread);
        }
        if let Some((call, _)) = rest.split_once('(') {
            *counts.entry((call, pid)).or_default() += 1;
        }
    }
    let most = |call: &str, is_own: bool| {
        let those = counts.iter().filter(|((c, pid), _)| *c == call && own.contains(pid) == is_own);
        those.map(|it| *it.1).max().unwrap_or(0)
    };
    let of_call = |call: &str| {
        let call = call.to_owned();
        (most(&call, false) + 1..=most(&call, true)).map(move |n| Moment { call: call.clone(), n })
    };
    CHANGING.split(',').flat_map(of_call).collect()
}

/// Chooses some of the moments, as far apart as can be, or all if `INVIRTIBUILDER_TEST_KILLS` is `all`.
#[must_use]
pub fn chosen(moments: &[Moment], some: usize) -> Vec<Moment> {
    let is_all = std::env::var_os("INVIRTIBUILDER_TEST_KILLS").is_some_and(|it| it == "all");
    let step = if is_all { 1 } else { moments.len().div_ceil(some).max(1) };
    moments.iter().step_by(step).cloned().collect()
}

/// Runs a program that is killed at a moment. Returns whether it lived until then.
#[must_use]
pub fn kill_at(program: &Command, moment: &Moment) -> bool {
    let trace = format!("trace={}", moment.call);
    let inject = format!("inject={}:signal=SIGKILL:when={}", moment.call, moment.n);
    let arguments = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    let status = under_strace(program, &arguments.map(AsRef::as_ref));
    // strace ends as what it traced ended.
    status.signal() == Some(9) || status.code() == Some(137)
}

fn under_strace(program: &Command, arguments: &[&std::ffi::OsStr]) -> ExitStatus {
    let mut strace = command("strace");
    strace.args(["-f", "-qq"]).args(arguments).arg("--").arg(program.get_program()).args(program.get_args());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().unwrap_or_else(|e| panic!("cannot run strace: {e}"))
}

/// A worker that is watched stage by stage, and so can be killed in a chosen one.
///
/// What it says of its progress goes through a pipe that has room for one line. So while a line is not read, the
/// worker is at most at the beginning of what the next line would tell of.
#[derive(Debug)]
pub struct WatchedWorker {
    child: Child,
    lines: fs::File,
}

/// What a worker tells of a job that is built.
pub const BUILT: &[&str] = &["claimed", "validate", "export", "build", "publish", "record", "announce"];
/// What a worker tells of a job that is copied.
pub const COPIED: &[&str] = &["claimed", "validate", "publish", "record", "announce"];
/// What a worker tells of a job that is past its checkpoint.
pub const RESUMED: &[&str] = &["claimed", "publish", "record", "announce"];

impl WatchedWorker {
    /// Starts `invirtibuilder --json work`, which must be what `command` is.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let (reading, writing) = pipe_with(PipeFlags::DIRECT | PipeFlags::CLOEXEC).unwrap();
        // One page, and so one write at a time.
        fcntl_setpipe_size(&writing, 4096).unwrap();
        let child = command.stdout(writing).stderr(Stdio::null()).spawn().unwrap();
        // Otherwise the command holds the writing end open.
        command.stdout(Stdio::null());
        Self { child, lines: reading.into() }
    }

    /// Waits until a job is in one of the stages that it passes through.
    #[track_caller]
    pub fn await_stage(&mut self, stages: &[&str], stage: &str) {
        let mut buffer = [0; 4096];
        for earlier in stages.iter().take_while(|it| **it != stage) {
            let count = self.lines.read(&mut buffer).unwrap();
            let line = String::from_utf8_lossy(buffer.get(..count).unwrap()).into_owned();
            assert!(line.contains(&format!("\"{earlier}\"")), "instead of {earlier} the worker says: {line}");
        }
        poll(&mut [PollFd::new(&self.lines, PollFlags::IN)], None).unwrap();
    }

    /// Kills it in a stage: after it said that the stage begins, and before the next one does anything.
    #[track_caller]
    pub fn kill_in(mut self, stages: &[&str], stage: &str) {
        self.await_stage(stages, stage);
        self.kill();
    }

    /// Kills it now.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the worker ended before it was killed");
    }
}
