use super::*;

const ALICE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPxQE48VD0QRtT7/FGkfQtrx+EHjAE6Kr+Jq5doFgOpB alice@laptop";

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

fn keys() -> (tempfile::TempDir, Keys) {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::new(&directory.path().join("keys"));
    (directory, keys)
}

#[test]
fn a_key_that_was_added_stands_for_its_principal_until_it_is_removed() {
    let (_directory, keys) = keys();
    assert_eq!(keys.list().unwrap(), []);
    let key: PublicKey = ALICE.parse().unwrap();
    let alice = principal("alice smith@EXAMPLE.ORG");
    assert!(keys.add(&key, &alice).unwrap());
    assert!(!keys.add(&key, &alice).unwrap(), "twice is once");
    assert!(matches!(keys.add(&key, &principal("bob")), Err(KeysError::Taken { .. })));
    assert_eq!(keys.list().unwrap(), [Entry { key: key.clone(), principal: alice.clone() }]);
    assert!(matches!(keys.remove("SHA256:x"), Err(KeysError::Unknown(_))));
    assert_eq!(keys.remove(key.fingerprint()).unwrap().len(), 1);
    keys.add(&key, &principal("bob")).unwrap();
    assert_eq!(keys.remove("bob").unwrap().len(), 1);
    assert_eq!(keys.list().unwrap(), []);
}

#[test]
fn what_is_no_whole_and_strong_public_key_is_refused() {
    let weak = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDTAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";
    assert!(weak.parse::<PublicKey>().unwrap_err().to_string().contains("too weak"));
    let cut = ALICE.replace("OpB alice", " alice");
    let other_kind = ALICE.replace("ssh-ed25519 ", "ssh-rsa ");
    let with_options = format!("command=\"id\" {ALICE}");
    for wrong in [
        "",
        "ssh-ed25519",
        &cut,
        &other_kind,
        &with_options,
        "ssh-dss AAAA",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
    }
    assert!(read_public_keys("# nothing\n", "x.pub").is_err());
    assert_eq!(read_public_keys(ALICE, "x.pub").unwrap().len(), 1);
}

#[test]
fn a_file_with_a_line_that_is_no_key_has_no_keys() {
    let (directory, keys) = keys();
    for line in ["nonsense", "ssh-ed25519 AAAA alice", ALICE.rsplit_once(' ').unwrap().0] {
        let text = format!("{ALICE}\n{line}\n");
        durable::write(&directory.path().join("keys"), text.as_bytes()).unwrap();
        let error = keys.list().unwrap_err();
        assert!(matches!(&error, KeysError::Malformed { place, .. } if place.ends_with("keys:2")), "{error}");
    }
}

#[test]
fn a_line_of_authorized_keys_gives_the_shell_one_command_whatever_the_names() {
    let key: PublicKey = ALICE.parse().unwrap();
    let odd = principal("it's \"$(id)\"; \\x@Y");
    let line = authorized_line(
        &Entry { key: key.clone(), principal: odd },
        "/usr/bin/it".as_ref(),
        "/s.yaml".as_ref(),
    );
    assert_eq!(
        line,
        format!(
            "restrict,command=\"/usr/bin/it --config /s.yaml ssh-shell '--principal=it'\\''s \\\"$(id)\\\"; \\x@Y' --key={}\" {key}",
            key.fingerprint()
        )
    );
}
