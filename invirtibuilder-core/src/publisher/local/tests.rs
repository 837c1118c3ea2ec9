#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files")]

use std::fs;

use super::*;

fn suite(directory: &Path) -> LocalSuite {
    LocalSuite {
        directory: directory.to_owned(),
        suite: "stable".parse().unwrap(),
        components: vec!["main".parse().unwrap()],
    }
}

fn serve(directory: &Path, text: &str) {
    let dists = directory.join("dists/stable");
    fs::create_dir_all(dists.join("main/binary-amd64")).unwrap();
    fs::write(dists.join("main/binary-amd64/Packages"), text).unwrap();
    let Sum { sha256, size } = Sum::of(text.as_bytes());
    let release = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: stable\nSHA256:\n {sha256} {size} main/binary-amd64/Packages\n-----BEGIN PGP SIGNATURE-----\n"
    );
    fs::write(dists.join("InRelease"), release).unwrap();
}

fn moment(directory: &Path) -> Moment {
    let suite = suite(directory);
    let release = read_release(&suite).unwrap();
    Moment { suites: vec![(suite, release)] }
}

#[test]
fn a_moment_is_known_by_what_is_served() {
    let directory = tempfile::tempdir().unwrap();
    serve(directory.path(), "Package: a\n");
    let first = moment(directory.path());
    assert_eq!(first.id(), moment(directory.path()).id());
    serve(directory.path(), "Package: b\n");
    assert_ne!(first.id(), moment(directory.path()).id());
}

#[test]
fn what_changes_while_it_is_copied_is_copied_as_one_state() {
    let (directory, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    serve(directory.path(), "Package: a\n");
    let before = moment(directory.path());
    // This one has no by-hash, so what InRelease named is gone.
    serve(directory.path(), "Package: b\n");
    let copied = before.copy(&"amd64".parse().unwrap(), into.path()).unwrap();
    assert_eq!(copied, moment(directory.path()));
    let text = fs::read_to_string(into.path().join("0/dists/stable/main/binary-amd64/Packages")).unwrap();
    assert_eq!(text, "Package: b\n");
}

#[test]
fn an_index_that_release_does_not_name_is_not_copied() {
    let (directory, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    serve(directory.path(), "Package: a\n");
    let path = directory.path().join("dists/stable/main/binary-amd64/Packages");
    fs::write(&path, "Package: e\n").unwrap();
    let error = moment(directory.path()).copy(&"amd64".parse().unwrap(), into.path()).unwrap_err();
    assert!(error.to_string().contains("is not the file that InRelease names"), "{error}");
}

#[test]
fn a_file_is_found_in_the_archive_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    serve(directory.path(), "");
    let (moment, copied) = (moment(directory.path()), Path::new("/copied"));
    let original = |it: &str| moment.original(copied, Path::new(it));
    assert_eq!(original("/copied/0/pool/a.deb"), Some(directory.path().join("pool/a.deb")));
    for wrong in ["/copied/1/pool/a.deb", "/copied/0/../../etc/shadow", "/etc/shadow", "/copied"] {
        assert_eq!(original(wrong), None, "{wrong}");
    }
}
