#![allow(clippy::disallowed_methods, reason = "tests make tarballs")]

use super::*;

fn bases(cache: &Path) -> Bases {
    Bases::new(cache, BTreeMap::new())
}

fn names() -> (BaseName, Architecture) {
    ("bookworm".parse().unwrap(), "amd64".parse().unwrap())
}

#[test]
fn a_base_that_was_never_made_or_whose_tarball_is_gone_is_not_on_disk() {
    let cache = tempfile::tempdir().unwrap();
    let (base, architecture) = names();
    assert_eq!(bases(cache.path()).on_disk(&base, &architecture), None);
    let record = r#"{"tarball":"gone.tar","previous":null,"sha256":"00","made":"2026-01-01T00:00:00Z"}"#;
    fs::write(cache.path().join("bookworm-amd64.json"), record).unwrap();
    assert_eq!(bases(cache.path()).on_disk(&base, &architecture), None);
    fs::write(cache.path().join("gone.tar"), "").unwrap();
    assert!(bases(cache.path()).on_disk(&base, &architecture).is_some());
}

#[test]
fn the_tarball_before_the_current_one_is_kept_and_older_ones_go() {
    let cache = tempfile::tempdir().unwrap();
    let name = |day: &str| format!("bookworm-amd64-2026110{day}T000000Z.tar");
    for file in [&name("1"), &name("2"), &name("3"), "bookworm-amd64-mine.tar"] {
        fs::write(cache.path().join(file), "").unwrap();
    }
    let (base, architecture) = names();
    let made = Timestamp::UNIX_EPOCH;
    let record =
        Record { tarball: name("3"), previous: Some(name("2")), sha256: String::new(), made, packages: None };
    bases(cache.path()).remove_old(&base, &architecture, &record).unwrap();
    let mut left: Vec<_> = fs::read_dir(cache.path())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [name("2"), name("3"), "bookworm-amd64-mine.tar".to_owned()]);
}

#[test]
fn a_tarball_that_is_cut_off_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::write(&from, vec![1; 4096]).unwrap();
    assert!(tarball::take(&from, &to).is_err());
    assert!(!to.exists());
    fs::write(&from, vec![0; 2_500_000]).unwrap();
    assert_eq!(tarball::take(&from, &to).unwrap().len(), 64);
    assert_eq!(fs::metadata(&to).unwrap().len(), 2_500_000);
}

#[test]
fn the_packages_of_a_base_are_those_that_dpkg_says_are_installed_in_it() {
    const STATUS: &str = "Package: bash\nEssential: yes\nStatus: install ok installed\nVersion: 5\nDescription: a shell\n Package: no\n\nPackage: gone\nStatus: deinstall ok config-files\n\nPackage: libc6\nStatus: hold ok installed\n";
    let cache = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(fs::File::create(cache.path().join("x.tar")).unwrap());
    for (name, text) in [("./etc/passwd", "Package: x\n"), ("./var/lib/dpkg/status", STATUS)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap();
    let (base, architecture) = names();
    let bases = bases(cache.path());
    assert!(bases.packages(&base, &architecture).unwrap().is_empty(), "it was never made");
    let wanted: BTreeSet<PackageName> = ["bash", "libc6"].map(|it| it.parse().unwrap()).into();
    // A record from before packages were listed in it.
    let record = r#"{"tarball":"x.tar","previous":null,"sha256":"00","made":"2026-01-01T00:00:00Z"}"#;
    fs::write(bases.record(&base, &architecture), record).unwrap();
    assert_eq!(bases.packages(&base, &architecture).unwrap(), wanted);
    let record = record.replace('}', r#","packages":["bash","libc6"]}"#);
    fs::write(bases.record(&base, &architecture), record).unwrap();
    fs::remove_file(cache.path().join("x.tar")).unwrap();
    assert_eq!(bases.packages(&base, &architecture).unwrap(), wanted);
}

#[test]
fn a_tarball_that_is_a_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::write(directory.path().join("other"), vec![0; 4096]).unwrap();
    std::os::unix::fs::symlink("other", &from).unwrap();
    assert!(tarball::take(&from, &to).is_err());
}

#[test]
fn the_end_of_a_log_becomes_one_line_of_an_error() {
    let mut log = Vec::new();
    let mut tail = Tail::new(&mut log);
    for line in 0..500 {
        writeln!(tail, "line {line}").unwrap();
    }
    assert_eq!(tail.text(), "line 495; line 496; line 497; line 498; line 499");
    assert!(log.starts_with(b"line 0\nline 1\n"));
}

#[test]
fn an_unknown_base_is_refused_with_the_known_ones() {
    let directory = tempfile::tempdir().unwrap();
    let known = BTreeMap::from([("sid".parse().unwrap(), BaseSpec::default())]);
    let bases = Bases::new(directory.path(), known);
    let (base, architecture) = names();
    let account = crate::builder::account::Account::for_tests();
    let (scratch, walls) = (Scratch::new(directory.path()), Walls::new(account, 1));
    let result = bases.ensure(&base, &architecture, &scratch, &walls, &mut Vec::new(), &crate::stop::Never);
    let error = result.unwrap_err();
    assert!(crate::error::causes(&error).join(": ").contains("only: sid"), "{error}");
}
