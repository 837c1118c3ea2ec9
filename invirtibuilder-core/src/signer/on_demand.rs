//! A signer that asks `GnuPG` for its keys when it first needs them, and now and then again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{GpgSigner, SignError, Signed, Signer, Signing, SigningKey};

/// How long what `GnuPG` said of the keys is believed: somebody may extend one below a worker that runs for months.
const BELIEVED: Duration = Duration::from_secs(60);

/// A [`GpgSigner`] that is opened by the first call: most commands of a site sign nothing, and should not wait for
/// `GnuPG`.
#[derive(Debug)]
pub struct GpgOnDemand {
    home: PathBuf,
    keys: Vec<SigningKey>,
    opened: Mutex<Option<(Instant, Arc<GpgSigner>)>>,
}

impl GpgOnDemand {
    /// Names keys. Looks at nothing.
    #[must_use]
    pub fn new<K: Clone + Into<SigningKey>>(home: &Path, keys: &[K]) -> Self {
        let keys = keys.iter().cloned().map(Into::into).collect();
        Self { home: home.to_owned(), keys, opened: Mutex::default() }
    }

    /// Returns the signer, opened less than a minute ago.
    ///
    /// # Errors
    /// As [`GpgSigner::open`].
    pub fn opened(&self) -> Result<Arc<GpgSigner>, SignError> {
        // Whoever comes while it is being opened waits, instead of starting the same programs.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, signer)) = &*opened
            && at.elapsed() < BELIEVED
        {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(GpgSigner::open(&self.home, &self.keys)?);
        *opened = Some((Instant::now(), Arc::clone(&signer)));
        Ok(signer)
    }
}

impl Signer for GpgOnDemand {
    fn sign(&self, release: &str) -> Result<Signed, SignError> {
        self.opened()?.sign(release)
    }

    fn sign_detached(&self, text: &str) -> Result<Vec<u8>, SignError> {
        self.opened()?.sign_detached(text)
    }

    fn begin(&self) -> Result<Box<dyn Signing>, SignError> {
        self.opened()?.begin()
    }

    fn public_key(&self) -> Result<String, SignError> {
        self.opened()?.public_key()
    }
}
