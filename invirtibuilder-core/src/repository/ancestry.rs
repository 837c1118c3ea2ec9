//! Which commit reaches which, walked from the newest commits on and no further than needed.
//!
//! Never trusts a commit's date for the answer: dates only decide where the walk looks first.

use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};

use gix::ObjectId;

use super::{Repository, Result};

/// From which end of the question a commit was reached.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Reached {
    from_below: bool,
    from_above: bool,
}

impl Reached {
    /// Only what is reached from above alone can still lead to the commit in question.
    fn is_open(self) -> bool {
        self.from_above && !self.from_below
    }

    fn and(self, other: Self) -> Self {
        Self {
            from_below: self.from_below || other.from_below,
            from_above: self.from_above || other.from_above,
        }
    }
}

/// A commit that the walk has met.
struct Met {
    how: Reached,
    is_queued: bool,
    time: i64,
    parents: Vec<ObjectId>,
}

/// A walk from both ends: from the commit in question, whose ancestors cannot lead to it, and from the tips.
#[derive(Default)]
struct Walk {
    met: HashMap<ObjectId, Met>,
    queue: BinaryHeap<(i64, ObjectId)>,
    /// How many commits in the queue may still lead to the commit in question.
    open: usize,
}

impl Walk {
    fn add(&mut self, repository: &Repository, id: ObjectId, how: Reached) -> Result<()> {
        let met = match self.met.entry(id) {
            Entry::Occupied(met) => met.into_mut(),
            Entry::Vacant(new) => {
                let commit = repository.commit(id)?;
                let time = commit.time.unwrap_or(0);
                let how = Reached::default();
                new.insert(Met { how, is_queued: false, time, parents: commit.parents })
            }
        };
        let (before, after) = (met.how, met.how.and(how));
        if after == before {
            return Ok(());
        }
        met.how = after;
        if met.is_queued {
            self.open -= usize::from(before.is_open());
        } else {
            met.is_queued = true;
            self.queue.push((met.time, id));
        }
        self.open += usize::from(after.is_open());
        Ok(())
    }

    /// Takes the newest commit out of the queue: how it was reached, and its parents.
    fn next(&mut self) -> Option<(Reached, Vec<ObjectId>)> {
        let (_, id) = self.queue.pop()?;
        let met = self.met.get_mut(&id)?;
        met.is_queued = false;
        self.open -= usize::from(met.how.is_open());
        Some((met.how, met.parents.clone()))
    }
}

impl Repository {
    /// Returns whether a commit is one of some others or an ancestor of one.
    ///
    /// Quick where the commit is near one of the tips. Commits with wrong dates cost time, not correctness.
    pub fn is_reached_from(&self, commit: ObjectId, tips: &[ObjectId]) -> Result<bool> {
        if tips.contains(&commit) {
            return Ok(true);
        }
        let mut walk = Walk::default();
        walk.add(self, commit, Reached { from_below: true, from_above: false })?;
        for tip in tips {
            walk.add(self, *tip, Reached { from_below: false, from_above: true })?;
        }
        while walk.open > 0
            && let Some((how, parents)) = walk.next()
        {
            for parent in parents {
                if parent == commit && how.from_above {
                    return Ok(true);
                }
                walk.add(self, parent, how)?;
            }
        }
        Ok(false)
    }
}
