//! Checks a provenance as a stranger can: with the public key, the envelope, what was downloaded, and the archive.
//!
//! Names every link of the chain that is not as it was, and goes on to the next. Never believes what it has not hashed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::archive::{Archive, signed_text};
use super::buildinfo::BuildInfo;
use super::statement::{IN_RELEASE, Resource, Statement};
use super::{Envelope, ProvenanceError};
use crate::control::hex;
use crate::publisher::archive::Outside;
use crate::signer::packets::dearmored;
use sha2::{Digest, Sha256};

/// What somebody has, and wants to know whether it belongs together.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The envelope.
    pub envelope: &'a Path,
    /// Files that were downloaded: packages, `.dsc`, `.buildinfo`.
    pub downloads: &'a [PathBuf],
    /// The public keys of the archive, ASCII-armored or not.
    pub keyring: &'a Path,
    /// The archive, a directory or a URI; `None` to look at nothing there.
    pub archive: Option<&'a str>,
}

/// What was found of one link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was found.
    pub found: String,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What the provenance says.
    pub statement: Statement,
    /// What was found, link by link.
    pub verdicts: Vec<Verdict>,
}

impl Checked {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdicts.iter().all(|it| it.good)
    }

    fn good(&mut self, subject: &str, found: impl Into<String>) {
        self.verdicts.push(Verdict { subject: subject.to_owned(), good: true, found: found.into() });
    }

    fn bad(&mut self, subject: &str, found: impl Into<String>) {
        self.verdicts.push(Verdict { subject: subject.to_owned(), good: false, found: found.into() });
    }

    fn take(&mut self, subject: &str, result: Result<String, String>) {
        match result {
            Ok(found) => self.good(subject, found),
            Err(found) => self.bad(subject, found),
        }
    }
}

/// Checks a provenance, and whatever is given with it.
///
/// # Errors
/// The envelope, the keyring or a download cannot be read, or the archive is no archive.
pub fn check(question: &Question<'_>) -> Result<Checked, ProvenanceError> {
    let envelope = Envelope::read(question.envelope)?;
    let keyring = read_keyring(question.keyring)?;
    let statement = envelope.payload().and_then(|it| Statement::parse(&it));
    let statement = statement.map_err(|problem| ProvenanceError::unfit(question.envelope, problem))?;
    let mut checked = Checked { statement: statement.clone(), verdicts: Vec::new() };
    checked.take("signature", signed_by(&envelope, &keyring));
    for path in question.downloads {
        let bytes = std::fs::read(path)
            .map_err(|e| ProvenanceError::unfit(path, format!("it cannot be read: {e}")))?;
        examine(&mut checked, &path.display().to_string(), file_name(path), &bytes);
    }
    if let Some(archive) = question.archive {
        let archive = Archive::parse(archive)?;
        let served = in_release(&mut checked, &archive, &keyring);
        pool(&mut checked, &archive, served.as_ref());
        original(&mut checked, &archive, &keyring);
    }
    Ok(checked)
}

fn signed_by(envelope: &Envelope, keyring: &[u8]) -> Result<String, String> {
    let good: BTreeSet<String> = envelope.verify(keyring)?.into_iter().collect();
    Ok(format!("good, by {}", good.into_iter().collect::<Vec<_>>().join(" and ")))
}

/// Looks at one file: its sum, and what it says itself of the others.
fn examine(checked: &mut Checked, subject: &str, name: &str, bytes: &[u8]) {
    let found = hex(&Sha256::digest(bytes));
    let statement = checked.statement.clone();
    // A download may have another name than in the archive.
    let same = statement.files().find(|it| it.sha256() == Some(&found));
    let Some(listed) = same.or_else(|| statement.files().find(|it| it.called() == name)) else {
        let problem = format!("the provenance says nothing of a file {name} with SHA-256 {found}");
        return checked.bad(subject, problem);
    };
    if listed.sha256() != Some(&found) {
        let wanted = listed.sha256().unwrap_or("nothing");
        return checked.bad(subject, format!("it has SHA-256 {found}, but the provenance says {wanted}"));
    }
    let name = listed.called();
    let said = match name.rsplit('.').next() {
        Some("dsc") => dsc(&statement, bytes),
        Some("buildinfo") => buildinfo(&statement, name, bytes),
        _ => Ok("as it was published".to_owned()),
    };
    checked.take(subject, said);
}

/// The source package: it names the commit, and its own files.
fn dsc(statement: &Statement, bytes: &[u8]) -> Result<String, String> {
    let paragraph = paragraph(bytes)?;
    let commit = paragraph.get("Git-Commit").unwrap_or("none");
    let wanted = statement.asked().commit.as_str();
    if commit != wanted {
        return Err(format!("its Git-Commit is {commit}, but the provenance says {wanted}"));
    }
    let listed = crate::control::read_checksums(Path::new("the .dsc"), paragraph.get("Checksums-Sha256"));
    let listed = listed.map_err(|e| e.to_string())?;
    let listed = listed.iter().map(|it| (it.name.as_str(), it.sha256.as_str()));
    all_are_said(statement, listed)?;
    Ok(format!("as it was published; made from commit {commit}"))
}

/// The record of a build: it names the packages that the build made.
fn buildinfo(statement: &Statement, name: &str, bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let info = BuildInfo::parse(Path::new(name), text).map_err(|e| e.to_string())?;
    let package = statement.asked().package.as_str();
    if info.source != package {
        return Err(format!("it is of a build of {} {}, not of {package}", info.source, info.version));
    }
    // It also names what no archive serves, such as packages that belong to another run.
    let served = info.files.iter().filter(|(name, _)| statement.files().any(|it| it.called() == name));
    let served: Vec<(&str, &str)> = served.map(|it| (it.0.as_str(), it.1.as_str())).collect();
    if served.is_empty() {
        return Err("it names no package that the provenance does".to_owned());
    }
    all_are_said(statement, served.iter().copied())?;
    Ok(format!("as it was published; it records the build of {} files", served.len()))
}

fn all_are_said<'a>(
    statement: &Statement,
    files: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    for (name, sha256) in files {
        let said = statement.files().find(|it| it.called() == name).and_then(Resource::sha256);
        if said != Some(sha256) {
            let said = said.unwrap_or("nothing");
            return Err(format!("it says that {name} has SHA-256 {sha256}, but the provenance says {said}"));
        }
    }
    Ok(())
}

/// What the suite serves now: it lists the files, or another version took their place.
fn in_release(checked: &mut Checked, archive: &Archive, keyring: &[u8]) -> Option<Outside> {
    let statement = checked.statement.clone();
    let suite = &statement.decided().suite;
    let subject = format!("{IN_RELEASE} of {suite}");
    let (base, directory) = (base_of(&statement), format!("dists/{suite}"));
    let served = match read_suite(archive, base, &directory, keyring) {
        Ok(Some((served, _))) => served,
        Ok(None) => {
            checked.bad(&subject, format!("the archive has no {base}{directory}/{IN_RELEASE}"));
            return None;
        }
        Err(problem) => {
            checked.bad(&subject, problem);
            return None;
        }
    };
    let listing = lists(&statement, &served);
    match listing {
        Ok(0) => {
            let package = statement.asked().package.as_str();
            let now = served.sources.get(package).map_or("nothing", String::as_str);
            let mut text =
                format!("it does not list {package} {} any more, but {now}", statement.decided().version);
            match snapshot(&statement, archive, keyring) {
                Ok(Some(kept)) => text.push_str(&kept),
                Ok(None) => text.push_str("; the generation in which it came is not kept"),
                Err(problem) => {
                    checked.bad(&subject, problem);
                    return Some(served);
                }
            }
            checked.good(&subject, text);
        }
        Ok(count) => {
            let number = served.generation.map(|it| format!(", generation {it},")).unwrap_or_default();
            checked.good(&subject, format!("signed{number} and lists all {count} files with these sums"));
        }
        Err(problem) => checked.bad(&subject, problem),
    }
    Some(served)
}

/// Returns what leads from the archive to where the suite's `dists` and `pool` are, with a slash at its end: nothing,
/// unless each suite has a directory of its own.
fn base_of(statement: &Statement) -> &str {
    let location = statement.in_release().and_then(|it| it.download_location.as_deref()).unwrap_or_default();
    let end = format!("dists/{}/{IN_RELEASE}", statement.decided().suite);
    location.strip_suffix(&end).filter(|it| it.ends_with('/')).unwrap_or_default()
}

/// Reads what the `InRelease` in a directory below `base` leads to, and its sum; `None` if it is not there. Files are
/// named by their paths below the archive.
fn read_suite(
    archive: &Archive,
    base: &str,
    directory: &str,
    keyring: &[u8],
) -> Result<Option<(Outside, String)>, String> {
    let path = format!("{base}{directory}/{IN_RELEASE}");
    let Some(bytes) = archive.fetch(&path)? else { return Ok(None) };
    let text = signed_text(&bytes, keyring).map_err(|e| format!("{path} has no good signature: {e}"))?;
    let mut served = Outside::read(&text, directory, &|path| archive.fetch(&format!("{base}{path}")))?;
    served.files = served.files.into_iter().map(|(path, sum)| (format!("{base}{path}"), sum)).collect();
    Ok(Some((served, hex(&Sha256::digest(&bytes)))))
}

/// Returns how many files of a statement are listed: none or all.
fn lists(statement: &Statement, served: &Outside) -> Result<usize, String> {
    let mut listed = 0;
    let mut missing = None;
    for file in statement.files().filter(|it| !it.is_kept_beside()) {
        let Some(location) = &file.download_location else { continue };
        match served.files.get(location) {
            Some(sha256) if file.sha256() == Some(sha256) => listed += 1,
            Some(sha256) => {
                let wanted = file.sha256().unwrap_or("nothing");
                return Err(format!(
                    "it lists {location} with SHA-256 {sha256}, but the provenance says {wanted}"
                ));
            }
            None => missing = Some(location.clone()),
        }
    }
    match missing {
        Some(missing) if listed > 0 => Err(format!("it lists other files of it, but not {missing}")),
        _ => Ok(listed),
    }
}

/// Looks at the generation in which it came, if that is kept.
fn snapshot(statement: &Statement, archive: &Archive, keyring: &[u8]) -> Result<Option<String>, String> {
    let Some(release) = statement.in_release() else { return Ok(None) };
    let (Some(suite), Some(generation)) = (&release.annotations.suite, release.annotations.generation) else {
        return Ok(None);
    };
    let directory = format!("snapshot/{suite}/{generation}/dists/{suite}");
    let Some((served, sha256)) = read_suite(archive, "", &directory, keyring)? else {
        return Ok(None);
    };
    if release.sha256() != Some(&sha256) {
        let wanted = release.sha256().unwrap_or("nothing");
        return Err(format!(
            "{directory}/{IN_RELEASE} has SHA-256 {sha256}, but the provenance says {wanted}"
        ));
    }
    match lists(statement, &served)? {
        0 => Err(format!("{directory}/{IN_RELEASE} does not list it")),
        count => Ok(Some(format!("; generation {generation} is kept and lists all {count} files"))),
    }
}

/// The files themselves, where they lie in the archive.
fn pool(checked: &mut Checked, archive: &Archive, served: Option<&Outside>) {
    let files: Vec<Resource> = checked.statement.files().cloned().collect();
    for file in files {
        let Some(location) = &file.download_location else { continue };
        match archive.fetch(location) {
            Ok(Some(bytes)) => examine(checked, location, file.called(), &bytes),
            Ok(None) if file.is_kept_beside() || served.is_some_and(|it| it.files.contains_key(location)) => {
                checked.bad(location, "it should be there, and is not");
            }
            Ok(None) => checked.good(location, "it is not in the archive any more"),
            Err(problem) => checked.bad(location, problem),
        }
    }
}

/// The provenance of what was copied: it is there, as it was, signed, and says the same of the same files.
fn original(checked: &mut Checked, archive: &Archive, keyring: &[u8]) {
    let statement = checked.statement.clone();
    let Some(original) = statement.original() else { return };
    let Some(location) = &original.download_location else { return };
    let bytes = match archive.fetch(location) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return checked.bad(location, "the provenance of what was copied is not there"),
        Err(problem) => return checked.bad(location, problem),
    };
    let found = hex(&Sha256::digest(&bytes));
    if original.sha256() != Some(&found) {
        let wanted = original.sha256().unwrap_or("nothing");
        return checked
            .bad(location, format!("it has SHA-256 {found}, but the copy's provenance says {wanted}"));
    }
    let read = Envelope::parse(&bytes).and_then(|envelope| {
        let signed = signed_by(&envelope, keyring)?;
        let built = Statement::parse(&envelope.payload()?)?;
        if built.asked().commit != statement.asked().commit {
            return Err(format!("it is of commit {}", built.asked().commit));
        }
        let builder = &built.predicate.run_details.builder.id;
        Ok(format!("signature {signed}; built for {} by {builder}", built.asked().pocket))
    });
    checked.take(location, read);
}

fn paragraph(bytes: &[u8]) -> Result<deb822_fast::Paragraph, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    crate::control::parse_paragraph(Path::new("the file"), text).map_err(|e| e.to_string())
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|it| it.to_str()).unwrap_or_default()
}

/// Reads a keyring, and takes the ASCII armor off it.
fn read_keyring(path: &Path) -> Result<Vec<u8>, ProvenanceError> {
    let bytes =
        std::fs::read(path).map_err(|e| ProvenanceError::unfit(path, format!("it cannot be read: {e}")))?;
    if !bytes.starts_with(b"-----BEGIN PGP") {
        return Ok(bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let keys = dearmored(&text, "PUBLIC KEY BLOCK");
    keys.ok_or_else(|| {
        ProvenanceError::unfit(path, "it is no ASCII-armored public key; `gpg --dearmor` tells more")
    })
}
