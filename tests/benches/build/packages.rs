//! The packages that are built: a tiny one, GNU hello as it is in Debian, and one with very many build dependencies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_tests::builds::{BASE, DEBHELPER, GOOD, plan};
use invirtibuilder_tests::programs::{command, run};

/// What brings about 300 packages that neither the base nor debhelper has.
const MANY: &str = "libwebkit2gtk-4.0-dev, qtbase5-dev";

/// Returns a package by its name; `None`, which is said, if it cannot be had.
pub(crate) fn find(name: &str, directory: &Path, cache: &Path) -> Option<SourcePackage> {
    match name {
        "tiny" => Some(made("tiny", directory, DEBHELPER)),
        "large" => Some(made("large", directory, &format!("{DEBHELPER}, {MANY}"))),
        _ => of_debian(name, cache),
    }
}

/// Makes a source package with one package for `all` architectures.
fn made(name: &str, directory: &Path, build_depends: &str) -> SourcePackage {
    let tree = directory.join("tree").join(format!("{name}-1.0"));
    fs::create_dir_all(tree.join("debian/source")).unwrap();
    let control = format!(
        "Source: {name}\nMaintainer: Nobody <nobody@example.org>\nSection: misc\nPriority: optional\nStandards-Version: 4.6.2\nBuild-Depends: {build_depends}\nRules-Requires-Root: no\n\nPackage: {name}\nArchitecture: all\nDescription: made for a benchmark\n"
    );
    let changelog = format!(
        "{name} (1.0) {BASE}; urgency=medium\n\n  * Made for a benchmark.\n\n -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
    );
    for (file, content) in [
        ("control", control.as_str()),
        ("changelog", &changelog),
        ("rules", GOOD),
        ("source/format", "3.0 (native)\n"),
    ] {
        fs::write(tree.join("debian").join(file), content).unwrap();
    }
    fs::set_permissions(tree.join("debian/rules"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = directory.join(format!("source-{name}"));
    fs::create_dir(&output).unwrap();
    run(command("dpkg-source").arg("-b").arg("--").arg(&tree).current_dir(&output)).ok();
    let dsc = output.join(format!("{name}_1.0.dsc"));
    SourcePackage::for_tests(plan(name, "prod", Trust::Full), &dsc).unwrap()
}

/// Fetches a source package of Debian's with this machine's apt, once.
fn of_debian(name: &str, cache: &Path) -> Option<SourcePackage> {
    let directory = cache.join("sources").join(name);
    if dsc_in(&directory).is_none() {
        let (lists, list) = (cache.join("source-lists"), cache.join("sources.list"));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(lists.join("partial")).unwrap();
        let mirror = mirror()?;
        fs::write(&list, format!("deb-src {mirror} {BASE} main\n")).unwrap();
        for words in [&["update"][..], &["source", "--download-only", name]] {
            let mut apt = command("apt-get");
            apt.arg("-q").arg("-o").arg(format!("Dir::Etc::sourcelist={}", list.display()));
            apt.args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Sandbox::User=root"]);
            apt.arg("-o").arg(format!("Dir::State::lists={}", lists.display()));
            let answer = run(apt.args(words).current_dir(&directory));
            if answer.code != Some(0) {
                println!("SKIPPED: {name}, whose source cannot be fetched: {}", answer.stderr.trim());
                return None;
            }
        }
    }
    let dsc = dsc_in(&directory)?;
    Some(SourcePackage::for_tests(plan_of(name, &dsc), &dsc).unwrap())
}

fn dsc_in(directory: &Path) -> Option<std::path::PathBuf> {
    let files = fs::read_dir(directory).ok()?.map(|it| it.unwrap().path());
    files.into_iter().find(|it| it.extension().is_some_and(|it| it == "dsc"))
}

/// Returns the plan to build the version that a `.dsc` is of.
fn plan_of(name: &str, dsc: &Path) -> invirtibuilder_core::states::BuildPlan {
    let control = invirtibuilder_core::control::SourceControl::read(dsc).unwrap();
    let made = plan(name, "prod", Trust::Full);
    let (job, pocket) = (made.job().clone(), made.pocket().clone());
    invirtibuilder_core::states::BuildPlan::for_tests(job, pocket, control.version().clone(), None)
}

/// Returns where this machine's apt has the base from.
pub(crate) fn mirror() -> Option<String> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets =
        run(command("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"])).ok();
    let wanted = format!(" {BASE} main");
    targets.lines().find_map(|it| it.strip_suffix(&wanted)).map(str::to_owned)
}
