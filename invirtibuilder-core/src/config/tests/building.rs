//! What builds packages.

use super::*;

#[test]
fn both_builders_have_limits_and_only_overlay_has_layers() {
    let limits = "limits: { disk: 8GiB, memory: 4GiB, processes: 500 }";
    let config = accepted(&with_top(&format!("builder: {{ backend: overlay, layers: 5GiB, {limits} }}\n")));
    assert_eq!((config.builder.backend, config.builder.layers), (BuildBackend::Overlay, Some(5 << 30)));
    let found = (config.builder.disk, config.builder.memory, config.builder.processes);
    assert_eq!(found, (Some(8 << 30), Some(4 << 30), Some(500)));
    assert_eq!(accepted(&with_top(&format!("builder: {{ {limits} }}\n"))).builder.disk, Some(8 << 30));
    let problems = refused(&with_top("builder: { layers: 5GiB }\n"));
    assert!(problems[0].contains("or write backend: overlay"), "{problems:#?}");
    assert!(
        refused(&with_top("builder: { backend: overlay, limits: { processes: 2 } }\n"))[0]
            .contains("from 20")
    );
}

#[test]
fn sbuild_has_three_modes() {
    use crate::builder::sbuild::Mode;
    assert_eq!(accepted(&with_top("builder: { mode: unshare }\n")).builder.mode, Mode::Unshare);
    let config = accepted(&with_top("builder: { mode: schroot, chroots: { bookworm: old } }\n"));
    let Mode::Schroot(names) = config.builder.mode else { panic!("{:?}", config.builder.mode) };
    assert_eq!(names.into_iter().next(), Some(("bookworm".parse().unwrap(), "old".to_owned())));
    let config = accepted(&with_top("builder: { mode: qemu, vm: { memory: 1GiB } }\n"));
    let Mode::Qemu(machine) = config.builder.mode else { panic!("{:?}", config.builder.mode) };
    assert_eq!((machine.memory, machine), (1 << 30, config.builder.vm));
    let problems = refused(&with_top("builder: { mode: unshare, vm: { memory: 1GiB } }\n"));
    assert!(problems[0].contains("builder.vm"), "{problems:#?}");
    let problems = refused(&with_top("builder: { chroots: { bookworm: old } }\n"));
    assert!(problems[0].contains("write mode: schroot"), "{problems:#?}");
    let problems = refused(&with_top("builder: { backend: overlay, mode: unshare }\n"));
    assert!(problems[0].contains("only sbuild has it"), "{problems:#?}");
}

#[test]
fn a_pocket_may_name_its_own_builder() {
    let text = "build:\n  pockets:\n    dev: { acl: [a@B], builder: overlay }\n    prod: { acl: [a@B] }\n";
    let config = accepted(&format!("{text}{TAGGER}builder: {{ layers: 5GiB }}\n"));
    let backend = |pocket: &str| config.pockets[&pocket.parse().unwrap()].building.backend;
    assert_eq!((backend("dev"), backend("prod")), (BuildBackend::Overlay, BuildBackend::Sbuild));
    let both = [BuildBackend::Sbuild, BuildBackend::Overlay];
    assert_eq!(config.build_backends().into_iter().collect::<Vec<_>>(), both);
    let unknown = refused(&with_pocket("      acl: [a@B]\n      builder: pbuilder\n"));
    assert!(unknown[0].contains("dev.builder: there is no builder \"pbuilder\""), "{unknown:?}");
}

#[test]
fn what_contains_nothing_has_to_be_named_by_each_pocket() {
    let problem = refused(&with_top("builder: { backend: host }\n"));
    assert!(problem.len() == 1 && problem[0].contains("builder.backend: it contains nothing"), "{problem:?}");
}
