//! Makes the backends that a configuration names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::Backend;
use super::{Lists, Site, SiteError};
use crate::audit::AuditLog;
use crate::builder::base::BaseSpec;
use crate::builder::sbuild::{ACCOUNT, BuildLimits, SbuildBuilder, SbuildConfig};
use crate::config::{self, Config, PublisherBackend};
use crate::durable;
use crate::error::BoxError;
use crate::exporter::native::{NativeExporter, TreeLimits};
use crate::hooks::Hooks;
use crate::names::PocketName;
use crate::pipeline::Pipeline;
use crate::pocket::Pocket;
use crate::pocket::git::{GitSite, Tagger};
use crate::pocket::locks::PocketLocks;
use crate::policy::PocketSpec;
use crate::publisher::archive::{Archive, ArchiveSpec, SuiteSpec};
use crate::publisher::tool::{ToolPublisher, ToolSpec};
use crate::queue::directory::DirectoryQueue;
use crate::repository::Repositories;
use crate::repository::push_policy::PushPolicy;
use crate::signer::{GpgOnDemand, SigningKey};

/// The file in the archive that has its public key.
const KEY_FILE: &str = "archive-key.asc";

fn part<E: Into<BoxError>>(part: &'static str) -> impl FnOnce(E) -> SiteError {
    move |e| SiteError::Part { part, source: e.into() }
}

/// Opens a site.
///
/// Nothing here is slow: what takes time, such as asking `gpg` for a key, waits until somebody needs it.
pub(super) fn open(config: Config) -> Result<Site, SiteError> {
    let git = git(&config)?;
    let backend = backend(&config)?;
    let mut pockets: BTreeMap<PocketName, Box<dyn Pocket>> = BTreeMap::new();
    for name in config.pockets.keys() {
        if let Some(pocket) = git.pocket(name) {
            pockets.insert(name.clone(), Box::new(pocket));
        }
    }
    let hooks = Hooks::new(&config.paths.hooks, config.hook_timeout, config.paths.logs.join("hooks.log"));
    let audit = AuditLog::new(&config.paths.audit);
    let hooks = Arc::new(hooks.with_audit(audit.clone()));
    let repositories = git.repositories().clone();
    let pipeline = Pipeline {
        pockets,
        locks: PocketLocks::new(&config.paths.queue.join("rollbacks")),
        gate: Box::new(Lists(config.clone())),
        exporter: Box::new(NativeExporter::new(repositories, TreeLimits::default())),
        builder: Box::new(builder(&config)),
        publisher: backend.publisher(),
        audit: Some(audit),
        announcer: Arc::<Hooks>::clone(&hooks),
        logs: config.paths.logs.clone(),
        max_results: config.builder.results,
    };
    let queue = DirectoryQueue::open(&config.paths.queue)?;
    Ok(Site { config, queue: Box::new(queue), pipeline, git, backend, hooks })
}

/// Makes the parts of a new site that the other parts expect to find.
pub(super) fn prepare(config: &Config) -> Result<(), SiteError> {
    durable::create_directory(&config.paths.repositories).map_err(part("repositories"))?;
    git(config)?.initialize()?;
    backend(config)?.publisher().prepare()?;
    DirectoryQueue::open(&config.paths.queue)?;
    Ok(())
}

fn git(config: &Config) -> Result<Arc<GitSite>, SiteError> {
    let repositories = Repositories::open(&config.paths.repositories)?;
    let tagger = Tagger::new(&config.tagger.name, &config.tagger.email).map_err(part("tagger"))?;
    let superproject = config.paths.superproject.clone();
    Ok(GitSite::new(repositories, superproject, config.pockets.clone(), tagger, &config.tag_prefix))
}

fn backend(config: &Config) -> Result<Backend, SiteError> {
    let tool = match config.publisher.backend {
        PublisherBackend::Archive => return Ok(Backend::Archive(Arc::new(archive(config)?))),
        PublisherBackend::Reprepro => ToolPublisher::reprepro,
        PublisherBackend::Aptly => ToolPublisher::aptly,
    };
    let spec = ToolSpec {
        directory: config.paths.archive.clone(),
        // It is no cache: without it the program does not know what it serves.
        state: config.root.join(config.publisher.backend.as_str()),
        key_file: KEY_FILE.parse()?,
        suites: config.pockets.values().map(|it| suite(config, it)).collect(),
        gnupg: config.paths.gnupg.clone(),
        keys: keys(config).map_err(part("archive"))?.to_vec(),
    };
    Ok(Backend::Tool(Arc::new(tool(spec))))
}

fn archive(config: &Config) -> Result<Archive, SiteError> {
    let spec = ArchiveSpec {
        directory: config.paths.archive.clone(),
        state: config.paths.cache.join("archive"),
        key_file: KEY_FILE.parse()?,
        suites: config.pockets.values().map(|it| suite(config, it)).collect(),
        retention: config.publisher.retention,
        valid_for: config.publisher.valid_for,
    };
    Ok(Archive::new(spec, Box::new(signer(config).map_err(part("archive"))?)))
}

fn suite(config: &Config, pocket: &PocketSpec) -> SuiteSpec {
    let config::Publisher { origin, label, changelogs, contents, descriptions, debug, compression, .. } =
        &config.publisher;
    let plain = SuiteSpec::of(pocket, origin, label);
    let release = config.releases.get(&pocket.name).cloned().unwrap_or_default();
    SuiteSpec {
        debug: debug.clone(),
        codename: release.codename,
        description: release.description.unwrap_or(plain.description),
        changelogs: changelogs.clone(),
        upgrades: release.upgrades,
        contents: *contents,
        descriptions: *descriptions,
        compression: compression.clone(),
        ..plain
    }
}

/// Returns the archive's signer, which looks for its keys when they are first needed.
pub(super) fn signer(config: &Config) -> Result<GpgOnDemand, BoxError> {
    Ok(GpgOnDemand::new(&config.paths.gnupg, keys(config)?))
}

fn keys(config: &Config) -> Result<&[SigningKey], BoxError> {
    let keys = &config.publisher.keys;
    if keys.is_empty() {
        return Err(
            "publisher.keys names no key; name one by its fingerprint, as `gpg --list-secret-keys` prints it"
                .into(),
        );
    }
    Ok(keys)
}

/// Returns the builder.
pub(super) fn builder(config: &Config) -> SbuildBuilder {
    let bases = config.bases.iter().map(|(name, base)| {
        let spec = BaseSpec {
            mirror: base.mirror.clone(),
            suites: base.suites.iter().map(ToString::to_string).collect(),
            components: base.components.iter().map(ToString::to_string).collect(),
            keyring: base.keyring.clone(),
            refresh: base.refresh,
        };
        (name.clone(), spec)
    });
    let limits = config.builder.limits;
    SbuildBuilder::new(SbuildConfig {
        bases: bases.collect(),
        cache: config.paths.cache.join("bases"),
        scratch: config.paths.scratch.clone(),
        account: config.builder.user.clone().unwrap_or_else(|| ACCOUNT.to_owned()),
        limits: BuildLimits {
            time: limits.time,
            silence: limits.silence,
            log: limits.output,
            results: config.builder.results,
            ..BuildLimits::default()
        },
    })
}

/// Returns which pushes to the hosted repositories are let through.
#[must_use]
pub fn push_policy(config: &Config) -> PushPolicy {
    PushPolicy::new(&config.pockets, &config.tag_prefix)
}
