//! What happens inside of a room, by its first process: it furnishes the room, shuts the door behind itself, gives up
//! its privilege, runs the steps and takes out the results.
//!
//! Never starts a program of the room before privilege is given up and the filter is installed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{
    BUILD, CHROOT, End, HOST, Plan, Shown, Surroundings, USER, User, carry, collect, disk, filter, loopback,
};
use crate::durable::{self, scratch};
use crate::error::BoxError;
use crate::process::Command;

/// Where the room is put together; it is in the way of nothing, as its sources are held open.
const STAGE: &str = "/tmp";

/// What root keeps in a room in which packages are installed: what dpkg and maintainer scripts need, over the room's
/// own files and processes.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT);

/// Runs a plan. This process is the first of its PID namespace, and root in its user namespace.
///
/// # Errors
/// The room could not be made. What its steps do is no error.
pub fn enter(plan: &Plan) -> Result<End, BoxError> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    die_with_parent()?;
    refuse_open_files()?;
    let output = plan.results.as_deref().map(|it| give_to_user(it, plan.surroundings.id)).transpose()?;
    let upper = furnish(plan)?;
    let carrier = plan.keep.as_ref().map(carry::Carrier::prepare).transpose()?;
    settle(plan, &upper)?;
    rustix::process::umask(Mode::from_raw_mode(plan.surroundings.umask));
    for step in &plan.steps {
        let mut command = Command::new(&step.program).args(&step.arguments).current_dir(&step.directory);
        for (name, value) in &step.environment {
            command = command.env(name, value);
        }
        let status = command.run_attached()?;
        if !status.success() {
            let end = if disk::is_full() { End::DiskFull } else { End::of_step(status.code()) };
            // What had too little space without a limit is done again.
            if let Some(carrier) = carrier
                && (end != End::DiskFull || plan.disk.is_some())
            {
                carry::end_all_others();
                carrier.carry(&upper)?;
            }
            return Ok(end);
        }
    }
    if let Some(output) = output {
        collect::results(Path::new(BUILD), &output)?;
    }
    Ok(End::Finished)
}

/// What comes after a room is furnished, and before a program of it is started.
pub(super) fn settle(plan: &Plan, upper: &OwnedFd) -> Result<(), BoxError> {
    loopback::bring_up()?;
    let host = &plan.surroundings.host;
    rustix::system::sethostname(host.as_bytes()).map_err(failed("name the host", host))?;
    shut_the_door()?;
    give_up_privilege(plan.user, plan.surroundings.id)?;
    // The kernel forgets it when a process changes its ids.
    die_with_parent()?;
    if let Some(limit) = plan.disk.filter(|_| plan.upper.is_some()) {
        disk::watch(upper.try_clone()?, limit);
    }
    Ok(())
}

/// Unpacks a base's tarball and makes it ready to be used as the lowest layer of rooms. This process is root in its
/// user namespace, and makes the directory.
///
/// # Errors
/// It could not be unpacked.
pub fn unpack(tarball: &Path, into: &Path) -> Result<(), BoxError> {
    const PASSWD: &str = "builder:x:1000:1000:builds packages:/nonexistent:/bin/sh\n";
    const GROUP: &str = "builder:x:1000:\n";
    // Maintainer scripts start no services (Debian Policy 9.3.3, invoke-rc.d(8)).
    const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";
    // Nobody reads an index of manual pages where packages are built (man-db's own answer to that, Debian bug 554914).
    const NO_INDEX: &str = "\nName: man-db/auto-update\nTemplate: man-db/auto-update\nValue: false\nOwners: man-db\nFlags: seen\n";
    rustix::process::umask(Mode::from_raw_mode(0o022));
    die_with_parent()?;
    scratch::create_directory(into, 0o755)?;
    let tar = Command::new("tar").args([
        "--no-overwrite-dir",
        "--extract",
        "--numeric-owner",
        "--exclude=./dev/*",
        "--file",
    ]);
    tar.arg(tarball).arg("--directory").arg(into).run()?;
    let etc = into.join("etc");
    let answers = into.join("var/cache/debconf/config.dat");
    let has_debconf = answers.is_file().then_some((answers, NO_INDEX));
    for (path, lines) in
        [(etc.join("passwd"), PASSWD), (etc.join("group"), GROUP)].into_iter().chain(has_debconf)
    {
        let mut text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        text.push_str(lines);
        replace(&path, &text, 0o644)?;
    }
    replace(&etc.join("hostname"), &format!("{HOST}\n"), 0o644)?;
    replace(&etc.join("hosts"), &hosts(HOST), 0o644)?;
    replace(&etc.join("resolv.conf"), "", 0o644)?;
    replace(&into.join("usr/sbin/policy-rc.d"), NO_SERVICES, 0o755)?;
    for directory in ["build", "build/source", "build/reproducible-path"] {
        let directory = into.join(directory);
        scratch::create_directory(&directory, 0o755)?;
        durable::give_to(&directory, USER, USER)?;
    }
    scratch::create_directory(&into.join("build/packages"), 0o755)?;
    Ok(())
}

/// Runs a program to its end and returns its exit status. It dies with the worker, as everything else of its namespaces.
/// Its standard input has nothing, but no end either: qemu takes an end for that of whoever reads its output.
///
/// # Errors
/// It could not be started, or was killed.
pub fn run(command: &[String]) -> Result<u8, BoxError> {
    die_with_parent()?;
    let (program, arguments) = command.split_first().ok_or("there is no program")?;
    let (reader, writer) = std::io::pipe()?;
    let command = Command::new(program).args(arguments).stdin(File::from(OwnedFd::from(reader)));
    let status = command.run_attached()?;
    drop(writer);
    let code = status.code().and_then(|it| u8::try_from(it).ok());
    code.ok_or_else(|| format!("{program} ended with {status}").into())
}

/// Replaces a file of a base; a link is replaced and not followed.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), BoxError> {
    if std::fs::symlink_metadata(path).is_ok() {
        durable::remove_file(path)?;
    }
    Ok(scratch::write_new(path, text.as_bytes(), mode)?)
}

/// Makes the kernel kill this process, and with it the whole room, when `unshare` dies, which dies with the worker.
///
/// # Errors
/// The worker is dead already: nobody reads what this process writes.
pub(in crate::builder) fn die_with_parent() -> Result<(), BoxError> {
    let signal = rustix::process::Signal::KILL;
    rustix::process::set_parent_process_death_signal(Some(signal))
        .map_err(failed("die with", "the worker"))?;
    let output = std::io::stdout();
    let mut watched = [PollFd::new(&output, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).map_err(failed("look for", "the worker"))?;
    let is_gone =
        watched.iter().any(|it| it.revents().intersects(PollFlags::ERR | PollFlags::NVAL | PollFlags::HUP));
    if is_gone { Err("the worker is gone".into()) } else { Ok(()) }
}

/// Makes sure that the worker was not started with files or directories open which every program of a build would
/// have open too. Pipes and terminals lead nowhere.
pub(in crate::builder) fn refuse_open_files() -> Result<(), BoxError> {
    const STANDARD: [&str; 3] = ["0", "1", "2"];
    let listed = Path::new("/proc/self/fd");
    for entry in std::fs::read_dir(listed).map_err(failed("read", listed))?.filter_map(Result::ok) {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let number = entry.file_name();
        let is_own = target.starts_with("/proc");
        if STANDARD.iter().any(|it| number == *it) || is_own {
            continue;
        }
        if std::fs::metadata(entry.path()).is_ok_and(|it| it.is_file() || it.is_dir()) {
            let (number, target) = (number.display(), target.display());
            let problem = "builds would have it open as well; start the worker without it";
            return Err(format!("the worker was started with {target} open as {number}: {problem}").into());
        }
    }
    Ok(())
}

pub(super) fn failed<E: std::error::Error + Send + Sync + 'static>(
    action: &'static str,
    subject: impl AsRef<Path>,
) -> impl FnOnce(E) -> BoxError {
    let subject = subject.as_ref().display().to_string();
    move |e| format!("cannot {action} {subject}: {e}").into()
}

pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, BoxError> {
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))
}

pub(super) fn give_to_user(directory: &Path, id: u32) -> Result<OwnedFd, BoxError> {
    durable::give_to(directory, id, id)?;
    open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// Names what is held open, wherever it has gone in the tree of mounts.
fn held(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
}

/// Mounts everything below [`STAGE`]. Returns the upper directory.
pub(super) fn furnish(plan: &Plan) -> Result<OwnedFd, BoxError> {
    let handle = |path: &PathBuf| open(path, OFlags::PATH);
    let lower = plan.lower.iter().map(handle).collect::<Result<Vec<_>, _>>()?;
    let upper = plan.upper.as_ref().map(handle).transpose()?;
    let shown = plan.shown.iter().map(|it| handle(&it.from)).collect::<Result<Vec<_>, _>>()?;
    let devices = DEVICES.map(|it| handle(&PathBuf::from("/dev").join(it)));

    tmpfs(Path::new(STAGE), "mode=755,size=1m")?;
    let stage = Path::new(STAGE);
    let mut layers = Vec::new();
    for (number, layer) in lower.iter().enumerate() {
        let at = stage.join(format!("lower{number}"));
        scratch::create_directory(&at, 0o755)?;
        mount_bind(held(layer), &at).map_err(failed("bind", &at))?;
        layers.push(at.display().to_string());
    }
    let (writable, root) = (stage.join("writable"), stage.join("root"));
    scratch::create_directory(&writable, 0o755)?;
    scratch::create_directory(&root, 0o755)?;
    if let Some(directory) = &upper {
        mount_bind(held(directory), &writable).map_err(failed("bind", &writable))?;
    } else {
        let (bytes, names) = (plan.memory, plan.memory / 2048);
        tmpfs(&writable, &format!("mode=755,size={bytes},nr_inodes={names}"))?;
    }
    let (changes, work) = (writable.join("upper"), writable.join("work"));
    scratch::create_directory(&changes, 0o755)?;
    scratch::create_directory(&work, 0o755)?;
    // `volatile`: a throw-away directory is never synced, and a layer once, when it is whole.
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr,volatile",
        layers.join(":"),
        changes.display(),
        work.display()
    );
    mount_with("overlay", &root, MountFlags::NODEV | MountFlags::NOSUID, &options)?;
    if plan.surroundings != Surroundings::usual() {
        redecorate(&root, &plan.surroundings)?;
    }
    furnish_devices(&root, devices)?;
    furnish_kernel_files(&root)?;
    for (Shown { at, .. }, source) in plan.shown.iter().zip(&shown) {
        let at = root.join(at.strip_prefix("/").unwrap_or(at));
        if plan.user == User::Mounter { copy(source, &at) } else { show(source, &at) }?;
    }
    if let (User::Mounter, Some(tree)) = (plan.user, layers.last()) {
        furnish_chroot(&root, tree, &writable)?;
    }
    open(&changes, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Makes a room look otherwise than its base does: the host has another name, and another user builds.
fn redecorate(root: &Path, surroundings: &Surroundings) -> Result<(), BoxError> {
    let Surroundings { host, name, id, .. } = surroundings;
    let etc = root.join("etc");
    for (file, line) in [
        ("passwd", format!("{name}:x:{id}:{id}:builds packages again:/nonexistent:/bin/sh\n")),
        ("group", format!("{name}:x:{id}:\n")),
    ] {
        let path = etc.join(file);
        let mut text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        text.push_str(&line);
        replace(&path, &text, 0o644)?;
    }
    replace(&etc.join("hostname"), &format!("{host}\n"), 0o644)?;
    replace(&etc.join("hosts"), &hosts(host), 0o644)?;
    for directory in ["build", "build/source", "build/reproducible-path"] {
        durable::give_to(&root.join(directory), *id, *id)?;
    }
    Ok(())
}

/// Writes hosts(5).
fn hosts(host: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {host}\n::1 localhost ip6-localhost ip6-loopback\n")
}

fn mount_with(kind: &str, at: &Path, flags: MountFlags, options: &str) -> Result<(), BoxError> {
    let options = std::ffi::CString::new(options)?;
    mount(kind, at, kind, flags, options.as_c_str()).map_err(failed("mount", at))
}

pub(in crate::builder) fn tmpfs(at: &Path, options: &str) -> Result<(), BoxError> {
    mount_with("tmpfs", at, MountFlags::NOSUID | MountFlags::NODEV, options)
}

/// Shows a directory of the host to the room, read-only.
fn show(source: &OwnedFd, at: &Path) -> Result<(), BoxError> {
    mount_bind(held(source), at).map_err(failed("bind", at))?;
    make_read_only(at)
}

/// Copies what is in a directory of the host: who may mount could make what is shown writable.
fn copy(source: &OwnedFd, at: &Path) -> Result<(), BoxError> {
    // In the program that copies, this process is not `self`.
    let from = format!("/proc/{}/fd/{}/.", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(source));
    Command::new("cp").args(["--recursive", "--no-target-directory", "--"]).arg(from).arg(at).run()?;
    Ok(())
}

/// Shows a tree to the room once more, with a writable layer of its own.
fn furnish_chroot(root: &Path, tree: &str, writable: &Path) -> Result<(), BoxError> {
    let (changes, work) = (writable.join("chroot"), writable.join("chroot-work"));
    scratch::create_directory(&changes, 0o755)?;
    scratch::create_directory(&work, 0o755)?;
    let (changes, work) = (changes.display(), work.display());
    let options = format!("lowerdir={tree},upperdir={changes},workdir={work},userxattr,volatile");
    let at = root.join(CHROOT.trim_start_matches('/'));
    mount_with("overlay", &at, MountFlags::NODEV | MountFlags::NOSUID, &options)
}

fn make_read_only(at: &Path) -> Result<(), BoxError> {
    // What the mount forbids already, this namespace cannot allow.
    let present = rustix::fs::statvfs(at).map_err(failed("look at", at))?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    if present.contains(StatVfsMountFlags::NOEXEC) {
        flags |= MountFlags::NOEXEC;
    }
    mount_remount(at, flags, "").map_err(failed("make read-only", at))
}

/// The devices of a room: those that give and take bytes, and nothing else.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

fn furnish_devices(root: &Path, devices: [Result<OwnedFd, BoxError>; 6]) -> Result<(), BoxError> {
    let dev = root.join("dev");
    tmpfs(&dev, "mode=755,size=1m")?;
    for (name, device) in DEVICES.into_iter().zip(devices) {
        let at = dev.join(name);
        scratch::write_new(&at, b"", 0o666)?;
        mount_bind(held(&device?), &at).map_err(failed("bind", &at))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        scratch::symlink(Path::new(target), &dev.join(name))?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
        scratch::create_directory(&dev.join(name), mode)?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_with("devpts", &dev.join("pts"), terminals, "newinstance,gid=5,mode=620,ptmxmode=666")?;
    tmpfs(&dev.join("shm"), "mode=1777,size=1g")
}

/// Mounts `/proc` of the room's own processes, with what changes or shows the machine closed, and `/sys` read-only.
fn furnish_kernel_files(root: &Path) -> Result<(), BoxError> {
    const CLOSED: [&str; 7] =
        ["sysrq-trigger", "kcore", "kmsg", "keys", "timer_list", "sched_debug", "kpagecount"];
    const READ_ONLY: [&str; 4] = ["sys", "irq", "bus", "fs"];
    let inert = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc = root.join("proc");
    mount_with("proc", &proc, inert, "")?;
    let nothing = root.join("dev/null");
    for name in CLOSED {
        let at = proc.join(name);
        if at.exists() {
            mount_bind(&nothing, &at).map_err(failed("close", &at))?;
        }
    }
    for name in READ_ONLY {
        let at = proc.join(name);
        if at.exists() {
            mount_bind(&at, &at).map_err(failed("bind", &at))?;
            mount_remount(&at, MountFlags::BIND | MountFlags::RDONLY | inert, "")
                .map_err(failed("make read-only", &at))?;
        }
    }
    // In a container that hides parts of its own /sys, the kernel does not allow another one; builds do without.
    if let Err(e) = mount_with("sysfs", &root.join("sys"), inert | MountFlags::RDONLY, "") {
        tracing::debug!(error = %e, "the room has no /sys");
    }
    Ok(())
}

/// Makes the room the root of everything, and lets go of the host's files.
fn shut_the_door() -> Result<(), BoxError> {
    let root = Path::new(STAGE).join("root");
    rustix::process::chdir(&root).map_err(failed("enter", &root))?;
    rustix::process::pivot_root(".", ".").map_err(failed("make a root of", &root))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("let go of", "the host's files"))?;
    rustix::process::chdir("/").map_err(failed("enter", "/"))
}

fn give_up_privilege(user: User, id: u32) -> Result<(), BoxError> {
    let kept = match user {
        User::Root => KEPT,
        User::Mounter => KEPT.union(CapabilitySet::SYS_ADMIN),
        User::Builder => CapabilitySet::empty(),
    };
    for (_, capability) in CapabilitySet::all().iter_names() {
        if !kept.contains(capability) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // This kernel is older than the capability.
                Ok(()) | Err(rustix::io::Errno::INVAL) => (),
                Err(e) => return Err(failed("give up", "a capability")(e)),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed("give up", "capabilities"))?;
    if user == User::Builder {
        let (id, group) = (Uid::from_raw(id), Gid::from_raw(id));
        rustix::thread::set_thread_groups(&[]).map_err(failed("leave", "all groups"))?;
        rustix::thread::set_thread_res_gid(group, group, group).map_err(failed("become", "the builder"))?;
        rustix::thread::set_thread_res_uid(id, id, id).map_err(failed("become", "the builder"))?;
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("give up", "capabilities"))?;
    // No program of the room may look into this process, which holds the results' directory open.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("protect", "the first process"))?;
    filter::install(if user == User::Mounter { filter::Mounting::Allowed } else { filter::Mounting::Denied })
}
