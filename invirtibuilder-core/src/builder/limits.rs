//! What a build may use, and how the kernel is made to hold it to that: control groups (cgroups(7)) of version 2 or 1
//! where this process may make some, else the limits of setrlimit(2).
//!
//! Never changes a group that it did not make, but for handing controllers down to those that it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::durable;
use crate::error::BoxError;
use crate::pipeline::MAX_RESULTS;
use crate::process::Process;

/// What a build may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLimits {
    /// Time from its start.
    pub time: Duration,
    /// Time without a byte of output.
    pub silence: Duration,
    /// Bytes of log.
    pub log: u64,
    /// Processes and threads: of one build where there are control groups, else of all builds of the account together.
    pub processes: u64,
    /// Bytes on disk; `None` for as many as there are.
    pub disk: Option<u64>,
    /// Bytes of memory: of one build where there are control groups, else of each of its processes; `None` for as
    /// many as there are.
    pub memory: Option<u64>,
    /// Bytes of what one run leaves, all files together.
    pub results: u64,
}

impl Default for BuildLimits {
    /// Two hours, 20 minutes, 64 MiB of log, 2,000 processes and 4 GiB of results.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(2 * 3600),
            silence: Duration::from_secs(20 * 60),
            log: 64 << 20,
            processes: 2000,
            disk: None,
            memory: None,
            results: MAX_RESULTS,
        }
    }
}

/// What the groups of this program are called, before something that tells their owner.
const PREFIX: &str = "invirtibuilder-";

/// A version of control groups, with what its files are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What a control group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory.
    Memory,
    /// Processes and threads.
    Processes,
}

impl Resource {
    /// The name of its controller.
    fn controller(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
        }
    }

    /// The files that hold the limit and count what it prevented, and the count's name.
    fn files(self, version: Version) -> (&'static str, &'static str, &'static str) {
        match (self, version) {
            (Self::Memory, Version::Two) => ("memory.max", "memory.events", "oom_kill"),
            (Self::Memory, Version::One) => ("memory.limit_in_bytes", "memory.oom_control", "oom_kill"),
            (Self::Processes, _) => ("pids.max", "pids.events", "max"),
        }
    }
}

/// Where this process may make control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    parents: Vec<(Resource, Version, PathBuf)>,
}

impl Groups {
    /// Finds out.
    #[must_use]
    pub fn detect() -> Self {
        let read = |name| fs::read_to_string(name).unwrap_or_default();
        let candidates = candidates(&read("/proc/self/mounts"), &read("/proc/self/cgroup"));
        let usable = |(resource, version, path): (Resource, Version, PathBuf)| {
            let can = |path: &Path| {
                rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
                    && (version == Version::One || hands_down(path, resource.controller()))
            };
            if can(&path) {
                return Some((resource, version, path));
            }
            // A group with processes in it hands nothing down, and this one has at least this process.
            let above = path.parent().filter(|it| version == Version::Two && is_delegated(it) && can(it))?;
            Some((resource, version, above.to_owned()))
        };
        let mut parents: Vec<_> = candidates.into_iter().filter_map(usable).collect();
        parents.dedup_by_key(|it| it.0);
        Self { parents }
    }

    /// Returns whether a resource of a build as a whole can be limited.
    #[must_use]
    pub fn can_limit(&self, resource: Resource) -> bool {
        self.parents.iter().any(|it| it.0 == resource)
    }

    /// Makes a group with these limits. `name` is the run's own.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn make(&self, name: &str, limits: &BuildLimits) -> Result<Group, BoxError> {
        let mut group = Group { parts: Vec::new() };
        for (resource, version, parent) in &self.parents {
            let limit = match resource {
                Resource::Memory => limits.memory,
                Resource::Processes => Some(limits.processes),
            };
            let Some(limit) = limit else { continue };
            let directory = parent.join(format!("{PREFIX}{name}"));
            // In version 2, and where controllers share a hierarchy, one group has several.
            if !group.directories().any(|it| it == directory) {
                durable::group::make(&directory)?;
            }
            group.parts.push((*resource, *version, directory.clone()));
            durable::group::set(&directory.join(resource.files(*version).0), &limit.to_string())?;
        }
        Ok(group)
    }

    /// Removes the groups of dead runs: those whose name begins so and goes on with one that is not alive. What still
    /// runs in them is killed, such as a process that was about to make namespaces and waits for one that is dead.
    pub fn remove_leftovers(&self, beginning: &str, is_alive: &dyn Fn(&str) -> bool) {
        for (.., parent) in &self.parents {
            for entry in fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
                let name = entry.file_name();
                let ours = name.to_str().and_then(|it| it.strip_prefix(PREFIX));
                if ours.and_then(|it| it.strip_prefix(beginning)).is_some_and(|it| !is_alive(it)) {
                    end_all(&entry.path());
                    remove_soon(&entry.path());
                }
            }
        }
    }
}

/// Finds the groups that this process is in, for each resource. A version 1 hierarchy comes first, as a controller
/// that is there is not in version 2.
fn candidates(mounts: &str, own: &str) -> Vec<(Resource, Version, PathBuf)> {
    let mut found = Vec::new();
    for resource in [Resource::Memory, Resource::Processes] {
        for (version, kind) in [(Version::One, "cgroup"), (Version::Two, "cgroup2")] {
            let is_wanted = |names: &str| match version {
                Version::One => names.split(',').any(|it| it == resource.controller()),
                Version::Two => names.is_empty(),
            };
            let point = mounts.lines().find_map(|line| {
                let fields: Vec<_> = line.split(' ').collect();
                let [_, at, found, options, ..] = fields[..] else { return None };
                let has = version == Version::Two || is_wanted(options);
                (found == kind && has).then(|| at.replace("\\040", " "))
            });
            let path = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (names, path) = (fields.next()?, fields.next()?);
                is_wanted(names).then_some(path)
            });
            if let Some((point, path)) = point.zip(path) {
                let directory = Path::new(&point).join(path.trim_start_matches('/'));
                found.push((resource, version, directory));
            }
        }
    }
    found
}

/// Returns whether groups made in a version 2 group will have a controller; asks for it if it is there.
///
/// A group that has processes of its own cannot hand down controllers, unless it is the root; under systemd, a service
/// with `Delegate=yes` and `DelegateSubgroup=` can.
fn hands_down(group: &Path, controller: &str) -> bool {
    let lists = |file: &str| {
        let text = fs::read_to_string(group.join(file)).unwrap_or_default();
        text.split_whitespace().any(|it| it == controller)
    };
    lists("cgroup.subtree_control")
        || (lists("cgroup.controllers")
            && durable::group::set(&group.join("cgroup.subtree_control"), &format!("+{controller}")).is_ok())
}

/// Returns whether systemd has left a group to what runs in it (`CGROUP_DELEGATION` of systemd, `Delegate=` in
/// systemd.resource-control(5)).
fn is_delegated(group: &Path) -> bool {
    let mut value = [0_u8; 1];
    let mut has =
        |name: &str| rustix::fs::getxattr(group, name, &mut value).is_ok_and(|it| it == 1) && value == *b"1";
    has("user.delegate") || has("trusted.delegate")
}

/// The control groups of one run, which are removed with this value.
#[derive(Debug)]
pub struct Group {
    parts: Vec<(Resource, Version, PathBuf)>,
}

impl Group {
    /// Returns the directories of the groups, each once, which a process joins one by one.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let is_first = |(at, path): &(usize, &Path)| !self.parts.iter().take(*at).any(|it| it.2 == *path);
        self.parts.iter().map(|it| it.2.as_path()).enumerate().filter(is_first).map(|it| it.1)
    }

    /// Returns whether a limit was reached.
    #[must_use]
    pub fn has_reached(&self, resource: Resource) -> bool {
        self.parts.iter().filter(|it| it.0 == resource).any(|(resource, version, directory)| {
            let (_, file, count) = resource.files(*version);
            let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
            let counted = text.lines().find_map(|it| it.strip_prefix(count)?.trim().parse::<u64>().ok());
            counted.is_some_and(|it| it > 0)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in self.directories() {
            remove_soon(directory);
        }
    }
}

/// Kills the processes of a group. What it kills is in there: nobody gets the number of a process that is held open.
fn end_all(group: &Path) {
    let numbers = || fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for number in numbers().lines() {
        if let Some(process) = Process::open(number)
            && numbers().lines().any(|it| it == number)
        {
            process.kill();
        }
    }
}

/// Removes a group as soon as the kernel has taken apart the processes in it, which were killed a moment ago.
fn remove_soon(directory: &Path) {
    const TRIES: u32 = 500;
    for attempt in 0..TRIES {
        match durable::group::remove(directory) {
            Err(_) if attempt + 1 < TRIES => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => tracing::warn!(error = %e, "a control group is left until the next start"),
            Ok(()) => break,
        }
    }
}

/// Puts this process into a group; what it starts is in there too.
///
/// # Errors
/// It may not.
pub fn join(group: &Path) -> Result<(), BoxError> {
    // Zero stands for the process that writes it.
    Ok(durable::group::set(&group.join("cgroup.procs"), "0")?)
}

#[cfg(test)]
mod tests;
