//! What a client needs to use a suite.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Archive, ArchiveError, SuiteSpec};
use crate::error::PublishError;
use crate::names::Suite;
use crate::publisher::Generation;

/// How a client knows the archive's keys (sources.list(5), `Signed-By`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// A file on the client.
    File(PathBuf),
    /// The keys themselves, which apt reads from version 2.4 on.
    Inline,
}

impl Archive {
    /// Returns the `.sources` file that makes a client use what a suite served in a generation that is kept.
    ///
    /// # Errors
    /// The suite is not configured, or the generation is not kept.
    pub fn snapshot_sources(
        &self,
        suite: &Suite,
        generation: Generation,
        uri: &str,
    ) -> Result<String, PublishError> {
        self.kept_release(suite, generation)?;
        let uri =
            format!("{}/{}/{suite}/{generation}", uri.trim_end_matches('/'), super::generations::SNAPSHOTS);
        let text = self.sources(suite, &uri, &SignedBy::Inline)?;
        // It is old on purpose.
        Ok(text.replacen("\nSuites:", "\nCheck-Valid-Until: no\nSuites:", 1))
    }

    /// Returns the `.sources` file that makes a client use a suite (sources.list(5), deb822 style).
    ///
    /// # Errors
    /// The suite is not configured.
    pub fn sources(&self, suite: &Suite, uri: &str, signed_by: &SignedBy) -> Result<String, PublishError> {
        let keys = || Ok(self.signer.public_key().map_err(ArchiveError::from)?);
        sources_of(self.suite(suite)?, uri, signed_by, keys)
    }
}

/// Writes the `.sources` file of a suite; `keys` gives the public keys where they are written into it.
pub(in crate::publisher) fn sources_of(
    suite: &SuiteSpec,
    uri: &str,
    signed_by: &SignedBy,
    keys: impl FnOnce() -> Result<String, PublishError>,
) -> Result<String, PublishError> {
    let SuiteSpec { suite, components, architectures, .. } = suite;
    let components = components.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ");
    let architectures = architectures.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ");
    let mut text = format!(
        "Types: deb deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: {components}\nArchitectures: {architectures}\n"
    );
    match signed_by {
        SignedBy::File(path) => {
            let _ = writeln!(text, "Signed-By: {}", path.display());
        }
        SignedBy::Inline => {
            text.push_str("Signed-By:\n");
            for line in keys()?.lines() {
                let _ = writeln!(text, " {}", if line.is_empty() { "." } else { line });
            }
        }
    }
    Ok(text)
}
