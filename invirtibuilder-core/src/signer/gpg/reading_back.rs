//! Reads a signature back with gpgv, as apt does: it is good if each of the keys made a good one, and nobody else any.

use super::memory::MemoryFile;
use super::{Form, KeyFacts, Problem};
use crate::process::{Command, ProcessError};

/// Checks a signature of a text by all of the keys, whose public parts are in the keyring.
pub(super) fn check(
    form: Form,
    signature: &[u8],
    text: &MemoryFile,
    keyring: &MemoryFile,
    keys: &[KeyFacts],
) -> Result<(), Problem> {
    let signature = MemoryFile::new(signature)?;
    let gpgv = Command::new("gpgv").args(["--status-fd", "1", "--keyring"]).arg(keyring.path());
    let answer = match form {
        Form::Detached => gpgv.arg("--").args([signature.path(), text.path()]).run(),
        Form::Inline => {
            let signed = MemoryFile::new(b"")?;
            let answer = gpgv.arg("--output").arg(signed.path()).arg("--").arg(signature.path()).run();
            if answer.is_ok() && signed.read()? != text.read()? {
                return Err(Problem::Unverified(
                    "the signed text differs from the text that was to be signed".to_owned(),
                ));
            }
            answer
        }
    };
    match answer {
        Ok(status) => judge(&String::from_utf8_lossy(&status), keys).map_err(Problem::Unverified),
        Err(ProcessError::Failed { stderr, .. }) => Err(Problem::Unverified(stderr)),
        Err(other) => Err(other.into()),
    }
}

/// Judges what gpgv said of each signature (doc/DETAILS of `GnuPG`, "Format of the status-fd output").
fn judge(status: &str, keys: &[KeyFacts]) -> Result<(), String> {
    let lines = |keyword: &'static str| {
        let words = status.lines().filter_map(|it| it.strip_prefix("[GNUPG:] "));
        words.filter(move |it| it.split(' ').next() == Some(keyword))
    };
    let (all, good) = (lines("NEWSIG").count(), lines("GOODSIG").count());
    if (all, good) != (keys.len(), keys.len()) {
        return Err(format!("{} good signatures were wanted, and {good} of {all} are good", keys.len()));
    }
    for key in keys {
        // The first word is the key that signed, the last one its primary key.
        let made = lines("VALIDSIG").any(|line| {
            let mut words = line.split(' ').skip(1);
            let (signer, primary) = (words.next(), words.last());
            match &key.part {
                Some(part) => signer == Some(part.as_str()),
                None => primary == Some(key.primary.as_str()),
            }
        });
        if !made {
            return Err(format!("it has no good signature of {}", key.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    fn key(primary: &str) -> KeyFacts {
        KeyFacts {
            name: primary.parse().unwrap(),
            primary: primary.parse().unwrap(),
            part: None,
            expires: None,
        }
    }

    fn good(signer: &str, primary: &str) -> String {
        format!(
            "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 00 A\n[GNUPG:] VALIDSIG {signer} 2026-11-23 1 0 4 0 22 10 01 {primary}\n"
        )
    }

    #[test]
    fn each_key_must_have_made_a_good_signature() {
        let (a, b) = (key(A), key(B));
        let both = good(A, A) + &good("CCCC", B);
        assert_eq!(judge(&both, &[a.clone(), b.clone()]), Ok(()));
        assert!(judge(&good(A, A), &[a.clone(), b.clone()]).unwrap_err().contains("1 of 1"));
        assert!(judge(&both, std::slice::from_ref(&a)).unwrap_err().contains("2 of 2"));
        assert!(judge(&(good(A, A) + &good(A, A)), &[a.clone(), b]).unwrap_err().contains(B));
        let expired = good(A, A).replace("GOODSIG", "EXPKEYSIG");
        assert!(judge(&expired, &[a]).unwrap_err().contains("0 of 1"));
    }

    #[test]
    fn a_subkey_that_was_named_must_have_signed_itself() {
        let exact = KeyFacts { part: Some(B.parse().unwrap()), ..key(A) };
        assert_eq!(judge(&good(B, A), std::slice::from_ref(&exact)), Ok(()));
        assert!(judge(&good(A, A), &[exact]).is_err());
    }
}
