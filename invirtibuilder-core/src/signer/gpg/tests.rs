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
}

/// Runs gpg in a home and returns the fingerprint of the key that it made.
fn made(home: &Path, arguments: &[&str]) -> Fingerprint {
    let status = gpg(home).args(["--pinentry-mode", "loopback", "--status-fd", "1"]).args(arguments).run();
    let status = String::from_utf8(status.unwrap()).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("[GNUPG:] KEY_CREATED ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Makes a key with a passphrase (perhaps none), what it may do, and when it ends.
fn key(home: &Path, passphrase: &str, may: &str, ends: &str) -> Fingerprint {
    let user = format!("{may} <{passphrase}{ends}@example.org>");
    made(home, &["--passphrase", passphrase, "--quick-generate-key", "--", &user, "ed25519", may, ends])
}

fn subkey(home: &Path, primary: &Fingerprint, ends: &str) -> Fingerprint {
    made(home, &["--passphrase", "", "--quick-add-key", "--", primary.as_str(), "ed25519", "sign", ends])
}

/// Returns the fingerprints of the keys that made a detached signature.
fn signers(signer: &GpgSigner, signed: &Signed) -> Vec<String> {
    let files = [signer.keyring(), &signed.detached, TEXT.as_bytes()].map(|it| MemoryFile::new(it).unwrap());
    let [keyring, signature, text] = files.each_ref().map(MemoryFile::path);
    let gpgv = Command::new("gpgv").args(["--status-fd", "1", "--keyring"]).arg(keyring);
    let status = String::from_utf8(gpgv.args([signature, text]).run().unwrap()).unwrap();
    let lines = status.lines().filter_map(|it| it.strip_prefix("[GNUPG:] VALIDSIG "));
    lines.map(|it| it.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn two_keys_sign_together() {
    let home = home();
    let keys = ["One <1@example.org>", "Two <2@example.org>"]
        .map(|it| GpgSigner::generate(home.path(), it).unwrap());
    let signer = GpgSigner::open(home.path(), &keys).unwrap();
    let signed = signer.sign(TEXT).unwrap();
    assert_eq!(signers(&signer, &signed), keys.each_ref().map(Fingerprint::to_string));
}

#[test]
fn a_subkey_signs_itself_a_primary_key_by_its_newest_one_unless_it_is_meant_exactly() {
    let home = home();
    let primary = key(home.path(), "", "sign", "never");
    let (old, new) = (subkey(home.path(), &primary, "never"), subkey(home.path(), &primary, "1y"));
    for (name, wanted) in [
        (old.to_string(), &old),
        (format!("{old}!"), &old),
        (new.to_string(), &new),
        (primary.to_string(), &new),
        (format!("{primary}!"), &primary),
    ] {
        let name: SigningKey = name.parse().unwrap();
        let signer = GpgSigner::open(home.path(), std::slice::from_ref(&name)).unwrap();
        let found = signers(&signer, &signer.sign(TEXT).unwrap());
        // Of two that were made in one second, either is the newest.
        let is_either = name.fingerprint == primary && !name.exactly;
        assert!(
            found == [wanted.to_string()] || is_either && found == [old.to_string()],
            "{name}: {found:?}"
        );
    }
}

#[test]
fn a_primary_key_that_only_certifies_signs_by_its_subkey() {
    let home = home();
    let primary = key(home.path(), "", "cert", "never");
    let error = GpgSigner::open(home.path(), std::slice::from_ref(&primary)).unwrap_err().to_string();
    assert!(error.contains("may not sign"), "{error}");
    let subkey = subkey(home.path(), &primary, "10d");
    let signer = GpgSigner::open(home.path(), &[primary]).unwrap();
    assert_eq!(signers(&signer, &signer.sign(TEXT).unwrap()), [subkey.to_string()]);
    let days = signer.keys()[0].expires.unwrap().duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((8..=10).contains(&days), "it ends when its subkey does: {days}");
}

#[test]
fn a_key_without_its_secret_part_is_refused() {
    let (home, copy) = (home(), home());
    let primary = key(home.path(), "", "sign", "never");
    subkey(home.path(), &primary, "never");
    let secret = gpg(home.path()).args(["--export-secret-subkeys", "--", primary.as_str()]).run().unwrap();
    let secret = MemoryFile::new(&secret).unwrap();
    gpg(copy.path()).args(["--import", "--"]).arg(secret.path()).run().unwrap();
    let signer = GpgSigner::open(copy.path(), std::slice::from_ref(&primary)).unwrap();
    signer.sign(TEXT).expect("the subkey is enough");
    let exactly: SigningKey = format!("{primary}!").parse().unwrap();
    let error = GpgSigner::open(copy.path(), &[exactly]).unwrap_err().to_string();
    assert!(error.contains("has no secret part"), "{error}");
}

#[test]
fn a_locked_key_is_an_error_at_once_that_names_it_and_an_unlocked_one_signs() {
    let home = home();
    // Otherwise the agent measures the machine for seconds, to choose how slow a passphrase is to try.
    std::fs::write(home.path().join("gpg-agent.conf"), "s2k-count 65536\n").unwrap();
    let open = key(home.path(), "", "sign", "never");
    let locked = key(home.path(), "secret", "sign", "never");
    // The agent knows the passphrase, because it has just made the key with it.
    let signer = GpgSigner::open(home.path(), &[open.clone(), locked.clone()]).unwrap();
    let forget =
        || Command::new("gpg-connect-agent").arg("--homedir").arg(home.path()).args(["RELOADAGENT", "/bye"]);
    forget().run().unwrap();
    let started = std::time::Instant::now();
    let error = signer.sign(TEXT).unwrap_err().to_string();
    assert!(error.contains(locked.as_str()) && error.contains("is locked"), "{error}");
    assert!(!error.contains(open.as_str()), "{error}");
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    let text = MemoryFile::new(b"").unwrap();
    gpg(home.path())
        .args(["--pinentry-mode", "loopback", "--passphrase", "secret", "--output", "/dev/null", "--yes"])
        .args(["--local-user", locked.as_str(), "--sign", "--"])
        .arg(text.path())
        .run()
        .unwrap();
    signer.sign(TEXT).expect("the agent knows the passphrase now");
}

#[test]
fn a_missing_key_is_named() {
    let home = home();
    let there = GpgSigner::generate(home.path(), "A test <test@example.org>").unwrap();
    let other: Fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567".parse().unwrap();
    let error = GpgSigner::open(home.path(), &[there, other]).unwrap_err().to_string();
    assert!(
        error.contains("0123456789ABCDEF0123456789ABCDEF01234567") && error.contains("is missing"),
        "{error}"
    );
}

#[test]
fn an_expired_key_is_refused_with_the_remedy() {
    let home = home();
    let old = made(
        home.path(),
        &[
            "--faked-system-time",
            "20200101T000000",
            "--passphrase",
            "",
            "--quick-generate-key",
            "Old <old@example.org>",
            "ed25519",
            "sign",
            "2020-01-02",
        ],
    );
    let error = GpgSigner::open(home.path(), std::slice::from_ref(&old)).unwrap_err().to_string();
    assert!(error.contains("has expired on 2020-01-0") && error.contains("--quick-set-expire"), "{error}");
    assert!(error.contains(old.as_str()), "{error}");
}

#[test]
fn a_key_that_was_revoked_after_it_was_opened_is_named() {
    let home = home();
    let key = GpgSigner::generate(home.path(), "A test <test@example.org>").unwrap();
    let signer = GpgSigner::open(home.path(), std::slice::from_ref(&key)).unwrap();
    // GnuPG keeps a revocation for each key that it makes, with a colon before it, lest somebody import it by mistake.
    let path = home.path().join(format!("openpgp-revocs.d/{key}.rev"));
    let text = std::fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
    let revocation = MemoryFile::new(text.as_bytes()).unwrap();
    gpg(home.path()).args(["--import", "--"]).arg(revocation.path()).run().unwrap();
    for error in [
        signer.sign(TEXT).unwrap_err(),
        GpgSigner::open(home.path(), std::slice::from_ref(&key)).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("is revoked") && error.contains(key.as_str()), "{error}");
    }
}

#[test]
fn gpg_reads_the_armored_keys_as_the_binary_ones() {
    let home = home();
    let key = GpgSigner::generate(home.path(), "A test <test@example.org>").unwrap();
    let signer = GpgSigner::open(home.path(), std::slice::from_ref(&key)).unwrap();
    let armored = MemoryFile::new(signer.public_key().unwrap().as_bytes()).unwrap();
    let binary =
        gpg(home.path()).args(["--output", "-", "--dearmor", "--"]).arg(armored.path()).run().unwrap();
    assert_eq!(binary, signer.keyring());
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
    assert!("0123 45!".parse::<SigningKey>().is_err());
    let exactly = "0123456789ABCDEF0123456789ABCDEF01234567!".parse::<SigningKey>().unwrap();
    assert!(exactly.exactly && exactly.to_string().ends_with("67!"));
}
