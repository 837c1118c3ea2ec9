//! Whole sites whose archive reprepro or aptly publishes.

use invirtibuilder_core::process::find;
use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
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
