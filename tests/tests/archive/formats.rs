//! The compressed forms of the indices, as the tools that they are named by, and apt, see them.

use std::path::Path;
use std::process::Command;

use invirtibuilder_core::conformance::publisher::{Sample, stable};
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Archive, Compression, Descriptions, Retention, SuiteSpec};

use invirtibuilder_tests::world::{World, expect};

use super::hello;

fn archive_of(world: &World, compression: &[Compression]) -> Archive {
    let suite = SuiteSpec {
        compression: compression.to_vec(),
        contents: true,
        descriptions: Descriptions::Translation,
        ..SuiteSpec::of(&stable(), "A test", "Test")
    };
    world.archive_of("archive", Retention::default(), vec![suite])
}

/// Decompresses every index with its own tool, compares it with what `Release` says, and returns how many there are.
fn check_indices(suite: &Path) -> usize {
    let release = std::fs::read_to_string(suite.join("Release")).unwrap();
    let lines: Vec<Vec<&str>> = release
        .lines()
        .filter(|it| it.starts_with(' ') && it.contains('/'))
        .map(|it| it.split_whitespace().collect())
        .collect();
    let sum_of = |path: &str| lines.iter().find(|it| it[2] == path).map(|it| it[0]).unwrap();
    let mut count = 0;
    for path in lines.iter().map(|it| it[2]) {
        let Some((text, ending)) = path.rsplit_once('.') else { continue };
        let command = match ending {
            "gz" => "gzip -dc",
            "xz" => "xz -dc",
            "zst" => "zstd -dcq",
            other => panic!("{other} is no form of an index"),
        };
        let shown = format!("set -e; {command} '{}' | sha256sum", suite.join(path).display());
        let output = Command::new("sh").args(["-c", &shown]).output().unwrap();
        assert!(expect(&output).starts_with(sum_of(text)), "{path}");
        count += 1;
    }
    count
}

fn samples(names: impl Iterator<Item = usize>, version: &str) -> Vec<Sample> {
    names.map(|it| Sample::new(&format!("package{it:03}"), version, "")).collect()
}

fn publish_together(
    archive: &Archive,
    samples: &[Sample],
) -> Result<(), invirtibuilder_core::error::PublishError> {
    let directory = tempfile::tempdir().unwrap();
    let built = samples.iter().enumerate().map(|(at, it)| {
        let directory = directory.path().join(at.to_string());
        std::fs::create_dir(&directory).unwrap();
        Ok(it.build(&stable(), &directory).unwrap())
    });
    archive.publish_all(&stable().suite, built).map(drop)
}

#[test]
fn every_set_of_forms_is_read_by_its_tools_and_by_apt_also_where_it_changes() {
    use Compression::{Gz, Xz, Zst};
    let world = World::new();
    publish_together(&archive_of(&world, &[Gz]), &samples(0..150, "1.0")).unwrap();
    for (round, forms) in [&[Gz][..], &[Zst], &[Xz, Gz], &[Xz], &[Gz, Zst, Xz]].into_iter().enumerate() {
        let archive = archive_of(&world, forms);
        let per_form = check_indices(&world.path("dists/stable")) / forms.len();
        // Sources, Packages, Contents and Translation, of two components.
        assert_eq!(per_form, 8, "{forms:?}");
        hello(&format!("1.{round}")).publish(&archive, &stable()).unwrap();
        check_indices(&world.path("dists/stable"));
        assert_eq!(archive.contents(&stable().suite).unwrap().len(), 151);
        let apt = world.apt(&format!("apt{round}"), &archive, &stable().suite, &world.file_uri());
        apt.run(&["update"]);
        apt.run(&["download", "hello", "package042-doc"]);
    }
}

#[test]
fn several_source_packages_are_published_in_one_switch_or_none_is() {
    let world = World::new();
    let archive = world.archive();
    publish_together(&archive, &samples(0..100, "1.0")).unwrap();
    assert_eq!(archive.contents(&stable().suite).unwrap().len(), 100);
    let before = (world.in_release("stable"), super::files(archive.directory()));
    // All of it is there already.
    publish_together(&archive, &samples(20..90, "1.0")).unwrap();
    assert!(before == (world.in_release("stable"), super::files(archive.directory())));
    // One of them has a binary package of another.
    let mut refused = samples(50..60, "1.1");
    refused.push(Sample::new("package003-doc", "1.0", ""));
    let error = publish_together(&archive, &refused).unwrap_err().to_string();
    assert!(error.contains("package003-doc from the source package package003"), "{error}");
    let twice = [samples(5..6, "1.2"), samples(5..6, "1.3")].concat();
    publish_together(&archive, &twice).unwrap_err();
    assert!(before == (world.in_release("stable"), super::files(archive.directory())));
    publish_together(&archive, &samples(50..160, "1.1")).unwrap();
    let versions: Vec<String> =
        archive.contents(&stable().suite).unwrap().iter().map(|it| it.version.to_string()).collect();
    assert_eq!((versions.len(), versions.iter().filter(|it| *it == "1.1").count()), (160, 110));
    world.apt("apt", &archive, &stable().suite, &world.file_uri()).run(&["update"]);
}

#[test]
fn lost_tables_of_all_indices_are_made_again() {
    let world = World::new();
    let archive = archive_of(&world, &[Compression::Gz]);
    publish_together(&archive, &samples(0..150, "1.0")).unwrap();
    std::fs::remove_dir_all(world.root.join("archive-state")).unwrap();
    let archive = archive_of(&world, &[Compression::Gz]);
    publish_together(&archive, &samples(140..141, "1.1")).unwrap();
    assert_eq!(check_indices(&world.path("dists/stable")), 8);
    let contents = world.path("dists/stable/main/Contents-amd64.gz");
    let shown = format!("gzip -dc '{}' | grep -c content", contents.display());
    assert_eq!(expect(&Command::new("sh").args(["-c", &shown]).output().unwrap()).trim(), "300");
}
