//! Tools beside apt that read the archive: the debugger that wants symbols, and apt-file.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::path::Path;

use invirtibuilder_core::conformance::publisher::{Sample, stable};
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Retention, SignedBy, SuiteSpec};
use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::debs::{Deb, upload};
use invirtibuilder_tests::programs::{command, run};
use invirtibuilder_tests::world::World;

/// Makes a program, what is left of it without symbols, and the symbols, as debhelper's `dh_strip` does. Returns
/// the program, the symbols and the build id.
fn compile(into: &Path) -> (Vec<u8>, Vec<u8>, String) {
    let source = "#include <stdio.h>\n\nint greet(const char *name)\n{\n\treturn printf(\"hello, %s\\n\", name);\n}\n\nint main(void)\n{\n\treturn greet(\"world\") < 0;\n}\n";
    std::fs::write(into.join("greeting.c"), source).unwrap();
    let tool = |name: &str, arguments: &[&str]| run(command(name).args(arguments).current_dir(into)).ok();
    tool(
        "gcc",
        &["-g", "-O0", "-Wl,--build-id=sha1", "-ffile-prefix-map=./=", "greeting.c", "-o", "greeting"],
    );
    tool("objcopy", &["--only-keep-debug", "--compress-debug-sections", "greeting", "greeting.debug"]);
    tool("strip", &["--remove-section=.comment", "--remove-section=.note", "greeting"]);
    let notes = tool("readelf", &["--notes", "greeting"]);
    let id = notes.lines().find_map(|it| it.trim().strip_prefix("Build ID: ")).unwrap().to_owned();
    let read = |name: &str| std::fs::read(into.join(name)).unwrap();
    (read("greeting"), read("greeting.debug"), id)
}

#[test]
fn gdb_finds_the_symbols_of_a_program_that_apt_fetched() {
    let world = World::new();
    let archive = world.archive();
    let directory = tempfile::tempdir().unwrap();
    let (program, symbols, id) = compile(directory.path());
    let amd64 =
        |name: &str, section: &str| Deb { architecture: "amd64".to_owned(), ..Deb::new(name, section) };
    let greeting =
        Deb { files: vec![("usr/bin/greeting".to_owned(), program)], ..amd64("greeting", "utils") };
    let (head, tail) = id.split_at(2);
    let place = format!("usr/lib/debug/.build-id/{head}/{tail}.debug");
    let dbgsym = Deb {
        fields: format!("Depends: greeting (= 1.0)\nAuto-Built-Package: debug-symbols\nBuild-Ids: {id}\n"),
        files: vec![(place, symbols)],
        ..amd64("greeting-dbgsym", "debug")
    };
    let sample = Sample::new("greeting", "1.0", "");
    let built = tempfile::tempdir().unwrap();
    archive.publish(&upload(&sample, "utils", &stable(), built.path(), &[greeting, dbgsym])).unwrap();

    let sources = archive.sources(&stable().suite, &world.file_uri(), &SignedBy::Inline).unwrap();
    let sources = sources.replace("Components: main\n", "Components: main debug\n");
    let apt = Apt::of_sources(world.root.join("debugger"), &sources);
    apt.update().ok();
    let root = directory.path().join("root");
    let line_of_main = || {
        let mut gdb = command("gdb");
        gdb.args(["-nx", "-batch", "-iex"]);
        gdb.arg(format!("set debug-file-directory {}", root.join("usr/lib/debug").display()));
        let answer = run(gdb.args(["-ex", "info line main"]).arg(root.join("usr/bin/greeting")));
        answer.stdout + &answer.stderr
    };
    for (package, shown) in [
        ("greeting", "Function \"main\" not defined"),
        ("greeting-dbgsym", "Line 9 of \"greeting.c\" starts at address"),
    ] {
        apt.get(&["download", package]).ok();
        let file = apt.downloads().join(format!("{package}_1.0_amd64.deb"));
        run(command("dpkg-deb").arg("--extract").arg(file).arg(&root)).ok();
        let line = line_of_main();
        assert!(line.contains(shown), "with {package}: {line}");
    }
}

/// Returns the configuration that makes apt fetch the lists of files, as the package apt-file has it.
fn apt_file_configuration() -> String {
    std::fs::read_to_string("/etc/apt/apt.conf.d/50apt-file.conf").unwrap()
}

#[test]
fn apt_file_searches_and_lists_the_files_of_our_packages_in_each_compression() {
    let world = World::new();
    let suite = SuiteSpec { contents: true, ..SuiteSpec::of(&stable(), "A test", "Test") };
    let archive = world.archive_of("archive", Retention::default(), vec![suite]);
    for (source, section, paths) in [
        ("zebra", "utils", ["usr/bin/stripes", "usr/share/doc/zebra/a file"]),
        ("apple", "libs", ["usr/lib/libapple.so.1", "etc/apple.conf"]),
        ("mango", "main/net", ["usr/bin/mango", "usr/share/zebra/stripes"]),
    ] {
        let files = paths.map(|it| (it.to_owned(), b"content".to_vec())).to_vec();
        let deb = Deb { files, ..Deb::new(source, section) };
        let built = tempfile::tempdir().unwrap();
        let sample = Sample::new(source, "1.0", "");
        archive.publish(&upload(&sample, section, &stable(), built.path(), &[deb])).unwrap();
    }
    let sources = archive.sources(&stable().suite, &world.file_uri(), &SignedBy::Inline).unwrap();
    for compression in ["gz", "xz"] {
        let apt = Apt::of_sources(world.root.join(compression), &sources);
        apt.configure(&apt_file_configuration());
        apt.configure(&format!("Acquire::CompressionTypes::Order:: \"{compression}\";"));
        apt.update().ok();
        let find = |words: &[&str]| run(apt.command("apt-file").args(words)).ok();
        assert_eq!(find(&["search", "bin/stripes"]), "zebra: /usr/bin/stripes\n");
        assert_eq!(
            find(&["search", "stripes"]),
            "mango: /usr/share/zebra/stripes\nzebra: /usr/bin/stripes\n"
        );
        assert_eq!(
            find(&["search", "--regexp", "/libapple\\.so\\.[0-9]$"]),
            "apple: /usr/lib/libapple.so.1\n"
        );
        assert_eq!(
            find(&["search", "--fixed-string", "/usr/share/doc/zebra/a file"]),
            "zebra: /usr/share/doc/zebra/a file\n"
        );
        assert_eq!(find(&["list", "apple"]), "apple: /etc/apple.conf\napple: /usr/lib/libapple.so.1\n");
        assert_eq!(run(apt.command("apt-file").args(["search", "no/such/file"])).expect(1).stdout, "");
    }
}
