//! Makes the backends that a configuration names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::Backend;
use super::{Lists, Site, SiteError};
use crate::audit::AuditLog;
use crate::builder::Builder;
use crate::builder::base::BaseSpec;
use crate::builder::limits::BuildLimits;
use crate::builder::overlay::{LAYERS, OverlayBuilder, OverlayConfig};
use crate::builder::sbuild::{ACCOUNT, SbuildBuilder, SbuildConfig};
use crate::config::{self, BuildBackend, Config, PublisherBackend};
use crate::durable;
use crate::error::BoxError;
use crate::exporter::native::{NativeExporter, TreeLimits};
use crate::finding::Finding;
use crate::hooks::Hooks;
use crate::names::{BaseName, PocketName};
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
        builder: builder(&config),
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
fn builder(config: &Config) -> Box<dyn Builder> {
    match config.builder.backend {
        BuildBackend::Sbuild => Box::new(sbuild(config)),
        BuildBackend::Overlay { layers } => Box::new(overlay(config, layers)),
    }
}

/// Checks that builds can work.
pub(super) fn check_builder(config: &Config) -> Vec<Finding> {
    match config.builder.backend {
        BuildBackend::Sbuild => sbuild(config).check(),
        BuildBackend::Overlay { layers } => overlay(config, layers).check(),
    }
}

fn sbuild(config: &Config) -> SbuildBuilder {
    SbuildBuilder::new(SbuildConfig {
        bases: bases(config),
        cache: config.paths.cache.join("bases"),
        scratch: config.paths.scratch.clone(),
        account: account(config),
        limits: limits(config),
    })
}

fn overlay(config: &Config, layers: Option<u64>) -> OverlayBuilder {
    OverlayBuilder::new(OverlayConfig {
        bases: bases(config),
        cache: config.paths.cache.join("bases"),
        store: config.paths.cache.join("overlay"),
        scratch: config.paths.scratch.clone(),
        account: account(config),
        limits: limits(config),
        layers: layers.unwrap_or(LAYERS),
        // What this process runs, even if the file has been replaced since.
        helper: "/proc/self/exe".into(),
    })
}

fn account(config: &Config) -> String {
    config.builder.user.clone().unwrap_or_else(|| ACCOUNT.to_owned())
}

fn bases(config: &Config) -> BTreeMap<BaseName, BaseSpec> {
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
    bases.collect()
}

fn limits(config: &Config) -> BuildLimits {
    let (builder, default) = (&config.builder, BuildLimits::default());
    BuildLimits {
        time: builder.limits.time,
        silence: builder.limits.silence,
        log: builder.limits.output,
        processes: builder.processes.unwrap_or(default.processes),
        disk: builder.disk,
        memory: builder.memory,
        results: builder.results,
    }
}

/// Returns which pushes to the hosted repositories are let through.
#[must_use]
pub fn push_policy(config: &Config) -> PushPolicy {
    PushPolicy::new(&config.pockets, &config.tag_prefix)
}
