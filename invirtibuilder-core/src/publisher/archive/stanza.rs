//! The paragraphs of the indices `Packages` and `Sources`: made from control files, and read again.
//!
//! Never reads or writes a file. What a control file says about its own place or hashes is never believed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use md5::{Digest, Md5};

use crate::control::{BinaryControl, SourceControl, hex};
use crate::job::Artifact;
use crate::names::{CommitId, PackageName};
use crate::policy::Held;

/// The fields of a `Packages` paragraph that the archive alone sets.
const OURS_IN_PACKAGES: &[&str] = &["filename", "size", "md5sum", "sha1", "sha256", "sha512"];

/// The fields of a `Sources` paragraph that the archive alone sets.
const OURS_IN_SOURCES: &[&str] = &[
    "source",
    "package",
    "directory",
    "priority",
    "section",
    "files",
    "checksums-sha1",
    "checksums-sha256",
    "checksums-sha512",
    "git-commit",
    "buildinfo",
];

/// The field of a `Sources` paragraph that lists the records of the builds (deb-buildinfo(5)).
const BUILDINFO: &str = "Buildinfo";

/// What the paragraphs of an index are sorted by: the package's name, and the source package that it is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    name: String,
    /// `None` where it has the package's name.
    source: Option<String>,
}

impl Key {
    pub(super) fn new(name: &str, source: &str) -> Self {
        Self { name: name.to_owned(), source: (name != source).then(|| source.to_owned()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn source(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }
}

/// One paragraph of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stanza {
    pub(super) key: Key,
    /// Its lines, each with its end; none is empty.
    pub(super) text: String,
}

/// A file that a paragraph names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolFile {
    /// Its path below the archive.
    pub(super) path: String,
    /// Its SHA-256 sum.
    pub(super) sha256: String,
}

impl PoolFile {
    /// Returns the last component of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Stanza {
    /// Reads a paragraph; `None` if it names no package.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = field(text, "Package")?;
        let source = field(text, "Source").and_then(|it| it.split_whitespace().next()).unwrap_or(name);
        Some(Self { key: Key::new(name, source), text: format!("{}\n", text.trim_end_matches('\n')) })
    }

    /// Makes the `Packages` paragraph of a binary package that lies in `directory` of the archive.
    ///
    /// # Errors
    /// Why the control file cannot be part of an index.
    pub(super) fn of_binary(control: &BinaryControl, directory: &str) -> Result<Self, String> {
        let file = control.artifact();
        let place = format!(
            "Filename: {directory}/{}\nSize: {}\nMD5sum: {}\nSHA256: {}\n",
            file.name, file.size, file.md5, file.sha256
        );
        let (mut text, mut placed) = (String::new(), false);
        for (name, lines) in fields(control.text())? {
            if OURS_IN_PACKAGES.contains(&name.as_str()) {
                continue;
            }
            if name == "description" && !placed {
                text.push_str(&place);
                placed = true;
            }
            text.push_str(lines);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if !placed {
            text.push_str(&place);
        }
        Ok(Self { key: Key::new(control.package().as_str(), control.source().as_str()), text })
    }

    /// Makes the `Sources` paragraph of a source package that lies in `directory` of the archive, with the records
    /// of its builds. Without a commit it names none, whatever the `.dsc` says.
    ///
    /// # Errors
    /// Why the `.dsc` cannot be part of an index.
    pub(super) fn of_source<'a>(
        control: &SourceControl,
        commit: Option<&CommitId>,
        directory: &str,
        buildinfos: impl Iterator<Item = &'a Artifact>,
    ) -> Result<Self, String> {
        let package = control.package();
        let mut text = format!("Package: {package}\n");
        let (mut seen, mut listed) = (BTreeSet::new(), None);
        for (name, value) in control.paragraph().iter() {
            let lower = name.to_ascii_lowercase();
            check_name(name)?;
            check_text(value)?;
            if !seen.insert(lower.clone()) {
                return Err(format!("its .dsc has the field {name} twice"));
            }
            if lower == "package-list" {
                listed = priority_and_section(value, package);
            }
            if !OURS_IN_SOURCES.contains(&lower.as_str()) {
                push_field(&mut text, name, value);
            }
        }
        if let Some(commit) = commit {
            let named = control.paragraph().get("Git-Commit");
            push_field(&mut text, "Git-Commit", named.unwrap_or(commit.as_str()));
        }
        push_sums(&mut text, "Files", control.files(), |it| &it.md5);
        push_sums(&mut text, "Checksums-Sha256", control.files(), |it| &it.sha256);
        // A field of its own: whatever is in the others, `apt-get source` downloads.
        push_sums(&mut text, BUILDINFO, buildinfos, |it| &it.sha256);
        push_field(&mut text, "Directory", directory);
        if let Some((priority, section)) = listed {
            push_field(&mut text, "Priority", &priority);
            push_field(&mut text, "Section", &section);
        }
        Ok(Self { key: Key::new(package.as_str(), package.as_str()), text })
    }

    /// Returns it for the same files in another directory of the pool.
    pub(super) fn moved(&self, from: &str, to: &str) -> Self {
        let line = |line: &str| match line.strip_prefix("Directory: ") {
            Some(directory) if directory.trim_end() == from => format!("Directory: {to}\n"),
            _ => match line.strip_prefix("Filename: ").and_then(|it| it.strip_prefix(from)) {
                Some(name) if name.starts_with('/') => format!("Filename: {to}{name}"),
                _ => line.to_owned(),
            },
        };
        Self { key: self.key.clone(), text: self.text.split_inclusive('\n').map(line).collect() }
    }

    /// Splits the paragraph of a binary package into one with the first line of its description and the sum of all
    /// of it, and one of `Translation-en` with the whole; `None` if it has no description.
    pub(super) fn split_description(&self) -> (Self, Option<Self>) {
        let Some((before, lines, after)) = self.description() else { return (self.clone(), None) };
        let value = lines.strip_prefix("Description:").unwrap_or(lines).trim_start_matches(' ');
        let sum = hex(&Md5::digest(value.as_bytes()));
        let first = value.lines().next().unwrap_or_default();
        let short = format!("{before}Description: {first}\nDescription-md5: {sum}\n{after}");
        let long = format!("Package: {}\nDescription-md5: {sum}\nDescription-en: {value}", self.key.name());
        (Self { key: self.key.clone(), text: short }, Some(Self { key: self.key.clone(), text: long }))
    }

    /// Puts the whole description back, from the paragraphs of `Translation-en`.
    pub(super) fn with_description(&self, translations: &[Self]) -> Self {
        let Some(sum) = self.field("Description-md5") else { return self.clone() };
        let is_same =
            |it: &&Self| it.key.name() == self.key.name() && it.field("Description-md5") == Some(sum);
        let long = translations.iter().find(is_same).and_then(|it| it.text.split_once("\nDescription-en: "));
        let (Some((_, value)), Some((before, _, after))) = (long, self.description()) else {
            return self.clone();
        };
        let after = after.replacen(&format!("Description-md5: {sum}\n"), "", 1);
        Self { key: self.key.clone(), text: format!("{before}Description: {value}{after}") }
    }

    /// Splits its text into what is before the description, the description, and what is after it.
    fn description(&self) -> Option<(&str, &str, &str)> {
        let begin = match self.text.find("\nDescription:") {
            Some(at) => at + 1,
            None => self.text.starts_with("Description:").then_some(0)?,
        };
        let (before, rest) = self.text.split_at_checked(begin)?;
        let mut length = 0;
        for (at, line) in rest.split_inclusive('\n').enumerate() {
            if at > 0 && !line.starts_with([' ', '\t']) {
                break;
            }
            length += line.len();
        }
        let (lines, after) = rest.split_at_checked(length)?;
        Some((before, lines, after))
    }

    /// Returns the first line of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.text, name)
    }

    /// Returns the files that it names: one of a `Packages` paragraph, several of a `Sources` paragraph.
    pub(super) fn files(&self) -> Vec<PoolFile> {
        if let Some(path) = self.field("Filename") {
            let sha256 = self.field("SHA256").unwrap_or_default().to_owned();
            return vec![PoolFile { path: path.to_owned(), sha256 }];
        }
        let directory = self.field("Directory").unwrap_or_default();
        let sums = lines_of(&self.text, "Checksums-Sha256").chain(lines_of(&self.text, BUILDINFO));
        let file = |line: &str| {
            let mut words = line.split_whitespace();
            let (sha256, name) = (words.next()?, words.nth(1)?);
            Some(PoolFile { path: format!("{directory}/{name}"), sha256: sha256.to_owned() })
        };
        sums.filter_map(file).collect()
    }

    /// Returns the files of the source package itself that a `Sources` paragraph names.
    pub(super) fn source_files(&self) -> Vec<PoolFile> {
        let records: BTreeSet<&str> = lines_of(&self.text, BUILDINFO).collect();
        let is_record = |it: &PoolFile| {
            records.iter().any(|line| {
                line.split_whitespace().nth(2).is_some_and(|name| it.path.ends_with(&format!("/{name}")))
            })
        };
        self.files().into_iter().filter(|it| !is_record(it)).collect()
    }

    /// Adds records of builds to a `Sources` paragraph, which lie in a directory below that of the source package, or
    /// in that if it is empty. Those that it names already are left as they are.
    pub(super) fn with_buildinfos<'a>(
        &self,
        below: &str,
        buildinfos: impl Iterator<Item = &'a Artifact>,
    ) -> Self {
        let before = if below.is_empty() { String::new() } else { format!("{below}/") };
        let known: BTreeSet<&str> = lines_of(&self.text, BUILDINFO).collect();
        let line = |it: &Artifact| format!(" {} {} {before}{}", it.sha256, it.size, it.name);
        let lines: Vec<String> = buildinfos.map(line).filter(|it| !known.contains(it.as_str())).collect();
        let heading = format!("{BUILDINFO}:");
        let (mut text, mut is_there) = (String::new(), false);
        let mut in_field = false;
        for old in self.text.lines() {
            if in_field && !old.starts_with(' ') {
                push_lines(&mut text, &lines);
            }
            in_field = old == heading || (in_field && old.starts_with(' '));
            is_there |= in_field;
            if !is_there && old.starts_with("Directory: ") && !lines.is_empty() {
                text.push_str(&heading);
                text.push('\n');
                push_lines(&mut text, &lines);
                is_there = true;
            }
            text.push_str(old);
            text.push('\n');
        }
        if in_field {
            push_lines(&mut text, &lines);
        }
        Self { key: self.key.clone(), text }
    }

    /// Reads a `Sources` paragraph as what a suite holds; `None` if it is malformed.
    pub(super) fn held(&self) -> Option<Held> {
        Some(Held {
            package: self.key.name().parse().ok()?,
            version: self.field("Version")?.parse().ok()?,
            commit: self.field("Git-Commit").and_then(|it| it.parse().ok()),
        })
    }
}

fn push_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}

/// Returns the section of a source package.
pub(super) fn source_section(control: &SourceControl) -> Option<String> {
    let list = control.paragraph().iter().find(|it| it.0.eq_ignore_ascii_case("package-list"));
    list.and_then(|it| priority_and_section(it.1, control.package())).map(|it| it.1)
}

/// Returns the paragraphs of an index's text.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|it| it.trim_matches('\n')).filter(|it| !it.is_empty())
}

/// Returns the first line of a field's value in a paragraph.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| {
        let bytes = line.as_bytes();
        bytes.get(name.len()) == Some(&b':')
            && bytes.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
    })?;
    line.get(name.len() + 1..).map(str::trim)
}

/// Returns the continued lines of a field that has nothing on its first line.
fn lines_of<'a>(text: &'a str, field: &str) -> impl Iterator<Item = &'a str> {
    let field = format!("{field}:");
    text.lines().skip_while(move |it| it.trim_end() != field).skip(1).take_while(|it| it.starts_with(' '))
}

/// Writes a field with the sums of files, if there are any.
fn push_sums<'a>(
    text: &mut String,
    field: &str,
    files: impl IntoIterator<Item = &'a Artifact>,
    sum: impl Fn(&Artifact) -> &str,
) {
    for (at, file) in files.into_iter().enumerate() {
        if at == 0 {
            let _ = writeln!(text, "{field}:");
        }
        let _ = writeln!(text, " {} {} {}", sum(file), file.size, file.name);
    }
}

fn push_field(text: &mut String, name: &str, value: &str) {
    let mut lines = value.lines();
    let _ = writeln!(text, "{name}: {}", lines.next().unwrap_or_default());
    // The end of the line after the name would be a blank that nobody means.
    if text.ends_with(": \n") {
        text.truncate(text.len() - 2);
        text.push('\n');
    }
    for line in lines {
        let _ = writeln!(text, " {}", if line.trim().is_empty() { "." } else { line });
    }
}

/// Splits a control file into its fields: the name in lower case, and the lines.
///
/// # Errors
/// It is something that two readers could read as two things: an index made of it could name packages that
/// nobody checked.
fn fields(text: &str) -> Result<Vec<(String, &str)>, String> {
    check_text(text)?;
    let (mut found, mut begin, mut at): (Vec<(String, &str)>, usize, usize) = (Vec::new(), 0, 0);
    let mut names = BTreeSet::new();
    let mut name: Option<String> = None;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            return Err("its control file has an empty line, and so two paragraphs".to_owned());
        }
        if !line.starts_with([' ', '\t']) {
            if let Some(name) = name.take() {
                found.push((name, text.get(begin..at).unwrap_or_default()));
            }
            begin = at;
            let Some((new, _)) = line.split_once(':') else {
                return Err(format!(
                    "its control file has the line {:?}, which is no field",
                    line.trim_end()
                ));
            };
            check_name(new)?;
            let new = new.to_ascii_lowercase();
            if !names.insert(new.clone()) {
                return Err(format!("its control file has the field {new} twice"));
            }
            name = Some(new);
        } else if name.is_none() {
            return Err("its control file begins with a continued line".to_owned());
        }
        at += line.len();
    }
    if let Some(name) = name {
        found.push((name, text.get(begin..).unwrap_or_default()));
    }
    Ok(found)
}

/// Refuses a name that apt would read as another one: it passes over blanks before the colon.
fn check_name(name: &str) -> Result<(), String> {
    if !name.is_empty() && !name.starts_with('#') && name.bytes().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("its control file has {name:?} in the place of a field's name (Debian Policy 5.1)"))
}

fn check_text(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some(c) => Err(format!("its control file has the control character {c:?}")),
        None => Ok(()),
    }
}

/// Reads a `Package-List` (dsc(5)): of the binary package that has the source's name, or else of the first.
fn priority_and_section(list: &str, package: &PackageName) -> Option<(String, String)> {
    let words = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.nth(1)?, words.next()?))
    };
    let mut lines = list.lines().filter_map(words);
    let first = lines.next()?;
    let named = std::iter::once(first.clone()).chain(lines).find(|it| it.0 == package.as_str());
    let (_, section, priority) = named.unwrap_or(first);
    Some((priority, section))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        Ok(fields(text)?.into_iter().map(|it| it.0).collect())
    }

    #[test]
    fn a_control_file_keeps_every_field_with_all_its_lines() {
        let text = "Package: hello\nX-Unknown: 1\nDescription: short\n long\n .\n end";
        let found = fields(text).unwrap();
        assert_eq!(names(text).unwrap(), ["package", "x-unknown", "description"]);
        assert_eq!(found[2].1, "Description: short\n long\n .\n end");
    }

    #[test]
    fn a_control_file_that_two_readers_could_read_as_two_things_is_refused() {
        for text in [
            "Package: hello\n\nPackage: sudo",
            "Package: hello\n \nPackage: sudo",
            "Package: hello\n\t\nPackage: sudo",
            "Package: hello\r\n\r\nPackage: sudo",
            "Package: hello\npackage: sudo",
            "Package: hello\nFilename : pool/evil.deb",
            "Package: hello\n#comment: x",
            "Package: hello\nno field",
            " continued",
            "Package: hello\0",
        ] {
            assert!(fields(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_source_paragraph_tells_its_version_commit_and_files() {
        let commit = "0123456789012345678901234567890123456789";
        let text = format!(
            "Package: hello\nVersion: 1.0\nGit-Commit: {commit}\nChecksums-Sha256:\n ab 3 hello_1.0.dsc\n cd 4 hello_1.0.tar.xz\nDirectory: pool/main/h/hello\n"
        );
        let stanza = Stanza::parse(&text).unwrap();
        let held = stanza.held().unwrap();
        assert_eq!((held.version.as_str(), held.commit.unwrap().as_str()), ("1.0", commit));
        let paths: Vec<_> = stanza.files().into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["pool/main/h/hello/hello_1.0.dsc", "pool/main/h/hello/hello_1.0.tar.xz"]);
    }

    #[test]
    fn section_and_priority_come_from_the_binary_package_that_has_the_name_of_the_source() {
        let list = "\nhello-doc deb doc optional arch=all\nhello deb devel extra arch=any";
        let of = |name: &str| priority_and_section(list, &name.parse().unwrap()).unwrap();
        assert_eq!(of("hello"), ("extra".to_owned(), "devel".to_owned()));
        assert_eq!(of("other"), ("optional".to_owned(), "doc".to_owned()));
    }
}
