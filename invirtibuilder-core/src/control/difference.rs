//! Where two binary packages differ (deb(5)): which of their members, and which files in those.
//!
//! Never says how: diffoscope(1) does that, and needs much more for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::contents::unpack;
use super::hex;
use crate::error::BoxError;

/// The most bytes of one tarball that are compared.
const MAX_BYTES: u64 = 64 << 30;
/// The most entries of one tarball that are compared.
const MAX_ENTRIES: usize = 2_000_000;

/// What is known of an entry of a tarball.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    place: usize,
    kind: String,
    mode: String,
    owner: String,
    time: String,
    content: String,
}

/// What is known of a member of a package.
struct Member {
    sum: String,
    /// By their names; a name that is there twice is told by its number.
    entries: BTreeMap<String, Entry>,
}

/// Returns where two packages that are not the same differ, a line each, in the order of the first. At least one.
///
/// # Errors
/// One of them cannot be read as a package.
pub(crate) fn differences_of_packages(first: &Path, second: &Path) -> Result<Vec<String>, BoxError> {
    let (first, second) = (members(first)?, members(second)?);
    let mut found = Vec::new();
    let names = |members: &[(String, Member)]| members.iter().map(|it| it.0.clone()).collect::<Vec<_>>();
    if names(&first) != names(&second) {
        found.push(format!("its members ({} and {})", names(&first).join(" "), names(&second).join(" ")));
    }
    for (name, one) in &first {
        let Some((_, other)) = second.iter().find(|it| it.0 == *name) else { continue };
        if one.sum == other.sum {
            continue;
        }
        let before = found.len();
        compare(name, &one.entries, &other.entries, &mut found);
        if found.len() == before {
            found.push(format!("{name} (its compression, or what is between its files)"));
        }
    }
    if found.is_empty() {
        found.push("the headers of its members, such as their times".to_owned());
    }
    Ok(found)
}

fn compare(
    member: &str,
    one: &BTreeMap<String, Entry>,
    other: &BTreeMap<String, Entry>,
    found: &mut Vec<String>,
) {
    let mut is_order = false;
    for (path, entry) in one {
        let Some(again) = other.get(path) else {
            found.push(format!("{member}: {path} (only the first time)"));
            continue;
        };
        let mut aspects = Vec::new();
        if entry.kind != again.kind {
            aspects.push("its kind".to_owned());
        } else if entry.content != again.content {
            aspects.push("its content".to_owned());
        }
        if entry.mode != again.mode {
            aspects.push(format!("its mode: {} and {}", entry.mode, again.mode));
        }
        if entry.owner != again.owner {
            aspects.push(format!("its owner: {} and {}", entry.owner, again.owner));
        }
        if entry.time != again.time {
            aspects.push(format!("its time: {} and {}", entry.time, again.time));
        }
        if !aspects.is_empty() {
            found.push(format!("{member}: {path} ({})", aspects.join("; ")));
        }
        is_order |= entry.place != again.place;
    }
    for path in other.keys().filter(|it| !one.contains_key(*it)) {
        found.push(format!("{member}: {path} (only the second time)"));
    }
    if found.is_empty() && is_order {
        found.push(format!("{member}: the order of its files"));
    }
}

fn members(path: &Path) -> Result<Vec<(String, Member)>, BoxError> {
    let mut package = ar::Archive::new(BufReader::new(File::open(path)?));
    let mut members = Vec::new();
    while let Some(member) = package.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        let tarball = ["control.tar", "data.tar"].into_iter().find_map(|it| name.strip_prefix(it));
        let mut bytes = Hashed { inner: member, hash: Sha256::new() };
        let entries = match tarball {
            Some(ending) => entries(unpack(ending, &mut bytes)?.take(MAX_BYTES))?,
            None => BTreeMap::new(),
        };
        std::io::copy(&mut bytes, &mut std::io::sink())?;
        let sum = hex(&bytes.hash.finalize());
        members.push((name, Member { sum, entries }));
    }
    Ok(members)
}

/// A reader that hashes what passes through it.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// What is shown of a number that a tarball leaves out.
const UNKNOWN: &str = "none";

fn shown(number: std::io::Result<u64>) -> String {
    number.map_or_else(|_| UNKNOWN.to_owned(), |it| it.to_string())
}

fn entries(tarball: impl Read) -> Result<BTreeMap<String, Entry>, BoxError> {
    let mut tarball = tar::Archive::new(tarball);
    let mut found = BTreeMap::new();
    for (place, entry) in tarball.entries()?.enumerate() {
        let mut entry = entry?;
        if place >= MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} files").into());
        }
        let header = entry.header();
        let kind = format!("{:?}", header.entry_type());
        let name = |it: Option<&[u8]>| String::from_utf8_lossy(it.unwrap_or_default()).into_owned();
        let owner = format!(
            "{}:{} ({}:{})",
            name(header.username_bytes()),
            name(header.groupname_bytes()),
            shown(header.uid()),
            shown(header.gid())
        );
        let mode = header.mode().map_or_else(|_| UNKNOWN.to_owned(), |it| format!("{it:o}"));
        let time = shown(header.mtime());
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.strip_prefix("./").filter(|it| !it.is_empty()).unwrap_or(&path).to_owned();
        let target = entry.link_name_bytes().map(|it| String::from_utf8_lossy(&it).into_owned());
        let mut hash = Sha256::new();
        hash.update(target.unwrap_or_default());
        let mut bytes = Hashed { inner: &mut entry, hash };
        std::io::copy(&mut bytes, &mut std::io::sink())?;
        let content = hex(&bytes.hash.finalize());
        let mut key = path.clone();
        let mut number = 1;
        while found.contains_key(&key) {
            number += 1;
            key = format!("{path} (number {number})");
        }
        found.insert(key, Entry { place, kind, mode, owner, time, content });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use crate::memory::files::{Binary, write_build};

    fn package(directory: &Path, content: &str) -> std::path::PathBuf {
        let name: crate::names::PackageName = "hello".parse().unwrap();
        durable::create_directory(directory).unwrap();
        let architecture: crate::names::Architecture = "all".parse().unwrap();
        let binary =
            Binary { package: name.clone(), architecture: architecture.clone(), content: content.to_owned() };
        write_build(directory, &name, &"1.0".parse().unwrap(), &architecture, &[binary]).unwrap();
        directory.join("hello_1.0_all.deb")
    }

    #[test]
    fn the_file_that_differs_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let one = package(&directory.path().join("one"), "monday");
        let other = package(&directory.path().join("other"), "tuesday");
        let found = differences_of_packages(&one, &other).unwrap();
        assert_eq!(found, ["data.tar.gz: usr/share/hello/content (its content)"]);
    }

    #[test]
    fn what_is_no_package_cannot_be_compared() {
        let directory = tempfile::tempdir().unwrap();
        let one = package(&directory.path().join("one"), "monday");
        let other = directory.path().join("other.deb");
        durable::write(&other, b"no package").unwrap();
        assert!(differences_of_packages(&one, &other).is_err());
    }
}
