//! A key takes over from another: clients follow by way of the package that the site builds of its keys.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::path::PathBuf;

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::keys::{KEYRING, another_key, first_key, gpg, sign_with, write_public};
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::sites::Site;

/// A client that installs the keyring's package into a directory of its own.
struct Client {
    apt: Apt,
    keyring: PathBuf,
    root: PathBuf,
}

impl Client {
    fn new(site: &Site, name: &str, key: &str) -> Self {
        let root = site.beside(name).join("root");
        let keyring = root.join(format!("usr/share/keyrings/{KEYRING}.pgp"));
        write_public(site, key, &keyring);
        let signed_by = format!("--signed-by={}", keyring.display());
        let sources = site.cli(&["archive", "sources", "prod", &signed_by]).ok();
        Self { apt: Apt::of_sources(site.beside(name).join("apt"), &sources), keyring, root }
    }

    /// Installs the package that apt offers now, and returns its version.
    fn upgrade(&self) -> String {
        self.apt.update().ok();
        let downloads = self.apt.downloads();
        fs::remove_dir_all(&downloads).unwrap();
        fs::create_dir(&downloads).unwrap();
        let files = self.apt.download(&[KEYRING]);
        assert_eq!(files.len(), 1, "{files:?}");
        let file = downloads.join(&files[0].0);
        run(command("dpkg-deb").arg("--extract").arg(&file).arg(&self.root)).ok();
        run(command("dpkg-deb").args(["--field"]).arg(&file).arg("Version")).ok().trim().to_owned()
    }
}

/// Publishes the keys of a site as a package, and returns its version.
fn publish_keyring(site: &Site) -> String {
    let made = site.json(&["archive", "keyring", "prod"]);
    site.work().ok();
    assert_eq!(site.outcome(made["pockets"][0]["job"].as_str().unwrap()), "published");
    site.assert_agreement();
    made["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_of_the_old_key_follows_to_the_new_one() {
    let site = Site::new();
    site.build_by_overlay();
    let (old, new) = (first_key(&site), another_key(&site, "New <new@example.org>"));
    let (client, late) = (Client::new(&site, "client", &old), Client::new(&site, "late", &old));
    sign_with(&site, &[&old, &new]);
    let both = publish_keyring(&site);
    assert_eq!(client.upgrade(), both);
    let shown = gpg(&site, &["--show-keys", "--with-colons", client.keyring.to_str().unwrap()]).ok();
    assert!(shown.contains(&old) && shown.contains(&new), "{shown}");
    late.apt.update().ok();

    sign_with(&site, &[&new]);
    let alone = publish_keyring(&site);
    assert_eq!(client.upgrade(), alone);
    let shown = gpg(&site, &["--show-keys", "--with-colons", client.keyring.to_str().unwrap()]).ok();
    assert!(!shown.contains(&old) && shown.contains(&new), "{shown}");
    client.apt.update().ok();
    // Who did not take the package in time is told so, and is not led astray.
    let answer = late.apt.update();
    assert_ne!(answer.code, Some(0));
    answer.says(&["NO_PUBKEY"]);
}
