//! Signers: who vouches for what the archive serves.

mod armor;
mod gpg;
mod key;
mod on_demand;
pub(crate) mod packets;

use std::fmt::Debug;
use std::path::PathBuf;

use crate::process::ProcessError;

pub(crate) use gpg::day;
pub use gpg::{GpgSigner, KeyFacts};
pub(crate) use gpg::{MemoryFile, ring};
pub use key::{Fingerprint, SigningKey};
pub use on_demand::GpgOnDemand;

/// Signs the `Release` file of a suite.
///
/// # Contract
/// - What is returned was verified with the public key that [`Signer::public_key`] returns.
/// - Text in, the same text out: the signed message is the `Release`, byte by byte.
/// - Where there are several keys, each of them has signed, and nobody else.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Signer: Debug + Send + Sync {
    /// Signs a text whose lines end with a line feed and without a blank.
    fn sign(&self, release: &str) -> Result<Signed, SignError>;
    /// Signs a text as [`Signer::sign`] does, and returns the ASCII-armored signature alone.
    fn sign_detached(&self, text: &str) -> Result<Vec<u8>, SignError> {
        Ok(self.sign(text)?.detached)
    }
    /// Gets ready to sign a text that is not known yet, so that what takes its time is done meanwhile.
    fn begin(&self) -> Result<Box<dyn Signing>, SignError>;
    /// Returns the public keys, ASCII-armored, in one block.
    fn public_key(&self) -> Result<String, SignError>;
}

/// A signer that waits for the text.
pub trait Signing: Debug + Send {
    /// Signs the text, as [`Signer::sign`] does.
    fn finish(self: Box<Self>, release: &str) -> Result<Signed, SignError>;
}

/// A text's signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text with its signature around it: `InRelease`.
    pub inline: Vec<u8>,
    /// The ASCII-armored signature alone: `Release.gpg`.
    pub detached: Vec<u8>,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A key is not there, or cannot be used now.
    #[error("the signing key {fingerprint} in {} {problem}", home.display())]
    Key {
        /// The key.
        fingerprint: String,
        /// The directory of the keys.
        home: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The directory of the keys cannot be used.
    #[error("the directory of the signing key, {}, {problem}", home.display())]
    Home {
        /// The directory.
        home: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A signature was made that its own public key does not verify.
    #[error("the signature that {fingerprint} made does not verify: {problem}")]
    Unverified {
        /// The key.
        fingerprint: String,
        /// What the verifier said.
        problem: String,
    },
    /// A program failed.
    #[error("cannot sign")]
    Process(#[from] ProcessError),
    /// A file in memory, which gpg reads the text from, could not be made.
    #[error("cannot make a file in memory for the signer")]
    Memory(#[source] std::io::Error),
}
