//! What a suite serves, read from the files that its `InRelease` names.
//!
//! Takes no lock: those files never change, and stay long after another `InRelease` took the place of theirs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::index::{Published, Sum, decode_member};
use super::release::{IndexPath, Kind, Listed, Release};
use super::stanza::{Stanza, split};
use super::table::Table;
use super::{Archive, ArchiveError};
use crate::durable;
use crate::names::{PackageName, Suite};
use crate::policy::Held;
use crate::publisher::Owners;

/// How many tables are kept in memory.
const TABLES: usize = 24;

impl Archive {
    /// Reads a suite's `InRelease`; `None` if there is no such suite.
    pub(super) fn release(&self, suite: &Suite) -> Result<Option<Release>, ArchiveError> {
        let path = self.suite_directory(suite).join("InRelease");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(ArchiveError::read(&path))?,
        };
        let release = Release::parse(&text);
        release.map(Some).ok_or_else(|| ArchiveError::damaged(&path, "is not a signed Release file"))
    }

    pub(super) fn read_held(
        &self,
        suite: &Suite,
        package: &PackageName,
    ) -> Result<Option<Held>, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(None) };
        self.held_in(suite, &release, package)
    }

    /// Reads what a suite's `InRelease` says that it serves of a source package.
    pub(super) fn held_in(
        &self,
        suite: &Suite,
        release: &Release,
        package: &PackageName,
    ) -> Result<Option<Held>, ArchiveError> {
        for path in release.indices().iter().filter(|it| it.kind == Kind::Source) {
            if let Some(found) = self.lookup(suite, release, path, package)?.first() {
                return self.as_held(suite, found).map(Some);
            }
        }
        Ok(None)
    }

    pub(super) fn read_contents(&self, suite: &Suite) -> Result<Vec<Held>, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(Vec::new()) };
        let mut contents = Vec::new();
        for path in release.indices().iter().filter(|it| it.kind == Kind::Source) {
            let Some(listed) = release.index(path, ".gz") else { continue };
            let gz = self.read_listed(suite, listed)?;
            let text = decode_member(&gz).map_err(|e| self.bad(suite, listed, e))?;
            for stanza in split(&text).filter_map(Stanza::parse) {
                contents.push(self.as_held(suite, &stanza)?);
            }
        }
        contents.sort_by(|a, b| a.package.cmp(&b.package));
        Ok(contents)
    }

    fn as_held(&self, suite: &Suite, stanza: &Stanza) -> Result<Held, ArchiveError> {
        let problem = || format!("has a malformed paragraph of {}", stanza.key.name());
        stanza.held().ok_or_else(|| ArchiveError::damaged(&self.suite_directory(suite), problem()))
    }

    pub(super) fn read_owners(
        &self,
        suite: &Suite,
        binaries: &BTreeSet<PackageName>,
    ) -> Result<Owners, ArchiveError> {
        let mut owners = Owners::new();
        let Some(release) = self.release(suite)? else { return Ok(owners) };
        for path in release.indices().iter().filter(|it| it.is_binary()) {
            let Some(table) = self.table_of(suite, &release, path)? else { continue };
            for key in table.blocks.iter().flat_map(|it| &it.keys) {
                let Some(name) = binaries.iter().find(|it| it.as_str() == key.name()) else { continue };
                if let Ok(source) = key.source().parse() {
                    owners.entry(name.clone()).or_default().insert(source);
                }
            }
        }
        Ok(owners)
    }

    /// Reads the table of an index; `None` if there is no such index.
    pub(super) fn table_of(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
    ) -> Result<Option<Arc<Table>>, ArchiveError> {
        let Some(listed) = release.index(path, ".gz") else { return Ok(None) };
        if let Some(table) = self.table(&listed.sum.sha256) {
            return Ok(Some(table));
        }
        Ok(Some(self.recover(suite, release, path, listed)?.table))
    }

    /// Reads all paragraphs of one index; none if the release does not have it.
    pub(super) fn stanzas_of(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
    ) -> Result<Vec<Stanza>, ArchiveError> {
        let damaged = |e| ArchiveError::damaged(&self.suite_directory(suite), e);
        self.published(suite, release, path)?.all().map_err(damaged)
    }

    /// Reads the paragraphs of a source package in one index, and little more than them.
    pub(super) fn lookup(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
        source: &PackageName,
    ) -> Result<Vec<Stanza>, ArchiveError> {
        let Some(listed) = release.index(path, ".gz") else { return Ok(Vec::new()) };
        let Some(table) = self.table(&listed.sum.sha256) else {
            let published = self.recover(suite, release, path, listed)?;
            return published.entries(source.as_str()).map_err(|e| self.bad(suite, listed, e));
        };
        let (path, mut file) = self.open_listed(suite, listed)?;
        let (mut found, mut offset) = (Vec::new(), 0);
        for block in &table.blocks {
            if block.keys.iter().any(|it| it.source() == source.as_str()) {
                let length = usize::try_from(block.gz_length).unwrap_or_default();
                let mut member = vec![0; length];
                let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut member));
                read.map_err(ArchiveError::read(&path))?;
                if Sum::of(&member).sha256 != block.gz_sha256 {
                    return Err(ArchiveError::damaged(&path, "is not what it was when it was published"));
                }
                let text = decode_member(&member).map_err(|e| ArchiveError::damaged(&path, e))?;
                let stanzas = split(&text).filter_map(Stanza::parse);
                found.extend(stanzas.filter(|it| it.key.source() == source.as_str()));
            }
            offset += block.gz_length;
        }
        Ok(found)
    }

    /// Reads a whole index, with all that is needed to change it.
    pub(super) fn published(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
    ) -> Result<Published, ArchiveError> {
        let Some(listed) = release.index(path, ".gz") else { return Ok(Published::default()) };
        let Some(table) = self.table(&listed.sum.sha256) else {
            return self.recover(suite, release, path, listed);
        };
        let gz = self.read_listed(suite, listed)?;
        Ok(Published::new(table, gz, self.read_xz(suite, release, path)))
    }

    /// Reads a whole index whose table is lost, and makes the table again.
    fn recover(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
        listed: &Listed,
    ) -> Result<Published, ArchiveError> {
        let gz = self.read_listed(suite, listed)?;
        let xz = self.read_xz(suite, release, path);
        let published = Published::recover(gz, xz).map_err(|e| self.bad(suite, listed, e))?;
        let path = self.table_path(&listed.sum.sha256);
        if let Err(error) = durable::write(&path, published.table.to_text().as_bytes()) {
            tracing::debug!(%error, "the table of an index was not kept");
        }
        self.remember(&listed.sum.sha256, &published.table);
        Ok(published)
    }

    fn bad(&self, suite: &Suite, listed: &Listed, problem: io::Error) -> ArchiveError {
        ArchiveError::damaged(&self.suite_directory(suite).join(&listed.path), problem)
    }

    /// Reads the `.xz` form, which can be made again if it is lost.
    fn read_xz(&self, suite: &Suite, release: &Release, path: &IndexPath) -> Option<Vec<u8>> {
        let listed = release.index(path, ".xz")?;
        let read = self.read_listed(suite, listed);
        read.inspect_err(|error| tracing::warn!(%error, "an index is lost and will be made again")).ok()
    }

    /// Reads a file that `InRelease` names, and checks that it is that file.
    fn read_listed(&self, suite: &Suite, listed: &Listed) -> Result<Vec<u8>, ArchiveError> {
        let (path, mut file) = self.open_listed(suite, listed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(ArchiveError::read(&path))?;
        if Sum::of(&bytes) == listed.sum {
            return Ok(bytes);
        }
        Err(ArchiveError::damaged(&path, "does not have the SHA-256 sum that InRelease names"))
    }

    /// Opens a file that `InRelease` names, by its hash or else by its name, and checks its size.
    fn open_listed(&self, suite: &Suite, listed: &Listed) -> Result<(PathBuf, File), ArchiveError> {
        let directory = self.suite_directory(suite);
        let mut path = directory.join(listed.by_hash());
        if !path.exists() {
            path = directory.join(&listed.path);
        }
        let file = File::open(&path).map_err(ArchiveError::read(&path))?;
        let length = file.metadata().map_err(ArchiveError::read(&path))?.len();
        if length == listed.sum.size {
            return Ok((path, file));
        }
        Err(ArchiveError::damaged(&path, format!("has {length} bytes, not {}", listed.sum.size)))
    }

    /// Returns the table of the index that has this sum; `None` if it is lost.
    fn table(&self, sha256: &str) -> Option<Arc<Table>> {
        let known = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned();
        known.or_else(|| {
            let text = std::fs::read_to_string(self.table_path(sha256)).ok()?;
            let table = Arc::new(Table::parse(&text)?);
            self.remember(sha256, &table);
            Some(table)
        })
    }

    pub(super) fn remember(&self, sha256: &str, table: &Arc<Table>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES {
            tables.clear();
        }
        tables.insert(sha256.to_owned(), Arc::clone(table));
    }

    pub(super) fn table_path(&self, sha256: &str) -> PathBuf {
        self.state.join("tables").join(sha256)
    }
}
