//! To come.
use crate::job::Outcome;
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Version};
use jiff::Timestamp;
use std::path::PathBuf;
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Submitted,
    Refused,
    Published,
    Failed,
    RepoCreated,
}
impl EventKind {
    pub fn as_str(self) -> &'static str {
        "x"
    }
}
/// x
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub pocket: Option<PocketName>,
    pub package: PackageName,
    pub version: Option<Version>,
    pub commit: Option<CommitId>,
    pub principal: Principal,
    pub job: Option<JobId>,
    pub log: Option<PathBuf>,
    pub outcome: Option<Outcome>,
    pub time: Timestamp,
}
/// x
pub trait Announce: std::fmt::Debug + Send + Sync {
    fn announce(&self, event: &Event);
}
