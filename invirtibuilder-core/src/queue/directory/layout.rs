//! Where the files of a queue are, and how each is written and read.
//!
//! Never decides what becomes of a job.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::QueueError;
use crate::job::{Checkpoint, Ended, GivenBack, Job, Lane, Predecessor, Request, Stage};
use crate::names::{Architecture, CommitId, JobId, PackageName, PocketName, Principal};

/// The files of jobs are small; what is longer than this many bytes is not one.
const MAX_BYTES: u64 = 1 << 20;

/// The paths of one queue.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

/// A job as its file has it: the id is the name of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    pocket: PocketName,
    package: PackageName,
    commit: CommitId,
    principal: Principal,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<Predecessor>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    builds: BTreeSet<PackageName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adds: Option<Architecture>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_back: Option<GivenBack>,
}

/// Why a file does not say what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// There is none.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// It says something else.
    #[error("{} is malformed: {problem}; correct it or move it away", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// How.
        problem: String,
    },
}

/// Returns a conversion of any error into one of the queue.
pub(super) fn failed<E>(action: &'static str) -> impl Fn(E) -> QueueError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| QueueError::Backend { action, source: Box::new(source) }
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Returns the directory with one file a waiting job.
    pub(super) fn waiting(&self) -> &Path {
        &self.root
    }

    pub(super) fn waiting_job(&self, id: &JobId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Returns the directory with one directory a job that a worker took.
    pub(super) fn running(&self) -> PathBuf {
        self.root.join("running")
    }

    pub(super) fn running_directory(&self, id: &JobId) -> PathBuf {
        self.running().join(id.as_str())
    }

    /// Returns the file that makes a job a running one.
    pub(super) fn running_job(&self, id: &JobId) -> PathBuf {
        self.running_directory(id).join("job")
    }

    /// Returns where the directory of a job goes while it is removed.
    pub(super) fn discarded(&self, id: &JobId) -> PathBuf {
        self.running().join(format!("{DISCARDED}{id}"))
    }

    pub(super) fn workspace(&self, id: &JobId) -> PathBuf {
        self.running_directory(id).join("workspace")
    }

    pub(super) fn checkpoint(&self, id: &JobId) -> PathBuf {
        self.running_directory(id).join("checkpoint")
    }

    pub(super) fn stage(&self, id: &JobId) -> PathBuf {
        self.running_directory(id).join("stage")
    }

    pub(super) fn started(&self, id: &JobId) -> PathBuf {
        self.running_directory(id).join("started")
    }

    pub(super) fn cancel(&self, id: &JobId) -> PathBuf {
        self.running_directory(id).join("cancel")
    }

    /// Returns the directory with one directory a month of submission.
    pub(super) fn ended(&self) -> PathBuf {
        self.root.join("ended")
    }

    /// Returns the record of a job that ended, which is below the month of its submission.
    pub(super) fn ended_job(&self, id: &JobId) -> PathBuf {
        let (year, month) = (id.as_str().get(..4), id.as_str().get(4..6));
        let month = format!("{}-{}", year.unwrap_or_default(), month.unwrap_or_default());
        self.ended().join(month).join(id.as_str())
    }

    pub(super) fn has_ended(&self, id: &JobId) -> bool {
        self.ended_job(id).exists()
    }

    /// Returns whether a job was accepted and has not ended.
    pub(super) fn is_pending(&self, id: &JobId) -> bool {
        (self.waiting_job(id).exists() || self.running_job(id).exists()) && !self.has_ended(id)
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(super) fn lane_lock(&self, lane: Lane<'_>) -> PathBuf {
        self.locks().join(lane_name(lane))
    }

    /// Returns the file that is closed when a package's lock has been released.
    pub(super) fn bell(&self) -> PathBuf {
        self.running().join(".bell")
    }

    /// Returns the lock under which jobs get their ids and change their places.
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join(".lock")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join(".index")
    }

    pub(super) fn read_waiting(&self, id: &JobId) -> Result<Job, ReadError> {
        read_job(&self.waiting_job(id), id)
    }

    pub(super) fn read_running(&self, id: &JobId) -> Result<Job, ReadError> {
        read_job(&self.running_job(id), id)
    }

    pub(super) fn read_ended(&self, id: &JobId) -> Result<Ended, ReadError> {
        let path = self.ended_job(id);
        let ended: Ended = read_yaml(&path)?;
        if ended.job.id == *id {
            return Ok(ended);
        }
        Err(ReadError::Malformed {
            path,
            problem: format!("its name says {id}, and it says {}", ended.job.id),
        })
    }

    pub(super) fn read_checkpoint(&self, id: &JobId) -> Result<Option<Checkpoint>, ReadError> {
        read_yaml(&self.checkpoint(id)).map(Some).or_else(|e| e.missing_is(None))
    }

    /// Returns the stage that a worker noted; a note that cannot be read is none.
    pub(super) fn read_stage(&self, id: &JobId) -> Option<Stage> {
        read_yaml(&self.stage(id)).ok()
    }

    /// Returns when a worker first took a job, if the note of it is there.
    pub(super) fn read_started(&self, id: &JobId) -> Option<Timestamp> {
        read_yaml(&self.started(id)).ok()
    }

    /// Returns who asked to cancel a running job.
    pub(super) fn read_cancel(&self, id: &JobId) -> Option<Principal> {
        match read_yaml(&self.cancel(id)) {
            Ok(principal) => Some(principal),
            Err(ReadError::Missing(_)) => None,
            Err(error) => {
                tracing::warn!(job = %id, %error, "ignoring a request to cancel");
                None
            }
        }
    }

    /// Returns the ids that are names in a directory, in no order; other names are left alone.
    pub(super) fn ids(directory: &Path) -> io::Result<Vec<JobId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(directory)? {
            if let Some(id) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

/// Returns the name of a lane as a file has it: no package's name has a colon.
pub(super) fn lane_name((package, adds): Lane<'_>) -> String {
    adds.map_or_else(|| package.to_string(), |it| format!("{package}:{it}"))
}

/// What the name of a directory begins with whose job has ended.
pub(super) const DISCARDED: &str = ".ended-";

impl ReadError {
    /// Takes the absence of the file for a value.
    pub(super) fn missing_is<T>(self, value: T) -> Result<T, Self> {
        if matches!(self, Self::Missing(_)) { Ok(value) } else { Err(self) }
    }
}

/// Returns the content of a job's file, which a new job and one that was given back have alike.
pub(super) fn write_job(
    request: &Request,
    after: &[Predecessor],
    builds: &BTreeSet<PackageName>,
    given_back: Option<&GivenBack>,
) -> Result<String, serde_yaml::Error> {
    let Request { pocket, package, commit, principal, adds } = request.clone();
    let (after, builds) = (after.to_owned(), builds.clone());
    let given_back = given_back.cloned();
    serde_yaml::to_string(&Written { pocket, package, commit, principal, after, builds, adds, given_back })
}

fn read_job(path: &Path, id: &JobId) -> Result<Job, ReadError> {
    let Written { pocket, package, commit, principal, after, builds, adds, given_back } = read_yaml(path)?;
    let request = Request { pocket, package, commit, principal, adds };
    Ok(Job { id: id.clone(), request, after, builds, given_back })
}

fn read_yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ReadError> {
    let malformed = |problem: String| ReadError::Malformed { path: path.to_owned(), problem };
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing(path.to_owned()),
        // One file that somebody else made must not stop the others.
        io::ErrorKind::PermissionDenied => malformed(format!("it cannot be read: {source}")),
        _ => ReadError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io)?;
    let mut text = String::new();
    match file.take(MAX_BYTES).read_to_string(&mut text) {
        Ok(length) if u64::try_from(length).is_ok_and(|it| it < MAX_BYTES) => (),
        Ok(_) => return Err(malformed(format!("it is longer than {MAX_BYTES} bytes"))),
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory) => {
            return Err(malformed(format!("{e}")));
        }
        Err(e) => return Err(io(e)),
    }
    serde_yaml::from_str(&text).map_err(|e| malformed(format!("{e}")))
}
