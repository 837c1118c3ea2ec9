//! Writes sbuild's configuration, which is Perl (sbuild.conf(5)).

use std::fmt::Write as _;
use std::path::Path;

/// Returns assignments of texts to variables. Perl takes a text of digits as a number where it wants one.
pub(super) fn settings(values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in values {
        // Writing to a string does not fail.
        let _ = writeln!(text, "${name} = {};", quoted(value));
    }
    text
}

/// Returns the assignment that makes sbuild show directories of the host to its chroot, each at a place of its own.
pub(super) fn bind_mounts(shown: &[(&Path, &Path)]) -> String {
    let mut text = "$unshare_bind_mounts = [".to_owned();
    for (from, at) in shown {
        let (from, at) = (from.to_string_lossy(), at.to_string_lossy());
        let _ = write!(text, "{{ directory => {}, mountpoint => {} }},", quoted(&from), quoted(&at));
    }
    text.push_str("];\n");
    text
}

/// The end of every configuration: Perl wants a file that it reads to be true.
pub(super) const END: &str = "1;\n";

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
#[test]
fn quotes_and_backslashes_cannot_leave_a_text() {
    assert_eq!(settings(&[("log_dir", r"a'b\c")]), "$log_dir = 'a\\'b\\\\c';\n");
    assert_eq!(
        bind_mounts(&[(Path::new("/a'b"), Path::new("/c"))]),
        "$unshare_bind_mounts = [{ directory => '/a\\'b', mountpoint => '/c' },];\n"
    );
}
