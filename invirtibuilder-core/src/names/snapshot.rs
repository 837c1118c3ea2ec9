//! Versions of tries: the version that is to be released, and when and of what this try was made.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::DateTime;

use super::{CommitId, JobId, NameError, PocketName, Version};

/// The version of one try of a version that is not released yet, such as `1.2-3~dev20261123T101500.g3f2a1b9`
/// (`snapshot_versions` of a pocket).
///
/// It sorts before the version that it is a try of, after whatever sorts before that, and after every earlier try of it
/// in the same pocket. It is the same however often it is made for one job, as long as the pocket serves the same.
///
/// ```
/// use invirtibuilder_core::names::{Snapshot, Version};
/// let version = |text: &str| text.parse::<Version>().unwrap();
/// let first = Snapshot::parse(&version("1.2-3~dev20261123T101500.g3f2a1b9")).unwrap();
/// assert_eq!(first.declared(), &version("1.2-3"));
/// assert!(version("1.2-2") < version(&first.to_string()) && version(&first.to_string()) < version("1.2-3"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    declared: Version,
    /// The pocket's name, as a version may have it.
    pocket: String,
    moment: DateTime,
    /// The first digits of the commit's id.
    commit: String,
}

/// How many digits of a commit's id there are.
const DIGITS: usize = 7;
const MOMENT: &str = "%Y%m%dT%H%M%S";
const MOMENT_LENGTH: usize = 15;

impl Snapshot {
    /// Returns the version of a job's try, where the changelog declares `declared`, and the pocket serves `served`.
    ///
    /// It has the time of the job's submission. Ids of jobs rise, also when the clock is set back; where two jobs
    /// have the same second, the later one has the next.
    ///
    /// # Errors
    /// The declared version leaves no room.
    pub fn next(
        declared: &Version,
        pocket: &PocketName,
        job: &JobId,
        commit: &CommitId,
        served: Option<&Version>,
    ) -> Result<Version, NameError> {
        let second = job.as_str().split('_').next().unwrap_or_default();
        let moment = DateTime::strptime("%Y%m%d%H%M%S", second).map_err(|_| {
            NameError::new("job id", job.as_str(), "it begins with a moment of the calendar in UTC")
        })?;
        let before = served.and_then(Self::parse).filter(|it| it.declared == *declared);
        let moment = match before {
            Some(before) if before.moment >= moment => before.moment.saturating_add(1.second()),
            _ => moment,
        };
        let commit = commit.as_str().get(..DIGITS).unwrap_or_default().to_owned();
        let next = Self { declared: declared.clone(), pocket: word_of(pocket), moment, commit };
        next.to_string().parse()
    }

    /// Returns whether there is room for what a try adds to a declared version.
    #[must_use]
    pub fn fits(declared: &Version, pocket: &PocketName) -> bool {
        let added = pocket.as_str().len() + MOMENT_LENGTH + DIGITS + "~.g".len();
        declared.as_str().len() + added <= Version::MAX_LENGTH
    }

    /// Reads a version; `None` if it is not one of a try.
    #[must_use]
    pub fn parse(version: &Version) -> Option<Self> {
        let (declared, rest) = version.as_str().rsplit_once('~')?;
        let (rest, commit) = rest.rsplit_once(".g")?;
        let (pocket, moment) = rest.split_at_checked(rest.len().checked_sub(MOMENT_LENGTH)?)?;
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if pocket.is_empty() || commit.len() != DIGITS || !commit.bytes().all(is_digit) {
            return None;
        }
        let moment = DateTime::strptime(MOMENT, moment).ok()?;
        let (declared, pocket) = (declared.parse().ok()?, pocket.to_owned());
        let found = Self { declared, pocket, moment, commit: commit.to_owned() };
        (found.to_string() == version.as_str()).then_some(found)
    }

    /// Returns whether a version is one of a try of this declared version from this commit.
    #[must_use]
    pub fn is_of(version: &Version, declared: &Version, commit: &CommitId) -> bool {
        Self::parse(version).is_some_and(|it| {
            it.declared.as_str() == declared.as_str() && commit.as_str().starts_with(&it.commit)
        })
    }

    /// Returns the version that it is a try of.
    #[must_use]
    pub fn declared(&self) -> &Version {
        &self.declared
    }
}

/// Returns a pocket's name without what would begin a revision, or what no version has.
fn word_of(pocket: &PocketName) -> String {
    pocket.as_str().replace(['-', '_'], ".")
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}{}.g{}", self.declared, self.pocket, self.moment.strftime(MOMENT), self.commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn next(declared: &str, job: &str, commit: char, served: Option<&Version>) -> Version {
        let commit = commit.to_string().repeat(40).parse().unwrap();
        let (pocket, job) = ("my-dev_2".parse().unwrap(), job.parse().unwrap());
        Snapshot::next(&version(declared), &pocket, &job, &commit, served).unwrap()
    }

    #[test]
    fn a_try_sorts_between_the_versions_before_and_its_own() {
        for (before, declared) in [
            ("1.2-2", "1.2-3"),
            ("1.1", "1.2"),
            ("1:1.0~rc1-1", "1:1.0~rc2-1"),
            ("1.0~~", "1.0~"),
            ("9", "1:0"),
        ] {
            let made = next(declared, "20261123101500_aaaaaa", '3', None);
            assert!(version(before) < made && made < version(declared), "{made}");
            assert_eq!(Snapshot::parse(&made).unwrap().declared().as_str(), declared);
            // The upstream tarball is that of the declared version.
            assert!(!declared.contains('-') || made.upstream() == version(declared).upstream(), "{made}");
        }
    }

    #[test]
    fn tries_rise_within_one_second_and_when_the_clock_steps_back() {
        let mut served = next("1.2-3", "20261123101500_aaaaaa", 'f', None);
        assert_eq!(served.as_str(), "1.2-3~my.dev.220261123T101500.gfffffff");
        for (job, commit) in [
            ("20261123101500_bbbbbb", '0'),
            ("20261123101500_cccccc", 'a'),
            ("20261123101459_dddddd", '9'),
            ("20261231235959_eeeeee", 'b'),
            ("20261231235959_ffffff", 'a'),
        ] {
            let made = next("1.2-3", job, commit, Some(&served));
            assert!(made > served, "{made} after {served}");
            assert_eq!(next("1.2-3", job, commit, Some(&served)).as_str(), made.as_str(), "asked again");
            served = made;
        }
        assert_eq!(served.as_str(), "1.2-3~my.dev.220270101T000000.gaaaaaaa");
        let other = next("1.2-4", "20261123101500_aaaaaa", 'f', Some(&served));
        assert_eq!(other.as_str(), "1.2-4~my.dev.220261123T101500.gfffffff");
    }

    #[test]
    fn what_only_looks_like_a_try_is_none() {
        for text in [
            "1.2-3",
            "1.2-3~dev1",
            "1.2-3~20261123T101500.g3f2a1b9",
            "1.2-3~dev20261323T101500.g3f2a1b9",
            "1.2-3~dev20261123T101500.g3f2a1bz",
            "1.2-3~dev20261123T101500.g3f2a1b90",
            "1.2-3~dev20261123T101500",
        ] {
            assert_eq!(Snapshot::parse(&version(text)), None, "{text}");
        }
        let (made, commit) =
            (version("1.2~dev20261123T101500.g3f2a1b9"), "3f2a1b9".to_owned() + &"0".repeat(33));
        let commit = commit.parse().unwrap();
        assert!(Snapshot::is_of(&made, &version("1.2"), &commit));
        assert!(!Snapshot::is_of(&made, &version("1.20"), &commit));
        assert!(!Snapshot::is_of(&made, &version("1.2"), &"4".repeat(40).parse().unwrap()));
    }

    #[test]
    fn a_version_that_leaves_no_room_does_not_fit() {
        let pocket = "dev".parse().unwrap();
        assert!(Snapshot::fits(&version(&"1".repeat(170)), &pocket));
        assert!(!Snapshot::fits(&version(&"1".repeat(180)), &pocket));
    }
}
