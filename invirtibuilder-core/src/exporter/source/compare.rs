//! Whether the commit's tree is what upstream's tarballs hold, by comparing names of contents.
//!
//! Never unpacks a tarball, and never decides by anything but equal contents.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::{self, Content, ContentKind, Contents, Listing};
use super::origs::Orig;
use super::patched::Patched;
use super::tree::{self, Become};
use super::{Export, Problem, shown_path};
use crate::exporter::source::format::Format;

/// A path at which the commit and upstream differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What the commit has; `None` if nothing.
    pub(super) ours: Option<Content>,
    /// What upstream has; `None` if nothing.
    pub(super) theirs: Option<Content>,
}

pub(super) type Differences = BTreeMap<Vec<u8>, Difference>;

/// What upstream's tarballs hold together, and which tarball each file is from.
pub(super) struct Upstream {
    pub(super) contents: Contents,
    /// The tarballs, with the directory that each is unpacked in.
    pub(super) tarballs: Vec<(Orig, Vec<u8>, Listing)>,
}

/// What a source package has besides `debian/` of the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Besides {
    /// The files outside of `debian/` that come with it.
    pub(super) added: BTreeSet<Vec<u8>>,
    /// The files of `debian/patches` that are made at export, with their bytes.
    pub(super) patch: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Export<'_> {
    /// Lists upstream's tarballs, laid over one another as dpkg-source does (`Dpkg::Source::Package::V2`).
    pub(super) fn upstream(&self, origs: &[Orig]) -> Result<Upstream, Problem> {
        let is_quilt = self.facts.format == Format::Quilt;
        let (mut contents, mut tarballs) = (Contents::new(), Vec::new());
        let cache = self.exporter.cache.as_deref();
        for orig in origs.iter().filter(|it| !it.is_signature) {
            let listing =
                listing::list(&orig.path, orig.extension, &orig.sha256, &self.exporter.limits, cache)?;
            let directory = orig.component.clone().unwrap_or_default().into_bytes();
            if directory.is_empty() {
                contents.clone_from(&listing.contents);
                // What upstream has there is not unpacked: it is not upstream's place.
                contents
                    .retain(|at, _| !is_quilt || !(tree::is_in(at, b"debian") || tree::is_in(at, b".pc")));
            } else {
                contents.retain(|at, _| !tree::is_in(at, &directory));
                for (at, it) in &listing.contents {
                    contents.insert([&directory, &b"/"[..], at].concat(), *it);
                }
            }
            tarballs.push((orig.clone(), directory, listing));
        }
        Ok(Upstream { contents, tarballs })
    }

    /// Returns the files and links of the commit that upstream's could be, by their paths.
    pub(super) fn ours(&self) -> Contents {
        let is_quilt = self.facts.format == Format::Quilt;
        let of = |it: &tree::Listed| {
            let kind = match it.becomes {
                Become::Directory => return None,
                Become::File { is_executable: false } => ContentKind::File,
                Become::File { is_executable: true } => ContentKind::Executable,
                Become::Link => ContentKind::Link,
            };
            Some((it.path.clone(), Content { kind, id: it.id }))
        };
        let entries = self.entries.iter().filter(|it| !is_quilt || !tree::is_in(&it.path, b"debian"));
        entries.filter_map(of).collect()
    }

    /// Returns whether dpkg-source does not compare a path, as it or `debian/source/options` says.
    pub(super) fn is_ignored(&self, path: &[u8]) -> bool {
        self.facts.ignored.iter().any(|it| it.is_match(path))
    }

    /// Returns where the commit and upstream differ, without what is expected to differ, which is noted.
    pub(super) fn differences(&mut self, ours: &Contents, upstream: &Contents) -> Differences {
        let mut found = Differences::new();
        for (at, content) in ours {
            let theirs = upstream.get(at).copied();
            if theirs != Some(*content) {
                found.insert(at.clone(), Difference { ours: Some(*content), theirs });
            }
        }
        for (at, content) in upstream {
            if !ours.contains_key(at) {
                found.insert(at.clone(), Difference { ours: None, theirs: Some(*content) });
            }
        }
        let mut filtered = 0;
        let filters = self.facts.gbp.filters.clone();
        found.retain(|at, it| {
            let is_filtered = it.ours.is_none() && filters.iter().any(|pattern| matches(pattern, at));
            filtered += usize::from(is_filtered);
            !is_filtered && !self.is_ignored(at)
        });
        if filtered > 0 {
            self.note(format!(
                "{filtered} files of upstream's tarball are not in the commit, as the filter of debian/gbp.conf says; the source package has them"
            ));
        }
        found
    }

    /// Proves that the commit holds upstream's files, patched or not, or none of them. Returns what the source package
    /// has besides `debian/` of the commit.
    pub(super) fn compare(&mut self, origs: &[Orig]) -> Result<Besides, Problem> {
        let upstream = self.upstream(origs)?;
        let ours = self.ours();
        if ours.keys().all(|it| self.is_ignored(it)) {
            self.note("the commit holds debian/ only; upstream's files are the tarball's");
            return Ok(Besides::default());
        }
        let mut differences = self.differences(&ours, &upstream.contents);
        let mut added = BTreeSet::new();
        for path in &self.facts.include_binaries {
            let path = path.as_bytes();
            if differences.get(path).is_some_and(|it| it.ours.is_some_and(|it| it.kind != ContentKind::Link))
            {
                differences.remove(path);
                added.insert(path.to_vec());
            }
        }
        let as_it_is = |added| Ok(Besides { added, patch: BTreeMap::new() });
        if differences.is_empty() {
            self.note(match self.facts.series.len() {
                0 => "the commit holds upstream's files, and no patches".to_owned(),
                count => {
                    format!("the commit holds upstream's files, with {count} patches that are not applied")
                }
            });
            return as_it_is(added);
        }
        let left = match &self.facts.series[..] {
            [] => None,
            _ => match self.apply_patches(&upstream, &differences) {
                // A patch of all changes may be one of an earlier commit.
                Err(Problem::Tree(_)) if self.facts.single_patch.is_some() => None,
                patched => Some(self.left_by(&patched?, &ours, &upstream, &differences, &added)),
            },
        };
        if left.as_ref().is_some_and(Differences::is_empty) {
            let count = self.facts.series.len();
            self.note(format!("the commit holds upstream's files, with {count} patches applied"));
            return as_it_is(added);
        }
        if let Some(how) = self.facts.single_patch {
            let patch = self.make_single_patch(how, &upstream, &ours, &differences)?;
            return Ok(Besides { added, patch });
        }
        // Of the two things that it could be, it is taken for the one that it is closer to.
        match left {
            Some(left) if left.len() < differences.len() => {
                Err(self.refuse(&left, &upstream, " and the applied patches")?)
            }
            _ => Err(self.refuse(&differences, &upstream, "")?),
        }
    }

    /// Returns where the commit differs from what patches made of upstream's files.
    fn left_by(
        &self,
        patched: &Patched,
        ours: &Contents,
        upstream: &Upstream,
        differences: &Differences,
        added: &BTreeSet<Vec<u8>>,
    ) -> Differences {
        let mut left = Differences::new();
        for at in patched.keys().chain(differences.keys()) {
            let (mine, theirs) = (ours.get(at).copied(), patched.get(at).copied());
            let theirs = theirs.unwrap_or_else(|| upstream.contents.get(at).copied());
            if mine != theirs && !self.is_ignored(at) && !added.contains(at) {
                left.insert(at.clone(), Difference { ours: mine, theirs });
            }
        }
        left
    }

    /// Returns the refusal of a tree that is not upstream's.
    pub(super) fn refuse(
        &self,
        differences: &Differences,
        upstream: &Upstream,
        and: &str,
    ) -> Result<Problem, Problem> {
        const LISTED: usize = 8;
        let line = |(at, it): (&Vec<u8>, &Difference)| {
            let what = match (it.ours, it.theirs) {
                (Some(_), None) => "is not upstream's",
                (None, _) => "is missing",
                (Some(a), Some(b)) if a.id == b.id => "has another mode",
                _ => "has other content",
            };
            format!("{} {what}", shown_path(at))
        };
        let mut lines: Vec<String> = differences.iter().take(LISTED).map(line).collect();
        if differences.len() > LISTED {
            lines.push(format!("and {} more", differences.len() - LISTED));
        }
        let diff = self.diff_of(differences, upstream)?;
        let origs: Vec<&str> = upstream.tarballs.iter().map(|it| it.0.name.as_str()).collect();
        Ok(Problem::Tree(format!(
            "outside of debian/ it differs from {}{and}: {}; make patches of what is meant (gbp pq, quilt, dpkg-source --commit), \
             or restore upstream's files{diff}",
            origs.join(", "),
            lines.join("; ")
        )))
    }
}

/// Returns whether a path, or a directory that it is in, has a name that a shell's pattern matches, as
/// git-buildpackage's filters do: a pattern without a slash is of a name.
fn matches(pattern: &str, path: &[u8]) -> bool {
    let pattern = pattern.trim_start_matches("*/").trim_end_matches('/').as_bytes();
    let ends = path.iter().enumerate().filter(|it| *it.1 == b'/').map(|it| it.0).chain([path.len()]);
    for end in ends {
        let part = path.get(..end).unwrap_or(path);
        let name = part.rsplit(|c| *c == b'/').next().unwrap_or(part);
        if glob(pattern, part) || glob(pattern, name) {
            return true;
        }
    }
    false
}

/// Matches `*` and `?`, in time that is bounded by the product of both lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_match_as_git_buildpackages_do() {
        for (pattern, path) in
            [("*.o", "a/b.o"), ("debian", "debian/x"), ("a/*.c", "a/x.c"), ("*/x", "d/x/y"), ("b?", "a/b1/c")]
        {
            assert!(matches(pattern, path.as_bytes()), "{pattern} {path}");
        }
        for (pattern, path) in [("*.o", "a/b.c"), ("b", "ab"), ("a/*.c", "b/x.c")] {
            assert!(!matches(pattern, path.as_bytes()), "{pattern} {path}");
        }
    }
}
