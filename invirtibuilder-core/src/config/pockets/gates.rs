//! Reads `gates` of a pocket.

use std::collections::BTreeSet;

use crate::config::section::Section;
use crate::policy::{BuildBackend, Demand, GateKind, Gates};

/// Reads what each gate's faults mean.
pub(super) fn read(mut section: Section<'_>, backend: BuildBackend) -> Gates {
    let mut gates = Gates::default();
    for gate in GateKind::CONFIGURED {
        let Some(value) = section.value(gate.as_str()) else { continue };
        // YAML 1.1 reads `off` as no.
        let demand = match value.node {
            crate::config::tree::Node::Boolean(false) => Some(Demand::Off),
            _ => value.text().and_then(|text| {
                let found = Demand::ALL.into_iter().find(|it| it.as_str() == text);
                if found.is_none() {
                    value.place.report(format!("{text:?} is no demand; write off, note or refuse"));
                }
                found
            }),
        };
        if backend != BuildBackend::Overlay && demand.is_some_and(|it| it != Demand::Off) {
            value.place.report(
                "only the overlay builder has rooms to ask this in; write `builder: overlay` for this pocket, or off here",
            );
        }
        if let Some(demand) = demand {
            gates.demands.insert(gate, demand);
        }
    }
    if let Some(value) = section.value("lintian_fail_on") {
        let severities: BTreeSet<_> = value.list().into_iter().collect();
        if severities.is_empty() {
            value.place.report("it is empty; name a severity such as error, or write lintian: off");
        }
        gates.lintian_fail_on = severities;
    }
    section.finish();
    gates
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Host};
    use crate::policy::{Copies, CopyFrom, Demand, GateKind, LintianSeverity, PocketSpec};

    fn prod(lines: &str, builder: &str) -> Result<PocketSpec, Vec<String>> {
        let text = format!(
            "build:\n  pockets:\n    dev: {{ acl: [a@B] }}\n    prod:\n      acl: [a@B]\n{lines}  tagger: {{ name: A, email: a@example.org }}\nbuilder: {{ backend: {builder} }}\n"
        );
        let host = Host {
            codename: Some("bookworm".parse().unwrap()),
            architecture: Some("amd64".parse().unwrap()),
        };
        let config = Config::parse(&text, "site.yaml".as_ref(), &host);
        let config = config.map_err(|e| e.problems().iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(config.pockets[&"prod".parse().unwrap()].clone())
    }

    #[test]
    fn every_gate_is_off_until_it_is_asked_for() {
        assert_eq!(prod("", "sbuild").unwrap().building.gates.asked().count(), 0);
        let gates = "      gates: { lintian: note, lintian_fail_on: [warning, error], autopkgtest: refuse, piuparts: note, installability: off }\n";
        let gates = prod(gates, "overlay").unwrap().building.gates;
        let asked = [GateKind::Lintian, GateKind::Piuparts, GateKind::Autopkgtest];
        assert_eq!(gates.asked().collect::<Vec<_>>(), asked);
        assert_eq!(gates.demand(GateKind::Autopkgtest), Demand::Refuse);
        assert_eq!(gates.lintian_fail_on, [LintianSeverity::Error, LintianSeverity::Warning].into());
    }

    #[test]
    fn a_gate_that_cannot_be_asked_is_refused() {
        let refused = prod("      gates: { reproducibility: note }\n", "sbuild").unwrap_err();
        assert_eq!(
            refused,
            [
                "site.yaml:6: build.pockets.prod.gates.reproducibility: only the overlay builder has rooms to ask this in; write `builder: overlay` for this pocket, or off here"
            ]
        );
        let refused = prod("      gates: { lintian: maybe }\n", "overlay").unwrap_err();
        assert!(refused.iter().any(|it| it.contains("\"maybe\" is no demand")), "{refused:?}");
    }

    #[test]
    fn copies_are_believed_or_rebuilt() {
        let policy = prod("      copy_from: { pockets: [dev], verify: rebuild }\n", "sbuild").unwrap().policy;
        assert_eq!(policy.copies, Copies::Rebuilt);
        assert_eq!(policy.copy_from, CopyFrom::Only(["dev".parse().unwrap()].into()));
        let policy = prod("      copy_from: [dev]\n", "sbuild").unwrap().policy;
        assert_eq!(policy.copies, Copies::Believed);
        let policy = prod("      copy_from: { verify: rebuild }\n", "sbuild").unwrap().policy;
        assert_eq!((policy.copies, policy.copy_from), (Copies::Rebuilt, CopyFrom::Any));
        let refused = prod("      copy_from: { verify: yes }\n", "sbuild").unwrap_err();
        assert!(refused[0].contains("copy_from.verify"), "{refused:?}");
    }
}
