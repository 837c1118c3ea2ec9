//! What a suite serves, read from the files that its `InRelease` names.
//!
//! Takes no lock: those files never change, and stay long after another `InRelease` took the place of theirs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::compression::Compression;
use super::index::{IndexFile, IndexFiles, Published, Sources};
use super::release::{IndexPath, Kind, Listed, Release};
use super::stanza::{PoolFile, Stanza};
use super::table::Table;
use super::{Archive, ArchiveError};
use crate::durable;
use crate::names::{Architecture, PackageName, Suite};
use crate::policy::Held;
use crate::publisher::{Owners, ServedFile};

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
            for stanza in self.published(suite, &release, path)?.all()? {
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

    /// Reads which files a suite serves of a source package, with its binary packages.
    pub(super) fn read_files(
        &self,
        suite: &Suite,
        package: &PackageName,
    ) -> Result<Vec<ServedFile>, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(Vec::new()) };
        let mut files = BTreeSet::new();
        for path in release.indices().iter().filter(|it| it.names_files()) {
            for stanza in self.lookup(suite, &release, path, package)? {
                let served =
                    |it: PoolFile| ServedFile { path: self.directory().join(&it.path), sha256: it.sha256 };
                files.extend(stanza.files().into_iter().map(served));
            }
        }
        Ok(files.into_iter().collect())
    }

    /// Reads the paragraphs of the binary packages for an architecture.
    pub(super) fn read_paragraphs(
        &self,
        suite: &Suite,
        architecture: &Architecture,
    ) -> Result<Vec<String>, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(Vec::new()) };
        let mut paragraphs = Vec::new();
        let is_wanted = |it: &&IndexPath| matches!(&it.kind, Kind::Binary(found) if found == architecture);
        for path in release.indices().iter().filter(is_wanted) {
            paragraphs.extend(self.stanzas_of(suite, &release, path)?.into_iter().map(|it| it.text));
        }
        Ok(paragraphs)
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
            for name in binaries {
                let sources = table.named(name.as_str()).filter_map(|it| it.to_key().source().parse().ok());
                for source in sources {
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
        let Some((_, listed)) = main(release, path) else { return Ok(None) };
        if let Some(table) = self.table(&listed.sum.sha256) {
            return Ok(Some(table));
        }
        Ok(Some(self.published(suite, release, path)?.table))
    }

    /// Reads all entries of one index; none if the release does not have it.
    pub(super) fn stanzas_of(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
    ) -> Result<Vec<Stanza>, ArchiveError> {
        self.published(suite, release, path)?.all()
    }

    /// Reads the entries of a source package in one index, and little more than them.
    pub(super) fn lookup(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
        source: &PackageName,
    ) -> Result<Vec<Stanza>, ArchiveError> {
        let Some(table) = self.table_of(suite, release, path)? else { return Ok(Vec::new()) };
        if !table.all_keys().any(|it| it.source() == source.as_str().as_bytes()) {
            return Ok(Vec::new());
        }
        self.published(suite, release, path)?.entries(source.as_str())
    }

    /// Finds an index, with all that is needed to read and to change it.
    pub(super) fn published(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
    ) -> Result<Published, ArchiveError> {
        let layout = path.layout();
        let Some((_, listed)) = main(release, path) else { return Ok(Published::empty(layout)) };
        let files = self.files(suite, release, path)?;
        if let Some(table) = self.table(&listed.sum.sha256) {
            return Ok(Published::new(layout, table, files));
        }
        let published = Published::recover(layout, files, &self.sources_for(suite, release, path)?)?;
        let sha256 = &listed.sum.sha256;
        if let Err(error) = durable::note(&self.table_path(sha256), &published.table.to_bytes()) {
            tracing::debug!(%error, "the table of an index was not kept");
        }
        self.remember(sha256, &published.table);
        Ok(published)
    }

    /// Opens the files of an index. Those that can be made again from the first may be lost.
    fn files(&self, suite: &Suite, release: &Release, path: &IndexPath) -> Result<IndexFiles, ArchiveError> {
        let mut files = IndexFiles::new();
        for compression in Compression::ALL {
            let Some(listed) = release.index(path, compression.ending()) else { continue };
            match self.open_listed(suite, listed) {
                Ok(file) => drop(files.insert(compression, file)),
                Err(error) if files.is_empty() => return Err(error),
                Err(error) => tracing::warn!(%error, "an index is lost and will be made again"),
            }
        }
        Ok(files)
    }

    /// Returns the source packages that the entries of an index do not name themselves.
    fn sources_for(
        &self,
        suite: &Suite,
        release: &Release,
        path: &IndexPath,
    ) -> Result<Sources, ArchiveError> {
        let mut sources = Sources::new();
        for packages in release.indices().iter().filter(|it| path.takes_its_sources_from(it)) {
            let Some(table) = self.table_of(suite, release, packages)? else { continue };
            let keys = table.all_keys().map(super::table::KeyRef::to_key);
            sources.extend(keys.map(|it| (it.name().to_owned(), it.source().to_owned())));
        }
        Ok(sources)
    }

    /// Opens a file that `InRelease` names, by its hash or else by its name, and checks its size.
    fn open_listed(&self, suite: &Suite, listed: &Listed) -> Result<IndexFile, ArchiveError> {
        let directory = self.suite_directory(suite);
        let mut path = directory.join(listed.by_hash());
        if !path.exists() {
            path = directory.join(&listed.path);
        }
        let file = File::open(&path).map_err(ArchiveError::read(&path))?;
        let length = file.metadata().map_err(ArchiveError::read(&path))?.len();
        if length == listed.sum.size {
            return Ok(IndexFile { path, file, sum: listed.sum.clone() });
        }
        Err(ArchiveError::damaged(&path, format!("has {length} bytes, not {}", listed.sum.size)))
    }

    /// Returns the table of the index that has this sum; `None` if it is lost.
    fn table(&self, sha256: &str) -> Option<Arc<Table>> {
        let known = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned();
        known.or_else(|| {
            let _span = tracing::debug_span!("read tables").entered();
            let bytes = std::fs::read(self.table_path(sha256)).ok()?;
            let table = Arc::new(Table::parse(&bytes)?);
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

/// Returns the compressed index that is read: the one that its table is named by.
fn main<'a>(release: &'a Release, path: &IndexPath) -> Option<(Compression, &'a Listed)> {
    Compression::ALL.into_iter().find_map(|it| Some((it, release.index(path, it.ending())?)))
}
