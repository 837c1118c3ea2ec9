//! The suites of pockets that a build sees besides its base (`build_against`), as apt sees them.
//!
//! What they serve at one moment is copied to where apt of the account of builds can read it. That apt verifies the
//! signature, with the site's keys as the signer has them, and reads the lists of the tree beside those. Files are then
//! taken from the archive itself, by their hashes. So neither a publication meanwhile nor somebody who can write to the
//! archive changes what a build sees; and no account of builds needs to reach the archive.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::apt::Sources;
use super::{Package, fetch, sort};
use crate::builder::overlay::store::{Kept, Kind, Store};
use crate::builder::overlay::tree::Tree;
use crate::builder::overlay::{Trouble, Workplace};
use crate::builder::scratch::{Entry, Part};
use crate::durable::{NewFile, scratch};
use crate::error::BoxError;
use crate::names::{Architecture, PocketName};
use crate::publisher::local::{LocalError, LocalSource, Moment};

/// The file of the copied indices that has the site's public keys.
const KEYS: &str = "archive-key.asc";
/// The name of the `.sources` file with the suites.
const SOURCES: &str = "invirtibuilder.sources";
/// A suite may tell clients to take nothing from it by themselves (`NotAutomatic`). A build takes from it as from the
/// base: somebody named it for that.
const PREFERENCES: &str = "Package: *\nPin: origin \"\"\nPin-Priority: 500\n";
/// How many copies of indices, and lists made of them, are kept for the next build that sees the same.
const KEPT: usize = 12;
/// What the place of a package begins with that the site itself serves.
const LOCAL: &str = "local:";

/// The suites that builds of a pocket see besides the base.
#[derive(Clone, Copy, Debug)]
pub(in crate::builder) struct Against<'a> {
    source: Option<&'a LocalSource>,
    pockets: &'a [PocketName],
}

impl Package {
    /// Returns where the site's archive has it; `None` if it comes from the mirror.
    pub(super) fn local(&self) -> Option<&Path> {
        self.uri.strip_prefix(LOCAL).map(Path::new)
    }
}

impl<'a> Against<'a> {
    /// Takes the pockets whose suites a build sees.
    pub(in crate::builder) fn new(
        source: Option<&'a LocalSource>,
        pockets: &'a [PocketName],
    ) -> Result<Self, BoxError> {
        if source.is_none() && !pockets.is_empty() {
            return Err(
                "this builder knows no archive to build against; give it one by `with_archive`".into()
            );
        }
        Ok(Self { source, pockets })
    }

    fn read(&self) -> Result<Option<Moment>, Trouble> {
        let source = self.source.filter(|_| !self.pockets.is_empty());
        source.map(|it| it.now(self.pockets).map_err(trouble)).transpose()
    }

    /// Returns a text that is another one whenever the suites serve something else.
    pub(super) fn now(&self) -> Result<String, Trouble> {
        Ok(self.read()?.map_or_else(no_moment, |it| it.id()))
    }

    /// Makes what apt reads ready: the lists of the tree, which are those of a stamp, and what the suites serve now.
    pub(super) fn view(
        &self,
        place: &Workplace<'_>,
        tree: &Tree,
        architecture: &Architecture,
        stamp: &str,
        log: &mut (dyn Write + Send),
    ) -> Result<View, Trouble> {
        let lists = place.store.take(Kind::Lists, &tree.id)?;
        let lists = lists.ok_or_else(|| Trouble::Machine("apt's lists are gone".into()))?;
        let (Some(source), Some(moment)) = (self.source, self.read()?) else {
            return Ok(View { lists, suites: None });
        };
        let (indices, moment) = copied(place, source, moment, architecture)?;
        let name = Store::name_this_boot(&[&*tree.id, stamp, architecture.as_str(), &moment.id()])?;
        let combined = match place.store.take(Kind::Combined, &name)? {
            Some(combined) => combined,
            None => combine(place, tree, architecture, (&lists, &indices), &name, log)?,
        };
        Ok(View { lists: combined, suites: Some((indices, moment)) })
    }
}

fn no_moment() -> String {
    "base".to_owned()
}

fn trouble(error: LocalError) -> Trouble {
    Trouble::Machine(error.into())
}

/// What apt reads.
#[derive(Debug)]
pub(super) struct View {
    lists: Kept,
    suites: Option<(Kept, Moment)>,
}

impl View {
    /// Returns the moment of the suites that it shows, as [`Against::now`] does.
    pub(super) fn moment(&self) -> String {
        self.suites.as_ref().map_or_else(no_moment, |it| it.1.id())
    }

    /// Returns it as apt wants it, with files in an entry.
    pub(super) fn sources<'a>(&'a self, tree: &'a Tree, entry: &Entry) -> Result<Sources<'a>, BoxError> {
        if self.suites.is_none() {
            return Ok(Sources::of_kept(tree, &self.lists.path));
        }
        let mut sources = Sources::of(tree, &self.lists.path);
        if let Some((indices, _)) = &self.suites {
            let parts = entry.part(Part::Input).join("sources");
            scratch::create_directory(&parts, 0o755)?;
            for found in std::fs::read_dir(&sources.parts).into_iter().flatten() {
                let path = found?.path();
                let name = path.file_name().unwrap_or_default();
                if path.is_file() && name != SOURCES {
                    scratch::write_new(&parts.join(name), &std::fs::read(&path)?, 0o644)?;
                }
            }
            let own = std::fs::read(indices.path.join(SOURCES))?;
            scratch::write_new(&parts.join(SOURCES), &own, 0o644)?;
            sources.parts = parts;
            sources.preferences = entry.part(Part::Input).join("preferences");
            scratch::write_new(&sources.preferences, PREFERENCES.as_bytes(), 0o644)?;
        }
        Ok(sources)
    }

    /// Says of each package that the site serves where its archive has it.
    pub(super) fn locate(&self, packages: Vec<Package>) -> Result<Vec<Package>, Trouble> {
        let Some((indices, moment)) = &self.suites else { return Ok(packages) };
        let prefix = format!("copy:{}/", indices.path.display());
        let locate = |mut package: Package| {
            if package.uri.starts_with(&prefix) {
                let path = PathBuf::from(decode(package.uri.trim_start_matches("copy:")));
                let original = moment.original(&indices.path, &path);
                let original = original.ok_or_else(|| {
                    Trouble::Machine(format!("apt found a package at {}", package.uri).into())
                })?;
                package.uri = format!("{LOCAL}{}", original.display());
            }
            Ok(package)
        };
        packages.into_iter().map(locate).collect()
    }
}

/// Copies a package from the archive, if it is the one that apt found.
pub(super) fn take(package: &Package, to: &Path) -> Result<NewFile, Trouble> {
    let from = package.local().unwrap_or(Path::new("/nonexistent"));
    if !from.exists() {
        // Something newer is served, and this is not kept any more.
        return Err(Trouble::Moment(format!("{} is gone", from.display())));
    }
    Ok(fetch::take(from, package, to)?)
}

/// Undoes what apt does to bytes of a path that a URI may not have.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let byte = digits.and_then(|it| u8::from_str_radix(it, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { others.get(2..).unwrap_or_default() } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Copies what suites serve, unless that was done.
fn copied(
    place: &Workplace<'_>,
    source: &LocalSource,
    moment: Moment,
    architecture: &Architecture,
) -> Result<(Kept, Moment), Trouble> {
    let name = |it: &Moment| Store::name_this_boot(&[architecture.as_str(), &it.id()]);
    if let Some(kept) = place.store.take(Kind::Indices, &name(&moment)?)? {
        return Ok((kept, moment));
    }
    let entry = place.store.workshop().enter(place.walls)?;
    let directory = entry.part(Part::Input).join("indices");
    scratch::create_directory(&directory, 0o755).map_err(|e| Trouble::Machine(e.into()))?;
    let moment = moment.copy(architecture, &directory).map_err(trouble)?;
    let name = name(&moment)?;
    let final_place = place.store.all(Kind::Indices)?.join(&name);
    let keys = source.public_key().map_err(trouble)?;
    let text = moment.sources(&final_place, &final_place.join(KEYS), architecture);
    let files = [(KEYS, keys.as_bytes()), (SOURCES, text.as_bytes())];
    for (file, bytes) in files {
        scratch::write_new(&directory.join(file), bytes, 0o644).map_err(|e| Trouble::Machine(e.into()))?;
    }
    // A suite without by-hash may have changed to what another build copied.
    if place.store.take(Kind::Indices, &name)?.is_none() {
        place.store.keep_this_boot(Kind::Indices, &name, &directory)?;
    }
    entry.remove()?;
    place.store.remove_oldest(Kind::Indices, KEPT, place.walls)?;
    for old in place.store.old_moments(KEPT) {
        place.store.forget_answers_of(&old)?;
    }
    let kept = place.store.take(Kind::Indices, &name)?;
    let kept =
        kept.ok_or_else(|| Trouble::Moment("what the suites serve was removed meanwhile".to_owned()))?;
    Ok((kept, moment))
}

/// Lets apt verify and read what was copied, and adds the lists of the tree.
fn combine(
    place: &Workplace<'_>,
    tree: &Tree,
    architecture: &Architecture,
    (lists, indices): (&Kept, &Kept),
    name: &str,
    log: &mut (dyn Write + Send),
) -> Result<Kept, Trouble> {
    let machine = |e: BoxError| Trouble::Machine(e);
    writeln!(log, "invirtibuilder: reading what the suites to build against serve")
        .map_err(|e| machine(e.into()))?;
    let entry = place.store.workshop().enter(place.walls)?;
    let into = entry.part(Part::Chroots);
    let parts = entry.part(Part::Input).join("own");
    scratch::create_directory(&parts, 0o755).map_err(|e| machine(e.into()))?;
    let text = std::fs::read(indices.path.join(SOURCES)).map_err(|e| machine(e.into()))?;
    scratch::write_new(&parts.join(SOURCES), &text, 0o644).map_err(|e| machine(e.into()))?;
    let (list, preferences) = ("/dev/null".into(), "/dev/null".into());
    let sources = Sources { tree, lists: &into, list, parts, preferences, computed: None };
    let command = place.apt("apt-get", &entry, &sources, architecture)?.args(["-q", "update"]);
    if let Err(problem) = sort(command.run_interruptible(place.interrupt))? {
        let problem = problem.lines().filter(|it| it.starts_with("E: ") || it.starts_with("W: "));
        let problem = problem.collect::<Vec<_>>().join("; ");
        return Err(machine(
            format!(
                "apt refuses what the site's own archive serves, which somebody may have changed: {problem}"
            )
            .into(),
        ));
    }
    for found in std::fs::read_dir(&lists.path).map_err(|e| machine(e.into()))? {
        let path = found.map_err(|e| machine(e.into()))?.path();
        let to = into.join(path.file_name().unwrap_or_default());
        if path.is_file() && !to.exists() {
            scratch::link(&path, &to).map_err(|e| machine(e.into()))?;
        }
    }
    place.store.keep_this_boot(Kind::Combined, name, &into)?;
    entry.remove()?;
    place.store.remove_oldest(Kind::Combined, KEPT, place.walls)?;
    let kept = place.store.take(Kind::Combined, name)?;
    kept.ok_or_else(|| Trouble::Moment("lists that were just made are gone".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_writes_for_a_byte_is_that_byte() {
        assert_eq!(decode("/a/b_1%3a2%2b%7e3.deb"), "/a/b_1:2+~3.deb");
        assert_eq!(decode("/a%zz%4"), "/a%zz%4");
    }
}
