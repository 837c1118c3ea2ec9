//! The compressed forms that an index is published in, and how each is put together from blocks.
//!
//! A block is compressed on its own: a gzip member, an xz block, a zstd frame. One after the other, between the
//! header and the trailer of the form, they are one file that gzip, xz, zstd and apt read. Never reads or writes a
//! file.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use super::xz;

/// The level of zstd: what it gains after that is little in blocks of this size, and costs a lot.
const ZSTD_LEVEL: i32 = 12;
/// The most bytes that one block of text may have.
const LONGEST_TEXT: usize = 1 << 30;

/// A compressed form of an index.
///
/// In the order of preference for reading what is published: the first of those that a suite has is the one that
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// `.gz`: every apt reads it.
    Gz,
    /// `.zst`: apt reads it since 1.6 (Ubuntu) and 2.1.
    Zst,
    /// `.xz`: the smallest, and the slowest to make.
    Xz,
}

/// What is not the name of a compressed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a compression of indices; write gz, xz or zst")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| UnknownCompression(text.to_owned()))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A compressed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// The block as it is in the file.
    pub(super) bytes: Vec<u8>,
    /// Its bytes without padding, from which [`Compression::padded`] makes their number in the file.
    pub(super) unpadded: u64,
}

/// A block that was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) unpadded: u64,
    pub(super) text: Vec<u8>,
}

impl Compression {
    /// All of them, in the order of preference.
    pub const ALL: [Self; 3] = [Self::Gz, Self::Zst, Self::Xz];

    /// Returns the ending of the names of its files, without a dot.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gz => "gz",
            Self::Zst => "zst",
            Self::Xz => "xz",
        }
    }

    /// Returns the ending of the names of its files, with the dot.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gz => ".gz",
            Self::Zst => ".zst",
            Self::Xz => ".xz",
        }
    }

    /// Returns the bytes before the first block.
    pub(super) fn header(self) -> Vec<u8> {
        match self {
            Self::Gz | Self::Zst => Vec::new(),
            Self::Xz => xz::header(),
        }
    }

    /// Returns the bytes after the last block, of blocks that have so many bytes unpadded, and of text.
    pub(super) fn trailer(self, blocks: &[(u64, u64)]) -> io::Result<Vec<u8>> {
        match self {
            Self::Xz => Ok(xz::trailer(blocks.iter().copied())),
            // A file of no bytes at all would be none of these forms.
            Self::Gz | Self::Zst if blocks.is_empty() => Ok(self.encode(b"")?.bytes),
            Self::Gz | Self::Zst => Ok(Vec::new()),
        }
    }

    /// Returns how many bytes a block has in the file.
    pub(super) fn padded(self, unpadded: u64) -> u64 {
        if self == Self::Xz { xz::padded(unpadded) } else { unpadded }
    }

    /// Compresses a block. The same text gives the same bytes.
    pub(super) fn encode(self, text: &[u8]) -> io::Result<Encoded> {
        let bytes = match self {
            Self::Xz => return xz::encode_block(text),
            Self::Gz => {
                let (level, room) = (flate2::Compression::default(), Vec::with_capacity(text.len() / 3));
                let mut encoder = flate2::GzBuilder::new().mtime(0).write(room, level);
                encoder.write_all(text)?;
                encoder.finish()?
            }
            Self::Zst => {
                let mut encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                encoder.include_contentsize(true)?;
                encoder.compress(text)?
            }
        };
        let unpadded = bytes.len() as u64;
        Ok(Encoded { bytes, unpadded })
    }

    /// Decompresses one block that has `length` bytes of text.
    pub(super) fn decode(self, block: &[u8], unpadded: u64, length: u64) -> io::Result<Vec<u8>> {
        let room = usize::try_from(length).ok().filter(|it| *it <= LONGEST_TEXT).ok_or_else(too_long)?;
        let mut text = Vec::with_capacity(room);
        match self {
            Self::Gz => drop(flate2::bufread::GzDecoder::new(block).read_to_end(&mut text)?),
            Self::Zst => text = zstd::bulk::decompress(block, room)?,
            Self::Xz => {
                let stream = [&xz::header(), block, &xz::trailer([(unpadded, length)].into_iter())].concat();
                liblzma::read::XzDecoder::new(stream.as_slice()).read_to_end(&mut text)?;
            }
        }
        if text.len() == room {
            return Ok(text);
        }
        Err(io::Error::other("a block of it has another length than its table says"))
    }

    /// Finds the blocks of a whole file, also of one that something else made. Empty blocks are left out.
    pub(super) fn blocks(self, file: &[u8]) -> io::Result<Vec<Found>> {
        let mut blocks = match self {
            Self::Gz => gzip_members(file)?,
            Self::Zst => zstd_frames(file)?,
            Self::Xz => match xz::read_index(file) {
                Some(sizes) => xz_blocks(file, &sizes)?,
                None => return Err(io::Error::other("is not one xz stream with CRC64 sums")),
            },
        };
        blocks.retain(|it| !it.text.is_empty());
        Ok(blocks)
    }
}

fn gzip_members(mut rest: &[u8]) -> io::Result<Vec<Found>> {
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        let mut text = Vec::new();
        decoder.read_to_end(&mut text)?;
        let after = decoder.into_inner();
        blocks.push(Found { unpadded: (rest.len() - after.len()) as u64, text });
        rest = after;
    }
    Ok(blocks)
}

fn zstd_frames(mut rest: &[u8]) -> io::Result<Vec<Found>> {
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(rest)?.single_frame();
        let mut text = Vec::new();
        decoder.read_to_end(&mut text)?;
        let after = decoder.finish();
        blocks.push(Found { unpadded: (rest.len() - after.len()) as u64, text });
        rest = after;
    }
    Ok(blocks)
}

fn xz_blocks(file: &[u8], sizes: &[(u64, u64)]) -> io::Result<Vec<Found>> {
    let (mut blocks, mut begin) = (Vec::new(), xz::HEADER_LENGTH as u64);
    for (unpadded, length) in sizes.iter().copied() {
        let end = begin + xz::padded(unpadded);
        let range = usize::try_from(begin).ok().zip(usize::try_from(end).ok());
        let block = range.and_then(|(begin, end)| file.get(begin..end)).ok_or_else(too_long)?;
        blocks.push(Found { unpadded, text: Compression::Xz.decode(block, unpadded, length)? });
        begin = end;
    }
    Ok(blocks)
}

fn too_long() -> io::Error {
    io::Error::other("a block of it is longer than can be")
}

#[cfg(test)]
impl Compression {
    /// Decompresses a whole file.
    pub(super) fn decode_all(self, file: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self {
            Self::Gz => flate2::bufread::MultiGzDecoder::new(file).read_to_end(&mut text)?,
            Self::Zst => zstd::stream::read::Decoder::with_buffer(file)?.read_to_end(&mut text)?,
            Self::Xz => liblzma::read::XzDecoder::new_multi_decoder(file).read_to_end(&mut text)?,
        };
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_read_as_it_is_written() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().parse(), Ok(compression));
            assert_eq!(compression.ending(), format!(".{compression}"));
        }
        let error = "bz2".parse::<Compression>().unwrap_err().to_string();
        assert!(error.contains("gz, xz or zst"), "{error}");
    }

    #[test]
    fn blocks_make_one_file_that_tells_its_blocks() {
        let long = b"0123456789abcdef".repeat(10_000);
        let texts: [&[u8]; 3] = [b"one\n", &long, b"three\n"];
        for compression in Compression::ALL {
            let blocks = texts.map(|it| compression.encode(it).unwrap());
            let mut file = compression.header();
            for (block, text) in blocks.iter().zip(texts) {
                assert_eq!(block.bytes.len() as u64, compression.padded(block.unpadded));
                let length = text.len() as u64;
                assert_eq!(compression.decode(&block.bytes, block.unpadded, length).unwrap(), text);
                assert!(compression.decode(&block.bytes, block.unpadded, length + 1).is_err());
                file.extend_from_slice(&block.bytes);
            }
            let sizes: Vec<_> =
                blocks.iter().zip(texts).map(|(it, text)| (it.unpadded, text.len() as u64)).collect();
            file.extend(compression.trailer(&sizes).unwrap());
            assert_eq!(compression.decode_all(&file).unwrap(), texts.concat(), "{compression}");
            let found: Vec<_> = compression.blocks(&file).unwrap();
            let found: Vec<_> = found.into_iter().map(|it| (it.unpadded, it.text)).collect();
            let wanted: Vec<_> =
                blocks.iter().zip(texts).map(|(it, text)| (it.unpadded, text.to_vec())).collect();
            assert!(found == wanted, "{compression}");
        }
    }

    #[test]
    fn a_file_of_no_block_is_empty_and_not_of_no_bytes() {
        for compression in Compression::ALL {
            let file = [compression.header(), compression.trailer(&[]).unwrap()].concat();
            assert!(!file.is_empty());
            assert_eq!(compression.decode_all(&file).unwrap(), b"");
            assert_eq!(compression.blocks(&file).unwrap(), []);
        }
    }

    #[test]
    fn a_file_that_was_cut_is_refused() {
        for compression in Compression::ALL {
            let block = compression.encode(b"some text\n").unwrap();
            let file =
                [compression.header(), block.bytes, compression.trailer(&[(block.unpadded, 10)]).unwrap()];
            let file = file.concat();
            assert!(compression.blocks(&file[..file.len() - 3]).is_err(), "{compression}");
        }
    }
}
