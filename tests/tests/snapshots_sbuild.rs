//! Tries that have versions of their own, built in rooms, and installed by the real apt and dpkg one after the other.
//! (The name puts it into the group of heavy tests.)
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::path::PathBuf;

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// A machine that has nothing but what apt installs.
struct Machine {
    apt: Apt,
    root: PathBuf,
}

impl Machine {
    fn new(site: &Site) -> Self {
        let root = site.beside("root");
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        let apt = Apt::of_pocket(site, "dev");
        let (status, root) = (root.join("var/lib/dpkg/status"), root);
        apt.configure(&format!(
            "Dir::State::Status \"{}\";\nDPkg::Options {{ \"--root={}\"; \"--force-not-root\"; \"--log=/dev/null\"; }};\nDPkg::Use-Pty \"false\";",
            status.display(),
            root.display()
        ));
        Self { apt, root }
    }

    /// Installs or upgrades the package, and returns its version and what it holds.
    fn upgrade(&self, command: &[&str]) -> (String, String) {
        self.apt.update().ok();
        self.apt.get(&[&["--yes", "--quiet"], command].concat()).ok();
        let query =
            ["--admindir", self.root.join("var/lib/dpkg").to_str().unwrap(), "-W", "-f=${Version}", "hello"]
                .map(str::to_owned);
        let version = run(self.apt.command("dpkg-query").args(query)).ok();
        (version, fs::read_to_string(self.root.join("usr/share/hello/version")).unwrap())
    }
}

fn site() -> Site {
    let site = Site::new();
    site.build_by_overlay();
    site.configure(|text| {
        text.replace("allow_backtracking: yes", "allow_backtracking: yes\n      snapshot_versions: yes")
    });
    site
}

#[test]
fn apt_upgrades_from_try_to_try_and_to_the_release() {
    let site = site();
    let package = Package::new(&site, "hello");
    let commit = |what: &str| {
        package.commit("1.2");
        let rules = fs::read_to_string(package.tree().join("debian/rules")).unwrap();
        package.write("debian/rules", &rules.replace("echo 1.2", &format!("echo {what}")));
        package.commit_all(what)
    };
    let (first, second) = (commit("first"), commit("second"));
    package.host(&site);
    // Both are submitted in about one second, before the first is worked.
    let jobs = [site.submit("dev", "hello", &first), site.submit("dev", "hello", &second)];
    site.cli(&["work", "--once"]).ok();
    assert_eq!(site.outcome(&jobs[0]), "published");
    site.assert_agreement();
    let machine = Machine::new(&site);
    let (version, content) = machine.upgrade(&["install", "hello"]);
    assert!(
        version.starts_with("1.2~dev20") && version.ends_with(&format!(".g{}", &first[..7])),
        "{version}"
    );
    assert_eq!(content, "first\n");
    assert_eq!(site.git(&site.repository("hello"), &["rev-parse", "dev"]).ok().trim(), first);

    site.work().ok();
    let (next, content) = machine.upgrade(&["upgrade"]);
    assert!(next > version && next.ends_with(&format!(".g{}", &second[..7])), "{next} after {version}");
    assert_eq!(content, "second\n");
    let dpkg = run(command("dpkg").args(["--compare-versions", &version, "lt", &next]));
    assert_eq!(dpkg.code, Some(0), "{version} {next}");
    site.assert_agreement();
    // The same commit again is nothing new, and the superproject says what was published.
    let again = site.cli(&["submit", "dev", "hello", &second]).expect(0);
    assert!(again.stdout.contains(&next) || again.stderr.contains(&next), "{again:?}");
    let history = site.cli(&["history", "--pocket", "dev"]).ok();
    assert!(history.contains(&next) && history.contains(&version), "{history}");
    let source = machine.apt.source("hello");
    let changelog = fs::read_to_string(source.join("debian/changelog")).unwrap();
    assert!(changelog.starts_with(&format!("hello ({next}) ")) && changelog.contains(&second), "{changelog}");

    // The release is built by its own name, and can then be given to the pocket of tries.
    let release = site.submit("prod", "hello", &second);
    site.work().ok();
    let job = site.job(&release);
    assert_eq!((job["outcome"].as_str(), job["version"].as_str()), (Some("published"), Some("1.2")), "{job}");
    assert!(job["copied_from"].is_null(), "{job}");
    let tags = site.git(&site.repository("hello"), &["tag"]).ok();
    assert_eq!(tags.trim(), "1.2");
    let copied = site.submit("dev", "hello", &second);
    site.work().ok();
    assert_eq!(site.job(&copied)["copied_from"], "prod");
    assert_eq!(machine.upgrade(&["upgrade"]), ("1.2".to_owned(), "second\n".to_owned()));
    site.assert_agreement();

    // Going on needs the next version, because apt would not take a try of what was released.
    let third = commit("third");
    package.push(&site);
    let refused = site.cli(&["submit", "dev", "hello", &third]).expect(3);
    refused.says(&["1.2", "raise the version in debian/changelog"]);
}
