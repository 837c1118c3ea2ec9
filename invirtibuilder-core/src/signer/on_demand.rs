//! A signer that asks `GnuPG` for its keys when it first needs them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{GpgSigner, KeyFacts, SignError, Signed, Signer, SigningKey};

/// A [`GpgSigner`] that is opened by the first call: most commands of a site sign nothing, and should not wait for
/// `GnuPG`.
#[derive(Debug)]
pub struct GpgOnDemand {
    home: PathBuf,
    keys: Vec<SigningKey>,
    opened: OnceLock<GpgSigner>,
}

impl GpgOnDemand {
    /// Names keys. Looks at nothing.
    #[must_use]
    pub fn new<K: Clone + Into<SigningKey>>(home: &Path, keys: &[K]) -> Self {
        let keys = keys.iter().cloned().map(Into::into).collect();
        Self { home: home.to_owned(), keys, opened: OnceLock::new() }
    }

    /// Returns the public keys, as a binary keyring ([`GpgSigner::keyring`]).
    pub fn keyring(&self) -> Result<&[u8], SignError> {
        Ok(self.signer()?.keyring())
    }

    /// Returns what is known of each key ([`GpgSigner::keys`]).
    pub fn keys(&self) -> Result<&[KeyFacts], SignError> {
        Ok(self.signer()?.keys())
    }

    fn signer(&self) -> Result<&GpgSigner, SignError> {
        if let Some(signer) = self.opened.get() {
            return Ok(signer);
        }
        // Two threads may both open it; they find the same.
        let signer = GpgSigner::open(&self.home, &self.keys)?;
        Ok(self.opened.get_or_init(|| signer))
    }
}

impl Signer for GpgOnDemand {
    fn sign(&self, release: &str) -> Result<Signed, SignError> {
        self.signer()?.sign(release)
    }

    fn public_key(&self) -> Result<String, SignError> {
        self.signer()?.public_key()
    }
}
