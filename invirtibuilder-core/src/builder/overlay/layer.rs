//! Layers: what the installation of a set of packages changes in a base, kept for the next build that needs exactly
//! these packages.
//!
//! A layer is named by everything that it was made from: the tree, each package with its hash, and the domain of
//! trust, as maintainer scripts run while it is made. So what a pocket that is not trusted can bring into a layer is
//! only ever seen by that pocket. Nobody changes a layer: rooms have it as a read-only layer of their overlay.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::dependencies::{Package, link};
use super::room::{Plan, Shown, Step, Surroundings, User};
use super::store::{Kept, Kind, Store, identity, this_boot};
use super::tree::Tree;
use super::{Domain, Trouble, Workplace};
use crate::builder::scratch::Part;
use crate::builder::walls::Walls;
use crate::durable::{self, scratch};
use crate::error::BoxError;

/// Changes when layers are made in another way.
const FORM: &str = "layer 1";

/// Where the packages are in the room.
const PACKAGES: &str = "/build/packages";

/// A layer in use.
#[derive(Debug)]
pub(in crate::builder) struct Layer {
    /// Its name in the store.
    pub(in crate::builder) name: String,
    kept: Kept,
    /// Whether a power failure may take parts of it.
    is_new: bool,
}

impl Layer {
    /// Returns the directory that rooms have on top of the base.
    pub(in crate::builder) fn root(&self) -> PathBuf {
        self.kept.path.join("upper")
    }

    /// Makes a new layer outlast this boot of the machine: meanwhile it can be used.
    pub(super) fn sync(&self, store: &Store) -> Result<(), BoxError> {
        if !self.is_new {
            return Ok(());
        }
        durable::sync_file_system(&self.kept.path)?;
        let file = record_of(store, &self.name)?;
        let record: Record = serde_json::from_slice(&fs::read(&file)?)?;
        Ok(durable::write(&file, &serde_json::to_vec_pretty(&Record { boot: None, ..record })?)?)
    }
}

/// What is known of a layer. The time of its file is that of the layer's last use.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    tree: String,
    domain: String,
    packages: Vec<String>,
    bytes: u64,
    /// The boot of the machine with which it may vanish; `None` if it is synced.
    #[serde(default)]
    boot: Option<String>,
}

/// Returns the name of a layer.
pub(in crate::builder) fn name(tree: &Tree, packages: &[Package], domain: &Domain) -> String {
    let domain = domain.to_string();
    let start = [FORM, &tree.id, &domain];
    let packages = packages.iter().flat_map(|it| [it.file.as_str(), it.sha256.as_str()]);
    identity(start.into_iter().chain(packages))
}

/// Returns a layer that is there.
pub(in crate::builder) fn find(store: &Store, name: &str) -> Result<Option<Layer>, BoxError> {
    let Some(kept) = store.take(Kind::Layer, name)? else { return Ok(None) };
    let file = record_of(store, name)?;
    let Some(record) = fs::read(&file).ok().and_then(|it| serde_json::from_slice::<Record>(&it).ok()) else {
        return Ok(None);
    };
    let is_new = record.boot.is_some();
    if is_new && record.boot != Some(this_boot()?) {
        return Ok(None);
    }
    scratch::set_time(&file, now())?;
    Ok(Some(Layer { name: name.to_owned(), kept, is_new }))
}

fn record_of(store: &Store, name: &str) -> Result<PathBuf, BoxError> {
    Ok(store.all(Kind::Layer)?.join(format!("{name}.json")))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Returns the layer of some packages, which are at hand, and makes it first if it is missing.
pub(in crate::builder) fn ensure(
    place: &Workplace<'_>,
    tree: &Tree,
    packages: &[Package],
    domain: &Domain,
    log: &mut (dyn Write + Send),
) -> Result<Layer, Trouble> {
    let name = name(tree, packages, domain);
    if let Some(layer) = find(place.store, &name)? {
        return Ok(layer);
    }
    let _turn = place.store.turn(Kind::Layer, &name, place.interrupt)?;
    if let Some(layer) = find(place.store, &name)? {
        return Ok(layer);
    }
    install(place, tree, packages, domain, &name, log)?;
    let layer = find(place.store, &name)?;
    layer.ok_or_else(|| Trouble::Machine("a layer that was just made is gone".into()))
}

fn install(
    place: &Workplace<'_>,
    tree: &Tree,
    packages: &[Package],
    domain: &Domain,
    name: &str,
    log: &mut (dyn Write + Send),
) -> Result<(), Trouble> {
    let machine = |e: BoxError| Trouble::Machine(e);
    // What a dead run left without a record, or a dead machine without having written all of it, is of no use.
    place.store.remove(Kind::Layer, name, place.walls)?;
    let entry = place.store.workshop().enter(place.walls)?;
    let shown = entry.part(Part::Input).join("packages");
    scratch::create_directory(&shown, 0o755).map_err(|e| machine(e.into()))?;
    link(place.store, packages, &shown)?;
    let plan = Plan {
        lower: vec![tree.root()],
        upper: Some(entry.part(Part::Chroots)),
        memory: 0,
        disk: place.limits.disk,
        shown: vec![Shown { from: shown, at: PACKAGES.into() }],
        user: User::Root,
        surroundings: Surroundings::usual(),
        steps: vec![install_step(packages)],
        results: None,
        keep: None,
    };
    writeln!(log, "invirtibuilder: installing {} packages without network, for {domain}", packages.len())
        .map_err(|e| machine(e.into()))?;
    place.run_room(&plan, &entry, log).map_err(|e| match e {
        Trouble::Package(problem) => {
            Trouble::Package(format!("its build dependencies cannot be installed: {problem}"))
        }
        other => other,
    })?;
    let record = Record {
        tree: tree.id.clone(),
        domain: domain.to_string(),
        packages: packages.iter().map(|it| it.file.clone()).collect(),
        bytes: size(&entry.part(Part::Chroots).join("upper"), place.walls)?,
        boot: Some(this_boot()?),
    };
    place.store.keep_this_boot(Kind::Layer, name, &entry.part(Part::Chroots))?;
    let text = serde_json::to_vec_pretty(&record).map_err(|e| machine(e.into()))?;
    durable::write(&record_of(place.store, name)?, &text).map_err(|e| machine(e.into()))?;
    Ok(entry.remove()?)
}

/// Returns how packages that lie at their place are installed.
pub(super) fn install_step(packages: &[Package]) -> Step {
    const OPTIONS: [&str; 4] = [
        "Dpkg::Use-Pty=false",
        "APT::Sandbox::User=root",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
    ];
    let mut arguments: Vec<String> = ["-q", "--yes", "--no-install-recommends"].map(str::to_owned).into();
    arguments.extend(OPTIONS.iter().flat_map(|it| ["-o".to_owned(), (*it).to_owned()]));
    arguments.extend(["install".to_owned(), "--".to_owned()]);
    arguments.extend(packages.iter().map(|it| format!("{PACKAGES}/{}", it.file)));
    let environment = [("DEBIAN_FRONTEND", "noninteractive"), ("HOME", "/root")];
    Step {
        program: "apt-get".to_owned(),
        arguments,
        directory: "/".into(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}

/// Returns how many bytes a directory takes on disk.
pub(super) fn size(directory: &std::path::Path, walls: &Walls) -> Result<u64, BoxError> {
    let command = walls.command(std::path::Path::new("/"), "du").args(["-s", "--block-size=1", "--"]);
    let output = command.arg(directory).run()?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let number = text.split_whitespace().next().and_then(|it| it.parse().ok());
    number.ok_or_else(|| format!("du printed {text:?}").into())
}

/// Removes the layers and packages that were not used for longest, until what is left fits.
///
/// What a build uses stays.
pub(in crate::builder) fn evict(store: &Store, walls: &Walls, limit: u64) -> Result<(), BoxError> {
    enum Found {
        Layer(String),
        Package(PathBuf),
    }
    let mut all: Vec<(SystemTime, u64, Found)> = Vec::new();
    for name in store.names(Kind::Layer)? {
        let file = record_of(store, &name)?;
        let used = fs::metadata(&file).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let record = fs::read(&file).ok().and_then(|it| serde_json::from_slice::<Record>(&it).ok());
        all.push((used, record.map_or(u64::MAX / 4, |it| it.bytes), Found::Layer(name)));
    }
    for entry in fs::read_dir(store.packages()?)?.filter_map(Result::ok) {
        let metadata = entry.metadata()?;
        all.push((metadata.modified()?, metadata.len(), Found::Package(entry.path())));
    }
    let mut total = all.iter().fold(0_u64, |sum, it| sum.saturating_add(it.1));
    all.sort_by_key(|it| it.0);
    for (_, bytes, found) in all {
        if total <= limit {
            break;
        }
        let removed = match found {
            Found::Package(path) => durable::remove_file(&path).map(|()| true)?,
            Found::Layer(name) => {
                let removed = store.remove(Kind::Layer, &name, walls)?;
                if removed {
                    tracing::debug!(name, bytes, "a layer made way");
                    durable::remove_file(&record_of(store, &name)?)?;
                }
                removed
            }
        };
        if removed {
            total = total.saturating_sub(bytes);
        }
    }
    Ok(())
}
