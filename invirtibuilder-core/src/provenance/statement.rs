//! What a provenance says: an in-toto Statement v1 with the predicate of SLSA Provenance v1.
//!
//! Plain data; reads and writes nothing. What it does not know is left out.

use serde::{Deserialize, Serialize};

use super::UsedBase;
use crate::names::{Architecture, CommitId, JobId, PackageName, PocketName, Suite, Version};
use crate::policy::BuildBackend;
use crate::publisher::Generation;

/// The kind of in-toto statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The kind of predicate.
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// A publication that was built from its commit.
const BUILD: &str = "urn:invirtibuilder:build:1";
/// A publication that was copied from another pocket, bit for bit.
const COPY: &str = "urn:invirtibuilder:copy:1";
/// The name of the dependency that is the provenance of what was copied.
pub(super) const ORIGINAL: &str = "provenance of the build";
/// What the `InRelease` file is called.
pub(super) const IN_RELEASE: &str = "InRelease";

/// The sums of a thing. The commit of a Git repository has one of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Digest {
    /// Of a file, in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}

/// Facts about a thing that have no field of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// The suite that an `InRelease` is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<Suite>,
    /// The number of the suite's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The architecture that a base is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
}

impl Annotations {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A thing that was made, or that something was made from (in-toto's `ResourceDescriptor`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What names it everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its sums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where it is, as a path below the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_location: Option<String>,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Resource {
    /// Describes a file that lies below the archive.
    pub(super) fn file(name: &str, sha256: &str, location: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            digest: Some(Digest { sha256: Some(sha256.to_owned()), git_commit: None }),
            download_location: Some(location.to_owned()),
            ..Self::default()
        }
    }

    /// Returns its SHA-256 sum.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.digest.as_ref()?.sha256.as_deref()
    }

    /// Returns whether it lies beside the provenance, and not where the archive's indices lead.
    pub(super) fn is_kept_beside(&self) -> bool {
        let below = self.download_location.as_deref().and_then(|it| it.strip_prefix(super::DIRECTORY));
        below.is_some_and(|it| it.starts_with('/'))
    }

    /// Returns what it is called.
    #[must_use]
    pub fn called(&self) -> &str {
        self.name.as_deref().or(self.uri.as_deref()).unwrap_or_default()
    }
}

/// What the requester chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The pocket.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The commit.
    pub commit: CommitId,
}

/// What the site decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The version at the commit.
    pub version: Version,
    /// The suite that it was published in.
    pub suite: Suite,
    /// What built it; `None` for a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// The pocket that it was copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<PocketName>,
    /// The architecture that was added to what was served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<Architecture>,
}

/// What was done, and from what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// How the other fields are meant.
    pub build_type: String,
    /// What the requester chose.
    pub external_parameters: Asked,
    /// What the site decided.
    pub internal_parameters: Decided,
    /// What it was made from: the commit, the bases, the packages that were installed, or the provenance of what was
    /// copied.
    #[serde(default)]
    pub resolved_dependencies: Vec<Resource>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// A URI that names the site.
    pub id: String,
    /// The program's version.
    #[serde(default)]
    pub version: std::collections::BTreeMap<String, String>,
}

/// Which run it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The job.
    pub invocation_id: JobId,
}

/// Who did it, and what else was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetails {
    /// Who did it.
    pub builder: Builder,
    /// Which run it was.
    pub metadata: Metadata,
    /// The records of the builds, and the `InRelease` that told readers of it.
    #[serde(default)]
    pub byproducts: Vec<Resource>,
}

/// The predicate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// What was done, and from what.
    pub build_definition: BuildDefinition,
    /// Who did it, and what else was made.
    pub run_details: RunDetails,
}

/// The whole statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Which kind of statement it is.
    #[serde(rename = "_type")]
    pub kind: String,
    /// The files of the source package, and the binary packages.
    pub subject: Vec<Resource>,
    /// Which kind of predicate it has.
    pub predicate_type: String,
    /// The predicate.
    pub predicate: Predicate,
}

/// What a statement is made of.
pub(super) struct Facts<'a> {
    pub(super) asked: Asked,
    pub(super) version: Version,
    pub(super) suite: Suite,
    pub(super) job: JobId,
    pub(super) builder_id: &'a str,
    pub(super) backend: BuildBackend,
    pub(super) added: Option<Architecture>,
    pub(super) subjects: Vec<Resource>,
    pub(super) byproducts: Vec<Resource>,
    pub(super) origin: Origin,
}

/// Where the packages are from.
pub(super) enum Origin {
    /// They were built in these bases, with these packages.
    Built(Vec<UsedBase>, Vec<Resource>),
    /// They were copied from a pocket; the provenance of their build, if there is one.
    Copied(PocketName, Option<Resource>),
}

impl Statement {
    /// Makes the statement of a publication. The same facts make the same statement.
    pub(super) fn new(facts: Facts<'_>) -> Self {
        let Facts { asked, version, suite, job, builder_id, backend, added, subjects, byproducts, origin } =
            facts;
        let mut dependencies = vec![Resource {
            name: Some(format!("{}.git", asked.package)),
            digest: Some(Digest { sha256: None, git_commit: Some(asked.commit.to_string()) }),
            ..Resource::default()
        }];
        let (build_type, builder, copied_from) = match origin {
            Origin::Built(bases, packages) => {
                dependencies.extend(bases.into_iter().map(base));
                dependencies.extend(packages);
                (BUILD, Some(backend.to_string()), None)
            }
            Origin::Copied(from, original) => {
                dependencies.extend(original);
                (COPY, None, Some(from))
            }
        };
        let version_of = ("invirtibuilder".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Self {
            kind: STATEMENT.to_owned(),
            subject: subjects,
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                build_definition: BuildDefinition {
                    build_type: build_type.to_owned(),
                    external_parameters: asked,
                    internal_parameters: Decided { version, suite, builder, copied_from, added },
                    resolved_dependencies: dependencies,
                },
                run_details: RunDetails {
                    builder: Builder { id: builder_id.to_owned(), version: [version_of].into() },
                    metadata: Metadata { invocation_id: job },
                    byproducts,
                },
            },
        }
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// It is none, or of another kind: what it is.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let statement: Self = serde_json::from_slice(bytes)
            .map_err(|e| format!("it holds no provenance of a Debian package that we know: {e}"))?;
        for (found, wanted) in [(&statement.kind, STATEMENT), (&statement.predicate_type, PREDICATE)] {
            if found != wanted {
                return Err(format!("it holds a {found:?}, not a {wanted}"));
            }
        }
        let kind = &statement.predicate.build_definition.build_type;
        if kind != BUILD && kind != COPY {
            return Err(format!("it is of the kind {kind:?}, which this version does not know"));
        }
        Ok(statement)
    }

    /// Returns whether it says the same as another. Where suites have no numbered states, the `InRelease` of a later
    /// one is as good.
    pub(super) fn tells(&self, other: &Self) -> bool {
        let stable = |it: &Self| {
            let is_one = |it: &Resource| it.called() == IN_RELEASE && it.annotations.generation.is_none();
            let mut it = it.clone();
            it.predicate.run_details.byproducts.retain(|it| !is_one(it));
            it
        };
        stable(self) == stable(other)
    }

    /// Returns the text that is signed.
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        // In lines, so that it is also fit to be read, and for signers that cut long ones; and no line ends with a blank.
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns what was asked for.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.predicate.build_definition.external_parameters
    }

    /// Returns what was decided.
    #[must_use]
    pub fn decided(&self) -> &Decided {
        &self.predicate.build_definition.internal_parameters
    }

    /// Returns the job.
    #[must_use]
    pub fn job(&self) -> &JobId {
        &self.predicate.run_details.metadata.invocation_id
    }

    /// Returns what it was made from.
    #[must_use]
    pub fn dependencies(&self) -> &[Resource] {
        &self.predicate.build_definition.resolved_dependencies
    }

    /// Returns what else was made.
    #[must_use]
    pub fn byproducts(&self) -> &[Resource] {
        &self.predicate.run_details.byproducts
    }

    /// Returns the provenance of what was copied.
    #[must_use]
    pub fn original(&self) -> Option<&Resource> {
        self.dependencies().iter().find(|it| it.name.as_deref() == Some(ORIGINAL))
    }

    /// Returns the files that it tells the sums of, but for `InRelease`: those of the source package, the binary packages,
    /// and the records of the builds.
    pub fn files(&self) -> impl Iterator<Item = &Resource> {
        let records = self.byproducts().iter().filter(|it| it.called() != IN_RELEASE);
        self.subject.iter().chain(records)
    }

    /// Returns the `InRelease` that told readers of it first.
    #[must_use]
    pub fn in_release(&self) -> Option<&Resource> {
        self.byproducts().iter().find(|it| it.called() == IN_RELEASE)
    }
}

fn base(base: UsedBase) -> Resource {
    Resource {
        name: Some(format!("base {}", base.name)),
        digest: Some(Digest { sha256: Some(base.sha256), git_commit: None }),
        annotations: Annotations { architecture: Some(base.architecture), ..Annotations::default() },
        ..Resource::default()
    }
}
