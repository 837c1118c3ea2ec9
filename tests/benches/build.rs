//! How long builds take: `dpkg-buildpackage` in a ready chroot, the overlay builder, and sbuild, on one tiny package.
//!
//! `cargo bench -p invirtibuilder-tests --bench build [-- ROUNDS]`, as root, prints medians of the wall time in
//! seconds, and how often the first fits into each; the ways take turns, so that other load on the machine meets all.
//! It needs what the tests of the builders need, and makes a base first if there is none.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use invirtibuilder_core::builder::Builder;
use invirtibuilder_core::builder::base::BaseSpec;
use invirtibuilder_core::builder::limits::BuildLimits;
use invirtibuilder_core::builder::overlay::{LAYERS, OverlayBuilder, OverlayConfig};
use invirtibuilder_core::builder::sbuild::{ACCOUNT, SbuildBuilder, SbuildConfig};
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::Never;
use invirtibuilder_tests::builds::{BASE, DEBHELPER, GOOD, plan, source, target};
use invirtibuilder_tests::programs::{CLI, command, program, run};
use invirtibuilder_tests::sites::shared_bases;

/// Everything is done once with sbuild, and this many times otherwise.
const ROUNDS: usize = 9;

struct Bench {
    directory: tempfile::TempDir,
    cache: PathBuf,
    source: SourcePackage,
}

fn main() {
    let rounds = std::env::args().find_map(|it| it.parse().ok()).unwrap_or(ROUNDS);
    let cache = shared_bases();
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&cache).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let tiny = source(directory.path(), plan("tiny", "prod", Trust::Full), GOOD, DEBHELPER);
    let bench = Bench { directory, cache, source: tiny };
    bench.overlay();
    let chroot = bench.chroot();

    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        let mut note = |name, seconds| times.entry(name).or_default().push(seconds);
        note("1 dpkg-buildpackage in a ready chroot", seconds(|| bench.bare(&chroot)));
        note("2 overlay, layer at hand", seconds(|| bench.overlay()));
        note("3 two of these at once, each", seconds(|| bench.at_once(2)) / 2.0);
        if round % 3 == 0 {
            bench.forget_layers();
            note("4 overlay, layer made now", seconds(|| bench.overlay()));
        }
        if round % 4 == 0 {
            note("5 sbuild unshare", seconds(|| bench.sbuild()));
        }
    }
    let medians: BTreeMap<_, _> = times.into_iter().map(|(name, times)| (name, median(times))).collect();
    let first = medians.values().next().copied().unwrap();
    for (name, median) in medians {
        println!("{name:<40} {median:>7.2} s {:>6.2}", median / first);
    }
}

fn seconds(action: impl FnOnce()) -> f64 {
    let started = Instant::now();
    action();
    started.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bench {
    fn build(&self, builder: &dyn Builder, into: &str) {
        let into = self.directory.path().join(into);
        fs::create_dir_all(&into).unwrap();
        let mut log = Vec::new();
        let result = builder.build(&self.source, &target(), &into, &mut log, &Never);
        result.unwrap_or_else(|e| panic!("{e:?}\n{}", String::from_utf8_lossy(&log)));
        fs::remove_dir_all(into).unwrap();
    }

    fn builder(&self) -> OverlayBuilder {
        OverlayBuilder::new(OverlayConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            cache: self.cache.clone(),
            store: self.store(),
            scratch: self.directory.path().join("scratch"),
            account: ACCOUNT.to_owned(),
            limits: BuildLimits::default(),
            layers: LAYERS,
            helper: program(CLI),
        })
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn overlay(&self) {
        self.build(&self.builder(), "overlay");
    }

    fn at_once(&self, count: usize) {
        std::thread::scope(|scope| {
            for number in 0..count {
                scope.spawn(move || self.build(&self.builder(), &format!("overlay-{number}")));
            }
        });
    }

    fn forget_layers(&self) {
        for entry in fs::read_dir(self.store().join("layers")).unwrap().map(|it| it.unwrap().path()) {
            if entry.is_dir() { fs::remove_dir_all(entry) } else { fs::remove_file(entry) }.unwrap();
        }
        fs::remove_dir_all(self.store().join("answers")).unwrap();
    }

    fn sbuild(&self) {
        let builder = SbuildBuilder::new(SbuildConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            cache: self.cache.clone(),
            scratch: self.directory.path().join("scratch"),
            account: ACCOUNT.to_owned(),
            limits: BuildLimits::default(),
        });
        self.build(&builder, "sbuild");
    }

    /// Makes a plain directory of the tree and the only layer.
    fn chroot(&self) -> PathBuf {
        let chroot = self.directory.path().join("chroot");
        let only = |kind: &str| {
            let entries = fs::read_dir(self.store().join(kind)).unwrap().map(|it| it.unwrap().path());
            entries.into_iter().find(|it| it.is_dir()).unwrap()
        };
        for part in [only("trees").join("tree/."), only("layers").join("upper/.")] {
            run(command("cp")
                .args(["--archive", "--remove-destination", "--no-target-directory"])
                .arg(part)
                .arg(&chroot))
            .ok();
        }
        remove_whiteouts(&chroot);
        chroot
    }

    /// Unpacks and builds as the account that owns the chroot's files calls `builder`.
    fn bare(&self, chroot: &Path) {
        const SCRIPT: &str = "mount --rbind /dev \"$0/dev\" && mount -t proc proc \"$0/proc\" && exec chroot --userspec=\"$1:$1\" \"$0\" sh -ec 'cd /build/reproducible-path; rm -rf ./*; dpkg-source --no-check -x /build/source/tiny_1.0.dsc tiny >/dev/null; cd tiny; exec dpkg-buildpackage --build=binary --no-sign >/dev/null 2>&1'";
        let input = chroot.join("build/source");
        for file in self.source.control().files() {
            fs::copy(
                self.source.control().directory().join(file.name.as_str()),
                input.join(file.name.as_str()),
            )
            .unwrap();
        }
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(chroot.join("build")).unwrap());
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--pid", "--fork", "sh", "-c", SCRIPT]).arg(chroot).arg(owner.to_string());
        run(unshare.env("HOME", "/nonexistent")).ok();
    }
}

/// Removes what an overlay keeps in place of a file that is gone.
fn remove_whiteouts(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            remove_whiteouts(&entry.path());
        } else if kind.is_char_device() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}
