//! Reads which keys sign the archive, and which package brings them to clients.

use super::section::{Section, Value};
use super::tree::Node;
use crate::names::PackageName;
use crate::signer::SigningKey;

/// Reads `key`, one fingerprint, or `keys`, a list of them.
pub(super) fn read_keys(section: &mut Section<'_>) -> Vec<SigningKey> {
    let (key, keys) = (section.value("key"), section.value("keys"));
    if let (Some(_), Some(keys)) = (&key, &keys) {
        keys.place.report(
            "key is there too, and the two exclude each other; name all keys in keys, and remove key",
        );
    }
    let named: Vec<SigningKey> = match (key, &keys) {
        (Some(key), None) => read_key(&key).into_iter().collect(),
        (_, Some(keys)) => keys.items().iter().filter_map(read_key).collect(),
        (None, None) => Vec::new(),
    };
    if let Some(keys) = keys.as_ref().filter(|it| it.node == &Node::List(Vec::new())) {
        keys.place.report("it is empty; name a key, or leave it out");
    }
    for (at, key) in named.iter().enumerate() {
        let is_repeated = named.iter().take(at).any(|it| it.fingerprint == key.fingerprint);
        if let Some(keys) = keys.as_ref().filter(|_| is_repeated) {
            keys.place.report(format!("{} is there twice; remove one of the two", key.fingerprint));
        }
    }
    named
}

/// Reads one fingerprint.
pub(super) fn read_key(value: &Value<'_>) -> Option<SigningKey> {
    let text = value.text()?;
    let key = text.parse().ok();
    if key.is_none() {
        value.place.report("it is not a full fingerprint of 40 or 64 hexadecimal digits; `gpg --list-keys --with-colons` prints it as fpr");
    }
    key
}

/// Reads the name of the keyring's package; without one it is called after the archive's origin.
pub(super) fn read_keyring_package(section: &mut Section<'_>, origin: &str) -> PackageName {
    let named = section.value("keyring_package").and_then(|it| it.parse());
    named.unwrap_or_else(|| keyring_package_of(origin))
}

/// Returns `<origin>-archive-keyring`, with what a package's name may have of the origin.
fn keyring_package_of(origin: &str) -> PackageName {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let origin: String = origin.chars().map(letter).collect();
    let words: Vec<&str> = origin.split('-').filter(|it| !it.is_empty()).collect();
    let own = format!("{}-archive-keyring", words.join("-")).parse();
    // An origin without a letter or digit gives no name.
    own.unwrap_or_else(|_| {
        "invirtibuilder-archive-keyring".parse().expect("it follows the rules for names of packages")
    })
}

#[cfg(test)]
mod tests {
    use super::keyring_package_of;

    #[test]
    fn the_package_is_called_after_the_origin() {
        for (origin, package) in [
            ("Invirtibuilder", "invirtibuilder-archive-keyring"),
            ("Example, Inc. (Packages)", "example-inc-packages-archive-keyring"),
            ("日本", "invirtibuilder-archive-keyring"),
            ("", "invirtibuilder-archive-keyring"),
        ] {
            assert_eq!(keyring_package_of(origin).as_str(), package);
        }
    }
}
