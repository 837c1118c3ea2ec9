//! Which publisher a site has.

use std::sync::Arc;

use crate::error::PublishError;
use crate::names::Suite;
use crate::publisher::Publisher;
use crate::publisher::archive::{Archive, SignedBy};
use crate::publisher::tool::ToolPublisher;

/// The publisher that a configuration names.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// The archive that this library publishes itself.
    Archive(Arc<Archive>),
    /// A program that publishes: reprepro or aptly.
    Tool(Arc<ToolPublisher>),
}

impl Backend {
    /// Returns it as what the pipeline needs.
    pub(super) fn publisher(&self) -> Arc<dyn Publisher> {
        match self {
            Self::Archive(it) => Arc::<Archive>::clone(it),
            Self::Tool(it) => Arc::<ToolPublisher>::clone(it),
        }
    }

    /// Returns the `.sources` file that makes a client use a suite (sources.list(5)).
    pub(super) fn sources(
        &self,
        suite: &Suite,
        uri: &str,
        signed_by: &SignedBy,
    ) -> Result<String, PublishError> {
        match self {
            Self::Archive(it) => it.sources(suite, uri, signed_by),
            Self::Tool(it) => it.sources(suite, uri, signed_by),
        }
    }
}
