//! What a client of the archive needs.

use std::path::PathBuf;

use super::{Site, SiteError, keyring};
use crate::names::PocketName;
use crate::publisher::archive::SignedBy;

impl Site {
    /// Returns where the keyring's package puts the public keys on a client.
    #[must_use]
    pub fn keyring_path(&self) -> PathBuf {
        keyring::installed_path(&self.config.publisher.keyring_package)
    }

    /// Returns the text of the `.sources` file with which apt uses a pocket (sources.list(5)).
    ///
    /// `uri` is where clients find the archive; without one it is the archive's directory, as a `file:` URI.
    ///
    /// # Errors
    /// The URI, or the path of the keyring, cannot stand in such a file; or the key cannot be read.
    pub fn sources(
        &self,
        pocket: &PocketName,
        uri: Option<&str>,
        signed_by: &SignedBy,
    ) -> Result<String, SiteError> {
        let is_word =
            |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if let Some(uri) = uri.filter(|it| !is_word(it) || !it.contains(':')) {
            return Err(SiteError::Refused(format!(
                "{uri:?} is not a URI; write one such as https://apt.example.org/"
            )));
        }
        if let SignedBy::File(path) = signed_by
            && !(path.is_absolute() && path.to_str().is_some_and(is_word))
        {
            let path = path.display();
            return Err(SiteError::Refused(format!(
                "{path} is not an absolute path without blanks; write one such as {}",
                self.keyring_path().display()
            )));
        }
        let spec = self.backend(pocket)?.spec();
        let own = format!("file:{}", self.config.paths.archive.display());
        Ok(self.backend.sources(&spec.suite, uri.unwrap_or(&own), signed_by)?)
    }
}
