//! The compressed forms of an index, kept as blocks so that a change costs what changed.
//!
//! The text is cut into blocks where the paragraphs themselves say so (content-defined chunking), so the same
//! paragraphs give the same bytes, whatever was there before. Each block is one gzip member and one xz block.
//! Never reads or writes a file.

use std::io::{self, Read, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::stanza::{Key, Stanza, split};
use super::table::{Block, HashState, Table};
use super::xz;
use crate::control::hex;

/// A block ends when its text has this many bytes, even if no paragraph asks for it.
const LONGEST: u64 = 96 << 10;
/// One paragraph in this many begins a block.
const ONE_IN: u8 = 64;

/// The size and the SHA-256 sum of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Sum {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { sha256: hex(&Sha256::digest(bytes)), size: bytes.len() as u64 }
    }
}

/// An index as it is published: its table and its compressed forms.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) table: Arc<Table>,
    pub(super) gz: Vec<u8>,
    /// `None` if it is lost or damaged; then all of it is compressed again.
    pub(super) xz: Option<Vec<u8>>,
    /// Whether its blocks are not cut as this module cuts them, because something else made it.
    foreign: bool,
}

/// An index to be published.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) table: Table,
    /// Of the text.
    pub(super) text: Sum,
    pub(super) gz: Vec<u8>,
    pub(super) gz_sum: Sum,
    pub(super) xz: Vec<u8>,
    pub(super) xz_sum: Sum,
}

/// What becomes of an index: all paragraphs of one source package are replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    /// The source package whose paragraphs go; `None` if none do.
    pub(super) source: Option<&'a str>,
    /// The paragraphs that come.
    pub(super) insert: &'a [Stanza],
}

impl Change<'_> {
    fn removes(&self, key: &Key) -> bool {
        self.source == Some(key.source())
    }
}

impl Published {
    /// Takes an index whose table is known.
    pub(super) fn new(table: Arc<Table>, gz: Vec<u8>, xz: Option<Vec<u8>>) -> Self {
        Self { table, gz, xz, foreign: false }
    }

    /// Reads an index without its table, from its gzip members and the index of its xz stream.
    ///
    /// # Errors
    /// It is not an index.
    pub(super) fn recover(gz: Vec<u8>, xz: Option<Vec<u8>>) -> io::Result<Self> {
        let mut sizes = xz.as_deref().and_then(xz::read_index).unwrap_or_default().into_iter();
        let (mut rest, mut blocks, mut matches) = (gz.as_slice(), Vec::new(), xz.is_some());
        let (mut hash, mut foreign) = (Sha256::new(), false);
        while !rest.is_empty() {
            let mut decoder = flate2::bufread::GzDecoder::new(rest);
            let mut text = String::new();
            decoder.read_to_string(&mut text)?;
            let after = decoder.into_inner();
            let member = rest.get(..rest.len() - after.len()).unwrap_or_default();
            rest = after;
            let keys: Vec<Key> = split(&text).filter_map(Stanza::parse).map(|it| it.key).collect();
            if keys.is_empty() {
                continue;
            }
            let text_length = text.len() as u64;
            let (xz_unpadded, uncompressed) = sizes.next().unwrap_or_default();
            matches &= uncompressed == text_length;
            foreign |= keys.iter().skip(1).any(begins_block);
            hash.update(text.as_bytes());
            let (gz, text_state) = (Sum::of(member), HashState::of(&hash));
            let (gz_length, gz_sha256) = (gz.size, gz.sha256);
            blocks.push(Block { keys, text_length, gz_length, gz_sha256, xz_unpadded, text_state });
        }
        matches &= sizes.next().is_none();
        if !blocks.iter().flat_map(|it| &it.keys).is_sorted() {
            return Err(io::Error::other("it is not sorted by package"));
        }
        let xz = xz.filter(|_| matches && !foreign);
        Ok(Self { table: Arc::new(Table { blocks }), gz, xz, foreign })
    }

    /// Returns the paragraphs of a source package.
    pub(super) fn entries(&self, source: &str) -> io::Result<Vec<Stanza>> {
        let mut found = Vec::new();
        for (at, block) in self.table.blocks.iter().enumerate() {
            if block.keys.iter().any(|it| it.source() == source) {
                let stanzas = self.stanzas(at)?;
                found.extend(stanzas.into_iter().filter(|it| it.key.source() == source));
            }
        }
        Ok(found)
    }

    /// Returns all paragraphs.
    pub(super) fn all(&self) -> io::Result<Vec<Stanza>> {
        let blocks: io::Result<Vec<_>> = (0..self.table.blocks.len()).map(|at| self.stanzas(at)).collect();
        Ok(blocks?.concat())
    }

    /// Returns the paragraphs of a block.
    fn stanzas(&self, block: usize) -> io::Result<Vec<Stanza>> {
        Ok(split(&self.text(block)?).filter_map(Stanza::parse).collect())
    }

    fn text(&self, block: usize) -> io::Result<String> {
        let begin = self.table.gz_offset(block);
        let length = self.table.blocks.get(block).map_or(0, |it| it.gz_length);
        decode_member(slice(&self.gz, begin, length)?)
    }

    /// Makes the index that the change leads to, even if it is the one that is there.
    pub(super) fn rebuild(&self, change: Change<'_>) -> io::Result<Built> {
        let parts = self.parts(change, &sorted(change.insert))?;
        self.assemble(&parts)
    }

    /// Cuts the changed text into blocks, and tells which of them are there already.
    fn parts(&self, change: Change<'_>, insert: &[&Stanza]) -> io::Result<Vec<Part>> {
        let blocks = &self.table.blocks;
        let is_dirty = |it: &Block| self.foreign || it.keys.iter().any(|key| change.removes(key));
        let mut dirty: Vec<bool> = blocks.iter().map(is_dirty).collect();
        for stanza in insert {
            if let Some(it) = dirty.get_mut(self.table.block_for(&stanza.key)) {
                *it = true;
            }
        }
        // Where a block loses its first paragraph, what is left may belong to the block before.
        for (at, block) in blocks.iter().enumerate().skip(1) {
            if block.keys.first().is_some_and(|key| change.removes(key))
                && let Some(it) = dirty.get_mut(at - 1)
            {
                *it = true;
            }
        }
        let mut cutter = Cutter::default();
        let mut insert = insert.iter().copied().peekable();
        for (at, is_dirty) in dirty.iter().enumerate() {
            let first = blocks.get(at).and_then(|it| it.keys.first());
            if !is_dirty && first.is_some_and(|it| cutter.would_cut(it)) {
                cutter.cut();
            }
            if !is_dirty && cutter.open.is_empty() {
                cutter.parts.push(Part::Old(at));
                continue;
            }
            let until = blocks.get(at + 1).and_then(|it| it.keys.first());
            for stanza in self.stanzas(at)?.into_iter().filter(|it| !change.removes(&it.key)) {
                while let Some(new) = insert.next_if(|it| it.key < stanza.key) {
                    cutter.push(new.clone());
                }
                cutter.push(stanza);
            }
            while let Some(new) = insert.next_if(|it| until.is_none_or(|until| it.key < *until)) {
                cutter.push(new.clone());
            }
        }
        insert.for_each(|new| cutter.push(new.clone()));
        cutter.cut();
        Ok(cutter.parts)
    }

    /// Puts the blocks together: what is there is copied, and what is not is compressed.
    fn assemble(&self, parts: &[Part]) -> io::Result<Built> {
        let mut assembly = Assembly::new(self.gz.len());
        let mut places = Places::default();
        let old: Vec<(&Block, Place)> = self.table.blocks.iter().map(|it| (it, places.next(it))).collect();
        let mut is_prefix = true;
        for (at, part) in parts.iter().enumerate() {
            is_prefix &= matches!(part, Part::Old(number) if *number == at);
            match part {
                Part::Old(number) => {
                    let (block, place) = old.get(*number).ok_or_else(shorter)?;
                    let gz = slice(&self.gz, place.gz, block.gz_length)?;
                    let xz = self.xz.as_ref();
                    let xz = xz.map(|it| slice(it, place.xz, xz::padded(block.xz_unpadded))).transpose()?;
                    // Up to the first change the text is what it was, and so is its hash.
                    let state = if is_prefix { block.text_state.resume() } else { None };
                    assembly.keep(block, gz, xz, state)?;
                }
                Part::New(stanzas) => assembly.add(stanzas)?,
            }
        }
        assembly.finish()
    }
}

/// An index that is being put together.
#[derive(Debug)]
struct Assembly {
    blocks: Vec<Block>,
    gz: Vec<u8>,
    xz: Vec<u8>,
    text: Sha256,
}

impl Assembly {
    fn new(capacity: usize) -> Self {
        Self { blocks: Vec::new(), gz: Vec::with_capacity(capacity), xz: xz::header(), text: Sha256::new() }
    }

    /// Adds a block that is compressed already; `state` is where hashing is after it, if nothing before it changed.
    fn keep(&mut self, old: &Block, gz: &[u8], xz: Option<&[u8]>, state: Option<Sha256>) -> io::Result<()> {
        let mut block = old.clone();
        let text = if state.is_none() || xz.is_none() { Some(decode_member(gz)?) } else { None };
        if let Some(state) = state {
            self.text = state;
        } else {
            self.text.update(text.as_deref().unwrap_or_default());
            block.text_state = HashState::of(&self.text);
        }
        self.gz.extend_from_slice(gz);
        if let Some(xz) = xz {
            self.xz.extend_from_slice(xz);
        } else {
            block.xz_unpadded = self.add_xz(text.as_deref().unwrap_or_default())?;
        }
        self.blocks.push(block);
        Ok(())
    }

    /// Adds a block that has to be compressed.
    fn add(&mut self, stanzas: &[Stanza]) -> io::Result<()> {
        let text: String = stanzas.iter().flat_map(|it| [it.text.as_str(), "\n"]).collect();
        self.text.update(text.as_bytes());
        let begin = self.gz.len();
        encode_member(&mut self.gz, text.as_bytes())?;
        let member = Sum::of(self.gz.get(begin..).unwrap_or_default());
        let xz_unpadded = self.add_xz(&text)?;
        self.blocks.push(Block {
            keys: stanzas.iter().map(|it| it.key.clone()).collect(),
            text_length: text.len() as u64,
            gz_length: member.size,
            gz_sha256: member.sha256,
            xz_unpadded,
            text_state: HashState::of(&self.text),
        });
        Ok(())
    }

    fn add_xz(&mut self, text: &str) -> io::Result<u64> {
        let encoded = xz::encode_block(text.as_bytes())?;
        self.xz.extend_from_slice(&encoded.bytes);
        Ok(encoded.unpadded)
    }

    fn finish(self) -> io::Result<Built> {
        let Self { blocks, mut gz, mut xz, text } = self;
        if blocks.is_empty() {
            encode_member(&mut gz, b"")?;
        }
        xz.extend(xz::trailer(blocks.iter().map(|it| (it.xz_unpadded, it.text_length))));
        let size = blocks.iter().map(|it| it.text_length).sum();
        let text = Sum { sha256: hex(&text.finalize()), size };
        let (gz_sum, xz_sum) = (Sum::of(&gz), Sum::of(&xz));
        Ok(Built { table: Table { blocks }, text, gz, gz_sum, xz, xz_sum })
    }
}

fn sorted(stanzas: &[Stanza]) -> Vec<&Stanza> {
    let mut sorted: Vec<&Stanza> = stanzas.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted
}

/// A block of a changed index.
#[derive(Debug)]
enum Part {
    /// One that was there before.
    Old(usize),
    /// One that has to be compressed.
    New(Vec<Stanza>),
}

/// Where the gzip member and the xz block of a block begin.
#[derive(Clone, Copy, Debug)]
struct Place {
    gz: u64,
    xz: u64,
}

/// The places of blocks that follow each other.
#[derive(Debug)]
struct Places(Place);

impl Default for Places {
    fn default() -> Self {
        Self(Place { gz: 0, xz: xz::HEADER_LENGTH as u64 })
    }
}

impl Places {
    fn next(&mut self, block: &Block) -> Place {
        let place = self.0;
        self.0.gz += block.gz_length;
        self.0.xz += xz::padded(block.xz_unpadded);
        place
    }
}

/// Cuts paragraphs into blocks.
#[derive(Debug, Default)]
struct Cutter {
    parts: Vec<Part>,
    open: Vec<Stanza>,
    length: u64,
}

impl Cutter {
    /// Returns whether a paragraph would begin another block, when some are open.
    fn would_cut(&self, key: &Key) -> bool {
        !self.open.is_empty() && (self.length >= LONGEST || begins_block(key))
    }

    fn push(&mut self, stanza: Stanza) {
        if self.would_cut(&stanza.key) {
            self.cut();
        }
        self.length += stanza.text.len() as u64 + 1;
        self.open.push(stanza);
    }

    fn cut(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(Part::New(std::mem::take(&mut self.open)));
        }
        self.length = 0;
    }
}

/// Returns whether the paragraph always begins a block: a property of its name alone.
fn begins_block(key: &Key) -> bool {
    let digest =
        Sha256::new().chain_update(key.name()).chain_update(" ").chain_update(key.source()).finalize();
    digest.first().is_some_and(|it| it % ONE_IN == 0)
}

fn slice(bytes: &[u8], begin: u64, length: u64) -> io::Result<&[u8]> {
    let range = usize::try_from(begin).ok().zip(usize::try_from(length).ok());
    let found = range.and_then(|(begin, length)| bytes.get(begin..begin.checked_add(length)?));
    found.ok_or_else(shorter)
}

fn shorter() -> io::Error {
    io::Error::other("it is shorter than its table says")
}

fn encode_member(into: &mut Vec<u8>, text: &[u8]) -> io::Result<()> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(into, flate2::Compression::default());
    encoder.write_all(text)?;
    encoder.finish().map(drop)
}

/// Decompresses one gzip member, or several.
pub(super) fn decode_member(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    flate2::bufread::MultiGzDecoder::new(bytes).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
