//! Tarballs of what a commit holds, the same bytes everywhere.
//!
//! Why xz at level 1: compression is nearly all of the cost of a source package whose upstream tarball is there, or that
//! has none, and level 1 takes an eighth of the time of dpkg's default 6 for a tenth more bytes; gzip is hardly faster
//! and a quarter larger. Upstream tarballs are made once, and have dpkg's default. What is large is cut into blocks of one size, which any number of threads compresses to the same bytes: they must not depend on the
//! machine's processors.
//! What is compressed by gzip or bzip2 is so by these programs, whose output is the same on every machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::objs::Kind;
use liblzma::stream::{Check, MtStreamBuilder};
use liblzma::write::XzEncoder;

use super::Problem;
use super::tree::{Become, Listed, link_target};
use crate::durable::NewFile;
use crate::process::Command;
use crate::repository::Repository;

/// The level of xz for what is made at each export.
pub(super) const LEVEL: u32 = 1;
/// The level of xz for what is made once.
pub(super) const ORIG_LEVEL: u32 = 6;

/// Returns how many bytes xz compresses by themselves at a level: three times its window, so that little is lost
/// (xz(1), `--block-size`).
fn block(level: u32) -> u64 {
    if level == LEVEL { 3 << 20 } else { 24 << 20 }
}

/// How a commit's files are packed.
pub(super) struct Packing<'a> {
    pub(super) repository: &'a Repository,
    /// When everything in it was changed last, in seconds since 1970.
    pub(super) time: i64,
    /// Files that have other bytes than in the commit.
    pub(super) replaced: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Problem {
    let shown = path.display().to_string();
    move |e| Problem::Backend(format!("cannot write {shown}: {e}").into())
}

impl Packing<'_> {
    /// Packs these entries, below the directory `top`, into a file that is compressed by xz.
    pub(super) fn xz(&self, entries: &[&Listed], top: &str, level: u32, path: &Path) -> Result<(), Problem> {
        let failed = failed(path);
        let file = NewFile::create(path)?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let stream = MtStreamBuilder::new()
            .preset(level)
            .check(Check::Crc64)
            .block_size(block(level))
            .threads(u32::try_from(threads).unwrap_or(1))
            .encoder()
            .map_err(|e| failed(e.into()))?;
        let encoder = XzEncoder::new_stream(io::BufWriter::with_capacity(256 << 10, file), stream);
        let encoder = self.tar(entries, top, encoder, &failed)?;
        let buffer = encoder.finish().map_err(&failed)?;
        let file = buffer.into_inner().map_err(|e| failed(e.into_error()))?;
        Ok(file.commit()?)
    }

    /// As [`Packing::xz`], by gzip.
    pub(super) fn gz(&self, entries: &[&Listed], top: &str, path: &Path) -> Result<(), Problem> {
        self.by_program(entries, top, path, "gzip", &["-9", "-n"])
    }

    /// As [`Packing::xz`], by bzip2.
    pub(super) fn bz2(&self, entries: &[&Listed], top: &str, path: &Path) -> Result<(), Problem> {
        self.by_program(entries, top, path, "bzip2", &["-9"])
    }

    fn by_program(
        &self,
        entries: &[&Listed],
        top: &str,
        path: &Path,
        program: &str,
        arguments: &[&str],
    ) -> Result<(), Problem> {
        // The program adds the extension again.
        let plain = path.with_extension("");
        let failed = failed(&plain);
        let file = io::BufWriter::with_capacity(256 << 10, NewFile::create(&plain)?);
        let buffer = self.tar(entries, top, file, &failed)?;
        buffer.into_inner().map_err(|e| failed(e.into_error()))?.commit()?;
        let command = Command::new(program).args(arguments).arg("--").arg(&plain);
        command.run().map_err(|e| Problem::Backend(e.into()))?;
        crate::durable::set_mode(path, 0o644)?;
        Ok(())
    }

    fn tar<W: Write>(
        &self,
        entries: &[&Listed],
        top: &str,
        to: W,
        failed: &impl Fn(io::Error) -> Problem,
    ) -> Result<W, Problem> {
        let mut tar = tar::Builder::new(to);
        if !top.is_empty() {
            self.add(&mut tar, top.as_bytes(), Become::Directory, &[]).map_err(failed)?;
        }
        for it in entries {
            let path =
                if top.is_empty() { it.path.clone() } else { [top.as_bytes(), b"/", &it.path].concat() };
            let bytes = match it.becomes {
                Become::Directory => Vec::new(),
                Become::Link => link_target(self.repository, it)?,
                Become::File { .. } => match self.replaced.get(&it.path) {
                    Some(bytes) => bytes.clone(),
                    None => self.repository.read(it.id, Kind::Blob)?,
                },
            };
            self.add(&mut tar, &path, it.becomes, &bytes).map_err(failed)?;
        }
        tar.into_inner().map_err(failed)
    }

    fn add<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        path: &[u8],
        becomes: Become,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(self.time.unsigned_abs());
        header.set_uid(0);
        header.set_gid(0);
        let path = Path::new(OsStr::from_bytes(path));
        match becomes {
            Become::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                let with_slash = [path.as_os_str().as_bytes(), b"/"].concat();
                tar.append_data(&mut header, Path::new(OsStr::from_bytes(&with_slash)), io::empty())
            }
            Become::File { is_executable } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(if is_executable { 0o755 } else { 0o644 });
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes)
            }
            Become::Link => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                tar.append_link(&mut header, path, Path::new(OsStr::from_bytes(bytes)))
            }
        }
    }
}
