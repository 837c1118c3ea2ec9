//! Hosted Git repositories: opened without trust, every object hashed again as it is read, written durably.
//!
//! Never runs a hook, follows an alternate, or lets a replace ref, a graft or a configuration file outside of the
//! repository change what an object id means. Never decides what may be published.

use std::io;
use std::path::{Path, PathBuf};

use gix::ObjectId;

use crate::durable::DurableError;
use crate::error::BoxError;
use crate::names::{CommitId, PackageName};
use crate::process::ProcessError;

mod ancestry;
mod create;
mod import;
mod import_dsc;
mod objects;
pub mod push_policy;
mod refresh;
mod refs;

pub(crate) use create::write_skeleton;
pub use create::{Hooks, MAX_PUSH};
pub use import::Imported;
pub use objects::{CommitFacts, FileAt};
pub use refs::RefChange;

/// How many bytes of unpacked objects a repository keeps for those that are stored as differences from them: as many as
/// Git does by default (git-config(1), `core.deltaBaseCacheLimit`).
const DELTA_BASES: usize = 96 << 20;

/// Why a repository could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// It is not one that this program works with.
    #[error("{} cannot be used: {problem}", path.display())]
    Refused {
        /// The repository.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// An object is not what its id says, or cannot be read.
    #[error(
        "{} is damaged: object {object} {problem}; compare with `git fsck`, and fetch the object from a clone",
        path.display()
    )]
    Damaged {
        /// The repository.
        path: PathBuf,
        /// The object.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is a repository of this package already.
    #[error("there is a repository for {0} already; push to it, or remove it first")]
    Exists(PackageName),
    /// A ref is not where it was expected, so nothing was changed.
    #[error("{name} is at {}, not at {}", shown(found.as_ref()), shown(expected.as_ref()))]
    Moved {
        /// The ref.
        name: String,
        /// Where it was expected.
        expected: Option<ObjectId>,
        /// Where it is.
        found: Option<ObjectId>,
    },
    /// Another program holds a ref's lock.
    #[error("{} is locked; if no git process is at work there, remove {}", path.display(), lock.display())]
    Locked {
        /// The repository.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// It could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// It could not be read.
    #[error("cannot {action} {}", path.display())]
    Unreadable {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What went wrong below.
        #[source]
        source: BoxError,
    },
    /// A source package cannot be taken over.
    #[error("{} cannot be taken over: {problem}", path.display())]
    Source {
        /// Its `.dsc`.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// `git` did not do what it was started for.
    #[error("git did not fetch from {from:?}")]
    Fetch {
        /// Where from.
        from: String,
        /// What went wrong below.
        #[source]
        source: ProcessError,
    },
}

impl RepositoryError {
    /// Returns whether what was asked for is at fault, and not the repository or the machine.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Exists(_) | Self::Fetch { .. } | Self::Source { .. })
    }
}

fn shown(id: Option<&ObjectId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

type Result<T> = std::result::Result<T, RepositoryError>;

/// The directory of all packages' repositories, `<package>.git` each.
#[derive(Clone, Debug)]
pub struct Repositories {
    directory: PathBuf,
    max_push: u64,
}

impl Repositories {
    /// Takes a directory of repositories.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(directory: &Path) -> Result<Self> {
        if directory.is_dir() {
            return Ok(Self { directory: directory.to_owned(), max_push: MAX_PUSH });
        }
        Err(RepositoryError::Refused {
            path: directory.to_owned(),
            problem: "it is not a directory; make it, or correct `paths: repositories:` in the configuration"
                .to_owned(),
        })
    }

    /// Sets how many bytes one push may have.
    #[must_use]
    pub fn with_max_push(self, max_push: u64) -> Self {
        Self { max_push, ..self }
    }

    fn max_push(&self) -> u64 {
        self.max_push
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns where a package's repository is or would be.
    #[must_use]
    pub fn path(&self, package: &PackageName) -> PathBuf {
        self.directory.join(format!("{package}.git"))
    }

    /// Opens a package's repository; `None` if there is none.
    ///
    /// # Errors
    /// It is not a bare repository of our own that keeps all of its objects and history itself.
    pub fn find(&self, package: &PackageName) -> Result<Option<Repository>> {
        Repository::open(&self.path(package))
    }

    /// Returns the packages that have a repository, sorted.
    pub fn list(&self) -> Result<Vec<PackageName>> {
        let unreadable = |e: io::Error| RepositoryError::Unreadable {
            action: "list",
            path: self.directory.clone(),
            source: e.into(),
        };
        let mut packages = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let package = name.to_str().and_then(|it| it.strip_suffix(".git")).map(str::parse::<PackageName>);
            packages.extend(package.and_then(std::result::Result::ok));
        }
        packages.sort();
        Ok(packages)
    }
}

/// A bare repository, open for reading; its writing functions take the repository's own lock.
pub struct Repository {
    path: PathBuf,
    git: gix::Repository,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the bare repository at a path; `None` if nothing is there.
    ///
    /// Only the repository's own configuration is read. Its owner must be the user that this program runs as.
    ///
    /// # Errors
    /// It is not a bare repository, belongs to somebody else, or takes objects or history from elsewhere:
    /// `objects/info/alternates`, `info/grafts` and `shallow` are refused.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let refused = |problem: String| RepositoryError::Refused { path: path.to_owned(), problem };
        match std::fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(RepositoryError::Unreadable {
                    action: "open",
                    path: path.to_owned(),
                    source: e.into(),
                });
            }
            Ok(it) if !it.is_dir() => return Err(refused("it is not a directory".to_owned())),
            Ok(_) => (),
        }
        for (file, remedy) in [
            ("objects/info/alternates", "run `git repack -a -d` there and remove it"),
            ("objects/info/http-alternates", "remove it"),
            ("info/grafts", "remove it"),
            ("shallow", "run `git fetch --unshallow` there"),
        ] {
            if std::fs::symlink_metadata(path.join(file)).is_ok() {
                return Err(refused(format!(
                    "it has the file {file}, so that its objects or history come from elsewhere; {remedy}"
                )));
            }
        }
        let options = gix::open::Options::isolated()
            .open_path_as_is(true)
            .strict_config(true)
            .bail_if_untrusted(true)
            .config_overrides(["core.useReplaceRefs=false"]);
        let mut git = gix::open_opts(path, options).map_err(|e| RepositoryError::Unreadable {
            action: "open the repository",
            path: path.to_owned(),
            source: Box::new(e),
        })?;
        git.objects.ignore_replacements = true;
        git.objects
            .set_pack_cache(|| Box::new(gix::odb::pack::cache::lru::MemoryCappedHashmap::new(DELTA_BASES)));
        if !git.is_bare() {
            return Err(refused("it is not a bare repository; make one with `git clone --bare`".to_owned()));
        }
        Ok(Some(Self { path: path.to_owned(), git }))
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn damaged(&self, object: ObjectId, problem: impl Into<String>) -> RepositoryError {
        RepositoryError::Damaged {
            path: self.path.clone(),
            object: object.to_string(),
            problem: problem.into(),
        }
    }

    fn unreadable<E>(&self, action: &'static str) -> impl FnOnce(E) -> RepositoryError
    where
        E: Into<BoxError>,
    {
        let path = self.path.clone();
        move |e| RepositoryError::Unreadable { action, path, source: e.into() }
    }
}

/// Returns the object id of a commit id; `None` for a hash that these repositories do not use.
#[must_use]
pub fn object_id(commit: &CommitId) -> Option<ObjectId> {
    ObjectId::from_hex(commit.as_str().as_bytes()).ok()
}

/// Returns the commit id of an object id.
#[must_use]
#[allow(clippy::missing_panics_doc, reason = "an object id always prints as a commit id")]
pub fn commit_id(id: ObjectId) -> CommitId {
    id.to_hex().to_string().parse().expect("an object id prints as a commit id")
}

#[cfg(test)]
mod tests;
