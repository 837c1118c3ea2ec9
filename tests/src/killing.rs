//! Kills programs: at chosen system calls with strace(1), and in chosen stages of a job.
//!
//! Never waits for a while and hopes: each kill is at a place that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::programs::{Answer, command};

/// The system calls that change files, of which `openat` does only if it is asked to. Others are between two of these.
const CHANGING: &[&str] = &[
    "openat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "copy_file_range",
    "sendfile",
    "splice",
    "truncate",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "utimensat",
    "setxattr",
    "fsetxattr",
    "mknodat",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "syncfs",
];

/// System calls that change no file. One that is neither here nor above has to be put into one of the lists.
const HARMLESS: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "clock_nanosleep",
    "clone",
    "clone3",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fcntl",
    "flock",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "getrlimit",
    "gettid",
    "getuid",
    "ioctl",
    "kill",
    "lseek",
    "lstat",
    "madvise",
    "memfd_create",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "open",
    "pidfd_open",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "socketpair",
    "recvfrom",
    "sendto",
    "stat",
    "statfs",
    "statx",
    "tgkill",
    "umask",
    "uname",
    "vfork",
    "wait4",
    "waitid",
];

/// A moment in the life of a program: just before the n-th call of a system call by one of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    call: String,
    n: usize,
    line: String,
}

impl Moment {
    /// Returns the name of the system call.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.call
    }

    /// Returns the call as strace shows it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.line
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} number {}, {}", self.call, self.n, self.line)
    }
}

/// Returns whether a call that strace shows is one that can change a file.
fn is_change(call: &str, line: &str) -> bool {
    CHANGING.contains(&call) && (call != "openat" || line.contains("O_CREAT") || line.contains("O_TRUNC"))
}

/// Runs a program to its end and returns the moments at which it changes files, those of each call in order.
///
/// Moments at which a program that it starts would be hit in its place are left out.
#[must_use]
pub fn moments(program: &Command, note: &Path) -> Vec<Moment> {
    let trace = format!("trace={},clone,clone3,vfork", CHANGING.join(","));
    let text = trace_of(program, note, &["-f", "-e", &trace]);
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut changes: BTreeMap<(&str, &str), Vec<(usize, &str)>> = BTreeMap::new();
    let mut own = threads_in(&text);
    own.extend(text.split_once(' ').map(|it| it.0));
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some((call, _)) = rest.split_once('(') {
            let count = counts.entry((call, pid)).or_default();
            *count += 1;
            if is_change(call, rest) {
                changes.entry((call, pid)).or_default().push((*count, rest));
            }
        }
    }
    let of_others = |call: &str| {
        let those = counts.iter().filter(|((c, pid), _)| *c == call && !own.contains(pid));
        those.map(|it| *it.1).max().unwrap_or(0)
    };
    let of_call = |call: &'static str| {
        let others = of_others(call);
        let own = changes.iter().filter(|((c, pid), _)| *c == call && own.contains(pid));
        let all: BTreeMap<usize, &str> =
            own.flat_map(|it| it.1.iter().copied()).filter(|it| it.0 > others).collect();
        all.into_iter().map(move |(n, line)| Moment { call: call.to_owned(), n, line: line.to_owned() })
    };
    CHANGING.iter().copied().flat_map(of_call).collect()
}

/// Runs a program to its end and returns all moments at which its first thread changes files, in their order.
///
/// Fails the test if the thread calls what is not known to change files or not to.
#[must_use]
pub fn moments_of_first_thread(program: &Command, note: &Path) -> Vec<Moment> {
    let text = trace_of(program, note, &["-e", "trace=all", "-e", "signal=none"]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut moments = Vec::new();
    for line in text.lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        assert!(
            CHANGING.contains(&call) || HARMLESS.contains(&call),
            "tests/src/killing.rs does not know whether this changes files: {line}"
        );
        let n = counts.entry(call).or_default();
        *n += 1;
        if is_change(call, line) {
            moments.push(Moment { call: call.to_owned(), n: *n, line: line.to_owned() });
        }
    }
    moments
}

/// Runs a program to its end and returns the changes of files by its other threads, as strace shows them.
///
/// The programs that it starts are left out.
#[must_use]
pub fn changes_by_other_threads(program: &Command, note: &Path) -> Vec<String> {
    let trace = format!("trace={},clone,clone3", CHANGING.join(","));
    let text = trace_of(program, note, &["-f", "-y", "-e", &trace]);
    let threads = threads_in(&text);
    let change = |line: &str| {
        let (pid, rest) = line.split_once(' ')?;
        let (call, _) = rest.trim_start().split_once('(')?;
        (threads.contains(pid) && is_change(call, rest)).then(|| rest.trim_start().to_owned())
    };
    text.lines().filter_map(change).collect()
}

/// Returns the numbers of the threads that a program started, by what strace notes of `clone`.
fn threads_in(text: &str) -> BTreeSet<&str> {
    let mut threads = BTreeSet::new();
    // Where the new thread was noted before the call that started it returned, that call is two lines.
    let mut starting = BTreeSet::new();
    for (pid, rest) in text.lines().filter_map(|it| it.split_once(' ')) {
        let rest = rest.trim_start();
        let has_begun = rest.contains("CLONE_THREAD");
        if has_begun && rest.ends_with("<unfinished ...>") {
            starting.insert(pid);
        } else if has_begun || (rest.starts_with("<... clone") && starting.remove(pid)) {
            threads.extend(rest.rsplit([' ', '=']).next());
        }
    }
    threads
}

/// Runs a program to its end under strace, and returns what that notes.
fn trace_of(program: &Command, note: &Path, arguments: &[&str]) -> String {
    let mut all = vec!["-o".as_ref(), note.as_os_str()];
    all.extend(arguments.iter().map(OsStr::new));
    let output = under_strace(program, &all);
    assert!(output.status.success(), "the program that is to be interrupted fails by itself: {output:?}");
    fs::read_to_string(note).unwrap()
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
    is_killed(&inject(program, &["-f"], moment, "signal=SIGKILL"))
}

/// Runs a program whose first thread is killed at a moment, with all the others. Returns whether it lived until then.
#[must_use]
pub fn kill_first_thread_at(program: &Command, moment: &Moment) -> bool {
    is_killed(&inject(program, &[], moment, "signal=SIGKILL"))
}

/// Runs a program to whose first thread the system says, at a moment, that it cannot do what it is asked.
///
/// `error` is one of errno(3), such as `ENOSPC`.
#[must_use]
pub fn fail_first_thread_at(program: &Command, moment: &Moment, error: &str) -> Answer {
    inject(program, &[], moment, &format!("error={error}")).into()
}

/// Runs a program to each of whose threads the system says, at a moment, that it cannot do what it is asked.
#[must_use]
pub fn fail_each_thread_at(program: &Command, moment: &Moment, error: &str) -> Answer {
    inject(program, &["-f"], moment, &format!("error={error}")).into()
}

fn inject(program: &Command, how: &[&str], moment: &Moment, what: &str) -> Output {
    let trace = format!("trace={}", moment.call);
    let inject = format!("inject={}:{what}:when={}", moment.call, moment.n);
    let mut arguments = how.to_vec();
    arguments.extend(["-o", "/dev/null", "-e", &trace, "-e", &inject]);
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    under_strace(program, &arguments)
}

fn is_killed(output: &Output) -> bool {
    // strace ends as what it traced ended.
    output.status.signal() == Some(9) || output.status.code() == Some(137)
}

fn under_strace(program: &Command, arguments: &[&OsStr]) -> Output {
    let mut strace = command("strace");
    strace.arg("-qq").args(arguments).arg("--").arg(program.get_program()).args(program.get_args());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Not a pipe, which a program that outlives the killed one would hold open.
    let said = tempfile::tempfile().unwrap();
    strace.stdout(Stdio::null()).stderr(said.try_clone().unwrap());
    let status = strace.status().unwrap_or_else(|e| panic!("cannot run strace: {e}"));
    let mut stderr = Vec::new();
    let mut said = said;
    said.seek(SeekFrom::Start(0)).and_then(|_| said.read_to_end(&mut stderr)).unwrap();
    Output { status, stdout: Vec::new(), stderr }
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
