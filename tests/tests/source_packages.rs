//! Source packages of every kind: taken over, and exported again, by real dpkg-source, git and pristine-tar.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make their own worlds")]

mod gitworld;
mod sourceworld;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gitworld::{git, git_with};
use invirtibuilder_core::conformance::exporter::plan;
use invirtibuilder_core::exporter::Exporter;
use invirtibuilder_core::exporter::source::{OrigSource, SourceExporter, TreeLimits};
use invirtibuilder_core::repository::Repositories;
use sourceworld::{Kind, SourceWorld, assert_same_trees, files_of, run, run_in, sha256};

/// Takes a source package over, exports it again, and compares.
fn comes_back(world: &SourceWorld, dsc: &Path) -> Vec<String> {
    let (package, version, commit) = world.import(dsc);
    let exported = world.export(&package, &version, &commit).unwrap();
    let again = exported.dsc.parent().unwrap();
    for name in sourceworld::files_of(dsc).iter().filter(|it| it.contains(".orig")) {
        assert_eq!(sha256(&again.join(name)), sha256(&dsc.with_file_name(name)), "{name}");
    }
    let text = fs::read_to_string(&exported.dsc).unwrap();
    assert!(text.contains(&format!("Git-Commit: {commit}\n")), "{text}");
    assert_same_trees(&world.unpack(dsc), &world.unpack(&exported.dsc));
    exported.notes
}

#[test]
fn every_kind_of_source_package_comes_back_as_it_was() {
    let world = SourceWorld::new();
    for kind in Kind::ALL {
        let dsc = world.make(kind);
        let notes = comes_back(&world, &dsc);
        let is_noted = |text: &str| notes.iter().any(|it| it.contains(text));
        assert!(!kind.has_orig() || is_noted("made by pristine-tar"), "{kind:?}: {notes:?}");
        assert!(kind != Kind::QuiltXz || is_noted("1 patches that are not applied"), "{notes:?}");
    }
}

#[test]
fn a_try_differs_from_the_declared_version_in_its_changelog_only() {
    let world = SourceWorld::new();
    for kind in Kind::ALL {
        let dsc = world.make(kind);
        let (package, version, commit) = world.import(&dsc);
        let tried = format!("{version}~dev20261123T101500.g{}", &commit.as_str()[..7]).parse().unwrap();
        let exported = world.export(&package, &tried, &commit).unwrap().dsc;
        let text = fs::read_to_string(&exported).unwrap();
        assert!(text.contains(&format!("\nVersion: {tried}\n")), "{text}");
        for name in sourceworld::files_of(&dsc).iter().filter(|it| it.contains(".orig")) {
            assert_eq!(sha256(&exported.with_file_name(name)), sha256(&dsc.with_file_name(name)), "{name}");
        }
        let (declared, tree) = (world.unpack(&dsc), world.unpack(&exported));
        let changelog = fs::read_to_string(tree.join("debian/changelog")).unwrap();
        assert!(changelog.starts_with(&format!("kind ({tried}) ")), "{changelog}");
        fs::copy(declared.join("debian/changelog"), tree.join("debian/changelog")).unwrap();
        assert_same_trees(&declared, &tree);
        let other = format!("{version}~dev20261123T101500.g0000000").parse().unwrap();
        let refused = world.export(&package, &other, &commit).unwrap_err().to_string();
        assert!(refused.contains("submit the commit again"), "{refused}");
    }
}

#[test]
fn a_delta_counts_although_the_package_says_that_it_has_none() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltBz2);
    let (package, version, gbp) = world.import(&dsc);
    let tree = world.unpack(&dsc);
    fs::write(tree.join("debian/gbp.conf"), "[DEFAULT]\npristine-tar = False\n").unwrap();
    let commit = world.commit_directory(&package, &tree, &gbp);
    let exported = world.export(&package, &version, &commit).unwrap();
    let name = "kind_1.0.orig.tar.bz2";
    assert_eq!(sha256(&exported.dsc.with_file_name(name)), sha256(&dsc.with_file_name(name)));
    assert!(exported.notes.iter().any(|it| it.contains("pristine-tar = False")), "{:?}", exported.notes);
}

#[test]
fn git_buildpackage_finds_the_tarballs_of_what_was_taken_over() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltBz2);
    let (package, ..) = world.import(&dsc);
    let path = world.git.repository(&package);
    let clone = world.directory("clone").join("kind");
    run(
        "git",
        &[
            "-c",
            "safe.directory=*",
            "clone",
            "-q",
            "-b",
            "debian/latest",
            path.to_str().unwrap(),
            clone.to_str().unwrap(),
        ],
    );
    run_in(&clone, "git", &["branch", "-q", "pristine-tar", "origin/pristine-tar"]);
    run_in(&clone, "gbp", &["export-orig", "--pristine-tar"]);
    let name = "kind_1.0.orig.tar.bz2";
    assert_eq!(sha256(&clone.with_file_name(name)), sha256(&dsc.with_file_name(name)));
}

#[test]
fn what_the_archive_holds_wins_and_nothing_is_regenerated() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, commit) = world.import(&dsc);
    // The same content, other bytes.
    let held = world.directory("held").join("kind_1.0.orig.tar.xz");
    let unpacked = world.directory("unpacked");
    run(
        "tar",
        &[
            "-C",
            unpacked.to_str().unwrap(),
            "-xf",
            dsc.with_file_name("kind_1.0.orig.tar.xz").to_str().unwrap(),
        ],
    );
    run(
        "tar",
        &["-C", unpacked.to_str().unwrap(), "--sort=name", "--mtime=@7", "-cJf", held.to_str().unwrap(), "."],
    );
    let exporter = world.exporter().with_origs(sourceworld::held(&[&held]));
    let exported = world.export_by(&exporter, &package, &version, &commit).unwrap();
    assert_eq!(sha256(&exported.dsc.with_file_name("kind_1.0.orig.tar.xz")), sha256(&held));
    assert!(exported.notes.iter().any(|it| it.contains("is the archive's")), "{:?}", exported.notes);
    // The component that the archive lacks comes from pristine-tar still.
    assert!(exported.dsc.with_file_name("kind_1.0.orig-doc.tar.gz").is_file());
    assert_same_trees(&world.unpack(&dsc), &world.unpack(&exported.dsc));
}

#[test]
fn patches_that_are_applied_and_that_are_not_give_the_same_source() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, gbp) = world.import(&dsc);
    let dgit = world.commit_directory(&package, &world.unpack(&dsc), &gbp);
    let of = |commit| {
        let exported = world.export(&package, &version, commit).unwrap();
        (world.unpack(&exported.dsc), exported.notes)
    };
    let ((applied, notes), (unapplied, _)) = (of(&dgit), of(&gbp));
    assert!(notes.iter().any(|it| it.contains("patches applied")), "{notes:?}");
    assert_same_trees(&applied, &unapplied);
    assert_same_trees(&applied, &world.unpack(&dsc));
}

#[test]
fn a_commit_of_debian_only_is_exported() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, gbp) = world.import(&dsc);
    let path = world.git.repository(&package);
    let debian = git(&path, &["rev-parse", &format!("{gbp}:debian")]);
    let tree = git_with(&path, &["mktree"], format!("040000 tree {debian}\tdebian\n").as_bytes());
    let commit = gitworld::commit_tree(&path, &tree, Some(&gbp));
    let exported = world.export(&package, &version, &commit).unwrap();
    assert!(exported.notes.iter().any(|it| it.contains("debian/ only")), "{:?}", exported.notes);
    assert_same_trees(&world.unpack(&dsc), &world.unpack(&exported.dsc));
}

#[test]
fn a_difference_from_upstream_is_refused_with_the_diff() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, gbp) = world.import(&dsc);
    let changed = world.directory("changed");
    run(
        "git",
        &[
            "--git-dir",
            world.git.repository(&package).to_str().unwrap(),
            "--work-tree",
            changed.to_str().unwrap(),
            "checkout",
            "-f",
            gbp.as_str(),
            "--",
            ".",
        ],
    );
    fs::write(changed.join("readme"), "something else\n").unwrap();
    fs::write(changed.join("new"), "new\n").unwrap();
    fs::write(changed.join(".gitignore"), "*.o\n").unwrap();
    let commit = world.commit_directory(&package, &changed, &gbp);
    let text = world.refusal(&package, &version, &commit);
    for part in ["readme has other content", "new is not upstream's", "+something else", "gbp pq"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(".gitignore"), "dpkg-source does not look at it either: {text}");
}

#[test]
fn changes_that_are_kept_in_git_alone_become_one_patch_as_dpkg_source_makes_it() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, gbp) = world.import(&dsc);
    let options = |tree: &Path, text: &str| fs::write(tree.join("debian/source/options"), text).unwrap();
    let export = |tree: &Path| {
        let commit = world.commit_directory(&package, tree, &gbp);
        world.export(&package, &version, &commit)
    };
    let single = |tree: &Path, name: &str| {
        let exported = export(tree).unwrap();
        assert!(exported.notes.iter().any(|it| it.contains("single-debian-patch")), "{:?}", exported.notes);
        let unpacked = world.unpack(&exported.dsc);
        // What dpkg-source itself makes of the tree, beside the upstream tarballs.
        let beside = world.directory(name);
        for file in files_of(&dsc).into_iter().filter(|it| it.contains(".orig")) {
            fs::copy(dsc.with_file_name(&file), beside.join(&file)).unwrap();
        }
        run("cp", &["-a", tree.to_str().unwrap(), beside.join("kind-1.0").to_str().unwrap()]);
        run_in(&beside, "dpkg-source", &["--no-check", "-b", "kind-1.0"]);
        assert_same_trees(&world.unpack(&beside.join("kind_1.0-1~x1.dsc")), &unpacked);
        let again = export(tree).unwrap();
        assert_eq!(fs::read(&exported.dsc).unwrap(), fs::read(&again.dsc).unwrap());
        unpacked
    };
    // One patch after those that are there, and one alone; also of a tree that has an older one.
    let tree = world.unpack(&dsc);
    options(&tree, "single-debian-patch\n");
    fs::write(tree.join("readme"), "something\nelse\nthree\n").unwrap();
    fs::write(tree.join("new"), "new\n").unwrap();
    let after = single(&tree, "after");
    assert_eq!(fs::read(after.join("readme")).unwrap(), b"something\nelse\nthree\n");
    let series = |tree: &Path| fs::read_to_string(tree.join("debian/patches/series")).unwrap();
    assert_eq!(series(&after), "two.patch\ndebian-changes\n");
    fs::remove_dir_all(after.join(".pc")).unwrap();
    let same = export(&after).unwrap();
    assert!(same.notes.iter().any(|it| it.contains("2 patches applied")), "{:?}", same.notes);
    fs::write(after.join("readme"), "something\nelse again\nthree\n").unwrap();
    let again = single(&after, "again");
    assert_eq!(fs::read(again.join("readme")).unwrap(), b"something\nelse again\nthree\n");
    fs::remove_dir_all(tree.join("debian/patches")).unwrap();
    fs::write(tree.join("debian/source/patch-header"), "Our changes.\n\n").unwrap();
    let alone = single(&tree, "alone");
    assert_eq!(series(&alone), "debian-changes\n");
    let patch = fs::read_to_string(alone.join("debian/patches/debian-changes")).unwrap();
    assert!(patch.starts_with("Our changes.\n") && patch.contains("+something"), "{patch}");
    // What such a patch cannot tell is refused.
    let refused = |tree: &Path| export(tree).unwrap_err().to_string();
    fs::remove_file(tree.join("bin/run")).unwrap();
    let text = refused(&tree);
    assert!(text.contains("bin/run is missing") && text.contains("include-removal"), "{text}");
    options(&tree, "single-debian-patch\ninclude-removal\n");
    assert!(!single(&tree, "removed").join("bin/run").exists());
    fs::write(tree.join("readme"), b"\0binary\0").unwrap();
    let text = refused(&tree);
    assert!(text.contains("binary file contents changed") && text.contains("readme"), "{text}");
    fs::copy(dsc.with_file_name("kind-1.0/readme"), tree.join("readme")).unwrap();
    fs::set_permissions(tree.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
    let text = refused(&tree);
    assert!(text.contains("new has another mode"), "{text}");
    let left = fs::read_dir(world.git.directory.path().join("scratch")).unwrap().map(|it| it.unwrap());
    let left: Vec<_> = left.map(|it| it.file_name()).filter(|it| it != "register.lock").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_upstream_tag_gives_the_same_tarball_every_time() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, commit) = world.import(&dsc);
    let exporter = world.exporter().with_order(vec![OrigSource::UpstreamTag]);
    let export = || {
        let exported = world.export_by(&exporter, &package, &version, &commit).unwrap();
        (fs::read(&exported.dsc).unwrap(), exported)
    };
    let (first, exported) = export();
    assert_eq!(export().0, first);
    assert!(
        exported.notes.iter().any(|it| it.contains("made of refs/tags/upstream/1.0")),
        "{:?}",
        exported.notes
    );
    assert!(exported.dsc.with_file_name("kind_1.0.orig.tar.gz").is_file());
    let nothing = world.exporter().with_order(Vec::new());
    let refused = world.export_by(&nothing, &package, &version, &commit).unwrap_err().to_string();
    assert!(refused.contains("there is no upstream tarball of kind 1.0"), "{refused}");
}

#[test]
fn nothing_of_gbp_conf_or_of_the_patches_is_evaluated() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltXz);
    let (package, version, gbp) = world.import(&dsc);
    let evaluated = world.directory("evaluated").join("it");
    let touch = format!("touch {}", evaluated.display());
    let changed = world.unpack(&dsc);
    fs::write(
        changed.join("debian/gbp.conf"),
        format!("[buildpackage]\nprebuild = {touch}\npostexport = {touch}\nbuilder = {touch}\nexport-dir = /\n[DEFAULT]\nupstream-tag = $({touch})\n"),
    )
    .unwrap();
    fs::write(changed.join("debian/rules"), format!("#!/bin/sh\n{touch}\n")).unwrap();
    let good = world.commit_directory(&package, &changed, &gbp);
    world.export(&package, &version, &good).unwrap();
    // Applied patches make dpkg-source apply them: none leads out, and none is a script for ed.
    for (name, patch) in [
        ("out", "--- a/../../../../escaped\n+++ b/../../../../escaped\n@@ -0,0 +1 @@\n+x\n".to_owned()),
        ("ed", format!("--- a/readme\n+++ b/readme\n1i\nx\n.\n!{touch}\nw\nq\n")),
        ("link", "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n\\ No newline at end of file\n--- /dev/null\n+++ b/l/passwd-\n@@ -0,0 +1 @@\n+x\n".to_owned()),
    ] {
        fs::write(changed.join("debian/patches/evil"), patch).unwrap();
        fs::write(changed.join("debian/patches/series"), "evil\n").unwrap();
        fs::write(changed.join("readme"), name).unwrap();
        let commit = world.commit_directory(&package, &changed, &gbp);
        let text = world.refusal(&package, &version, &commit);
        assert!(text.len() < 6000, "{text}");
    }
    assert!(!evaluated.exists(), "something was evaluated");
}

#[test]
fn a_hostile_pristine_tar_branch_is_refused_soon() {
    let world = SourceWorld::new();
    let dsc = world.make(Kind::QuiltBz2);
    let (package, version, commit) = world.import(&dsc);
    let path = world.git.repository(&package);
    let id = git(&path, &["show", "pristine-tar:kind_1.0.orig.tar.bz2.id"]);
    for (delta, id) in [
        (&b"no delta"[..], id.as_str()),
        (b"", id.as_str()),
        (b"\x1f\x8b\x08\x00", "HEAD"),
        (b"x", "0123456789012345678901234567890123456789"),
        (b"x", "--output=/tmp/x"),
        (b"x", "/etc/passwd"),
    ] {
        let tree = gitworld::tree(
            &path,
            &[
                ("100644", "kind_1.0.orig.tar.bz2.delta", delta),
                ("100644", "kind_1.0.orig.tar.bz2.id", id.as_bytes()),
            ],
        );
        let evil = git(&path, &["commit-tree", &tree, "-m", "evil"]);
        git(&path, &["update-ref", "refs/heads/pristine-tar", &evil]);
        let started = Instant::now();
        let text = world.refusal(&package, &version, &commit);
        assert!(text.contains("pristine-tar"), "{text}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

/// Not a test by itself: exports what its environment says, for the test below.
#[test]
#[ignore = "started by another test"]
fn export_as_told() {
    let told = |name: &str| std::env::var(name).unwrap();
    let repositories = Repositories::open(Path::new(&told("TEST_REPOSITORIES"))).unwrap();
    let origs: Vec<PathBuf> =
        fs::read_dir(told("TEST_ORIGS")).unwrap().map(|it| it.unwrap().path()).collect();
    let origs: Vec<&Path> = origs.iter().map(PathBuf::as_path).collect();
    let exporter =
        SourceExporter::new(repositories, TreeLimits::default()).with_origs(sourceworld::held(&origs));
    let plan = plan(
        &"kind".parse().unwrap(),
        &told("TEST_VERSION").parse().unwrap(),
        &told("TEST_COMMIT").parse().unwrap(),
    );
    exporter.export(&plan, Path::new(&told("TEST_INTO"))).unwrap();
}

#[test]
fn the_bytes_of_every_kind_do_not_depend_on_user_umask_locale_zone_or_home() {
    let world = SourceWorld::new();
    // Where it is, another user may not be able to start it.
    let program = world.directory("program").join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for kind in Kind::ALL {
        let dsc = world.make(kind);
        let (_, version, commit) = world.import(&dsc);
        let exported = |user: &str, umask: &str, locale: &str, zone: &str, home: &str| {
            let place = world.directory("as");
            let prepare = "cp -r \"$1\" \"$3/repositories\"; mkdir \"$3/into\" \"$3/origs\"; \
                for f in \"$2\"/*.orig*; do test ! -f \"$f\" || cp \"$f\" \"$3/origs\"; done; chown -R \"$4\" \"$3\"";
            let mut command = Command::new("sh");
            command.args(["-ec", prepare, "sh"]).arg(world.git.repositories.directory());
            gitworld::output(
                {
                    command.arg(dsc.parent().unwrap()).arg(&place).arg(user);
                    command
                },
                b"",
            );
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", "0", "--clear-groups", "sh", "-c"]);
            command.arg(format!("umask {umask}; exec \"$@\"")).arg("sh").arg(&program);
            command.args(["--exact", "export_as_told", "--ignored"]);
            command
                .env("TEST_REPOSITORIES", place.join("repositories"))
                .env("TEST_ORIGS", place.join("origs"));
            command.env("TEST_INTO", place.join("into")).env("TEST_COMMIT", commit.as_str());
            command.env("TEST_VERSION", version.as_str()).env("HOME", home);
            command.env("LC_ALL", locale).env("TZ", zone).env("SOURCE_DATE_EPOCH", "1");
            command
                .env("TAR_OPTIONS", "--mtime=@5")
                .env("XZ_OPT", "-9")
                .env("GZIP", "-1")
                .env_remove("NEXTEST");
            gitworld::output(
                {
                    command.current_dir("/");
                    command
                },
                b"",
            );
            let files = fs::read_dir(place.join("into")).unwrap().map(|it| it.unwrap().path());
            files
                .map(|it| (it.file_name().unwrap().to_owned(), fs::read(it).unwrap()))
                .collect::<BTreeMap<_, _>>()
        };
        let me = exported("0", "022", "C", "UTC", "/root");
        let other = exported("65534", "077", "de_DE.UTF-8", "Asia/Tokyo", "/nonexistent");
        assert!(me.len() > 1 && me == other, "{kind:?}: {:?} {:?}", me.keys(), other.keys());
    }
}
