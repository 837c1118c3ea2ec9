//! A table as bytes: all integers little-endian, and a SHA-256 sum of what is before it at the end.

use std::io;

use sha2::digest::common::hazmat::SerializedState;
use sha2::{Digest, Sha256};

use super::{Block, EntryRef, Form, HashState, KeyRef, Span, Table};
use crate::publisher::archive::compression::Compression;

/// The first bytes of a table: its format.
const FORMAT: &[u8] = b"invirtibuilder index table 2\n";
/// How many bytes of a table are enough for [`store`].
pub(in crate::publisher::archive) const HEAD: usize = FORMAT.len() + 8;

/// Bytes that are read from their beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut<'a>(pub(super) &'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    /// Reads one entry; `None` at the end.
    pub(super) fn entry(&mut self) -> Option<EntryRef<'a>> {
        let (name, source, length) = (self.u16()?, self.u16()?, self.u32()?);
        let (name, source) = (self.take(usize::from(name))?, self.take(usize::from(source))?);
        Some(EntryRef { key: KeyRef { name, source }, length })
    }
}

/// Writes one entry.
pub(super) fn push_entry(bytes: &mut Vec<u8>, name: &[u8], source: &[u8], length: usize) -> io::Result<()> {
    let count = |it: &[u8]| u16::try_from(it.len()).map_err(io::Error::other);
    bytes.extend(count(name)?.to_le_bytes());
    bytes.extend(count(source)?.to_le_bytes());
    bytes.extend(u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(source);
    Ok(())
}

fn number(compression: Compression) -> u8 {
    match compression {
        Compression::Gz => 1,
        Compression::Xz => 2,
        Compression::Zst => 3,
    }
}

pub(super) fn write(table: &Table) -> Vec<u8> {
    let Table { store, foreign, forms, blocks, entries } = table;
    let state = size_of::<SerializedState<Sha256>>();
    let room = HEAD + blocks.len() * (28 + state + forms.len() * 40) + entries.len() + 64;
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(FORMAT);
    bytes.extend(store.to_le_bytes());
    bytes.push(u8::from(*foreign));
    bytes.extend((forms.len() as u64).to_le_bytes());
    bytes.extend(forms.iter().map(|it| number(*it)));
    bytes.extend((blocks.len() as u64).to_le_bytes());
    for block in blocks {
        let Block { entries, text: Span { offset, length, crc }, state, forms } = block;
        bytes.extend((entries.end as u64).to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc.to_le_bytes());
        bytes.extend_from_slice(state.0.as_slice());
        for Form { unpadded, sha256 } in forms {
            bytes.extend(unpadded.to_le_bytes());
            bytes.extend(sha256);
        }
    }
    bytes.extend_from_slice(entries);
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

pub(super) fn read(bytes: &[u8]) -> Option<Table> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(Sha256::output_size())?)?;
    let mut rest = Cut(body);
    if rest.take(FORMAT.len())? != FORMAT || Sha256::digest(body).as_slice() != sum {
        return None;
    }
    let (store, foreign) = (rest.u64()?, rest.u8()? != 0);
    let count = rest.size()?;
    let form = |it: &u8| Compression::ALL.into_iter().find(|form| number(*form) == *it);
    let forms = rest.take(count)?.iter().map(form).collect::<Option<Vec<_>>>()?;
    let (count, mut begin) = (rest.size()?, 0);
    let mut blocks = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        let end = rest.size()?;
        let text = Span { offset: rest.u64()?, length: rest.u64()?, crc: rest.u32()? };
        let state = rest.take(size_of::<SerializedState<Sha256>>())?;
        let state = HashState(SerializedState::<Sha256>::try_from(state).ok()?);
        let form = |_| Some(Form { unpadded: rest.u64()?, sha256: rest.array()? });
        let forms = forms.iter().map(form).collect::<Option<_>>()?;
        blocks.push(Block { entries: begin..end, text, state, forms });
        begin = end;
    }
    (begin == rest.0.len()).then(|| Table { store, foreign, forms, blocks, entries: rest.0.to_vec() })
}

pub(super) fn store(beginning: &[u8]) -> Option<u64> {
    let mut rest = Cut(beginning);
    (rest.take(FORMAT.len())? == FORMAT).then(|| rest.u64())?
}
