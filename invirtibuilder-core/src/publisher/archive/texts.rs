//! The private store of the indices' texts: what has to be hashed again after a change, without decompressing it.
//!
//! A store is a file that only grows, beside the tables; a table names its store and where each block's text is in
//! it. What is read from it is checked, and made again from the published index if it is lost or damaged: nothing
//! here is ever believed, and nothing here is synced. Used only by who holds the archive's lock.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::Crc;

use super::ArchiveError;
use super::table::{Span, TABLE_HEAD, Table};
use crate::durable;

/// A store is begun anew when it has more than twice the bytes that count, and these.
const SLACK: u64 = 4 << 20;

/// The stores of an archive.
#[derive(Debug)]
pub(super) struct Stores {
    directory: PathBuf,
    /// Taken for each addition: two indices that were the same once share a store.
    adding: Mutex<()>,
}

impl Stores {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, adding: Mutex::default() }
    }

    /// Opens a store for an index with so many bytes of text; `None` if there is none that is worth keeping.
    pub(super) fn open(&self, id: u64, length: u64) -> Option<Store<'_>> {
        let path = self.path(id);
        let size = path.metadata().ok()?.len();
        if size > 2 * length + SLACK {
            return None;
        }
        Some(Store {
            id,
            reading: File::open(&path).ok()?,
            adding: durable::append(&path).ok()?,
            stores: self,
            path,
        })
    }

    /// Opens a store only for reading; `None` if it is lost.
    pub(super) fn open_for_reading(&self, id: u64) -> Option<File> {
        File::open(self.path(id)).ok()
    }

    /// Begins a store.
    pub(super) fn create(&self) -> Result<Store<'_>, ArchiveError> {
        durable::create_directory(&self.directory)?;
        let mut id = [0; 8];
        let filled = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
        filled.map_err(|e| ArchiveError::write(&self.directory)(e.into()))?;
        let id = u64::from_le_bytes(id);
        let path = self.path(id);
        let adding = durable::append(&path)?;
        let reading = File::open(&path).map_err(ArchiveError::read(&path))?;
        Ok(Store { id, reading, adding, stores: self, path })
    }

    /// Removes the stores that no table in a directory names.
    pub(super) fn remove_unused(&self, tables: &Path) -> Result<(), ArchiveError> {
        let mut used = BTreeSet::new();
        for path in list(tables)? {
            let mut head = vec![0; TABLE_HEAD];
            let read = File::open(&path).and_then(|mut it| it.read_exact(&mut head));
            used.extend(read.ok().and_then(|()| Table::store_of(&head)).map(|it| self.path(it)));
        }
        let stores = list(&self.directory)?;
        let unused = stores.iter().filter(|it| !used.contains(*it)).map(PathBuf::as_path);
        Ok(durable::remove_all(unused)?)
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id:016x}"))
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(ArchiveError::read(directory))?,
    };
    let paths: io::Result<Vec<_>> = entries.map(|it| it.map(|it| it.path())).collect();
    paths.map_err(ArchiveError::read(directory))
}

/// One store.
#[derive(Debug)]
pub(super) struct Store<'a> {
    pub(super) id: u64,
    path: PathBuf,
    reading: File,
    adding: File,
    stores: &'a Stores,
}

impl Store<'_> {
    /// Adds the text of a block.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<Span, ArchiveError> {
        let _adding = self.stores.adding.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever a process that died may have left at the end.
        let offset = self.reading.metadata().map_err(ArchiveError::read(&self.path))?.len();
        self.adding.write_all(text).map_err(ArchiveError::write(&self.path))?;
        Ok(Span { offset, length: text.len() as u64, crc: crc(text) })
    }

    /// Reads the text of a block; `None` if it is lost or damaged.
    pub(super) fn read<'b>(&self, span: Span, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        read(&self.reading, span, buffer)
    }
}

/// Reads the text of a block from a store's file; `None` if it is lost or damaged.
pub(super) fn read<'b>(store: &File, span: Span, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    buffer.resize(usize::try_from(span.length).ok()?, 0);
    store.read_exact_at(buffer, span.offset).ok()?;
    (crc(buffer) == span.crc).then_some(buffer.as_slice())
}

fn crc(text: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(text);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_added_also_after_the_rest_of_a_process_that_died() {
        let directory = tempfile::tempdir().unwrap();
        let stores = Stores::new(directory.path().join("texts"));
        let mut store = stores.create().unwrap();
        let one = store.add(b"one").unwrap();
        let id = store.id;
        store.adding.write_all(b"left behind").unwrap();
        let mut store = stores.open(id, 6).unwrap();
        let two = store.add(b"two").unwrap();
        let mut buffer = Vec::new();
        assert_eq!(store.read(one, &mut buffer), Some(b"one".as_slice()));
        assert_eq!(store.read(two, &mut buffer), Some(b"two".as_slice()));
    }

    #[test]
    fn a_text_that_is_damaged_or_lost_is_no_text() {
        let directory = tempfile::tempdir().unwrap();
        let stores = Stores::new(directory.path().join("texts"));
        let mut store = stores.create().unwrap();
        let span = store.add(b"one").unwrap();
        let mut buffer = Vec::new();
        assert_eq!(store.read(Span { crc: span.crc ^ 1, ..span }, &mut buffer), None);
        assert_eq!(store.read(Span { offset: 1, ..span }, &mut buffer), None);
        assert!(stores.open(store.id ^ 1, 3).is_none());
    }

    #[test]
    fn a_store_goes_when_no_table_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let tables = directory.path().join("tables");
        let stores = Stores::new(directory.path().join("texts"));
        let (used, unused) = (stores.create().unwrap().id, stores.create().unwrap().id);
        durable::create_directory(&tables).unwrap();
        durable::write(&tables.join("x"), &Table::new(Vec::new(), used, false).to_bytes()).unwrap();
        stores.remove_unused(&tables).unwrap();
        assert!(stores.open(used, 0).is_some() && stores.open(unused, 0).is_none());
    }

    #[test]
    fn a_store_that_holds_little_that_counts_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let stores = Stores::new(directory.path().join("texts"));
        let mut store = stores.create().unwrap();
        store.add(&vec![b'x'; 5 << 20]).unwrap();
        assert!(stores.open(store.id, 1 << 20).is_some());
        assert!(stores.open(store.id, 100).is_none());
    }
}
