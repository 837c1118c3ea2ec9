//! Cuts what came over SSH into words (`sshd(8)`, `SSH_ORIGINAL_COMMAND`), as the client's user had them.
//!
//! Never expands anything: a quote groups, a backslash takes the next character as it is, and everything else, also what
//! a shell would obey, is a character of a word.

use std::fmt;

/// The longest line, in bytes.
const MAX_BYTES: usize = 16 << 10;
/// The most words.
const MAX_WORDS: usize = 32;

/// Why a line has no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordsError {
    /// It is too long.
    TooLong,
    /// It has too many words.
    TooMany,
    /// A quotation does not end.
    OpenQuote,
    /// A backslash is its last character.
    OpenBackslash,
    /// It has a control character in it.
    Control,
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the command is longer than {MAX_BYTES} bytes"),
            Self::TooMany => write!(f, "the command has more than {MAX_WORDS} words"),
            Self::OpenQuote => f.write_str("a quotation does not end; close it"),
            Self::OpenBackslash => f.write_str("a backslash is the last character; write two for one"),
            Self::Control => f.write_str("there is a line break or another control character; leave it out"),
        }
    }
}

impl std::error::Error for WordsError {}

/// Cuts a line into words.
///
/// ```
/// use invirtibuilder_core::door::words::split;
/// assert_eq!(split(r"git-upload-pack '/it'\''s.git'")?, ["git-upload-pack", "/it's.git"]);
/// assert_eq!(split("build dev hello $(id);ls")?, ["build", "dev", "hello", "$(id);ls"]);
/// # Ok::<(), invirtibuilder_core::door::words::WordsError>(())
/// ```
///
/// # Errors
/// It has no words; then none of it is believed.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    if line.len() > MAX_BYTES {
        return Err(WordsError::TooLong);
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(WordsError::Control);
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        if c == ' ' || c == '\t' {
            words.extend(word.take());
            if words.len() > MAX_WORDS {
                return Err(WordsError::TooMany);
            }
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            '\'' | '"' => quoted(&mut characters, c, word)?,
            '\\' => word.push(characters.next().ok_or(WordsError::OpenBackslash)?),
            other => word.push(other),
        }
    }
    words.extend(word);
    if words.len() > MAX_WORDS { Err(WordsError::TooMany) } else { Ok(words) }
}

/// Takes characters up to a closing quote. In double quotes a backslash takes a quote or a backslash as it is.
fn quoted(characters: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), WordsError> {
    loop {
        match characters.next().ok_or(WordsError::OpenQuote)? {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match characters.next().ok_or(WordsError::OpenQuote)? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_the_client_had() {
        for (line, words) in [
            ("", &[][..]),
            ("  build\tdev  hello ", &["build", "dev", "hello"]),
            ("a '' \"\"", &["a", "", ""]),
            (r#"'a b'"c d"\ e"#, &["a bc d e"]),
            (r#""a\"b\\c\d""#, &[r#"a"b\c\d"#]),
            (r"'\!'\!'!'", &[r"\!!!"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn nothing_is_expanded() {
        for word in
            ["$HOME", "`id`", "$(id)", "a;b", "a|b", "a>b", "a&", "*", "~", "{a,b}", "#a", "--help", "a=b"]
        {
            assert_eq!(split(word).unwrap(), [word]);
        }
    }

    #[test]
    fn what_is_no_line_has_no_words() {
        assert_eq!(split("a 'b"), Err(WordsError::OpenQuote));
        assert_eq!(split("a \"b\\\""), Err(WordsError::OpenQuote));
        assert_eq!(split("a\\"), Err(WordsError::OpenBackslash));
        assert_eq!(split("a\nb"), Err(WordsError::Control));
        assert_eq!(split("a\u{1b}b"), Err(WordsError::Control));
        assert_eq!(split(&"a".repeat(MAX_BYTES + 1)), Err(WordsError::TooLong));
        assert_eq!(split(&"a ".repeat(MAX_WORDS + 1)), Err(WordsError::TooMany));
    }
}
