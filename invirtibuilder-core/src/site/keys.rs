//! Whether the archive's keys can sign, for how long, and whether nobody else can read them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::parts;
use crate::config::Config;
use crate::error::causes;
use crate::finding::Finding;
use crate::signer::{GpgOnDemand, KeyFacts, Signer, day};

/// How long before its end a key is spoken of: clients must have the next one before that.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Checks the keys of a site. Signs something, to see that it works.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = exposed(config);
    findings.extend(private_home(&config.paths.gnupg));
    findings.extend(keys(config));
    findings.extend(tag_key(config));
    findings
}

fn keys(config: &Config) -> Vec<Finding> {
    let refused = |e: &(dyn std::error::Error + 'static)| {
        let remedy = format!(
            "list the keys with `gpg --homedir {} --list-secret-keys`, and name them as publisher.keys",
            config.paths.gnupg.display()
        );
        vec![Finding::error("archive key", causes(e).join(": "), remedy)]
    };
    let signer = match parts::signer(config) {
        Ok(signer) => signer,
        Err(e) => return refused(&*e),
    };
    let opened = signer.opened().and_then(|it| it.sign("Suite: check\n").map(|_| it));
    match opened {
        Ok(opened) => opened
            .keys()
            .iter()
            .map(|key| judge("archive key", key, &config.paths.gnupg, Timestamp::now()))
            .collect(),
        Err(e) => refused(&e),
    }
}

/// Checks the key that signs tags. Signs something, to see that it works.
fn tag_key(config: &Config) -> Option<Finding> {
    let key = config.tagger.key.as_ref()?;
    let home = &config.paths.gnupg;
    let signer = GpgOnDemand::new(home, std::slice::from_ref(key));
    let opened = signer.opened().and_then(|it| it.sign_detached("object check\n").map(|_| it));
    Some(match opened {
        Ok(opened) => match opened.keys().first() {
            Some(key) => judge("tag key", key, home, Timestamp::now()),
            None => Finding::ok("tag key", key.to_string()),
        },
        Err(e) => {
            let remedy = format!(
                "list the keys with `gpg --homedir {} --list-secret-keys`, and name one as build.tagger.key",
                home.display()
            );
            Finding::error("tag key", causes(&e).join(": "), remedy)
        }
    })
}

/// Warns of a key that ends soon.
fn judge(subject: &str, key: &KeyFacts, home: &Path, now: Timestamp) -> Finding {
    let Some(expires) = key.expires else { return Finding::ok(subject, key.name.to_string()) };
    let text = format!("{} expires on {}", key.name, day(expires));
    if expires.duration_since(now) > SOON {
        return Finding::ok(subject, text);
    }
    let subkey = key.part.as_ref().filter(|it| **it != key.primary);
    let subkey = subkey.map(|it| format!(" {it}")).unwrap_or_default();
    let remedy = format!(
        "extend it with `gpg --homedir {} --quick-set-expire {} 2y{subkey}` or add another to publisher.keys, and run \
         `invirtibuilder archive keyring`, so that clients have the new public key before that day",
        home.display(),
        key.primary
    );
    Finding::warning(subject, text, remedy)
}

/// The directory of the private keys is its owner's alone.
fn private_home(home: &Path) -> Option<Finding> {
    let subject = "directory of the keys";
    let metadata = std::fs::metadata(home).ok()?;
    let (mode, own) = (metadata.mode() & 0o777, rustix::process::geteuid().as_raw());
    let path = home.display();
    Some(if mode & 0o077 != 0 {
        let text = format!("{path} has the mode {mode:04o}, so that others can read the private keys");
        Finding::error(subject, text, format!("close it: chmod 700 {path}"))
    } else if metadata.uid() != own {
        let text = format!("{path} belongs to the user {}, and this is {own}", metadata.uid());
        Finding::warning(subject, text, "run this as the user who runs the worker")
    } else {
        Finding::ok(subject, path.to_string())
    })
}

/// What a web server serves has nothing private below it, by whatever name. The configuration has compared the names.
fn exposed(config: &Config) -> Vec<Finding> {
    let paths = &config.paths;
    let Ok(archive) = paths.archive.canonicalize() else { return Vec::new() };
    let private =
        [&paths.gnupg, &paths.repositories, &paths.superproject, &paths.queue, &paths.logs, &paths.cache];
    let is_served =
        |path: &&&std::path::PathBuf| path.canonicalize().is_ok_and(|it| it.starts_with(&archive));
    let report = |path: &std::path::PathBuf| {
        let text =
            format!("{} is inside of it by way of a link, and a web server would serve it", path.display());
        Finding::error(
            "directory of the archive",
            text,
            "move it out, and correct `paths` in the configuration",
        )
    };
    private.iter().filter(is_served).map(|it| report(it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn a_key_that_ends_within_thirty_days_is_a_warning_with_the_remedy() {
        let now: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let primary = "0123456789ABCDEF0123456789ABCDEF01234567";
        let key = |days: i64| KeyFacts {
            name: primary.parse().unwrap(),
            primary: primary.parse().unwrap(),
            part: None,
            expires: Some(now + SignedDuration::from_hours(24 * days)),
        };
        let home = Path::new("/home");
        let judge = |key: &KeyFacts| super::judge("archive key", key, home, now);
        let late = judge(&key(29));
        assert_eq!(late.level, Level::Warning);
        assert!(late.text.ends_with("expires on 2026-12-22"), "{late:?}");
        assert!(late.remedy.unwrap().contains("--quick-set-expire"));
        assert_eq!(judge(&key(31)).level, Level::Ok);
        assert_eq!(judge(&KeyFacts { expires: None, ..key(1) }).level, Level::Ok);
    }
}
