//! Reads what a pocket is built for: the architectures that it waits for, those that may come later, and which of them
//! makes the packages for all architectures.

use super::section::{Section, Value};
use super::tree::Node;
use super::{Host, default_architectures};
use crate::builder::architectures::is_native;
use crate::names::Architecture;

/// What a pocket is built for.
pub(super) struct Architectures {
    /// Those that it waits for.
    pub(super) required: Vec<Architecture>,
    /// Those that may come later.
    pub(super) optional: Vec<Architecture>,
    /// The one whose run makes the packages for all architectures.
    pub(super) all_with: Option<Architecture>,
}

pub(super) fn read_architectures(section: &mut Section<'_>, host: &Host) -> Architectures {
    let required = if let Some(value) = section.value("architectures") {
        read_list(&value, &[])
    } else {
        let architectures = default_architectures(host);
        if architectures.is_empty() {
            section.place().report(
                "architectures is missing, and this machine's is not known; write architectures: [amd64]",
            );
        }
        architectures
    };
    let optional = match section.value("optional_architectures") {
        Some(value) if *value.node != Node::List(Vec::new()) => read_list(&value, &required),
        _ => Vec::new(),
    };
    let all_with = section.value("architecture_all").and_then(|value| {
        let chosen = value.parse::<Architecture>()?;
        if !required.contains(&chosen) {
            let known: Vec<_> = required.iter().map(Architecture::as_str).collect();
            value.place.report(format!(
                "{chosen} is not among the architectures that every version is built for; write one of {}",
                known.join(", ")
            ));
        }
        Some(chosen)
    });
    let native =
        || host.architecture.as_ref().and_then(|host| required.iter().find(|it| is_native(it, host)));
    let all_with = all_with.or_else(|| native().cloned());
    Architectures { required, optional, all_with }
}

fn read_list(value: &Value<'_>, others: &[Architecture]) -> Vec<Architecture> {
    let mut architectures: Vec<Architecture> = Vec::new();
    for item in value.items() {
        let Some(architecture) = item.parse::<Architecture>() else { continue };
        if architecture == Architecture::all() {
            item.place.report(
                "packages for all architectures are built with one of the others (architecture_all); remove it",
            );
        } else if architectures.contains(&architecture) || others.contains(&architecture) {
            item.place.report(format!("{architecture} is there twice; remove one of the two"));
        }
        architectures.push(architecture);
    }
    if *value.node == Node::List(Vec::new()) {
        value.place.report("it is empty; name an architecture, or leave it out");
    }
    architectures
}
