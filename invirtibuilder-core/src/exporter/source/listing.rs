//! What an upstream tarball holds, as git would name it.
//!
//! Never unpacks: contents are hashed as they pass by. What a tarball holds is kept by its SHA-256 sum, and the next
//! revision of a package compares names only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use gix::ObjectId;
use gix::objs::{Kind, compute_hash};

use super::{Problem, TreeLimits, shown_path};
use crate::durable;
use crate::error::BoxError;

/// The directory of what is known about tarballs, below the cache.
pub(crate) const ORIGS: &str = "origs";

/// How much larger a tarball may be when it is unpacked, unless that is `SMALL`: what costs a minute to read must not be
/// made in a moment.
const RATIO: u64 = 250;
const SMALL: u64 = 32 << 20;

/// A file or link: what git says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: ContentKind,
    pub(super) id: ObjectId,
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentKind {
    File,
    Executable,
    Link,
}

impl ContentKind {
    /// Returns the mode as git writes it.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
        }
    }

    fn of_mode(mode: &str) -> Option<Self> {
        [Self::File, Self::Executable, Self::Link].into_iter().find(|it| it.mode() == mode)
    }
}

/// Files and links by their paths. Directories are left out: git has none that are empty.
pub(super) type Contents = BTreeMap<Vec<u8>, Content>;

/// Something of a tarball, as it passes by.
enum Passing<'a> {
    Directory,
    File { kind: ContentKind, bytes: &'a mut dyn Read },
    Link(Vec<u8>),
    HardLink(Vec<u8>),
}

/// Gets a path of a tarball, and what is there.
type Visit<'a> = dyn FnMut(Vec<u8>, Passing<'_>) -> Result<(), Problem> + 'a;
/// Gets a file's path below the top, what it is, and its bytes.
type VisitContent<'a> = dyn FnMut(&[u8], ContentKind, &[u8]) -> Result<(), Problem> + 'a;
/// Gets a file's path below the top, git's mode of it, and its bytes.
type VisitMode<'a> = dyn FnMut(&[u8], &str, &[u8]) -> Result<(), BoxError> + 'a;

/// Returns the git id of a blob with these bytes.
pub(super) fn blob_id(bytes: &[u8]) -> Result<ObjectId, Problem> {
    compute_hash(gix::hash::Kind::Sha1, Kind::Blob, bytes).map_err(|e| Problem::Backend(e.into()))
}

/// Opens a tarball of one of the kinds that upstream's have.
fn open(path: &Path, extension: &str) -> io::Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(256 << 10, File::open(path)?);
    Ok(match extension {
        "xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        "lzma" => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(u64::MAX).map_err(io::Error::other)?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(file)),
        "bz2" => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        "zst" => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

/// Walks through a tarball. `visit` gets each path, without what leads to the top, and what is there.
fn walk(path: &Path, extension: &str, limits: &TreeLimits, visit: &mut Visit<'_>) -> Result<(), Problem> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bad = |what: &str| Problem::Tree(format!("the upstream tarball {name} {what}"));
    let unreadable = |e: io::Error| bad(&format!("cannot be read: {}", super::shown(&e.to_string())));
    let limit = limits.total_bytes.saturating_add(limits.entries as u64 * 1024);
    let length = path.metadata().map_err(unreadable)?.len();
    let largest = length.saturating_mul(RATIO).max(SMALL);
    let reader = open(path, extension).map_err(unreadable)?.take(limit);
    let mut archive = tar::Archive::new(reader);
    let (mut count, mut total) = (0_usize, 0_u64);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        count += 1;
        total = total.saturating_add(entry.size());
        if count > limits.entries || total > limits.total_bytes || entry.size() > limits.file_bytes {
            return Err(bad("is larger than the limits of a source package; split it"));
        }
        if total > largest {
            return Err(bad(&format!(
                "unpacks to more than {RATIO} times its size; make it of less empty files"
            )));
        }
        let at = entry.path_bytes().into_owned();
        let at = relative(&at).ok_or_else(|| bad(&format!("has the path {}", shown_path(&at))))?;
        let header = entry.header();
        let kind = header.entry_type();
        let is_executable = header.mode().map_err(unreadable)? & 0o100 != 0;
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        if kind.is_pax_global_extensions() {
            continue;
        }
        // GNU tar takes an old-fashioned file whose name ends with a slash for a directory.
        if kind.is_dir() || (kind.is_file() && entry.path_bytes().ends_with(b"/")) {
            visit(at, Passing::Directory)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let kind = if is_executable { ContentKind::Executable } else { ContentKind::File };
            visit(at, Passing::File { kind, bytes: &mut entry })?;
        } else if kind.is_symlink() {
            visit(at, Passing::Link(link))?;
        } else if kind.is_hard_link() {
            let target = relative(&link).ok_or_else(|| bad(&format!("links to {}", shown_path(&link))))?;
            visit(at, Passing::HardLink(target))?;
        } else {
            return Err(bad(&format!("has {}, which is no file, directory or link", shown_path(&at))));
        }
    }
    Ok(())
}

/// Returns a path without what leads nowhere; `None` if it leads out.
fn relative(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|c| *c == b'/') {
        match part {
            b"" | b"." => (),
            b".." => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// Returns the directories that a path is in.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|it| *it.1 == b'/').map(|it| it.0);
    ends.filter_map(|end| path.get(..end))
}

/// What a tarball holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Whether everything is in one directory, which is left out of the paths.
    pub(super) has_top: bool,
    pub(super) contents: Contents,
}

/// Lists a tarball, or reads what is known of it.
pub(super) fn list(
    path: &Path,
    extension: &str,
    sha256: &str,
    limits: &TreeLimits,
    cache: Option<&Path>,
) -> Result<Listing, Problem> {
    let known = cache.map(|it| it.join(sha256));
    if let Some(listing) = known.as_deref().and_then(Listing::read) {
        return Ok(listing);
    }
    let listing = Listing::of(path, extension, limits)?;
    if let Some(known) = known {
        let kept = known.parent().map_or(Ok(()), durable::derived::create_directory);
        let kept = kept.and_then(|()| durable::note(&known, &listing.to_bytes()));
        if let Err(error) = kept {
            tracing::debug!(%error, "what an upstream tarball holds was not kept");
        }
    }
    Ok(listing)
}

fn damaged(e: &io::Error) -> Problem {
    Problem::Tree(format!("the upstream tarball is damaged: {}", super::shown(&e.to_string())))
}

impl Listing {
    fn of(path: &Path, extension: &str, limits: &TreeLimits) -> Result<Self, Problem> {
        let (mut contents, mut tops, mut directories) = (Contents::new(), BTreeSet::new(), BTreeSet::new());
        walk(path, extension, limits, &mut |at, passing| {
            if at.is_empty() {
                return Ok(());
            }
            let top = at.split(|c| *c == b'/').next().unwrap_or_default().to_vec();
            if top.len() < at.len() {
                directories.insert(top.clone());
            }
            tops.insert(top);
            let found = match passing {
                Passing::Directory => {
                    directories.insert(at);
                    return Ok(());
                }
                Passing::File { kind, bytes } => {
                    let mut content = Vec::new();
                    bytes.read_to_end(&mut content).map_err(|e| damaged(&e))?;
                    Content { kind, id: blob_id(&content)? }
                }
                Passing::Link(target) => Content { kind: ContentKind::Link, id: blob_id(&target)? },
                Passing::HardLink(target) => *contents.get(&target).ok_or_else(|| {
                    let target = shown_path(&target);
                    Problem::Tree(format!("the upstream tarball links to {target}, which it lacks"))
                })?,
            };
            contents.insert(at, found);
            Ok(())
        })?;
        if let Some(at) = contents.keys().find(|it| above(it).any(|it| contents.contains_key(it))) {
            let at = shown_path(at);
            return Err(Problem::Tree(format!(
                "the upstream tarball has {at}, through what is no directory"
            )));
        }
        // dpkg-source takes a single directory at the top for the source itself (Dpkg::Source::Archive).
        let has_top = tops.len() == 1 && tops.first().is_some_and(|it| directories.contains(it));
        if has_top {
            let below = |(at, it): (Vec<u8>, Content)| Some((below(&at, true)?.to_vec(), it));
            contents = contents.into_iter().filter_map(below).collect();
        }
        Ok(Self { has_top, contents })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut text: Vec<u8> = if self.has_top { b"top\0".to_vec() } else { b"flat\0".to_vec() };
        for (at, content) in &self.contents {
            text.extend(format!("{} {} ", content.kind.mode(), content.id).bytes());
            text.extend_from_slice(at);
            text.push(0);
        }
        text.extend_from_slice(b"end\0");
        text
    }

    /// Reads what was kept; `None` if it is not there, or not whole.
    fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let mut lines = bytes.strip_suffix(b"\0end\0")?.split(|c| *c == 0);
        let has_top = lines.next()? == b"top";
        let mut contents = Contents::new();
        for line in lines {
            let mut words = line.splitn(3, |c| *c == b' ');
            let kind = ContentKind::of_mode(std::str::from_utf8(words.next()?).ok()?)?;
            let id = ObjectId::from_hex(words.next()?).ok()?;
            contents.insert(words.next()?.to_vec(), Content { kind, id });
        }
        Some(Self { has_top, contents })
    }
}

/// Returns a path as a listing has it.
fn below(at: &[u8], has_top: bool) -> Option<&[u8]> {
    if !has_top {
        return Some(at);
    }
    at.iter().position(|c| *c == b'/').and_then(|it| at.get(it + 1..))
}

/// Reads those files and links of a tarball that are wanted, by their paths as its [`Listing`] has them.
pub(super) fn each(
    path: &Path,
    extension: &str,
    limits: &TreeLimits,
    has_top: bool,
    wanted: &dyn Fn(&[u8]) -> bool,
    visit: &mut VisitContent<'_>,
) -> Result<(), Problem> {
    let mut links: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    walk(path, extension, limits, &mut |at, passing| {
        let Some(at) = below(&at, has_top).filter(|it| wanted(it)) else { return Ok(()) };
        match passing {
            Passing::Directory => Ok(()),
            Passing::File { kind, bytes } => {
                let mut content = Vec::new();
                bytes.read_to_end(&mut content).map_err(|e| damaged(&e))?;
                visit(at, kind, &content)
            }
            Passing::Link(target) => visit(at, ContentKind::Link, &target),
            Passing::HardLink(target) => {
                let target = below(&target, has_top).unwrap_or_default().to_vec();
                links.entry(target).or_default().push(at.to_vec());
                Ok(())
            }
        }
    })?;
    if links.is_empty() {
        return Ok(());
    }
    walk(path, extension, limits, &mut |at, passing| {
        let Some(names) = below(&at, has_top).and_then(|it| links.get(it)) else { return Ok(()) };
        if let Passing::File { kind, bytes } = passing {
            let mut content = Vec::new();
            bytes.read_to_end(&mut content).map_err(|e| damaged(&e))?;
            for name in names {
                visit(name, kind, &content)?;
            }
        }
        Ok(())
    })
}

/// Calls `visit` with each file and link of a tarball: its path below the top, git's mode of it, and its bytes.
pub(crate) fn extract(path: &Path, extension: &str, visit: &mut VisitMode<'_>) -> Result<(), BoxError> {
    let limits = TreeLimits::default();
    let extracted = Listing::of(path, extension, &limits).and_then(|listing| {
        each(path, extension, &limits, listing.has_top, &|_| true, &mut |at, kind, bytes| {
            visit(at, kind.mode(), bytes).map_err(Problem::Backend)
        })
    });
    extracted.map_err(|e| match e {
        Problem::Tree(text) => text.into(),
        Problem::Backend(e) => e,
    })
}
