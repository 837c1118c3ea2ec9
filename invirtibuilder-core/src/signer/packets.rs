//! `OpenPGP` signatures as bytes: taken out of their armor, split, asked who made them, and checked by gpgv.
//!
//! Never decides whether a key may be believed.

use super::MemoryFile;
use crate::base64;
use crate::process::{Command, ProcessError};

/// What gpgv says of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is good: the fingerprints of the key that made it, and of its primary key.
    Good(String, String),
    /// The ring does not have the key.
    Stranger,
    /// It is not good: why.
    Bad(String),
}

/// Checks a detached signature of a text by the keys of a ring.
pub(crate) fn judge(ring: &MemoryFile, signature: &[u8], text: &MemoryFile) -> Judged {
    let signature = match MemoryFile::new(signature) {
        Ok(file) => file,
        Err(e) => return Judged::Bad(e.to_string()),
    };
    let gpgv = Command::new("gpgv").args(["--status-fd", "1", "--keyring"]).arg(ring.path());
    match gpgv.arg("--").args([signature.path(), text.path()]).run() {
        Ok(status) => valid(&String::from_utf8_lossy(&status)),
        Err(ProcessError::Failed { stderr, .. }) if stderr.contains("No public key") => Judged::Stranger,
        Err(ProcessError::Failed { stderr, .. }) => {
            Judged::Bad(stderr.lines().last().unwrap_or_default().to_owned())
        }
        Err(other) => Judged::Bad(other.to_string()),
    }
}

/// Reads a line `VALIDSIG` (doc/DETAILS of `GnuPG`): the key is its first word, the primary key its last.
fn valid(status: &str) -> Judged {
    let line = status.lines().find_map(|it| it.strip_prefix("[GNUPG:] VALIDSIG ")).unwrap_or_default();
    match (line.split(' ').next(), line.split(' ').next_back()) {
        (Some(key), Some(primary)) if !key.is_empty() => Judged::Good(key.to_owned(), primary.to_owned()),
        _ => Judged::Bad("gpgv tells of no valid signature".to_owned()),
    }
}

/// Takes the ASCII armor off a block of a kind (RFC 9580, section 6.2).
pub(crate) fn dearmored(text: &str, kind: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN PGP {kind}-----"), format!("-----END PGP {kind}-----"));
    let inner = text.split_once(&begin)?.1.split_once(&end)?.0;
    let body = inner.split_once("\n\n")?.1;
    let digits: String = body.lines().take_while(|it| !it.starts_with('=')).collect();
    base64::decode(&digits)
}

/// Splits packets (RFC 9580, section 4.2): `None` if they are no signatures, or cut off.
pub(crate) fn split(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (tag, header, length) = packet(bytes)?;
        let (one, rest) = bytes.split_at_checked(header.checked_add(length)?)?;
        if tag != 2 {
            return None;
        }
        packets.push(one.to_owned());
        bytes = rest;
    }
    Some(packets)
}

/// Returns a packet's tag, the length of its header, and that of its body.
fn packet(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let first = *bytes.first()?;
    let at = |index: usize| bytes.get(index).map(|it| usize::from(*it));
    let number =
        |from: usize, count: usize| (from..from + count).try_fold(0, |sum, it| Some(sum << 8 | at(it)?));
    if first & 0x40 == 0 {
        let size = [1, 2, 4].get(usize::from(first & 3)).copied()?;
        return Some((first >> 2 & 15, 1 + size, number(1, size)?));
    }
    let tag = first & 0x3f;
    match at(1)? {
        short @ 0..192 => Some((tag, 2, short)),
        middle @ 192..224 => Some((tag, 3, ((middle - 192) << 8) + at(2)? + 192)),
        255 => Some((tag, 6, number(2, 4)?)),
        // Partial lengths are for data.
        _ => None,
    }
}

/// Returns the fingerprint of the key that made a signature of version 4, as its hashed subpackets have it.
pub(crate) fn issuer(bytes: &[u8]) -> Option<String> {
    const ISSUER_FINGERPRINT: u8 = 33;
    let (_, header, _) = packet(bytes)?;
    let body = bytes.get(header..)?;
    let length = usize::from(*body.get(4)?) << 8 | usize::from(*body.get(5)?);
    let mut area = body.get(6..6 + length).filter(|_| body.first() == Some(&4))?;
    while let Some(&size) = area.first() {
        // Those that matter here are short.
        let inner = area.get(1..1 + usize::from(size)).filter(|_| size < 192)?;
        if inner.first().is_some_and(|it| it & 0x7f == ISSUER_FINGERPRINT) {
            return Some(crate::control::hex(inner.get(2..)?).to_uppercase());
        }
        area = area.get(1 + usize::from(size)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_several_keys_are_several() {
        // A header of the old form and one of the new, each with a body of one or two bytes.
        let both = [0x88, 1, 4, 0xc2, 2, 4, 0];
        assert_eq!(split(&both), Some(vec![vec![0x88, 1, 4], vec![0xc2, 2, 4, 0]]));
        assert_eq!((split(&[0x88, 9, 4]), split(&[0xcb, 1, 4])), (None, None));
    }
}
