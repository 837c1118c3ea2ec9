//! Packages with any control fields and files, made by the real dpkg-deb and dpkg-source.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use invirtibuilder_core::conformance::publisher::Sample;
use invirtibuilder_core::memory::files::write_changes;
use invirtibuilder_core::policy::PocketSpec;
use invirtibuilder_core::states::{BuildArtifacts, SourcePackage};

use crate::programs::{command, run};

/// A binary package to make.
#[derive(Clone, Debug)]
pub struct Deb {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its section.
    pub section: String,
    /// Further lines of its control file, each with its end.
    pub fields: String,
    /// Its description, as in a control file.
    pub description: String,
    /// Its files: paths without a slash at the beginning, and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// `deb` or `udeb`.
    pub ending: &'static str,
}

impl Deb {
    /// Describes a package for all architectures with one file, `usr/share/NAME/file`.
    #[must_use]
    pub fn new(name: &str, section: &str) -> Self {
        Self {
            name: name.to_owned(),
            architecture: "all".to_owned(),
            section: section.to_owned(),
            fields: String::new(),
            description: format!("the package {name}\n It has a file.\n .\n It is made for a test."),
            files: vec![(format!("usr/share/{name}/file"), b"a file\n".to_vec())],
            ending: "deb",
        }
    }

    /// Makes it with real dpkg-deb in `into`, and returns the file's name.
    #[must_use]
    pub fn build(&self, into: &Path, source: &str, version: &str) -> String {
        let Self { name, architecture, section, fields, description, files, ending } = self;
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("DEBIAN")).unwrap();
        let of = if source == name { String::new() } else { format!("Source: {source}\n") };
        let control = format!(
            "Package: {name}\n{of}Version: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@example.org>\nSection: {section}\nPriority: optional\n{fields}Description: {description}\n"
        );
        fs::write(tree.path().join("DEBIAN/control"), control).unwrap();
        for (path, content) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let file = format!("{name}_{version}_{architecture}.{ending}");
        let mut program = command("dpkg-deb");
        program.args(["--root-owner-group", "--nocheck", "-b"]).arg(tree.path()).arg(into.join(&file));
        run(&mut program).ok();
        file
    }
}

/// Makes a source package with real dpkg-source, and these binary packages of it, ready to be published in a pocket.
#[must_use]
pub fn upload(
    sample: &Sample,
    section: &str,
    pocket: &PocketSpec,
    into: &Path,
    debs: &[Deb],
) -> BuildArtifacts {
    let (package, version) = (&sample.package, &sample.version);
    let tree = into.join(format!("{package}-{version}"));
    fs::create_dir_all(tree.join("debian/source")).unwrap();
    fs::write(tree.join("debian/source/format"), "3.0 (native)\n").unwrap();
    let changelog = format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * Made for a test: {}.\n\n -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n",
        sample.content
    );
    fs::write(tree.join("debian/changelog"), changelog).unwrap();
    let mut control = format!(
        "Source: {package}\nSection: {section}\nPriority: optional\nMaintainer: Nobody <nobody@example.org>\nStandards-Version: 4.7.0\n"
    );
    for deb in debs {
        let kind = if deb.ending == "udeb" { "Package-Type: udeb\n" } else { "" };
        let any = if deb.architecture == "all" { "all" } else { "any" };
        let Deb { name, section, description, .. } = deb;
        let _ = writeln!(
            control,
            "\nPackage: {name}\nArchitecture: {any}\nSection: {section}\n{kind}Description: {description}"
        );
    }
    fs::write(tree.join("debian/control"), control).unwrap();
    run(command("dpkg-source").current_dir(into).arg("-b").arg(&tree)).ok();
    let names: Vec<String> =
        debs.iter().map(|it| it.build(into, package.as_str(), version.as_str())).collect();
    let architecture = "amd64".parse().unwrap();
    let changes = write_changes(into, package, version, &architecture, &names).unwrap();
    let dsc = into.join(format!("{package}_{version}.dsc"));
    let source = SourcePackage::for_tests(sample.plan(pocket), &dsc).unwrap();
    BuildArtifacts::for_tests(source, &[changes]).unwrap()
}
