//! The envelope of a statement: DSSE v1, with `OpenPGP` signatures.
//!
//! Signed is the payload together with its type and their lengths (DSSE's "PAE"), and each signature is one `OpenPGP`
//! packet, binary. So gpgv checks it: see docs/provenance.md for how, by hand.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ProvenanceError;
use crate::base64;
use crate::signer::packets::{self, Judged, dearmored, issuer, split};
use crate::signer::{MemoryFile, Signer};

/// The type of the payload.
const TYPE: &str = "application/vnd.in-toto+json";
/// The longest envelope that is read, in bytes.
const MAX: u64 = 64 << 20;

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    /// The fingerprint of the key, if the signature names it.
    #[serde(default)]
    keyid: String,
    /// The packet, in Base64.
    sig: String,
}

/// An envelope: a payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// Signs a text whose lines end with a line feed and without a blank.
    pub(super) fn sign(text: &str, signer: &dyn Signer) -> Result<Self, ProvenanceError> {
        let detached = signer.sign_detached(&encoded(TYPE, text))?;
        let packets = dearmored(&String::from_utf8_lossy(&detached), "SIGNATURE").and_then(|it| split(&it));
        let Some(packets) = packets.filter(|it| !it.is_empty()) else {
            return Err(ProvenanceError::Other(
                "the signer made something that is no OpenPGP signature".into(),
            ));
        };
        let signature = |packet: &Vec<u8>| Signature {
            keyid: issuer(packet).unwrap_or_default(),
            sig: base64::encode_padded(packet),
        };
        Ok(Self {
            payload: base64::encode_padded(text.as_bytes()),
            payload_type: TYPE.to_owned(),
            signatures: packets.iter().map(signature).collect(),
        })
    }

    /// Reads an envelope from a file.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, ProvenanceError> {
        let unfit = |problem: String| ProvenanceError::unfit(path, problem);
        let length = std::fs::metadata(path).map_err(|e| unfit(format!("it cannot be read: {e}")))?.len();
        if length > MAX {
            return Err(unfit(format!("it is longer than {MAX} bytes")));
        }
        let bytes = std::fs::read(path).map_err(|e| unfit(format!("it cannot be read: {e}")))?;
        Self::parse(&bytes).map_err(unfit)
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// It is none: why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let envelope: Self =
            serde_json::from_slice(bytes).map_err(|e| format!("it is no DSSE envelope: {e}"))?;
        if envelope.payload_type != TYPE {
            return Err(format!("it holds {:?}, not {TYPE}", envelope.payload_type));
        }
        Ok(envelope)
    }

    /// Returns the file: one line.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Returns the payload. Nobody has checked who signed it.
    ///
    /// # Errors
    /// It is not written as Base64.
    pub fn payload(&self) -> Result<Vec<u8>, String> {
        base64::decode(&self.payload).ok_or_else(|| "its payload is not Base64".to_owned())
    }

    /// Returns the fingerprints of the keys that it says have signed it.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|it| it.keyid.as_str())
    }

    /// Checks the signatures, and returns the fingerprints of the keys of the ring that made a good one. A signature by
    /// another key proves nothing, and harms nothing.
    ///
    /// # Errors
    /// None of them did, or one is wrong: what gpgv says.
    pub(super) fn verify(&self, keyring: &[u8]) -> Result<Vec<String>, String> {
        let payload = self.payload()?;
        let text = String::from_utf8(payload).map_err(|_| "its payload is no text".to_owned())?;
        let memory = |bytes: &[u8]| MemoryFile::new(bytes).map_err(|e| e.to_string());
        let (signed, keyring) = (memory(encoded(&self.payload_type, &text).as_bytes())?, memory(keyring)?);
        let (mut good, mut strange) = (Vec::new(), Vec::new());
        for Signature { keyid, sig } in &self.signatures {
            let packet = base64::decode(sig).ok_or_else(|| "a signature is not Base64".to_owned())?;
            match packets::judge(&keyring, &packet, &signed) {
                Judged::Good(_, primary) => good.push(primary),
                Judged::Stranger => strange.push(keyid.clone()),
                Judged::Bad(why) => return Err(format!("its signature by {keyid} is not good: {why}")),
            }
        }
        match (good.is_empty(), strange.is_empty()) {
            (false, _) => Ok(good),
            (true, true) => Err("it has no signature".to_owned()),
            (true, false) => Err(format!("no key of the keyring has signed it, but {}", strange.join(", "))),
        }
    }
}

/// Returns what is signed: DSSE's "pre-authentication encoding".
fn encoded(kind: &str, text: &str) -> String {
    format!("DSSEv1 {} {kind} {} {text}", kind.len(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_has_the_lengths_of_both_parts() {
        assert_eq!(
            encoded("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
