//! A lost table made again from the published files.

use sha2::{Digest, Sha256};

use super::super::ArchiveError;
use super::super::blocks::begins_block;
use super::super::compression::{Compression, Found};
use super::super::stanza::{Key, Stanza, field, split};
use super::super::table::{Form, HashState, KeyRef, Sha256Sum, Span, Table};
use super::{IndexFile, Layout, Sources};

/// A file that was read, and what it consists of.
#[derive(Debug)]
pub(super) struct FoundForm {
    compression: Compression,
    blocks: Vec<Found>,
    sums: Vec<Sha256Sum>,
}

impl FoundForm {
    /// Returns whether the other has the same texts.
    pub(super) fn has_the_blocks_of(&self, other: &Self) -> bool {
        self.blocks.iter().map(|it| &it.text).eq(other.blocks.iter().map(|it| &it.text))
    }

    fn form(&self, block: usize) -> Option<Form> {
        let (found, sha256) = self.blocks.get(block).zip(self.sums.get(block))?;
        Some(Form { unpadded: found.unpadded, sha256: *sha256 })
    }
}

/// Reads a file, and finds its blocks and their sums.
pub(super) fn read_form(compression: Compression, file: &IndexFile) -> Result<FoundForm, ArchiveError> {
    let bytes = file.read()?;
    let blocks = compression.blocks(&bytes).map_err(|e| ArchiveError::damaged(&file.path, e))?;
    let (mut sums, mut begin) = (Vec::new(), compression.header().len());
    for block in &blocks {
        let end = begin + usize::try_from(compression.padded(block.unpadded)).unwrap_or_default();
        sums.push(Sha256::digest(bytes.get(begin..end).unwrap_or_default()).into());
        begin = end;
    }
    Ok(FoundForm { compression, blocks, sums })
}

/// Makes the table of files that have the same blocks.
///
/// # Errors
/// Why the first of them is not such an index.
pub(super) fn table_of(layout: Layout, forms: &[FoundForm], sources: &Sources) -> Result<Table, String> {
    let separator = layout.separator();
    let mut table = Table::new(forms.iter().map(|it| it.compression).collect(), 0, false);
    let (mut hash, mut previous): (Sha256, Option<Key>) = (Sha256::new(), None);
    let blocks = forms.first().map(|it| it.blocks.as_slice()).unwrap_or_default();
    for (number, block) in blocks.iter().enumerate() {
        let text = std::str::from_utf8(&block.text).map_err(|_| "is not UTF-8".to_owned())?;
        let stanzas = read_entries(layout, text, sources)?;
        for stanza in &stanzas {
            if previous.as_ref().is_some_and(|it| *it > stanza.key) {
                return Err("is not sorted by package".to_owned());
            }
            previous = Some(stanza.key.clone());
        }
        let pieces = stanzas.iter().flat_map(|it| [it.text.as_str(), separator]);
        table.foreign |= !pieces.flat_map(str::bytes).eq(text.bytes());
        table.foreign |= stanzas.iter().skip(1).any(|it| begins_block(KeyRef::of(&it.key)));
        hash.update(text.as_bytes());
        let entries = stanzas.iter().map(|it| (KeyRef::of(&it.key), it.text.len() + separator.len()));
        // The text is in no store yet.
        let span = Span { offset: u64::MAX, length: text.len() as u64, crc: 0 };
        let forms = forms.iter().filter_map(|it| it.form(number)).collect();
        table.push(entries, span, HashState::of(&hash), forms).map_err(|e| e.to_string())?;
    }
    if table.foreign && layout != Layout::Paragraphs {
        return Err("is not as this archive makes it, and its table is lost".to_owned());
    }
    Ok(table)
}

/// Returns the paragraphs of a text.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = Stanza> {
    split(text).filter_map(Stanza::parse)
}

fn read_entries(layout: Layout, text: &str, sources: &Sources) -> Result<Vec<Stanza>, String> {
    let key = |name: &str| match sources.get(name) {
        Some(source) => Ok(Key::new(name, source)),
        None => Err(format!("lists {name}, which no Packages lists, and its table is lost")),
    };
    match layout {
        Layout::Paragraphs => Ok(paragraphs(text).collect()),
        Layout::Descriptions => split(text)
            .map(|it| {
                Ok(Stanza { key: key(field(it, "Package").unwrap_or_default())?, text: format!("{it}\n") })
            })
            .collect(),
        Layout::Lines => {
            let mut entries: Vec<Stanza> = Vec::new();
            for line in text.split_inclusive('\n') {
                // `path<blanks>[[area/]section/]package` (Debian's repository format).
                let location = line.rsplit(char::is_whitespace).find(|it| !it.is_empty()).unwrap_or_default();
                let name = location.rsplit('/').next().unwrap_or_default();
                match entries.last_mut() {
                    Some(last) if last.key.name() == name => last.text.push_str(line),
                    _ => entries.push(Stanza { key: key(name)?, text: line.to_owned() }),
                }
            }
            Ok(entries)
        }
    }
}
