//! Reading objects, each hashed again; and writing them, each synced before its name is visible.
//!
//! Never reads a file system path that a tree names.

use std::io::Write;

use gix::ObjectId;
use gix::objs::{CommitRef, Kind, TagRef, TreeRefIter, WriteTo, compute_hash};

use super::{Repository, Result};
use crate::durable;

/// What is read of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFacts {
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents.
    pub parents: Vec<ObjectId>,
    /// When it was committed, in seconds since 1970; `None` if its committer line is malformed.
    pub time: Option<i64>,
    /// Its message.
    pub message: Vec<u8>,
}

/// What is read of an annotated tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagFacts {
    pub(crate) target: ObjectId,
    pub(crate) name: String,
    pub(crate) tagger: Option<(String, String)>,
}

/// What is at a path of a commit's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAt {
    /// A regular file with these bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Absent,
    /// Something else, in words that quote nothing of it.
    Unfit(String),
}

impl Repository {
    /// Returns the type of an object; `None` if there is no such object.
    ///
    /// The type is what the repository claims: reading the object checks it.
    pub fn kind(&self, id: ObjectId) -> Result<Option<Kind>> {
        let header = self.git.try_find_header(id).map_err(self.unreadable("look up an object of"))?;
        Ok(header.map(|it| it.kind()))
    }

    /// Returns the size of a blob in bytes, as the repository claims it.
    pub(crate) fn size(&self, id: ObjectId) -> Result<u64> {
        let header = self.git.try_find_header(id).map_err(self.unreadable("look up an object of"))?;
        header.map(|it| it.size()).ok_or_else(|| self.damaged(id, "is missing"))
    }

    /// Reads an object and checks that it hashes to its id.
    pub(crate) fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>> {
        let found = match self.git.try_find_object(id) {
            Ok(Some(found)) => found.detach(),
            Ok(None) => return Err(self.damaged(id, "is missing")),
            Err(e) => return Err(self.damaged(id, format!("cannot be read: {e}"))),
        };
        if found.kind != kind {
            return Err(self.damaged(id, format!("is a {} where a {kind} belongs", found.kind)));
        }
        match compute_hash(id.kind(), kind, &found.data) {
            Ok(hash) if hash == id => Ok(found.data),
            _ => Err(self.damaged(id, "does not hash to its id")),
        }
    }

    /// Reads a commit.
    pub fn commit(&self, id: ObjectId) -> Result<CommitFacts> {
        let data = self.read(id, Kind::Commit)?;
        let commit = CommitRef::from_bytes(&data, id.kind())
            .map_err(|_| self.damaged(id, "is not a well-formed commit"))?;
        Ok(CommitFacts {
            tree: commit.tree(),
            parents: commit.parents().collect(),
            time: commit.time().ok().map(|it| it.seconds),
            message: commit.message.to_vec(),
        })
    }

    /// Reads an annotated tag.
    pub(crate) fn tag(&self, id: ObjectId) -> Result<TagFacts> {
        let data = self.read(id, Kind::Tag)?;
        let malformed = || self.damaged(id, "is not a well-formed tag");
        let tag = TagRef::from_bytes(&data, id.kind()).map_err(|_| malformed())?;
        let tagger = tag.tagger().map_err(|_| malformed())?;
        Ok(TagFacts {
            target: tag.target(),
            name: tag.name.to_string(),
            tagger: tagger.map(|it| (it.name.to_string(), it.email.to_string())),
        })
    }

    /// Follows tags to what they name; returns the id and type of the first object that is no tag.
    pub(crate) fn peel(&self, mut id: ObjectId) -> Result<(ObjectId, Kind)> {
        const CHAIN: usize = 16;
        for _ in 0..CHAIN {
            match self.kind(id)? {
                None => return Err(self.damaged(id, "is missing")),
                Some(Kind::Tag) => id = self.tag(id)?.target,
                Some(kind) => return Ok((id, kind)),
            }
        }
        Err(self.damaged(id, "is at the end of a chain of more than 16 tags"))
    }

    /// Reads the regular file at a path of a tree, reached through trees only.
    ///
    /// What the tree holds there is a fact of the answer. A link is never followed.
    pub fn file(&self, tree: ObjectId, path: &str, max_bytes: u64) -> Result<FileAt> {
        let mut tree = tree;
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        for directory in directories.split('/').filter(|it| !it.is_empty()) {
            match self.entry(tree, directory)? {
                None => return Ok(FileAt::Absent),
                Some((mode, id)) if mode.is_tree() => tree = id,
                Some(_) => return Ok(FileAt::Unfit(format!("{directory} is not a directory in the commit"))),
            }
        }
        let Some((mode, id)) = self.entry(tree, name)? else { return Ok(FileAt::Absent) };
        if !mode.is_blob() {
            return Ok(FileAt::Unfit("it is not a regular file in the commit; replace it by one".to_owned()));
        }
        if self.size(id)? > max_bytes {
            return Ok(FileAt::Unfit(format!("it is longer than {max_bytes} bytes; shorten it")));
        }
        self.read(id, Kind::Blob).map(FileAt::Bytes)
    }

    fn entry(&self, tree: ObjectId, name: &str) -> Result<Option<(gix::objs::tree::EntryMode, ObjectId)>> {
        let data = self.read(tree, Kind::Tree)?;
        for entry in TreeRefIter::from_bytes(&data, tree.kind()) {
            let entry = entry.map_err(|_| self.damaged(tree, "is not a well-formed tree"))?;
            if entry.filename == name {
                return Ok(Some((entry.mode, entry.oid.to_owned())));
            }
        }
        Ok(None)
    }

    /// Writes an object, unless it is there and whole. It is synced before it is visible.
    pub(crate) fn write(&self, object: &dyn WriteTo) -> Result<ObjectId> {
        self.write_bytes(object.kind(), &self.bytes_of(object)?)
    }

    /// Returns the bytes that an object will have.
    pub(crate) fn bytes_of(&self, object: &dyn WriteTo) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        object.write_to(&mut data).map_err(self.unreadable("compose an object of"))?;
        Ok(data)
    }

    /// As [`Repository::write`], for an object that is bytes already.
    pub(crate) fn write_bytes(&self, kind: Kind, data: &[u8]) -> Result<ObjectId> {
        let hash = compute_hash(self.git.object_hash(), kind, data);
        let id = hash.map_err(self.unreadable("compose an object of"))?;
        if self.kind(id).is_ok_and(|it| it.is_some()) && self.read(id, kind).is_ok() {
            return Ok(id);
        }
        let mut compressed =
            flate2::write::ZlibEncoder::new(Vec::with_capacity(data.len() / 2), flate2::Compression::fast());
        let written = write!(compressed, "{kind} {}\0", data.len()).and_then(|()| compressed.write_all(data));
        let bytes =
            written.and_then(|()| compressed.finish()).map_err(self.unreadable("compose an object of"))?;
        let hex = id.to_hex().to_string();
        let (directory, name) = hex.split_at(2);
        let directory = self.path.join("objects").join(directory);
        durable::create_directory(&directory)?;
        durable::write_with_mode(&directory.join(name), &bytes, 0o444)?;
        Ok(id)
    }
}
