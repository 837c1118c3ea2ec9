//! What a virtual machine boots: the kernel of the base's own distribution and an initramfs of ours, both made of
//! packages that apt has found and checked as it does build dependencies.
//!
//! The packages are read, never installed, and nothing of them runs on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::initramfs::Initramfs;
use crate::builder::overlay::dependencies::{self, Against, Needs, Package, Question};
use crate::builder::overlay::store::{Kept, Kind, identity};
use crate::builder::overlay::tree::Tree;
use crate::builder::overlay::{Domain, Trouble, Workplace};
use crate::builder::scratch::Part;
use crate::control::contents::unpack;
use crate::durable::scratch;
use crate::error::BoxError;
use crate::names::Architecture;

/// Changes when kernels are kept in another way.
const FORM: &str = "kernel 1";

/// Which kernel a machine boots, and what happens in it first.
#[derive(Clone, Copy, Debug)]
pub(in crate::builder) struct Guest {
    /// What is before the architecture in the name of the kernel's package.
    package: &'static str,
    /// What the first process needs, as far as the kernel does not have it built in, in the order in which they are
    /// loaded.
    modules: &'static [&'static str],
    /// The first process: a script for busybox.
    init: &'static str,
}

impl Guest {
    /// One that builds a package by itself.
    pub(in crate::builder) const BUILD: Self = Self {
        package: "linux-image-cloud-",
        modules: &["virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4", "overlay"],
        init: concat!(include_str!("begin.sh"), include_str!("init.sh")),
    };

    /// One that does what autopkgtest tells it, by files that it shares with the host (9p); the small kernels have no
    /// such file system.
    pub(in crate::builder) const AUTOPKGTEST: Self = Self {
        package: "linux-image-",
        modules: &[
            "virtio_pci",
            "virtio_blk",
            "virtio_console",
            "crc32c_generic",
            "ext4",
            "overlay",
            "9pnet_virtio",
            "9p",
        ],
        init: concat!(include_str!("begin.sh"), include_str!("../../sbuild/guest.sh")),
    };

    /// Returns the packages of a kernel for virtual machines; `None` where Debian has none.
    fn packages(self, architecture: &Architecture) -> Option<[String; 2]> {
        let is_known = matches!(architecture.as_str(), "amd64" | "arm64");
        is_known.then(|| [format!("{}{architecture}", self.package), "busybox-static".to_owned()])
    }
}

/// A kernel and its initramfs, in use.
#[derive(Debug)]
pub(in crate::builder) struct Boot {
    kept: Kept,
}

impl Boot {
    pub(in crate::builder) fn kernel(&self) -> PathBuf {
        self.kept.path.join("kernel")
    }

    pub(in crate::builder) fn initramfs(&self) -> PathBuf {
        self.kept.path.join("initramfs")
    }
}

/// Returns the kernel for the machines of a base, and makes it ready first if it is missing.
pub(in crate::builder) fn ensure(
    place: &Workplace<'_>,
    guest: Guest,
    tree: &Tree,
    architecture: &Architecture,
    log: &mut (dyn Write + Send),
) -> Result<Boot, Trouble> {
    let names = guest.packages(architecture).ok_or_else(|| {
        BoxError::from(format!("there is no kernel for virtual machines of {architecture}; let another builder build for the pocket"))
    })?;
    let needs = Needs::of_packages(&names.each_ref().map(String::as_str));
    let domain = Domain::Trusted;
    let against = Against::new(None, &[])?;
    let question = Question { tree, architecture, needs: &needs, domain: &domain, against };
    let resolved = dependencies::resolve(place, &question, &|_| Ok(false), log);
    let missing = || format!("the base has no kernel for virtual machines, {}", names.join(" and "));
    let packages = resolved.map_err(|e| e.ours(&missing()))?;
    let hashes = packages.iter().map(|it| it.sha256.as_str());
    let name = identity([FORM, guest.init].into_iter().chain(hashes));
    if let Some(kept) = place.store.take(Kind::Kernel, &name)? {
        return Ok(Boot { kept });
    }
    let _turn = place.store.turn(Kind::Kernel, &name, place.interrupt)?;
    if place.store.take(Kind::Kernel, &name)?.is_none() {
        make(place, guest, &packages, &name)?;
    }
    let kept = place.store.take(Kind::Kernel, &name)?;
    let kept = kept.ok_or_else(|| BoxError::from("a kernel that was just made ready is gone"))?;
    Ok(Boot { kept })
}

fn make(place: &Workplace<'_>, guest: Guest, packages: &[Package], name: &str) -> Result<(), Trouble> {
    let machine = |e: crate::durable::DurableError| Trouble::Machine(e.into());
    let entry = place.store.workshop().enter(place.walls)?;
    let (shown, made) = (entry.part(Part::Input).join("packages"), entry.part(Part::Input).join("boot"));
    scratch::create_directory(&shown, 0o755).map_err(machine)?;
    scratch::create_directory(&made, 0o755).map_err(machine)?;
    dependencies::link(place.store, packages, &shown)?;
    let (mut kernel, mut busybox, mut needs) = (None, None, BTreeMap::new());
    let named = |start| packages.iter().map(|it| &it.file).filter(move |it| it.starts_with(start));
    for package in named("busybox-static_") {
        read(&shown.join(package), &mut |path, content| {
            if matches!(path, "bin/busybox" | "usr/bin/busybox") {
                busybox = Some(all(content)?);
            }
            Ok(())
        })?;
    }
    for package in named("linux-image-") {
        read(&shown.join(package), &mut |path, content| {
            if path.starts_with("boot/vmlinuz-") {
                kernel = Some(all(content)?);
            } else if let Some((name, ending)) = module_of(path) {
                needs.insert(name, needs_of(&all(&mut unpack(ending, content)?)?));
            }
            Ok(())
        })?;
    }
    // All modules of a kernel are some hundred megabytes, so those that are wanted are read again.
    let (order, mut modules) = (in_order(guest.modules, &needs), BTreeMap::new());
    for package in named("linux-image-") {
        read(&shown.join(package), &mut |path, content| {
            if let Some((name, ending)) = module_of(path)
                && order.contains(&name)
            {
                modules.insert(name, all(&mut unpack(ending, content)?)?);
            }
            Ok(())
        })?;
    }
    let missing = |what: &str| BoxError::from(format!("there is no {what} in the base's packages"));
    let kernel = kernel.ok_or_else(|| missing("/boot/vmlinuz"))?;
    let busybox = busybox.ok_or_else(|| missing("busybox"))?;
    scratch::write_new(&made.join("kernel"), &kernel, 0o644).map_err(machine)?;
    let initramfs = initramfs(guest, &busybox, &order, &modules);
    scratch::write_new(&made.join("initramfs"), &initramfs, 0o644).map_err(machine)?;
    place.store.keep_directory(Kind::Kernel, name, &made)?;
    entry.remove()?;
    remove_old(place, name)
}

/// Removes the kernels that were made long ago, but for one: what is still needed of them is made again in a moment.
fn remove_old(place: &Workplace<'_>, but: &str) -> Result<(), Trouble> {
    const LONG: Duration = Duration::from_secs(60 * 24 * 3600);
    let directory = place.store.all(Kind::Kernel)?;
    for name in place.store.names(Kind::Kernel)? {
        let made = std::fs::metadata(directory.join(&name)).and_then(|it| it.modified());
        let is_old = made.is_ok_and(|it| it.elapsed().is_ok_and(|age| age > LONG));
        if is_old && name != but {
            place.store.remove(Kind::Kernel, &name, place.walls)?;
        }
    }
    Ok(())
}

fn initramfs(guest: Guest, busybox: &[u8], order: &[String], modules: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut written = Initramfs::default();
    for name in ["bin", "dev", "modules", "proc", "sys"] {
        written.directory(name);
    }
    written.console();
    written.program("bin/busybox", busybox);
    written.program("init", guest.init.as_bytes());
    for (name, content) in modules {
        written.file(&format!("modules/{name}"), content);
    }
    written.file("modules/order", format!("{}\n", order.join("\n")).as_bytes());
    written.finish()
}

/// Returns the modules to load, each behind those that it needs; `needs` are those of every module.
fn in_order(wanted: &[&str], needs: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    fn visit(
        name: &str,
        needs: &BTreeMap<String, Vec<String>>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) {
        // What is no module is built in.
        let Some(needed) = needs.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        for it in needed {
            visit(it, needs, seen, order);
        }
        order.push(name.to_owned());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in wanted {
        visit(name, needs, &mut seen, &mut order);
    }
    order
}

/// Returns what a module says that it needs, in its section `.modinfo`: texts that zeros end.
fn needs_of(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|it| it == KEY) else { return Vec::new() };
    let value = module.get(at + KEY.len()..).unwrap_or_default();
    let value = value.split(|it| *it == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value).into_owned();
    names.split(',').filter(|it| !it.is_empty()).map(plain).collect()
}

/// Returns the name of the module that a file is, and how the file is compressed.
fn module_of(path: &str) -> Option<(String, &'static str)> {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let file = path.strip_prefix("lib/modules/")?.rsplit('/').next()?;
    let ending = [".xz", ".zst", ".gz", ""].into_iter().find(|it| file.ends_with(&format!(".ko{it}")))?;
    let name = file.strip_suffix(ending)?.strip_suffix(".ko")?;
    Some((plain(name), ending))
}

/// The kernel takes hyphens and underscores in the names of modules for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn all(from: &mut dyn Read) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the regular files of a package (deb(5)), by their paths without a slash at the beginning.
fn read(
    package: &Path,
    each: &mut dyn FnMut(&str, &mut dyn Read) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut members = ar::Archive::new(BufReader::new(File::open(package)?));
    while let Some(member) = members.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let Some(ending) = name.trim_end_matches('/').strip_prefix("data.tar") else { continue };
        let mut tarball = tar::Archive::new(unpack(ending, member)?);
        for entry in tarball.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            each(path.trim_start_matches("./"), &mut entry)?;
        }
        return Ok(());
    }
    Err(format!("{} has no data.tar", package.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_behind_those_that_they_need() {
        let module =
            |needs: &str| needs_of(format!("ELF\0license=GPL\0depends={needs}\0name=x\0").as_bytes());
        let needs = BTreeMap::from([
            ("virtio_blk".to_owned(), module("virtio")),
            ("virtio_pci".to_owned(), module("virtio-ring,virtio")),
            ("virtio".to_owned(), module("virtio_ring")),
            ("virtio_ring".to_owned(), module("")),
            ("unwanted".to_owned(), module("")),
        ]);
        assert_eq!(
            in_order(Guest::BUILD.modules, &needs),
            ["virtio_ring", "virtio", "virtio_pci", "virtio_blk"]
        );
    }

    #[test]
    fn a_module_is_known_by_its_path_however_it_is_compressed() {
        let known = |path| module_of(path).map(|it| (it.0, it.1));
        let overlay = Some(("overlay".to_owned(), ""));
        assert_eq!(known("lib/modules/6.1.0-cloud-amd64/kernel/fs/overlayfs/overlay.ko"), overlay);
        let crc = Some(("crc32c_intel".to_owned(), ".xz"));
        assert_eq!(known("usr/lib/modules/6.12/kernel/arch/x86/crypto/crc32c-intel.ko.xz"), crc);
        assert_eq!(known("boot/vmlinuz-6.1"), None);
        assert_eq!(known("lib/modules/6.1/modules.order"), None);
    }
}
