//! Base64 (RFC 4648, 4), as keys and fingerprints are written.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns the text of bytes, without `=` at its end.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |sum, at| sum << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..=group.len() {
            let index = (number >> (18 - 6 * at)) as usize & 63;
            text.extend(LETTERS.get(index).map(|it| char::from(*it)));
        }
    }
    text
}

/// Returns the text of bytes, in groups of four.
pub(crate) fn encode_padded(bytes: &[u8]) -> String {
    let mut text = encode(bytes);
    text.push_str("=".repeat((4 - text.len() % 4) % 4).as_str());
    text
}

/// Returns the bytes of a text that is whole and written in the one way there is; `None` for any other.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=');
    let padding = text.len() - letters.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let (mut bytes, mut number, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in letters.bytes() {
        let index = LETTERS.iter().position(|it| *it == letter)?;
        number = (number << 6 | u32::try_from(index).ok()?) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(number >> bits & 0xff).ok()?);
        }
    }
    // Bits that no byte has must be zero, or two texts would mean one key.
    (number & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            let padded = encode_padded(bytes.as_bytes());
            assert_eq!(decode(&padded).unwrap(), bytes.as_bytes());
        }
        for wrong in ["Zg", "Zg=", "Zh==", "Zm9v\n", "Zm 9", "====", "Z==="] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
