#![allow(clippy::disallowed_methods, reason = "tests prepare the directories that the signer meets")]

use super::*;

const TEXT: &str = "Origin: a test\nSuite: stable\n";

fn home() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap()
}

#[test]
fn a_generated_key_signs_and_its_public_key_verifies() {
    let home = home();
    let fingerprint = GpgSigner::generate(home.path(), "A test <test@example.org>").unwrap();
    let gpg = GpgSigner::open(home.path(), &[fingerprint]).unwrap();
    let signed = gpg.sign(TEXT).unwrap();
    assert!(String::from_utf8_lossy(&signed.inline).contains(TEXT));
    assert!(signed.detached.starts_with(b"-----BEGIN PGP SIGNATURE-----"));
    assert!(gpg.public_key().unwrap().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    let left = std::fs::read_dir(home.path()).unwrap();
    let left =
        left.filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp")).count();
    assert_eq!(left, 0, "temporary files are removed");
}

#[test]
fn two_keys_sign_together() {
    let home = home();
    let keys = ["One <1@example.org>", "Two <2@example.org>"]
        .map(|it| GpgSigner::generate(home.path(), it).unwrap());
    let signer = GpgSigner::open(home.path(), &keys).unwrap();
    signer.sign(TEXT).unwrap();
}

#[test]
fn a_missing_key_is_named() {
    let home = home();
    GpgSigner::generate(home.path(), "A test <test@example.org>").unwrap();
    let other: Fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567".parse().unwrap();
    let error = GpgSigner::open(home.path(), &[other]).unwrap_err().to_string();
    assert!(
        error.contains("0123456789ABCDEF0123456789ABCDEF01234567") && error.contains("is missing"),
        "{error}"
    );
}

#[test]
fn an_expired_key_is_refused_with_the_remedy() {
    let home = home();
    let key = gpg(home.path())
        .args(["--faked-system-time", "20200101T000000", "--pinentry-mode", "loopback", "--passphrase", ""])
        .args([
            "--status-fd",
            "1",
            "--quick-generate-key",
            "Old <old@example.org>",
            "ed25519",
            "sign",
            "2020-01-02",
        ])
        .run()
        .unwrap();
    let key = String::from_utf8(key).unwrap();
    let old = key.lines().find_map(|it| it.strip_prefix("[GNUPG:] KEY_CREATED P ")).unwrap();
    let error = GpgSigner::open(home.path(), &[old.parse().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("has expired"), "{error}");
}

#[test]
fn a_home_whose_path_is_too_long_for_a_socket_is_refused() {
    let home = home();
    let long = home.path().join("a".repeat(90));
    let error = GpgSigner::generate(&long, "A test <test@example.org>").unwrap_err().to_string();
    assert!(error.contains("at most 85"), "{error}");
}

#[test]
fn a_short_fingerprint_is_refused() {
    assert!("01234567".parse::<Fingerprint>().is_err());
    let spaced = "0123 4567 89ab cdef 0123  4567 89AB CDEF 0123 4567".parse::<Fingerprint>().unwrap();
    assert_eq!(spaced.as_str(), "0123456789ABCDEF0123456789ABCDEF01234567");
}
