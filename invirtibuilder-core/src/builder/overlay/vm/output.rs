//! Reads what a machine left on its output disk: a word, and an archive of results.
//!
//! A machine may write there whatever it likes. So this takes plain regular files with plain names within a limit, and
//! nothing else: no path, no link, no sparse file, no header that would make something of the next one but its name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tar::EntryType;

use crate::durable::scratch;
use crate::error::BoxError;
use crate::names::FileName;

/// How long the word is.
const WORD: usize = 512;
/// Where the archive begins.
pub(super) const ARCHIVE: u64 = 64 << 10;
/// How many files a build may leave.
const MOST: usize = 4096;

/// What a machine said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing: it did not get as far as to the first step.
    Nothing,
    /// The steps have begun.
    Begun,
    /// All steps succeeded, and the results are there.
    Finished,
    /// This step failed.
    Failed(usize),
    /// A step failed, and the disk is full.
    Full,
    /// The machine could not be furnished.
    Broken,
    /// The results could not be written.
    Unwritten,
}

/// Reads the word at the disk's beginning. What nobody of ours says is nothing.
pub(super) fn word(disk: &mut File) -> Result<Word, BoxError> {
    let mut bytes = [0; WORD];
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match text.trim_end_matches([' ', '\0']) {
        "begun" => Word::Begun,
        "finished" => Word::Finished,
        "full" => Word::Full,
        "broken" => Word::Broken,
        "unwritten" => Word::Unwritten,
        other => match other.strip_prefix("failed ").and_then(|it| it.parse().ok()) {
            Some(step) => Word::Failed(step),
            None => Word::Nothing,
        },
    })
}

/// Copies the files of the archive to a directory that only this process can write to.
///
/// # Errors
/// What is wrong with the archive: the build's fault.
pub(super) fn results(disk: &mut File, into: &Path, limit: u64) -> Result<(), BoxError> {
    disk.seek(SeekFrom::Start(ARCHIVE))?;
    let mut archive = tar::Archive::new(disk);
    let (mut total, mut count, mut long_name) = (0_u64, 0, None);
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind == EntryType::GNULongName {
            long_name = Some(read_name(&mut entry)?);
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&name).into_owned();
        if kind != EntryType::Regular {
            return Err(format!("it left {shown:?}, which is no regular file").into());
        }
        let name: FileName = shown.parse().map_err(|e| format!("it left {shown:?}: {e}"))?;
        (total, count) = (total.saturating_add(entry.size()), count + 1);
        if total > limit || count > MOST {
            return Err(format!("it left more than {limit} bytes or {MOST} files").into());
        }
        scratch::write_from(&into.join(name.as_str()), &mut entry)?;
    }
    Ok(())
}

/// Reads a name that is too long for a header: an entry of its own (tar(5)).
fn read_name(entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, BoxError> {
    const LONGEST: u64 = 512;
    if entry.size() > LONGEST {
        return Err("it left a file whose name is too long".into());
    }
    let mut name = Vec::new();
    entry.read_to_end(&mut name)?;
    name.truncate(name.iter().position(|it| *it == 0).unwrap_or(name.len()));
    Ok(name)
}

#[cfg(test)]
mod tests;
