//! Reads the whole configuration from its tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::acls::read_lists;
use super::builder::{read_backend, read_builder};
use super::exporter::read_exporter;
use super::hosting::read_hosting;
use super::keys::{read_key, read_keyring_package, read_keys};
use super::pockets::{Pocket, PocketDefaults, read_pockets};
use super::section::{Place, Problems, Section, Value};
use super::tree::Node;
use super::units::parse_duration;
use super::{Base, Config, DEFAULT_ROOT, Host, Paths, Provenance, Publisher, PublisherBackend, Tagger};
use crate::hooks::PATIENCE;
use crate::names::{BaseName, BranchName, Component};
use crate::policy::PocketSpec;
use crate::publisher::archive::{Compression, Descriptions, Retention};

/// Reads the configuration; `None` if something that has no default is not there. Then, as for everything else
/// that is wrong, a problem is noted.
pub(super) fn read<'a>(tree: &'a Node, host: &Host, problems: &'a Problems<'a>) -> Option<Config> {
    let mut top = Section::of(Some(tree), Place::top(problems));
    let root = read_root(&mut top);
    let paths = read_paths(top.section("paths"), &root);
    let acls = top.section("acls");
    let names = acls.keys();
    let lists = read_lists(acls, &root, &names);
    let impersonate = top.value("impersonate").map(|it| it.list()).unwrap_or_default();
    let mut bases = read_bases(top.section("bases"), &root);

    let mut build = top.section("build");
    let mut builder = top.section("builder");
    let backend = read_backend(&mut builder);
    let site = PocketDefaults { root: &root, host, bases: &bases, lists: &names, backend };
    let pockets = read_pockets(build.section("pockets"), &site);
    let tagger = read_tagger(build.section("tagger"));
    let tag_prefix = read_tag_prefix(&mut build);
    build.finish();
    define_host_base(&mut bases, pockets.iter().map(|it| &it.spec));

    let mut queue = top.section("queue");
    queue.backend("directory");
    queue.finish();
    let exporter = read_exporter(top.section("exporter"));
    let used = pockets.iter().map(|it| it.spec.building.backend).collect();
    let builder = read_builder(builder, backend, &used);
    let publisher = read_publisher(top.section("publisher"));
    check_releases(publisher.backend, &pockets, &Place::top(problems));
    let hosting = read_hosting(top.section("hosting"), &root, &names);
    let (hook_timeout, hooks_retry_for) = read_hooks(top.section("hooks"));
    top.finish();

    let (mut specs, mut acls, mut releases) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for Pocket { spec, acl, release } in pockets {
        acls.insert(spec.name.clone(), acl);
        releases.insert(spec.name.clone(), release);
        specs.insert(spec.name.clone(), spec);
    }
    Some(Config {
        root,
        paths,
        pockets: specs,
        acls,
        releases,
        lists,
        impersonate,
        tagger: tagger?,
        tag_prefix,
        bases,
        exporter,
        builder,
        publisher,
        hosting,
        hook_timeout,
        hooks_retry_for,
        digest: String::new(),
    })
}

fn read_root(top: &mut Section<'_>) -> PathBuf {
    let default = Path::new(DEFAULT_ROOT);
    let Some(value) = top.value("root") else { return default.to_owned() };
    if value.text().is_some_and(|it| !it.starts_with('/')) {
        value.place.report(format!("it is a relative path; write it from the top, such as {DEFAULT_ROOT}"));
        return default.to_owned();
    }
    value.path(default).unwrap_or_else(|| default.to_owned())
}

fn read_paths(mut section: Section<'_>, root: &Path) -> Paths {
    let mut path =
        |key, default| section.value(key).and_then(|it| it.path(root)).unwrap_or_else(|| root.join(default));
    let paths = Paths {
        repositories: path("repositories", "repositories"),
        superproject: path("superproject", "superproject.git"),
        queue: path("queue", "queue"),
        archive: path("archive", "archive"),
        logs: path("logs", "logs"),
        hooks: path("hooks", "hooks"),
        audit: path("audit", "audit"),
        ssh_keys: path("ssh_keys", "ssh-keys"),
        outbox: path("outbox", "outbox"),
        cache: path("cache", "cache"),
        scratch: path("scratch", "scratch"),
        gnupg: path("gnupg", "gnupg"),
    };
    check_privacy(&section, &paths);
    section.finish();
    paths
}

/// What a web server serves has nothing private below it.
fn check_privacy(section: &Section<'_>, paths: &Paths) {
    let private = [
        ("repositories", &paths.repositories),
        ("superproject", &paths.superproject),
        ("queue", &paths.queue),
        ("logs", &paths.logs),
        ("hooks", &paths.hooks),
        ("audit", &paths.audit),
        ("ssh_keys", &paths.ssh_keys),
        ("outbox", &paths.outbox),
        ("cache", &paths.cache),
        ("scratch", &paths.scratch),
        ("gnupg", &paths.gnupg),
    ];
    for (key, path) in private {
        if path.starts_with(&paths.archive) {
            section.place().key(key).report(format!(
                "{} is inside of the archive, which the world may read; move one of the two",
                path.display()
            ));
        }
    }
}

fn read_bases(section: Section<'_>, root: &Path) -> BTreeMap<BaseName, Base> {
    let mut bases = BTreeMap::new();
    for (name, node, place) in section.named() {
        let Some(name) = place.take(name.parse::<BaseName>()) else { continue };
        let base = read_base(Section::of(Some(node), place), root);
        bases.insert(name, base);
    }
    bases
}

fn read_base(mut section: Section<'_>, root: &Path) -> Base {
    let mut base = plain_base();
    if let Some(value) = section.value("mirror") {
        base.mirror = value.text().map(str::to_owned);
        if base.mirror.as_ref().is_some_and(|it| !is_uri(it)) {
            value
                .place
                .report("it is not a URI of a mirror; write one such as https://deb.example.org/debian");
        }
    }
    if let Some(value) = section.value("suites") {
        base.suites = not_empty(&value, value.list(), "a suite");
    }
    if let Some(value) = section.value("components") {
        base.components = not_empty(&value, value.list(), "a component");
    }
    base.keyring = section.value("keyring").and_then(|it| it.path(root));
    if let Some(refresh) = read_duration(&mut section, "refresh") {
        base.refresh = refresh;
    }
    section.finish();
    base
}

/// The base that a name alone stands for: the builder knows which suites belong to it.
fn plain_base() -> Base {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    Base {
        mirror: None,
        suites: Vec::new(),
        components: "main".parse().into_iter().collect(),
        keyring: None,
        refresh: WEEK,
    }
}

/// Defines the base that pockets took from the host, where the configuration does not.
fn define_host_base<'b>(bases: &mut BTreeMap<BaseName, Base>, pockets: impl Iterator<Item = &'b PocketSpec>) {
    for pocket in pockets {
        bases.entry(pocket.base.clone()).or_insert_with(plain_base);
    }
}

fn is_uri(text: &str) -> bool {
    let schemes = ["http://", "https://", "file:///"];
    schemes.iter().any(|it| text.strip_prefix(it).is_some_and(|rest| !rest.is_empty()))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn not_empty<T>(value: &Value<'_>, items: Vec<T>, what: &str) -> Vec<T> {
    if *value.node == Node::List(Vec::new()) {
        value.place.report(format!("it is empty; name {what}, or leave it out"));
    }
    items
}

fn read_tagger(mut section: Section<'_>) -> Option<Tagger> {
    let mut field = |key, example: &str| {
        let Some(value) = section.value(key) else {
            section.place().report(format!("{key} is missing; write {key}: {example}"));
            return None;
        };
        let text = value.text()?;
        if text.contains(|c: char| c.is_control() || "<>".contains(c)) || text.trim() != text {
            value.place.report("it has a character that Git forbids here; leave out < > and line breaks");
            return None;
        }
        Some(text.to_owned())
    };
    let name = field("name", "Invirt Build Server");
    let email = field("email", "invirt@example.org");
    let key = section.value("key").and_then(|it| read_key(&it));
    section.finish();
    Some(Tagger { name: name?, email: email?, key })
}

fn read_tag_prefix(build: &mut Section<'_>) -> String {
    let Some(value) = build.value("tag_prefix") else { return String::new() };
    // An empty text is the default.
    if *value.node == Node::Text(String::new()) {
        return String::new();
    }
    let Some(prefix) = value.text() else { return String::new() };
    if format!("{prefix}1").parse::<BranchName>().is_err() {
        value.place.report(format!("{prefix:?} cannot begin the name of a tag; write one such as debian/"));
    }
    prefix.to_owned()
}

/// The keys that mean something to our own archive alone.
const OWN_ARCHIVE: [&str; 4] = ["changelogs", "descriptions", "retention", "valid_for"];

fn read_publisher(mut section: Section<'_>) -> Publisher {
    let backend = section.backend_of(&PublisherBackend::ALL.map(PublisherBackend::as_str));
    let backend =
        PublisherBackend::ALL.into_iter().find(|it| Some(it.as_str()) == backend).unwrap_or_default();
    for key in OWN_ARCHIVE.into_iter().filter(|_| backend != PublisherBackend::Archive) {
        if let Some(value) = section.value(key) {
            value.place.report(format!("the backend {} has nothing like it; remove it", backend.as_str()));
        }
    }
    let keys = read_keys(&mut section);
    let mut line = |key| section.line(key).unwrap_or_else(|| "Invirtibuilder".to_owned());
    let (origin, label) = (line("origin"), line("label"));
    let changelogs = section.line("changelogs");
    let contents = section.value("contents").and_then(|it| it.boolean()).unwrap_or(true);
    let descriptions = read_descriptions(&mut section);
    let debug = read_debug(&mut section);
    let compression = section.value("compression").map_or_else(
        || vec![Compression::Gz, Compression::Xz],
        |value| not_empty(&value, value.list(), "a compression such as gz"),
    );
    let keyring_package = read_keyring_package(&mut section, &origin);
    let retention = read_retention(section.section("retention"));
    let valid_for = read_duration(&mut section, "valid_for");
    let provenance = read_provenance(section.section("provenance"), &origin);
    section.finish();
    Publisher {
        backend,
        keys,
        keyring_package,
        origin,
        label,
        retention,
        provenance,
        valid_for,
        changelogs,
        contents,
        descriptions,
        debug,
        compression,
    }
}

/// Refuses what the programs that publish cannot write into a Release file.
fn check_releases(backend: PublisherBackend, pockets: &[Pocket], top: &Place<'_>) {
    for Pocket { spec, release, .. } in pockets {
        let place = top.key("build").key("pockets").key(spec.name.as_str());
        if backend != PublisherBackend::Archive && !spec.building.optional.is_empty() {
            let name = backend.as_str();
            let problem = format!(
                "the backend {name} adds nothing to what it serves; remove it, or write them as architectures"
            );
            place.key("optional_architectures").report(problem);
        }
        let place = place.key("release");
        let name = backend.as_str();
        if backend != PublisherBackend::Archive
            && release.codename.as_ref().is_some_and(|it| *it != spec.suite)
        {
            let problem = format!("the backend {name} gives a suite its own name as codename; remove it");
            place.key("codename").report(problem);
        }
        if backend == PublisherBackend::Aptly && release.description.is_some() {
            place.key("description").report("the backend aptly writes a description of its own; remove it");
        }
    }
}

fn read_descriptions(section: &mut Section<'_>) -> Descriptions {
    let Some(value) = section.value("descriptions") else { return Descriptions::default() };
    match value.text() {
        Some("translation") => Descriptions::Translation,
        Some("packages") | None => Descriptions::Packages,
        Some(other) => {
            value
                .place
                .report(format!("{other:?} is no place of descriptions; write packages or translation"));
            Descriptions::Packages
        }
    }
}

/// Reads the component of debugging symbols, or `no`.
fn read_debug(section: &mut Section<'_>) -> Option<Component> {
    match section.value("debug") {
        None => section.place().take("debug".parse()),
        Some(value) if matches!(value.node, Node::Boolean(false)) => None,
        Some(value) if value.text() == Some("no") => None,
        Some(value) => value.parse(),
    }
}

fn read_retention(mut section: Section<'_>) -> Retention {
    let default = Retention::default();
    let mut count = |key, default| {
        let value = section.value(key)?;
        match value.node {
            Node::Number(text) if text.parse::<u32>().is_ok() => text.parse().ok(),
            _ => {
                value.place.report(format!("it is not a whole number; write one such as {default}"));
                None
            }
        }
    };
    let generations = count("generations", 3).unwrap_or(default.generations);
    let versions = count("versions", 0).unwrap_or(default.versions);
    let time = read_duration(&mut section, "time").unwrap_or(default.time);
    section.finish();
    Retention { generations, time, versions }
}

fn read_provenance(mut section: Section<'_>, origin: &str) -> Provenance {
    let builder_id = section.line("builder_id");
    let is_uri = |it: &str| {
        let scheme = it.split_once(':').map(|it| it.0).unwrap_or_default();
        !scheme.is_empty()
            && scheme.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it))
            && !it.contains(char::is_whitespace)
    };
    if builder_id.as_deref().is_some_and(|it| !is_uri(it)) {
        let problem = "it is no URI; write one that names the site, such as https://build.example.org/";
        section.place().key("builder_id").report(problem);
    }
    // What a URN may have of the origin (RFC 8141).
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let own = || format!("urn:invirtibuilder:{}", origin.chars().map(letter).collect::<String>());
    let keep = read_duration(&mut section, "keep");
    section.finish();
    Provenance { builder_id: builder_id.unwrap_or_else(own), keep }
}

fn read_hooks(mut section: Section<'_>) -> (Duration, Duration) {
    let timeout = read_duration(&mut section, "timeout").unwrap_or(Duration::from_secs(60));
    let retry_for = read_duration(&mut section, "retry_for").unwrap_or(PATIENCE);
    section.finish();
    (timeout, retry_for)
}

pub(super) fn read_duration(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    let value = section.value(key)?;
    if let Node::Number(_) = value.node {
        value.place.report("it is a number without a unit; write a duration such as 90s, 20m, 2h or 7d");
        return None;
    }
    value.place.take(parse_duration(value.text()?))
}
