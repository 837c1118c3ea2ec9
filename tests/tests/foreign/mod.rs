//! Archives that the real reprepro and the real aptly made, of real packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// Returns the architecture of this machine, which the pockets of a new site have.
pub(crate) fn native() -> String {
    run(command("dpkg").arg("--print-architecture")).ok().trim().to_owned()
}

/// A binary package to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) package: &'static str,
    /// `any` for this machine's.
    pub(crate) architecture: &'static str,
    pub(crate) section: &'static str,
    /// Further lines of its control file.
    pub(crate) fields: &'static str,
}

/// Returns a package of the plainest kind.
pub(crate) fn plain(package: &'static str, architecture: &'static str) -> Made {
    Made { package, architecture, section: "misc", fields: "" }
}

/// The files of a source package and its binary packages.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) dsc: PathBuf,
    pub(crate) debs: Vec<PathBuf>,
    pub(crate) udebs: Vec<PathBuf>,
}

/// A place where packages are made and archives are published as before the site.
#[derive(Debug)]
pub(crate) struct Workshop {
    root: PathBuf,
    fingerprint: String,
}

impl Workshop {
    /// Opens one beside a site, with a signing key of its own.
    pub(crate) fn new(site: &Site) -> Self {
        Self::at(site.beside("workshop"))
    }

    /// Opens another one, beside this.
    pub(crate) fn another(&self, name: &str) -> Self {
        Self::at(self.root.with_file_name(name))
    }

    fn at(root: PathBuf) -> Self {
        let mut it = Self { root, fingerprint: String::new() };
        fs::create_dir_all(it.gnupg()).unwrap();
        run(command("chmod").arg("700").arg(it.gnupg())).ok();
        let user = "The old archive <old@example.org>";
        let words = ["--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", "never"];
        run(it.gpg().args(["--pinentry-mode", "loopback"]).args(words)).ok();
        let listed = run(it.gpg().args(["--list-keys", "--with-colons"])).ok();
        let line = listed.lines().find_map(|it| it.strip_prefix("fpr:::::::::")).unwrap();
        line.trim_end_matches(':').clone_into(&mut it.fingerprint);
        run(it.gpg().arg("--output").arg(it.keyring()).arg("--export")).ok();
        it
    }

    fn gnupg(&self) -> PathBuf {
        self.root.join("gnupg")
    }

    fn gpg(&self) -> Command {
        let mut gpg = command("gpg");
        gpg.args(["--batch", "--quiet", "--homedir"]).arg(self.gnupg());
        gpg
    }

    /// Returns the keyring with the key that signs.
    pub(crate) fn keyring(&self) -> PathBuf {
        self.root.join("old.gpg")
    }

    /// Makes a source package of this version, and its binary packages.
    pub(crate) fn make(&self, source: &str, version: &str, section: &str, binaries: &[Made]) -> Files {
        self.make_with(source, version, section, binaries, "")
    }

    /// As [`Workshop::make`], with further lines in the `.dsc`.
    pub(crate) fn make_with(
        &self,
        source: &str,
        version: &str,
        section: &str,
        binaries: &[Made],
        fields: &str,
    ) -> Files {
        let place = self.root.join("made").join(format!("{source}_{version}"));
        let tree = place.join(format!("{source}-{}", version.rsplit(':').next().unwrap()));
        fs::create_dir_all(tree.join("debian/source")).unwrap();
        fs::write(tree.join("debian/source/format"), "3.0 (native)\n").unwrap();
        fs::write(tree.join("debian/changelog"), format!(
            "{source} ({version}) unstable; urgency=medium\n\n  * Made for a test.\n\n -- A Developer <dev@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
        )).unwrap();
        let mut control = format!(
            "Source: {source}\nMaintainer: A Developer <dev@example.org>\nSection: {section}\nPriority: optional\nStandards-Version: 4.6.2\n{fields}"
        );
        for it in binaries {
            let _ = write!(
                control,
                "\nPackage: {}\nArchitecture: {}\nSection: {}\n{}Description: made for a test\n It is of {source}.\n",
                it.package,
                it.architecture,
                it.section,
                if it.fields.contains("udeb") { "Package-Type: udeb\n" } else { "" }
            );
        }
        fs::write(tree.join("debian/control"), control).unwrap();
        run(command("dpkg-source").current_dir(&place).arg("-b").arg(&tree)).ok();
        let stem = format!("{source}_{}", version.rsplit(':').next().unwrap());
        let mut files = Files { dsc: place.join(format!("{stem}.dsc")), debs: Vec::new(), udebs: Vec::new() };
        for it in binaries {
            let path = deb(&place, source, version, it);
            let is_udeb = path.extension().is_some_and(|it| it == "udeb");
            if is_udeb { files.udebs.push(path) } else { files.debs.push(path) }
        }
        files
    }

    /// Publishes with reprepro, below its own directory, which is returned: components `main` and `contrib`.
    pub(crate) fn reprepro(&self, suites: &[(&str, &[&Files])]) -> PathBuf {
        let base = self.root.join("reprepro");
        fs::create_dir_all(base.join("conf")).unwrap();
        let mut distributions = String::new();
        for (suite, _) in suites {
            let (architecture, key) = (native(), &self.fingerprint);
            let _ = writeln!(
                distributions,
                "Codename: {suite}\nComponents: main contrib\nUDebComponents: main\nArchitectures: {architecture} source\nSignWith: {key}\n"
            );
        }
        fs::write(base.join("conf/distributions"), distributions).unwrap();
        for (suite, packages) in suites {
            for it in *packages {
                self.call_reprepro(&base, &["-S", "misc", "-P", "optional", "includedsc", suite], &it.dsc);
                it.debs.iter().for_each(|deb| self.call_reprepro(&base, &["includedeb", suite], deb));
                it.udebs.iter().for_each(|deb| self.call_reprepro(&base, &["includeudeb", suite], deb));
            }
        }
        base
    }

    fn call_reprepro(&self, base: &Path, words: &[&str], file: &Path) {
        let mut reprepro = command("reprepro");
        reprepro.env("GNUPGHOME", self.gnupg()).arg("-b").arg(base).args(words).arg(file);
        run(&mut reprepro).ok();
    }

    /// Publishes with aptly as the suite `stable`, with indices by hash, and returns the directory to be served.
    pub(crate) fn aptly(&self, packages: &[&Files]) -> PathBuf {
        let base = self.root.join("aptly");
        fs::create_dir_all(&base).unwrap();
        let config = base.join("aptly.conf");
        fs::write(&config, format!("{{\"rootDir\": \"{}\", \"gpgProvider\": \"gpg\"}}", base.display()))
            .unwrap();
        let call = |words: &[&str], files: &[PathBuf]| {
            let mut aptly = command("aptly");
            aptly.env("GNUPGHOME", self.gnupg()).arg(format!("-config={}", config.display()));
            run(aptly.args(words).args(files)).ok();
        };
        call(&["repo", "create", "-distribution=stable", "-component=main", "old"], &[]);
        for it in packages {
            call(&["repo", "add", "old"], &[std::slice::from_ref(&it.dsc), &it.debs, &it.udebs].concat());
        }
        let key = format!("-gpg-key={}", self.fingerprint);
        let architectures = format!("-architectures={},source", native());
        let publish =
            ["publish", "repo", "-batch", &key, "-passphrase=", "-acquire-by-hash", &architectures, "old"];
        call(&publish, &[]);
        base.join("public")
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = run(command("gpgconf").arg("--homedir").arg(self.gnupg()).args(["--kill", "all"]));
    }
}

/// Makes a binary package.
fn deb(place: &Path, source: &str, version: &str, made: &Made) -> PathBuf {
    let Made { package, section, fields, .. } = *made;
    let architecture = if made.architecture == "any" { native() } else { made.architecture.to_owned() };
    let tree = place.join(format!("tree-{package}-{architecture}"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/share").join(package)).unwrap();
    fs::write(tree.join("usr/share").join(package).join("version"), version).unwrap();
    let of = if source == package { String::new() } else { format!("Source: {source}\n") };
    fs::write(tree.join("DEBIAN/control"), format!(
        "Package: {package}\n{of}Version: {version}\nArchitecture: {architecture}\nMaintainer: A Developer <dev@example.org>\nSection: {section}\nPriority: optional\n{fields}Description: made for a test\n It is of {source}.\n"
    )).unwrap();
    let ending = if fields.contains("udeb") { "udeb" } else { "deb" };
    let stem = format!("{package}_{}_{architecture}", version.rsplit(':').next().unwrap());
    let path = place.join(format!("{stem}.{ending}"));
    run(command("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&path)).ok();
    path
}

/// Returns the SHA-256 sums of all packages' files below a directory, by name; none if there is no such directory.
pub(crate) fn sums(directory: &Path) -> BTreeMap<String, String> {
    if !directory.exists() {
        return BTreeMap::new();
    }
    let listed =
        run(command("find").arg(directory).args(["-type", "f", "-exec", "sha256sum", "{}", "+"])).ok();
    let file = |line: &str| {
        let (sum, path) = line.split_once("  ")?;
        let name = Path::new(path).file_name()?.to_str()?.to_owned();
        Some((name, sum.to_owned()))
    };
    listed.lines().filter_map(file).collect()
}
