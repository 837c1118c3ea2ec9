//! The changelog of a try, which has a version of its own (`snapshot_versions`).

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Problem;
use crate::control::read_changelog;
use crate::names::Snapshot;
use crate::states::BuildPlan;

/// Returns the changelog with the plan's version in its topmost entry, where that is a try of the declared one; `None`
/// if it is the declared one.
///
/// The entry also says what it was made of, and has the time of the commit, so that the files of two tries do not have
/// the same times (dpkg-buildpackage(1), `SOURCE_DATE_EPOCH`).
pub(super) fn changelog(bytes: &[u8], time: i64, plan: &BuildPlan) -> Result<Option<Vec<u8>>, Problem> {
    let bad = |problem: String| Problem::Tree(format!("debian/changelog: {problem}"));
    let (_, declared) = read_changelog(bytes).map_err(bad)?;
    if declared.as_str() == plan.version().as_str() {
        return Ok(None);
    }
    if !Snapshot::is_of(plan.version(), &declared, plan.commit()) {
        return Err(bad(format!(
            "its version is {declared}, not {}; submit the commit again",
            plan.version()
        )));
    }
    let text = String::from_utf8_lossy(bytes);
    let when = Timestamp::from_second(time).unwrap_or_default();
    let when = when.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
    let (mut written, mut is_heading, mut is_topmost) =
        (String::with_capacity(bytes.len() + 200), true, true);
    for line in text.split_inclusive('\n') {
        if is_heading && !line.trim().is_empty() {
            is_heading = false;
            written.push_str(&line.replacen(&format!("({declared})"), &format!("({})", plan.version()), 1));
            let (commit, pocket) = (plan.commit(), &plan.pocket().name);
            let _ = writeln!(written, "\n  * A try of {declared} for {pocket}, of commit {commit}.");
        } else if is_topmost
            && let Some((who, _)) = line.strip_prefix(" -- ").and_then(|it| it.rsplit_once('>'))
        {
            is_topmost = false;
            let _ = writeln!(written, " -- {who}>  {when}");
        } else {
            written.push_str(line);
        }
    }
    Ok(Some(written.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::changelog;
    use crate::conformance::exporter::plan;

    const CHANGELOG: &str = "\nhello (1.0-1) UNRELEASED; urgency=medium\n\n  * New (1.0-1).\n\n -- A <a@b.org>  Mon, 23 Nov 2026 10:15:00 +0100\n\nhello (0.9-1) unstable; urgency=low\n\n  * Old.\n\n -- B <b@b.org>  Mon, 23 Nov 2020 10:15:00 +0100\n";

    #[test]
    fn only_the_topmost_entry_is_another() {
        let commit = "3".repeat(40).parse().unwrap();
        let of = |version: &str| plan(&"hello".parse().unwrap(), &version.parse().unwrap(), &commit);
        assert!(changelog(CHANGELOG.as_bytes(), 0, &of("1.0-1")).unwrap().is_none());
        let made = changelog(CHANGELOG.as_bytes(), 1_795_428_900, &of("1.0-1~dev20261123T101500.g3333333"));
        let made = String::from_utf8(made.unwrap().unwrap()).unwrap();
        let expected = CHANGELOG
            .replace("hello (1.0-1) UNRELEASED; urgency=medium\n", &format!("hello (1.0-1~dev20261123T101500.g3333333) UNRELEASED; urgency=medium\n\n  * A try of 1.0-1 for prod, of commit {commit}.\n"))
            .replace("Mon, 23 Nov 2026 10:15:00 +0100", "Mon, 23 Nov 2026 10:15:00 +0000");
        assert_eq!(made, expected);
        for other in ["1.0-2", "1.0-2~dev20261123T101500.g3333333", "1.0-1~dev20261123T101500.g4444444"] {
            assert!(changelog(CHANGELOG.as_bytes(), 0, &of(other)).is_err(), "{other}");
        }
    }
}
