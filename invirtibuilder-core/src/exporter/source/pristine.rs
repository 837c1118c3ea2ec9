//! Upstream tarballs from the branch `pristine-tar` (pristine-tar(1)).
//!
//! Its deltas are whatever somebody pushed, so `pristine-tar` and the programs that it calls run inside walls, on a tree
//! that was listed and judged before it was written. Never lets it look into the repository.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::ObjectId;
use gix::objs::{Kind, TreeRefIter};

use super::origs::{Orig, OrigName};
use super::tree::{self, Listed};
use super::{Export, Problem, confinement::run_apart, shown};
use crate::builder::scratch::Part;
use crate::durable::scratch;
use crate::process::ProcessError;
use crate::repository::FileAt;

const BRANCH: &str = "refs/heads/pristine-tar";
/// How many bytes a delta may have.
const MAX_DELTA: u64 = 128 << 20;
/// How many bytes a signature or an id may have.
const MAX_SMALL: u64 = 1 << 20;

impl Export<'_> {
    /// Makes the tarballs that the branch has deltas of.
    pub(super) fn pristine_origs(
        &mut self,
        found: &mut Vec<Orig>,
        tried: &mut Vec<String>,
    ) -> Result<(), Problem> {
        let Some(head) = self.repository.reference(BRANCH)? else {
            tried.push("there is no branch pristine-tar".to_owned());
            return Ok(());
        };
        let branch = self.repository.commit(head)?.tree;
        let names = self.names_in(branch)?;
        let mut deltas: Vec<OrigName> =
            names.iter().filter_map(|it| self.orig_name(it.strip_suffix(".delta")?)).collect();
        deltas.retain(|it| !it.is_signature);
        if deltas.is_empty() {
            tried.push("the branch pristine-tar has no delta of that version".to_owned());
            return Ok(());
        }
        // Who made the delta wanted these bytes, whatever is to be done for the next version.
        if self.facts.gbp.pristine_tar == Some(false) {
            self.note(
                "debian/gbp.conf says pristine-tar = False, but the branch pristine-tar has that version",
            );
        }
        let wanted = self.facts.gbp.compression.clone();
        let extension = |it: &OrigName| {
            let is_wanted = wanted.as_deref().is_some_and(|wanted| {
                wanted == it.extension || matches!((wanted, it.extension), ("gzip", "gz") | ("bzip2", "bz2"))
            });
            !is_wanted
        };
        deltas.sort_by_key(|it| (it.component.is_some(), extension(it)));
        let components: BTreeSet<String> = deltas.iter().filter_map(|it| it.component.clone()).collect();
        for name in deltas {
            if Self::has_role(found, &name) {
                continue;
            }
            let tree = self.tree_of(branch, &name, &components)?;
            self.regenerate(branch, name, &tree, found)?;
        }
        let signatures = names.iter().filter_map(|it| self.orig_name(it)).filter(|it| it.is_signature);
        for name in signatures.collect::<Vec<_>>() {
            let bytes = self.read_of(branch, name.name.as_str(), MAX_SMALL)?;
            let path = self.work.join(name.name.as_str());
            scratch::write_new(&path, &bytes, 0o644)?;
            let of = name.name.as_str().trim_end_matches(".asc").to_owned();
            if found.iter().any(|it| it.name.as_str() == of) {
                self.add_orig(found, name, &path, "what the branch pristine-tar has")?;
            }
        }
        Ok(())
    }

    fn names_in(&self, tree: ObjectId) -> Result<Vec<String>, Problem> {
        let data = self.repository.read(tree, Kind::Tree)?;
        let mut names = Vec::new();
        for entry in TreeRefIter::from_bytes(&data, tree.kind()) {
            let entry = entry
                .map_err(|_| Problem::Tree("the branch pristine-tar has no well-formed tree".to_owned()))?;
            names.extend(std::str::from_utf8(entry.filename).map(str::to_owned));
        }
        Ok(names)
    }

    fn read_of(&self, branch: ObjectId, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        let bad = |what: &str| Problem::Tree(format!("{name} of the branch pristine-tar {what}"));
        match self.repository.file(branch, name, limit)? {
            FileAt::Bytes(bytes) => Ok(bytes),
            FileAt::Absent => Err(bad("is missing; run `pristine-tar commit` again")),
            FileAt::Unfit(problem) => Err(bad(&format!("cannot be used: {problem}"))),
        }
    }

    /// Lists the tree that a tarball is made of.
    fn tree_of(
        &self,
        branch: ObjectId,
        name: &OrigName,
        components: &BTreeSet<String>,
    ) -> Result<Vec<Listed>, Problem> {
        let id_file = format!("{}.id", name.name);
        let text = self.read_of(branch, &id_file, MAX_SMALL)?;
        let text = String::from_utf8_lossy(&text);
        let bad = |what: &str| Problem::Tree(format!("{id_file} of the branch pristine-tar {what}"));
        let id = ObjectId::from_hex(text.trim().as_bytes()).map_err(|_| bad("is not the id of an object"))?;
        match self.repository.kind(id)? {
            Some(Kind::Tree) => return tree::list(&self.repository, id, &self.exporter.limits),
            Some(Kind::Commit) => {
                let tree = self.repository.commit(id)?.tree;
                return tree::list(&self.repository, tree, &self.exporter.limits);
            }
            Some(_) => return Err(bad("is the id of something that has no files")),
            None => (),
        }
        // git-buildpackage names the main tarball's tree without the components' directories, and nothing keeps that.
        if let Ok((upstream, _, _)) = self.upstream_tree()?
            && name.component.is_none()
            && self.tree_without(upstream, components)? == id
        {
            let entries = tree::list(&self.repository, upstream, &self.exporter.limits)?;
            let is_main = |it: &Listed| !components.iter().any(|name| tree::is_in(&it.path, name.as_bytes()));
            return Ok(entries.into_iter().filter(is_main).collect());
        }
        Err(bad(&format!("names the tree {id}, which is not in the repository; push the branch that has it")))
    }

    /// Returns the id of a tree without some of its directories.
    fn tree_without(&self, tree: ObjectId, names: &BTreeSet<String>) -> Result<ObjectId, Problem> {
        let data = self.repository.read(tree, Kind::Tree)?;
        let mut kept = gix::objs::Tree::empty();
        for entry in TreeRefIter::from_bytes(&data, tree.kind()) {
            let entry = entry.map_err(|_| Problem::Tree("upstream's tree is not well-formed".to_owned()))?;
            if !names.iter().any(|it| entry.filename == it.as_str()) {
                kept.entries.push(gix::objs::tree::Entry {
                    mode: entry.mode,
                    filename: entry.filename.into(),
                    oid: entry.oid.to_owned(),
                });
            }
        }
        let mut bytes = Vec::new();
        gix::objs::WriteTo::write_to(&kept, &mut bytes).map_err(|e| Problem::Backend(e.into()))?;
        gix::objs::compute_hash(tree.kind(), Kind::Tree, &bytes).map_err(|e| Problem::Backend(e.into()))
    }

    fn regenerate(
        &mut self,
        branch: ObjectId,
        name: OrigName,
        entries: &[Listed],
        found: &mut Vec<Orig>,
    ) -> Result<(), Problem> {
        let confinement = self.exporter.confinement.clone().ok_or_else(|| {
            Problem::Backend("this exporter has no account and directory for pristine-tar to run in".into())
        })?;
        let delta = self.read_of(branch, &format!("{}.delta", name.name), MAX_DELTA)?;
        let entry = confinement.enter().map_err(Problem::Backend)?;
        let (input, output) = (entry.part(Part::Input), entry.part(Part::Output));
        scratch::write_new(&input.join("delta"), &delta, 0o644)?;
        let top = input.join("tree");
        scratch::create_directory(&top, 0o755)?;
        let all: Vec<&Listed> = entries.iter().collect();
        tree::write(&self.repository, &all, &top, self.time)?;
        make_directories(&delta, &top)?;
        let tarball = output.join(name.name.as_str());
        let delta = input.join("delta");
        let arguments: [&OsStr; 3] = ["gentar".as_ref(), delta.as_os_str(), tarball.as_os_str()];
        run_apart(&confinement, &entry, &top, "pristine-tar", &arguments).map_err(|e| match e {
            ProcessError::Failed { stderr, .. } => Problem::Tree(format!(
                "pristine-tar cannot make {} from its delta and the tree that it names: {}; run `pristine-tar commit` again",
                name.name,
                shown(&stderr)
            )),
            ProcessError::Limit { limit, .. } => {
                Problem::Tree(format!("pristine-tar was ended while it made {}: {limit}", name.name))
            }
            other => Problem::Backend(other.into()),
        })?;
        self.add_orig(found, name, &tarball, "made by pristine-tar")?;
        entry.remove().map_err(Problem::Backend)
    }
}

/// Makes the directories that a delta's manifest names and git does not have, because nothing is in them.
fn make_directories(delta: &[u8], top: &Path) -> Result<(), Problem> {
    const MANIFEST: u64 = 64 << 20;
    let mut text = Vec::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(delta));
    let Ok(entries) = archive.entries() else { return Ok(()) };
    for entry in entries {
        // What is no delta, pristine-tar refuses.
        let Ok(entry) = entry else { return Ok(()) };
        if entry.path_bytes().ends_with(b"manifest") {
            if entry.take(MANIFEST).read_to_end(&mut text).is_err() {
                return Ok(());
            }
            break;
        }
    }
    let lines: Vec<Vec<u8>> = text.split(|c| *c == b'\n').filter(|it| !it.is_empty()).map(unquoted).collect();
    let first = |it: &[u8]| it.split(|c| *c == b'/').next().unwrap_or_default().to_vec();
    let tops: BTreeSet<Vec<u8>> = lines.iter().map(|it| first(it)).collect();
    for line in lines.iter().filter(|it| it.ends_with(b"/")) {
        let below = if tops.len() == 1 {
            line.iter().position(|c| *c == b'/').and_then(|it| line.get(it + 1..))
        } else {
            Some(&**line)
        };
        let mut path = top.to_owned();
        for part in below.unwrap_or_default().split(|c| *c == b'/').filter(|it| !it.is_empty() && *it != b".")
        {
            if part == b".." || part.contains(&0) || part.len() > 255 {
                return Err(Problem::Tree(
                    "a delta of the branch pristine-tar names a path that leads out".to_owned(),
                ));
            }
            path.push(OsStr::from_bytes(part));
            match path.symlink_metadata() {
                Ok(it) if it.is_dir() => (),
                Ok(_) => break,
                Err(_) => scratch::create_directory(&path, 0o755)?,
            }
        }
    }
    Ok(())
}

/// Undoes the quoting of tar(1)'s lists.
pub(super) fn unquoted(line: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.iter().copied().peekable());
    while let Some(c) = rest.next() {
        if c != b'\\' {
            bytes.push(c);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(c @ b'0'..=b'7') => {
                let mut value = u32::from(c - b'0');
                for _ in 0..2 {
                    if let Some(digit @ b'0'..=b'7') = rest.peek().copied() {
                        value = value * 8 + u32::from(digit - b'0');
                        rest.next();
                    }
                }
                bytes.push(u8::try_from(value & 255).unwrap_or_default());
            }
            Some(other) => bytes.push(other),
            None => (),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::unquoted;

    #[test]
    fn what_tar_quoted_is_read() {
        assert_eq!(unquoted(b"a\\303\\244/b\\\\c\\n"), "aä/b\\c\n".as_bytes());
    }
}
