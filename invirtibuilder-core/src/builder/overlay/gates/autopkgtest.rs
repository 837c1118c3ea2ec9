//! autopkgtest(1), of the base: the tests in `debian/tests`, against the binary packages, in a room as its root.
//!
//! What the tests need is installed before, in a layer, all of it together; the room has no network. Tests that want the
//! network are skipped by autopkgtest itself. Those that want a machine of their own run too: the room is one as far as
//! they can tell, and they fail where it is not.

use std::io::Write;

use super::{Examination, Needs, SOURCE, Trouble, User, Visit, faults, machine, step};
use crate::builder::overlay::room::BUILD;
use crate::policy::Finding;

/// What apt in the room is told.
const SETTINGS: &str = "APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\n";

pub(super) fn ask(it: &Examination<'_>, log: &mut (dyn Write + Send)) -> Result<Vec<Finding>, Trouble> {
    let suites = it.subject.source.control().paragraph().get("Testsuite").unwrap_or_default().to_owned();
    let suites: Vec<&str> = suites.split([',', ' ']).filter(|it| !it.is_empty()).collect();
    if suites.is_empty() {
        writeln!(log, "invirtibuilder: the source package has no tests").map_err(machine)?;
        return Ok(Vec::new());
    }
    if !suites.contains(&"autopkgtest") {
        let text =
            format!("tests of the kind {} were not run: only those in debian/tests are", suites.join(", "));
        return Ok(vec![Finding::Remark(text)]);
    }
    let Some(control) = control(it, log)? else {
        return Ok(vec![Finding::Fault("its debian/tests/control cannot be read".to_owned())]);
    };
    let relations = relations(it, &control);
    let layer = match it.layer(
        &Needs::on(&format!("autopkgtest, passwd, {relations}"), &it.paragraphs()),
        it.against,
        log,
    ) {
        Err(Trouble::Package(problem)) => {
            let problem = problem.replace("its build dependencies", "what its tests need, all together,");
            return Ok(vec![Finding::Fault(problem)]);
        }
        other => other?,
    };
    let packages = it.installable().map(|it| format!("{SOURCE}/{}", it.name().display()));
    let arguments =
        ["--no-built-binaries", "--user=builder", "--needs-internet=skip"].map(str::to_owned).into_iter();
    let arguments = arguments.chain(packages).chain([it.dsc().display().to_string()]);
    let arguments = arguments.chain(["--".to_owned(), "null".to_owned()]);
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let settings = format!("{SOURCE}/room.conf");
    let visit = Visit {
        layer: Some(&layer),
        user: User::Root,
        steps: vec![
            // There is no network: apt is not to look for any.
            step("cp", words(&["/dev/null", "/etc/apt/sources.list"]), "/root", "/"),
            step("rm", words(&["-rf", "--", "/etc/apt/sources.list.d"]), "/root", "/"),
            step("mkdir", words(&["--", "/etc/apt/sources.list.d"]), "/root", "/"),
            step("cp", words(&["--", &settings, "/etc/apt/apt.conf.d/99room"]), "/root", "/"),
            // su(1) lets nobody in who is not in shadow(5), as builds need not be; bases since Debian 13 have no passwd.
            step("pwconv", [], "/root", "/"),
            step("autopkgtest", arguments, "/root", "/"),
        ],
        texts: vec![("room.conf", SETTINGS.to_owned())],
        takes: false,
        repository: &[],
        besides: 0,
    };
    let visited = it.visit(&visit, log)?;
    Ok(judge(visited.status, &visited.output))
}

/// Reads `debian/tests/control`, in a room, as it is in a tarball that somebody made.
fn control(it: &Examination<'_>, log: &mut (dyn Write + Send)) -> Result<Option<String>, Trouble> {
    let tree = format!("{BUILD}/tree");
    let unpack = ["--no-check", "--extract", "--"].map(str::to_owned).into_iter();
    let unpack = unpack.chain([it.dsc().display().to_string(), tree.clone()]);
    let copy = ["--".to_owned(), format!("{tree}/debian/tests/control"), format!("{BUILD}/tests-control")];
    let visit = Visit {
        layer: None,
        user: User::Builder,
        steps: vec![
            step("dpkg-source", unpack, "/nonexistent", BUILD),
            step("cp", copy, "/nonexistent", BUILD),
        ],
        texts: Vec::new(),
        // The tarballs of the source package lie elsewhere, so what is left beside the tree is this one file.
        takes: true,
        repository: &[],
        besides: 0,
    };
    Ok(it.visit(&visit, log)?.taken)
}

/// Returns all that the tests need, as `Build-Depends` would have it.
fn relations(it: &Examination<'_>, control: &str) -> String {
    let own = |field: &str| -> Vec<String> {
        let fields = it.installable().filter_map(|it| {
            let paragraph: deb822_fast::Paragraph = it.control.text().parse().ok()?;
            paragraph.get(field).map(str::to_owned)
        });
        fields.collect()
    };
    let built =
        || it.installable().map(|it| format!("{} (= {})", it.control.package(), it.control.version()));
    let declared = |name: &str| it.subject.source.control().paragraph().get(name).map(str::to_owned);
    let mut wanted: Vec<String> = Vec::new();
    for relation in depends(control) {
        match relation.as_str() {
            "@" => wanted.extend(built().filter(|it| !it.contains("-dbgsym "))),
            "@recommends@" => wanted.extend(own("Recommends")),
            "@builddeps@" => {
                let names = ["Build-Depends", "Build-Depends-Indep", "Build-Depends-Arch"];
                wanted.extend(names.into_iter().filter_map(declared));
            }
            _ => wanted.push(relation),
        }
    }
    let wanted: Vec<String> = wanted
        .iter()
        .map(|it| it.trim().trim_matches(',').trim().to_owned())
        .filter(|it| !it.is_empty())
        .collect();
    wanted.join(", ")
}

/// Returns the relationships of all tests, each once; a test that names none needs the binary packages
/// (autopkgtest's README.package-tests).
fn depends(control: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for paragraph in control.split("\n\n") {
        let lines: Vec<&str> = paragraph.lines().filter(|it| !it.starts_with('#')).collect();
        if !lines.iter().any(|it| it.starts_with("Tests:") || it.starts_with("Test-Command:")) {
            continue;
        }
        let mut text = None;
        let mut is_inside = false;
        for line in lines {
            if let Some(rest) = line.strip_prefix("Depends:") {
                (text, is_inside) = (Some(rest.to_owned()), true);
            } else if is_inside && line.starts_with([' ', '\t']) {
                let text = text.get_or_insert_default();
                text.push(' ');
                text.push_str(line.trim());
            } else {
                is_inside = false;
            }
        }
        let text = text.unwrap_or_else(|| "@".to_owned());
        for relation in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            if !found.iter().any(|it| it == relation) {
                found.push(relation.to_owned());
            }
        }
    }
    found
}

/// Tells what a status of autopkgtest(1) means.
fn judge(status: u8, output: &str) -> Vec<Finding> {
    let summary = || output.lines().rev().take_while(|it| !it.contains("@@@ summary")).collect::<Vec<_>>();
    let ended = |word: &str| -> Vec<String> {
        let lines = summary();
        let is_such = |line: &&&str| line.split_whitespace().nth(1) == Some(word);
        let mut lines: Vec<String> = lines
            .iter()
            .filter(is_such)
            .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        lines.reverse();
        lines
    };
    let skipped = || ended("SKIP").into_iter().map(Finding::Remark);
    match status {
        0 => Vec::new(),
        2 | 8 => {
            let found: Vec<Finding> = skipped().collect();
            if found.is_empty() {
                vec![Finding::Remark("no test could be run here".to_owned())]
            } else {
                found
            }
        }
        4 | 6 => {
            let failed = faults(ended("FAIL"));
            let failed = if failed.is_empty() {
                vec![Finding::Fault("a test failed; its log says why".to_owned())]
            } else {
                failed
            };
            failed.into_iter().chain(skipped()).collect()
        }
        12 | 14 => {
            vec![Finding::Fault("its tests, or their packages, are erroneous; the log says why".to_owned())]
        }
        other => {
            vec![Finding::Fault(format!("autopkgtest could not run its tests: it ended with status {other}"))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_tests_need_is_each_named_once_and_the_packages_where_a_test_names_nothing() {
        let control = "# a comment\nTests: one\nDepends: @,\n curl (>= 7) | wget\n\nTest-Command: true\n\nTests: two\nDepends: @, jq\n";
        assert_eq!(depends(control), ["@", "curl (>= 7) | wget", "jq"]);
    }

    #[test]
    fn a_failed_test_is_a_fault_with_its_name_and_a_skipped_one_a_remark() {
        let output = "noise\nautopkgtest [10:00:00]: @@@@@@@@@@@@@@@@@@@@ summary\nfirst                PASS\nsecond               FAIL non-zero exit status 3\nthird                SKIP Test needs a machine\n";
        assert_eq!(judge(0, output), []);
        let found = judge(6, output);
        assert_eq!(found[0], Finding::Fault("second FAIL non-zero exit status 3".to_owned()));
        assert_eq!(found[1], Finding::Remark("third SKIP Test needs a machine".to_owned()));
        assert_eq!(judge(2, output), found[1..]);
    }
}
