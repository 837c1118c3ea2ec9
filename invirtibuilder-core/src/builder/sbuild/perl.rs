//! Writes sbuild's configuration, which is Perl (sbuild.conf(5)).

use std::fmt::Write as _;

/// Returns assignments of texts to variables. Perl takes a text of digits as a number where it wants one.
pub(super) fn settings(values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in values {
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        // Writing to a string does not fail.
        let _ = writeln!(text, "${name} = '{value}';");
    }
    text.push_str("1;\n");
    text
}

#[cfg(test)]
#[test]
fn quotes_and_backslashes_cannot_leave_a_text() {
    assert_eq!(settings(&[("log_dir", r"a'b\c")]), "$log_dir = 'a\\'b\\\\c';\n1;\n");
}
