//! The runs of the builder for one job, an architecture each, side by side.
//!
//! A run that fails ends the others: what they would make could not be published.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::slots::Order;
use super::{Pipeline, Working, empty_directory};
use crate::builder::{Target, Variation};
use crate::durable;
use crate::error::{BoxError, BuildError};
use crate::names::Architecture;
use crate::policy::{Declaration, PocketSpec};
use crate::states::{Run, SourcePackage};
use crate::stop::Interrupt;

/// Interrupts the runs of a job when one of them has failed.
struct Together<'a> {
    job: &'a dyn Interrupt,
    has_failed: AtomicBool,
}

impl Interrupt for Together<'_> {
    fn is_interrupted(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst) || self.job.is_interrupted()
    }
}

/// Returns what a commit is built for in a pocket: each of its architectures that the commit declares a package for,
/// in the pocket's order. The packages for all architectures are made by one run, if there are any.
pub(super) fn targets(pocket: &PocketSpec, declared: &Declaration) -> Vec<Target> {
    let for_all = pocket.architecture_of_all().filter(|_| declared.is_for(&Architecture::all()));
    let target = |architecture: &Architecture| {
        let with_all = for_all == Some(architecture);
        (with_all || declared.is_for(architecture)).then(|| Target {
            architecture: architecture.clone(),
            with_all,
            base: pocket.base.clone(),
            variation: Variation::None,
        })
    };
    pocket.architectures.iter().filter_map(target).collect()
}

impl Pipeline {
    /// Runs the builder for each target, side by side as far as there are slots, and returns what it left in their
    /// order. `purpose` is in the names of its directories and logs; it is empty for what is to be published.
    pub(super) fn run_all(
        &self,
        source: &SourcePackage,
        targets: &[Target],
        purpose: &str,
        working: &Working<'_>,
        interrupt: &dyn Interrupt,
    ) -> Result<Vec<Run>, BuildError> {
        let together = Together { job: interrupt, has_failed: AtomicBool::new(false) };
        let one = |at: usize, target: &Target| {
            let order = if at == 0 { Order::First } else { Order::More };
            let result = self.run(source, target, (order, purpose), working, &together);
            together.has_failed.fetch_or(result.is_err(), Ordering::SeqCst);
            result
        };
        let (one, span) = (&one, &tracing::Span::current());
        let results: Vec<_> = match targets {
            [only] => vec![one(0, only)],
            several => std::thread::scope(|scope| {
                let begin = |(at, target)| scope.spawn(move || span.in_scope(|| one(at, target)));
                let threads: Vec<_> = several.iter().enumerate().map(begin).collect();
                let join = |it: std::thread::ScopedJoinHandle<'_, _>| it.join();
                let joined = threads.into_iter().map(join);
                joined.map(|it| it.unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
            }),
        };
        let (mut runs, mut failures) = (Vec::new(), Vec::new());
        for (target, result) in targets.iter().zip(results) {
            match result {
                Ok(run) => runs.push(run),
                Err(e) => failures.push((target, e)),
            }
        }
        // The package's own fault is the one that a second try does not mend; an interruption is no reason.
        let rank = |e: &BuildError| match e {
            BuildError::Attempted { .. } => 0,
            BuildError::GivenBack { .. } | BuildError::Backend(_) => 1,
            BuildError::Interrupted => 2,
        };
        let Some((target, error)) = failures.into_iter().min_by_key(|it| rank(&it.1)) else {
            return Ok(runs);
        };
        let name = format!("{purpose}{}", target.architecture);
        let log = self.log_path(working.claim.job(), source.plan().version(), &name);
        *working.failed_log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
        Err(if targets.len() > 1 { of_target(error, &target.architecture) } else { error })
    }

    fn run(
        &self,
        source: &SourcePackage,
        target: &Target,
        (order, purpose): (Order, &str),
        working: &Working<'_>,
        interrupt: &dyn Interrupt,
    ) -> Result<Run, BuildError> {
        let backend = |e: BoxError| BuildError::Backend(e);
        let _slot = self.slots.take(order, interrupt)?;
        if interrupt.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        let name = format!("{purpose}{}", target.architecture);
        let into = empty_directory(working.claim.workspace(), &format!("build-{name}"));
        let into = into.map_err(|e| backend(e.into()))?;
        let path = self.log_path(working.claim.job(), source.plan().version(), &name);
        let mut log = durable::create_log(&path).map_err(|e| backend(e.into()))?;
        for note in source.notes() {
            writeln!(log, "source: {note}").map_err(|e| backend(e.into()))?;
        }
        let base = || self.builder.base(source, target);
        let before = base();
        let started = Instant::now();
        let result = self.builder.build(source, target, &into, &mut log, interrupt);
        let (seconds, success) = (started.elapsed().as_secs_f64(), result.is_ok());
        let (architecture, backend) = (&target.architecture, source.plan().pocket().building.backend);
        tracing::info!(%architecture, %backend, purpose, seconds, success, "a build ended");
        let changes: PathBuf = result?;
        // One that was made anew meanwhile may be the one, or not; what is not known is not said.
        if let Some(used) = base().filter(|after| before.is_none() || before.as_ref() == Some(after))
            && purpose.is_empty()
        {
            working.was_built_in(used);
        }
        Ok(Run { architecture: target.architecture.clone(), with_all: target.with_all, changes })
    }
}

/// Says which of several architectures it was.
fn of_target(error: BuildError, architecture: &Architecture) -> BuildError {
    match error {
        BuildError::Attempted { package, version, problem } => {
            BuildError::Attempted { package, version, problem: format!("for {architecture}, {problem}") }
        }
        BuildError::GivenBack { package, version, problem } => {
            BuildError::GivenBack { package, version, problem: format!("for {architecture}, {problem}") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
