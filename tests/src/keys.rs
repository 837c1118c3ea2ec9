//! Keys of an archive, as an administrator makes them with gpg and names them in the configuration.

use std::fs;
use std::path::Path;

use invirtibuilder_core::signer::GpgSigner;

use crate::programs::{Answer, command, run};
use crate::sites::Site;

/// The package that a site of these tests makes of its keys.
pub const KEYRING: &str = "invirtibuilder-archive-keyring";

/// Returns the fingerprint of the key that `init` made.
#[must_use]
pub fn first_key(site: &Site) -> String {
    let text = fs::read_to_string(site.config()).unwrap();
    let line = text.lines().find_map(|it| it.trim().strip_prefix("key: ")).unwrap();
    line.trim_matches('"').to_owned()
}

/// Makes another key for a site, and returns its fingerprint.
#[must_use]
pub fn another_key(site: &Site, name: &str) -> String {
    GpgSigner::generate(&site.path("gnupg"), name).unwrap().to_string()
}

/// Makes a site sign with these keys.
pub fn sign_with(site: &Site, keys: &[&str]) {
    let list = keys.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(", ");
    site.configure(|text| {
        let is_key = |line: &&str| line.trim().starts_with("key: ") || line.trim().starts_with("keys: ");
        let line = text.lines().find(is_key).unwrap();
        text.replace(line, &format!("  keys: [{list}]"))
    });
}

/// Runs gpg in the home of a site's keys.
#[must_use]
pub fn gpg(site: &Site, arguments: &[&str]) -> Answer {
    run(command("gpg").arg("--homedir").arg(site.path("gnupg")).args(["--batch", "--no-tty"]).args(arguments))
}

/// Writes the public part of one key, as a client has it.
pub fn write_public(site: &Site, key: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    gpg(site, &["--yes", "--output", to.to_str().unwrap(), "--export", key]).ok();
}
