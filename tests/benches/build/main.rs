//! How long builds take: `dpkg-buildpackage` in a ready chroot, our builders, and other programs beside them.
//!
//! `cargo bench -p invirtibuilder-tests --bench build -- --help`, as root, says which parts there are. It prints
//! medians of the wall time in seconds, and how often the first fits into each; the ways take turns, so that other load
//! on the machine meets all. It needs what the tests of the builders need, and makes a base first if there is none;
//! what else it makes is below `benchmark/` beside the base, but for a file in `/etc/schroot/chroot.d`, which it removes.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use invirtibuilder_core::builder::Builder;
use invirtibuilder_core::builder::base::{BaseSpec, Bases};
use invirtibuilder_core::builder::limits::BuildLimits;
use invirtibuilder_core::builder::overlay::{KeepFailed, LAYERS, OverlayBuilder, OverlayConfig};
use invirtibuilder_core::builder::sbuild::{ACCOUNT, Mode, SbuildBuilder, SbuildConfig};
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::Never;
use invirtibuilder_tests::builds::{BASE, host, target};
use invirtibuilder_tests::programs::{CLI, command, program, run};
use invirtibuilder_tests::sites::shared_bases;
use peers::Peers;

mod packages;
mod peers;

const USAGE: &str = "\
usage: cargo bench -p invirtibuilder-tests --bench build -- [ROUNDS] [PACKAGE...] [WAY...]

PACKAGE  tiny (debhelper only), hello (Debian's), large (about 300 build dependencies); default: all
WAY      bare, pair, warm, two, cold, sbuild, unshare, schroot, cowbuilder; default: all. `bare` is always there.
ROUNDS   how often each way has its turn; default: 9, and the slow ones a third of it, at least 3 times
";

/// A way to build, whether it is slow, and what it is.
const WAYS: [(&str, bool, &str); 9] = [
    ("bare", false, "dpkg-buildpackage in a ready chroot"),
    ("pair", false, "two of these at once, each"),
    ("warm", false, "overlay, layer at hand"),
    ("two", false, "two of these at once, each"),
    ("cold", true, "overlay, layer made now"),
    ("sbuild", true, "our sbuild backend, unshare"),
    ("unshare", true, "sbuild, unshare"),
    ("schroot", true, "sbuild, schroot with overlay"),
    ("cowbuilder", true, "cowbuilder, dependencies in the base"),
];

const PACKAGES: [&str; 3] = ["tiny", "hello", "large"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let is_known = |it: &str| {
        it.parse::<usize>().is_ok() || PACKAGES.contains(&it) || WAYS.iter().any(|way| way.0 == it)
    };
    if !arguments.iter().all(|it| is_known(it)) {
        print!("{USAGE}");
        return;
    }
    let rounds = arguments.iter().find_map(|it| it.parse().ok()).unwrap_or(9);
    let chosen = |all: &[&'static str]| -> BTreeSet<&'static str> {
        let some: BTreeSet<_> = all.iter().copied().filter(|it| arguments.iter().any(|a| a == it)).collect();
        if some.is_empty() { all.iter().copied().collect() } else { some }
    };
    let mut ways = chosen(&WAYS.map(|it| it.0));
    ways.insert("bare");
    for (way, program) in
        [("sbuild", "sbuild"), ("unshare", "sbuild"), ("schroot", "schroot"), ("cowbuilder", "cowbuilder")]
    {
        if invirtibuilder_core::process::find(program).is_none() && ways.remove(way) {
            println!("SKIPPED: {way}, as {program} is not installed");
        }
    }
    let bench = Bench::new();
    let peers = Peers::new(&bench.kept, &bench.tarball());
    for name in PACKAGES.into_iter().filter(|it| chosen(&PACKAGES).contains(it)) {
        let Some(source) = packages::find(name, bench.directory.path(), &bench.kept) else { continue };
        bench.measure(&Package { bench: &bench, source: &source, peers: &peers }, &ways, rounds);
    }
}

/// What all packages are built with.
struct Bench {
    directory: tempfile::TempDir,
    cache: PathBuf,
    /// What is kept for the next time.
    kept: PathBuf,
}

/// A package, and all the ways to build it.
struct Package<'a> {
    bench: &'a Bench,
    source: &'a SourcePackage,
    peers: &'a Peers,
}

impl Bench {
    fn new() -> Self {
        let cache = shared_bases();
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&cache).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory, kept: cache.join("benchmark"), cache }
    }

    /// Returns the tarball of the base.
    fn tarball(&self) -> PathBuf {
        let bases = Bases::new(&self.cache, BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]));
        let find = || bases.on_disk(&BASE.parse().unwrap(), &host()).map(|it| it.tarball);
        find().unwrap_or_else(|| {
            let source = packages::find("tiny", &self.directory.path().join("first"), &self.kept).unwrap();
            self.build(&source, &self.overlay(), "first");
            self.forget_layers();
            find().unwrap()
        })
    }

    fn measure(&self, package: &Package<'_>, ways: &BTreeSet<&str>, rounds: usize) {
        let name = package.source.plan().package();
        let layers = self.names("layers");
        package.overlay();
        let layer = self.names("layers").into_iter().find(|it| !layers.contains(it));
        let layer = layer.unwrap();
        let chroots = [1, 2].map(|it| self.chroot(&layer, &format!("chroot-{name}-{it}")));
        if ways.contains("schroot") {
            package.peers.prepare_schroot();
        }
        if ways.contains("cowbuilder") {
            package.peers.prepare_cowbuilder(package.source);
        }
        let count = self.dependencies();
        let slow = (rounds / 3).max(3.min(rounds));
        println!("\n{name}, with {count} packages besides the base; medians of {rounds}, and of {slow}");
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in 0..rounds {
            // The slow ways have their turns among the others, not all at the end.
            let is_turn = |is_slow: bool| !is_slow || round * slow / rounds != (round + 1) * slow / rounds;
            for (way, is_slow, _) in WAYS {
                if ways.contains(way) && is_turn(is_slow) {
                    times.entry(way).or_default().push(package.time(way, &chroots));
                }
            }
        }
        let first = median(times.get("bare").unwrap().clone());
        for (way, _, what) in WAYS {
            let Some(times) = times.get(way) else { continue };
            let median = median(times.clone());
            println!("{way:<10} {what:<40} {median:>7.2} s {:>6.2}", median / first);
        }
    }

    fn build(&self, source: &SourcePackage, builder: &dyn Builder, into: &str) {
        let into = self.directory.path().join(into);
        fs::create_dir_all(&into).unwrap();
        let mut log = Vec::new();
        let result = builder.build(source, &target(), &into, &mut log, &Never);
        result.unwrap_or_else(|e| panic!("{e:?}\n{}", String::from_utf8_lossy(&log)));
        fs::remove_dir_all(into).unwrap();
    }

    fn overlay(&self) -> OverlayBuilder {
        OverlayBuilder::new(OverlayConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            cache: self.cache.clone(),
            store: self.store(),
            scratch: self.directory.path().join("scratch"),
            account: ACCOUNT.to_owned(),
            limits: BuildLimits::default(),
            layers: LAYERS,
            keep_failed: KeepFailed::default(),
            helper: program(CLI),
        })
    }

    fn sbuild(&self) -> SbuildBuilder {
        SbuildBuilder::new(SbuildConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            cache: self.cache.clone(),
            store: self.store(),
            scratch: self.directory.path().join("scratch"),
            account: ACCOUNT.to_owned(),
            limits: BuildLimits::default(),
            mode: Mode::Unshare,
            helper: program(CLI),
        })
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn names(&self, kind: &str) -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(self.store().join(kind)).into_iter().flatten();
        entries.map(|it| it.unwrap().path()).filter(|it| it.is_dir()).collect()
    }

    /// Returns how many packages were fetched for the newest answer of apt.
    fn dependencies(&self) -> usize {
        let entries = fs::read_dir(self.store().join("answers/base")).unwrap().map(|it| it.unwrap());
        let newest = entries.max_by_key(|it| it.metadata().unwrap().modified().unwrap()).unwrap();
        fs::read_to_string(newest.path()).unwrap().matches("\"sha256\"").count()
    }

    /// Forgets the layers and what apt said. They are removed when all is measured: a file system may take long to
    /// make files where some were removed a moment ago (ext4 does), which is nothing that happens to builds otherwise.
    fn forget_layers(&self) {
        for part in ["layers", "answers"] {
            let aside = tempfile::Builder::new().tempdir_in(self.directory.path()).unwrap().keep();
            fs::rename(self.store().join(part), aside.join(part)).unwrap();
        }
    }

    /// Makes a plain directory of the tree and a layer.
    fn chroot(&self, layer: &Path, name: &str) -> PathBuf {
        let chroot = self.directory.path().join(name);
        let tree = self.names("trees").into_iter().next().unwrap();
        for part in [tree.join("tree/."), layer.join("upper/.")] {
            run(command("cp")
                .args(["--archive", "--remove-destination", "--no-target-directory"])
                .arg(part)
                .arg(&chroot))
            .ok();
        }
        remove_whiteouts(&chroot);
        chroot
    }
}

impl Package<'_> {
    fn time(&self, way: &str, chroots: &[PathBuf; 2]) -> f64 {
        if way == "cold" {
            self.bench.forget_layers();
        }
        let started = Instant::now();
        match way {
            "bare" => self.bare(&chroots[0]),
            "pair" => std::thread::scope(|scope| {
                for chroot in chroots {
                    scope.spawn(|| self.bare(chroot));
                }
            }),
            "warm" | "cold" => self.overlay(),
            "two" => self.at_once(2),
            "sbuild" => self.bench.build(self.source, &self.bench.sbuild(), "sbuild"),
            "unshare" => self.peers.sbuild_unshare(self.source),
            "schroot" => self.peers.sbuild_schroot(self.source),
            _ => self.peers.cowbuilder(self.source),
        }
        let seconds = started.elapsed().as_secs_f64();
        if matches!(way, "two" | "pair") { seconds / 2.0 } else { seconds }
    }

    fn overlay(&self) {
        self.bench.build(self.source, &self.bench.overlay(), "overlay");
    }

    fn at_once(&self, count: usize) {
        std::thread::scope(|scope| {
            for number in 0..count {
                let into = format!("overlay-{number}");
                scope.spawn(move || self.bench.build(self.source, &self.bench.overlay(), &into));
            }
        });
    }

    /// Unpacks and builds as the account that owns the chroot's files calls `builder`.
    fn bare(&self, chroot: &Path) {
        const SCRIPT: &str = "mount --rbind /dev \"$0/dev\" && mount -t proc proc \"$0/proc\" && exec chroot --userspec=\"$1:$1\" \"$0\" sh -ec 'cd /build/reproducible-path; rm -rf ./*; dpkg-source --no-check -x \"/build/source/$0\" tree >/dev/null; cd tree; exec dpkg-buildpackage --build=binary --no-sign >/dev/null 2>&1' \"$2\"";
        let control = self.source.control();
        for file in control.files() {
            let name = file.name.as_str();
            fs::copy(control.directory().join(name), chroot.join("build/source").join(name)).unwrap();
        }
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(chroot.join("build")).unwrap());
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--net", "--pid", "--fork", "sh", "-c", SCRIPT]).arg(chroot);
        unshare.arg(owner.to_string()).arg(control.path().file_name().unwrap());
        let cores = std::thread::available_parallelism().unwrap();
        unshare.env("HOME", "/nonexistent").env("DEB_BUILD_OPTIONS", format!("parallel={cores}"));
        run(&mut unshare).ok();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
