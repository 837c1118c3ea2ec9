//! Taking over a source package: its `.dsc` and files become branches as git-buildpackage would have made them.
//!
//! `debian/latest` has the source with its patches not applied, `upstream` has what upstream's tarballs hold, and
//! `pristine-tar` has what gives these back, byte for byte. Whatever unpacks or compares runs inside walls; the same
//! source package gives the same commits.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::import::{Imported, allowed_name};
use super::push_policy::PushPolicy;
use super::{Hooks, Repositories, RepositoryError, Result};
use crate::builder::scratch::{Entry, Part};
use crate::control::SourceControl;
use crate::durable::scratch;
use crate::error::{BoxError, causes};
use crate::exporter::source::{Confinement, OrigName, extract_orig, run_apart};
use crate::names::{PackageName, TagName};
use crate::process::Command;

const BRANCH: &str = "refs/heads/debian/latest";
const UPSTREAM: &str = "refs/heads/upstream";
const PRISTINE: &str = "refs/heads/pristine-tar";
/// How many bytes a file of a source package may have.
const MAX_FILE: u64 = 1 << 30;

/// A source package on its way into a repository.
struct Source<'a> {
    dsc: &'a Path,
    control: SourceControl,
    origs: Vec<OrigName>,
    confinement: &'a Confinement,
    staged: &'a Path,
}

/// Who commits, and when, as git-fast-import(1) wants it.
struct Person(String);

impl Repositories {
    /// Makes a repository for a package of its source package: the `.dsc`, and the files that it names beside it.
    ///
    /// # Errors
    /// There is a repository of this package already, or the source package is not whole or not of this package.
    pub fn import_source(
        &self,
        package: &PackageName,
        dsc: &Path,
        hooks: &Hooks,
        policy: &PushPolicy,
        confinement: &Confinement,
    ) -> Result<Imported> {
        let refused = |problem: String| RepositoryError::Source { path: dsc.to_owned(), problem };
        let control = SourceControl::read(dsc).map_err(|e| refused(e.to_string()))?;
        if control.package() != package {
            return Err(refused(format!("it is {}, not {package}", control.package())));
        }
        let (_, imported) = self.create_with(package, hooks, |staged| {
            let upstream = control.version().upstream().to_owned();
            let names =
                control.files().iter().filter_map(|it| OrigName::parse(package, &upstream, it.name.as_str()));
            let source =
                Source { dsc, origs: names.collect(), control: control.clone(), confinement, staged };
            source.import(policy).map_err(|e| refused(causes(&*e).join(": ")))
        })?;
        Ok(imported)
    }
}

impl Source<'_> {
    fn import(&self, policy: &PushPolicy) -> std::result::Result<Imported, BoxError> {
        let entry = self.confinement.enter()?;
        let name = |full: &str| match allowed_name(policy, full, gix::ObjectId::null(gix::hash::Kind::Sha1)) {
            Ok(None) => Ok(full.to_owned()),
            Ok(Some((other, _))) => Ok(other),
            Err(reason) => Err(BoxError::from(reason)),
        };
        let (branch, upstream, pristine) = (name(BRANCH)?, name(UPSTREAM)?, name(PRISTINE)?);
        let top = self.unpack(&entry)?;
        let person = person_of(&top.join("debian/changelog"))?;
        let mut stream = Vec::new();
        let version = self.control.version();
        let mut imported = Imported { branches: 1, ..Imported::default() };
        if !self.origs.is_empty() {
            begin_commit(
                &mut stream,
                &upstream,
                &person,
                &format!("Import upstream version {}", version.upstream()),
                None,
            );
            self.write_upstream(&mut stream)?;
            stream.push(b'\n');
        }
        let parent = (!self.origs.is_empty()).then_some(upstream.as_str());
        let message = format!("Import {} {version}", self.control.package());
        begin_commit(&mut stream, &branch, &person, &message, parent);
        stream.extend_from_slice(b"deleteall\n");
        write_tree(&mut stream, &top)?;
        stream.push(b'\n');
        self.fast_import(&entry, &stream)?;
        if !self.origs.is_empty() {
            let upstream_version = version.upstream().parse()?;
            let tag = name(&format!("refs/tags/{}", TagName::of("upstream/", &upstream_version)))?;
            self.git(&["update-ref", &tag, &upstream])?;
            self.write_pristine(&entry, &person, &pristine, &upstream)?;
            imported.branches += 2;
            imported.tags += 1;
        }
        let head = self.git(&["rev-parse", "--verify", "--end-of-options", &branch])?;
        imported.source = Some((branch.trim_start_matches("refs/heads/").to_owned(), head.trim().parse()?));
        entry.remove()?;
        Ok(imported)
    }

    /// Unpacks it as dpkg-source does, without its patches.
    fn unpack(&self, entry: &Entry) -> std::result::Result<PathBuf, BoxError> {
        let input = entry.part(Part::Input);
        for file in self.control.files() {
            let to = input.join(file.name.as_str());
            scratch::copy(&self.control.directory().join(file.name.as_str()), &to)?;
            crate::durable::set_mode(&to, 0o644)?;
        }
        let dsc = input.join(self.dsc.file_name().unwrap_or_default());
        let top = entry.part(Part::Output).join("source");
        let format = self.control.paragraph().get("Format").unwrap_or_default();
        let mut arguments: Vec<&OsStr> = vec!["--no-check".as_ref(), "--no-copy".as_ref()];
        if format.starts_with("3.0 (quilt)") {
            arguments.push("--skip-patches".as_ref());
        }
        arguments.extend(["-x".as_ref(), dsc.as_os_str(), top.as_os_str()]);
        run_apart(self.confinement, entry, &entry.part(Part::Output), "dpkg-source", &arguments)?;
        Ok(top)
    }

    fn write_upstream(&self, stream: &mut Vec<u8>) -> std::result::Result<(), BoxError> {
        stream.extend_from_slice(b"deleteall\n");
        let mut origs: Vec<&OrigName> = self.origs.iter().filter(|it| !it.is_signature).collect();
        origs.sort_by_key(|it| it.component.clone());
        for orig in origs {
            let prefix = orig.component.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
            let path = self.control.directory().join(orig.name.as_str());
            extract_orig(&path, orig.extension, &mut |at, mode, bytes| {
                write_file(stream, mode, &[prefix.as_bytes(), at].concat(), bytes);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write_pristine(
        &self,
        entry: &Entry,
        person: &Person,
        branch: &str,
        upstream: &str,
    ) -> std::result::Result<(), BoxError> {
        let mut stream = Vec::new();
        let components: Vec<&str> = self.origs.iter().filter_map(|it| it.component.as_deref()).collect();
        for orig in &self.origs {
            let bytes = || std::fs::read(self.control.directory().join(orig.name.as_str()));
            // A commit each, by whose subjects git-buildpackage finds them.
            let message = format!("pristine-tar data for {}", orig.name);
            if orig.is_signature {
                begin_commit(&mut stream, branch, person, &message, None);
                write_file(&mut stream, "100644", orig.name.as_str().as_bytes(), &bytes()?);
                stream.push(b'\n');
                continue;
            }
            let id = match &orig.component {
                Some(component) => self.git(&[
                    "rev-parse",
                    "--verify",
                    "--end-of-options",
                    &format!("{upstream}:{component}"),
                ])?,
                None if components.is_empty() => {
                    self.git(&["rev-parse", "--verify", "--end-of-options", &format!("{upstream}^{{tree}}")])?
                }
                None => self.tree_without(entry, upstream, &components)?,
            };
            let output = entry.part(Part::Output);
            let delta = output.join(format!("{}.delta", orig.name));
            let tarball = entry.part(Part::Input).join(orig.name.as_str());
            let arguments = ["gendelta".as_ref(), tarball.as_os_str(), delta.as_os_str()];
            run_apart(self.confinement, entry, &output, "pristine-tar", &arguments)?;
            begin_commit(&mut stream, branch, person, &message, None);
            let name = format!("{}.delta", orig.name);
            write_file(&mut stream, "100644", name.as_bytes(), &read_regular(&delta)?);
            write_file(&mut stream, "100644", format!("{}.id", orig.name).as_bytes(), id.trim().as_bytes());
            stream.push(b'\n');
        }
        self.fast_import(entry, &stream)
    }

    /// Returns the id of upstream's tree without the directories of its components.
    fn tree_without(
        &self,
        entry: &Entry,
        upstream: &str,
        components: &[&str],
    ) -> std::result::Result<String, BoxError> {
        let listed = self.git(&["ls-tree", "-z", upstream])?;
        let is_kept = |it: &&str| !it.split_once('\t').is_some_and(|it| components.contains(&it.1));
        let kept: Vec<&str> = listed.split('\0').filter(is_kept).collect();
        let file = entry.part(Part::Input).join("tree-lines");
        scratch::write_new(&file, kept.join("\0").as_bytes(), 0o644)?;
        let command = self.command().args(["mktree", "-z"]).stdin(std::fs::File::open(&file)?);
        Ok(String::from_utf8(command.run()?)?)
    }

    fn fast_import(&self, entry: &Entry, stream: &[u8]) -> std::result::Result<(), BoxError> {
        let file = entry.part(Part::Input).join("stream");
        let _ = scratch::remove_file(&file);
        scratch::write_new(&file, stream, 0o644)?;
        let command = self.command().args(["-c", "core.fsync=all", "fast-import", "--quiet"]);
        command.stdin(std::fs::File::open(&file)?).run()?;
        Ok(())
    }

    fn git(&self, arguments: &[&str]) -> std::result::Result<String, BoxError> {
        Ok(String::from_utf8_lossy(&self.command().args(arguments).run()?).into_owned())
    }

    fn command(&self) -> Command {
        Command::new("git")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .arg("--git-dir")
            .arg(self.staged)
            .args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"])
    }
}

/// Reads who made the topmost entry of a changelog, and when.
fn person_of(changelog: &Path) -> std::result::Result<Person, BoxError> {
    const LINES: u64 = 1 << 20;
    let mut text = Vec::new();
    let metadata = changelog.symlink_metadata()?;
    if !metadata.is_file() {
        return Err("its debian/changelog is not a regular file".into());
    }
    std::fs::File::open(changelog)?.take(LINES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .find_map(|it| it.strip_prefix(" -- "))
        .ok_or("its debian/changelog has no closing line")?;
    let (who, date) =
        line.split_once(">  ").ok_or("the closing line of its debian/changelog is malformed")?;
    let (name, address) =
        who.split_once('<').ok_or("the closing line of its debian/changelog names nobody")?;
    let clean =
        |text: &str| text.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect::<String>();
    let time = jiff::fmt::rfc2822::parse(date.trim()).map_or(0, |it| it.timestamp().as_second());
    Ok(Person(format!("{} <{}> {} +0000", clean(name).trim(), clean(address).trim(), time.max(0))))
}

fn begin_commit(stream: &mut Vec<u8>, branch: &str, person: &Person, message: &str, parent: Option<&str>) {
    let length = message.len();
    stream.extend(
        format!("commit {branch}\nauthor {0}\ncommitter {0}\ndata {length}\n{message}\n", person.0).bytes(),
    );
    if let Some(parent) = parent {
        stream.extend(format!("from {parent}\n").bytes());
    }
}

fn write_file(stream: &mut Vec<u8>, mode: &str, path: &[u8], bytes: &[u8]) {
    stream.extend(format!("M {mode} inline \"").bytes());
    for c in path {
        match c {
            b'"' | b'\\' => stream.extend([b'\\', *c]),
            b' '..=b'~' => stream.push(*c),
            other => stream.extend(format!("\\{other:03o}").bytes()),
        }
    }
    stream.extend(format!("\"\ndata {}\n", bytes.len()).bytes());
    stream.extend_from_slice(bytes);
    stream.push(b'\n');
}

/// Writes all files and links of a directory, following none.
fn write_tree(stream: &mut Vec<u8>, top: &Path) -> std::result::Result<(), BoxError> {
    let mut all: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for found in std::fs::read_dir(&directory)? {
            let path = found?.path();
            if path.symlink_metadata()?.is_dir() {
                pending.push(path);
            } else {
                let below = path.strip_prefix(top)?.as_os_str().as_bytes().to_vec();
                all.insert(below, path);
            }
        }
    }
    for (below, path) in all {
        let metadata = path.symlink_metadata()?;
        if metadata.is_symlink() {
            write_file(stream, "120000", &below, std::fs::read_link(&path)?.as_os_str().as_bytes());
        } else {
            let mode = if metadata.permissions().mode() & 0o100 == 0 { "100644" } else { "100755" };
            write_file(stream, mode, &below, &read_regular(&path)?);
        }
    }
    Ok(())
}

fn read_regular(path: &Path) -> std::result::Result<Vec<u8>, BoxError> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(format!("{} is not a regular file of a reasonable size", path.display()).into());
    }
    Ok(std::fs::read(path)?)
}
