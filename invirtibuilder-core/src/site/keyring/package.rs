//! The source package of the keyring: pure text from keys and names.
//!
//! It has no build dependency. A package of one file gains nothing from debhelper, which would be installed anew for
//! every build, and in a base that has another version of it would give other bytes. Nothing in it is a conffile, so an
//! update never asks a client anything; and it has no `.sources` file, because the archive does not know by which URI a
//! client reaches it.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::names::{PackageName, Version};

/// What the package is made of.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    pub(super) package: &'a PackageName,
    /// Name and address, as in the field `Maintainer`.
    pub(super) maintainer: String,
    /// What the archive calls itself.
    pub(super) origin: &'a str,
    /// The public keys, a binary keyring.
    pub(super) keyring: &'a [u8],
    /// The fingerprints of the primary keys.
    pub(super) primaries: Vec<String>,
}

/// A file of the source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its path, a directory an element.
    pub(super) path: Vec<&'static str>,
    pub(super) bytes: Vec<u8>,
    pub(super) is_executable: bool,
}

/// Returns where the package puts the keyring. The ending is the one that apt wants of a binary keyring.
pub(in crate::site) fn installed_path(package: &PackageName) -> PathBuf {
    PathBuf::from(format!("/usr/share/keyrings/{package}.pgp"))
}

impl Contents<'_> {
    /// Returns the files of the source package with this changelog.
    pub(super) fn files(&self, changelog: &str) -> Vec<File> {
        let file = |path: &[&'static str], bytes: Vec<u8>| File {
            path: path.to_vec(),
            bytes,
            is_executable: path.last() == Some(&"rules"),
        };
        vec![
            file(&["debian", "README.Debian"], self.readme().into_bytes()),
            file(&["debian", "changelog"], changelog.as_bytes().to_vec()),
            file(&["debian", "control"], self.control().into_bytes()),
            file(&["debian", "copyright"], COPYRIGHT.as_bytes().to_vec()),
            file(&["debian", "rules"], RULES.replace("PACKAGE", self.package.as_str()).into_bytes()),
            file(&["debian", "source", "format"], b"3.0 (native)\n".to_vec()),
            file(&["debian", "source", "lintian-overrides"], OVERRIDES.as_bytes().to_vec()),
            file(&["keyring.pgp"], self.keyring.to_vec()),
        ]
    }

    /// Returns the changelog's next entry.
    pub(super) fn changelog_entry(&self, version: &Version, now: Timestamp) -> String {
        let mut text = format!(
            "{} ({version}) unstable; urgency=medium\n\n  * The keys of the archive:\n",
            self.package
        );
        for primary in &self.primaries {
            let _ = writeln!(text, "    {primary}");
        }
        let date = now.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000");
        let _ = writeln!(text, "\n -- {}  {date}", self.maintainer);
        text
    }

    fn control(&self) -> String {
        let Self { package, maintainer, .. } = self;
        let origin = self.origin();
        format!(
            "Source: {package}\nSection: misc\nPriority: optional\nMaintainer: {maintainer}\n\
             Standards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
             Package: {package}\nArchitecture: all\nMulti-Arch: foreign\n\
             Description: OpenPGP keys of {origin}\n \
             The archive signs what it serves. This package has the public keys by which\n \
             apt knows that, and brings new ones before they are needed.\n"
        )
    }

    fn readme(&self) -> String {
        let mut text = format!("The keys of {}\n\n", self.origin());
        for primary in &self.primaries {
            let _ = writeln!(text, "  {primary}");
        }
        let _ = write!(
            text,
            "\nare in {}. A source of apt uses them, and those that\n\
             take over from them one day, if it names that file (sources.list(5)):\n\n  Signed-By: {0}\n",
            installed_path(self.package).display()
        );
        text
    }

    fn origin(&self) -> String {
        let origin = self.origin.split_whitespace().collect::<Vec<_>>().join(" ");
        if origin.is_empty() { "the archive".to_owned() } else { origin }
    }
}

/// Builds with what build-essential has.
const RULES: &str = "\
#!/usr/bin/make -f
# One file needs no debhelper, and without build dependencies this builds in seconds, in every base.

TARGET = debian/PACKAGE
DOC = $(TARGET)/usr/share/doc/PACKAGE

build build-arch build-indep binary-arch:

binary binary-indep:
\trm -rf $(TARGET)
\tinstall -d -m 755 $(TARGET)/DEBIAN $(TARGET)/usr/share/keyrings $(DOC)
\tinstall -m 644 keyring.pgp $(TARGET)/usr/share/keyrings/PACKAGE.pgp
\tinstall -m 644 debian/README.Debian debian/copyright $(DOC)
\tinstall -m 644 debian/changelog $(DOC)/changelog
\tgzip -9n $(DOC)/changelog
\tcd $(TARGET) && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums
\tchmod 644 $(TARGET)/DEBIAN/md5sums
\tdpkg-gencontrol -pPACKAGE -P$(TARGET)
\tdpkg-deb --root-owner-group --build $(TARGET) ..

clean:
\trm -rf $(TARGET) debian/files

.PHONY: build build-arch build-indep binary binary-arch binary-indep clean
";

/// Without a year, which would change the package without a change of its keys.
const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: held by nobody
License: public-domain
 These files are in the public domain: the keys are facts, and what is around them
 may be copied, changed and used by everybody. There is no warranty.
";

/// What lintian would say of a package without debhelper.
const OVERRIDES: &str = "\
# One file needs no debhelper; see debian/rules.
no-dh-sequencer
package-does-not-use-debhelper-or-cdbs
";

/// Returns the version of a day that is greater than the last one: the date, and where that is taken, a counter.
pub(super) fn next_version(now: Timestamp, last: Option<&Version>) -> Version {
    let today: Version = parsed(&now.to_zoned(TimeZone::UTC).strftime("%Y.%m.%d").to_string());
    let Some(last) = last.filter(|it| **it >= today) else { return today };
    let words: Vec<&str> = last.as_str().split('.').collect();
    match words.as_slice() {
        [date @ .., counter] if words.len() == 4 => {
            let counter: u64 = counter.parse().unwrap_or_default();
            parsed(&format!("{}.{}", date.join("."), counter + 1))
        }
        _ => parsed(&format!("{last}.1")),
    }
}

fn parsed(version: &str) -> Version {
    version.parse().expect("digits and points are a version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_day_and_within_one() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let noon = at("2026-11-23T12:00:00Z");
        let next = |last: &str| next_version(noon, Some(&last.parse().unwrap())).to_string();
        assert_eq!(next_version(noon, None).as_str(), "2026.11.23");
        assert_eq!(next("2026.11.22.7"), "2026.11.23");
        assert_eq!(next("2026.11.23"), "2026.11.23.1");
        assert_eq!(next("2026.11.23.9"), "2026.11.23.10");
        // The clock went back.
        assert_eq!(next("2026.12.01"), "2026.12.01.1");
        assert!("2026.12.01.1".parse::<Version>().unwrap() > "2026.12.01".parse().unwrap());
    }

    #[test]
    fn the_package_reads_back_as_what_it_is() {
        let package: PackageName = "x-archive-keyring".parse().unwrap();
        let contents = Contents {
            package: &package,
            maintainer: "A Server <a@example.org>".to_owned(),
            origin: "X",
            keyring: b"keys",
            primaries: vec!["A".repeat(40)],
        };
        let version = "2026.11.23".parse().unwrap();
        let changelog = contents.changelog_entry(&version, "2026-11-23T12:00:00Z".parse().unwrap());
        assert_eq!(crate::control::read_changelog(changelog.as_bytes()), Ok((package.clone(), version)));
        assert!(crate::control::read_control(contents.control().as_bytes()).is_ok());
        let files = contents.files(&changelog);
        let executable: Vec<_> =
            files.iter().filter(|it| it.is_executable).map(|it| it.path.join("/")).collect();
        assert_eq!(executable, ["debian/rules"]);
        assert_eq!(installed_path(&package).to_str(), Some("/usr/share/keyrings/x-archive-keyring.pgp"));
    }
}
