//! Disks of virtual machines: ext4 file systems, of which those with a base or a layer are kept and read-only.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::builder::overlay::room;
use crate::builder::overlay::store::{Kept, Kind};
use crate::builder::overlay::{Trouble, Workplace};
use crate::builder::scratch::Part;
use crate::builder::walls::Walls;
use crate::durable;
use crate::error::BoxError;
use crate::process::Command;

/// The image's file.
const FILE: &str = "base.ext4";

/// The disk of a tree or layer, in use.
#[derive(Debug)]
pub(in crate::builder) struct Image {
    kept: Kept,
}

impl Image {
    pub(in crate::builder) fn path(&self) -> PathBuf {
        self.kept.path.join(FILE)
    }
}

/// Returns the disk of a base's tree or of a layer, which has that name and lies at `root`, and makes it first if it is
/// missing.
pub(in crate::builder) fn ensure(
    place: &Workplace<'_>,
    name: &str,
    root: &Path,
    log: &mut (dyn Write + Send),
) -> Result<Image, Trouble> {
    let store = place.store;
    if let Some(kept) = store.take(Kind::Image, name)? {
        return Ok(Image { kept });
    }
    let _turn = store.turn(Kind::Image, name, place.interrupt)?;
    if store.take(Kind::Image, name)?.is_none() {
        writeln!(log, "invirtibuilder: making a disk for virtual machines")
            .map_err(|e| Trouble::Machine(e.into()))?;
        let entry = store.workshop().enter(place.walls)?;
        let file = entry.part(Part::Chroots).join(FILE);
        let command = room::image_command(place.helper, place.walls, root, &file)?;
        place.run_for_us(command, log, "a disk for virtual machines cannot be made")?;
        store.keep(Kind::Image, name, &entry, Part::Chroots)?;
        entry.remove()?;
        remove_old(place)?;
    }
    let kept = store.take(Kind::Image, name)?;
    let kept = kept.ok_or_else(|| BoxError::from("a disk that was just made is gone"))?;
    Ok(Image { kept })
}

/// Removes the disks of trees and layers that are no more.
fn remove_old(place: &Workplace<'_>) -> Result<(), BoxError> {
    let (trees, layers) = (place.store.names(Kind::Tree)?, place.store.names(Kind::Layer)?);
    for name in place.store.names(Kind::Image)? {
        if !trees.contains(&name) && !layers.contains(&name) {
            place.store.remove(Kind::Image, &name, place.walls)?;
        }
    }
    Ok(())
}

/// Makes an empty disk of so many bytes: a file with holes that belongs to the account of the walls.
pub(in crate::builder) fn make_empty(
    walls: &Walls,
    home: &Path,
    file: &Path,
    bytes: u64,
) -> Result<(), BoxError> {
    walls
        .command(home, "mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0"])
        .args(["-E", "lazy_itable_init=1,nodiscard", "--"])
        .arg(file)
        .arg(format!("{}k", bytes >> 10))
        .run()?;
    Ok(())
}

/// Makes a disk that is an archive of these parts of a directory, as tar(1) writes it; every account can read it.
pub(in crate::builder) fn make_archive(
    directory: &Path,
    parts: &[&str],
    file: &Path,
) -> Result<(), BoxError> {
    let tar = Command::new("tar").args(["--create", "--numeric-owner", "--owner=0", "--group=0"]);
    let tar = tar.args(["--mode=u=rwX,go=rX", "--file"]).arg(file).arg("--directory").arg(directory);
    tar.arg("--").args(parts).run()?;
    Ok(durable::set_mode(file, 0o644)?)
}

/// Writes a directory into a new file as an ext4 file system. This process is root in its user namespace, so that the
/// owners of the files are those that they have in rooms.
///
/// # Errors
/// It could not be written.
pub fn write(tree: &Path, file: &Path) -> Result<(), BoxError> {
    // A file takes whole blocks there, and so does what tells where they are.
    const SPARE: u64 = 128;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let used = Command::new("du").args(["-s", "--block-size=1M", "--"]).arg(tree).run()?;
    let used = String::from_utf8_lossy(&used).into_owned();
    let used: u64 = used.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or_default();
    Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0", "-i", "8192"])
        .args(["-E", "root_owner=0:0,lazy_itable_init=1"])
        .arg("-d")
        .arg(tree)
        .arg("--")
        .arg(file)
        .arg(format!("{}M", used + used / 4 + SPARE))
        .run()?;
    Ok(())
}
