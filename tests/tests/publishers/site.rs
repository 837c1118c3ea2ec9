//! Whole sites whose archive reprepro or aptly publishes.

use invirtibuilder_core::process::find;
use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::programs::{CLI, command, program, run};
use invirtibuilder_tests::sites::Site;

use super::world::Tool;

/// Makes a site with this publisher.
fn site_of(tool: Tool) -> Site {
    let site = Site::new();
    site.configure(|text| {
        text.replacen("publisher:\n", &format!("publisher:\n  backend: {}\n", tool.name()), 1)
    });
    // What `init` made for the other publisher.
    std::fs::remove_dir_all(site.path("archive")).unwrap();
    site
}

fn from_commit_to_apt(tool: Tool) {
    let site = site_of(tool);
    let (hello, first) = Package::hosted(&site, "hello", "1.0");
    site.submit("dev", "hello", &first);
    site.work_quickly().ok();
    let dev = Apt::of_pocket(&site, "dev");
    assert_eq!(dev.source_version("hello").as_deref(), Some("1.0"));
    assert!(dev.source("hello").join("debian/changelog").is_file());
    let files = dev.download(&["hello"]);

    // A copy has the same bytes.
    let copied = site.submit("prod", "hello", &first);
    site.work().ok();
    assert_eq!(site.outcome(&copied), "published");
    let prod = Apt::of_pocket(&site, "prod");
    assert_eq!(prod.download(&["hello"]), files);
    assert!(prod.get(&["--simulate", "install", "hello"]).ok().contains("Inst hello (1.0"));
    site.assert_agreement();

    // What only the native archive can do is refused, with the reason.
    let refused = site.cli(&["archive", "refresh"]);
    assert_ne!(refused.code, Some(0));
    refused.says(&[tool.name(), "keeps no generations"]);

    // Back and forth where that is allowed.
    let second = hello.publishable(&site, "1.1");
    for (commit, version) in [(&second, "1.1"), (&first, "1.0")] {
        site.submit("dev", "hello", commit);
        site.work_quickly().ok();
        assert_eq!(dev.source_version("hello").as_deref(), Some(version));
        site.assert_agreement();
    }
    assert_eq!(prod.source_version("hello").as_deref(), Some("1.0"));
}

#[test]
fn a_site_with_reprepro_leads_from_a_commit_to_apt() {
    from_commit_to_apt(Tool::Reprepro);
}

#[test]
fn a_site_with_aptly_leads_from_a_commit_to_apt() {
    from_commit_to_apt(Tool::Aptly);
}

/// Follows packages back to their commits, as somebody who has the archive and its key.
fn provenance(tool: Tool) {
    let site = site_of(tool);
    let (hello, commit) = Package::hosted(&site, "hello", "1.0");
    let built = site.submit("dev", "hello", &commit);
    site.work_quickly().ok();
    let copied = site.submit("prod", "hello", &commit);
    site.work().ok();
    let archive = site.path("archive");
    let file = |job: &str| {
        let shown = site.json(&["provenance", "show", job]);
        archive.join(shown[0]["file"].as_str().unwrap())
    };
    let verify = |job: &str, words: &[&str]| {
        let mut cli = command(program(CLI));
        let key = archive.join("archive-key.asc");
        cli.args(["provenance", "verify"]).arg(file(job)).arg("--keyring").arg(key).args(words);
        run(cli.arg("--archive").arg(&archive))
    };
    let (built_says, copy_says) = (verify(&built, &[]).ok(), verify(&copied, &[]).ok());
    for part in ["lists all", &format!("made from commit {commit}"), ".buildinfo", "it records the build of"]
    {
        assert!(built_says.contains(part), "{part}: {built_says}");
    }
    assert!(copy_says.contains("lists all") && copy_says.contains("built for dev"), "{copy_says}");
    site.assert_agreement();
    // What somebody else put in the place of a package, and a record that is gone, are named.
    let pool = archive.join("prod/pool/main/h/hello/hello_1.0_all.deb");
    let record = std::fs::read_dir(file(&built).with_extension("").with_extension("")).unwrap();
    let record = record.map(|it| it.unwrap().path()).next().unwrap();
    for path in [pool, record] {
        let bytes = std::fs::read(&path).unwrap();
        let job = if path.extension().unwrap() == "deb" { &copied } else { &built };
        // aptly's pools are links of the same files.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let broken = |text: &str| {
            let says = verify(job, &[]).expect(1).stdout;
            assert!(
                says.lines().any(|it| it.contains("BROKEN") && it.contains(name) && it.contains(text)),
                "{says}"
            );
        };
        broken("it has SHA-256");
        std::fs::remove_file(&path).unwrap();
        broken("it should be there, and is not");
        std::fs::write(&path, bytes).unwrap();
    }
    // What is superseded stays proved, until it may go.
    let deb = site.beside("hello_1.0_all.deb");
    std::fs::copy(archive.join("dev/pool/main/h/hello/hello_1.0_all.deb"), &deb).unwrap();
    site.configure(|text| text.replacen("publisher:\n", "publisher:\n  provenance: { keep: 1d }\n", 1));
    let next = hello.publishable(&site, "2.0");
    for pocket in ["dev", "prod"] {
        site.submit(pocket, "hello", &next);
        site.work_quickly().ok();
    }
    let says = verify(&built, &[deb.to_str().unwrap()]).ok();
    assert!(
        says.contains("does not list hello 1.0 any more") && says.contains("as it was published"),
        "{says}"
    );
    for old in [file(&built), file(&copied)] {
        run(command("touch").args(["--date", "2 days ago"]).arg(old)).ok();
    }
    // reprepro keeps the files of the version before until the next one.
    let third = hello.publishable(&site, "3.0");
    for pocket in ["dev", "prod"] {
        site.submit(pocket, "hello", &third);
        site.work_quickly().ok();
    }
    let gone = site.cli(&["archive", "expire"]).ok();
    assert!(gone.contains(&built) && gone.contains(&copied), "{gone}");
    let left = site.path("archive/provenance/hello/1.0");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
    site.assert_agreement();
}

#[test]
fn what_reprepro_publishes_is_vouched_for() {
    provenance(Tool::Reprepro);
}

#[test]
fn what_aptly_publishes_is_vouched_for() {
    provenance(Tool::Aptly);
}

#[test]
fn check_looks_for_the_program_that_publishes() {
    for tool in [Tool::Reprepro, Tool::Aptly] {
        let answer = site_of(tool).cli(&["check"]);
        let path = find(tool.name()).unwrap();
        let line = format!("program {}", tool.name());
        let shown = format!("{}{}", answer.stdout, answer.stderr);
        assert!(
            shown.lines().any(|it| it.contains(&line) && it.contains(&path.display().to_string())),
            "{shown}"
        );
    }
}
