//! An index as it is published: found by its table, read block by block, and changed.
//!
//! What it returns was read from the published files and has the sums that were published. Never writes a file
//! itself: [`assembly`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::ArchiveError;
use super::blocks::{Cutter, Part};
use super::compression::Compression;
use super::stanza::Stanza;
use super::table::{KeyRef, Table};
use super::texts::Stores;
use crate::control::hex;

mod assembly;
mod copying;
mod recovery;

pub(super) use assembly::Built;
use recovery::FoundForm;

/// The size and the SHA-256 sum of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::publisher) struct Sum {
    pub(in crate::publisher) sha256: String,
    pub(in crate::publisher) size: u64,
}

impl Sum {
    pub(in crate::publisher) fn of(bytes: &[u8]) -> Self {
        Self { sha256: hex(&Sha256::digest(bytes)), size: bytes.len() as u64 }
    }
}

/// How the entries of an index lie in its text, and where their keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Paragraphs, which name their package and its source: `Packages` and `Sources`.
    Paragraphs,
    /// Paragraphs that do not name their source: `Translation-en`. Only the table knows it.
    Descriptions,
    /// Lines that end with the name of their package, those of one package together: `Contents`. Only the table
    /// knows their source.
    Lines,
}

impl Layout {
    /// Returns what follows each entry.
    fn separator(self) -> &'static str {
        match self {
            Self::Paragraphs | Self::Descriptions => "\n",
            Self::Lines => "",
        }
    }
}

/// A file that an index is published in.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// What `InRelease` says of it.
    pub(super) sum: Sum,
}

impl IndexFile {
    /// Reads all of it, and checks that it is what `InRelease` says.
    pub(super) fn read(&self) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes).map_err(ArchiveError::read(&self.path))?;
        if Sum::of(&bytes) == self.sum { Ok(bytes) } else { Err(self.damaged()) }
    }

    fn damaged(&self) -> ArchiveError {
        ArchiveError::damaged(&self.path, "does not have the SHA-256 sum that InRelease names")
    }
}

/// The files of an index, by their form.
pub(super) type IndexFiles = BTreeMap<Compression, IndexFile>;

/// An index as it is published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) layout: Layout,
    pub(super) table: Arc<Table>,
    /// The first of the table's forms is among them, unless the index is empty and was never published.
    files: IndexFiles,
}

/// The source package of each binary package, from an index that tells it.
pub(super) type Sources = BTreeMap<String, String>;

/// Where a changed index is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workplace<'a> {
    /// The directory of its files by hash; it exists.
    pub(super) directory: &'a Path,
    /// The forms that it should have.
    pub(super) formats: &'a [Compression],
    pub(super) stores: &'a Stores,
}

/// What becomes of an index: the entries of some source packages are replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct Change<'a> {
    /// The source packages whose entries go.
    sources: BTreeSet<&'a [u8]>,
    /// The entries that come, in the order of their keys.
    insert: Vec<&'a Stanza>,
}

impl<'a> Change<'a> {
    /// Replaces the entries of these source packages by those.
    pub(super) fn new(sources: impl IntoIterator<Item = &'a str>, insert: &'a [Stanza]) -> Self {
        let mut insert: Vec<&Stanza> = insert.iter().collect();
        insert.sort_by(|a, b| a.key.cmp(&b.key));
        Self { sources: sources.into_iter().map(str::as_bytes).collect(), insert }
    }

    fn removes(&self, key: KeyRef<'_>) -> bool {
        self.sources.contains(key.source())
    }
}

impl Published {
    /// Returns an index that was never published.
    pub(super) fn empty(layout: Layout) -> Self {
        Self { layout, table: Arc::default(), files: BTreeMap::new() }
    }

    /// Takes an index whose table is known; the file that the table is named by is among the files.
    pub(super) fn new(layout: Layout, table: Arc<Table>, files: IndexFiles) -> Self {
        Self { layout, table, files }
    }

    /// Reads an index without its table. A file that is lost, or does not fit the first, will be made again.
    /// `sources` is asked where the entries do not name their source.
    ///
    /// # Errors
    /// The first of the files is not such an index, or a source is not known.
    pub(super) fn recover(
        layout: Layout,
        files: IndexFiles,
        sources: &Sources,
    ) -> Result<Self, ArchiveError> {
        let mut forms: Vec<FoundForm> = Vec::new();
        for (compression, file) in &files {
            match recovery::read_form(*compression, file) {
                Ok(form) if forms.first().is_none_or(|it| it.has_the_blocks_of(&form)) => forms.push(form),
                Ok(_) => (),
                Err(error) if forms.is_empty() => return Err(error),
                Err(error) => tracing::warn!(%error, "an index is lost and will be made again"),
            }
        }
        let Some((_, main)) = files.first_key_value() else { return Ok(Self::empty(layout)) };
        let table = recovery::table_of(layout, &forms, sources);
        let table = table.map_err(|problem| ArchiveError::damaged(&main.path, problem))?;
        Ok(Self { layout, table: Arc::new(table), files })
    }

    /// Returns the entries of a source package.
    pub(super) fn entries(&self, source: &str) -> Result<Vec<Stanza>, ArchiveError> {
        self.find(|key| key.source() == source.as_bytes())
    }

    /// Returns all entries.
    pub(super) fn all(&self) -> Result<Vec<Stanza>, ArchiveError> {
        self.find(|_| true)
    }

    fn find(&self, is_wanted: impl Fn(KeyRef<'_>) -> bool) -> Result<Vec<Stanza>, ArchiveError> {
        let mut found = Vec::new();
        for block in 0..self.table.blocks.len() {
            if self.table.keys(block).any(&is_wanted) {
                self.stanzas(block, &is_wanted, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Adds the wanted entries of a block.
    fn stanzas(
        &self,
        block: usize,
        is_wanted: impl Fn(KeyRef<'_>) -> bool,
        found: &mut Vec<Stanza>,
    ) -> Result<(), ArchiveError> {
        let text = String::from_utf8(self.text(block)?).map_err(|e| self.bad(e))?;
        if self.table.foreign {
            let stanzas = recovery::paragraphs(&text);
            found.extend(stanzas.filter(|it| is_wanted(KeyRef::of(&it.key))));
            return Ok(());
        }
        let mut rest = text.as_str();
        for entry in self.table.entries(block) {
            let cut = usize::try_from(entry.length).ok().and_then(|it| rest.split_at_checked(it));
            let (entry_text, after) = cut.ok_or_else(|| self.bad("is shorter than its table says"))?;
            rest = after;
            if is_wanted(entry.key) {
                let text = entry_text.strip_suffix(self.layout.separator()).unwrap_or(entry_text);
                found.push(Stanza { key: entry.key.to_key(), text: text.to_owned() });
            }
        }
        Ok(())
    }

    /// Reads the text of a block from the file that counts.
    fn text(&self, block: usize) -> Result<Vec<u8>, ArchiveError> {
        let missing = || self.bad("is not what its table says");
        let (compression, file) = self.main().ok_or_else(missing)?;
        let known = self.table.blocks.get(block).ok_or_else(missing)?;
        let form = known.forms.first().ok_or_else(missing)?;
        let size = usize::try_from(compression.padded(form.unpadded)).map_err(|e| self.bad(e))?;
        let mut bytes = vec![0; size];
        let read = file.file.read_exact_at(&mut bytes, self.offset(compression, 0, block));
        read.map_err(ArchiveError::read(&file.path))?;
        if Sha256::digest(&bytes).as_slice() != form.sha256 {
            return Err(ArchiveError::damaged(&file.path, "is not what it was when it was published"));
        }
        compression.decode(&bytes, form.unpadded, known.text.length).map_err(|e| self.bad(e))
    }

    /// Returns the file that is read, with its form.
    fn main(&self) -> Option<(Compression, &IndexFile)> {
        let compression = *self.table.forms.first()?;
        Some((compression, self.files.get(&compression)?))
    }

    /// Returns where a block begins in the file of a form, which has this place among the table's forms.
    fn offset(&self, compression: Compression, form: usize, block: usize) -> u64 {
        let length =
            |it: &super::table::Block| it.forms.get(form).map_or(0, |it| compression.padded(it.unpadded));
        compression.header().len() as u64 + self.table.blocks.iter().take(block).map(length).sum::<u64>()
    }

    fn bad(&self, problem: impl std::fmt::Display) -> ArchiveError {
        let path = self.main().map_or(Path::new("an index"), |it| it.1.path.as_path());
        ArchiveError::damaged(path, problem)
    }

    /// Makes the index that the change leads to, also if it is the one that is there.
    pub(super) fn rebuild(&self, change: &Change<'_>, place: Workplace<'_>) -> Result<Built, ArchiveError> {
        let parts = self.parts(change)?;
        assembly::assemble(self, parts, place)
    }

    /// Cuts the changed text into blocks, and tells which of them are there already.
    fn parts(&self, change: &Change<'_>) -> Result<Vec<Part>, ArchiveError> {
        let table = &self.table;
        let is_dirty = |block| table.foreign || table.keys(block).any(|key| change.removes(key));
        let mut dirty: Vec<bool> = (0..table.blocks.len()).map(is_dirty).collect();
        for stanza in &change.insert {
            if let Some(it) = dirty.get_mut(table.block_for(KeyRef::of(&stanza.key))) {
                *it = true;
            }
        }
        // Where a block loses its first entry, what is left may belong to the block before.
        for block in 1..table.blocks.len() {
            if table.first(block).is_some_and(|key| change.removes(key))
                && let Some(it) = dirty.get_mut(block - 1)
            {
                *it = true;
            }
        }
        let mut cutter = Cutter::new(self.layout.separator().len());
        let mut insert = change.insert.iter().copied().peekable();
        for (block, is_dirty) in dirty.iter().enumerate() {
            if !is_dirty && table.first(block).is_some_and(|it| cutter.would_cut(it)) {
                cutter.cut();
            }
            if !is_dirty && !cutter.is_open() {
                cutter.keep(block);
                continue;
            }
            let mut stanzas = Vec::new();
            self.stanzas(block, |key| !change.removes(key), &mut stanzas)?;
            for stanza in stanzas {
                while let Some(new) = insert.next_if(|it| it.key < stanza.key) {
                    cutter.push(new.clone());
                }
                cutter.push(stanza);
            }
            let until = table.first(block + 1);
            while let Some(new) = insert.next_if(|it| until.is_none_or(|until| KeyRef::of(&it.key) < until)) {
                cutter.push(new.clone());
            }
        }
        insert.for_each(|new| cutter.push(new.clone()));
        Ok(cutter.finish())
    }
}

#[cfg(test)]
mod tests;
