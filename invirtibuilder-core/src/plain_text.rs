//! Bytes that a package wrote, as text that a terminal only shows: without the characters that it would obey.
//!
//! For where output is shown; a log itself keeps its bytes.

/// Turns bytes, as they come, into text without control characters other than the ends of lines and tabs.
///
/// The second set of control characters (U+0080 to U+009F) counts: terminals obey U+009B as they do ESC `[`. What is
/// not UTF-8 becomes U+FFFD.
///
/// ```
/// use invirtibuilder_core::plain_text::PlainText;
/// let mut text = PlainText::default();
/// assert_eq!(text.push(b"caf\xc3"), "caf");
/// assert_eq!(text.push(b"\xa9\x1b[2J\n"), "é[2J\n");
/// assert_eq!(text.finish(), "");
/// ```
#[derive(Clone, Debug, Default)]
pub struct PlainText {
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
}

impl PlainText {
    /// Takes the next bytes and returns what can be shown of them.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.begun);
        let mut rest = bytes.as_slice();
        let mut shown = String::with_capacity(rest.len());
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    shown.extend(text.chars().filter(|it| is_harmless(*it)));
                    return shown;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            shown.extend(String::from_utf8_lossy(valid).chars().filter(|it| is_harmless(*it)));
            let Some(length) = error.error_len() else {
                self.begun = after.to_vec();
                return shown;
            };
            shown.push(char::REPLACEMENT_CHARACTER);
            rest = after.get(length..).unwrap_or_default();
        }
    }

    /// Returns what can be shown of a character that never ended.
    #[must_use]
    pub fn finish(self) -> String {
        if self.begun.is_empty() { String::new() } else { char::REPLACEMENT_CHARACTER.to_string() }
    }
}

fn is_harmless(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_in_whatever_pieces_leave_a_control_character_and_all_text_stays() {
        let text = "a\tb\n\x1b[31mred\u{9b}0m \u{7f}\r\u{85}ü – 字 😀\x07\n";
        for size in 1..text.len() {
            let mut plain = PlainText::default();
            let mut shown: String = text.as_bytes().chunks(size).map(|it| plain.push(it)).collect();
            shown.push_str(&plain.finish());
            assert_eq!(shown, "a\tb\n[31mred0m ü – 字 😀\n", "in pieces of {size}");
        }
        let mut plain = PlainText::default();
        assert_eq!(plain.push(b"\x9b\xff x\xe2\x80"), "\u{fffd}\u{fffd} x");
        assert_eq!(plain.finish(), "\u{fffd}");
    }
}
