//! Versions, in exactly the order of dpkg.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

/// A Debian version, `[epoch:]upstream[-revision]` (Debian Policy 5.6.12, deb-version(7)).
///
/// Compared as dpkg compares. Two spellings can be equal, such as `1.0` and `1.00`: they are one version to apt,
/// and so to every rule here; [`Version::as_str`] keeps the spelling, which names files and tags.
///
/// ```
/// use invirtibuilder_core::names::Version;
/// let version = |text: &str| text.parse::<Version>().unwrap();
/// assert!(version("1.0~rc1-1") < version("1.0-1"));
/// assert!(version("9.9") < version("1:0"));
/// assert_eq!(version("1.0"), version("1.00"));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    pub(super) const MAX_LENGTH: usize = 200;

    /// Returns the version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the version without its epoch, as file names have it (Debian Policy 5.6.12).
    #[must_use]
    pub fn without_epoch(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, rest)| rest)
    }

    /// Returns the upstream part, between epoch and revision.
    #[must_use]
    pub fn upstream(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (u32, &str, &str) {
        let (epoch, rest) = match self.0.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, self.0.as_str()),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = |rule| Err(NameError::new("version", text, rule));
        if text.len() > Self::MAX_LENGTH {
            return fail("it is longer than 200 characters");
        }
        let rest = match text.split_once(':') {
            Some((epoch, rest)) => {
                let digits = !epoch.is_empty() && epoch.bytes().all(|c| c.is_ascii_digit());
                // dpkg keeps the epoch in a C int.
                if !digits || epoch.parse::<i32>().is_err() {
                    return fail(
                        "the epoch, before the colon, is a number below 2147483648 (deb-version(7))",
                    );
                }
                rest
            }
            None => text,
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return fail("nothing follows the last hyphen, where the revision belongs"),
            Some((upstream, revision)) => (upstream, revision),
            None => (rest, ""),
        };
        if !upstream.bytes().next().is_some_and(|c| c.is_ascii_digit()) {
            return fail("the upstream version starts with a digit (Debian Policy 5.6.12)");
        }
        if !upstream.bytes().all(|c| c.is_ascii_alphanumeric() || b".+~-".contains(&c)) {
            return fail("the upstream version has only A-Z a-z 0-9 . + ~ - (Debian Policy 5.6.12)");
        }
        if !revision.bytes().all(|c| c.is_ascii_alphanumeric() || b".+~".contains(&c)) {
            return fail("the revision has only A-Z a-z 0-9 . + ~ (Debian Policy 5.6.12)");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Version {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        a.0.cmp(&b.0).then_with(|| compare_part(a.1, b.1)).then_with(|| compare_part(a.2, b.2))
    }
}

/// Compares two upstream versions or two revisions: a run of non-digits, then a run of digits, and so on.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (words, rests) = split_both(a, b, |c| !c.is_ascii_digit());
        let by_words = compare_words(words.0, words.1);
        if by_words != Ordering::Equal {
            return by_words;
        }
        let (numbers, rests) = split_both(rests.0, rests.1, u8::is_ascii_digit);
        let by_numbers = compare_numbers(numbers.0, numbers.1);
        if by_numbers != Ordering::Equal {
            return by_numbers;
        }
        (a, b) = rests;
    }
    Ordering::Equal
}

type Two<'a> = (&'a [u8], &'a [u8]);

/// Splits each of two texts after its longest prefix that matches.
fn split_both<'a>(a: &'a [u8], b: &'a [u8], matches: impl Fn(&u8) -> bool) -> (Two<'a>, Two<'a>) {
    let end = |text: &[u8]| text.iter().position(|c| !matches(c)).unwrap_or(text.len());
    let (a, a_rest) = a.split_at(end(a));
    let (b, b_rest) = b.split_at(end(b));
    ((a, b), (a_rest, b_rest))
}

/// Compares two runs of non-digits: `~` sorts before the end, letters before all other characters.
fn compare_words(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |c: Option<&u8>| match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a.get(at)).cmp(&weight(b.get(at))))
        .find(|it| it.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Compares two runs of digits of any length as numbers; an empty run is zero.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |text: &[u8]| text.iter().position(|c| *c != b'0').map_or(text.len(), |at| at);
    let (a, b) = (a.split_at(significant(a)).1, b.split_at(significant(b)).1);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
