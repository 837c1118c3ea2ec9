//! One patch of everything that a commit changes of upstream's files (`single-debian-patch`, dpkg-source(1)): teams that
//! keep their changes in Git alone have it made whenever they upload.
//!
//! dpkg-source makes it, inside walls, of a small upstream tarball and a small tree that hold what differs only, and
//! unpacks what it made: what comes out is compared with the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use gix::ObjectId;

use super::compare::{Difference, Differences, Upstream};
use super::confinement::{Confinement, run_apart};
use super::dsc::told;
use super::format::SinglePatch;
use super::listing::{ContentKind, Contents};
use super::patched::{give_all, read_at, read_back};
use super::tree::{self, Become, Listed};
use super::{Export, Problem};
use crate::builder::scratch::{Entry, Part};
use crate::durable::scratch;
use crate::process::ProcessError;

/// The patch, and the files that may list it (`Dpkg::Source::Quilt`).
const MADE: [&str; 3] =
    ["debian/patches/debian-changes", "debian/patches/series", "debian/patches/debian.series"];

impl Export<'_> {
    /// Makes the patch and the series that lists it, and proves that they make the commit's files of upstream's.
    /// Returns their bytes.
    pub(super) fn make_single_patch(
        &mut self,
        how: SinglePatch,
        upstream: &Upstream,
        ours: &Contents,
        differences: &Differences,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Problem> {
        let confinement = self.exporter.confinement.clone().ok_or_else(|| {
            Problem::Backend("this exporter has no account and directory for a patch to be made in".into())
        })?;
        let mut paths = self.touched(upstream, differences)?;
        paths.extend(differences.keys().cloned());
        let entry = confinement.enter().map_err(Problem::Backend)?;
        let place = entry.part(Part::Output).join("single");
        scratch::create_directory(&place, 0o755)?;
        self.write_small_source(&place, upstream, &paths)?;
        give_all(&confinement, &place)?;
        let top = self.top();
        let mut arguments = vec!["--format=3.0 (quilt)", "--single-debian-patch", "-Zgzip", "-z1"];
        if how.removes {
            arguments.push("--include-removal");
        }
        arguments.extend(["-b", &top]);
        dpkg_source(&confinement, &entry, &place, &arguments)?;
        let dsc = format!("{}.dsc", self.stem());
        dpkg_source(&confinement, &entry, &place, &["--no-check", "--no-copy", "-x", &dsc, "unpacked"])?;
        let limit = self.exporter.limits.file_bytes;
        let mut left = Differences::new();
        for path in &paths {
            let mine = ours.get(path).copied();
            let theirs = read_back(&place.join("unpacked"), path, limit)?;
            if mine != theirs && !self.is_ignored(path) {
                left.insert(path.clone(), Difference { ours: mine, theirs });
            }
        }
        if !left.is_empty() {
            let and = " and the one patch that dpkg-source can make (which removes files only where \
                       debian/source/options has include-removal)";
            return Err(self.refuse(&left, upstream, and)?);
        }
        let mut made = BTreeMap::new();
        for path in MADE {
            if let Some((ContentKind::File, bytes)) = read_at(&place.join(&top), path.as_bytes(), limit)? {
                made.insert(path.as_bytes().to_vec(), bytes);
            }
        }
        entry.remove().map_err(Problem::Backend)?;
        self.note(format!(
            "{} is made by dpkg-source: it changes {} files, as debian/source/options has single-debian-patch",
            MADE[0],
            differences.len()
        ));
        Ok(made)
    }

    /// Writes a source tree and an upstream tarball that hold these files of the commit's and upstream's, and what
    /// dpkg-source reads of `debian/` when it makes a patch.
    fn write_small_source(
        &self,
        place: &Path,
        upstream: &Upstream,
        paths: &BTreeSet<Vec<u8>>,
    ) -> Result<(), Problem> {
        self.write_small_orig(upstream, paths, place)?;
        let is_needed = |path: &[u8]| {
            let fixed: [&[u8]; 5] = [
                b"debian",
                b"debian/changelog",
                b"debian/control",
                b"debian/source",
                b"debian/source/patch-header",
            ];
            paths.contains(path) || fixed.contains(&path) || tree::is_in(path, b"debian/patches")
        };
        let top = place.join(self.top());
        self.write_part(&is_needed, &top)?;
        scratch::write_new(&top.join("debian/source/format"), b"3.0 (quilt)\n", 0o644)?;
        if !self.facts.series.is_empty() {
            // The commit has them applied: what git does not keep says so (`Dpkg::Source::Quilt`).
            scratch::create_directory(&top.join(".pc"), 0o755)?;
            let applied = self.facts.series.join("\n") + "\n";
            scratch::write_new(&top.join(".pc/applied-patches"), applied.as_bytes(), 0o644)?;
            scratch::write_new(&top.join(".pc/.version"), b"2\n", 0o644)?;
        }
        Ok(())
    }
}

/// Returns entries together with those that are made at export.
pub(super) fn with_made(chosen: Vec<Listed>, made: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<Listed> {
    let mut all: BTreeMap<Vec<u8>, Listed> = chosen.into_iter().map(|it| (it.path.clone(), it)).collect();
    let null = ObjectId::null(gix::hash::Kind::Sha1);
    let directory = made.keys().next().map(|_| (b"debian/patches".to_vec(), Become::Directory));
    let files = made.keys().map(|it| (it.clone(), Become::File { is_executable: false }));
    for (path, becomes) in directory.into_iter().chain(files) {
        all.insert(path.clone(), Listed { path, id: null, becomes });
    }
    all.into_values().collect()
}

/// Runs dpkg-source in a directory inside the walls.
fn dpkg_source(
    confinement: &Confinement,
    entry: &Entry,
    place: &Path,
    arguments: &[&str],
) -> Result<(), Problem> {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run_apart(confinement, entry, place, "dpkg-source", &arguments).map_err(|e| match e {
        ProcessError::Failed { stderr, .. } => Problem::Tree(format!(
            "dpkg-source cannot make one patch of what it changes of upstream's files: {}",
            told(&stderr)
        )),
        ProcessError::Limit { limit, .. } => {
            Problem::Tree(format!("making one patch of its changes was ended: {limit}"))
        }
        other => Problem::Backend(other.into()),
    })
}
