//! Chooses the id of the next job. Never reads the clock, and never looks at a file.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::names::JobId;

const FORMAT: &str = "%Y%m%d%H%M%S";
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// How many suffixes of six digits there are.
const SUFFIXES: u64 = 36_u64.pow(6);
/// The first id of a second has a suffix below this, which leaves room for those that follow it.
const FIRST: u64 = SUFFIXES / 2;
/// A following id of the same second is at most this much greater: thousands fit, and none can be guessed.
const STEP: u64 = 1 << 18;

/// Returns an id that is greater than `last`, and that begins with the time unless the clock was set back or a
/// second is used up. `None` if there is no greater one.
pub(super) fn next(last: Option<&JobId>, now: Timestamp, random: u64) -> Option<JobId> {
    let now = now.strftime(FORMAT).to_string();
    let Some((second, suffix)) = last.and_then(|it| it.as_str().split_once('_')) else {
        return compose(&now, random % FIRST);
    };
    if *now > *second {
        return compose(&now, random % FIRST);
    }
    match number(suffix) + 1 + random % STEP {
        greater if greater < SUFFIXES => compose(second, greater),
        _ => compose(&following(second)?, random % FIRST),
    }
}

/// Returns whether an id begins with a moment that exists.
pub(super) fn is_plausible(id: &JobId) -> bool {
    id.as_str().split_once('_').is_some_and(|(second, _)| parse(second).is_some())
}

fn parse(second: &str) -> Option<DateTime> {
    DateTime::strptime(FORMAT, second).ok()
}

fn following(second: &str) -> Option<String> {
    let next = parse(second)?.checked_add(1.second()).ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.strftime(FORMAT).to_string())
}

fn compose(second: &str, suffix: u64) -> Option<JobId> {
    let mut rest = suffix;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = *DIGITS.get(usize::try_from(rest % 36).ok()?)?;
        rest /= 36;
    }
    format!("{second}_{}", std::str::from_utf8(&digits).ok()?).parse().ok()
}

/// Returns the least number whose suffix sorts at or above `suffix`, less one where there is none of that very
/// text: a person may have named a job with capital letters, which sort between the digits and the small ones.
fn number(suffix: &str) -> u64 {
    let mut number = 0;
    for (position, byte) in suffix.bytes().enumerate() {
        let place = 36_u64.pow(5_u32.saturating_sub(u32::try_from(position).unwrap_or(5)));
        match byte {
            b'0'..=b'9' => number += u64::from(byte - b'0') * place,
            b'a'..=b'z' => number += u64::from(byte - b'a' + 10) * place,
            // Everything from here to the next digit sorts below `a` in this place.
            _ => return number + 10 * place - 1,
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_begins_with_the_time_in_utc() {
        let id = next(None, at("2026-11-23T12:15:00+02:00"), 7).unwrap();
        assert_eq!(id.as_str(), "20261123101500_000007");
    }

    #[test]
    fn ids_rise_within_one_second_and_when_the_clock_steps_back() {
        let mut last = id("20261123101500_000007");
        for (random, now) in [(0, "10:15:00"), (9_999_999, "10:14:59"), (123, "09:00:00"), (5, "10:15:01")] {
            let now = at(&format!("2026-11-23T{now}Z"));
            let following = next(Some(&last), now, random).unwrap();
            assert!(following > last, "{following} after {last}");
            last = following;
        }
        assert_eq!(last.as_str(), "20261123101501_000005");
    }

    #[test]
    fn a_second_that_is_used_up_is_followed_by_the_next_one() {
        let now = at("2026-12-31T23:59:59Z");
        let id = next(Some(&id("20261231235959_zzzzzz")), now, 0).unwrap();
        assert_eq!(id.as_str(), "20270101000000_000000");
    }

    #[test]
    fn thousands_of_ids_fit_into_one_second() {
        let now = at("2026-11-23T10:15:00Z");
        let mut last = next(None, now, u64::MAX).unwrap();
        for _ in 0..4000 {
            last = next(Some(&last), now, STEP - 1).unwrap();
        }
        assert!(last.as_str().starts_with("20261123101500_"));
    }

    #[test]
    fn an_id_that_a_person_chose_is_exceeded_as_well() {
        let now = at("2026-11-23T10:15:00Z");
        for suffix in ["ZZZZZZ", "9Zz9aa", "aaaaaZ", "00A000"] {
            let last = id(&format!("20261123101500_{suffix}"));
            let id = next(Some(&last), now, 0).unwrap();
            assert!(id > last, "{id} after {last}");
        }
    }

    #[test]
    fn an_id_of_a_month_that_does_not_exist_is_not_plausible() {
        assert!(!is_plausible(&id("20261399101500_aaaaaa")));
        assert!(is_plausible(&id("20261123101500_AAAAAA")));
    }
}
