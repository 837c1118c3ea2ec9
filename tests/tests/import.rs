//! `archive import`: what the real reprepro and the real aptly published is served by a site, and real apt uses it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

mod foreign;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::killing::{chosen, kill_at, moments};
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{Answer, command, run};
use invirtibuilder_tests::sites::Site;

use foreign::{Files, Made, Workshop, native, plain, sums};

/// A udeb.
const UDEB: Made = Made {
    package: "hello-udeb",
    architecture: "any",
    section: "debian-installer",
    fields: "Package-Type: udeb\n",
};

/// A site, and packages of a team that moves in.
struct World {
    site: Site,
    workshop: Workshop,
    /// Of `hello` 1.0, with packages for one architecture, for all, and for the installer.
    hello: Files,
    /// Of `extra` 2:1.5-1 in the component `contrib`.
    extra: Files,
}

impl World {
    fn new() -> Self {
        let site = Site::new();
        let workshop = Workshop::new(&site);
        let symbols = Made {
            package: "hello-dbgsym",
            architecture: "any",
            section: "debug",
            fields: "Auto-Built-Package: debug-symbols\n",
        };
        let binaries = [plain("hello", "any"), plain("hello-doc", "all"), UDEB, symbols];
        let hello = workshop.make("hello", "1.0", "misc", &binaries);
        let tool = Made { section: "contrib/misc", ..plain("extra-tool", "all") };
        let extra = workshop.make("extra", "2:1.5", "contrib/misc", &[tool]);
        Self { site, workshop, hello, extra }
    }

    /// Gives the pockets the component `contrib`, and lists of files.
    fn with_contrib(self) -> Self {
        self.site.configure(|it| {
            let it = it.replace("      base:", "      components: [main, contrib]\n      base:");
            it.replace("\npublisher:\n", "\npublisher:\n  contents: yes\n")
        });
        // A worker makes of the suites what the configuration says.
        self.site.work_quickly().ok();
        self
    }

    /// Publishes `hello` and `extra` as `bookworm`, and `hello` 1.1 as `testing`.
    fn reprepro(&self) -> PathBuf {
        let newer =
            self.workshop.make("hello", "1.1", "misc", &[plain("hello", "any"), plain("hello-doc", "all")]);
        self.workshop.reprepro(&[("bookworm", &[&self.hello, &self.extra]), ("testing", &[&newer])])
    }

    /// Imports with the keyring.
    fn import(&self, tree: &Path, words: &[&str]) -> Answer {
        let keyring = self.workshop.keyring();
        let all =
            [&["archive", "import", tree.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()], words];
        self.site.cli(&all.concat())
    }

    fn in_release(&self, suite: &str) -> String {
        fs::read_to_string(self.site.path("archive/dists").join(suite).join("InRelease")).unwrap_or_default()
    }
}

#[test]
fn a_tree_of_reprepro_is_served_and_its_packages_go_on_from_git() {
    let it = World::new().with_contrib();
    let tree = it.reprepro();
    let shown = it.import(&tree, &["bookworm=prod", "testing=dev"]).ok();
    assert!(shown.contains("prod hello 1.0, with 4 binary packages"), "{shown}");
    assert!(shown.contains("prod extra 2:1.5"), "{shown}");
    assert!(shown.contains("dev hello 1.1"), "{shown}");
    let records = it.site.json(&["audit", "show", "--limit", "2"]);
    assert!(records.as_array().unwrap().iter().all(|it| it["event"] == "imported"), "{records}");

    // The bytes are those of the tree.
    let (ours, theirs) = (sums(&it.site.path("archive/pool")), sums(&tree.join("pool")));
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 13);

    // Real apt downloads, installs and unpacks, and knows every component.
    let sources = it.site.cli(&["archive", "sources", "prod"]).ok();
    assert!(sources.contains("Components: main contrib"), "{sources}");
    let apt = Apt::of_pocket(&it.site, "prod");
    let found = apt.download(&["hello", "hello-doc", "extra-tool"]);
    assert_eq!(found.len(), 3);
    for (name, sum) in &found {
        let name = name.replace("%3a", ":").replace("2:", "");
        assert_eq!(theirs.get(&name), Some(sum), "{name}");
    }
    let installed = apt.get(&["--simulate", "install", "hello", "hello-doc", "extra-tool"]).ok();
    assert!(installed.contains("Inst extra-tool (2:1.5"), "{installed}");
    assert!(apt.source("hello").join("debian/changelog").is_file());
    assert!(apt.source("extra").join("debian/changelog").is_file());

    // Packages for the installer and lists of files are where clients look for them.
    let suite = it.site.path("archive/dists/prod/main");
    let native = native();
    let udebs = suite.join(format!("debian-installer/binary-{native}/Packages.gz"));
    assert!(run(command("zcat").arg(udebs)).ok().contains("Package: hello-udeb\n"));
    let symbols = it.site.path(&format!("archive/dists/prod/debug/binary-{native}/Packages.gz"));
    assert!(run(command("zcat").arg(symbols)).ok().contains("Package: hello-dbgsym\n"));
    let contents = run(command("zcat").arg(suite.join(format!("Contents-{native}.gz")))).ok();
    assert!(contents.contains("usr/share/hello-doc/version misc/hello-doc\n"), "{contents}");

    // Git knows nothing of them, which is said until a greater version comes from there.
    let differences = it.site.cli(&["verify"]).expect(1).stdout;
    assert_eq!(differences.lines().filter(|it| it.contains("not in Git yet")).count(), 3, "{differences}");
    let found = it.site.json_of_differences();
    assert!(found.iter().all(|it| it["difference"] == "not-in-git"), "{found:?}");
    assert!(it.site.cli(&["pocket", "show", "prod"]).ok().contains("extra"));
    assert_eq!(it.site.cli(&["history"]).expect(0).code, Some(0));

    let (hello, same) = Package::hosted(&it.site, "hello", "1.0");
    it.site.cli(&["submit", "prod", "hello", &same]).expect(3).says(&["1.0", "prod"]);
    let next = hello.publishable(&it.site, "1.2");
    it.site.submit("prod", "hello", &next);
    it.site.work_quickly().ok();
    let differences = it.site.cli(&["verify"]).expect(1).stdout;
    assert!(!differences.contains("prod hello"), "{differences}");
    assert!(differences.contains("prod extra"), "{differences}");
    assert_eq!(apt.source_version("hello").as_deref(), Some("1.2"));
    assert!(apt.get(&["--simulate", "install", "extra-tool"]).ok().contains("Inst extra-tool"));
    // What was built from the imported source is gone with it.
    assert_eq!(apt.get(&["--simulate", "install", "hello-doc"]).code, Some(100));

    // Git's newer version stays, whatever is imported once more. The next worker drops the index that has no package
    // any more.
    it.site.work_quickly().ok();
    let before = it.in_release("prod");
    let again = it.import(&tree, &["bookworm=prod"]).ok();
    assert!(again.contains("which Git knows"), "{again}");
    assert_eq!(it.in_release("prod"), before);
}

trait Differences {
    fn json_of_differences(&self) -> Vec<serde_json::Value>;
}

impl Differences for Site {
    fn json_of_differences(&self) -> Vec<serde_json::Value> {
        let text = self.cli(&["--json", "verify"]).expect(1).stdout;
        serde_json::from_str(&text).unwrap()
    }
}

#[test]
fn a_tree_of_aptly_that_has_indices_by_hash_only_is_served() {
    let it = World::new();
    let older = it.workshop.make("hello", "0.9", "misc", &[plain("hello", "any")]);
    let tree = it.workshop.aptly(&[&older, &it.hello]);
    for name in ["Packages", "Packages.gz", "Packages.bz2"] {
        let path = tree.join(format!("dists/stable/main/binary-{}", native())).join(name);
        fs::remove_file(path).unwrap();
    }
    let shown = it.import(&tree, &["stable=prod"]).ok();
    assert!(shown.contains("left behind: hello 0.9 (source): the suite has 1.0 too"), "{shown}");
    assert!(shown.contains(&format!("left behind: hello 0.9 ({})", native())), "{shown}");
    let apt = Apt::of_pocket(&it.site, "prod");
    let theirs = sums(&tree.join("pool"));
    for (name, sum) in apt.download(&["hello", "hello-doc"]) {
        assert_eq!(theirs.get(&name), Some(&sum), "{name}");
    }
    assert!(apt.source("hello").join("debian/changelog").is_file());
    it.import(&tree, &["stable=dev", "--strict"]).expect(3).says(&["hello 0.9", "left behind"]);
    assert_eq!(it.site.json(&["pocket", "show", "dev"])["packages"], serde_json::json!([]));
}

#[test]
fn importing_again_changes_nothing_and_hard_links_take_no_space() {
    let it = World::new().with_contrib();
    let tree = it.reprepro();
    it.import(&tree, &["bookworm=prod", "--dry-run"]).ok();
    assert!(sums(&it.site.path("archive/pool")).is_empty());
    it.import(&tree, &["bookworm=prod", "--hard-link"]).ok();
    let path = "pool/main/h/hello/hello_1.0.dsc";
    let inode = |root: &Path| fs::metadata(root.join(path)).unwrap().ino();
    assert_eq!(inode(&it.site.path("archive")), inode(&tree));
    let before = (it.in_release("prod"), sums(&it.site.path("archive")));
    let again = it.import(&tree, &["bookworm=prod", "--hard-link"]).ok();
    assert!(again.contains("0 source packages of 0 bytes, 2 already there"), "{again}");
    assert_eq!((it.in_release("prod"), sums(&it.site.path("archive"))), before);
}

#[test]
fn a_component_or_architecture_that_the_pocket_lacks_is_named_with_the_line_to_write() {
    let it = World::new();
    let other = if native() == "arm64" { "amd64" } else { "arm64" };
    let strange = it.workshop.make("strange", "1", "misc", &[plain("strange", other)]);
    let tree = it.reprepro();
    let before = it.in_release("prod");
    let answer = it.import(&tree, &["bookworm=prod"]).expect(3);
    answer.says(&["extra", "`components: [main, contrib]`", "build.pockets.prod"]);
    assert_eq!(it.in_release("prod"), before);
    assert!(sums(&it.site.path("archive/pool")).is_empty());
    let base = it.workshop.aptly(&[&strange]);
    // aptly publishes no architecture that it is not told of.
    let answer = it.import(&base, &["stable=prod"]);
    assert!(answer.code == Some(0) || answer.stderr.contains("architectures: ["), "{answer:?}");
}

#[test]
fn binary_packages_without_their_source_are_refused_or_left_behind() {
    let it = World::new();
    let mut lonely = it.workshop.make("lonely", "1.0", "misc", &[plain("lonely", "all")]);
    lonely.dsc.clone_from(&it.hello.dsc);
    let tree = it.workshop.aptly(&[&it.hello, &lonely]);
    let answer = it.import(&tree, &["stable=prod"]).expect(3);
    answer.says(&["lonely 1.0 (all)", "does not have its source package lonely 1.0"]);
    assert!(sums(&it.site.path("archive/pool")).is_empty());
    let shown = it.import(&tree, &["stable=prod", "--leave-sourceless"]).ok();
    assert!(shown.contains("left behind: lonely 1.0 (all)"), "{shown}");
    assert_eq!(Apt::of_pocket(&it.site, "prod").source_version("hello").as_deref(), Some("1.0"));
}

#[test]
fn nothing_is_imported_of_a_tree_that_was_tampered_with() {
    let it = World::new().with_contrib();
    let tree = it.reprepro();
    let before = it.in_release("prod");
    let assert_refused = |texts: &[&str]| {
        it.import(&tree, &["bookworm=prod"]).expect(3).says(texts);
        assert_eq!(it.in_release("prod"), before);
        assert!(sums(&it.site.path("archive/pool")).is_empty());
    };
    let change = |path: &str, texts: &[&str]| {
        let path = tree.join(path);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [bytes.as_slice(), b"\n"].concat()).unwrap();
        assert_refused(texts);
        fs::write(&path, bytes).unwrap();
    };
    let native = native();
    change(&format!("pool/main/h/hello/hello_1.0_{native}.deb"), &["hello_1.0", "the index says"]);
    change("pool/main/h/hello/hello_1.0.dsc", &["hello_1.0.dsc", "the index says"]);
    change(&format!("dists/bookworm/main/binary-{native}/Packages"), &["not the file that Release names"]);
    let release = tree.join("dists/bookworm/InRelease");
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replace("Components: main", "Components: mean")).unwrap();
    assert_refused(&["InRelease", "is not signed by a key of"]);
    // Without a keyring nobody vouches for it, which is said.
    fs::write(&release, text).unwrap();
    let unsigned = it.site.cli(&["archive", "import", tree.to_str().unwrap(), "bookworm=prod"]).expect(0);
    unsigned.says(&["warning:", "nobody vouches"]);
}

#[test]
fn a_package_that_git_knows_is_never_replaced_and_one_that_is_new_is_added() {
    let it = World::new().with_contrib();
    let (_, commit) = Package::hosted(&it.site, "hello", "0.5");
    it.site.submit("prod", "hello", &commit);
    it.site.work_quickly().ok();
    let tree = it.reprepro();
    let before = it.in_release("prod");
    it.import(&tree, &["bookworm=prod"])
        .expect(3)
        .says(&["prod serves hello 0.5 already", "submit a commit"]);
    assert_eq!(it.in_release("prod"), before);
    let only = it.workshop.aptly(&[&it.workshop.make("other", "3", "misc", &[plain("other", "all")])]);
    it.import(&only, &["stable=prod"]).ok();
    let apt = Apt::of_pocket(&it.site, "prod");
    assert_eq!(apt.source_version("hello").as_deref(), Some("0.5"));
    assert_eq!(apt.source_version("other").as_deref(), Some("3"));
    let thief = it.workshop.another("thief");
    let files = thief.make("thief", "9", "misc", &[plain("hello", "all")]);
    let tree = thief.aptly(&[&files]);
    let keyring = thief.keyring();
    let words =
        ["archive", "import", tree.to_str().unwrap(), "--keyring", keyring.to_str().unwrap(), "stable=prod"];
    it.site.cli(&words).expect(3).says(&["serves hello of the source package hello"]);
}

#[test]
fn a_commit_that_a_dsc_names_is_believed_only_if_the_repository_has_it() {
    let it = World::new();
    let (package, commit) = Package::hosted(&it.site, "known", "1.0");
    let other = package.publishable(&it.site, "2.0");
    let field = |commit: &str| format!("XS-Git-Commit: {commit}\n");
    let make = |name: &'static str, commit: &str| {
        it.workshop.make_with(name, "1.0", "misc", &[plain(name, "all")], &field(commit))
    };
    let tree = it.workshop.aptly(&[&make("known", &commit), &make("false", &other)]);
    let report = it.site.json(&["archive", "import", tree.to_str().unwrap(), "stable=prod"]);
    let commits: Vec<_> =
        report["suites"][0]["added"].as_array().unwrap().iter().map(|it| &it["commit"]).collect();
    assert_eq!(commits, [&serde_json::Value::Null, &serde_json::json!(commit)]);
    let differences = it.site.cli(&["verify"]).expect(1).stdout;
    assert!(differences.contains("false: the suite serves 1.0, which is not in Git yet"), "{differences}");
    assert!(differences.contains("known: the suite serves 1.0, but there is no branch"), "{differences}");
    // The same version from that commit is what makes them agree.
    it.site.submit("prod", "known", &commit);
    it.site.work_quickly().ok();
    assert!(!it.site.cli(&["verify"]).expect(1).stdout.contains("known"));
}

#[test]
fn an_import_that_is_killed_at_any_moment_serves_all_or_nothing_and_is_repeated() {
    const MOMENTS: usize = 8;
    let it = World::new().with_contrib();
    let tree = it.reprepro();
    let saved = it.site.beside("saved");
    let restore = || {
        for name in ["archive", "cache"] {
            fs::remove_dir_all(it.site.path(name)).unwrap();
            run(command("cp").arg("-a").arg(saved.join(name)).arg(it.site.path(name))).ok();
        }
    };
    run(command("cp").arg("-a").arg(it.site.root()).arg(&saved)).ok();
    let words = ["archive", "import", tree.to_str().unwrap(), "bookworm=prod", "testing=dev"];
    let import = it.site.cli_command(&words);
    let all = moments(&import, &it.site.beside("trace"));
    let whole = packages_of(&it.site);
    let sources = it.site.cli(&["archive", "sources", "prod"]).ok();
    let mut before = 0;
    for (at, moment) in chosen(&all, MOMENTS).into_iter().enumerate() {
        // A client that saw the later state would take the restored one for what it knows.
        let apt = Apt::of_sources(it.site.beside(&format!("apt{at}")), &sources);
        restore();
        assert!(kill_at(&import, &moment), "it ended before {moment}");
        match apt.source_version("hello").as_deref() {
            None => before += 1,
            Some("1.0") => assert_eq!(apt.download(&["hello", "hello-doc"]).len(), 2, "{moment}"),
            other => panic!("{moment}: {other:?}"),
        }
        it.site.cli(&words).ok();
        assert_eq!(packages_of(&it.site), whole, "{moment}");
        assert_eq!(sums_of_whole_files(&it.site), sums(&tree.join("pool")), "{moment}");
    }
    assert!(before > 0, "no kill came before the first switch");
}

/// Returns what the pockets show.
fn packages_of(site: &Site) -> Vec<serde_json::Value> {
    ["prod", "dev"].map(|it| site.json(&["pocket", "show", it])["packages"].clone()).to_vec()
}

/// Returns the sums of the files in the pool that have a name.
fn sums_of_whole_files(site: &Site) -> std::collections::BTreeMap<String, String> {
    let mut sums = sums(&site.path("archive/pool"));
    sums.retain(|name, _| !name.starts_with(".new-"));
    sums
}

#[test]
fn a_tree_that_cannot_be_read_is_refused_with_what_to_do() {
    let site = Site::new();
    let root = site.beside("tree");
    let import = |words: &[&str]| {
        let all = [&["archive", "import", root.to_str().unwrap()], words].concat();
        site.cli(&all).expect(3)
    };
    import(&["stable=prod"]).says(&["cannot be read"]);
    fs::create_dir_all(&root).unwrap();
    import(&["stable=prod"]).says(&["it has no dists/"]);
    fs::write(root.join("Packages.gz"), "").unwrap();
    import(&["stable=prod"]).says(&["flat repository", "not supported yet"]);
    let suite = root.join("dists/stable");
    fs::create_dir_all(&suite).unwrap();
    import(&["stable=prod"]).says(&["neither InRelease nor Release"]);
    import(&["stable"]).says(&["SUITE=POCKET"]);
    fs::write(suite.join("Release"), "Suite: stable\nMD5Sum:\n").unwrap();
    import(&["stable=prod"]).says(&["no Release file with SHA-256 sums"]);
    let listed = |path: &str| format!("Suite: stable\nSHA256:\n {} 7 {path}\n", "a".repeat(64));
    fs::write(suite.join("Release"), listed("main/binary-amd64/Packages.bz2")).unwrap();
    import(&["stable=prod"]).says(&[".bz2", "not supported yet"]);
    fs::write(suite.join("Release"), listed("updates/main/binary-amd64/Packages")).unwrap();
    import(&["stable=prod"]).says(&["updates/main/binary-amd64/Packages", "supported yet"]);
    let key = site.beside("key.asc");
    fs::write(&key, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n").unwrap();
    import(&["stable=prod", "--keyring", key.to_str().unwrap()]).says(&["gpg --dearmor"]);
    import(&["stable=prod", "stable=prod"]).says(&["supported yet"]);
    assert_eq!(site.cli(&["archive", "import", root.to_str().unwrap(), "stable=nowhere"]).code, Some(5));
}
