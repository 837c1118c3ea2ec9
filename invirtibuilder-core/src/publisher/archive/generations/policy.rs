//! Which generations are kept: a pure decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::SuiteRecords;
use crate::names::{PackageName, Version};

/// What is kept of what a suite served before. A generation stays as long as one of these keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many generations before the one that is served.
    pub generations: usize,
    /// Every generation, for so long after another took its place.
    pub time: Duration,
    /// Of each package the last generation that served each of its last so many superseded versions.
    pub versions: usize,
}

impl Default for Retention {
    /// Three generations, and a day: longer than any `apt-get update` and `install` takes.
    fn default() -> Self {
        Self { generations: 3, time: Duration::from_secs(24 * 60 * 60), versions: 0 }
    }
}

/// Why a generation is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Keep {
    /// It is the one that is served.
    Served,
    /// It is among the last ones.
    Recent,
    /// It was served until not long ago.
    Young {
        /// Until when that keeps it.
        until: Timestamp,
    },
    /// It is the last that served a version which is kept.
    Version {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
    },
}

/// Decides which generations of one suite are kept, of those that can be read; `current` is the one that is served.
/// The records of those that cannot tell of what happened in between.
pub(super) fn keep(
    records: &SuiteRecords,
    current: u64,
    now: Timestamp,
    policy: Retention,
) -> BTreeMap<u64, Keep> {
    let mut kept = last_of_versions(records, current, policy.versions);
    let all = records.all();
    let known: Vec<u64> = all.range(..=current).map(|it| *it.0).collect();
    let mut ended = now;
    for (age, number) in known.into_iter().rev().enumerate() {
        let until = ended.checked_add(policy.time).unwrap_or(Timestamp::MAX);
        if number == current {
            kept.insert(number, Keep::Served);
        } else if age <= policy.generations {
            kept.insert(number, Keep::Recent);
        } else if until > now {
            kept.insert(number, Keep::Young { until });
        }
        ended = all.get(&number).map_or(ended, |it| it.time);
    }
    kept.retain(|number, _| records.kept.contains_key(number));
    kept
}

/// Returns the last generation of each of the last `count` superseded versions of each package.
fn last_of_versions(records: &SuiteRecords, current: u64, count: usize) -> BTreeMap<u64, Keep> {
    let mut kept = BTreeMap::new();
    if count == 0 {
        return kept;
    }
    let mut seen: BTreeMap<&PackageName, BTreeSet<&Version>> = BTreeMap::new();
    let all = records.all();
    for (number, record) in all.range(..=current).rev() {
        for changed in &record.reason.changes {
            let versions = seen.entry(&changed.package).or_default();
            let Some(old) = &changed.old else { continue };
            if versions.len() < count && versions.insert(old) {
                let (package, version) = (changed.package.clone(), old.clone());
                kept.insert(number.saturating_sub(1), Keep::Version { package, version });
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::record::{Cause, Changed, Reason, Record};
    use super::*;
    use crate::publisher::Generation;

    /// A record of a generation that came at an hour, in which hello changed from one version to another.
    fn record(number: u64, old: Option<&str>, new: &str) -> (u64, Record) {
        let change = Changed {
            package: "hello".parse().unwrap(),
            old: old.map(|it| it.parse().unwrap()),
            new: Some(new.parse().unwrap()),
        };
        let record = Record {
            generation: Generation::new(number),
            time: hour(number),
            reason: Reason { cause: Cause::Job, job: None, changes: vec![change] },
            before: BTreeMap::new(),
            arriving: BTreeMap::new(),
            strays: BTreeSet::new(),
            signed: String::new(),
        };
        (number, record)
    }

    fn hour(number: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(number).unwrap() * 3600).unwrap()
    }

    fn kept(records: &[(u64, Record)], now: u64, policy: Retention) -> Vec<u64> {
        let current = records.last().unwrap().0;
        let records = SuiteRecords { kept: records.iter().cloned().collect(), gone: BTreeMap::new() };
        keep(&records, current, hour(now), policy).into_keys().collect()
    }

    const NOTHING: Retention = Retention { generations: 0, time: Duration::ZERO, versions: 0 };

    #[test]
    fn the_last_ones_the_young_ones_and_the_one_that_is_served_are_kept() {
        let records: Vec<_> = (1..=6).map(|it| record(it, None, "1")).collect();
        assert_eq!(kept(&records, 100, NOTHING), [6]);
        assert_eq!(kept(&records, 100, Retention { generations: 2, ..NOTHING }), [4, 5, 6]);
        // The third was served until the fourth hour.
        let hours = |count: u64| Retention { time: Duration::from_secs(count * 3600), ..NOTHING };
        assert_eq!(kept(&records, 6, hours(2)), [4, 5, 6]);
        assert_eq!(kept(&records, 6, hours(3)), [3, 4, 5, 6]);
    }

    #[test]
    fn the_last_generation_of_each_of_the_last_versions_is_kept() {
        let records = [
            record(1, None, "1"),
            record(2, Some("1"), "2"),
            record(3, Some("2"), "3"),
            record(4, Some("3"), "2"),
            record(5, Some("2"), "4"),
        ];
        let versions = |count| Retention { versions: count, ..NOTHING };
        assert_eq!(kept(&records, 9, versions(1)), [4, 5]);
        assert_eq!(kept(&records, 9, versions(2)), [3, 4, 5]);
        // The version 2 was served twice, and its last time counts.
        assert_eq!(kept(&records, 9, versions(3)), [1, 3, 4, 5]);
    }

    #[test]
    fn what_came_between_counts_though_it_cannot_be_read_any_longer() {
        let mut records = SuiteRecords::default();
        for (number, old, new) in [(1, None, "1"), (2, Some("1"), "2"), (3, Some("2"), "3")] {
            let (number, record) = record(number, old, new);
            let of = if number == 2 { &mut records.gone } else { &mut records.kept };
            of.insert(number, record);
        }
        let policy = Retention { versions: 2, ..NOTHING };
        assert_eq!(keep(&records, 3, hour(9), policy).into_keys().collect::<Vec<_>>(), [1, 3]);
    }
}
