//! Makes the provenance of each publication, from what the archive serves then, and keeps it where its readers are.
//!
//! Durable before anybody is told, and the same again when it is made again: a worker that dies meanwhile leaves
//! nothing to mend.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::buildinfo::BuildInfo;
use super::statement::{Annotations, Asked, Facts, IN_RELEASE, ORIGINAL, Origin, Resource, Statement};
use super::{DIRECTORY, Envelope, ProvenanceError, UsedBase};
use crate::control::{hash_file, read_text};
use crate::durable;
use crate::names::{JobId, PackageName, Version};
use crate::publisher::archive::Removal;
use crate::publisher::{Publisher, ServedFile};
use crate::signer::Signer;
use crate::states::{BuildPlan, Recorded};

/// What the name of an envelope ends with.
const ENDING: &str = ".intoto.jsonl";

/// What is known of how something was built; nothing of what was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The bases that it was built in.
    pub bases: Vec<UsedBase>,
    /// The records of its builds (deb-buildinfo(5)).
    pub records: Vec<PathBuf>,
}

/// Makes and keeps provenances below an archive.
#[derive(Debug)]
pub struct Attestor {
    root: PathBuf,
    publisher: Arc<dyn Publisher>,
    signer: Box<dyn Signer>,
    builder_id: String,
    keep: Option<Duration>,
}

/// A provenance that lies below the archive.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its path below the archive.
    pub location: String,
    /// The SHA-256 sum of its bytes.
    pub sha256: String,
    /// What it says. Whoever read it from a file has not checked who signed it.
    pub statement: Statement,
}

impl Attestor {
    /// Takes the archive, whoever signs it, and a URI that names the site. `keep` is for how long the provenance of what
    /// is not in the archive any more is kept; `None` for ever.
    #[must_use]
    pub fn new(
        root: &Path,
        publisher: Arc<dyn Publisher>,
        signer: Box<dyn Signer>,
        builder_id: &str,
        keep: Option<Duration>,
    ) -> Self {
        Self { root: root.to_owned(), publisher, signer, builder_id: builder_id.to_owned(), keep }
    }

    /// Makes the provenance of a publication and keeps it. Records of builds that the publisher does not serve are kept
    /// beside it.
    ///
    /// # Errors
    /// What is served cannot be read, or the provenance not be signed or written.
    pub fn attest(&self, recorded: &Recorded, made: Made) -> Result<Stored, ProvenanceError> {
        let plan = recorded.plan();
        let statement = self.statement(recorded, made)?;
        let location = format!("{}{ENDING}", stem_of(plan));
        let path = self.root.join(&location);
        let is_there = |it: &Envelope| {
            it.payload().and_then(|it| Statement::parse(&it)).is_ok_and(|it| it.tells(&statement))
        };
        if !Envelope::read(&path).is_ok_and(|it| is_there(&it)) {
            let text = statement.to_text().map_err(|e| ProvenanceError::Other(e.into()))?;
            let envelope = Envelope::sign(&text, &*self.signer)?;
            durable::create_directory(path.parent().unwrap_or(&path))?;
            durable::write(&path, &envelope.to_bytes().map_err(|e| ProvenanceError::Other(e.into()))?)?;
        }
        self.link(&path, &statement)?;
        tracing::debug!(job = %plan.job().id, location, "the provenance is written");
        self.stored(&location)
    }

    fn statement(&self, recorded: &Recorded, made: Made) -> Result<Statement, ProvenanceError> {
        let plan = recorded.plan();
        let Made { bases, records } = made;
        let (mut subjects, mut byproducts, mut installed) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = BTreeSet::new();
        let mut files = self.publisher.files(plan.suite(), plan.package())?;
        if !files.iter().any(|it| it.name().ends_with(".buildinfo")) {
            files.extend(self.keep(plan, &records)?);
        }
        for file in files {
            let location = self.location_of(&file.path)?;
            let name = location.rsplit('/').next().unwrap_or_default();
            let resource = Resource::file(name, &file.sha256, location);
            if !name.ends_with(".buildinfo") {
                subjects.push(resource);
                continue;
            }
            let found = hash_file(&file.path, name.parse().map_err(other)?)?;
            if found.sha256 != file.sha256 {
                return Err(ProvenanceError::unfit(&file.path, "it is not the file that the archive lists"));
            }
            byproducts.push(resource);
            // A build wrote it, and could write anything. What cannot be read tells nothing, and holds nothing up.
            match read_text(&file.path).and_then(|text| BuildInfo::parse(&file.path, &text)) {
                Ok(info) => {
                    let new = info.installed.into_iter().filter(|it| known.insert(it.uri.clone()));
                    installed.extend(new);
                }
                Err(error) => tracing::warn!(%error, "the packages that a build had are not known"),
            }
        }
        byproducts.extend(self.in_release(recorded)?);
        let origin = match recorded.copied_from() {
            Some(from) => Origin::Copied(from.clone(), self.original(plan, &subjects)?),
            None => Origin::Built(bases, installed),
        };
        let request = &plan.job().request;
        Ok(Statement::new(Facts {
            asked: Asked {
                pocket: plan.pocket().name.clone(),
                package: plan.package().clone(),
                commit: plan.commit().clone(),
            },
            version: plan.version().clone(),
            suite: plan.suite().clone(),
            job: plan.job().id.clone(),
            builder_id: &self.builder_id,
            backend: plan.pocket().building.backend,
            added: request.adds.clone(),
            subjects,
            byproducts,
            origin,
        }))
    }

    fn in_release(&self, recorded: &Recorded) -> Result<Option<Resource>, ProvenanceError> {
        let suite = recorded.plan().suite();
        let generation = recorded.generation();
        let Some(served) = self.publisher.in_release(suite, generation)? else { return Ok(None) };
        let file = Resource::file(IN_RELEASE, &served.sha256, self.location_of(&served.path)?);
        let suite = Some(suite.clone());
        Ok(Some(Resource { annotations: Annotations { suite, generation, architecture: None }, ..file }))
    }

    /// Returns the path of a file below the archive.
    fn location_of<'a>(&self, path: &'a Path) -> Result<&'a str, ProvenanceError> {
        let below = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        below.ok_or_else(|| ProvenanceError::unfit(path, "it is served, but lies not below the archive"))
    }

    /// Keeps the records of builds beside the provenance.
    fn keep(&self, plan: &BuildPlan, records: &[PathBuf]) -> Result<Vec<ServedFile>, ProvenanceError> {
        let directory = self.root.join(stem_of(plan));
        let mut kept = Vec::new();
        for record in records {
            let path = directory.join(record.file_name().unwrap_or_default());
            durable::create_directory(&directory)?;
            durable::copy(record, &path)?;
            kept.push(ServedFile { sha256: sum_of(&path)?, path });
        }
        Ok(kept)
    }

    /// Finds the provenance of the last build that made the same files as a copy has.
    fn original(&self, plan: &BuildPlan, subjects: &[Resource]) -> Result<Option<Resource>, ProvenanceError> {
        let sums = |all: &[Resource]| all.iter().filter_map(|it| it.sha256().map(str::to_owned)).collect();
        let wanted: BTreeSet<String> = sums(subjects);
        let is_its = |it: &Stored| {
            let made: BTreeSet<String> = sums(&it.statement.subject);
            it.statement.decided().copied_from.is_none()
                && it.statement.asked().commit == *plan.commit()
                && !wanted.is_disjoint(&made)
        };
        let found = self.locations(&directory_of(plan.package(), plan.version()))?.into_iter().rev();
        // One that cannot be read vouches for nothing, and holds nothing up.
        let found = found.filter_map(|it| self.stored(&it).ok()).find(is_its);
        Ok(found.map(|it| Resource::file(ORIGINAL, &it.sha256, &it.location)))
    }

    /// Gives the envelope a name by the sum of each of its files.
    fn link(&self, path: &Path, statement: &Statement) -> Result<(), ProvenanceError> {
        let directory = self.root.join(DIRECTORY).join("by-hash").join("SHA256");
        durable::create_directory(&directory)?;
        let names: Vec<PathBuf> =
            statement.files().filter_map(Resource::sha256).map(|it| directory.join(it)).collect();
        Ok(durable::link_all(names.iter().map(|it| (path, it.as_path())))?)
    }

    /// Returns the provenances of a version, in the order of their jobs. Nobody has checked their signatures.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn of_version(
        &self,
        package: &PackageName,
        version: &Version,
    ) -> Result<Vec<Stored>, ProvenanceError> {
        self.locations(&directory_of(package, version))?.iter().map(|it| self.stored(it)).collect()
    }

    /// Returns the envelopes in a directory below the archive, in the order of their names.
    fn locations(&self, directory: &str) -> Result<Vec<String>, ProvenanceError> {
        let names = names_in(&self.root.join(directory))?.into_iter().filter(|it| it.ends_with(ENDING));
        Ok(names.map(|it| format!("{directory}/{it}")).collect())
    }

    /// Returns the provenances of a package, by their versions and jobs. Nobody has checked their signatures.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn of_package(&self, package: &PackageName) -> Result<Vec<Stored>, ProvenanceError> {
        let mut found = Vec::new();
        for version in names_in(&self.root.join(DIRECTORY).join(package.as_str()))? {
            let Ok(version) = version.parse() else { continue };
            found.extend(self.of_version(package, &version)?);
        }
        found.sort_by(|a, b| a.statement.job().cmp(b.statement.job()));
        Ok(found)
    }

    /// Returns the provenance that a job left; `None` if it left none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_job(&self, package: &PackageName, job: &JobId) -> Result<Option<Stored>, ProvenanceError> {
        Ok(self.of_package(package)?.into_iter().rfind(|it| it.statement.job() == job))
    }

    fn stored(&self, location: &str) -> Result<Stored, ProvenanceError> {
        let path = self.root.join(location);
        let payload = Envelope::read(&path)?.payload();
        let statement = payload.and_then(|it| Statement::parse(&it));
        let statement = statement.map_err(|problem| ProvenanceError::unfit(&path, problem))?;
        Ok(Stored { location: location.to_owned(), sha256: sum_of(&path)?, statement })
    }

    /// Returns the SHA-256 sum of what lies at a path below the archive; `None` if nothing does.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn sum(&self, location: &str) -> Result<Option<String>, ProvenanceError> {
        let path = self.root.join(location);
        if path.exists() { sum_of(&path).map(Some) } else { Ok(None) }
    }

    /// Removes the provenances of what is not in the archive any more, when they are old enough, or only says which
    /// would go.
    ///
    /// # Errors
    /// One cannot be read or removed.
    pub fn expire(&self, now: SystemTime, is_trial: bool) -> Result<Vec<Removal>, ProvenanceError> {
        let Some(keep) = self.keep else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        for package in names_in(&self.root.join(DIRECTORY))?.iter().filter_map(|it| it.parse().ok()) {
            for stored in self.of_package(&package)? {
                let Ok(file) = std::fs::metadata(self.root.join(&stored.location)) else { continue };
                let is_old =
                    file.modified().is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > keep));
                let lies = |it: &Resource| {
                    let location = it.download_location.as_ref().filter(|_| !it.is_kept_beside());
                    location.is_some_and(|it| self.root.join(it).exists())
                };
                if !is_old || stored.statement.files().any(lies) {
                    continue;
                }
                if !is_trial {
                    self.remove(&stored)?;
                }
                gone.push(Removal { path: stored.location, size: file.len() });
            }
        }
        Ok(gone)
    }

    fn remove(&self, stored: &Stored) -> Result<(), ProvenanceError> {
        let directory = self.root.join(DIRECTORY).join("by-hash").join("SHA256");
        let links = stored.statement.files().filter_map(Resource::sha256).map(|it| directory.join(it));
        // Another publication may have the name now.
        let own = links.filter(|it| sum_of(it).is_ok_and(|sum| sum == stored.sha256));
        let paths: Vec<PathBuf> = own.chain([self.root.join(&stored.location)]).collect();
        if let Some(stem) = stored.location.strip_suffix(ENDING) {
            durable::remove_directory(&self.root.join(stem))?;
        }
        Ok(durable::remove_all(paths.iter().map(PathBuf::as_path))?)
    }
}

fn other<E: Into<crate::error::BoxError>>(error: E) -> ProvenanceError {
    ProvenanceError::Other(error.into())
}

fn directory_of(package: &PackageName, version: &Version) -> String {
    format!("{DIRECTORY}/{package}/{version}")
}

/// Returns the path of a publication's provenance below the archive, without what it ends with.
fn stem_of(plan: &BuildPlan) -> String {
    format!("{}/{}", directory_of(plan.package(), plan.version()), plan.job().id)
}

fn sum_of(path: &Path) -> Result<String, ProvenanceError> {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    Ok(hash_file(path, name.parse().map_err(other)?)?.sha256)
}

/// Returns the names in a directory, in their order, without unfinished files; none if there is no such directory.
fn names_in(directory: &Path) -> Result<Vec<String>, ProvenanceError> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.map_err(|e| ProvenanceError::unfit(directory, format!("it cannot be read: {e}")))?
        }
    };
    let names = entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|it| !durable::is_unfinished(it)).collect();
    names.sort();
    Ok(names)
}
