//! Source packages with upstream tarballs all the way: taken over, built in rooms, published, installed from there again.
//! (The name puts it into the group of heavy tests.)
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests write files and start programs, and one tells what it did"
)]

mod gitworld;
mod sourceworld;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;
use sourceworld::{Kind, SourceWorld, differences_of_trees, files_of, sha256};

fn site() -> Site {
    let site = Site::new();
    site.build_by_overlay();
    site
}

/// Takes a source package over, publishes it in `dev`, and returns where its files are in the archive.
fn publish(site: &Site, package: &str, dsc: &Path) -> (String, PathBuf, String) {
    let made = site.json(&["repo", "create", package, "--import", dsc.to_str().unwrap()]);
    let commit = made["commit"].as_str().unwrap().to_owned();
    let job = site.submit("dev", package, &commit);
    drop(site.work());
    let outcome = site.outcome(&job);
    let log = site.cli(&["log", &job]).ok();
    let name = dsc.file_name().unwrap().to_str().unwrap();
    let found = run(command("find").arg(site.path("archive/pool")).args(["-name", name])).ok();
    (outcome, PathBuf::from(found.trim()).parent().unwrap_or(Path::new("/")).to_owned(), log)
}

#[test]
fn the_next_revision_has_the_tarball_that_the_archive_has() {
    let world = SourceWorld::new();
    let site = site();
    let dsc = world.make(Kind::QuiltXz);
    let (outcome, pool, log) = publish(&site, "kind", &dsc);
    assert_eq!(outcome, "published", "{log}");
    assert!(log.contains("source: kind_1.0.orig.tar.xz is made by pristine-tar"), "{log}");
    let orig = sha256(&dsc.with_file_name("kind_1.0.orig.tar.xz"));
    assert_eq!(sha256(&pool.join("kind_1.0.orig.tar.xz")), orig);
    // Without its branch nothing could make the tarball again.
    let repository = site.repository("kind");
    site.git(&repository, &["update-ref", "-d", "refs/heads/pristine-tar"]).ok();
    let work = site.beside("work");
    let clone = ["clone", "-q", "-b", "debian/latest", repository.to_str().unwrap(), work.to_str().unwrap()];
    run(command("git").args(clone)).ok();
    let changelog = fs::read_to_string(work.join("debian/changelog")).unwrap();
    fs::write(work.join("debian/changelog"), changelog.replace("1.0-1~x1", "1.0-2")).unwrap();
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
    site.git(&work, &[&identity[..], &["commit", "-qam", "1.0-2"]].concat()).ok();
    site.git(&work, &["push", "-q", "origin", "HEAD"]).ok();
    let commit = site.git(&work, &["rev-parse", "HEAD"]).ok().trim().to_owned();
    let job = site.submit("dev", "kind", &commit);
    drop(site.work());
    let log = site.cli(&["log", &job]).ok();
    assert_eq!(site.outcome(&job), "published", "{log}");
    assert!(log.contains("is the archive's"), "{log}");
    site.assert_agreement();
}

/// What became of a source package of Debian.
#[derive(Default)]
struct Row {
    package: String,
    format: String,
    kind: String,
    origin: String,
    identical: String,
    equal: String,
    built: String,
}

/// Takes a source package over, exports it, and compares.
fn come_back(world: &SourceWorld, dsc: &Path) -> Row {
    let (package, version, commit) = world.import(dsc);
    let exported = world.export(&package, &version, &commit).unwrap();
    let (before, after) = (world.unpack(dsc), world.unpack(&exported.dsc));
    let files = files_of(dsc);
    let origs: Vec<_> = files.iter().filter(|it| it.contains(".orig")).collect();
    let same = |it: &&&String| sha256(&exported.dsc.with_file_name(it)) == sha256(&dsc.with_file_name(it));
    let identical = origs.iter().filter(same).count();
    let from = |text: &str| exported.notes.iter().filter(|it| it.contains(text)).count();
    let (made, kept) = (from("is made by pristine-tar"), from("is what the branch pristine-tar has"));
    let differences = differences_of_trees(&before, &after);
    Row {
        package: format!("{package} {version}"),
        format: fs::read_to_string(dsc)
            .unwrap()
            .lines()
            .find_map(|it| it.strip_prefix("Format: "))
            .unwrap()
            .to_owned(),
        kind: kind_of(&files, &before),
        origin: if origs.is_empty() { "-".to_owned() } else { format!("pristine-tar {made}, asc {kept}") },
        identical: if origs.is_empty() { "-".to_owned() } else { format!("{identical} of {}", origs.len()) },
        equal: if differences.is_empty() { "yes".to_owned() } else { differences.join("; ") },
        built: "-".to_owned(),
    }
}

/// Says what is special about a source package.
fn kind_of(files: &[String], tree: &Path) -> String {
    let series = fs::read_to_string(tree.join("debian/patches/series")).unwrap_or_default();
    let patches = series.lines().filter(|it| !it.trim().is_empty() && !it.starts_with('#')).count();
    let count = |tests: &[&str]| -> usize {
        let mut find = command("find");
        find.arg(tree).args(["-not", "-path", "*/.pc/*"]).args(tests);
        run(find.env("LC_ALL", "C")).ok().lines().count()
    };
    let mut kinds: Vec<String> = Vec::new();
    for extension in ["gz", "bz2", "xz", "lzma", "zst"] {
        let is_it = |it: &&String| it.ends_with(&format!(".tar.{extension}")) && !it.contains(".debian.");
        let found = files.iter().filter(is_it).count();
        if found > 0 {
            kinds.push(if found > 1 { format!("{found} {extension}") } else { extension.to_owned() });
        }
    }
    for (what, found) in [
        ("patches", patches),
        ("asc", files.iter().filter(|it| it.ends_with(".asc")).count()),
        ("links", count(&["-type", "l"])),
        ("executable", count(&["-type", "f", "-perm", "-100"])),
        ("not ASCII", count(&["-regex", ".*[^ -~].*"])),
        ("diff.gz", files.iter().filter(|it| it.ends_with(".diff.gz")).count()),
    ] {
        if found > 0 {
            kinds.push(format!("{found} {what}"));
        }
    }
    kinds.join(", ")
}

/// Debian's own: those whose `.dsc` lies in the directory that the environment names; `INVIRTIBUILDER_TEST_BUILDS` says
/// how many of them are built too, or `all`.
#[test]
#[ignore = "takes the source packages of the directory that INVIRTIBUILDER_TEST_SOURCES names"]
fn source_packages_of_debian_come_back_and_are_built() {
    let directory = std::env::var("INVIRTIBUILDER_TEST_SOURCES").unwrap();
    let builds = match std::env::var("INVIRTIBUILDER_TEST_BUILDS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(count) => count.parse().unwrap(),
        Err(_) => 0,
    };
    let mut all: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
    all.retain(|it| it.extension().is_some_and(|it| it == "dsc"));
    all.sort();
    let world = SourceWorld::new();
    let came_back = |dsc: &PathBuf| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| come_back(&world, dsc))).unwrap_or_else(
            |_| Row { package: dsc.display().to_string(), equal: "refused".to_owned(), ..Row::default() },
        )
    };
    let mut rows: Vec<Row> = all.iter().map(came_back).collect();
    let tell = |row: &Row| {
        let Row { package, format, kind, origin, identical, equal, built } = row;
        println!("| {package} | {format} | {kind} | {origin} | {identical} | {equal} | {built} |");
    };
    rows.iter().for_each(tell);
    let site = site();
    // The base has this one.
    site.configure(|text| text.replace("    dev:\n", "    dev:\n      may_replace: [hostname]\n"));
    for (row, dsc) in rows.iter_mut().zip(&all).take(builds) {
        let started = Instant::now();
        let package = row.package.split(' ').next().unwrap().to_owned();
        let (outcome, pool, log) = publish(&site, &package, dsc);
        let origs = files_of(dsc).into_iter().filter(|it| it.contains(".orig"));
        let mut origs = origs.map(|it| (pool.join(&it), dsc.with_file_name(&it)));
        let is_served = outcome == "published" && origs.all(|it| sha256(&it.0) == sha256(&it.1));
        row.built = if is_served { format!("yes, {:.0?}", started.elapsed()) } else { outcome };
        println!("{} {}", row.package, row.built);
        if !is_served {
            println!("{}", log.lines().rev().take(25).collect::<Vec<_>>().join("\n"));
        }
    }
    rows.iter().for_each(tell);
    let is_good = |it: &&Row| it.equal == "yes" && (it.built == "-" || it.built.starts_with("yes"));
    let bad: Vec<_> = rows.iter().filter(|it| !is_good(it)).map(|it| &it.package).collect();
    assert_eq!(bad, Vec::<&String>::new());
}
