//! One xz stream put together from blocks that were compressed on their own (The .xz File Format 1.2).
//!
//! Knows nothing of indices. Never compresses a block that it is given compressed.

use std::io::{self, Write};

use flate2::Crc;
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};

use super::compression::Encoded;

/// Magic bytes and stream flags: CRC64 in each block.
const HEADER_MAGIC: &[u8] = &[0xFD, b'7', b'z', b'X', b'Z', 0];
const FLAGS: &[u8] = &[0, 4];
const FOOTER_MAGIC: &[u8] = b"YZ";
/// The bytes of a stream's header, and of its footer.
pub(super) const HEADER_LENGTH: usize = 12;

/// Compresses a block.
pub(super) fn encode_block(text: &[u8]) -> io::Result<Encoded> {
    const PRESET: u32 = 6;
    let mut options = LzmaOptions::new_preset(PRESET)?;
    // A dictionary larger than the block only costs memory, and time to clear it.
    let size = u32::try_from(text.len()).unwrap_or(u32::MAX).clamp(4 << 10, 8 << 20);
    options.dict_size(size.next_power_of_two());
    let stream = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc64)?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(text)?;
    let stream = encoder.finish()?;
    let records = read_index(&stream).ok_or_else(|| io::Error::other("liblzma made no index"))?;
    let &[(unpadded, _)] = records.as_slice() else {
        return Err(io::Error::other("liblzma made more than one block"));
    };
    let length = usize::try_from(padded(unpadded)).map_err(io::Error::other)?;
    let bytes = stream.get(HEADER_LENGTH..HEADER_LENGTH + length);
    Ok(Encoded { bytes: bytes.unwrap_or_default().to_vec(), unpadded })
}

/// Returns the size of a block in the stream.
pub(super) fn padded(unpadded: u64) -> u64 {
    unpadded.next_multiple_of(4)
}

/// Returns the header of a stream.
pub(super) fn header() -> Vec<u8> {
    [HEADER_MAGIC, FLAGS, &crc32(FLAGS)].concat()
}

/// Returns what follows the last block: the index of all, as unpadded and uncompressed sizes, and the footer.
pub(super) fn trailer(blocks: impl ExactSizeIterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut index = vec![0];
    push_integer(&mut index, blocks.len() as u64);
    for (unpadded, uncompressed) in blocks {
        push_integer(&mut index, unpadded);
        push_integer(&mut index, uncompressed);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let sum = crc32(&index);
    index.extend_from_slice(&sum);
    let backward = u32::try_from(index.len() / 4 - 1).expect("an index has fewer than 2^34 bytes");
    let tail = [&backward.to_le_bytes(), FLAGS].concat();
    let sum = crc32(&tail);
    [&index, sum.as_slice(), &tail, FOOTER_MAGIC].concat()
}

/// Reads the unpadded and uncompressed sizes of the blocks of one whole stream; `None` if it is something else.
pub(super) fn read_index(stream: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (body, footer) = stream.split_at_checked(stream.len().checked_sub(HEADER_LENGTH)?)?;
    let backward: [u8; 4] = footer.get(4..8)?.try_into().ok()?;
    if !stream.starts_with(HEADER_MAGIC) || !footer.ends_with(FOOTER_MAGIC) || footer.get(8..10)? != FLAGS {
        return None;
    }
    let length = (usize::try_from(u32::from_le_bytes(backward)).ok()? + 1) * 4;
    let index = body.get(body.len().checked_sub(length)?..)?;
    let (mut rest, sum) = index.split_at_checked(length - 4)?;
    if crc32(rest) != *sum || take(&mut rest)? != 0 {
        return None;
    }
    let count = take_integer(&mut rest)?;
    let mut records = Vec::new();
    for _ in 0..count {
        records.push((take_integer(&mut rest)?, take_integer(&mut rest)?));
    }
    let total: u64 = records.iter().map(|it| padded(it.0)).sum();
    (usize::try_from(total).ok()? + HEADER_LENGTH + length == body.len()).then_some(records)
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum().to_le_bytes()
}

/// Writes a multibyte integer (section 1.2 of the format).
fn push_integer(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    bytes.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7F).expect("seven bits fit a byte")
}

fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn take_integer(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..9 {
        let byte = take(bytes)?;
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decode(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        liblzma::read::XzDecoder::new_multi_decoder(stream).read_to_end(&mut text)?;
        Ok(text)
    }

    fn stream_of(texts: &[&[u8]]) -> Vec<u8> {
        let blocks: Vec<_> = texts.iter().map(|it| encode_block(it).unwrap()).collect();
        let mut stream = header();
        for block in &blocks {
            stream.extend_from_slice(&block.bytes);
        }
        let sizes: Vec<_> =
            blocks.iter().zip(texts).map(|(it, text)| (it.unpadded, text.len() as u64)).collect();
        stream.extend(trailer(sizes.into_iter()));
        stream
    }

    #[test]
    fn blocks_make_one_stream_that_xz_reads() {
        let long = b"0123456789abcdef".repeat(10_000);
        let texts: &[&[u8]] = &[b"one\n", &long, b"three\n"];
        assert_eq!(decode(&stream_of(texts)).unwrap(), texts.concat());
    }

    #[test]
    fn a_stream_of_no_block_is_empty() {
        assert_eq!(decode(&stream_of(&[])).unwrap(), b"");
    }

    #[test]
    fn a_stream_tells_its_blocks() {
        let stream = stream_of(&[b"one\n", b"three\n"]);
        let sizes: Vec<u64> = read_index(&stream).unwrap().iter().map(|it| it.1).collect();
        assert_eq!(sizes, [4, 6]);
    }

    #[test]
    fn a_cut_stream_has_no_index() {
        let stream = stream_of(&[b"one\n", b"three\n"]);
        assert_eq!(read_index(&stream[..stream.len() - 1]), None);
        assert_eq!(read_index(b""), None);
    }
}
