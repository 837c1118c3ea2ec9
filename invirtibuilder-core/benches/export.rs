//! Exporting one source package beside git-buildpackage and dpkg-source: `cargo bench -p invirtibuilder-core --features
//! conformance --bench export -- FILE.dsc`.
//!
//! The source package is taken over into a repository first. Prints medians of whole exports.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "a benchmark"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use invirtibuilder_core::builder::sbuild::ACCOUNT;
use invirtibuilder_core::conformance::exporter::plan;
use invirtibuilder_core::control::SourceControl;
use invirtibuilder_core::error::BoxError;
use invirtibuilder_core::exporter::Exporter;
use invirtibuilder_core::exporter::source::{Confinement, Origs, SourceExporter, TreeLimits};
use invirtibuilder_core::publisher::ServedFile;
use invirtibuilder_core::repository::push_policy::PushPolicy;
use invirtibuilder_core::repository::{Hooks, Repositories};
use invirtibuilder_core::states::BuildPlan;

const RUNS: usize = 5;

/// The files of the source package itself, as if the archive had them.
#[derive(Debug)]
struct Held(Vec<ServedFile>);

impl Origs for Held {
    fn held(&self, _: &BuildPlan) -> Result<Vec<ServedFile>, BoxError> {
        Ok(self.0.clone())
    }
}

fn median(mut run: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    times.sort();
    times[RUNS / 2].as_secs_f64()
}

fn shell(directory: &Path, script: &str) -> Duration {
    let started = Instant::now();
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    started.elapsed()
}

/// Returns the options that tell git-buildpackage of the components.
fn imported_components(control: &SourceControl) -> String {
    let names = control.files().iter().filter_map(|it| {
        let (_, rest) = it.name.as_str().split_once(".orig-")?;
        rest.split_once(".tar.").map(|it| it.0.to_owned())
    });
    let names: std::collections::BTreeSet<String> = names.collect();
    names.iter().map(|it| format!(" --git-component={it}")).collect::<Vec<_>>().concat()
}

fn main() {
    let Some(dsc) = std::env::args().skip(1).find(|it| it.ends_with(".dsc")) else {
        println!("name a .dsc");
        return;
    };
    let dsc = PathBuf::from(dsc).canonicalize().unwrap();
    let place = tempfile::Builder::new().prefix("export-bench-").tempdir().unwrap();
    let place = place.path();
    shell(place, "chmod 755 . && mkdir repositories into");
    let repositories = Repositories::open(&place.join("repositories")).unwrap();
    let confinement = Confinement::new(&place.join("scratch"), ACCOUNT);
    let control = SourceControl::read(&dsc).unwrap();
    let (package, version) = (control.package(), control.version());
    let hooks = Hooks { program: "/bin/true".into(), config: "/x".into() };
    let policy = PushPolicy::new(&std::collections::BTreeMap::new(), "");
    let imported = repositories.import_source(package, &dsc, &hooks, &policy, &confinement).unwrap();
    let commit = imported.source.unwrap().1;
    let exporter = || {
        SourceExporter::new(repositories.clone(), TreeLimits::default())
            .with_confinement(confinement.clone())
            .with_cache(&place.join("cache"))
    };
    let plan = plan(package, version, &commit);
    let mut count = 0;
    let mut export = |exporter: &SourceExporter| {
        median(|| {
            count += 1;
            let into = place.join(format!("into/{count}"));
            std::fs::create_dir(&into).unwrap();
            let started = Instant::now();
            exporter.export(&plan, &into).unwrap();
            started.elapsed()
        })
    };
    let held = control
        .files()
        .iter()
        .map(|it| ServedFile { path: control.directory().join(it.name.as_str()), sha256: it.sha256.clone() });
    let is_native = !control.files().iter().any(|it| it.name.as_str().contains(".orig"));
    let held = exporter().with_origs(Arc::new(Held(held.collect())));
    println!("{package} {version}, seconds, medians of {RUNS}");
    if is_native {
        println!("export, native                                  {:.3}", export(&exporter()));
    } else {
        println!("export, the archive holds the upstream tarball  {:.3}", export(&held));
        println!("export, by pristine-tar                         {:.3}", export(&exporter()));
    }

    let bare = repositories.path(package);
    let clone = format!(
        "rm -rf gbp && mkdir gbp && git clone -q -b debian/latest {} gbp/{package} && cd gbp/{package} && \
         for b in upstream pristine-tar; do git branch -q $b origin/$b 2>/dev/null || true; done",
        bare.display()
    );
    shell(place, &clone);
    let tree = place.join(format!("gbp/{package}"));
    let components: String = imported_components(&control);
    // Its own default would run lintian, too.
    let gbp = format!(
        "gbp buildpackage --git-builder='dpkg-buildpackage -i -I' -S -us -uc -d --git-ignore-branch --git-ignore-new --git-no-sign-tags{components}"
    );
    let clean = "rm -f ../*.dsc ../*.debian.tar.* ../*.build* ../*.changes";
    // A hook of the package, or a branch or tag of other names, is not what is measured.
    shell(
        &tree,
        "git rm -q --cached debian/gbp.conf 2>/dev/null && rm -f debian/gbp.conf && git -c user.name=A -c user.email=a@b.org commit -qm gbp || true",
    );
    let unpack = format!(
        "rm -rf ../plain && mkdir -p ../plain/{package} && git archive HEAD | tar x -C ../plain/{package} && cd ../plain"
    );
    println!("git archive | tar x                             {:.3}", median(|| shell(&tree, &unpack)));
    if is_native {
        println!(
            "gbp buildpackage -S                             {:.3}",
            median(|| shell(&tree, &format!("{clean}; {gbp}")))
        );
        for how in ["-Zxz", "-Zxz -z1", "-Zgzip -z1"] {
            let plain = format!("{unpack} && dpkg-source {how} -b {package}");
            println!(
                "{:<48}{:.3}",
                format!("the same, dpkg-source {how} -b"),
                median(|| shell(&tree, &plain))
            );
        }
        return;
    }
    let checkout = "rm -f ../*.orig*; for it in $(git ls-tree --name-only pristine-tar | sed -n s/.delta$//p); do pristine-tar checkout ../$it; done";
    println!("pristine-tar checkout                           {:.3}", median(|| shell(&tree, checkout)));
    let pristine = format!("{clean} ../*.orig*; {gbp} --git-pristine-tar");
    println!("gbp buildpackage -S --git-pristine-tar          {:.3}", median(|| shell(&tree, &pristine)));
    let held = format!("{clean}; {gbp}");
    println!("gbp buildpackage -S, tarball at hand            {:.3}", median(|| shell(&tree, &held)));
    let plain = format!("{unpack} && cp ../*.orig* . && dpkg-source -b {package}");
    println!("the same, dpkg-source -b                        {:.3}", median(|| shell(&tree, &plain)));
}
