//! How an index is cut into blocks, so that a change costs what changed.
//!
//! The text is cut where the entries themselves say so (content-defined chunking), so the same entries give the
//! same blocks, whatever was there before. Never reads or writes a file.

use sha2::{Digest, Sha256};

use super::stanza::Stanza;
use super::table::KeyRef;

/// A block ends when its text has this many bytes, even if no entry asks for it.
const LONGEST: u64 = 96 << 10;
/// One entry in this many begins a block.
const ONE_IN: u8 = 64;

/// A block of a changed index.
#[derive(Debug)]
pub(super) enum Part {
    /// One that was there before.
    Old(usize),
    /// One that has to be compressed.
    New(Vec<Stanza>),
}

/// Cuts entries into blocks.
#[derive(Debug)]
pub(super) struct Cutter {
    parts: Vec<Part>,
    open: Vec<Stanza>,
    length: u64,
    /// The bytes between two entries.
    separator: u64,
}

impl Cutter {
    /// Begins with entries that are so many bytes apart.
    pub(super) fn new(separator: usize) -> Self {
        Self { parts: Vec::new(), open: Vec::new(), length: 0, separator: separator as u64 }
    }

    /// Returns whether the block that was begun last is not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Returns whether an entry would begin another block, when one is open.
    pub(super) fn would_cut(&self, key: KeyRef<'_>) -> bool {
        self.is_open() && (self.length >= LONGEST || begins_block(key))
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, stanza: Stanza) {
        if self.would_cut(KeyRef::of(&stanza.key)) {
            self.cut();
        }
        self.length += stanza.text.len() as u64 + self.separator;
        self.open.push(stanza);
    }

    /// Adds a block that was there before. None is open.
    pub(super) fn keep(&mut self, block: usize) {
        self.parts.push(Part::Old(block));
    }

    /// Ends the block that is open, if one is.
    pub(super) fn cut(&mut self) {
        if self.is_open() {
            self.parts.push(Part::New(std::mem::take(&mut self.open)));
        }
        self.length = 0;
    }

    /// Returns all blocks.
    pub(super) fn finish(mut self) -> Vec<Part> {
        self.cut();
        self.parts
    }
}

/// Returns whether an entry always begins a block: a property of its key alone.
pub(super) fn begins_block(key: KeyRef<'_>) -> bool {
    let digest =
        Sha256::new().chain_update(key.name()).chain_update(" ").chain_update(key.source()).finalize();
    digest.first().is_some_and(|it| it % ONE_IN == 0)
}
