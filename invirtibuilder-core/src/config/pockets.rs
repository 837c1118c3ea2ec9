//! Reads `build.pockets`: each pocket by itself, and what pockets may not share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::acls::read_acl;
use super::against::{check_against, read_build_against};
use super::architectures::{Architectures, read_architectures};
use super::builder::read_backend_of_pocket;
use super::section::{Place, Section, Value};
use super::tree::Node;
use super::{Base, Host, Release};
use crate::access::Acl;
use crate::names::{BaseName, Component, PocketName};
use crate::policy::{
    BinaryVersions, BuildBackend, Building, Copies, CopyFrom, PocketSpec, Policy, Trust, Versions,
};
use crate::publisher::archive::Upgrades;

mod gates;

/// A pocket as the configuration describes it.
pub(super) struct Pocket {
    pub(super) spec: PocketSpec,
    pub(super) acl: Acl,
    pub(super) release: Release,
}

/// Reads the pockets. Those that are left out of the result have a problem noted.
pub(super) fn read_pockets(section: Section<'_>, site: &PocketDefaults<'_>) -> Vec<Pocket> {
    let place = section.place().clone();
    let entries = section.named();
    if entries.is_empty() {
        place.report("there is no pocket; write at least one, such as `prod: { acl: [alice@EXAMPLE.ORG] }`");
    }
    let names: BTreeSet<&str> = entries.iter().map(|it| it.0).collect();
    let (mut pockets, mut places): (Vec<Pocket>, Vec<Place<'_>>) = (Vec::new(), Vec::new());
    for (name, node, place) in entries {
        let Some(name) = place.take(name.parse::<PocketName>()) else { continue };
        let context = Context { site, names: &names };
        let Some(pocket) = read_pocket(name, Section::of(Some(node), place.clone()), &context) else {
            continue;
        };
        check_not_shared(&pocket.spec, pockets.iter().map(|it| &it.spec), &place);
        pockets.push(pocket);
        places.push(place);
    }
    let specs: Vec<&PocketSpec> = pockets.iter().map(|it| &it.spec).collect();
    for (spec, place) in specs.iter().zip(&places) {
        check_against(spec, &specs, place);
    }
    pockets
}

/// What the rest of the configuration says, and a pocket may rely on.
pub(super) struct PocketDefaults<'a> {
    pub(super) root: &'a Path,
    pub(super) host: &'a Host,
    pub(super) bases: &'a BTreeMap<BaseName, Base>,
    /// The names of the lists of principals.
    pub(super) lists: &'a BTreeSet<&'a str>,
    /// What builds for a pocket that does not say it.
    pub(super) backend: BuildBackend,
}

/// What a pocket's configuration is judged by, besides itself.
struct Context<'a> {
    site: &'a PocketDefaults<'a>,
    /// The names of all pockets.
    names: &'a BTreeSet<&'a str>,
}

fn read_pocket(name: PocketName, mut section: Section<'_>, context: &Context<'_>) -> Option<Pocket> {
    let acl = read_acl(&mut section, context.site.root, context.site.lists);
    let suite = name_or(&mut section, "apt", name.as_str());
    let branch = name_or(&mut section, "git", name.as_str());
    let components = read_components(&mut section);
    let release = read_release(section.section("release"));
    let (copy_from, copies) = read_copy_from(&mut section, &name, context.names);
    let policy = Policy {
        allow_backtracking: section.value("allow_backtracking").and_then(|it| it.boolean()).unwrap_or(false),
        copy_from,
        copies,
        trust: read_trust(&mut section),
        binary_versions: read_binary_versions(&mut section),
        versions: read_versions(&mut section),
        may_replace: section
            .value("may_replace")
            .map(|it| it.list())
            .unwrap_or_default()
            .into_iter()
            .collect(),
    };
    if policy.trust == Trust::None && !policy.allow_backtracking {
        section.place().key("trust").report(
            "the tags of a pocket that does not allow backtracking reserve its versions, so trust: none needs allow_backtracking: yes",
        );
    }
    if policy.versions == Versions::Snapshot && !policy.allow_backtracking {
        section.place().key("snapshot_versions").report(
            "where versions only go forward they are those of debian/changelog, which have tags, so it needs allow_backtracking: yes",
        );
    }
    let Architectures { required, optional, all_with } = read_architectures(&mut section, context.site.host);
    let base = read_base_name(&mut section, context);
    let backend = read_backend_of_pocket(&mut section, context.site.backend);
    let building = Building {
        backend,
        build_against: read_build_against(&mut section, context.names),
        gates: gates::read(section.section("gates"), backend),
        all_with,
        optional,
    };
    section.finish();
    let spec = PocketSpec {
        name,
        branch: branch?,
        suite: suite?,
        components,
        architectures: required,
        base: base?,
        policy,
        building,
    };
    Some(Pocket { spec, acl: acl?, release })
}

fn read_versions(section: &mut Section<'_>) -> Versions {
    match section.value("snapshot_versions").and_then(|it| it.boolean()) {
        Some(true) => Versions::Snapshot,
        Some(false) | None => Versions::Declared,
    }
}

/// Reads `components`, or `component` where there is one only.
fn read_components(section: &mut Section<'_>) -> Vec<Component> {
    let one = section.value("component").and_then(|it| it.parse::<Component>());
    let Some(value) = section.value("components") else {
        return one.map_or_else(|| "main".parse().into_iter().collect(), |it| vec![it]);
    };
    if one.is_some() {
        section.place().key("component").report("there is components too; remove one of the two");
    }
    let components: Vec<Component> = value.list();
    if components.is_empty() {
        value.place.report("it is empty; name a component such as main, or leave it out");
    }
    for (at, component) in components.iter().enumerate() {
        if components.iter().take(at).any(|it| it == component) {
            value.place.report(format!("{component} is there twice; remove one of the two"));
        }
    }
    components
}

/// Reads what the suite's `Release` says of it.
fn read_release(mut section: Section<'_>) -> Release {
    let codename = section.value("codename").and_then(|it| it.parse());
    let description = section.line("description");
    let mut is_set = |key| section.value(key).and_then(|it| it.boolean()).unwrap_or(false);
    let upgrades = match (is_set("not_automatic"), is_set("but_automatic_upgrades")) {
        (false, false) => Upgrades::Automatic,
        (true, true) => Upgrades::OfInstalled,
        (true, false) => Upgrades::Never,
        (false, true) => {
            section.place().key("but_automatic_upgrades").report(
                "apt heeds it only with not_automatic: yes; add that, or remove this (apt_preferences(5))",
            );
            Upgrades::Automatic
        }
    };
    section.finish();
    Release { codename, description, upgrades }
}

fn name_or<T: FromStr>(section: &mut Section<'_>, key: &'static str, default: &str) -> Option<T>
where
    T::Err: Display,
{
    match section.value(key) {
        Some(value) => value.parse(),
        None => section.place().take(default.parse()),
    }
}

/// Reads `copy_from`: `any`, a list, or a map with `pockets` and `verify`.
fn read_copy_from(
    section: &mut Section<'_>,
    pocket: &PocketName,
    names: &BTreeSet<&str>,
) -> (CopyFrom, Copies) {
    match section.value("copy_from") {
        None => (CopyFrom::Any, Copies::Believed),
        Some(Value { node: Node::Map(_), .. }) => {
            let mut inner = section.section("copy_from");
            let sources = inner.value("pockets");
            let sources = sources.map_or(CopyFrom::Any, |it| read_sources(&it, pocket, names));
            let copies = match inner.value("verify").and_then(|it| Some((it.text()?.to_owned(), it.place))) {
                None => Copies::Believed,
                Some((text, place)) => match text.as_str() {
                    "rebuild" => Copies::Rebuilt,
                    "none" => Copies::Believed,
                    other => {
                        place.report(format!("{other:?} proves nothing; write rebuild or none"));
                        Copies::Believed
                    }
                },
            };
            inner.finish();
            (sources, copies)
        }
        Some(value) => (read_sources(&value, pocket, names), Copies::Believed),
    }
}

fn read_sources(value: &Value<'_>, pocket: &PocketName, names: &BTreeSet<&str>) -> CopyFrom {
    if let Node::Text(text) = value.node {
        if text != "any" {
            value.place.report(format!("{text:?} is not a list; write any, or [{text}]"));
        }
        return CopyFrom::Any;
    }
    let mut sources = BTreeSet::new();
    for item in value.items() {
        let Some(source) = item.parse::<PocketName>() else { continue };
        if source == *pocket {
            item.place.report("it is the pocket itself; remove it");
        } else if !names.contains(source.as_str()) {
            let known: Vec<&str> = names.iter().copied().filter(|it| *it != pocket.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            item.place.report(format!("there is no pocket {source}; the other pockets are: {known}"));
        }
        sources.insert(source);
    }
    CopyFrom::Only(sources)
}

fn read_trust(section: &mut Section<'_>) -> Trust {
    let Some(value) = section.value("trust") else { return Trust::Full };
    match value.text() {
        Some("none") => Trust::None,
        Some("full") | None => Trust::Full,
        Some(other) => {
            value.place.report(format!("{other:?} is not a trust; write none or full"));
            Trust::Full
        }
    }
}

fn read_binary_versions(section: &mut Section<'_>) -> BinaryVersions {
    let Some(value) = section.value("binary_versions") else { return BinaryVersions::Same };
    match value.text() {
        Some("any") => BinaryVersions::Any,
        Some("same") | None => BinaryVersions::Same,
        Some(other) => {
            value.place.report(format!("{other:?} is not a rule for versions; write same or any"));
            BinaryVersions::Same
        }
    }
}

fn read_base_name(section: &mut Section<'_>, context: &Context<'_>) -> Option<BaseName> {
    let known = || context.site.bases.keys().map(BaseName::as_str).collect::<Vec<_>>().join(", ");
    if let Some(value) = section.value("base") {
        let base: BaseName = value.parse()?;
        if !context.site.bases.contains_key(&base) && context.site.host.codename.as_ref() != Some(&base) {
            let remedy = if context.site.bases.is_empty() {
                format!("write `bases: {{ {base}: {{}} }}` at the top")
            } else {
                format!("define it below `bases`, or write one that is there: {}", known())
            };
            value.place.report(format!("the base {base} is not defined; {remedy}"));
        }
        return Some(base);
    }
    let mut bases = context.site.bases.keys();
    match (bases.next(), bases.next(), &context.site.host.codename) {
        (Some(only), None, _) => Some(only.clone()),
        (Some(_), Some(_), _) => {
            section
                .place()
                .report(format!("base is missing, and there are several; write one of {}", known()));
            None
        }
        (None, _, Some(codename)) => Some(codename.clone()),
        (None, _, None) => {
            section.place().report(
                "base is missing, and this machine's distribution is not known; write base: bookworm, and `bases: { bookworm: {} }` at the top",
            );
            None
        }
    }
}

/// Each pocket has a suite and a branch of its own.
fn check_not_shared<'b>(
    pocket: &PocketSpec,
    before: impl Iterator<Item = &'b PocketSpec>,
    place: &Place<'_>,
) {
    for other in before {
        if other.suite == pocket.suite {
            place.key("apt").report(format!(
                "suite {} is used by pocket {} already; give each pocket its own suite",
                pocket.suite, other.name
            ));
        }
        let (a, b) = (pocket.branch.as_str(), other.branch.as_str());
        if a == b {
            place.key("git").report(format!(
                "branch {a} is used by pocket {} already; give each pocket its own branch",
                other.name
            ));
        } else if is_inside(a, b) || is_inside(b, a) {
            place.key("git").report(format!(
                "Git cannot have the branch {a} beside {b} of pocket {}; rename one of the two",
                other.name
            ));
        }
    }
}

/// Returns whether one branch would be a directory that holds the other.
fn is_inside(branch: &str, directory: &str) -> bool {
    branch.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}
