//! piuparts(1), of the base: whether the binary packages can be installed, removed and purged, and leave nothing.
//!
//! It makes a chroot, for which it has to mount: so its room has thinner walls than others. What runs there may mount,
//! though only over what the room has, of which nothing is the host's; it has no network as elsewhere. The chroot is
//! the base, and its apt knows the binary packages and what these need, which was fetched before, and nothing else.

use std::io::Write;

use super::{Examination, Needs, Question, SOURCE, Trouble, User, Visit, machine, step};
use crate::builder::overlay::dependencies::{self, Package};
use crate::builder::overlay::layer;
use crate::builder::overlay::room::{BUILD, CHROOT};
use crate::builder::sbuild::repository;
use crate::examiner::Examined;
use crate::policy::Finding;

/// Calls it. Nobody in the room can make devices, so they are the room's; from its version 1.3 on it knows that itself.
const PIUPARTS: &str = "if dpkg --compare-versions \"$(dpkg-query --show --showformat='${Version}' piuparts)\" lt 1.3; \
                        then set -- --bindmount=/dev \"$@\"; fi; exec piuparts \"$@\"";

/// How it ends if a package is not as it should be; the package's fault are also commands that fail in the chroot.
const FAILED: u8 = 1;

pub(super) fn ask(it: &Examination<'_>, log: &mut (dyn Write + Send)) -> Result<Vec<Finding>, Trouble> {
    let all: Vec<&Examined> = it.installable().filter(|it| !is_of_symbols(it)).collect();
    if all.is_empty() {
        writeln!(log, "invirtibuilder: no package can be installed here").map_err(machine)?;
        return Ok(Vec::new());
    }
    let layer = it.tools("piuparts", log)?;
    let mut findings = Vec::new();
    for (packages, needed) in together(it, &all, log)? {
        match needed {
            Ok(needed) => findings.extend(purge(it, &layer, &packages, &needed, log)?),
            Err(problem) => findings.push(Finding::Fault(format!("{}: {problem}", names(&packages)))),
        }
    }
    Ok(findings)
}

/// Debugging symbols need their packages and have no scripts.
fn is_of_symbols(package: &Examined) -> bool {
    package.control.package().as_str().ends_with("-dbgsym")
}

fn names(packages: &[&Examined]) -> String {
    packages.iter().map(|it| it.control.package().to_string()).collect::<Vec<_>>().join(", ")
}

/// What is tested in one go, with what it needs, or why that cannot be had.
type Group<'a> = (Vec<&'a Examined>, Result<Vec<Package>, String>);

/// Returns the packages all together, or each alone if some exclude each other.
fn together<'a>(
    it: &Examination<'_>,
    all: &[&'a Examined],
    log: &mut (dyn Write + Send),
) -> Result<Vec<Group<'a>>, Trouble> {
    let needed = needed(it, all, log)?;
    if needed.is_ok() || all.len() == 1 {
        return Ok(vec![(all.to_vec(), needed)]);
    }
    writeln!(log, "invirtibuilder: they cannot be installed together; each alone").map_err(machine)?;
    all.iter().map(|one| Ok((vec![*one], self::needed(it, &[one], log)?))).collect()
}

/// Returns what packages need besides the base and each other, all of it at hand.
fn needed(
    it: &Examination<'_>,
    packages: &[&Examined],
    log: &mut (dyn Write + Send),
) -> Result<Result<Vec<Package>, String>, Trouble> {
    let wanted = packages.iter().map(|it| format!("{} (= {})", it.control.package(), it.control.version()));
    let needs = Needs::on(&wanted.collect::<Vec<_>>().join(", "), &it.paragraphs());
    let question = Question {
        tree: it.tree,
        architecture: it.host,
        needs: &needs,
        domain: &it.domain,
        against: it.against,
    };
    match dependencies::resolve(it.ours, &question, &|_| Ok(false), log) {
        Ok(found) => Ok(Ok(found)),
        Err(Trouble::Package(problem)) => Ok(Err(problem.replace("its build dependencies", "what it needs"))),
        Err(other) => Err(other),
    }
}

fn purge(
    it: &Examination<'_>,
    layer: &layer::Layer,
    packages: &[&Examined],
    needed: &[Package],
    log: &mut (dyn Write + Send),
) -> Result<Vec<Finding>, Trouble> {
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let list = format!("{CHROOT}/etc/apt/sources.list");
    let distribution = format!("--distribution={}", it.subject.source.plan().pocket().base);
    let mut arguments = words(&[
        &format!("--existing-chroot={CHROOT}"),
        &format!("--tmpdir={BUILD}"),
        &format!("--bindmount={SOURCE}"),
        "--defaults=debian",
        &distribution,
        "--keep-sources-list",
        "--no-eatmydata",
        // What the archive has of the package is not in the chroot's reach, nor are the tools of these.
        "--no-upgrade-test",
        "--no-adequate",
        "--skip-logrotatefiles-test",
    ]);
    arguments.extend(packages.iter().map(|it| format!("{SOURCE}/{}", it.name().display())));
    let mut sources = vec![repository::source_line(SOURCE)];
    if !needed.is_empty() {
        sources.push(repository::source_line(&format!("{SOURCE}/repository")));
    }
    let root = |program: &str, arguments: Vec<String>| step(program, arguments, "/root", "/");
    let visit = Visit {
        layer: Some(layer),
        user: User::Mounter,
        steps: vec![
            root("rm", words(&["-rf", "--", &format!("{list}.d")])),
            root("mkdir", words(&["--", &format!("{list}.d")])),
            root("cp", words(&["--", &format!("{SOURCE}/room.list"), &list])),
            root(
                "cp",
                words(&[
                    "--",
                    &format!("{SOURCE}/room.conf"),
                    &format!("{CHROOT}/etc/apt/apt.conf.d/99room"),
                ]),
            ),
            root("ln", words(&["--symbolic", "--force", "--", "pts/ptmx", &format!("{CHROOT}/dev/ptmx")])),
            root("sh", words(&["-c", PIUPARTS, "sh"]).into_iter().chain(arguments).collect()),
        ],
        texts: vec![
            ("room.list", sources.join("\n") + "\n"),
            ("room.conf", "APT::Sandbox::User \"root\";\n".to_owned()),
            ("Packages", it.paragraphs()),
        ],
        takes: false,
        repository: needed,
        // Its chroot is a copy of the base.
        besides: layer::size(&it.tree.root(), it.ours.walls)?,
    };
    let visited = it.visit(&visit, log)?;
    match visited.status {
        0 => Ok(Vec::new()),
        FAILED => judge(&visited.output, &names(packages)),
        other => {
            Err(Trouble::Machine(format!("piuparts cannot be used: it ended with status {other}").into()))
        }
    }
}

/// Finds what it complains of: a line with `ERROR:`, and those behind it that are further in.
fn judge(output: &str, names: &str) -> Result<Vec<Finding>, Trouble> {
    const CONCLUSION: &str = "FAIL: Installation and purging test.";
    let mut errors: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in output.lines() {
        if let Some((_, error)) = line.split_once(" ERROR: ") {
            errors.push(error.trim().to_owned());
            is_inside = true;
        } else if let (true, Some(last)) = (is_inside && line.starts_with([' ', '\t']), errors.last_mut()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            last.push_str(if last.ends_with(':') { " " } else { ", " });
            last.push_str(&words.join(" "));
        } else {
            is_inside = false;
        }
    }
    if let Some(problem) =
        errors.iter().find(|it| it.starts_with("Command failed") && it.contains("['mount'"))
    {
        return Err(Trouble::Machine(format!("piuparts cannot make its chroot: {problem}").into()));
    }
    errors.retain(|it| it != CONCLUSION);
    if errors.is_empty() {
        errors.push("it is not content; its log says why".to_owned());
    }
    Ok(super::faults(
        errors.into_iter().map(|it| format!("{names}: {}", it.trim_start_matches("FAIL: "))).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_purged_package_left_is_told_with_its_name_and_a_mount_that_fails_is_the_machine_s() {
        let output = "0m9.1s DEBUG: noise\n0m9.2s ERROR: FAIL: Package purging left files on system:\n  /var/lib/left\t not owned\n  /var/log/left\t not owned\n0m9.3s ERROR: FAIL: Installation and purging test.\n";
        let expected =
            "messy: Package purging left files on system: /var/lib/left not owned, /var/log/left not owned";
        assert_eq!(judge(output, "messy").unwrap(), [Finding::Fault(expected.to_owned())]);
        let output = "0m1.0s ERROR: Command failed (status=32): ['mount', '-t', 'proc', 'proc', '/x']\n";
        assert!(matches!(judge(output, "messy"), Err(Trouble::Machine(_))));
    }
}
