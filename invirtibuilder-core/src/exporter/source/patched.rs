//! What a package's patches make of upstream's files.
//!
//! dpkg-source applies them itself, inside walls, on those files alone that the patches name. Never reads a result
//! through a link.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gix::objs::Kind;

use super::compare::{Differences, Upstream};
use super::dsc::told;
use super::listing::{self, Content, ContentKind, blob_id};
use super::pristine::unquoted;
use super::tree::{self, Listed};
use super::{Export, Problem, confinement::run_apart};
use crate::builder::scratch::Part;
use crate::durable::scratch;
use crate::process::ProcessError;

/// Files by their paths after patching; `None` where there is none.
pub(super) type Patched = BTreeMap<Vec<u8>, Option<Content>>;

/// A file of a tarball: its path, what it is, and its bytes.
pub(super) type Picked = (Vec<u8>, ContentKind, Vec<u8>);

impl Export<'_> {
    /// Makes sure that the series names patches that are there, each once.
    pub(super) fn check_series(&self) -> Result<(), Problem> {
        let mut names = BTreeSet::new();
        for name in &self.facts.series {
            let bad = |what: &str| {
                let shown: String = super::shown(name).chars().take(100).collect();
                Err(Problem::Tree(format!("debian/patches/series names {shown:?}, {what}")))
            };
            if name.split('/').any(|it| matches!(it, "" | "." | "..")) {
                return bad("which leads out of debian/patches; remove the line");
            }
            if !names.insert(name) {
                return bad("twice; remove one of the lines");
            }
            if self.patch(name).is_none() {
                return bad("which is not there; add it, or remove the line");
            }
        }
        Ok(())
    }

    fn patch(&self, name: &str) -> Option<&Listed> {
        let path = format!("debian/patches/{name}");
        let at = self.entries.binary_search_by(|it| it.path.as_slice().cmp(path.as_bytes())).ok()?;
        self.entries.get(at).filter(|it| matches!(it.becomes, tree::Become::File { .. }))
    }

    /// Applies the series to upstream's files, and returns what became of each file that a patch names.
    pub(super) fn apply_patches(
        &self,
        upstream: &Upstream,
        differences: &Differences,
    ) -> Result<Patched, Problem> {
        let confinement = self.exporter.confinement.clone().ok_or_else(|| {
            Problem::Backend("this exporter has no account and directory for patches to be applied in".into())
        })?;
        let touched = self.touched(upstream, differences)?;
        let entry = confinement.enter().map_err(Problem::Backend)?;
        let top = entry.part(Part::Output).join("tree");
        scratch::create_directory(&top, 0o755)?;
        for (path, kind, bytes) in self.pick(upstream, &touched)? {
            let place = top.join(OsStr::from_bytes(&path));
            create_above(&top, &path)?;
            match kind {
                ContentKind::Link => scratch::symlink(Path::new(OsStr::from_bytes(&bytes)), &place)?,
                ContentKind::File => scratch::write_new(&place, &bytes, 0o644)?,
                ContentKind::Executable => scratch::write_new(&place, &bytes, 0o755)?,
            }
        }
        let is_needed = |it: &&Listed| {
            let path = it.path.as_slice();
            path == b"debian"
                || tree::is_in(path, b"debian/patches")
                || path == b"debian/changelog"
                || path == b"debian/control"
        };
        let debian: Vec<&Listed> = self.entries.iter().filter(is_needed).collect();
        tree::write(&self.repository, &debian, &top, self.time)?;
        scratch::create_directory(&top.join("debian/source"), 0o755)?;
        scratch::write_new(&top.join("debian/source/format"), b"3.0 (quilt)\n", 0o644)?;
        give_all(&confinement, &top)?;
        let arguments: [&OsStr; 2] = ["--before-build".as_ref(), ".".as_ref()];
        let applied = run_apart(&confinement, &entry, &top, "dpkg-source", &arguments);
        match applied {
            Ok(()) => (),
            // It is not what it would be with its patches applied; what it is instead, the caller says.
            Err(ProcessError::Failed { stderr, .. }) => {
                return Err(Problem::Tree(format!(
                    "its patches cannot be applied to upstream's files, from which it differs: {}",
                    told(&stderr)
                )));
            }
            Err(ProcessError::Limit { limit, .. }) => {
                return Err(Problem::Tree(format!("applying its patches was ended: {limit}")));
            }
            Err(other) => return Err(Problem::Backend(other.into())),
        }
        let limit = self.exporter.limits.file_bytes;
        let read = |path: &Vec<u8>| Ok((path.clone(), read_back(&top, path, limit)?));
        let patched = touched.iter().map(read).collect::<Result<Patched, Problem>>()?;
        entry.remove().map_err(Problem::Backend)?;
        Ok(patched)
    }

    /// Reads files of upstream's tarballs.
    pub(super) fn pick(
        &self,
        upstream: &Upstream,
        paths: &BTreeSet<Vec<u8>>,
    ) -> Result<Vec<Picked>, Problem> {
        let mut picked = BTreeMap::new();
        for (orig, directory, listing) in &upstream.tarballs {
            let whole = |at: &[u8]| match directory.as_slice() {
                b"" => at.to_vec(),
                directory => [directory, b"/", at].concat(),
            };
            let wanted = |at: &[u8]| paths.contains(&whole(at)) && upstream.contents.contains_key(&whole(at));
            if !listing.contents.keys().any(|it| wanted(it)) {
                continue;
            }
            let (limits, has_top) = (&self.exporter.limits, listing.has_top);
            listing::each(&orig.path, orig.extension, limits, has_top, &wanted, &mut |at, kind, bytes| {
                picked.insert(whole(at), (kind, bytes.to_vec()));
                Ok(())
            })?;
        }
        Ok(picked.into_iter().map(|(path, (kind, bytes))| (path, kind, bytes)).collect())
    }

    /// Returns every path that a patch of the series could mean, and that upstream or the commit has.
    pub(super) fn touched(
        &self,
        upstream: &Upstream,
        differences: &Differences,
    ) -> Result<BTreeSet<Vec<u8>>, Problem> {
        let mut touched = BTreeSet::new();
        let mut add = |path: &[u8]| {
            let path = path.split(|c| *c == b'\t').next().unwrap_or_default();
            let path = path.strip_suffix(b"\r").unwrap_or(path);
            // What is not ASCII is quoted.
            let quoted = path.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).map(unquoted);
            let path = quoted.as_deref().unwrap_or(path);
            let below = path.iter().position(|c| *c == b'/').and_then(|it| path.get(it + 1..));
            for path in [Some(path), below].into_iter().flatten() {
                if upstream.contents.contains_key(path) || differences.contains_key(path) {
                    touched.insert(path.to_vec());
                }
            }
        };
        for name in &self.facts.series {
            let Some(found) = self.patch(name) else { continue };
            let bytes = self.repository.read(found.id, Kind::Blob)?;
            for line in bytes.split(|c| *c == b'\n') {
                for prefix in
                    [&b"--- "[..], b"+++ ", b"rename from ", b"rename to ", b"copy from ", b"copy to "]
                {
                    if let Some(path) = line.strip_prefix(prefix) {
                        add(path);
                        // What moves is named without the directory that others are in.
                        add(&[b"x/", path].concat());
                    }
                }
                if let Some(rest) = line.strip_prefix(b"diff --git ") {
                    rest.split(|c| *c == b' ').for_each(&mut add);
                }
            }
        }
        Ok(touched)
    }
}

/// Makes the directories that a path needs.
fn create_above(top: &Path, path: &[u8]) -> Result<(), Problem> {
    for (at, _) in path.iter().enumerate().filter(|it| *it.1 == b'/') {
        let place = top.join(OsStr::from_bytes(path.get(..at).unwrap_or_default()));
        match place.symlink_metadata() {
            Ok(it) if it.is_dir() => (),
            Ok(_) => {
                return Err(Problem::Tree(
                    "an upstream tarball has a file in what is no directory".to_owned(),
                ));
            }
            Err(_) => scratch::create_directory(&place, 0o755)?,
        }
    }
    Ok(())
}

/// Gives a directory with the directories and files in it to the account.
pub(super) fn give_all(confinement: &super::Confinement, top: &Path) -> Result<(), Problem> {
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let failed = |e: std::io::Error| Problem::Backend(e.into());
        let kind = path.symlink_metadata().map_err(failed)?;
        if kind.is_symlink() {
            continue;
        }
        confinement.give(&path).map_err(Problem::Backend)?;
        if kind.is_dir() {
            for found in std::fs::read_dir(&path).map_err(failed)? {
                pending.push(found.map_err(failed)?.path());
            }
        }
    }
    Ok(())
}

/// Reads what is at a path now, reached through directories only.
pub(super) fn read_at(
    top: &Path,
    path: &[u8],
    limit: u64,
) -> Result<Option<(ContentKind, Vec<u8>)>, Problem> {
    let failed = |e: std::io::Error| Problem::Backend(e.into());
    let mut place = top.to_owned();
    let mut parts = path.split(|c| *c == b'/').peekable();
    while let Some(part) = parts.next() {
        place.push(OsStr::from_bytes(part));
        match place.symlink_metadata() {
            Err(_) => return Ok(None),
            Ok(it) if parts.peek().is_some() && !it.is_dir() => return Ok(None),
            Ok(_) => (),
        }
    }
    let found = place.symlink_metadata().map_err(failed)?;
    if found.is_symlink() {
        let target = std::fs::read_link(&place).map_err(failed)?;
        return Ok(Some((ContentKind::Link, target.as_os_str().as_bytes().to_vec())));
    }
    if !found.is_file() || found.len() > limit {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(&place).and_then(|it| it.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    let is_executable = found.permissions().mode() & 0o100 != 0;
    Ok(Some((if is_executable { ContentKind::Executable } else { ContentKind::File }, bytes)))
}

/// As [`read_at`], only what git calls it.
pub(super) fn read_back(top: &Path, path: &[u8], limit: u64) -> Result<Option<Content>, Problem> {
    let content = |(kind, bytes): (ContentKind, Vec<u8>)| Ok(Content { kind, id: blob_id(&bytes)? });
    read_at(top, path, limit)?.map(content).transpose()
}
