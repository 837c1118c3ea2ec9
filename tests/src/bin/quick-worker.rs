//! A worker of a real site whose builder makes the smallest package there is, in no time.
//!
//! Queue, Git, exporter, archive and hooks are the real ones. It is also a program that embeds the library with a
//! builder of its own. Reads the site's configuration from `INVIRTIBUILDER_CONFIG`, and ends when the queue is empty.
//!
//! With `INVIRTIBUILDER_TEST_OUTPUT` it leaves what a hostile build would, and `INVIRTIBUILDER_TEST_LOG` in its log; its
//! base has the packages that `INVIRTIBUILDER_TEST_BASE` names. With `INVIRTIBUILDER_TEST_ARCHITECTURES` it makes the
//! package for each architecture and not for all together.
#![allow(clippy::disallowed_methods, reason = "a program reads its environment")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use invirtibuilder_core::builder::{Builder, Target};
use invirtibuilder_core::config::{Config, Host};
use invirtibuilder_core::error::{BuildError, causes};
use invirtibuilder_core::job::{Job, Outcome, Stage};
use invirtibuilder_core::memory::files::{Binary, write_build};
use invirtibuilder_core::names::{Architecture, BaseName, PackageName};
use invirtibuilder_core::pipeline::Observer;
use invirtibuilder_core::site::Site;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::{Interrupt, Stop};
use invirtibuilder_core::worker::Until;
use invirtibuilder_tests::hostile;

/// Makes one package, with one file.
#[derive(Debug)]
struct QuickBuilder {
    /// What it leaves instead, as [`hostile::leave`] knows it.
    output: Option<String>,
    /// What it writes to the log.
    log: Option<String>,
    /// The packages of its base.
    base: BTreeSet<PackageName>,
    /// Whether it makes the package for the architecture that is built for.
    is_for_each: bool,
}

impl QuickBuilder {
    fn new() -> Result<Self, Box<dyn Error>> {
        let variable = |name: &str| std::env::var(format!("INVIRTIBUILDER_TEST_{name}")).ok();
        let base = variable("BASE").unwrap_or_default();
        let base = base.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let is_for_each = variable("ARCHITECTURES").is_some();
        Ok(Self { output: variable("OUTPUT"), log: variable("LOG"), base, is_for_each })
    }
}

impl Builder for QuickBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        _interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        let plan = source.plan();
        writeln!(log, "building {} {}", plan.package(), plan.version())
            .map_err(|e| BuildError::Backend(e.into()))?;
        if let Some(text) = &self.log {
            writeln!(log, "{text}").map_err(|e| BuildError::Backend(e.into()))?;
        }
        if let Some(what) = &self.output {
            let left = hostile::leave(what, source, target.architecture.as_str(), into);
            return left.map_err(BuildError::Backend);
        }
        let architecture = if self.is_for_each { target.architecture.clone() } else { Architecture::all() };
        let content = format!("{} {}\n", plan.version(), plan.commit());
        let binary = Binary { package: plan.package().clone(), architecture, content };
        write_build(into, plan.package(), plan.version(), &target.architecture, &[binary])
            .map_err(BuildError::Backend)
    }

    fn protected(&self, _: &BaseName, _: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        Ok(self.base.clone())
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}

/// Hears nothing.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn claimed(&self, _job: &Job) {}
    fn entered(&self, _job: &Job, _stage: Stage) {}
    fn ended(&self, _job: &Job, _outcome: &Outcome) {}
    fn given_back(&self, job: &Job, reason: &str, _not_before: jiff::Timestamp) {
        let _ = writeln!(std::io::stderr(), "{} was given back: {reason}", job.id);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::var_os("INVIRTIBUILDER_CONFIG").ok_or("INVIRTIBUILDER_CONFIG is not set")?;
    let config = Config::load(Path::new(&file), &Host::detect()?)?;
    let site = Site::open(config)?.with_builder(Box::new(QuickBuilder::new()?));
    let (worker, stop) = (site.worker(NonZeroUsize::MIN, &Nobody)?, Stop::new()?);
    match site.while_telling(&stop, || worker.run(Until::Empty, &stop)) {
        Ok(worked) if worked.given_back == 0 => Ok(()),
        Ok(_) => Err("a job was given back".into()),
        Err(e) => Err(causes(&e).join(": ").into()),
    }
}
