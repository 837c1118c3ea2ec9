//! What a published index consists of: which entries are in which block, and where the block is.
//!
//! A table describes one file and is named by that file's SHA-256 sum, so it is right for as long as the published
//! `InRelease` names that sum, whatever else happened. It is kept as it is used: the entries as one run of bytes,
//! which a change copies and nobody parses whole. Never reads or writes a file.

use std::io;
use std::ops::Range;

use sha2::Sha256;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use super::compression::Compression;
use super::stanza::Key;

mod bytes;

use bytes::Cut;
pub(super) use bytes::HEAD as TABLE_HEAD;

/// The bytes of a SHA-256 sum.
pub(super) type Sha256Sum = [u8; 32];

/// A run of entries that is compressed on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where its entries are in the table's bytes.
    entries: Range<usize>,
    /// Its text.
    pub(super) text: Span,
    /// Where hashing the index's text is after this block.
    pub(super) state: HashState,
    /// Its compressed forms, in the order of the table's.
    pub(super) forms: Vec<Form>,
}

/// The text of a block in the private store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Where it begins in the store.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) length: u64,
    /// Its CRC32, which tells bytes that a loss of power damaged.
    pub(super) crc: u32,
}

/// One compressed form of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Its bytes without padding.
    pub(super) unpadded: u64,
    /// Its SHA-256 sum, with padding.
    pub(super) sha256: Sha256Sum,
}

/// The state of a SHA-256 computation, from which it can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HashState(SerializedState<Sha256>);

impl HashState {
    pub(super) fn of(hash: &Sha256) -> Self {
        Self(hash.serialize())
    }

    /// Returns the computation; `None` if this is not the state of one.
    pub(super) fn resume(&self) -> Option<Sha256> {
        Sha256::deserialize(&self.0).ok()
    }
}

/// What an entry is sorted and found by, as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyRef<'a> {
    name: &'a [u8],
    /// Empty where it is the package's name.
    source: &'a [u8],
}

impl<'a> KeyRef<'a> {
    pub(super) fn of(key: &'a Key) -> Self {
        let (name, source) = (key.name().as_bytes(), key.source().as_bytes());
        Self { name, source: if name == source { b"" } else { source } }
    }

    /// Returns the name of the package.
    pub(super) fn name(self) -> &'a [u8] {
        self.name
    }

    /// Returns the source package.
    pub(super) fn source(self) -> &'a [u8] {
        if self.source.is_empty() { self.name } else { self.source }
    }

    /// Returns it as a key of its own.
    pub(super) fn to_key(self) -> Key {
        Key::new(&String::from_utf8_lossy(self.name), &String::from_utf8_lossy(self.source()))
    }
}

/// One entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryRef<'a> {
    pub(super) key: KeyRef<'a>,
    /// The bytes of its text in the block, with what separates it from the next.
    pub(super) length: u32,
}

/// The blocks of an index, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The private store that has the blocks' texts.
    pub(super) store: u64,
    /// Whether its blocks are not cut as [`super::blocks`] cuts them, because something else made it. Then the
    /// lengths of its entries mean nothing.
    pub(super) foreign: bool,
    /// The compressed forms that its blocks are known in; the first is that of the file that the table is named by.
    pub(super) forms: Vec<Compression>,
    pub(super) blocks: Vec<Block>,
    entries: Vec<u8>,
}

impl Table {
    /// Begins the table of an index in these forms.
    pub(super) fn new(forms: Vec<Compression>, store: u64, foreign: bool) -> Self {
        Self { store, foreign, forms, blocks: Vec::new(), entries: Vec::new() }
    }

    /// Adds a block whose entries have these keys and lengths.
    pub(super) fn push<'k>(
        &mut self,
        entries: impl Iterator<Item = (KeyRef<'k>, usize)>,
        text: Span,
        state: HashState,
        forms: Vec<Form>,
    ) -> io::Result<()> {
        let begin = self.entries.len();
        for (key, length) in entries {
            bytes::push_entry(&mut self.entries, key.name, key.source, length)?;
        }
        self.blocks.push(Block { entries: begin..self.entries.len(), text, state, forms });
        Ok(())
    }

    /// Adds a block that has the entries of a block of another table.
    pub(super) fn push_kept(
        &mut self,
        (other, number): (&Self, usize),
        text: Span,
        state: HashState,
        forms: Vec<Form>,
    ) {
        let begin = self.entries.len();
        self.entries.extend_from_slice(other.entry_bytes(number));
        self.blocks.push(Block { entries: begin..self.entries.len(), text, state, forms });
    }

    fn entry_bytes(&self, block: usize) -> &[u8] {
        let range = self.blocks.get(block).map(|it| it.entries.clone());
        range.and_then(|it| self.entries.get(it)).unwrap_or_default()
    }

    /// Returns the entries of a block, in their order.
    pub(super) fn entries(&self, block: usize) -> impl Iterator<Item = EntryRef<'_>> {
        let mut rest = Cut(self.entry_bytes(block));
        std::iter::from_fn(move || rest.entry())
    }

    /// Returns the keys of a block, in their order.
    pub(super) fn keys(&self, block: usize) -> impl Iterator<Item = KeyRef<'_>> {
        self.entries(block).map(|it| it.key)
    }

    /// Returns the keys of all blocks, in their order.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = KeyRef<'_>> {
        let mut rest = Cut(&self.entries);
        std::iter::from_fn(move || rest.entry()).map(|it| it.key)
    }

    /// Returns the keys of one package's name.
    pub(super) fn named<'t>(&'t self, name: &'t str) -> impl Iterator<Item = KeyRef<'t>> {
        let name = name.as_bytes();
        let first = self.block_for(KeyRef { name, source: b"" });
        let keys = (first..self.blocks.len()).flat_map(|it| self.keys(it));
        keys.skip_while(move |it| it.name < name).take_while(move |it| it.name == name)
    }

    /// Returns the key that a block begins with.
    pub(super) fn first(&self, block: usize) -> Option<KeyRef<'_>> {
        self.keys(block).next()
    }

    /// Returns the number of the block that has a key, or would have it.
    pub(super) fn block_for(&self, key: KeyRef<'_>) -> usize {
        let first = |it: &Block| Cut(self.entries.get(it.entries.clone()).unwrap_or_default()).entry();
        let after = self.blocks.partition_point(|it| first(it).is_some_and(|first| first.key <= key));
        after.saturating_sub(1)
    }

    /// Returns the place of a form in [`Block::forms`]; `None` if it is not known.
    pub(super) fn form(&self, compression: Compression) -> Option<usize> {
        self.forms.iter().position(|it| *it == compression)
    }

    /// Writes it as bytes that end with their own sum.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        bytes::write(self)
    }

    /// Reads its bytes; `None` if they are not whole.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        bytes::read(bytes)
    }

    /// Reads which store a table needs, from the beginning of its bytes.
    pub(super) fn store_of(beginning: &[u8]) -> Option<u64> {
        bytes::store(beginning)
    }
}

#[cfg(test)]
mod tests;
