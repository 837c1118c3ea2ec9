//! Signed tags, as `git tag -s` makes them and `git verify-tag` checks them.
//!
//! Signs by the rules of the archive's keys: nobody is asked for a passphrase, and each signature is read back.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::BoxError;
use crate::signer::packets::{Judged, dearmored, issuer, judge, split};
use crate::signer::{GpgOnDemand, MemoryFile, Signer, SigningKey, ring};

/// What the signature of a tag begins with.
const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----";

/// Signs tags, and checks who signed them.
#[derive(Debug)]
pub struct TagSigning {
    home: PathBuf,
    signer: Option<GpgOnDemand>,
    ring: OnceLock<Result<MemoryFile, String>>,
}

impl TagSigning {
    /// Takes a `GnuPG` home, and the key in it that signs; `None` only to check. Looks at nothing.
    #[must_use]
    pub fn new(home: &Path, key: Option<&SigningKey>) -> Self {
        let signer = key.map(|it| GpgOnDemand::new(home, std::slice::from_ref(it)));
        Self { home: home.to_owned(), signer, ring: OnceLock::new() }
    }

    /// Returns the bytes of a tag with its signature; as they are if no key signs.
    pub(super) fn sign(&self, tag: Vec<u8>) -> Result<Vec<u8>, BoxError> {
        let Some(signer) = &self.signer else { return Ok(tag) };
        let text = String::from_utf8(tag)?;
        let signature = signer.sign_detached(&text)?;
        let mut bytes = text.into_bytes();
        bytes.extend(signature);
        Ok(bytes)
    }

    /// Returns what is wrong with the signature of a tag that a key is known to have signed; `None` if it is good.
    pub(super) fn fault(&self, tag: &[u8], key: &str) -> Option<String> {
        let Some((text, signature)) = parts(tag) else {
            return Some(format!("a tag without the signature that {key} made"));
        };
        let ring = self.ring.get_or_init(|| {
            let keys = ring(&self.home).and_then(|it| MemoryFile::new(&it));
            keys.map_err(|e| e.to_string())
        });
        let ring = match ring {
            Ok(ring) => ring,
            Err(problem) => return Some(format!("a signed tag that cannot be checked: {problem}")),
        };
        let text = match MemoryFile::new(&text) {
            Ok(file) => file,
            Err(e) => return Some(format!("a signed tag that cannot be checked: {e}")),
        };
        match judge(ring, &signature, &text) {
            Judged::Good(own, primary) if own == key || primary == key => None,
            Judged::Good(own, _) => Some(format!("a tag that {own} signed, not {key}")),
            Judged::Stranger => Some(format!(
                "a tag that a key signed which {} does not have; {key} signed it",
                self.home.display()
            )),
            Judged::Bad(why) => Some(format!("a tag whose signature is wrong: {why}")),
        }
    }
}

/// Returns the fingerprint of the key that a tag says to be signed by; `None` if it is not signed.
pub(super) fn key_of(tag: &[u8]) -> Option<String> {
    issuer(&split(&parts(tag)?.1)?.into_iter().next()?)
}

/// Splits a tag into what is signed, and the signature without its armor.
fn parts(tag: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = std::str::from_utf8(tag).ok()?;
    let at = text.rfind(&format!("\n{BEGIN}"))? + 1;
    let (signed, signature) = text.split_at_checked(at)?;
    Some((signed.as_bytes().to_owned(), dearmored(signature, "SIGNATURE")?))
}
