//! Differences as text: the `.diff.gz` of the format `1.0`, and what a refusal shows.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::objs::Kind;

use super::compare::{Differences, Upstream};
use super::dsc::told;
use super::listing::ContentKind;
use super::tree::{self, Become, Listed};
use super::{Export, Problem};
use crate::durable::{self, scratch};
use crate::process::{Command, ProcessError};

impl Export<'_> {
    /// Makes a source package of format `1.0` with an upstream tarball.
    ///
    /// dpkg-source writes the diff, of a small upstream tarball and a small tree that hold what differs only.
    pub(super) fn make_one(&mut self) -> Result<Vec<String>, Problem> {
        let origs = self.find_origs()?;
        let upstream = self.upstream(&origs)?;
        let ours = self.ours();
        let differences = self.differences(&ours, &upstream.contents);
        let missing: Differences =
            differences.iter().filter(|it| it.1.ours.is_none()).map(|it| (it.0.clone(), *it.1)).collect();
        if !missing.is_empty() {
            return Err(self.refuse(&missing, &upstream, ", and a diff cannot remove files")?);
        }
        let outside = differences.keys().filter(|it| !tree::is_in(it, b"debian")).count();
        self.note(format!("the diff changes {outside} files outside of debian/"));
        let is_chosen = |path: &[u8]| differences.contains_key(path) || tree::is_in(path, b"debian");
        let name = self.make_diff(&upstream, &is_chosen)?;
        let mut files: Vec<String> = origs.into_iter().map(|it| it.name.to_string()).collect();
        files.push(name);
        Ok(files)
    }

    fn make_diff(&self, upstream: &Upstream, is_chosen: &dyn Fn(&[u8]) -> bool) -> Result<String, Problem> {
        let place = self.work.join("diff");
        scratch::create_directory(&place, 0o755)?;
        let paths: BTreeSet<Vec<u8>> = upstream.contents.keys().filter(|it| is_chosen(it)).cloned().collect();
        self.write_small_orig(upstream, &paths, &place)?;
        self.write_part(is_chosen, &place.join(self.top()))?;
        self.run_diff(&place)
    }

    /// Writes the chosen part of the commit's tree, with the changelog that the source package gets.
    pub(super) fn write_part(&self, is_chosen: &dyn Fn(&[u8]) -> bool, top: &Path) -> Result<(), Problem> {
        let above: BTreeSet<Vec<u8>> =
            self.entries.iter().filter(|it| is_chosen(&it.path)).flat_map(above).collect();
        let is_in = |it: &&Listed| match it.becomes {
            Become::Directory => above.contains(&it.path),
            _ => is_chosen(&it.path),
        };
        let chosen: Vec<&Listed> = self.entries.iter().filter(is_in).collect();
        scratch::create_directory(top, 0o755)?;
        tree::write(&self.repository, &chosen, top, self.time)?;
        if let Some(changelog) = &self.facts.new_changelog {
            scratch::remove_file(&top.join("debian/changelog"))?;
            scratch::write_new(&top.join("debian/changelog"), changelog, 0o644)?;
            scratch::set_time(&top.join("debian/changelog"), self.time)?;
        }
        Ok(())
    }

    fn run_diff(&self, place: &Path) -> Result<String, Problem> {
        let origins = self.work.join("diff-origins");
        scratch::create_directory(&origins, 0o755)?;
        let command = Command::new("dpkg-source")
            .env("SOURCE_DATE_EPOCH", self.time.to_string())
            .env("DPKG_ORIGINS_DIR", &origins)
            .current_dir(place)
            .args(["--format=1.0", "-sp", "-Zgzip", "-z9", "-Fdebian", "-b"])
            .arg(self.top());
        command.run().map_err(|e| match e {
            ProcessError::Failed { stderr, .. } => {
                Problem::Tree(format!("dpkg-source refuses it: {}", told(&stderr)))
            }
            other => Problem::Backend(other.into()),
        })?;
        let name = format!("{}.diff.gz", self.stem());
        durable::copy(&place.join(&name), &self.into.join(&name))?;
        Ok(name)
    }

    /// Writes an upstream tarball with these files of upstream's into a directory.
    pub(super) fn write_small_orig(
        &self,
        upstream: &Upstream,
        paths: &BTreeSet<Vec<u8>>,
        place: &Path,
    ) -> Result<(), Problem> {
        let failed = |e: std::io::Error| Problem::Backend(e.into());
        let plain =
            place.join(format!("{}_{}.orig.tar", self.plan.package(), self.plan.version().upstream()));
        let mut tar = tar::Builder::new(Vec::new());
        let top = format!("{}.orig", self.top());
        let mut directory = tar::Header::new_gnu();
        directory.set_entry_type(tar::EntryType::Directory);
        directory.set_mode(0o755);
        directory.set_mtime(self.time.unsigned_abs());
        directory.set_size(0);
        tar.append_data(&mut directory, format!("{top}/"), std::io::empty()).map_err(failed)?;
        for (path, kind, bytes) in self.pick(upstream, paths)? {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(self.time.unsigned_abs());
            let path = [top.as_bytes(), b"/", &path].concat();
            let path = Path::new(OsStr::from_bytes(&path));
            if kind == ContentKind::Link {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                tar.append_link(&mut header, path, Path::new(OsStr::from_bytes(&bytes))).map_err(failed)?;
            } else {
                header.set_mode(if kind == ContentKind::Executable { 0o755 } else { 0o644 });
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice()).map_err(failed)?;
            }
        }
        scratch::write_new(&plain, &tar.into_inner().map_err(failed)?, 0o644)?;
        let command = Command::new("gzip").args(["-1", "-n", "--"]).arg(&plain);
        command.run().map(drop).map_err(|e| Problem::Backend(e.into()))
    }

    /// Returns the beginning of the differences as `diff -u` shows them, to be put at the end of a refusal.
    pub(super) fn diff_of(&self, differences: &Differences, upstream: &Upstream) -> Result<String, Problem> {
        const FILES: usize = 4;
        const LINES: usize = 60;
        const BYTES: usize = 1 << 20;
        let paths: BTreeSet<Vec<u8>> = differences.keys().take(FILES).cloned().collect();
        let picked: BTreeMap<Vec<u8>, Vec<u8>> =
            self.pick(upstream, &paths)?.into_iter().map(|(path, _, bytes)| (path, bytes)).collect();
        let mut text = String::new();
        for path in &paths {
            let ours = self.entries.iter().find(|it| it.path == *path && it.becomes != Become::Directory);
            let ours =
                ours.map(|it| self.repository.read(it.id, Kind::Blob)).transpose()?.unwrap_or_default();
            let theirs = picked.get(path).cloned().unwrap_or_default();
            if ours == theirs || ours.len() > BYTES || theirs.len() > BYTES {
                continue;
            }
            let (a, b) = (self.work.join("a"), self.work.join("b"));
            durable::write(&a, &theirs)?;
            durable::write(&b, &ours)?;
            let shown = super::shown_path(path);
            let command = Command::new("diff").args([
                "-u",
                "--label",
                &format!("upstream/{shown}"),
                "--label",
                &format!("commit/{shown}"),
                "--",
            ]);
            let mut output = Vec::new();
            let run = command.arg(&a).arg(&b).run_logged(&mut output, &crate::stop::Never);
            run.map_err(|e| Problem::Backend(e.into()))?;
            text.push_str(&String::from_utf8_lossy(&output));
        }
        let lines: Vec<String> = text.lines().take(LINES).map(super::shown).collect();
        Ok(if lines.is_empty() { String::new() } else { format!("\n{}", lines.join("\n")) })
    }
}

/// Returns the directories above an entry.
fn above(it: &Listed) -> Vec<Vec<u8>> {
    let ends = it.path.iter().enumerate().filter(|it| *it.1 == b'/').map(|it| it.0);
    ends.filter_map(|end| it.path.get(..end).map(<[u8]>::to_vec)).chain([it.path.clone()]).collect()
}
