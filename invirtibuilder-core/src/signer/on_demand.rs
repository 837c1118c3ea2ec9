//! A signer that asks `GnuPG` for its keys when it first needs them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Fingerprint, GpgSigner, SignError, Signed, Signer, Signing, gpg};

/// A [`GpgSigner`] that is opened by the first call: most commands of a site sign nothing, and should not wait for
/// `GnuPG`.
#[derive(Debug)]
pub struct GpgOnDemand {
    home: PathBuf,
    fingerprints: Vec<Fingerprint>,
    opened: OnceLock<GpgSigner>,
}

impl GpgOnDemand {
    /// Names keys. Looks at nothing.
    #[must_use]
    pub fn new(home: &Path, fingerprints: &[Fingerprint]) -> Self {
        Self { home: home.to_owned(), fingerprints: fingerprints.to_vec(), opened: OnceLock::new() }
    }

    fn signer(&self) -> Result<&GpgSigner, SignError> {
        if let Some(signer) = self.opened.get() {
            return Ok(signer);
        }
        // Two threads may both open it; they find the same.
        let signer = GpgSigner::open(&self.home, &self.fingerprints)?;
        Ok(self.opened.get_or_init(|| signer))
    }
}

impl Signer for GpgOnDemand {
    fn sign(&self, release: &str) -> Result<Signed, SignError> {
        self.begin()?.finish(release)
    }

    fn begin(&self) -> Result<Box<dyn Signing>, SignError> {
        match self.opened.get() {
            Some(signer) => signer.begin(),
            // What is wrong with the keys, if anything is, gpg finds out while it signs.
            None => gpg::begin(&self.home, &self.fingerprints, None),
        }
    }

    fn public_key(&self) -> Result<String, SignError> {
        if self.opened.get().is_none()
            && let Ok(key) = gpg::export(&self.home, &self.fingerprints, &["--armor"]).run()
            && self.fingerprints.len() == 1
            && key.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
        {
            return Ok(String::from_utf8_lossy(&key).into_owned());
        }
        self.signer()?.public_key()
    }
}
