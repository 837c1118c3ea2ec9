//! What `debian/` may hold for a native source package, judged before anything is written.
//!
//! dpkg-source reads some files of the tree; each is made sure of here, so that none can make it read another
//! file of this machine or leave something out.

use gix::ObjectId;

use super::Problem;
use crate::names::Version;
use crate::repository::{FileAt, Repository};

/// A source format that this exporter makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `3.0 (native)`.
    Three,
    /// `1.0`, which is what dpkg-source takes a tree without `debian/source/format` for.
    One,
}

/// What `debian/source/options` may set: what is set on the command line again, or has no effect on a native
/// source package (dpkg-source(1)).
const HARMLESS: [&str; 4] = ["compression", "compression-level", "diff-ignore", "extend-diff-ignore"];

const MAX_BYTES: u64 = 16 << 20;

/// Reads the source format, and checks every file of the tree that dpkg-source reads.
pub(super) fn read(repository: &Repository, tree: ObjectId, version: &Version) -> Result<Format, Problem> {
    let file = |path: &str| -> Result<Option<Vec<u8>>, Problem> {
        match repository.file(tree, path, MAX_BYTES)? {
            FileAt::Bytes(bytes) => Ok(Some(bytes)),
            FileAt::Absent => Ok(None),
            FileAt::Unfit(problem) => Err(Problem::Tree(format!("{path}: {problem}"))),
        }
    };
    for path in ["debian/changelog", "debian/control"] {
        if file(path)?.is_none() {
            return Err(Problem::Tree(format!("it has no {path}; add it")));
        }
    }
    for path in ["debian/tests/control", "debian/upstream/signing-key.asc"] {
        file(path)?;
    }
    if let Some(bytes) = file("debian/source/options")? {
        check_options(&bytes)?;
    }
    let format = match file("debian/source/format")? {
        None => Format::One,
        Some(bytes) => parse(&bytes)?,
    };
    check_version(format, version)?;
    Ok(format)
}

fn parse(bytes: &[u8]) -> Result<Format, Problem> {
    let text = String::from_utf8_lossy(bytes);
    match text.lines().next().unwrap_or_default().trim() {
        "3.0 (native)" => Ok(Format::Three),
        "1.0" => Ok(Format::One),
        "3.0 (quilt)" => Err(Problem::Tree(
            "its source format 3.0 (quilt) is not supported yet by this exporter; \
             use 3.0 (native) in debian/source/format, with a version without a revision"
                .to_owned(),
        )),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(Problem::Tree(format!(
                "debian/source/format is {shown:?}, which is not supported; write 3.0 (native)"
            )))
        }
    }
}

fn check_version(format: Format, version: &Version) -> Result<(), Problem> {
    if !version.as_str().contains('-') {
        return Ok(());
    }
    Err(Problem::Tree(match format {
        Format::Three => format!(
            "the version {version} has a revision, which a native package has not; \
             remove what follows the last hyphen in debian/changelog (Debian Policy 5.6.12)"
        ),
        Format::One => format!(
            "the version {version} has a revision, so it needs an upstream tarball, and its source format 1.0 is not \
             supported yet with one; use 3.0 (native) in debian/source/format, with a version without a revision"
        ),
    }))
}

fn check_options(bytes: &[u8]) -> Result<(), Problem> {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#')) {
        let name = line.split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
        if !HARMLESS.contains(&name.trim_start_matches("--")) {
            let shown: String = name.chars().take(40).collect();
            return Err(Problem::Tree(format!(
                "debian/source/options sets {shown:?}, which could make the source package differ from the commit; remove that line"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Format, check_options, check_version, parse};

    #[test]
    fn only_native_formats_are_taken() {
        assert_eq!(parse(b"3.0 (native)\n").unwrap(), Format::Three);
        assert_eq!(parse(b"1.0").unwrap(), Format::One);
        for other in ["3.0 (quilt)", "3.0 (custom)", "3.0 (git)", "2.0", ""] {
            assert!(parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn options_that_leave_files_out_or_read_others_are_refused() {
        assert!(check_options(b"# x\ncompression = \"xz\"\n\nextend-diff-ignore=\"^x\"\n").is_ok());
        for line in ["tar-ignore=debian", "-I", "-Tsecret", "-c/etc/passwd", "--tar-ignore = x", "no-check"] {
            assert!(check_options(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn a_native_version_has_no_revision() {
        assert!(check_version(Format::Three, &"1:1.0~rc1".parse().unwrap()).is_ok());
        assert!(check_version(Format::Three, &"1.0-1".parse().unwrap()).is_err());
        assert!(check_version(Format::One, &"1.0-1".parse().unwrap()).is_err());
    }
}
