//! Copying the part of a published file that stays, while proving that the file is what was published.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::ArchiveError;
use super::super::compression::Compression;
use super::super::table::Form;
use super::{IndexFile, Published, Sum};
use crate::control::hex;
use crate::durable::NewFile;

/// How many bytes are read at once.
const PIECE: u64 = 256 << 10;

/// A file that is written, and hashed while it is written.
#[derive(Debug)]
pub(super) struct Output {
    file: NewFile,
    path: PathBuf,
    hash: Sha256,
    size: u64,
}

impl Output {
    pub(super) fn create(path: &Path) -> Result<Self, ArchiveError> {
        Ok(Self { file: NewFile::create(path)?, path: path.to_owned(), hash: Sha256::new(), size: 0 })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        use std::io::Write as _;
        self.file.write_all(bytes).map_err(ArchiveError::write(&self.path))?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> (NewFile, Sum) {
        (self.file, Sum { sha256: hex(&self.hash.finalize()), size: self.size })
    }
}

/// A published file that is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Original<'a> {
    from: &'a IndexFile,
    /// Where its blocks begin, and where the last ends.
    begins: Vec<u64>,
    forms: Vec<Form>,
    position: u64,
    /// The hash of what was read; `None` while the output has the same bytes, and so the same hash.
    hash: Option<Sha256>,
    buffer: Vec<u8>,
}

impl<'a> Original<'a> {
    /// Opens a form of an index; `None` if there is nothing in it that can be copied.
    pub(super) fn open(index: &'a Published, compression: Compression) -> Option<Self> {
        let form = index.table.form(compression).filter(|_| !index.table.foreign)?;
        let from = index.files.get(&compression)?;
        let forms = index.table.blocks.iter().map(|it| it.forms.get(form).copied());
        let forms = forms.collect::<Option<Vec<Form>>>()?;
        let mut begins = vec![compression.header().len() as u64];
        for form in &forms {
            begins.push(begins.last().copied().unwrap_or_default() + compression.padded(form.unpadded));
        }
        Some(Self { from, begins, forms, position: 0, hash: None, buffer: Vec::new() })
    }

    /// Returns the forms of some blocks.
    pub(super) fn forms(&self, blocks: Range<usize>) -> &[Form] {
        self.forms.get(blocks).unwrap_or_default()
    }

    /// Returns where the first block begins.
    pub(super) fn header(&self) -> u64 {
        self.begin(0)
    }

    /// Returns where a block begins.
    pub(super) fn begin(&self, block: usize) -> u64 {
        self.begins.get(block).copied().unwrap_or(self.from.sum.size)
    }

    /// From here on the output has other bytes.
    pub(super) fn diverge(&mut self, output: &Output) {
        if self.hash.is_none() {
            self.hash = Some(output.hash.clone());
        }
    }

    /// Passes over what the output does not have.
    pub(super) fn skip_to(&mut self, end: u64, output: &Output) -> Result<(), ArchiveError> {
        if self.position < end {
            self.diverge(output);
        }
        while self.read(end)? {
            if let Some(hash) = &mut self.hash {
                hash.update(&self.buffer);
            }
        }
        Ok(())
    }

    /// Copies what the output has too.
    pub(super) fn copy_to(&mut self, end: u64, output: &mut Output) -> Result<(), ArchiveError> {
        while self.read(end)? {
            output.write(&self.buffer)?;
            if let Some(hash) = &mut self.hash {
                hash.update(&self.buffer);
            }
        }
        Ok(())
    }

    /// Reads to the end, and checks that it all was what was published.
    pub(super) fn finish(mut self, output: &Output) -> Result<(), ArchiveError> {
        self.diverge(output);
        self.skip_to(self.from.sum.size, output)?;
        let hash = self.hash.take().unwrap_or_default();
        if hex(&hash.finalize()) == self.from.sum.sha256 { Ok(()) } else { Err(self.from.damaged()) }
    }

    /// Reads the next piece before `end`. Returns whether there was one.
    fn read(&mut self, end: u64) -> Result<bool, ArchiveError> {
        let count = end.saturating_sub(self.position).min(PIECE);
        self.buffer.resize(usize::try_from(count).unwrap_or_default(), 0);
        let read = self.from.file.read_exact_at(&mut self.buffer, self.position);
        read.map_err(ArchiveError::read(&self.from.path))?;
        self.position += count;
        Ok(count > 0)
    }
}
