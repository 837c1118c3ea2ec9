//! The directory below which each run of a builder has a throw-away entry.
//!
//! An entry belongs to the run that holds the flock(2) on the file beside it; what nobody holds was left by a dead
//! run. Never removes an entry of a run that lives.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::walls::Walls;
use crate::control::hex;
use crate::durable::scratch as throw_away;
use crate::durable::{self, DurableError, Lock};
use crate::error::BoxError;
use crate::process::Process;

/// The file whose lock is held while entries are made or leftovers removed.
const REGISTER: &str = "register.lock";

/// Below this name, entries are directories `build-<random>` beside their locks `build-<random>.lock`.
#[derive(Clone, Debug)]
pub struct Scratch {
    directory: PathBuf,
}

/// The directory cannot be entered by the accounts of builds.
#[derive(Debug, thiserror::Error)]
#[error("builds of other accounts cannot reach {}, because {} is closed to them; allow it with `{}` or configure another directory", wanted.display(), closed.display(), remedy(closed))]
pub struct Unreachable {
    wanted: PathBuf,
    closed: PathBuf,
}

impl Unreachable {
    /// Returns the command that mends it.
    #[must_use]
    pub fn remedy(&self) -> String {
        remedy(&self.closed)
    }
}

fn remedy(closed: &Path) -> String {
    format!("chmod o+x {}", closed.display())
}

/// Checks that every account may pass through a directory and those above it, as far as they exist.
///
/// # Errors
/// One of them has no `x` for others.
pub fn check_reachable(directory: &Path) -> Result<(), Unreachable> {
    for above in directory.ancestors() {
        let Ok(metadata) = std::fs::metadata(above) else { continue };
        if metadata.permissions().mode() & 0o001 == 0 {
            return Err(Unreachable { wanted: directory.to_owned(), closed: above.to_owned() });
        }
    }
    Ok(())
}

impl Scratch {
    /// Names the directory, an absolute path; it is made when it is needed.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes an entry that the account of these walls may write to.
    ///
    /// # Errors
    /// It cannot be made, or the account could not enter it.
    pub fn enter(&self, walls: &Walls) -> Result<Entry, BoxError> {
        durable::create_directory(&self.directory)?;
        check_reachable(&self.directory)?;
        let _register = Lock::wait(&self.directory.join(REGISTER))?;
        let (path, lock) = loop {
            let path = self.directory.join(random_name()?);
            if let Some(lock) = Lock::try_now(&lock_of(&path))?
                && !path.exists()
            {
                break (path, lock);
            }
        };
        let entry = Entry { path: path.clone(), walls: walls.clone(), lock: Some(lock) };
        // Only who knows the name needs to get through.
        throw_away::create_directory(&path, 0o711)?;
        for part in [Part::Input, Part::Output, Part::Home, Part::Chroots] {
            let directory = entry.part(part);
            throw_away::create_directory(&directory, 0o755)?;
            if walls.account().is_other() && part != Part::Input {
                durable::give_to(&directory, walls.account().user(), walls.account().group())?;
            }
        }
        Ok(entry)
    }

    /// Removes every entry whose run is dead.
    ///
    /// # Errors
    /// One could not be removed; the others were tried.
    pub fn remove_leftovers(&self, walls: &Walls) -> Result<(), BoxError> {
        if !self.directory.is_dir() {
            return Ok(());
        }
        let _register = Lock::wait(&self.directory.join(REGISTER))?;
        let mut result = Ok(());
        for found in std::fs::read_dir(&self.directory)? {
            let path = found?.path();
            if path.extension() != Some(OsStr::new("lock")) || path.ends_with(REGISTER) {
                continue;
            }
            let Some(lock) = Lock::try_now(&path)? else { continue };
            let path = path.with_extension("");
            tracing::warn!(path = %path.display(), "removing what a dead build left");
            end_those_that_wait(&path);
            let entry = Entry { path, walls: walls.clone(), lock: Some(lock) };
            if let Err(e) = entry.remove() {
                result = Err(e);
            }
        }
        result
    }
}

/// Kills the processes of unshare(1) that a dead run left. Before it makes namespaces, it starts a process that is to
/// write their maps of ids; should it be killed between the two, that one waits for ever.
fn end_those_that_wait(entry: &Path) {
    let entry = entry.as_os_str().as_encoded_bytes();
    let is_it = |number: &str| {
        let read = |name: &str| std::fs::read(format!("/proc/{number}/{name}")).unwrap_or_default();
        let arguments = read("cmdline");
        let names = |text: &[u8]| text.windows(entry.len()).any(|it| it == entry);
        arguments.starts_with(b"unshare\0") && (names(&arguments) || names(&read("environ")))
    };
    for found in std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let number = found.file_name();
        let Some(number) = number.to_str().filter(|it| is_it(it)) else { continue };
        if let Some(process) = Process::open(number)
            && is_it(number)
        {
            process.kill();
        }
    }
}

fn random_name() -> Result<String, BoxError> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("build-{}", hex(&random)))
}

fn lock_of(entry: &Path) -> PathBuf {
    entry.with_extension("lock")
}

/// A part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the build reads; the build cannot write there.
    Input,
    /// What the build makes.
    Output,
    /// Home and temporary files of the tools.
    Home,
    /// What the tools unpack the base into.
    Chroots,
}

/// A throw-away directory. It is removed when this is dropped, or when its process is dead and another cleans up.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    walls: Walls,
    lock: Option<Lock>,
}

impl Entry {
    /// Returns its name, which no other run has.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// Returns the path of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> PathBuf {
        self.path.join(match part {
            Part::Input => "input",
            Part::Output => "output",
            Part::Home => "home",
            Part::Chroots => "chroots",
        })
    }

    /// Removes it, and says so if it cannot.
    ///
    /// # Errors
    /// Something of it is left.
    pub fn remove(mut self) -> Result<(), BoxError> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), BoxError> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        // What subordinate ids own, only the walls can remove when this process is not root.
        for part in [Part::Output, Part::Home, Part::Chroots] {
            let content = self.part(part);
            if content.exists()
                && !self.walls.account().is_other()
                && let Err(e) = self.walls.remove(&content)
            {
                tracing::debug!(error = %e, "the account leaves the rest to its caller");
            }
        }
        remove_from_the_dying(&self.path)?;
        throw_away::remove_file(&lock_of(&self.path))?;
        drop(lock);
        Ok(())
    }
}

/// Removes a directory into which processes of a run that was just killed may still write until the kernel has taken
/// them apart.
fn remove_from_the_dying(path: &Path) -> Result<(), DurableError> {
    const TRIES: u32 = 200;
    const TICK: Duration = Duration::from_millis(25);
    for _ in 1..TRIES {
        match throw_away::remove_directory(path) {
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => std::thread::sleep(TICK),
            other => return other,
        }
    }
    throw_away::remove_directory(path)
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Err(e) = self.clear() {
            tracing::warn!(path = %self.path.display(), error = %e, "cannot remove what a build left");
        }
    }
}

#[cfg(test)]
mod tests;
