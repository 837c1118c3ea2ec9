//! What tests of builders need: source packages that do something, and a look at what a build left.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use invirtibuilder_core::builder::{Target, Variation};
use invirtibuilder_core::job::{Job, Request};
use invirtibuilder_core::memory::files::commit_id;
use invirtibuilder_core::names::Architecture;
use invirtibuilder_core::policy::{Building, PocketSpec, Policy, Trust};
use invirtibuilder_core::states::{BuildPlan, SourcePackage};
use invirtibuilder_core::stop::Stop;

/// The base that tests build in.
pub const BASE: &str = "bookworm";

/// What `debian/rules` of a package that builds says.
pub const GOOD: &str = "#!/usr/bin/make -f\n%:\n\tdh $@\n";

/// What `debian/rules` of a package says that makes its packages without debhelper, and so in the shortest time; behind
/// it follow the lines of what it does to build them.
pub const PLAIN: &str = "#!/usr/bin/make -f
clean:
\trm -rf debian/tmp debian/files
binary-arch:
\t$(call package,$(shell dpkg-parsechangelog -S Source))
binary-indep:
\t$(call package,$(shell dpkg-parsechangelog -S Source)-data)
binary: build binary-arch binary-indep
define package
\tmkdir -p debian/tmp/$(1)/DEBIAN debian/tmp/$(1)/usr/share/$(1)
\techo made > debian/tmp/$(1)/usr/share/$(1)/made
\tdpkg-gencontrol -p$(1) -Pdebian/tmp/$(1)
\tdpkg-deb --root-owner-group --build debian/tmp/$(1) ..
endef
.PHONY: build build-arch build-indep clean binary binary-arch binary-indep
build build-arch build-indep:
";

/// The build dependency of nearly every package.
pub const DEBHELPER: &str = "debhelper-compat (= 13)";

/// Returns what `debian/rules` of a package of this name says that needs no debhelper: it compiles and runs a program,
/// which must find `pointers` bytes in a pointer, on a machine that calls itself `machine`.
#[must_use]
pub fn compiled(name: &str, pointers: u8, machine: &str) -> String {
    let root = format!("debian/{name}");
    format!(
        "#!/usr/bin/make -f\nclean build build-arch build-indep binary-indep:\nbinary: binary-arch\nbinary-arch:\n\
         \tmkdir -p {root}/DEBIAN {root}/usr/bin\n\
         \techo 'int main(void) {{ return sizeof(void *) != {pointers}; }}' > main.c\n\
         \tcc -o {root}/usr/bin/{name} main.c\n\
         \t{root}/usr/bin/{name}\n\
         \ttest \"$$(uname -m)\" = {machine}\n\
         \tdpkg-gencontrol -p{name} -P{root}\n\
         \tdpkg-deb --root-owner-group --build {root} ..\n"
    )
}

/// Makes a source package, below a directory, of a package for `all` and one for `any`.
#[must_use]
pub fn source(directory: &Path, plan: BuildPlan, rules: &str, build_depends: &str) -> SourcePackage {
    let name = plan.package().to_string();
    let tree = directory.join("tree").join(format!("{name}-1.0"));
    fs::create_dir_all(tree.join("debian/source")).unwrap();
    let control = format!(
        "Source: {name}\nMaintainer: Nobody <nobody@example.org>\nSection: misc\nPriority: optional\nStandards-Version: 4.6.2\nBuild-Depends: {build_depends}\nRules-Requires-Root: no\n\nPackage: {name}\nArchitecture: any\nDescription: made for a test\n\nPackage: {name}-data\nArchitecture: all\nDescription: made for a test\n"
    );
    let changelog = format!(
        "{name} (1.0) {BASE}; urgency=medium\n\n  * Made for a test.\n\n -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
    );
    let files = [
        ("control", control.as_str()),
        ("changelog", &changelog),
        ("rules", rules),
        ("source/format", "3.0 (native)\n"),
    ];
    for (file, content) in files {
        fs::write(tree.join("debian").join(file), content).unwrap();
    }
    fs::set_permissions(tree.join("debian/rules"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = directory.join(format!("source-{name}"));
    fs::create_dir(&output).unwrap();
    let made = Command::new("dpkg-source").arg("-b").arg("--").arg(&tree).current_dir(&output).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    SourcePackage::for_tests(plan, &output.join(format!("{name}_1.0.dsc"))).unwrap()
}

/// Returns the plan to build version 1.0 of a package for a pocket.
#[must_use]
pub fn plan(name: &str, pocket: &str, trust: Trust) -> BuildPlan {
    plan_of(name, "1.0", pocket, trust)
}

/// Returns the plan to build a version of a package for a pocket.
#[must_use]
pub fn plan_of(name: &str, version: &str, pocket: &str, trust: Trust) -> BuildPlan {
    let pocket = PocketSpec {
        name: pocket.parse().unwrap(),
        branch: pocket.parse().unwrap(),
        suite: pocket.parse().unwrap(),
        components: vec!["main".parse().unwrap()],
        architectures: vec![host()],
        base: BASE.parse().unwrap(),
        policy: Policy { trust, ..Policy::default() },
        building: Building::default(),
    };
    let request = Request {
        pocket: pocket.name.clone(),
        package: name.parse().unwrap(),
        commit: commit_id(name),
        principal: "alice@EXAMPLE.ORG".parse().unwrap(),
        adds: None,
    };
    let job = Job::new("20261123080000_abc123".parse().unwrap(), request);
    BuildPlan::for_tests(job, pocket, version.parse().unwrap(), None)
}

/// Returns the architecture of this machine.
#[must_use]
pub fn host() -> Architecture {
    let output = Command::new("dpkg").arg("--print-architecture").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Returns the target of all tests.
#[must_use]
pub fn target() -> Target {
    Target { architecture: host(), with_all: true, base: BASE.parse().unwrap(), variation: Variation::None }
}

/// A log that asks to stop when a text appears in it.
#[derive(Debug)]
pub struct StopAt {
    text: &'static str,
    stop: Stop,
    /// What was written.
    pub seen: Vec<u8>,
    /// When the text appeared.
    pub at: Option<Instant>,
}

impl StopAt {
    /// Sets `stop` at the first `text`.
    #[must_use]
    pub fn new(text: &'static str, stop: &Stop) -> Self {
        Self { text, stop: stop.clone(), seen: Vec::new(), at: None }
    }
}

impl Write for StopAt {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.seen.extend_from_slice(bytes);
        if self.at.is_none() && String::from_utf8_lossy(&self.seen).contains(self.text) {
            self.stop.set();
            self.at = Some(Instant::now());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Fails the test if a run of a builder left something in its scratch directory.
#[track_caller]
pub fn assert_nothing_is_left(scratch: &Path) {
    let found = fs::read_dir(scratch).into_iter().flatten().map(|it| it.unwrap().file_name());
    let left: Vec<_> = found.filter(|it| it != "register.lock").collect();
    assert!(left.is_empty(), "left in {}: {left:?}", scratch.display());
}
