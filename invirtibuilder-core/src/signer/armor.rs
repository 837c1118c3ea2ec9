//! The ASCII armor of public keys (RFC 9580, section 6.2).
//!
//! Only writes: what is read in armor is `GnuPG`'s business.

use std::fmt::Write as _;

/// Digits of a line of armored text.
const LINE: usize = 64;

/// Returns binary public keys as the armored block that apt reads in `Signed-By`.
pub(super) fn public_keys(bytes: &[u8]) -> String {
    let digits = base64(bytes);
    let mut text = String::from("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n");
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    // The checksum is optional now, but older readers want it.
    let checksum = base64(crc24(bytes).to_be_bytes().get(1..).unwrap_or_default());
    let _ = write!(text, "\n={checksum}\n-----END PGP PUBLIC KEY BLOCK-----\n");
    text
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * at) & 0x3f) as usize).copied().unwrap_or(b'=');
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// RFC 9580, section 6.1.1.
fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x00b7_04ce;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
    }
    crc & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::{base64, crc24};

    #[test]
    fn digits_and_checksum_are_those_of_the_standards() {
        // RFC 4648, section 10; the checksum of nothing is its start value.
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!((crc24(b""), crc24(b"123456789")), (0x00b7_04ce, 0x0021_cf02));
    }
}
