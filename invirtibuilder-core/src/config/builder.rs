//! Reads `builder`: what builds, as whom, and what a build may use.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::Builder;
use super::section::{Section, Value};
use super::site::read_duration;
use super::tree::Node;
use super::units::parse_size;
use crate::builder::sbuild::Mode;
use crate::builder::vm::Machine;
use crate::names::BaseName;
use crate::pipeline::MAX_RESULTS;
use crate::policy::BuildBackend;
use crate::process::Limits;

/// Reads what builds for the pockets that do not say it themselves.
pub(super) fn read_backend(section: &mut Section<'_>) -> BuildBackend {
    let place = section.place().key("backend");
    let backend = named(section.backend_of(&BuildBackend::ALL.map(BuildBackend::as_str)));
    if backend == Some(BuildBackend::Host) {
        place.report(
            "it contains nothing, so each pocket has to ask for it by its name; write `builder: host` in build.pockets.NAME, and leave this out",
        );
        return BuildBackend::default();
    }
    backend.unwrap_or_default()
}

fn named(name: Option<&str>) -> Option<BuildBackend> {
    BuildBackend::ALL.into_iter().find(|it| Some(it.as_str()) == name)
}

/// Reads what builds for a pocket; `default` if it does not say so.
pub(super) fn read_backend_of_pocket(section: &mut Section<'_>, default: BuildBackend) -> BuildBackend {
    let Some(value) = section.value("builder") else { return default };
    let Some(text) = value.text() else { return default };
    let backend = named(Some(text));
    backend.unwrap_or_else(|| {
        let names = BuildBackend::ALL.map(BuildBackend::as_str).join(", ");
        value.place.report(format!("there is no builder {text:?}; write one of {names}, or leave it out"));
        default
    })
}

/// Reads the rest of the section, whose `backend` has been read. `used` are the backends that pockets have.
pub(super) fn read_builder(
    mut section: Section<'_>,
    backend: BuildBackend,
    used: &BTreeSet<BuildBackend>,
) -> Builder {
    let is_used = |it| it == backend || used.contains(&it);
    let is_overlay = is_used(BuildBackend::Overlay);
    let has_layers = is_overlay || is_used(BuildBackend::Vm);
    refuse_unless(has_layers, &mut section, "layers", &[BuildBackend::Overlay, BuildBackend::Vm]);
    let layers = read_size(&mut section, "layers");
    for key in ["keep_failed", "keep_failed_size"] {
        refuse_unless(is_overlay, &mut section, key, &[BuildBackend::Overlay]);
    }
    let keep_failed = read_duration_or_no(&mut section, "keep_failed");
    let keep_failed_size = read_size(&mut section, "keep_failed_size");
    refuse_unless(is_used(BuildBackend::Sbuild), &mut section, "mode", &[BuildBackend::Sbuild]);
    let user = read_user(&mut section);

    let mut limits = section.section("limits");
    let time = read_duration(&mut limits, "time").unwrap_or(Duration::from_secs(2 * 60 * 60));
    let silence = read_duration(&mut limits, "silence").unwrap_or(Duration::from_secs(20 * 60));
    let output = read_size(&mut limits, "log").unwrap_or(64 << 20);
    let results = read_size(&mut limits, "results").unwrap_or(MAX_RESULTS);
    let (disk, memory) = (read_size(&mut limits, "disk"), read_size(&mut limits, "memory"));
    let processes = limits.value("processes").and_then(|it| read_processes(&it));
    limits.finish();

    let is_qemu = section.value("mode").is_some_and(|it| it.text() == Some("qemu"));
    refuse_unless(is_used(BuildBackend::Vm) || is_qemu, &mut section, "vm", &[BuildBackend::Vm]);
    let vm = read_machine(section.section("vm"));
    let mode = read_mode(&mut section, vm);
    let builds = section.value("builds").and_then(|it| read_builds(&it));
    section.finish();
    let limits = Limits { time, silence, output };
    Builder {
        backend,
        user,
        limits,
        disk,
        memory,
        processes,
        results,
        builds,
        keep_failed,
        keep_failed_size,
        layers,
        vm,
        mode,
    }
}

/// Refuses a key that means nothing to what builds here.
fn refuse_unless(is_used: bool, section: &mut Section<'_>, key: &'static str, backends: &[BuildBackend]) {
    if let Some(value) = section.value(key)
        && !is_used
    {
        let names: Vec<_> = backends.iter().map(|it| it.as_str()).collect();
        let problem = format!(
            "only {} has it, and builds for no pocket; remove it, or write backend: {}",
            names.join(" or "),
            names.first().unwrap_or(&"overlay")
        );
        value.place.report(problem);
    }
}

/// Reads a duration, or `no` for none.
fn read_duration_or_no(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    let value = section.value(key)?;
    let is_no = *value.node == Node::Boolean(false) || value.text() == Some("no");
    if is_no { Some(Duration::ZERO) } else { read_duration(section, key) }
}

/// Reads how sbuild makes its environments, and the chroots of the mode that has some.
fn read_mode(section: &mut Section<'_>, machine: Machine) -> Mode {
    let value = section.value("mode");
    let is_schroot = value.as_ref().is_some_and(|it| it.text() == Some("schroot"));
    let chroots = section.section("chroots");
    if !is_schroot && !chroots.keys().is_empty() {
        chroots.place().report("only sbuild's mode schroot has chroots; remove it, or write mode: schroot");
    }
    let names = read_chroots(chroots);
    let Some(value) = value else { return Mode::Unshare };
    match value.text() {
        None | Some("unshare") => Mode::Unshare,
        Some("schroot") => Mode::Schroot(names),
        Some("qemu") => Mode::Qemu(machine),
        Some(mode) => {
            value.place.report(format!("sbuild has no mode {mode:?}; write unshare, schroot or qemu"));
            Mode::Unshare
        }
    }
}

fn read_chroots(section: Section<'_>) -> BTreeMap<BaseName, String> {
    let mut names = BTreeMap::new();
    for (base, node, place) in section.named() {
        let Some(base) = place.take(base.parse::<BaseName>()) else { continue };
        let is_known = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        match node {
            Node::Text(name) if !name.starts_with('-') && name.chars().all(is_known) => {
                names.insert(base, name.clone());
            }
            _ => place.report("it is not the name of a chroot; write one that `schroot --list --all` shows"),
        }
    }
    names
}

fn read_size(section: &mut Section<'_>, key: &'static str) -> Option<u64> {
    section.value(key).and_then(|it| it.place.take(parse_size(it.text()?)))
}

fn read_user(section: &mut Section<'_>) -> Option<String> {
    let value = section.value("user")?;
    let text = value.text()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.starts_with('-') || text.len() > 32 || !text.chars().all(is_name) {
        value
            .place
            .report(format!("{text:?} is not the name of a user; make one with adduser and write its name"));
    }
    Some(text.to_owned())
}

fn read_builds(value: &Value<'_>) -> Option<NonZeroUsize> {
    let number = number(value).and_then(|it| NonZeroUsize::new(usize::try_from(it).ok()?));
    if number.is_none() {
        value.place.report("it is not a number of builds; write one from 1");
    }
    number
}

fn read_processes(value: &Value<'_>) -> Option<u64> {
    // A room alone has a few, and dpkg-buildpackage a few more.
    const LEAST: u64 = 20;
    let number = number(value).filter(|it| *it >= LEAST);
    if number.is_none() {
        value.place.report(format!("it is not a number of processes; write one from {LEAST}, such as 2000"));
    }
    number
}

fn number(value: &Value<'_>) -> Option<u64> {
    match value.node {
        Node::Number(text) => text.parse().ok(),
        _ => None,
    }
}

fn read_machine(mut section: Section<'_>) -> Machine {
    // A kernel, its initramfs and dpkg take about a third of that.
    const LEAST: u64 = 512 << 20;
    const MOST_CPUS: u64 = 255;
    let default = Machine::default();
    let memory = section.value("memory").and_then(|value| {
        let memory = value.place.take(parse_size(value.text()?))?;
        if memory < LEAST {
            value.place.report("a machine with less than 512MiB builds nothing; write at least that");
        }
        Some(memory)
    });
    let cpus = section.value("cpus").and_then(|value| {
        let number = number(&value).filter(|it| (1..=MOST_CPUS).contains(it));
        if number.is_none() {
            value.place.report("it is not a number of processors; write one from 1 to 255, such as 2");
        }
        number.and_then(|it| u32::try_from(it).ok())
    });
    let disk = read_size(&mut section, "disk").unwrap_or(default.disk);
    let kvm = section.value("kvm").and_then(|it| it.boolean()).unwrap_or(default.kvm);
    section.finish();
    Machine { memory: memory.unwrap_or(default.memory), cpus, disk, kvm }
}
