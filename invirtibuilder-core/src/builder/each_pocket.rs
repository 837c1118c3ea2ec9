//! Builds for each pocket by what the pocket says.
//!
//! Never builds anything itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Builder, Look, Target, VisitError};
use crate::error::BuildError;
use crate::names::{Architecture, BaseName, PackageName};
use crate::policy::BuildBackend;
use crate::provenance::UsedBase;
use crate::states::SourcePackage;
use crate::stop::Interrupt;

/// The builders of a site, of which each pocket has one.
#[derive(Debug)]
pub struct PocketBuilder {
    builders: BTreeMap<BuildBackend, Box<dyn Builder>>,
}

impl PocketBuilder {
    /// Takes the builders of all backends that pockets name.
    #[must_use]
    pub fn new(builders: impl IntoIterator<Item = (BuildBackend, Box<dyn Builder>)>) -> Self {
        Self { builders: builders.into_iter().collect() }
    }
}

impl Builder for PocketBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        let pocket = source.plan().pocket();
        let Some(builder) = self.builders.get(&pocket.building.backend) else {
            let problem = format!(
                "{} is to be built by {}, which this site has no builder for; restart the worker if its configuration was changed",
                pocket.name, pocket.building.backend
            );
            return Err(BuildError::Backend(problem.into()));
        };
        builder.build(source, target, into, log, interrupt)
    }

    /// Returns what any of them begins with: they may share a base, and know it only after they have made it.
    fn protected(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BuildError> {
        let mut all = BTreeSet::new();
        for builder in self.builders.values() {
            all.extend(builder.protected(base, architecture)?);
        }
        Ok(all)
    }

    fn base(&self, source: &SourcePackage, target: &Target) -> Option<UsedBase> {
        self.builders.get(&source.plan().pocket().building.backend)?.base(source, target)
    }

    fn visit(&self, look: &Look<'_>) -> Result<u8, VisitError> {
        let backend = look.pocket.building.backend;
        let builder = self.builders.get(&backend).ok_or_else(|| {
            VisitError::Unsupported(format!("this site has no builder {backend}, which built the job"))
        })?;
        builder.visit(look)
    }

    /// Lets all of them clean up, whatever becomes of one, and returns the first failure.
    fn clean_up(&self) -> Result<(), BuildError> {
        let cleaned: Vec<_> = self.builders.values().map(|it| it.clean_up()).collect();
        cleaned.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
