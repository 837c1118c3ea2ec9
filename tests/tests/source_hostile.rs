//! What somebody hostile writes into upstream tarballs, patches and settings: refused, or exported as it is, and soon.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make their own worlds")]

mod gitworld;
mod sourceworld;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gitworld::{git, output};
use invirtibuilder_core::exporter::source::{OrigSource, TreeLimits};
use invirtibuilder_core::names::{CommitId, PackageName, Version};
use sourceworld::{Kind, SourceWorld};

/// What a tarball is made of.
type Parts = Box<dyn Iterator<Item = Vec<u8>>>;

/// Two seconds is what each may take on a quiet machine, and tests run many at once without optimisation.
const SOON: Duration = Duration::from_secs(20);

/// How many entries there may be here: with as many as Debian needs, only an optimised program is soon done.
const ENTRIES: usize = 20_000;

/// Returns the header of an entry of a tarball, whatever its name.
fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn entry(name: &str, kind: u8, content: &[u8], link: &str) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), kind, content.len() as u64, link.as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name, b'0', content, "")
}

/// Writes what a program makes of some bytes.
fn piped(program: &str, arguments: &[&str], parts: impl Iterator<Item = Vec<u8>>, to: &Path) {
    let out = fs::File::create(to).unwrap();
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(out).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    parts.for_each(|it| input.write_all(&it).unwrap());
    drop(input);
    assert!(child.wait().unwrap().success());
}

struct Debian {
    world: SourceWorld,
    package: PackageName,
    version: Version,
    /// A commit of `debian/` alone, without patches: whatever upstream is, there is nothing to compare.
    alone: CommitId,
    whole: CommitId,
    dsc: PathBuf,
}

impl Debian {
    fn new() -> Self {
        let world = SourceWorld::new();
        let dsc = world.make(Kind::QuiltXz);
        let (package, version, whole) = world.import(&dsc);
        let tree = world.unpack(&dsc);
        for found in fs::read_dir(&tree).unwrap().map(|it| it.unwrap()) {
            match found.file_type().unwrap().is_dir() {
                _ if found.file_name() == "debian" => (),
                true => fs::remove_dir_all(found.path()).unwrap(),
                false => fs::remove_file(found.path()).unwrap(),
            }
        }
        fs::remove_dir_all(tree.join("debian/patches")).unwrap();
        let alone = world.commit_directory(&package, &tree, &whole);
        Self { world, package, version, alone, whole, dsc }
    }

    /// Exports a commit with this upstream tarball, and returns why it is refused, or `None`.
    fn with_orig(&self, commit: &CommitId, orig: &Path) -> Option<String> {
        let limits = TreeLimits { entries: ENTRIES, ..TreeLimits::default() };
        let exporter = self.world.exporter_within(limits).with_origs(sourceworld::held(&[orig]));
        let exporter = exporter.with_order(Vec::new());
        let started = Instant::now();
        let exported = self.world.export_by(&exporter, &self.package, &self.version, commit);
        assert!(started.elapsed() < SOON, "{} took {:?}", orig.display(), started.elapsed());
        match exported {
            Ok(exported) => {
                let name = orig.file_name().unwrap();
                assert_eq!(fs::read(exported.dsc.with_file_name(name)).unwrap(), fs::read(orig).unwrap());
                None
            }
            Err(e) => Some(e.to_string()),
        }
    }
}

#[test]
fn hostile_upstream_tarballs_are_refused_or_exported_as_they_are() {
    let debian = Debian::new();
    let one = |bytes: Vec<u8>| -> Parts { Box::new(std::iter::once(bytes)) };
    let many = (0..=ENTRIES).map(|n| file(&format!("k/{n}"), b""));
    let bomb = (0..8_u32).flat_map(|n| {
        std::iter::once(header(format!("k/{n}").as_bytes(), b'0', 40 << 20, b""))
            .chain((0..40).map(|_| vec![0; 1 << 20]))
    });
    let cases: Vec<(&str, Parts, Option<&str>)> = vec![
        ("absolute", one(file("/etc/passwd", b"x")), None),
        ("above", one(file("k/../../etc/passwd", b"x")), Some("has the path")),
        ("device", one(entry("k/null", b'3', b"", "")), Some("no file, directory or link")),
        ("block", one(entry("k/sda", b'4', b"", "")), Some("no file, directory or link")),
        ("pipe", one(entry("k/pipe", b'6', b"", "")), Some("no file, directory or link")),
        (
            "link",
            one([entry("k/etc", b'2', b"", "/etc"), file("k/etc/passwd", b"x")].concat()),
            Some("through"),
        ),
        ("hard", one(entry("k/passwd", b'1', b"", "/etc/passwd")), Some("which it lacks")),
        ("hard-above", one(entry("k/passwd", b'1', b"", "../etc/passwd")), Some("links to")),
        ("large", one(header(b"k/large", b'0', 1 << 32, b"")), Some("larger than the limits")),
        ("sparse", one(header(b"k/sparse", b'S', 1 << 32, b"")), Some("the upstream tarball")),
        ("many", Box::new(many), Some("larger than the limits")),
        ("bomb", Box::new(bomb), Some("times its size")),
        ("nothing", one(Vec::new()), None),
        ("noise", one(b"this is no tarball".repeat(100)), Some("cannot be read")),
    ];
    for (name, parts, expected) in cases {
        let orig = debian.world.directory(name).join("kind_1.0.orig.tar.gz");
        piped("gzip", &["-9"], parts, &orig);
        match (debian.with_orig(&debian.alone, &orig), expected) {
            (None, None) => (),
            (Some(text), Some(part)) => assert!(text.contains(part) && text.len() < 2000, "{name}: {text}"),
            (found, expected) => panic!("{name}: {found:?}, {expected:?}"),
        }
        assert!(debian.with_orig(&debian.whole, &orig).is_some(), "{name} is not what the commit has");
    }
    let orig = debian.world.directory("torn").join("kind_1.0.orig.tar.gz");
    fs::write(&orig, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03torn").unwrap();
    assert!(debian.with_orig(&debian.alone, &orig).unwrap().contains("cannot be read"));
}

#[test]
fn absurd_names_of_patches_are_refused() {
    let debian = Debian::new();
    let tree = debian.world.unpack(&debian.dsc);
    let series = tree.join("debian/patches/series");
    for (names, part) in [
        ("../control\n".to_owned(), "leads out"),
        ("/etc/passwd\n".to_owned(), "leads out"),
        ("two.patch\nnot-there\n".to_owned(), "which is not there"),
        (".\n".to_owned(), "leads out"),
        ("two.patch\n".repeat(50_000), "twice"),
        ((0..50_000).map(|n| format!("p{n}")).collect::<Vec<_>>().join("\n"), "which is not there"),
    ] {
        fs::write(&series, names).unwrap();
        let commit = debian.world.commit_directory(&debian.package, &tree, &debian.whole);
        let started = Instant::now();
        let text = debian.world.refusal(&debian.package, &debian.version, &commit);
        assert!(text.contains("series") && text.contains(part) && text.len() < 2000, "{part}: {text}");
        assert!(started.elapsed() < SOON, "{part} took {:?}", started.elapsed());
    }
    fs::remove_file(&series).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &series).unwrap();
    let commit = debian.world.commit_directory(&debian.package, &tree, &debian.whole);
    assert!(
        debian.world.refusal(&debian.package, &debian.version, &commit).contains("debian/patches/series")
    );
    fs::remove_dir_all(tree.join("debian/patches")).unwrap();
    std::os::unix::fs::symlink("/etc", tree.join("debian/patches")).unwrap();
    let commit = debian.world.commit_directory(&debian.package, &tree, &debian.whole);
    assert!(debian.world.refusal(&debian.package, &debian.version, &commit).contains("debian/patches"));
}

#[test]
fn attributes_and_components_in_settings_decide_nothing() {
    let debian = Debian::new();
    let path = debian.world.git.repository(&debian.package);
    // Upstream's tag says what `git archive` would leave out and write otherwise.
    let upstream = debian.world.directory("upstream");
    fs::write(upstream.join(".gitattributes"), "readme export-ignore\n* export-subst ident\n").unwrap();
    fs::write(upstream.join("readme"), "$Format:%H$ $Id$\n").unwrap();
    fs::create_dir(upstream.join("doc")).unwrap();
    fs::write(upstream.join("doc/x"), "x\n").unwrap();
    let tagged = debian.world.commit_directory(&debian.package, &upstream, &debian.whole);
    git(&path, &["update-ref", "refs/tags/upstream/1.0", tagged.as_str()]);
    let tree = debian.world.directory("debian-only");
    let mut checkout = Command::new("git");
    checkout.args(["-c", "safe.directory=*", "--git-dir"]).arg(&path).arg("--work-tree").arg(&tree);
    output(
        {
            checkout.args(["checkout", "-f", debian.alone.as_str(), "--", "."]);
            checkout
        },
        b"",
    );
    let components = "component = ['../doc', '/etc', 'a/b', '..', '', 'doc']";
    fs::write(tree.join("debian/gbp.conf"), format!("[DEFAULT]\npristine-tar = False\n{components}\n"))
        .unwrap();
    let commit = debian.world.commit_directory(&debian.package, &tree, &debian.alone);
    let exporter = debian.world.exporter().with_order(vec![OrigSource::UpstreamTag]);
    let exported = debian.world.export_by(&exporter, &debian.package, &debian.version, &commit).unwrap();
    let mut names = sourceworld::files_of(&exported.dsc);
    names.sort();
    names.retain(|it| it.contains(".tar."));
    assert_eq!(names, ["kind_1.0-1~x1.debian.tar.xz", "kind_1.0.orig-doc.tar.gz", "kind_1.0.orig.tar.gz"]);
    let unpacked = debian.world.unpack(&exported.dsc);
    assert_eq!(fs::read_to_string(unpacked.join("readme")).unwrap(), "$Format:%H$ $Id$\n");
    assert_eq!(fs::read_to_string(unpacked.join("doc/x")).unwrap(), "x\n");
}
