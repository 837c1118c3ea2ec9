//! Durations and sizes, written with their units.
//!
//! Never takes a bare number: nobody remembers whether it was seconds or minutes.

use std::time::Duration;

/// Reads a duration such as `90s`, `20m`, `2h` or `7d`.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a whole number and a unit, s, m, h or d, such as 90s, 20m, 2h or 7d";
    let units = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
    parse(text, &units).map(Duration::from_secs).map_err(|problem| format!("{problem}; {FORM}"))
}

/// Reads a size in bytes, such as `500MB`, `64MiB` or `8GiB`.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const FORM: &str = "write a whole number and a unit, such as 500MB (of 1000 kB) or 64MiB (of 1024 KiB)";
    let units = [
        ("B", 1),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    parse(text, &units).map_err(|problem| format!("{problem}; {FORM}"))
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("{text:?} does not begin with a number"));
    }
    let unit = unit.trim_start_matches(' ');
    let Some((_, factor)) = units.iter().find(|it| it.0 == unit) else {
        return Err(if unit.is_empty() {
            format!("{text:?} has no unit")
        } else {
            format!("{text:?} has the unknown unit {unit:?}")
        });
    };
    let product = number.parse().ok().and_then(|number: u64| number.checked_mul(*factor));
    match product {
        None => Err(format!("{text:?} is too large")),
        Some(0) => Err(format!("{text:?} is zero")),
        Some(product) => Ok(product),
    }
}
