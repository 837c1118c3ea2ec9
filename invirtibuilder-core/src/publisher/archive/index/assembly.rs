//! A changed index put together: what is there is copied, and what is not is compressed.
//!
//! Nothing is held in memory but what is new and one piece of what is copied. What is copied is checked while it is
//! copied. Never gives a file its name.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::super::ArchiveError;
use super::super::blocks::Part;
use super::super::compression::{Compression, Encoded};
use super::super::stanza::Key;
use super::super::table::{Form, HashState, KeyRef, Span, Table};
use super::super::texts::{self, Store};
use super::copying::{Original, Output};
use super::{Published, Sum, Workplace};
use crate::control::hex;
use crate::durable::NewFile;

/// How many blocks are compressed before they are written.
const BATCH: usize = 64;

/// An index to be published.
#[derive(Debug)]
pub(in super::super) struct Built {
    pub(in super::super) table: Table,
    /// Of the text.
    pub(in super::super) text: Sum,
    /// The files by hash, in the order of the table's forms. They are written, and neither synced nor named.
    pub(in super::super) files: Vec<BuiltFile>,
    /// Whether its texts are in another store than they were.
    pub(in super::super) has_moved: bool,
}

/// One compressed form of an index to be published.
#[derive(Debug)]
pub(in super::super) struct BuiltFile {
    pub(in super::super) compression: Compression,
    pub(in super::super) sum: Sum,
    pub(in super::super) file: NewFile,
}

impl Built {
    /// Returns the sum of the uncompressed text (`""`) or of the file with an ending such as `.gz`.
    pub(in super::super) fn sum(&self, ending: &str) -> Option<&Sum> {
        let file = || self.files.iter().find(|it| it.compression.ending() == ending);
        if ending.is_empty() { Some(&self.text) } else { file().map(|it| &it.sum) }
    }

    /// Returns the sum that the table is named by.
    pub(in super::super) fn table_name(&self) -> Option<&str> {
        self.files.first().map(|it| it.sum.sha256.as_str())
    }
}

/// A block of the index to be published.
#[derive(Debug)]
enum Piece {
    /// One that was there before.
    Old(usize),
    /// A new one: its text, and its entries' keys and lengths.
    New { text: String, entries: Vec<(Key, usize)> },
}

/// The text of the index to be published.
#[derive(Debug)]
struct Texts {
    store: u64,
    blocks: Vec<(Span, HashState)>,
    sum: Sum,
}

/// Makes an index of these blocks.
pub(super) fn assemble(
    old: &Published,
    parts: Vec<Part>,
    place: Workplace<'_>,
) -> Result<Built, ArchiveError> {
    let pieces: Vec<Piece> = parts.into_iter().map(|it| piece(old, it)).collect();
    let mut formats = place.formats.to_vec();
    formats.sort();
    formats.dedup();
    let (texts, forms) = std::thread::scope(|scope| {
        let pieces = &pieces;
        let form = |it: &Compression| {
            let compression = *it;
            scope.spawn(move || write_form(old, pieces, compression, place.directory))
        };
        let forms: Vec<_> = formats.iter().map(form).collect();
        let texts = hash_texts(old, pieces, place);
        let join = |it: std::thread::ScopedJoinHandle<'_, Result<_, _>>| {
            it.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
        };
        let forms: Result<Vec<(BuiltFile, Vec<Form>)>, ArchiveError> = forms.into_iter().map(join).collect();
        Ok::<_, ArchiveError>((texts?, forms?))
    })?;
    let (files, forms): (Vec<_>, Vec<_>) = forms.into_iter().unzip();
    let mut table = Table::new(formats, texts.store, false);
    for (at, (piece, (span, state))) in pieces.iter().zip(texts.blocks).enumerate() {
        let forms = forms.iter().filter_map(|it| it.get(at).copied()).collect();
        match piece {
            Piece::Old(number) => table.push_kept((&old.table, *number), span, state, forms),
            Piece::New { entries, .. } => {
                let entries = entries.iter().map(|it| (KeyRef::of(&it.0), it.1));
                table.push(entries, span, state, forms).map_err(|e| old.bad(e))?;
            }
        }
    }
    let has_moved = table.store != old.table.store;
    Ok(Built { table, text: texts.sum, files, has_moved })
}

fn piece(old: &Published, part: Part) -> Piece {
    match part {
        Part::Old(number) => Piece::Old(number),
        Part::New(stanzas) => {
            let separator = old.layout.separator();
            let text = stanzas.iter().flat_map(|it| [it.text.as_str(), separator]).collect();
            let entries = stanzas.into_iter().map(|it| (it.key, it.text.len() + separator.len())).collect();
            Piece::New { text, entries }
        }
    }
}

/// Hashes the text from the first block on that changed, and keeps what is new of it in a store.
fn hash_texts(old: &Published, pieces: &[Piece], place: Workplace<'_>) -> Result<Texts, ArchiveError> {
    let _span = tracing::debug_span!("hash the text").entered();
    let length = |it: &Piece| match it {
        Piece::Old(number) => old.table.blocks.get(*number).map_or(0, |it| it.text.length),
        Piece::New { text, .. } => text.len() as u64,
    };
    let length = pieces.iter().map(length).sum();
    let kept = place.stores.open(old.table.store, length);
    let is_kept = kept.is_some();
    let mut store = kept.map_or_else(|| place.stores.create(), Ok)?;
    // Where a store is begun, the old one may still be good for reading.
    let from = if is_kept { None } else { place.stores.open_for_reading(old.table.store) };
    let (mut hash, mut is_prefix) = (Sha256::new(), is_kept);
    let (mut blocks, mut buffer) = (Vec::with_capacity(pieces.len()), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        let was_prefix = is_prefix;
        is_prefix &= matches!(piece, Piece::Old(number) if *number == at);
        if was_prefix && !is_prefix && at > 0 {
            let last = old.table.blocks.get(at - 1).and_then(|it| it.state.resume());
            hash = last.ok_or_else(|| old.bad("has a table that is not whole"))?;
        }
        match piece {
            Piece::Old(number) => {
                let block =
                    old.table.blocks.get(*number).ok_or_else(|| old.bad("is shorter than its table"))?;
                if is_prefix {
                    // Up to the first change the text is what it was, and so is its hash.
                    blocks.push((block.text, block.state.clone()));
                    continue;
                }
                let found = if is_kept {
                    store.read(block.text, &mut buffer).is_some()
                } else {
                    from.as_ref().is_some_and(|it| texts::read(it, block.text, &mut buffer).is_some())
                };
                if !found {
                    buffer = old.text(*number)?;
                }
                hash.update(&buffer);
                let span = if is_kept && found { block.text } else { store.add(&buffer)? };
                blocks.push((span, HashState::of(&hash)));
            }
            Piece::New { text, .. } => {
                hash.update(text.as_bytes());
                blocks.push((store.add(text.as_bytes())?, HashState::of(&hash)));
            }
        }
    }
    if is_prefix && let Some((_, state)) = blocks.last() {
        hash = state.resume().ok_or_else(|| old.bad("has a table that is not whole"))?;
    }
    let Store { id, .. } = store;
    Ok(Texts { store: id, blocks, sum: Sum { sha256: hex(&hash.finalize()), size: length } })
}

/// Writes one compressed form.
fn write_form(
    old: &Published,
    pieces: &[Piece],
    compression: Compression,
    directory: &Path,
) -> Result<(BuiltFile, Vec<Form>), ArchiveError> {
    let _span = tracing::debug_span!("compress, copy and hash", form = %compression).entered();
    if let Some(original) = Original::open(old, compression) {
        match write_with(old, pieces, compression, directory, Some(original)) {
            Err(error) if old.main().is_some_and(|it| it.0 != compression) => {
                tracing::warn!(error = %error, "an index is lost and will be made again");
            }
            other => return other,
        }
    }
    write_with(old, pieces, compression, directory, None)
}

fn write_with(
    old: &Published,
    pieces: &[Piece],
    compression: Compression,
    directory: &Path,
    mut original: Option<Original<'_>>,
) -> Result<(BuiltFile, Vec<Form>), ArchiveError> {
    let mut output = Output::create(&directory.join(format!("index{}", compression.ending())))?;
    let mut forms: Vec<Form> = Vec::with_capacity(pieces.len());
    let mut rest = pieces;
    match &mut original {
        Some(original) => original.copy_to(original.header(), &mut output)?,
        None => output.write(&compression.header())?,
    }
    while let Some(first) = rest.first() {
        if let (Some(original), Piece::Old(begin)) = (&mut original, first) {
            let run = rest.iter().zip(*begin..).take_while(|(it, at)| matches!(it, Piece::Old(n) if n == at));
            let (run, after) = rest.split_at(run.count());
            forms.extend(original.forms(*begin..*begin + run.len()));
            original.skip_to(original.begin(*begin), &output)?;
            original.copy_to(original.begin(*begin + run.len()), &mut output)?;
            rest = after;
            continue;
        }
        let is_copied = |it: &&Piece| original.is_some() && matches!(it, Piece::Old(_));
        let count = rest.iter().take(BATCH).take_while(|it| !is_copied(it)).count();
        let (batch, after) = rest.split_at(count);
        if let Some(original) = &mut original {
            original.diverge(&output);
        }
        for encoded in compress_all(old, batch, compression)? {
            output.write(&encoded.bytes)?;
            forms.push(Form { unpadded: encoded.unpadded, sha256: Sha256::digest(&encoded.bytes).into() });
        }
        rest = after;
    }
    if let Some(original) = original {
        original.finish(&output)?;
    }
    let length = |(piece, form): (&Piece, &Form)| match piece {
        Piece::Old(number) => (form.unpadded, old.table.blocks.get(*number).map_or(0, |it| it.text.length)),
        Piece::New { text, .. } => (form.unpadded, text.len() as u64),
    };
    let sizes: Vec<(u64, u64)> = pieces.iter().zip(&forms).map(length).collect();
    output.write(&compression.trailer(&sizes).map_err(|e| old.bad(e))?)?;
    let (file, sum) = output.finish();
    Ok((BuiltFile { compression, sum, file }, forms))
}

/// Compresses blocks, side by side.
fn compress_all(
    old: &Published,
    batch: &[Piece],
    compression: Compression,
) -> Result<Vec<Encoded>, ArchiveError> {
    let one = |piece: &Piece| {
        let encoded = match piece {
            Piece::New { text, .. } => compression.encode(text.as_bytes()),
            Piece::Old(number) => compression.encode(&old.text(*number)?),
        };
        encoded.map_err(|e| old.bad(e))
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(batch.len());
    if workers < 2 {
        return batch.iter().map(one).collect();
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(batch.len())));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((at, piece)) = numbered(batch, &next) {
                    let encoded = one(piece);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, encoded));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|it| it.0);
    done.into_iter().map(|it| it.1).collect()
}

fn numbered<'a>(batch: &'a [Piece], next: &AtomicUsize) -> Option<(usize, &'a Piece)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, batch.get(at)?))
}
