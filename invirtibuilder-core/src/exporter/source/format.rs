//! What `debian/` says of the source package, judged before anything is written.
//!
//! Each file that dpkg-source will read is made sure of here, so that none can make it read another file of this
//! machine. `debian/source/options` has no effect: what it could set is decided here.

use std::collections::BTreeMap;

use gix::ObjectId;
use regex::bytes::Regex;

use super::gbp::GbpConf;
use super::{Problem, snapshot};
use crate::repository::{FileAt, Repository};
use crate::states::BuildPlan;

/// A source format that this exporter makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `3.0 (native)`.
    Native,
    /// `3.0 (quilt)`.
    Quilt,
    /// `1.0` without a revision. It is also what dpkg-source takes a tree without `debian/source/format` for.
    NativeOne,
    /// `1.0` with a revision: an upstream tarball and a diff.
    One,
}

/// What is known of a commit's `debian/`.
pub(super) struct Facts {
    pub(super) format: Format,
    /// The files that the fields of a `.dsc` are made of.
    pub(super) skeleton: BTreeMap<&'static str, Vec<u8>>,
    pub(super) gbp: GbpConf,
    /// The files that dpkg-source does not compare with upstream's.
    pub(super) ignored: Vec<Regex>,
    /// The names of the patches, in their order.
    pub(super) series: Vec<String>,
    /// The files outside of `debian/` that come with it.
    pub(super) include_binaries: Vec<String>,
    /// How what is changed of upstream's files becomes one patch, if it does.
    pub(super) single_patch: Option<SinglePatch>,
    /// What `debian/source/options` sets without effect.
    pub(super) without_effect: Vec<String>,
    /// The changelog of a try (`snapshot_versions`); `None` if it is the commit's.
    pub(super) new_changelog: Option<Vec<u8>>,
}

/// That dpkg-source is to make one patch of all changes (`single-debian-patch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SinglePatch {
    /// Whether it may remove files (`include-removal`).
    pub(super) removes: bool,
}

const CHANGELOG: &str = "debian/changelog";

/// The files that the fields of a `.dsc` are made of.
pub(super) const SKELETON: [&str; 3] = [CHANGELOG, "debian/control", "debian/tests/control"];

/// What dpkg-source does not compare in any source package of format `3.0 (quilt)` (`Dpkg::Source::Package`).
const IGNORED: &str = r"^\.pc(?:$|/)|(?:^|/).*~$|(?:^|/)\.#.*$|(?:^|/)\..*\.sw.$|(?:^|/),,.*(?:$|/.*$)|(?:^|/)(?:DEADJOE|\.arch-inventory|\.(?:bzr|cvs|hg|git|mtn-)ignore)$|(?:^|/)(?:CVS|RCS|\.deps|\{arch\}|\.arch-ids|\.svn|\.hg(?:tags|sigs)?|_darcs|\.git(?:attributes|modules|review)?|\.mailmap|\.shelf|_MTN|\.be|\.bzr(?:\.backup|tags)?)(?:$|/.*$)";

const MAX_BYTES: u64 = 16 << 20;

/// Reads the source format and all else that decides over the source package.
pub(super) fn read(
    repository: &Repository,
    tree: ObjectId,
    time: i64,
    plan: &BuildPlan,
) -> Result<Facts, Problem> {
    let file = |path: &str| -> Result<Option<Vec<u8>>, Problem> {
        match repository.file(tree, path, MAX_BYTES)? {
            FileAt::Bytes(bytes) => Ok(Some(bytes)),
            FileAt::Absent => Ok(None),
            FileAt::Unfit(problem) => Err(Problem::Tree(format!("{path}: {problem}"))),
        }
    };
    let mut skeleton = BTreeMap::new();
    for path in SKELETON {
        match file(path)? {
            Some(bytes) => drop(skeleton.insert(path, bytes)),
            None if path.contains("tests") => (),
            None => return Err(Problem::Tree(format!("it has no {path}; add it"))),
        }
    }
    let new_changelog = snapshot::changelog(skeleton.get(CHANGELOG).map_or(&[], Vec::as_slice), time, plan)?;
    if let Some(changelog) = &new_changelog {
        skeleton.insert(CHANGELOG, changelog.clone());
    }
    let format = match file("debian/source/format")? {
        None => parse(b"1.0", plan)?,
        Some(bytes) => parse(&bytes, plan)?,
    };
    let options = file("debian/source/options")?.unwrap_or_default();
    let Options { ignored, single_patch, without_effect } =
        read_options(&String::from_utf8_lossy(&options), format)?;
    let lines = |path: &str| Ok::<_, Problem>(lines_of(&file(path)?.unwrap_or_default()));
    let (series, include_binaries) = match format {
        Format::Quilt => {
            // dpkg-source takes the series of its own vendor where there is one (Dpkg::Source::Patch).
            let series = match file("debian/patches/debian.series")? {
                Some(bytes) => lines_of(&bytes),
                None => lines("debian/patches/series")?,
            };
            (read_series(series), lines("debian/source/include-binaries")?)
        }
        _ => (Vec::new(), Vec::new()),
    };
    let gbp = GbpConf::parse(&String::from_utf8_lossy(&file("debian/gbp.conf")?.unwrap_or_default()));
    Ok(Facts {
        format,
        skeleton,
        gbp,
        ignored,
        series,
        include_binaries,
        single_patch,
        without_effect,
        new_changelog,
    })
}

fn parse(bytes: &[u8], plan: &BuildPlan) -> Result<Format, Problem> {
    let version = plan.version();
    let has_revision = version.as_str().contains('-');
    let text = String::from_utf8_lossy(bytes);
    match (text.lines().next().unwrap_or_default().trim(), has_revision) {
        ("3.0 (native)", false) => Ok(Format::Native),
        ("3.0 (native)", true) => Err(Problem::Tree(format!(
            "the version {version} has a revision, which a native package has not; \
             remove what follows the last hyphen in debian/changelog (Debian Policy 5.6.12)"
        ))),
        ("3.0 (quilt)", true) => Ok(Format::Quilt),
        ("3.0 (quilt)", false) => Err(Problem::Tree(format!(
            "the version {version} has no revision, which a package with an upstream tarball has; \
             write {version}-1 in debian/changelog (Debian Policy 5.6.12)"
        ))),
        ("1.0", false) => Ok(Format::NativeOne),
        ("1.0", true) => Ok(Format::One),
        (other, _) => {
            let shown: String = other.chars().take(40).collect();
            Err(Problem::Tree(format!(
                "debian/source/format is {shown:?}, which is not supported; write 3.0 (quilt), or 3.0 (native)"
            )))
        }
    }
}

fn lines_of(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Returns the names of a series: what follows is a level, which dpkg-source does not take either.
fn read_series(lines: Vec<String>) -> Vec<String> {
    let name = |line: String| line.split_whitespace().next().unwrap_or_default().to_owned();
    lines.into_iter().map(name).collect()
}

/// What `debian/source/options` says.
struct Options {
    ignored: Vec<Regex>,
    single_patch: Option<SinglePatch>,
    without_effect: Vec<String>,
}

/// Reads which files are not compared, how changes become a patch, and the names of the options that have no effect
/// here.
fn read_options(text: &str, format: Format) -> Result<Options, Problem> {
    let (mut ignored, mut without_effect) = (Vec::new(), Vec::new());
    let (mut is_single, mut removes) = (false, false);
    if format == Format::Quilt {
        ignored.push(pattern(IGNORED)?);
    }
    for line in text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#')) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let (name, value) = (name.trim().trim_start_matches("--"), value.trim());
        let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
        match name {
            "compression" | "compression-level" => (),
            // dpkg-source makes the diff of this format, and would do as it says.
            _ if format == Format::One => {
                let shown: String = super::shown(name).chars().take(40).collect();
                return Err(Problem::Tree(format!(
                    "debian/source/options sets {shown:?}, which could make the source package differ from the commit; remove that line"
                )));
            }
            "extend-diff-ignore" => ignored.push(pattern(value)?),
            "diff-ignore" => (),
            "single-debian-patch" if format == Format::Quilt => is_single = true,
            "include-removal" if format == Format::Quilt => removes = true,
            other => without_effect.push(super::shown(other).chars().take(40).collect()),
        }
    }
    if removes && !is_single {
        without_effect.push("include-removal".to_owned());
    }
    Ok(Options { ignored, single_patch: is_single.then_some(SinglePatch { removes }), without_effect })
}

fn pattern(text: &str) -> Result<Regex, Problem> {
    regex::bytes::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|_| {
        Problem::Tree(format!(
            "debian/source/options has the pattern {:?}, which is no regular expression that is supported here; \
             write it without what looks around or back",
            super::shown(text).chars().take(100).collect::<String>()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::{Format, Options, SinglePatch, parse, read_options, read_series};
    use crate::conformance::exporter::plan;

    fn format(text: &str, version: &str) -> Option<Format> {
        let commit = "1".repeat(40).parse().unwrap();
        let plan = plan(&"hello".parse().unwrap(), &version.parse().unwrap(), &commit);
        parse(text.as_bytes(), &plan).ok()
    }

    #[test]
    fn the_format_and_the_version_belong_together() {
        assert_eq!(format("3.0 (native)\n", "1.0"), Some(Format::Native));
        assert_eq!(format("3.0 (native)\n", "1.0-1"), None);
        assert_eq!(format("3.0 (quilt)", "1:1.0-1"), Some(Format::Quilt));
        assert_eq!(format("3.0 (quilt)", "1.0"), None);
        assert_eq!(format("1.0", "1.0"), Some(Format::NativeOne));
        assert_eq!(format("1.0", "1.0-1"), Some(Format::One));
        for other in ["3.0 (custom)", "3.0 (git)", "2.0", ""] {
            assert_eq!(format(other, "1.0-1"), None, "{other}");
        }
    }

    #[test]
    fn options_extend_what_is_ignored_and_set_nothing_else() {
        let text =
            "# x\ncompression = \"xz\"\n\nextend-diff-ignore=\"^build/\"\n-Tsecret\ntar-ignore = debian\n";
        let Options { ignored, single_patch, without_effect } = read_options(text, Format::Quilt).unwrap();
        let is_ignored = |path: &str| ignored.iter().any(|it| it.is_match(path.as_bytes()));
        assert!(is_ignored("build/x") && is_ignored(".gitignore") && is_ignored("a/.gitattributes"));
        assert!(!is_ignored("src/x") && !is_ignored(".github/workflows/x"));
        assert_eq!(without_effect, ["-Tsecret", "tar-ignore"]);
        assert_eq!(single_patch, None);
        let single = read_options("single-debian-patch\n--include-removal", Format::Quilt).unwrap();
        assert_eq!(single.single_patch, Some(SinglePatch { removes: true }));
        assert!(single.without_effect.is_empty());
        assert!(read_options("-Tsecret", Format::One).is_err());
        assert!(read_options("extend-diff-ignore = (?<!x)y", Format::Quilt).is_err());
    }

    #[test]
    fn a_series_names_patches_and_levels() {
        assert_eq!(read_series(vec!["a.patch -p1".to_owned(), "b".to_owned()]), ["a.patch", "b"]);
    }
}
