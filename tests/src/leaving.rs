//! Builders that are killed, and what they must not leave: processes, mounts, directories, control groups.
//!
//! Looks only for what is a builder's own: others build on this machine at the same time.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use invirtibuilder_core::builder::overlay::owner_of;
use invirtibuilder_core::builder::scratch::Scratch;

use crate::programs::runs;

/// How many times builders are killed if nobody sets `INVIRTIBUILDER_TEST_KILLS` to another number; `all` is 50.
#[must_use]
pub fn times(some: u32) -> u32 {
    let wanted = std::env::var("INVIRTIBUILDER_TEST_KILLS").unwrap_or_default();
    if wanted == "all" { 50 } else { wanted.parse().unwrap_or(some) }
}

/// A builder that is started as a process of its own, and killed.
#[derive(Debug)]
pub struct Victim<'a> {
    /// The test, an ignored one, whose process builds until it is killed.
    pub test: &'a str,
    /// The directory below which it builds; it gets it as `INVIRTIBUILDER_TEST_WORLD`.
    pub directory: &'a Path,
    /// Its scratch directory.
    pub scratch: &'a Path,
    /// Its other environment.
    pub environment: &'a [(&'a str, &'a Path)],
    /// The arguments by which processes of its build are known.
    pub naps: &'a [&'a str],
    /// It is killed at any moment between its start and this.
    pub longest: Duration,
}

impl Victim<'_> {
    /// Begins the process.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", self.test]);
        command.env("INVIRTIBUILDER_TEST_WORLD", self.directory).stdin(Stdio::null());
        command.envs(self.environment.iter().copied());
        command
    }

    /// Starts and kills it so often, and checks each time what is left before and after the next one cleans up.
    pub fn kill(&self, times: u32, mut before: impl FnMut(u32), clean_up: impl Fn()) {
        let mut seed = u64::from(std::process::id());
        let mut ends = Vec::new();
        for round in 0..times {
            before(round);
            let mut victim = self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let most = u64::try_from(self.longest.as_millis()).unwrap();
            let moment = Duration::from_millis((seed >> 33) % most);
            std::thread::sleep(moment);
            victim.kill().unwrap();
            assert_eq!(victim.wait().unwrap().code(), None, "round {round}: it ended before it was killed");
            ends.push(format!("{:.1}", moment.as_secs_f64()));
            let await_none = |find: &dyn Fn() -> Vec<String>, when: &str| {
                let deadline = Instant::now() + Duration::from_secs(60);
                loop {
                    let found = find();
                    if found.is_empty() {
                        break;
                    }
                    let is_late = Instant::now() > deadline;
                    assert!(!is_late, "round {round}, after {moment:?}: runs {when}: {found:?}");
                    std::thread::yield_now();
                }
            };
            // The package's own processes die with the builder; what was about to make namespaces may wait.
            let naps = || self.naps.iter().filter(|it| runs(it)).map(|it| (*it).to_owned()).collect();
            await_none(&naps, "before the next start");
            clean_up();
            await_none(&|| processes_below(self.directory), "after the next start");
            let left = groups(self.scratch);
            assert!(left.is_empty(), "round {round}, after {moment:?}: control groups are left: {left:?}");
            let left = mounts(self.directory);
            assert!(left.is_empty(), "round {round}, after {moment:?}: mounts are left: {left:?}");
            let left = entries(self.scratch);
            assert!(left.is_empty(), "round {round}, after {moment:?}: directories are left: {left:?}");
        }
        let told = format!("{}: killed {times} times, after {} s", self.test, ends.join(", "));
        let _ = writeln!(std::io::stdout(), "{told}");
    }
}

/// Returns the control groups of the builder that has this scratch directory.
#[must_use]
pub fn groups(scratch: &Path) -> Vec<PathBuf> {
    let own = format!("invirtibuilder-{}-", owner_of(&Scratch::new(scratch)));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter(|it| it.contains(" cgroup")).filter_map(|it| it.split(' ').nth(1));
    let mut found = Vec::new();
    // Below the root, and below the group that this process is in.
    let mut pending: Vec<PathBuf> = mounts.map(PathBuf::from).collect();
    while let Some(directory) = pending.pop() {
        let below = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        for entry in below.filter(|it| it.file_type().is_ok_and(|it| it.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with(&own) {
                found.push(entry.path());
            }
            pending.push(entry.path());
        }
    }
    found
}

/// Returns the mounts of this process that a directory is named in.
#[must_use]
pub fn mounts(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().filter(|it| it.contains(directory)).map(str::to_owned).collect()
}

/// Returns the arguments of the processes, but for this one, that name a directory in their arguments or environment,
/// or are in it.
#[must_use]
pub fn processes_below(directory: &Path) -> Vec<String> {
    let text = directory.to_str().unwrap();
    let is_own = |it: &Path| it.ends_with(std::process::id().to_string());
    let names = |it: &Path, file: &str| {
        fs::read(it.join(file)).is_ok_and(|it| String::from_utf8_lossy(&it).contains(text))
    };
    let leads =
        |it: &Path, file: &str| fs::read_link(it.join(file)).is_ok_and(|it| it.starts_with(directory));
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|it| it.path());
    let found = all.filter(|it| {
        !is_own(it)
            && (["cmdline", "environ"].iter().any(|file| names(it, file))
                || ["cwd", "root"].iter().any(|file| leads(it, file)))
    });
    // A process without arguments is one that the kernel is taking apart.
    let lines = found.filter_map(|it| fs::read_to_string(it.join("cmdline")).ok());
    lines.map(|it| it.replace('\0', " ")).filter(|it| !it.is_empty()).collect()
}

/// Returns what is left in a scratch directory, locks included.
#[must_use]
pub fn entries(scratch: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(scratch).into_iter().flatten().filter_map(Result::ok);
    found.map(|it| it.path()).filter(|it| !it.ends_with("register.lock")).collect()
}
