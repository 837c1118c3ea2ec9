//! What `GnuPG` says of the keys that it has (doc/DETAILS of `GnuPG`, "Format of the colon listings").
//!
//! Never runs anything.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::signer::{Fingerprint, SigningKey};

/// A key that may sign now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// As it was named.
    pub name: SigningKey,
    /// The primary key that it belongs to: what a client trusts.
    pub primary: Fingerprint,
    /// The one subkey, or the primary key, that signs; `None` where `GnuPG` chooses.
    pub part: Option<Fingerprint>,
    /// When its signatures begin to be refused; `None` for never.
    pub expires: Option<Timestamp>,
}

impl KeyFacts {
    /// Returns the name that makes gpg sign with this key and no other (gpg(1), "How to specify a user ID").
    pub(super) fn local_user(&self) -> String {
        self.part.as_ref().map_or_else(|| self.primary.to_string(), |part| format!("{part}!"))
    }
}

/// A primary key and its subkeys.
#[derive(Debug)]
struct Certificate {
    parts: Vec<Part>,
}

/// A primary key or subkey.
#[derive(Debug, Default)]
struct Part {
    validity: String,
    expires: Option<Timestamp>,
    capabilities: String,
    token: String,
    fingerprint: Option<Fingerprint>,
}

impl Part {
    fn of(fields: &[&str]) -> Self {
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
        Self {
            validity: field(2).to_owned(),
            expires: time(field(7)),
            capabilities: field(12).to_owned(),
            token: field(15).to_owned(),
            fingerprint: None,
        }
    }

    /// Returns why it cannot sign, and what to do; `{HOME}` stands for the directory of the keys.
    fn problem(&self, primary: &Fingerprint) -> Option<String> {
        let subkey = self.fingerprint.as_ref().filter(|it| *it != primary);
        let subkey = subkey.map(|it| format!(" {it}")).unwrap_or_default();
        if self.validity == "r" {
            return Some("is revoked; name another as publisher.keys".to_owned());
        }
        if self.validity == "e" {
            let day = self.expires.map(|it| format!(" on {}", day(it))).unwrap_or_default();
            return Some(format!(
                "has expired{day}; extend it with `gpg --homedir {{HOME}} --quick-set-expire {primary} 2y{subkey}` and \
                 give clients the new public key, or name another as publisher.keys"
            ));
        }
        if ["d", "i"].contains(&self.validity.as_str()) {
            return Some("is disabled or invalid; name another as publisher.keys".to_owned());
        }
        if !self.capabilities.contains('s') {
            return Some("may not sign; name another as publisher.keys, or add a subkey that may".to_owned());
        }
        if self.token == "#" {
            return Some(
                "has no secret part there; import it with `gpg --homedir {HOME} --import`, or insert its smartcard and run `gpg --homedir {HOME} --card-status`"
                    .to_owned(),
            );
        }
        None
    }
}

/// Returns a date as people write it.
pub(crate) fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

/// Reads a time: seconds since 1970, or the short form of ISO 8601.
fn time(text: &str) -> Option<Timestamp> {
    if text.contains('T') {
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", text).ok()?;
        return time.to_zoned(TimeZone::UTC).ok().map(|it| it.timestamp());
    }
    Timestamp::from_second(text.parse().ok()?).ok()
}

/// The secret keys of a listing.
#[derive(Debug)]
pub(super) struct Listing(Vec<Certificate>);

impl Listing {
    pub(super) fn parse(text: &str) -> Self {
        let mut certificates: Vec<Certificate> = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.first().copied() {
                Some("sec") => certificates.push(Certificate { parts: vec![Part::of(&fields)] }),
                Some("ssb") => {
                    if let Some(certificate) = certificates.last_mut() {
                        certificate.parts.push(Part::of(&fields));
                    }
                }
                Some("fpr") => {
                    let part = certificates.last_mut().and_then(|it| it.parts.last_mut());
                    if let Some(part) = part {
                        part.fingerprint = fields.get(9).and_then(|it| it.parse().ok());
                    }
                }
                _ => (),
            }
        }
        Self(certificates)
    }

    /// Returns what is known of a key that may sign now.
    ///
    /// # Errors
    /// What is wrong with it, and what to do; `{HOME}` stands for the directory of the keys.
    pub(super) fn find(&self, name: &SigningKey) -> Result<KeyFacts, String> {
        let is_it = |part: &Part| part.fingerprint.as_ref() == Some(&name.fingerprint);
        let certificate = self.0.iter().find(|it| it.parts.iter().any(is_it));
        let found = certificate.and_then(|it| {
            let (primary, _) = it.parts.split_first()?;
            Some((it, primary, primary.fingerprint.clone()?, it.parts.iter().find(|part| is_it(part))?))
        });
        let Some((certificate, primary, fingerprint, named)) = found else {
            return Err("is missing, or its secret part is; import it there with `gpg --homedir {HOME} --import`, or name another as publisher.keys".to_owned());
        };
        // A primary key that has ended ends its subkeys.
        if ["r", "e", "d", "i"].contains(&primary.validity.as_str())
            && let Some(problem) = primary.problem(&fingerprint)
        {
            return Err(problem);
        }
        let exactly = name.exactly || named.fingerprint.as_ref() != Some(&fingerprint);
        let candidates: Vec<&Part> = if exactly {
            vec![named]
        } else {
            certificate.parts.iter().filter(|it| it.capabilities.contains('s')).collect()
        };
        let usable: Vec<&Part> =
            candidates.iter().copied().filter(|it| it.problem(&fingerprint).is_none()).collect();
        if usable.is_empty() {
            // What is wrong with the newest says most.
            let judged = candidates.last().copied().unwrap_or(named);
            return Err(judged.problem(&fingerprint).unwrap_or_default());
        }
        // A part without an end outlives the others.
        let last =
            usable.iter().map(|it| it.expires).reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten();
        Ok(KeyFacts {
            name: name.clone(),
            primary: fingerprint,
            part: exactly.then(|| name.fingerprint.clone()),
            expires: last.into_iter().chain(primary.expires).min(),
        })
    }
}
