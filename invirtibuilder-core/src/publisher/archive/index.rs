//! The compressed forms of an index, kept as blocks so that a change costs what changed.
//!
//! The text is cut into blocks where the paragraphs themselves say so (content-defined chunking), so the same
//! paragraphs give the same bytes, whatever was there before. Each block is one gzip member and one xz block.
//! Never reads or writes a file.

use std::io::{self, Read, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::stanza::{Key, Stanza, split};
use super::table::{Block, Table};
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
    /// Reads an index without its table, from its gzip members and the index of its xz stream.
    ///
    /// # Errors
    /// It is not an index.
    pub(super) fn recover(gz: Vec<u8>, xz: Option<Vec<u8>>) -> io::Result<Self> {
        let mut sizes = xz.as_deref().and_then(xz::read_index).unwrap_or_default().into_iter();
        let (mut rest, mut blocks, mut matches) = (gz.as_slice(), Vec::new(), xz.is_some());
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
            let gz = Sum::of(member);
            blocks.push(Block { keys, text_length, gz_length: gz.size, gz_sha256: gz.sha256, xz_unpadded });
        }
        matches &= sizes.next().is_none();
        if !blocks.iter().flat_map(|it| &it.keys).is_sorted() {
            return Err(io::Error::other("it is not sorted by package"));
        }
        Ok(Self { table: Arc::new(Table { blocks }), gz, xz: xz.filter(|_| matches) })
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

    /// Returns the paragraphs of binary packages of one name.
    pub(super) fn named(&self, name: &str) -> io::Result<Vec<Stanza>> {
        let mut found = Vec::new();
        for (at, block) in self.table.blocks.iter().enumerate() {
            if block.keys.iter().any(|it| it.name() == name) {
                found.extend(self.stanzas(at)?.into_iter().filter(|it| it.key.name() == name));
            }
        }
        Ok(found)
    }

    /// Makes the index that the change leads to; `None` if it changes nothing.
    pub(super) fn change(&self, change: Change<'_>) -> io::Result<Option<Built>> {
        let insert = sorted(change.insert);
        let mut old: Vec<Stanza> = change.source.map(|it| self.entries(it)).transpose()?.unwrap_or_default();
        old.sort_by(|a, b| a.key.cmp(&b.key));
        if old.iter().eq(insert.iter().copied()) && self.xz.is_some() {
            return Ok(None);
        }
        self.rebuild(change).map(Some)
    }

    /// Makes the index that the change leads to, even if it is the one that is there.
    pub(super) fn rebuild(&self, change: Change<'_>) -> io::Result<Built> {
        let parts = self.parts(change, &sorted(change.insert))?;
        self.assemble(&parts)
    }

    /// Cuts the changed text into blocks, and tells which of them are there already.
    fn parts(&self, change: Change<'_>, insert: &[&Stanza]) -> io::Result<Vec<Part>> {
        let blocks = &self.table.blocks;
        let mut dirty: Vec<bool> =
            blocks.iter().map(|it| it.keys.iter().any(|key| change.removes(key))).collect();
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

    fn assemble(&self, parts: &[Part]) -> io::Result<Built> {
        let (mut gz, mut xz) = (Vec::with_capacity(self.gz.len()), xz::header());
        let mut text_sum = (Sha256::new(), 0);
        let mut blocks = Vec::with_capacity(parts.len());
        let mut places = Places::default();
        let old_places: Vec<(u64, u64)> = self.table.blocks.iter().map(|it| places.next(it)).collect();
        for part in parts {
            let (text, keys, known) = match part {
                Part::Old(at) => (self.text(*at)?, None, self.table.blocks.get(*at).zip(old_places.get(*at))),
                Part::New(stanzas) => {
                    let text = stanzas.iter().map(|it| format!("{}\n", it.text)).collect();
                    (text, Some(stanzas.iter().map(|it| it.key.clone()).collect()), None)
                }
            };
            text_sum.0.update(text.as_bytes());
            text_sum.1 += text.len() as u64;
            let gz_begin = gz.len();
            match known {
                Some((block, at)) => gz.extend_from_slice(slice(&self.gz, at.0, block.gz_length)?),
                None => encode_member(&mut gz, text.as_bytes())?,
            }
            let xz_unpadded = match (known, &self.xz) {
                (Some((block, at)), Some(old)) => {
                    xz.extend_from_slice(slice(old, at.1, xz::padded(block.xz_unpadded))?);
                    block.xz_unpadded
                }
                _ => {
                    let encoded = xz::encode_block(text.as_bytes())?;
                    xz.extend_from_slice(&encoded.bytes);
                    encoded.unpadded
                }
            };
            let member = Sum::of(gz.get(gz_begin..).unwrap_or_default());
            blocks.push(Block {
                keys: keys.or_else(|| known.map(|it| it.0.keys.clone())).unwrap_or_default(),
                text_length: text.len() as u64,
                gz_length: member.size,
                gz_sha256: member.sha256,
                xz_unpadded,
            });
        }
        if blocks.is_empty() {
            encode_member(&mut gz, b"")?;
        }
        xz.extend(xz::trailer(blocks.iter().map(|it| (it.xz_unpadded, it.text_length))));
        let text = Sum { sha256: hex(&text_sum.0.finalize()), size: text_sum.1 };
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

/// Where the gzip member and the xz block of each block begin.
#[derive(Debug)]
struct Places(u64, u64);

impl Default for Places {
    fn default() -> Self {
        Self(0, xz::HEADER_LENGTH as u64)
    }
}

impl Places {
    fn next(&mut self, block: &Block) -> (u64, u64) {
        let place = (self.0, self.1);
        self.0 += block.gz_length;
        self.1 += xz::padded(block.xz_unpadded);
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
    found.ok_or_else(|| io::Error::other("it is shorter than its table says"))
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
