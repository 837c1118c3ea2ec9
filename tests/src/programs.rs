//! Finds and runs programs: those under test, and the real tools.
//!
//! Never builds anything: an absent or outdated program is a loud failure.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

/// The command line.
pub const CLI: &str = "invirtibuilder";
/// The remctl backend.
pub const REMCTL: &str = "invirtibuilder-remctl";

/// What a program answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Answer {
    /// Fails the test unless the exit status is this one.
    #[must_use]
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the exit status is zero.
    #[track_caller]
    pub fn ok(self) -> String {
        self.expect(0).stdout
    }

    /// Fails the test unless a line of standard error has all of these texts.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) {
        let is_it = |line: &str| texts.iter().all(|it| line.contains(it));
        assert!(self.stderr.lines().any(is_it), "no line has {texts:?}:\n{}", self.stderr);
    }
}

/// Begins a command with a clean environment and no standard input.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", invirtibuilder_core::process::PATH).env("LC_ALL", "C.UTF-8");
    command.env("HOME", "/nonexistent").env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null());
    command.env("GIT_CONFIG_SYSTEM", "/dev/null");
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Answer {
    let output = command.output();
    output.unwrap_or_else(|e| panic!("cannot run {}: {e}", command.get_program().display())).into()
}

/// Returns the directory that cargo puts the programs of this build into.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let directory = test.parent().unwrap();
    // Tests are one directory deeper than programs.
    if directory.ends_with("deps") { directory.parent().unwrap().to_owned() } else { directory.to_owned() }
}

/// Returns where a program of the workspace is, as this build made it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    const REMEDY: &str = "run `cargo build --workspace --bins` (with the tests' own profile) first";
    let path = built().join(name);
    let Ok(made) = modified(&path) else { panic!("{} is not there; {REMEDY}", path.display()) };
    for source in sources_of(&path.with_extension("d")) {
        let is_newer = modified(&source).is_ok_and(|it| it > made);
        assert!(!is_newer, "{} is older than {}; {REMEDY}", path.display(), source.display());
    }
    path
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// Returns the files that a program was made from, which cargo lists beside it in the manner of make.
fn sources_of(list: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(list).unwrap_or_default();
    let sources = text.lines().next().and_then(|it| it.split_once(": ")).map(|it| it.1.to_owned());
    sources.unwrap_or_default().split_whitespace().map(PathBuf::from).collect()
}

/// Returns whether a process runs that has this argument.
#[must_use]
pub fn runs(argument: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut command_lines = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    command_lines.any(|it| it.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}

/// Returns a directory for temporary things that no private directory is above, if that can be had.
#[must_use]
pub fn temporary() -> PathBuf {
    let near = built().parent().unwrap().join("tmp");
    if invirtibuilder_core::builder::scratch::check_reachable(&near).is_ok() {
        fs::create_dir_all(&near).unwrap();
        return near;
    }
    std::env::temp_dir()
}
