//! Makes the backends that a configuration names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::Backend;
use super::origs::ServedOrigs;
use super::{Lists, Site, SiteError};
use crate::audit::AuditLog;
use crate::builder::Builder;
use crate::builder::base::BaseSpec;
use crate::builder::each_pocket::PocketBuilder;
use crate::builder::host::{HostBuilder, HostConfig};
use crate::builder::limits::BuildLimits;
use crate::builder::overlay::{KeepFailed, LAYERS, OverlayBuilder, OverlayConfig};
use crate::builder::sbuild::{ACCOUNT, SbuildBuilder, SbuildConfig};
use crate::builder::vm::{VmBuilder, VmConfig};
use crate::config::{self, Config, PublisherBackend};
use crate::durable;
use crate::error::BoxError;
use crate::examiner::Examiner;
use crate::exporter::source::{Confinement, LISTINGS, SourceExporter, TreeLimits};
use crate::finding::Finding;
use crate::hooks::{Hooks, Outbox};
use crate::names::{BaseName, PocketName};
use crate::pipeline::{Pipeline, Slots};
use crate::pocket::Pocket;
use crate::pocket::git::{GitSite, TagSigning, Tagger};
use crate::pocket::locks::PocketLocks;
use crate::policy::{BuildBackend, PocketSpec};
use crate::provenance::Attestor;
use crate::publisher::Publisher;
use crate::publisher::archive::{Archive, ArchiveSpec, SuiteSpec};
use crate::publisher::local::{LocalSource, LocalSuite};
use crate::publisher::tool::{ToolPublisher, ToolSpec};
use crate::queue::directory::DirectoryQueue;
use crate::repository::push_policy::PushPolicy;
use crate::repository::{MAX_PUSH, Repositories, RepositoryError};
use crate::signer::{GpgOnDemand, SigningKey};

/// What this process runs, even if the file has been replaced since.
const HELPER: &str = "/proc/self/exe";

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
    let outbox = Outbox::new(hooks, audit.clone(), &config.paths.outbox, config.hooks_retry_for);
    let repositories = git.repositories().clone();
    let pipeline = Pipeline {
        pockets,
        locks: PocketLocks::new(&config.paths.queue.join("rollbacks")),
        gate: Box::new(Lists(config.clone())),
        exporter: Box::new(exporter(&config, repositories, backend.publisher())),
        builder: builder(&config),
        examiner: examiner(&config),
        publisher: backend.publisher(),
        audit: Some(audit),
        attestor: Some(attestor(&config, &backend)?),
        announcer: Arc::new(outbox.clone()),
        logs: config.paths.logs.clone(),
        max_results: config.builder.results,
        slots: Slots::new(config.builder.builds),
    };
    let queue = DirectoryQueue::open(&config.paths.queue)?;
    Ok(Site { config, queue: Box::new(queue), pipeline, git, backend, outbox, through: BTreeMap::new() })
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
    let repositories = repositories(config)?;
    let tagger = Tagger::new(&config.tagger.name, &config.tagger.email).map_err(part("tagger"))?;
    let tagger = tagger.with_signing(TagSigning::new(&config.paths.gnupg, config.tagger.key.as_ref()));
    let superproject = config.paths.superproject.clone();
    Ok(GitSite::new(repositories, superproject, config.pockets.clone(), tagger, &config.tag_prefix))
}

/// Returns the hosted repositories.
pub(super) fn repositories(config: &Config) -> Result<Repositories, RepositoryError> {
    let max_push = config.hosting.max_push.unwrap_or(MAX_PUSH);
    Ok(Repositories::open(&config.paths.repositories)?.with_max_push(max_push))
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

/// Returns what vouches for publications.
fn attestor(config: &Config, backend: &Backend) -> Result<Attestor, SiteError> {
    let signer = Box::new(signer(config).map_err(part("archive"))?);
    let config::Provenance { builder_id, keep } = &config.publisher.provenance;
    Ok(Attestor::new(&config.paths.archive, backend.publisher(), signer, builder_id, *keep))
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

/// Returns the exporter.
fn exporter(config: &Config, repositories: Repositories, publisher: Arc<dyn Publisher>) -> SourceExporter {
    let suites = config.pockets.values().map(|it| (it.suite.clone(), it.policy.trust)).collect();
    SourceExporter::new(repositories, TreeLimits::default())
        .with_origs(Arc::new(ServedOrigs { publisher, suites }))
        .with_order(config.exporter.upstream_tarballs.clone())
        .with_hosted(config.exporter.hosted.clone())
        .with_confinement(confinement(config))
        .with_cache(&config.paths.cache.join(LISTINGS))
}

/// Returns where programs run that read what was pushed.
pub(super) fn confinement(config: &Config) -> Confinement {
    Confinement::new(&config.paths.scratch, &account(config))
}

/// Returns the builder: of all that pockets are built by, the one that a pocket has.
fn builder(config: &Config) -> Box<dyn Builder> {
    let builder = |backend| -> (BuildBackend, Box<dyn Builder>) {
        let builder: Box<dyn Builder> = match backend {
            BuildBackend::Sbuild => Box::new(sbuild(config)),
            BuildBackend::Overlay => {
                Box::new(OverlayBuilder::new(overlay(config)).with_archive(local_source(config)))
            }
            BuildBackend::Vm => Box::new(VmBuilder::new(vm(config)).with_archive(local_source(config))),
            BuildBackend::Host => Box::new(host(config)),
        };
        (backend, builder)
    };
    Box::new(PocketBuilder::new(config.build_backends().into_iter().map(builder)))
}

/// Returns what asks what the gates ask.
fn examiner(config: &Config) -> Option<Box<dyn Examiner>> {
    let has_rooms = config.build_backends().contains(&BuildBackend::Overlay);
    has_rooms.then(|| -> Box<dyn Examiner> {
        Box::new(OverlayBuilder::new(overlay(config)).with_archive(local_source(config)))
    })
}

/// Checks that builds can work.
pub(super) fn check_builder(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for backend in config.build_backends() {
        let found = match backend {
            BuildBackend::Sbuild => sbuild(config).check(),
            BuildBackend::Overlay => {
                OverlayBuilder::new(overlay(config)).with_archive(local_source(config)).check()
            }
            BuildBackend::Vm => VmBuilder::new(vm(config)).with_archive(local_source(config)).check(),
            BuildBackend::Host => host(config).check(),
        };
        // What two of them need is said once.
        let new: Vec<_> = found.into_iter().filter(|it| !findings.contains(it)).collect();
        findings.extend(new);
    }
    findings
}

fn sbuild(config: &Config) -> SbuildBuilder {
    SbuildBuilder::new(SbuildConfig {
        bases: bases(config),
        cache: config.paths.cache.join("bases"),
        store: config.paths.cache.join("overlay"),
        scratch: config.paths.scratch.clone(),
        account: account(config),
        limits: limits(config),
        mode: config.builder.mode.clone(),
        helper: HELPER.into(),
    })
    .with_archive(local_source(config))
}

fn overlay(config: &Config) -> OverlayConfig {
    OverlayConfig {
        bases: bases(config),
        cache: config.paths.cache.join("bases"),
        store: config.paths.cache.join("overlay"),
        scratch: config.paths.scratch.clone(),
        account: account(config),
        limits: limits(config),
        layers: config.builder.layers.unwrap_or(LAYERS),
        keep_failed: keep_failed(config),
        helper: HELPER.into(),
    }
}

fn vm(config: &Config) -> VmConfig {
    VmConfig { common: overlay(config), machine: config.builder.vm }
}

fn host(config: &Config) -> HostBuilder {
    HostBuilder::new(HostConfig {
        scratch: config.paths.scratch.clone(),
        account: account(config),
        limits: limits(config),
    })
}

/// Returns what the site serves, for builds that see it; `None` if no pocket is built against another or itself.
fn local_source(config: &Config) -> Option<LocalSource> {
    if config.pockets.values().all(|it| it.building.build_against.is_empty()) {
        return None;
    }
    let archive = &config.paths.archive;
    let suites = config.pockets.iter().map(|(name, pocket)| {
        let directory = match config.publisher.backend {
            PublisherBackend::Archive => archive.clone(),
            // Each suite has a tree of its own.
            PublisherBackend::Reprepro | PublisherBackend::Aptly => archive.join(pocket.suite.as_str()),
        };
        let (suite, components) = (pocket.suite.clone(), pocket.components.clone());
        (name.clone(), LocalSuite { directory, suite, components })
    });
    let signer = GpgOnDemand::new(&config.paths.gnupg, &config.publisher.keys);
    Some(LocalSource { suites: suites.collect(), signer: Arc::new(signer) })
}

fn keep_failed(config: &Config) -> KeepFailed {
    let (builder, default) = (&config.builder, KeepFailed::default());
    KeepFailed {
        time: builder.keep_failed.unwrap_or(default.time),
        bytes: builder.keep_failed_size.unwrap_or(default.bytes),
    }
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
