//! The gates of a pocket, with the real lintian, apt, piuparts and autopkgtest of the base, in rooms. (The name puts it into the
//! group of heavy tests.)
//!
//! Layers with the tools are expensive, so each test asks several things of one site, and all share one store.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::sites::Site;
use serde_json::Value;

/// A tidy `debian/rules` without debhelper, which does this before the package is packed.
fn rules(name: &str, does: &str) -> String {
    format!(
        "#!/usr/bin/make -f\nD = debian/tmp\nbuild build-arch build-indep:\nclean:\n\trm -rf $D debian/files\nbinary-arch:\nbinary binary-indep:\n\tmkdir -p $D/DEBIAN $D/usr/share/{name}\n\techo tidy > $D/usr/share/{name}/file\n\t{does}\n\tdpkg-gencontrol -p{name}\n\tchmod -R u=rwX,go=rX $D\n\tdpkg-deb --root-owner-group --build $D ..\n.PHONY: build build-arch build-indep clean binary binary-arch binary-indep\n"
    )
}

/// Makes a site whose pockets have these settings.
fn site(prod: &str, dev: &str) -> Site {
    let site = Site::new();
    site.build_by_overlay();
    site.configure(|text| {
        let mut changed = String::new();
        for line in text.lines() {
            changed.push_str(line);
            changed.push('\n');
            match line {
                "    prod:" => changed.push_str(prod),
                "    dev:" => changed.push_str(dev),
                _ => (),
            }
        }
        changed
    });
    site
}

/// Makes a package that a site hosts; returns its commit.
fn package(site: &Site, name: &str, does: &str, fields: &str, files: &[(&str, &str)]) -> String {
    let package = Package::new(site, name);
    package.commit("1.0");
    package.write("debian/rules", &rules(name, does));
    let control = fs::read_to_string(package.tree().join("debian/control")).unwrap();
    package.write(
        "debian/control",
        &control.replace("Architecture: all\n", &format!("Architecture: all\n{fields}")),
    );
    for (path, text) in files {
        package.write(path, text);
        fs::set_permissions(package.tree().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let commit = package.commit_all("1.0");
    package.host(site);
    commit
}

fn texts(job: &Value, field: &str) -> Vec<String> {
    let all = job[field].as_array().cloned().unwrap_or_default();
    let text =
        |it: &Value| it.as_str().map_or_else(|| it["text"].as_str().unwrap().to_owned(), str::to_owned);
    all.iter().map(text).collect()
}

/// Submits and works one job; returns its record.
fn publish(site: &Site, pocket: &str, name: &str, commit: &str) -> Value {
    let job = site.submit(pocket, name, commit);
    let _ = site.work();
    site.job(&job)
}

#[test]
fn what_depends_on_its_environment_is_noted_in_dev_and_not_promoted_to_prod() {
    let site = site(
        "      copy_from: { pockets: [dev], verify: rebuild }\n",
        "      gates: { reproducibility: note }\n",
    );
    let good = package(&site, "tidy", "true", "", &[]);
    let captures = "{ id -un; hostname; umask; echo $$HOME $$DEB_BUILD_OPTIONS; date +%s%N; } > $D/usr/share/untidy/where";
    let bad = package(&site, "untidy", captures, "", &[]);

    let job = publish(&site, "dev", "tidy", &good);
    assert_eq!((&job["outcome"], texts(&job, "notes")), (&"published".into(), vec![]), "{job:#}");
    let job = publish(&site, "dev", "untidy", &bad);
    assert_eq!(job["outcome"], "published", "{job:#}");
    let expected = "untidy_1.0_all.deb differs in data.tar.xz: usr/share/untidy/where (its content)";
    assert_eq!(texts(&job, "notes"), [expected]);
    let shown = site.cli(&["show", job["id"].as_str().unwrap()]).ok();
    assert!(shown.contains(&format!("reproducibility: {expected}")), "{shown}");

    let job = publish(&site, "prod", "tidy", &good);
    assert_eq!((&job["outcome"], &job["copied_from"]), (&"published".into(), &"dev".into()), "{job:#}");
    let bytes = |pocket: &str| Apt::of_pocket(&site, pocket).download(&["tidy"]);
    assert_eq!(bytes("dev"), bytes("prod"));
    let job = publish(&site, "prod", "untidy", &bad);
    assert_eq!((&job["outcome"], &job["stage"]), (&"failed".into(), &"examine".into()), "{job:#}");
    assert_eq!(texts(&job, "causes")[1], format!("rebuild: {expected}"));
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}

#[test]
fn lintian_and_apt_refuse_together_and_what_they_only_note_is_published() {
    let site = site(
        "      gates: { lintian: refuse, installability: refuse }\n",
        "      gates: { lintian: note, installability: note, lintian_fail_on: [error] }\n",
    );
    let fields = "Depends: nobody-has-this (>= 2)\n";
    let commit = package(&site, "faulty", "true", fields, &[]);
    let job = publish(&site, "prod", "faulty", &commit);
    assert_eq!((&job["outcome"], &job["stage"]), (&"failed".into(), &"examine".into()), "{job:#}");
    let causes = texts(&job, "causes").join("\n");
    let apt =
        "faulty cannot be installed: faulty : Depends: nobody-has-this (>= 2) but it is not installable";
    assert!(causes.contains(&format!("installability: {apt}")), "{causes}");
    assert!(causes.contains("lintian: E: faulty: no-copyright-file"), "{causes}");
    assert!(causes.contains("-<gate>.log"), "{causes}");

    let job = publish(&site, "dev", "faulty", &commit);
    assert_eq!(job["outcome"], "published", "{job:#}");
    let notes = texts(&job, "notes");
    assert!(notes.contains(&apt.to_owned()), "{notes:?}");
    assert!(notes.iter().any(|it| it == "E: faulty: no-copyright-file"), "{notes:?}");
    let log = site.cli(&["log", job["id"].as_str().unwrap()]).ok();
    assert!(log.contains("dpkg-deb: building package"), "the build's log is still the one: {log}");

    // One that needs what the suite will have beside it is not refused for that.
    let commit = package(&site, "needy", "true", "Depends: faulty, perl\n", &[]);
    let job = publish(&site, "dev", "needy", &commit);
    let notes = texts(&job, "notes").join("\n");
    assert!(notes.contains("needy cannot be installed") && notes.contains("faulty"), "{notes}");
    let commit = package(&site, "content", "true", "Depends: perl\n", &[]);
    let job = publish(&site, "dev", "content", &commit);
    let notes = texts(&job, "notes").join("\n");
    assert!(!notes.contains("cannot be installed"), "{notes}");
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}

#[test]
fn tests_of_a_package_run_against_what_was_built_and_a_failing_one_refuses_it() {
    let site = site("      gates: { autopkgtest: refuse }\n", "");
    let control =
        "Tests: installed\nDepends: @, jq\n\nTests: alone\nDepends: @\nRestrictions: needs-internet\n";
    let test = "#!/bin/sh\nset -e\ngrep tidy /usr/share/hello/file\necho '{}' | jq .\n";
    let files =
        [("debian/tests/control", control), ("debian/tests/installed", test), ("debian/tests/alone", test)];
    // The base's archive has a greater version of that name, which is not the one to be tested.
    let commit = package(&site, "hello", "true", "", &files);
    let job = publish(&site, "prod", "hello", &commit);
    assert_eq!(job["outcome"], "published", "{job:#}\n{}", gate_log(&site, &job));
    let notes = texts(&job, "notes").join("\n");
    assert!(notes.starts_with("alone SKIP"), "{notes}");

    let control = "Tests: wrong\nDepends: @\n";
    let test = "#!/bin/sh\necho this is why\nexit 3\n";
    let files = [("debian/tests/control", control), ("debian/tests/wrong", test)];
    let commit = package(&site, "failing", "true", "", &files);
    let job = publish(&site, "prod", "failing", &commit);
    assert_eq!((&job["outcome"], &job["stage"]), (&"failed".into(), &"examine".into()), "{job:#}");
    let log = gate_log(&site, &job);
    assert!(texts(&job, "causes")[1].starts_with("autopkgtest: wrong FAIL"), "{job:#}\n{log}");
    assert!(log.contains("this is why"), "{log}");
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}

#[test]
fn what_leaves_files_behind_when_it_is_purged_is_refused() {
    let site = site("      gates: { piuparts: refuse }\n", "      gates: { piuparts: note }\n");
    // What it needs comes from the base's archive, which has a greater version of itself, too.
    let commit = package(&site, "hello", "true", "Depends: ed\n", &[]);
    let job = publish(&site, "prod", "hello", &commit);
    let log = log_of(&site, &job, "piuparts");
    assert_eq!((&job["outcome"], texts(&job, "notes")), (&"published".into(), vec![]), "{job:#}\n{log}");
    assert!(log.contains("PASS: Installation and purging test"), "{log}");

    let script = r"printf '#!/bin/sh\nmkdir /var/lib/messy\necho left > /var/lib/messy/left\n' > $D/DEBIAN/postinst; chmod 755 $D/DEBIAN/postinst";
    let commit = package(&site, "messy", script, "", &[]);
    let job = publish(&site, "prod", "messy", &commit);
    assert_eq!((&job["outcome"], &job["stage"]), (&"failed".into(), &"examine".into()), "{job:#}");
    let cause = &texts(&job, "causes")[1];
    assert!(cause.starts_with("piuparts: messy: Package purging left files on system: "), "{cause}");
    assert!(cause.contains("/var/lib/messy/left"), "{cause}");
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}

/// Its bases lack packages that those before have, and its tools do some things in other ways.
#[test]
fn every_gate_works_in_a_base_of_debian_13() {
    let gates = "      gates: { lintian: note, piuparts: refuse, autopkgtest: refuse, installability: refuse, reproducibility: refuse }\n";
    let site = site(gates, "");
    site.configure(|text| {
        let line = |it: &str| {
            let is_base = it.trim_start().starts_with("base: ");
            if is_base { "      base: trixie\n".to_owned() } else { format!("{it}\n") }
        };
        let text: String = text.lines().map(line).collect();
        match text.split_once("\nbases:\n") {
            Some((_, after)) if after.contains("  trixie:") => text,
            Some((before, after)) => format!("{before}\nbases:\n  trixie: {{}}\n{after}"),
            None => text + "\nbases:\n  trixie: {}\n",
        }
    });
    let test = "#!/bin/sh\nset -e\ngrep tidy /usr/share/hello/file\n";
    let files =
        [("debian/tests/control", "Tests: installed\nDepends: @\n"), ("debian/tests/installed", test)];
    let commit = package(&site, "hello", "true", "Depends: ed\n", &files);
    let job = publish(&site, "prod", "hello", &commit);
    let log = |gate| log_of(&site, &job, gate);
    assert_eq!(job["outcome"], "published", "{job:#}\n{}\n{}", log("piuparts"), log("autopkgtest"));
    assert!(log("piuparts").contains("PASS: Installation and purging test"), "{}", log("piuparts"));
    assert!(log("autopkgtest").contains("installed            PASS"), "{}", log("autopkgtest"));
    assert!(log("reproducibility").contains("is the same"), "{}", log("reproducibility"));
    assert!(log("lintian").contains("hello"), "{}", log("lintian"));
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}

/// Returns autopkgtest's log of a job.
fn gate_log(site: &Site, job: &Value) -> String {
    log_of(site, job, "autopkgtest")
}

/// Returns a gate's log of a job.
fn log_of(site: &Site, job: &Value, gate: &str) -> String {
    let (package, id) = (job["package"].as_str().unwrap(), job["id"].as_str().unwrap());
    let path = site.path(&format!("logs/{package}/1.0/{id}-{gate}.log"));
    fs::read_to_string(path).unwrap_or_default()
}
