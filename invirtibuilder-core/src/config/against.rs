//! Reads which pockets a pocket is built against, and judges it.

use std::collections::BTreeSet;

use super::section::{Place, Section};
use super::tree::Node;
use crate::names::PocketName;
use crate::policy::{BuildBackend, PocketSpec, Trust};

/// Reads the pockets whose suites a build sees. `names` are those that there are.
pub(super) fn read_build_against(section: &mut Section<'_>, names: &BTreeSet<&str>) -> Vec<PocketName> {
    let mut pockets = Vec::new();
    let Some(value) = section.value("build_against") else { return pockets };
    if let Node::Text(text) = value.node {
        value.place.report(format!("{text:?} is not a list; write [{text}]"));
        return pockets;
    }
    for item in value.items() {
        let Some(pocket) = item.parse::<PocketName>() else { continue };
        if !names.contains(pocket.as_str()) {
            let known = names.iter().copied().collect::<Vec<_>>().join(", ");
            item.place.report(format!("there is no pocket {pocket}; the pockets are: {known}"));
        } else if pockets.contains(&pocket) {
            item.place.report(format!("{pocket} is there twice; remove one of the two"));
        }
        pockets.push(pocket);
    }
    pockets
}

/// A pocket is built against pockets that are trusted as it is, and built in the same base (rule B3), by what is able to.
pub(super) fn check_against(pocket: &PocketSpec, all: &[&PocketSpec], place: &Place<'_>) {
    let place = place.key("build_against");
    let backend = pocket.building.backend;
    if !pocket.building.build_against.is_empty() && !backend.can_build_against() {
        let others = BuildBackend::ALL.into_iter().filter(|it| it.can_build_against());
        let others = others.map(BuildBackend::as_str).collect::<Vec<_>>().join(" or ");
        place.report(format!(
            "the builder {backend} is not able yet to let a build see the suites of pockets; write `builder: {others}`, \
             or remove it"
        ));
    }
    for other in all.iter().filter(|it| pocket.building.build_against.contains(&it.name)) {
        let name = &other.name;
        if pocket.policy.trust == Trust::Full && other.policy.trust == Trust::None {
            place.report(format!(
                "{name} is not trusted (trust: none), and what its packages do while they are installed would decide \
                 what this pocket publishes; remove {name}, or write trust: none here too"
            ));
        }
        if pocket.base != other.base {
            place.report(format!(
                "{name} is built in {}, and this pocket in {}, where its packages may not be installable; remove \
                 {name}, or give both the same base",
                other.base, pocket.base
            ));
        }
    }
}
