//! What a compressed index consists of: which paragraphs are in which block, and where the block is.
//!
//! A table describes one `.gz` file and is named by that file's SHA-256 sum, so it is right for as long as the
//! published `InRelease` names that sum, whatever else happened. It is derived from the file and may be lost.

use std::fmt::Write as _;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

use super::stanza::Key;
use crate::control::hex;

/// The first line of a table's text: its format.
const FORMAT: &str = "invirtibuilder index table 1";

/// A run of paragraphs that is compressed on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its paragraphs, in their order.
    pub(super) keys: Vec<Key>,
    /// The bytes of its text.
    pub(super) text_length: u64,
    /// The bytes of its gzip member.
    pub(super) gz_length: u64,
    /// The SHA-256 sum of its gzip member.
    pub(super) gz_sha256: String,
    /// The bytes of its xz block, without padding.
    pub(super) xz_unpadded: u64,
    /// Where hashing the index's text is after this block.
    pub(super) text_state: HashState,
}

/// The state of a SHA-256 computation, in hexadecimal digits, from which it can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HashState(String);

impl HashState {
    pub(super) fn of(hash: &Sha256) -> Self {
        Self(hex(&hash.serialize()))
    }

    /// Returns the computation; `None` if this is not the state of one.
    pub(super) fn resume(&self) -> Option<Sha256> {
        let digits = self.0.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> =
            digits.map(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok()).collect();
        let state = SerializedState::<Sha256>::try_from(bytes?.as_slice()).ok()?;
        Sha256::deserialize(&state).ok()
    }
}

/// The blocks of an index, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) blocks: Vec<Block>,
}

impl Table {
    /// Returns the number of the block that has a key, or would have it.
    pub(super) fn block_for(&self, key: &Key) -> usize {
        self.blocks.partition_point(|it| it.keys.first().is_some_and(|first| first <= key)).saturating_sub(1)
    }

    /// Returns where the gzip member of a block begins.
    pub(super) fn gz_offset(&self, block: usize) -> u64 {
        self.blocks.iter().take(block).map(|it| it.gz_length).sum()
    }

    /// Writes it as text that ends with its own checksum.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{FORMAT}\n");
        for block in &self.blocks {
            let Block { text_length, gz_length, gz_sha256, xz_unpadded, text_state, .. } = block;
            let state = &text_state.0;
            let _ = writeln!(text, "B {text_length} {gz_length} {gz_sha256} {xz_unpadded} {state}");
            for key in &block.keys {
                let _ = writeln!(text, "K {} {}", key.name(), key.source());
            }
        }
        let sum = hex(&Sha256::digest(text.as_bytes()));
        let _ = writeln!(text, "E {sum}");
        text
    }

    /// Reads its text; `None` if that is not whole.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let at = text.trim_end().rfind('\n')? + 1;
        let (body, end) = text.split_at_checked(at)?;
        let mut lines = body.lines();
        if lines.next()? != FORMAT || end.trim_end() != format!("E {}", hex(&Sha256::digest(body.as_bytes())))
        {
            return None;
        }
        let mut blocks: Vec<Block> = Vec::new();
        for line in lines {
            let mut words = line.split(' ');
            match words.next()? {
                "B" => blocks.push(Block {
                    keys: Vec::new(),
                    text_length: words.next()?.parse().ok()?,
                    gz_length: words.next()?.parse().ok()?,
                    gz_sha256: words.next()?.to_owned(),
                    xz_unpadded: words.next()?.parse().ok()?,
                    text_state: HashState(words.next()?.to_owned()),
                }),
                "K" => blocks.last_mut()?.keys.push(Key::new(words.next()?, words.next()?)),
                _ => return None,
            }
        }
        Some(Self { blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let block = |keys: &[(&str, &str)]| Block {
            keys: keys.iter().map(|it| Key::new(it.0, it.1)).collect(),
            text_length: 7,
            gz_length: 5,
            gz_sha256: "ab".to_owned(),
            xz_unpadded: 3,
            text_state: HashState::of(&Sha256::new()),
        };
        Table { blocks: vec![block(&[("a", "a"), ("c", "x")]), block(&[("e", "e")])] }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(Table::parse(&table().to_text()), Some(table()));
        assert_eq!(Table::parse(&Table::default().to_text()), Some(Table::default()));
    }

    #[test]
    fn a_table_that_was_cut_or_changed_is_no_table() {
        let text = table().to_text();
        assert_eq!(Table::parse(&text[..text.len() / 2]), None);
        assert_eq!(Table::parse(&text.replace("K e", "K f")), None);
        assert_eq!(Table::parse(""), None);
    }

    #[test]
    fn hashing_goes_on_where_it_was() {
        let state = HashState::of(&Sha256::new().chain_update("some text, "));
        let resumed = state.resume().unwrap().chain_update("and more");
        assert_eq!(resumed.finalize(), Sha256::digest("some text, and more"));
        assert!(HashState("0f".to_owned()).resume().is_none());
    }

    #[test]
    fn a_key_belongs_to_the_last_block_that_does_not_begin_after_it() {
        let at = |name| table().block_for(&Key::new(name, name));
        assert_eq!([at("0"), at("a"), at("d"), at("e"), at("z")], [0, 0, 0, 1, 1]);
    }
}
