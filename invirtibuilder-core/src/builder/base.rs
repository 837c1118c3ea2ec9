//! The distributions that packages are built in: tarballs that mmdebstrap makes, and makes anew when they are old.
//!
//! A base is a plain tarball, not a compressed one: every build unpacks it, and reading 450 MB from the page cache
//! takes less than decompressing. The tarball belongs to this process, so no build can change it.
//! Never used before it is whole: it is made elsewhere, checked, and then named in the base's record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::scratch::{Part, Scratch, check_reachable};
use super::walls::Walls;
use crate::durable::{self, Lock};
use crate::error::BoxError;
use crate::names::{Architecture, BaseName, PackageName};
use crate::process::{Limits, ProcessError};
use crate::provenance::UsedBase;
use crate::stop::Interrupt;

mod mirror;
mod tail;
mod tarball;

use mirror::Sources;
pub(super) use mirror::proxy;
pub(super) use tail::Tail;

/// How old a base may become by default before it is made anew: seven days.
pub const REFRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a base is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSpec {
    /// The URI of the archive; `None`: the one that this machine's own apt uses.
    ///
    /// With a URI that ends in `/debian`, suites that end in `-security` come from `…/debian-security` beside it.
    pub mirror: Option<String>,
    /// The suites; empty: the suite with the base's name, and of its `-updates` and `-security` those that this
    /// machine's own apt uses.
    pub suites: Vec<String>,
    /// The components; empty: `main`.
    pub components: Vec<String>,
    /// The keys that sign the archive; `None`: Debian's.
    pub keyring: Option<PathBuf>,
    /// The age at which it is made anew.
    pub refresh: Duration,
}

impl Default for BaseSpec {
    fn default() -> Self {
        Self { mirror: None, suites: Vec::new(), components: Vec::new(), keyring: None, refresh: REFRESH }
    }
}

/// A base that is ready to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The tarball.
    pub tarball: PathBuf,
    /// Its SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
    /// When it was made.
    pub made: Timestamp,
}

/// Why there is no base to build in.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// It could not be made: most often the archive cannot be reached.
    #[error("the base {base} could not be made: {problem}")]
    Unavailable {
        /// The base.
        base: BaseName,
        /// The exit status of mmdebstrap, and its last lines.
        problem: String,
    },
    /// The work was interrupted.
    #[error("making the base was interrupted")]
    Interrupted,
    /// This machine or its configuration is at fault.
    #[error("cannot make the base {base}")]
    Backend {
        /// The base.
        base: BaseName,
        /// What went wrong.
        #[source]
        source: BoxError,
    },
}

/// The record of a base: which tarball is the current one. It is replaced in one step.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    tarball: String,
    /// The one before; a build that began before the last change may be about to read it.
    previous: Option<String>,
    sha256: String,
    made: Timestamp,
    /// The packages in it; `None` in a record from before they were listed.
    #[serde(default)]
    packages: Option<BTreeSet<PackageName>>,
}

/// All configured bases, and the directory that holds their tarballs.
#[derive(Debug)]
pub struct Bases {
    cache: PathBuf,
    specs: BTreeMap<BaseName, BaseSpec>,
}

impl Bases {
    /// Names the bases, and the directory for their tarballs, an absolute path; it is made when it is needed.
    #[must_use]
    pub fn new(cache: &Path, specs: BTreeMap<BaseName, BaseSpec>) -> Self {
        Self { cache: cache.to_owned(), specs }
    }

    /// Returns the directory of the tarballs.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Returns the names of the bases and what each is made from.
    pub fn specs(&self) -> impl Iterator<Item = (&BaseName, &BaseSpec)> {
        self.specs.iter()
    }

    /// Returns a base as it is on disk, whatever its age; `None` if it was never made.
    #[must_use]
    pub fn on_disk(&self, base: &BaseName, architecture: &Architecture) -> Option<Base> {
        let record = self.read_record(base, architecture)?;
        let tarball = self.cache.join(&record.tarball);
        tarball.is_file().then_some(Base { tarball, sha256: record.sha256, made: record.made })
    }

    /// Returns which base builds begin in now; `None` if it was never made.
    #[must_use]
    pub fn used(&self, base: &BaseName, architecture: &Architecture) -> Option<UsedBase> {
        let sha256 = self.on_disk(base, architecture)?.sha256;
        Some(UsedBase { name: base.clone(), architecture: architecture.clone(), sha256 })
    }

    /// Returns the packages that are installed in a base: the essential ones, apt, build-essential, and all that
    /// these depend on. Empty if it was never made.
    ///
    /// # Errors
    /// Its tarball cannot be read.
    pub fn packages(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BoxError> {
        match self.read_record(base, architecture) {
            None => Ok(BTreeSet::new()),
            Some(Record { packages: Some(packages), .. }) => Ok(packages),
            Some(Record { tarball, .. }) => tarball::packages(&self.cache.join(tarball)),
        }
    }

    fn read_record(&self, base: &BaseName, architecture: &Architecture) -> Option<Record> {
        let text = fs::read(self.record(base, architecture)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Returns a base, and makes it first if it is missing or too old. Of several callers at once, in any process,
    /// one makes it and the others wait.
    ///
    /// If an old one cannot be made anew, it is used as it is, and the log says so.
    ///
    /// # Errors
    /// There is none and it could not be made.
    pub fn ensure(
        &self,
        base: &BaseName,
        architecture: &Architecture,
        scratch: &Scratch,
        walls: &Walls,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<Base, BaseError> {
        let backend = |source: BoxError| BaseError::Backend { base: base.clone(), source };
        let Some(spec) = self.specs.get(base) else {
            let known: Vec<_> = self.specs.keys().map(BaseName::as_str).collect();
            let known = known.join(", ");
            return Err(backend(format!("no such base is configured, only: {known}").into()));
        };
        if let Some(ready) = self.fresh(base, architecture, spec) {
            return Ok(ready);
        }
        durable::create_directory(&self.cache).map_err(|e| backend(e.into()))?;
        check_reachable(&self.cache).map_err(|e| backend(e.into()))?;
        let lock_file = self.cache.join(format!("{base}-{architecture}.lock"));
        let _lock = wait_for(&lock_file, interrupt).map_err(|e| e.unwrap_or_else(backend))?;
        if let Some(ready) = self.fresh(base, architecture, spec) {
            return Ok(ready);
        }
        let old = self.on_disk(base, architecture);
        let made = self.make(base, architecture, spec, scratch, walls, log, interrupt);
        match (made, old) {
            (Ok(made), _) => Ok(made),
            (Err(e @ BaseError::Unavailable { .. }), Some(old)) => {
                tracing::warn!(%base, error = %e, "using the old base");
                writeln!(log, "invirtibuilder: warning: {e}; using the one of {}", old.made)
                    .map_err(|e| backend(e.into()))?;
                Ok(old)
            }
            (Err(e), _) => Err(e),
        }
    }

    fn fresh(&self, base: &BaseName, architecture: &Architecture, spec: &BaseSpec) -> Option<Base> {
        let ready = self.on_disk(base, architecture)?;
        let age = Timestamp::now().duration_since(ready.made);
        (age.unsigned_abs() < spec.refresh).then_some(ready)
    }

    fn record(&self, base: &BaseName, architecture: &Architecture) -> PathBuf {
        self.cache.join(format!("{base}-{architecture}.json"))
    }

    #[expect(clippy::too_many_arguments, reason = "the other function of this size has the same ones")]
    fn make(
        &self,
        base: &BaseName,
        architecture: &Architecture,
        spec: &BaseSpec,
        scratch: &Scratch,
        walls: &Walls,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<Base, BaseError> {
        let backend = |source: BoxError| BaseError::Backend { base: base.clone(), source };
        let unavailable = |problem| BaseError::Unavailable { base: base.clone(), problem };
        let sources = Sources::find(base, spec).map_err(backend)?;
        let entry = scratch.enter(walls).map_err(backend)?;
        let made = entry.part(Part::Output).join("base.tar");
        let mut command = walls
            .command(&entry.part(Part::Home), "mmdebstrap")
            .args(["--mode=unshare", "--variant=buildd", "--format=tar"])
            .arg(format!("--architectures={architecture}"))
            // Whether this machine can run it was asked before, without a program more (arch-test).
            .arg("--skip=check/qemu")
            .args(sources.options())
            .current_dir(&entry.part(Part::Output))
            .limits(Limits {
                time: Duration::from_secs(3600),
                silence: Duration::from_secs(900),
                output: 16 << 20,
            });
        command = command.arg("--").arg(sources.suite()).arg(&made).args(sources.lines());
        let started = Timestamp::now();
        writeln!(log, "invirtibuilder: making the base {base} for {architecture}")
            .and_then(|()| sources.lines().iter().try_for_each(|it| writeln!(log, "invirtibuilder:   {it}")))
            .map_err(|e| backend(e.into()))?;
        let mut tail = Tail::new(log);
        let status = match command.run_logged(&mut tail, interrupt) {
            Ok(status) => status,
            Err(ProcessError::Interrupted { .. }) => return Err(BaseError::Interrupted),
            Err(e @ ProcessError::Limit { .. }) => return Err(unavailable(e.to_string())),
            Err(e) => return Err(backend(e.into())),
        };
        if !status.success() {
            return Err(unavailable(format!("mmdebstrap failed with {status}: {}", tail.text())));
        }
        let name = format!("{base}-{architecture}-{}.tar", started.strftime("%Y%m%dT%H%M%SZ"));
        let sha256 = tarball::take(&made, &self.cache.join(&name)).map_err(backend)?;
        entry.remove().map_err(backend)?;
        let previous = self.on_disk(base, architecture);
        let previous = previous.and_then(|it| Some(it.tarball.file_name()?.to_str()?.to_owned()));
        let packages = Some(tarball::packages(&self.cache.join(&name)).map_err(backend)?);
        let record = Record { tarball: name, previous, sha256, made: started, packages };
        let text = serde_json::to_vec_pretty(&record).map_err(|e| backend(e.into()))?;
        durable::write(&self.record(base, architecture), &text).map_err(|e| backend(e.into()))?;
        self.remove_old(base, architecture, &record).map_err(backend)?;
        tracing::info!(%base, seconds = Timestamp::now().duration_since(started).as_secs(), "made a base");
        Ok(Base { tarball: self.cache.join(&record.tarball), sha256: record.sha256, made: record.made })
    }

    /// Removes the tarballs that neither a build that begins now nor one that began before the last change needs.
    fn remove_old(
        &self,
        base: &BaseName,
        architecture: &Architecture,
        record: &Record,
    ) -> Result<(), BoxError> {
        let prefix = format!("{base}-{architecture}-");
        for found in fs::read_dir(&self.cache)? {
            let name = found?.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_ours = name.strip_prefix(&prefix).is_some_and(is_stamp);
            if is_ours && *name != record.tarball && record.previous.as_deref() != Some(name) {
                durable::remove_file(&self.cache.join(name))?;
            }
        }
        Ok(())
    }
}

/// Returns whether a text is `YYYYMMDDTHHMMSSZ.tar`.
fn is_stamp(text: &str) -> bool {
    text.strip_suffix("Z.tar").and_then(|it| it.split_once('T')).is_some_and(|(date, time)| {
        date.len() == 8 && time.len() == 6 && date.bytes().chain(time.bytes()).all(|it| it.is_ascii_digit())
    })
}

/// Waits for a lock, unless interrupted.
fn wait_for(path: &Path, interrupt: &dyn Interrupt) -> Result<Lock, Result<BaseError, BoxError>> {
    const TICK: Duration = Duration::from_millis(200);
    loop {
        if let Some(lock) = Lock::try_now(path).map_err(|e| Err(e.into()))? {
            return Ok(lock);
        }
        if interrupt.is_interrupted() {
            return Err(Ok(BaseError::Interrupted));
        }
        std::thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests;
