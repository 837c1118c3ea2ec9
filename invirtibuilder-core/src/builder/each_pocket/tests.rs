use std::sync::Mutex;

use super::*;
use crate::builder::Variation;
use crate::error::causes;
use crate::exporter::Exporter;
use crate::job::Job;
use crate::memory::{Lab, MemoryExporter};
use crate::policy::Policy;
use crate::states::BuildPlan;
use crate::stop::Never;

/// Notes who was called, builds nothing, and knows one package of the base.
#[derive(Debug)]
struct Noting<'a> {
    name: &'static str,
    calls: &'a Mutex<Vec<String>>,
    cleans: bool,
}

impl Noting<'_> {
    fn note(&self, call: &str) {
        self.calls.lock().unwrap().push(format!("{}: {call}", self.name));
    }
}

impl Builder for Noting<'static> {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        _: &Target,
        _: &Path,
        _: &mut (dyn Write + Send + 'a),
        _: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        self.note(&format!("build for {}", source.plan().pocket().name));
        Err(BuildError::Interrupted)
    }
    fn protected(&self, _: &BaseName, _: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        Ok(BTreeSet::from([self.name.parse().unwrap()]))
    }
    fn clean_up(&self) -> Result<(), BuildError> {
        self.note("clean up");
        if self.cleans { Ok(()) } else { Err(BuildError::Backend("full".into())) }
    }
}

fn builder() -> (PocketBuilder, &'static Mutex<Vec<String>>) {
    let calls: &'static Mutex<Vec<String>> = Box::leak(Box::default());
    let noting = |name, cleans| -> Box<dyn Builder> { Box::new(Noting { name, calls, cleans }) };
    let builders =
        [(BuildBackend::Sbuild, noting("sbuild", false)), (BuildBackend::Overlay, noting("overlay", true))];
    (PocketBuilder::new(builders), calls)
}

#[test]
fn a_pocket_s_packages_are_built_by_what_it_names() {
    let lab = Lab::new().unwrap();
    let (builder, calls) = builder();
    let hello: PackageName = "hello".parse().unwrap();
    let commit = lab.commit(&hello, &"1.0".parse().unwrap(), None);
    let build = |pocket: &str, backend| {
        let mut spec = Lab::spec(pocket, Policy::default());
        spec.building.backend = backend;
        let request = Lab::request(pocket, &hello, &commit);
        let job = Job::new("20261123080000_abc123".parse().unwrap(), request);
        let plan = BuildPlan::for_tests(job, spec, "1.0".parse().unwrap(), None);
        let exported = tempfile::tempdir().unwrap();
        let dsc = MemoryExporter(lab.memory.clone()).export(&plan, exported.path()).unwrap().dsc;
        let source = SourcePackage::for_tests(plan, &dsc).unwrap();
        let target = Target {
            architecture: "amd64".parse().unwrap(),
            with_all: true,
            base: "bookworm".parse().unwrap(),
            variation: Variation::None,
        };
        builder.build(&source, &target, exported.path(), &mut Vec::new(), &Never).unwrap_err()
    };
    assert!(matches!(build("prod", BuildBackend::Sbuild), BuildError::Interrupted));
    assert!(matches!(build("dev", BuildBackend::Overlay), BuildError::Interrupted));
    assert_eq!(*calls.lock().unwrap(), ["sbuild: build for prod", "overlay: build for dev"]);
    let unknown = build("lab", BuildBackend::Vm);
    assert!(matches!(unknown, BuildError::Backend(_)));
    assert!(causes(&unknown).join(": ").contains("lab is to be built by vm"), "{unknown:?}");
}

#[test]
fn the_packages_of_all_bases_are_protected_and_all_builders_clean_up() {
    let (builder, calls) = builder();
    let protected = builder.protected(&"bookworm".parse().unwrap(), &"amd64".parse().unwrap()).unwrap();
    assert_eq!(protected.iter().map(PackageName::as_str).collect::<Vec<_>>(), ["overlay", "sbuild"]);
    let failed = builder.clean_up().unwrap_err();
    assert!(causes(&failed).join(": ").contains("full"), "{failed:?}");
    assert_eq!(*calls.lock().unwrap(), ["sbuild: clean up", "overlay: clean up"]);
}
