//! Upstream tarballs made of the tag or branch that `debian/gbp.conf` names: always the same bytes, but not those that
//! upstream or Debian has.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::objs::Kind;

use super::origs::Orig;
use super::tarball::{ORIG_LEVEL, Packing};
use super::tree::{self, Listed};
use super::{Export, MAX_TIME, Problem};
use crate::exporter::source::format::Format;

/// A tree, when it was committed, and the ref that names it.
type Named = (ObjectId, i64, String);

impl Export<'_> {
    /// Returns upstream's tree, when it was committed, and what names it; or why there is none.
    pub(super) fn upstream_tree(&self) -> Result<Result<Named, String>, Problem> {
        let gbp = &self.facts.gbp;
        let name = if gbp.is_branch {
            format!("refs/heads/{}", gbp.upstream_branch())
        } else {
            format!("refs/tags/{}", gbp.upstream_tag(self.plan.version()))
        };
        if gix::refs::FullName::try_from(name.as_str()).is_err() {
            return Ok(Err(
                "debian/gbp.conf names an upstream tag or branch that git does not allow".to_owned()
            ));
        }
        let Some(id) = self.repository.reference(&name)? else {
            return Ok(Err(format!("there is no {name}")));
        };
        let (id, kind) = self.repository.peel(id)?;
        if kind != Kind::Commit {
            return Ok(Err(format!("{name} is not a commit")));
        }
        let commit = self.repository.commit(id)?;
        Ok(Ok((commit.tree, commit.time.unwrap_or(0).clamp(0, MAX_TIME), name)))
    }

    /// Makes the tarballs of upstream's tag.
    pub(super) fn upstream_origs(
        &mut self,
        found: &mut Vec<Orig>,
        tried: &mut Vec<String>,
    ) -> Result<(), Problem> {
        let (tree, time, name) = match self.upstream_tree()? {
            Ok(found) => found,
            Err(reason) => {
                tried.push(reason);
                return Ok(());
            }
        };
        let extension = match self.facts.gbp.compression.as_deref() {
            _ if self.facts.format == Format::One => "gz",
            Some("xz") => "xz",
            Some("bzip2" | "bz2") => "bz2",
            _ => "gz",
        };
        let entries = tree::list(&self.repository, tree, &self.exporter.limits)?;
        let components: Vec<String> = match self.facts.format {
            Format::One => Vec::new(),
            _ => self.facts.gbp.components.clone(),
        };
        let stem = format!("{}_{}", self.plan.package(), self.plan.version().upstream());
        let is_component = |it: &Listed, name: &str| tree::is_in(&it.path, name.as_bytes());
        for component in std::iter::once(None).chain(components.iter().map(Some)) {
            let middle = component.map(|it| format!("-{it}")).unwrap_or_default();
            let Some(file) = self.orig_name(&format!("{stem}.orig{middle}.tar.{extension}")) else {
                tried.push("debian/gbp.conf names a component that cannot be one".to_owned());
                continue;
            };
            if Self::has_role(found, &file) {
                continue;
            }
            let (top, chosen) = match component {
                None => {
                    let main =
                        entries.iter().filter(|it| !components.iter().any(|name| is_component(it, name)));
                    (self.top(), main.cloned().collect::<Vec<_>>())
                }
                Some(name) => (name.clone(), below(&entries, name)),
            };
            let chosen: Vec<&Listed> = chosen.iter().collect();
            let path = self.work.join(file.name.as_str());
            let nothing = BTreeMap::new();
            let packing = Packing { repository: &self.repository, time, replaced: &nothing };
            match extension {
                "xz" => packing.xz(&chosen, &top, ORIG_LEVEL, &path)?,
                "bz2" => packing.bz2(&chosen, &top, &path)?,
                _ => packing.gz(&chosen, &top, &path)?,
            }
            let origin = format!("made of {name}, and so not the bytes that anybody else has");
            self.add_orig(found, file, &path, &origin)?;
        }
        Ok(())
    }
}

/// Returns what is in a directory, with paths from there.
pub(super) fn below(entries: &[Listed], directory: &str) -> Vec<Listed> {
    let inside = |it: &Listed| {
        let path = it.path.strip_prefix(directory.as_bytes())?.strip_prefix(b"/")?.to_vec();
        Some(Listed { path, ..it.clone() })
    };
    entries.iter().filter_map(inside).collect()
}
