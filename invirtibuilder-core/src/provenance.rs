//! Provenance: for each publication one signed statement of what it was made from, which a stranger can check.
//!
//! The statement is an in-toto Statement v1 with the predicate of SLSA Provenance v1. It is in a DSSE envelope, one file,
//! whose signatures are `OpenPGP` signatures of the archive's keys: who trusts the archive needs no other key, and
//! gpgv is all that is needed to check one. Never says what was not read back from what the archive serves.
//!
//! Below the archive's directory:
//!
//! | path | what |
//! |---|---|
//! | `provenance/<package>/<version>/<job>.intoto.jsonl` | the envelope of one publication |
//! | `provenance/by-hash/SHA256/<sum>` | the same file, of the last publication of the file with that sum |
//! | `provenance/<package>/<version>/<job>/` | the records of the builds (`.buildinfo`), where the publisher serves none |

mod archive;
mod attestor;
mod buildinfo;
mod check;
mod envelope;
mod statement;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::durable::DurableError;
use crate::error::{BoxError, PublishError, VerifyError};
use crate::names::{Architecture, BaseName};
use crate::process::ProcessError;
use crate::signer::SignError;

pub use attestor::{Attestor, Made, Stored};
pub use check::{Checked, Question, Verdict, check};
pub use envelope::Envelope;
pub use statement::{Annotations, Resource, Statement};

/// The directory of the envelopes below the archive.
pub const DIRECTORY: &str = "provenance";

/// A base that something was built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBase {
    /// Its name.
    pub name: BaseName,
    /// The architecture.
    pub architecture: Architecture,
    /// The SHA-256 sum of its tarball, in lower-case hexadecimal.
    pub sha256: String,
}

/// Why a provenance could not be made, found or read.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// It is not what it should be, or not there.
    #[error("{}: {problem}", path.display())]
    Unfit {
        /// What was read.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The archive did not answer.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What the archive serves is not what it says.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// It could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Something else went wrong below.
    #[error(transparent)]
    Other(BoxError),
}

impl ProvenanceError {
    pub(crate) fn unfit(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Unfit { path: path.into(), problem: problem.into() }
    }
}

/// Escapes, as URIs do, every byte but letters, digits, and those that are to be kept.
fn escaped(text: &str, kept: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
