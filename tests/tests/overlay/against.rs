//! Packages that are built against what a pocket serves.

use std::fs;

use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::sites::Site;

/// Lets a site, each of whose pockets is built against itself, build and publish by these.
pub(super) fn build_by(site: &Site, builder: &str, publisher: &str) {
    site.share_base();
    site.configure(|text| {
        assert!(
            text.contains("      build_against: [dev]") && text.contains("      build_against: [prod]"),
            "{text}"
        );
        let text = text.replace("publisher:\n", &format!("publisher:\n  backend: {publisher}\n"));
        if builder == "sbuild" {
            return text;
        }
        let overlay = "builder:\n  backend: overlay\n  layers: 1GiB\n";
        let changed = text.replace("builder:\n", overlay);
        if changed == text { format!("{text}\n{overlay}") } else { changed }
    });
}

/// Commits a version of a package that needs others and whose build does this.
pub(super) fn commit_needing(package: &Package, version: &str, needs: &str, does: &str) -> String {
    package.commit_that(version, does);
    let control = fs::read_to_string(package.tree().join("debian/control")).unwrap();
    let control =
        control.replace("Rules-Requires-Root", &format!("Build-Depends: {needs}\nRules-Requires-Root"));
    package.write("debian/control", &control);
    package.commit_all("what it needs")
}

/// Publishes a library in `dev`, then what reads the library's file while it is built, and once more.
fn a_package_is_built_against_its_own_pocket(builder: &str, publisher: &str) {
    let site = Site::new();
    build_by(&site, builder, publisher);
    let (library, first) = Package::hosted(&site, "library", "1.0");
    let user = Package::new(&site, "user");
    let shows = "echo built against $$(cat /usr/share/library/version)";
    let commit = commit_needing(&user, "1.0", "library (>= 1.0)", shows);
    user.host(&site);

    let library_job = site.submit("dev", "library", &first);
    let job = site.submit("dev", "user", &commit);
    site.work().ok();
    assert_eq!((site.outcome(&library_job), site.outcome(&job)), ("published".into(), "published".into()));
    let log = site.cli(&["log", &job]).ok();
    assert!(log.contains("built against 1.0\n"), "{log}");
    if builder == "sbuild" {
        // It has its dependencies from where the other has them, and takes long.
        return;
    }

    // What the suite serves now counts, not what it served when apt was last asked.
    let job = site.submit("dev", "library", &library.publishable(&site, "2.0"));
    site.work().ok();
    assert_eq!(site.outcome(&job), "published");
    let commit = commit_needing(&user, "2.0", "library (>= 1.0)", shows);
    user.push(&site);
    let job = site.submit("dev", "user", &commit);
    site.work().ok();
    let log = site.cli(&["log", &job]).ok();
    assert!(log.contains("built against 2.0\n"), "{log}");

    // Another pocket, which does not name this one, sees nothing of it.
    let commit = commit_needing(&user, "3.0", "library", shows);
    user.push(&site);
    let job = site.submit("prod", "user", &commit);
    assert_eq!(site.work().code, Some(6));
    assert_eq!(site.outcome(&job), "failed");
    let record = site.job(&job).to_string();
    assert!(record.contains("Depends: library but it is not installable"), "{record}");
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}

#[test]
fn a_package_is_built_against_what_our_archive_serves() {
    a_package_is_built_against_its_own_pocket("overlay", "archive");
}

#[test]
fn a_package_is_built_by_sbuild_against_what_our_archive_serves() {
    a_package_is_built_against_its_own_pocket("sbuild", "archive");
}

#[test]
fn a_package_is_built_against_what_reprepro_serves() {
    a_package_is_built_against_its_own_pocket("overlay", "reprepro");
}

#[test]
fn a_package_is_built_against_what_aptly_serves() {
    a_package_is_built_against_its_own_pocket("overlay", "aptly");
}

#[test]
fn an_archive_that_somebody_changed_is_refused() {
    let site = Site::new();
    build_by(&site, "overlay", "archive");
    let (_, library) = Package::hosted(&site, "library", "1.0");
    site.submit("dev", "library", &library);
    site.work().ok();
    let user = Package::new(&site, "user");
    let commit = commit_needing(&user, "1.0", "library", "cat /usr/share/library/version");
    user.host(&site);
    let refuses = |path: &str, change: &dyn Fn(&[u8]) -> Vec<u8>, problem: &str| {
        let path = site.path(path);
        let before = fs::read(&path).unwrap();
        fs::write(&path, change(&before)).unwrap();
        let job = site.submit("dev", "user", &commit);
        let answer = site.work();
        let text = format!("{}{}", answer.stdout, answer.stderr);
        assert!(text.contains(problem), "{}: {text}", path.display());
        assert_eq!(site.job(&job)["state"], "waiting", "it is tried again when somebody has looked");
        site.cli(&["cancel", &job]).ok();
        fs::write(&path, before).unwrap();
    };
    // As somebody would who has no key.
    let signature = "-----BEGIN PGP SIGNATURE-----";
    let more = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.replace(signature, &format!(" {} 0 evil\n{signature}", "0".repeat(64))).into_bytes()
    };
    let longer = |bytes: &[u8]| [bytes, b"more"].concat();
    refuses("archive/dists/dev/InRelease", &more, "apt refuses what the site's own archive serves");
    refuses(&index_of(&site), &longer, "is not the file that InRelease names");
    refuses("archive/pool/main/libr/library/library_1.0_all.deb", &longer, "is not what apt's lists say");
    let job = site.submit("dev", "user", &commit);
    site.work().ok();
    assert_eq!(site.outcome(&job), "published", "and the archive as it was is believed");
}

/// Returns the index of binary packages of `dev` by the name that a build reads first.
fn index_of(site: &Site) -> String {
    let architecture = invirtibuilder_tests::builds::host();
    let dists = "archive/dists/dev";
    let release = fs::read_to_string(site.path(&format!("{dists}/InRelease"))).unwrap();
    let path = format!("main/binary-{architecture}/Packages.gz");
    let line = release.lines().find(|it| it.ends_with(&path)).unwrap();
    let hash = line.split_whitespace().next().unwrap();
    format!("{dists}/main/binary-{architecture}/by-hash/SHA256/{hash}")
}
