//! Bases as directories: each tarball is unpacked once, into a tree that belongs to the subordinate ids of the account
//! of builds and that nobody changes any more.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::room;
use super::store::{Kept, Kind, Store, identity};
use super::{Trouble, Workplace};
use crate::builder::base::Base;
use crate::builder::scratch::Part;
use crate::builder::walls::Walls;
use crate::durable;
use crate::error::BoxError;
use crate::names::{Architecture, BaseName, PackageName};

/// Changes when trees are made in another way.
const FORM: &str = "tree 2";

/// A base that rooms can be made of.
#[derive(Debug)]
pub(in crate::builder) struct Tree {
    /// What is in it: the hash of its packages and of where they came from.
    pub(in crate::builder) id: String,
    root: PathBuf,
    /// `None` for one that is not ours to remove.
    _kept: Option<Kept>,
}

impl Tree {
    /// Returns its root.
    pub(in crate::builder) fn root(&self) -> PathBuf {
        self.root.clone()
    }
}

/// Which tree was made of which tarball.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(default)]
    form: String,
    tarball: String,
    tree: String,
}

/// Returns the tree of a base, and makes it first if it is missing.
pub(in crate::builder) fn ensure(
    place: &Workplace<'_>,
    base: &Base,
    name: &BaseName,
    architecture: &Architecture,
    log: &mut (dyn Write + Send),
) -> Result<Tree, Trouble> {
    let Workplace { store, walls, interrupt, .. } = place;
    let key = format!("{name}-{architecture}");
    let file = store.all(Kind::Tree)?.join(format!("{key}.json"));
    if let Some(tree) = find(store, &file, base)? {
        return Ok(tree);
    }
    let _turn = store.turn(Kind::Tree, &key, *interrupt)?;
    if let Some(tree) = find(store, &file, base)? {
        return Ok(tree);
    }
    writeln!(log, "invirtibuilder: unpacking the base {name}").map_err(|e| Trouble::Machine(e.into()))?;
    let entry = store.workshop().enter(walls)?;
    let into = entry.part(Part::Chroots).join("tree");
    let command = room::unpack_command(place.helper, walls, &base.tarball, &into)?;
    place.run_for_us(command, log, "the base cannot be unpacked")?;
    let id = identify(&into)?;
    if store.take(Kind::Tree, &id)?.is_none() {
        store.keep(Kind::Tree, &id, &entry, Part::Chroots)?;
    }
    // The base is made anew, so apt's lists are to be as well.
    store.remove_soon(Kind::Lists, &id, walls)?;
    store.forget_answers()?;
    let record = Record { form: FORM.to_owned(), tarball: base.sha256.clone(), tree: id };
    let text = serde_json::to_vec_pretty(&record).map_err(|e| Trouble::Machine(e.into()))?;
    durable::write(&file, &text).map_err(|e| Trouble::Machine(e.into()))?;
    entry.remove()?;
    remove_old(store, walls)?;
    let tree = find(store, &file, base)?;
    tree.ok_or_else(|| Trouble::Machine(format!("the tree of the base {name} is gone").into()))
}

/// Returns a base that somebody else made, as it is in a directory.
pub(in crate::builder) fn of_directory(root: &Path) -> Result<Tree, BoxError> {
    Ok(Tree { id: identify(root)?, root: root.to_owned(), _kept: None })
}

/// Returns the packages in a base.
pub(in crate::builder) fn packages_in(root: &Path) -> Result<BTreeSet<PackageName>, BoxError> {
    let status = fs::read_to_string(root.join("var/lib/dpkg/status"))?;
    let names = status.lines().filter_map(|it| it.strip_prefix("Package: "));
    Ok(names.map(str::parse).collect::<Result<_, _>>()?)
}

fn find(store: &Store, file: &Path, base: &Base) -> Result<Option<Tree>, BoxError> {
    let Some(record) = read(file) else { return Ok(None) };
    if record.form != FORM || record.tarball != base.sha256 {
        return Ok(None);
    }
    let kept = store.take(Kind::Tree, &record.tree)?;
    Ok(kept.map(|kept| Tree { id: record.tree, root: kept.path.join("tree"), _kept: Some(kept) }))
}

fn read(file: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Hashes what makes a base the base that it is.
fn identify(root: &Path) -> Result<String, BoxError> {
    let status = fs::read_to_string(root.join("var/lib/dpkg/status"))?;
    let sources = fs::read_to_string(root.join("etc/apt/sources.list")).unwrap_or_default();
    let fields = ["Package: ", "Version: ", "Architecture: "];
    let packages = status.lines().filter(|line| fields.iter().any(|it| line.starts_with(it)));
    Ok(identity([FORM, &sources].into_iter().chain(packages)))
}

/// Removes the trees that no base has any more, with their lists, unless a build uses them.
fn remove_old(store: &Store, walls: &Walls) -> Result<(), BoxError> {
    let directory = store.all(Kind::Tree)?;
    let entries = fs::read_dir(&directory)?.filter_map(Result::ok).map(|it| it.path());
    let records = entries.filter(|it| it.extension().is_some_and(|it| it == "json"));
    let current: Vec<String> = records.filter_map(|it| read(&it)).map(|it| it.tree).collect();
    for name in store.names(Kind::Tree)? {
        if !current.contains(&name) && store.remove(Kind::Tree, &name, walls)? {
            store.remove(Kind::Lists, &name, walls)?;
        }
    }
    Ok(())
}
