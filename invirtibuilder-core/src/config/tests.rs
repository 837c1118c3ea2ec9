use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::access::{Member, Pattern};
use crate::policy::{BinaryVersions, CopyFrom, Trust, Versions};

mod building;
mod yaml;

const MISSION: &str = "\
build:
  pockets:
    prod:
      acl: system:xvm-root
      apt: stable
    dev:
      acl: system:xvm-dev
      apt: unstable
      allow_backtracking: yes
  tagger:
    name: Invirt Build Server
    email: invirt@example.org
";

const TAGGER: &str = "  tagger: { name: Build Server, email: build@example.org }\n";

fn host() -> Host {
    Host { codename: Some("bookworm".parse().unwrap()), architecture: Some("amd64".parse().unwrap()) }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("site.yaml"), &host())
}

fn accepted(text: &str) -> Config {
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

/// Returns the lines of the error for a text that is refused.
fn refused(text: &str) -> Vec<String> {
    parse(text).expect_err("the text has a mistake").to_string().lines().map(str::to_owned).collect()
}

/// Returns a configuration whose one pocket has these lines.
fn with_pocket(lines: &str) -> String {
    format!("build:\n  pockets:\n    dev:\n{lines}{TAGGER}")
}

/// Returns a valid configuration with these lines at its end.
fn with_top(lines: &str) -> String {
    format!("build:\n  pockets:\n    dev: {{ acl: [a@B] }}\n{TAGGER}{lines}")
}

#[test]
fn the_originals_fragment_loads_as_it_is() {
    let config = accepted(MISSION);
    let (prod, dev) = (&config.pockets[&"prod".parse().unwrap()], &config.pockets[&"dev".parse().unwrap()]);
    assert_eq!((prod.suite.as_str(), prod.branch.as_str()), ("stable", "prod"));
    assert_eq!((dev.suite.as_str(), dev.branch.as_str()), ("unstable", "dev"));
    assert!(!prod.policy.allow_backtracking && dev.policy.allow_backtracking);
    assert_eq!(prod.policy.copy_from, CopyFrom::Any);
    assert_eq!(prod.policy.trust, Trust::Full);
    assert_eq!(prod.architectures, ["amd64".parse().unwrap()]);
    assert_eq!(config.acls[&prod.name], Acl::Named("system:xvm-root".to_owned()));
    assert_eq!(config.tagger.email, "invirt@example.org");
    assert_eq!(config.paths.superproject, Path::new("/var/lib/invirtibuilder/superproject.git"));
    assert!(config.bases[&prod.base].suites.is_empty(), "the builder knows the suites of a base");
    assert_eq!(config.builder.limits.time, Duration::from_secs(7200));
}

#[test]
fn the_sample_file_documents_every_key_and_loads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/site/invirtibuilder.yaml");
    let config = Config::load(&file, &host()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.pockets.len(), 3);
    assert_eq!(config.lists.len(), 3);
    assert_eq!(config.tag_prefix, "debian/");
    // Every key that the reader asks for is in the sample: an unknown key's remedy lists them.
    let sample = std::fs::read_to_string(&file).unwrap();
    for (at, text) in [
        ("", with_top("zzzzzzzz: 1\n")),
        ("paths", with_top("paths: { zzzzzzzz: 1 }\n")),
        ("pocket", with_pocket("      acl: [a@B]\n      zzzzzzzzzzzz: 1\n")),
        ("release", with_pocket("      acl: [a@B]\n      release: { zzzzzzzzzzzz: 1 }\n")),
        ("build", format!("build:\n  zzzzzzzzzz: 1\n  pockets: {{ dev: {{ acl: [a@B] }} }}\n{TAGGER}")),
        ("base", with_top("bases: { b: { zzzzzzzz: 1 } }\n")),
        ("exporter", with_top("exporter: { zzzzzzzz: 1 }\n")),
        ("builder", with_top("builder: { zzzzzzzz: 1 }\n")),
        ("vm", with_top("builder: { backend: overlay, vm: { zzzzzzzz: 1 } }\n")),
        ("publisher", with_top("publisher: { zzzzzzzz: 1 }\n")),
        ("hooks", with_top("hooks: { zzzzzzzz: 1 }\n")),
        ("acl", with_pocket("      acl: { file: /x, zzzzzzzz: 1 }\n")),
    ] {
        let error = refused(&text).join("\n");
        let (_, keys) = error.split_once("the keys here are ").unwrap_or_else(|| panic!("{at}: {error}"));
        for key in keys.lines().next().unwrap().split(", ") {
            assert!(sample.contains(&format!("{key}:")), "the sample lacks {key}");
        }
    }
}

#[test]
fn paths_default_below_the_root_and_relative_ones_begin_there() {
    let config = accepted(&with_top("root: /srv/site\npaths: { queue: jobs, scratch: /run/scratch }\n"));
    assert_eq!(config.paths.queue, Path::new("/srv/site/jobs"));
    assert_eq!(config.paths.scratch, Path::new("/run/scratch"));
    assert_eq!(config.paths.archive, Path::new("/srv/site/archive"));
}

#[test]
fn yes_no_on_and_off_are_booleans() {
    for (text, expected) in [("yes", true), ("No", false), ("on", true), ("off", false), ("true", true)] {
        let config = accepted(&with_pocket(&format!("      acl: [a@B]\n      allow_backtracking: {text}\n")));
        let dev = config.pockets.values().next().unwrap();
        assert_eq!(dev.policy.allow_backtracking, expected, "{text}");
    }
    assert_eq!(
        refused(&with_pocket("      acl: [a@B]\n      allow_backtracking: maybe\n")),
        ["site.yaml:5: build.pockets.dev.allow_backtracking: it is neither yes nor no; write one of them"]
    );
}

#[test]
fn every_form_of_an_access_list_is_read() {
    let acl = |text: &str| {
        accepted(&with_pocket(&format!("      acl: {text}\n"))).acls.into_values().next().unwrap()
    };
    assert_eq!(acl("[a@B, c d]"), Acl::of(["a@B".parse().unwrap(), "c d".parse().unwrap()]));
    assert_eq!(acl("system:x"), Acl::Named("system:x".to_owned()));
    assert_eq!(acl("{ file: who }"), Acl::File("/var/lib/invirtibuilder/who".into()));
    assert_eq!(acl("{ command: [/bin/who, -v] }"), Acl::Command(vec!["/bin/who".into(), "-v".into()]));
    for wrong in
        ["", "{ file: /a, command: [/b] }", "{ command: [] }", "{ command: [who] }", "{}", "12", "['']"]
    {
        let error = refused(&with_pocket(&format!("      acl: {wrong}\n")));
        assert!(error.iter().any(|it| it.contains("build.pockets.dev")), "{wrong}: {error:?}");
    }
}

#[test]
fn an_untrusted_pocket_must_not_make_tags_that_reserve_versions() {
    assert_eq!(
        refused(&with_pocket("      acl: [a@B]\n      trust: none\n")),
        [
            "site.yaml:5: build.pockets.dev.trust: the tags of a pocket that does not allow backtracking reserve its versions, so trust: none needs allow_backtracking: yes"
        ]
    );
    accepted(&with_pocket("      acl: [a@B]\n      trust: none\n      allow_backtracking: yes\n"));
}

#[test]
fn tries_have_versions_of_their_own_only_where_versions_may_fall() {
    let config = accepted(&with_pocket(
        "      acl: [a@B]\n      allow_backtracking: yes\n      snapshot_versions: yes\n",
    ));
    assert_eq!(config.pockets[&"dev".parse().unwrap()].policy.versions, Versions::Snapshot);
    let refused = refused(&with_pocket("      acl: [a@B]\n      snapshot_versions: yes\n"));
    assert!(
        refused[0].contains("snapshot_versions") && refused[0].contains("needs allow_backtracking: yes"),
        "{refused:?}"
    );
}

#[test]
fn what_a_build_may_leave_is_strict_unless_a_pocket_says_otherwise() {
    let policy = |lines: &str| {
        let config = accepted(&with_pocket(&format!("      acl: [a@B]\n{lines}")));
        config.pockets.into_values().next().unwrap().policy
    };
    assert_eq!(policy("").binary_versions, BinaryVersions::Same);
    assert!(policy("").may_replace.is_empty());
    let lax = policy("      binary_versions: any\n      may_replace: [bash, libc6]\n");
    assert_eq!(lax.binary_versions, BinaryVersions::Any);
    assert_eq!(lax.may_replace, ["bash", "libc6"].map(|it| it.parse().unwrap()).into());
    let wrong = "      acl: [a@B]\n      binary_versions: newest\n      may_replace: [Bash]\n";
    let lines = refused(&with_pocket(wrong));
    assert_eq!(
        lines[0],
        "site.yaml:5: build.pockets.dev.binary_versions: \"newest\" is not a rule for versions; write same or any"
    );
    assert!(
        lines[1].starts_with(
            "site.yaml:6: build.pockets.dev.may_replace[0]: \"Bash\" is not a valid package name"
        ),
        "{lines:?}"
    );
    assert_eq!(accepted(&with_top("")).builder.results, 4 << 30);
    assert_eq!(accepted(&with_top("builder: { limits: { results: 1GB } }\n")).builder.results, 1_000_000_000);
}

#[test]
fn copy_from_is_any_or_a_list_of_other_pockets() {
    let text = |copy_from: &str| {
        format!(
            "build:\n  pockets:\n    dev: {{ acl: [a@B] }}\n    prod:\n      acl: [a@B]\n      copy_from: {copy_from}\n{TAGGER}"
        )
    };
    let copy_from = |it: &str| accepted(&text(it)).pockets[&"prod".parse().unwrap()].policy.copy_from.clone();
    assert_eq!(copy_from("any"), CopyFrom::Any);
    assert_eq!(copy_from("[]"), CopyFrom::Only(BTreeSet::new()));
    assert_eq!(copy_from("[dev]"), CopyFrom::Only(BTreeSet::from(["dev".parse().unwrap()])));
    assert_eq!(
        refused(&text("\n      - prod\n      - stagign")),
        [
            "site.yaml:7: build.pockets.prod.copy_from[0]: it is the pocket itself; remove it",
            "site.yaml:8: build.pockets.prod.copy_from[1]: there is no pocket stagign; the other pockets are: dev",
        ]
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_eq!(
        refused(&with_pocket("      acl: [a@B]\n      allow_backtraking: yes\n")),
        [
            "site.yaml:5: build.pockets.dev.allow_backtraking: this key is unknown; did you mean allow_backtracking?"
        ]
    );
    let top = refused(&with_top("quue: {}\n"));
    assert_eq!(top, ["site.yaml:5: quue: this key is unknown; did you mean queue?"]);
}

#[test]
fn a_key_that_is_there_twice_is_refused_at_its_second_line() {
    let text = format!(
        "build:\n  pockets:\n    prod:\n      acl: [a@B]\n    # another\n    prod:\n      acl: [evil@B]\n{TAGGER}"
    );
    assert_eq!(refused(&text), ["site.yaml:6: build.pockets.prod: it is there twice; remove one of the two"]);
    let flow = refused(&with_pocket("      acl: [a@B]\n      apt: x\n      apt: y\n"));
    assert_eq!(flow, ["site.yaml:6: build.pockets.dev.apt: it is there twice; remove one of the two"]);
}

#[test]
fn two_pockets_on_one_suite_or_branch_are_refused() {
    let text = format!(
        "build:\n  pockets:\n    prod:\n      acl: [a@B]\n      apt: unstable\n      git: main\n    dev:\n      acl: [a@B]\n      apt: unstable\n      git: main\n{TAGGER}"
    );
    assert_eq!(
        refused(&text),
        [
            "site.yaml:9: build.pockets.dev.apt: suite unstable is used by pocket prod already; give each pocket its own suite",
            "site.yaml:10: build.pockets.dev.git: branch main is used by pocket prod already; give each pocket its own branch",
        ]
    );
    let text = format!(
        "build:\n  pockets:\n    a: {{ acl: [a@B], git: x }}\n    b: {{ acl: [a@B], git: x/y }}\n{TAGGER}"
    );
    assert!(refused(&text)[0].contains("Git cannot have the branch x/y beside x of pocket a"));
}

#[test]
fn a_suite_that_is_the_name_of_another_pocket_collides_with_its_default() {
    let text = format!(
        "build:\n  pockets:\n    dev: {{ acl: [a@B], apt: prod }}\n    prod: {{ acl: [a@B] }}\n{TAGGER}"
    );
    assert_eq!(
        refused(&text),
        [
            "site.yaml:4: build.pockets.prod.apt: suite prod is used by pocket dev already; give each pocket its own suite"
        ]
    );
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_lines() {
    let text = "root: relative\nbuild:\n  pockets:\n    PROD: { acl: [a@B] }\n    dev:\n      apt: ../x\nbuilder:\n  limits:\n    time: 2\n    log: 64\n    disk: 8\npublisher:\n  backend: dak\n  key: ABCD\n";
    let lines: Vec<String> = refused(text);
    let at: Vec<&str> =
        lines.iter().map(|it| it.split(": ").take(2).collect::<Vec<_>>()).map(|it| it[0]).collect();
    let numbers: Vec<usize> = at.iter().map(|it| it.rsplit(':').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 2, 4, 5, 6, 9, 10, 11, 13, 14], "{lines:#?}");
}

#[test]
fn what_a_program_that_publishes_cannot_do_is_refused_where_it_is_named() {
    let publisher = |text: &str| refused(&with_top(&format!("publisher: {{ {text} }}\n")));
    for (text, key) in [
        ("backend: reprepro, descriptions: translation", "publisher.descriptions: the backend reprepro"),
        ("backend: aptly, changelogs: no", "publisher.changelogs: the backend aptly"),
        ("backend: mini-dinstall", "publisher.backend: there is no backend"),
    ] {
        let error = publisher(text);
        assert!(error.len() == 1 && error[0].contains(key), "{error:?}");
    }
    let text = with_pocket("      acl: [a@B]\n      release: { codename: other, description: mine }\n");
    let error = refused(&format!("{text}publisher: {{ backend: aptly }}\n"));
    assert!(error.len() == 2 && error[0].contains("dev.release.codename: the backend aptly"), "{error:?}");
}

#[test]
fn what_later_work_brings_is_refused_and_not_ignored() {
    let error = refused(&with_top("queue: { backend: postgres }\n"));
    assert!(error.len() == 1 && error[0].contains("not supported yet"), "{error:?}");
}

#[test]
fn a_pocket_is_built_against_pockets_that_exist_are_trusted_as_it_is_and_have_its_base() {
    const OVERLAY: &str = "builder: { backend: overlay }\n";
    let site = |prod: &str, dev: &str| {
        format!(
            "bases: {{ bookworm: {{}}, trixie: {{}} }}\nbuild:\n  pockets:\n    prod: {{ acl: [a@B], {prod} }}\n    dev: {{ acl: [a@B], allow_backtracking: yes, {dev} }}\n{TAGGER}{OVERLAY}"
        )
    };
    let names = |config: &Config, pocket: &str| {
        let names = &config.pockets[&pocket.parse().unwrap()].building.build_against;
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let good = site(
        "base: bookworm, build_against: [prod]",
        "base: bookworm, trust: none, build_against: [dev, prod]",
    );
    let config = accepted(&good);
    assert_eq!(
        (names(&config, "prod"), names(&config, "dev")),
        (vec!["prod".into()], vec!["dev".into(), "prod".into()])
    );
    assert!(
        names(&accepted(&site("base: bookworm", "base: trixie")), "prod").is_empty(),
        "nobody asked for it"
    );
    for (prod, dev, problem) in [
        (
            "base: bookworm, build_against: [dev]",
            "base: bookworm, trust: none",
            "prod.build_against: dev is not trusted",
        ),
        (
            "base: bookworm, build_against: [dev]",
            "base: trixie",
            "prod.build_against: dev is built in trixie",
        ),
        (
            "base: bookworm, build_against: [lab]",
            "base: bookworm",
            "there is no pocket lab; the pockets are: dev, prod",
        ),
        ("base: bookworm, build_against: [dev, dev]", "base: bookworm", "dev is there twice"),
        ("base: bookworm, build_against: dev", "base: bookworm", "\"dev\" is not a list; write [dev]"),
    ] {
        let error = refused(&site(prod, dev));
        assert!(error.len() == 1 && error[0].contains(problem), "{error:?}");
    }
    accepted(&good.replace("overlay", "sbuild"));
    let error =
        refused(&site("base: bookworm", "base: bookworm, builder: host, build_against: [dev]")).join("\n");
    assert!(error.contains("dev.build_against: the builder host is not able yet"), "{error}");
    assert!(error.contains("write `builder: sbuild or overlay or vm`"), "{error}");
}

#[test]
fn durations_and_sizes_need_a_unit_and_a_value() {
    use super::units::{parse_duration, parse_size};
    for (text, seconds) in [("90s", 90), ("20m", 1200), ("2h", 7200), ("7d", 604_800), ("1 h", 3600)] {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
    }
    for (text, bytes) in [("64MiB", 64 << 20), ("8GiB", 8 << 30), ("500MB", 500_000_000), ("1B", 1)] {
        assert_eq!(parse_size(text), Ok(bytes));
    }
    for wrong in
        ["", "h", "0s", "-1h", "1.5h", "1H", "99999999999999999999d", "9999999999999999d", "2", "1h30m"]
    {
        parse_duration(wrong).expect_err(wrong);
    }
    for wrong in ["", "64", "0MiB", "64mib", "64 M", "99999999999TiB"] {
        parse_size(wrong).expect_err(wrong);
    }
}

#[test]
fn a_base_is_the_one_that_is_named_the_only_one_or_the_hosts() {
    let base = |text: &str| accepted(text).pockets.values().next().unwrap().base.to_string();
    assert_eq!(base(&with_top("")), "bookworm");
    assert_eq!(base(&with_top("bases: { trixie: {} }\n")), "trixie");
    assert_eq!(base(&with_pocket("      acl: [a@B]\n      base: bookworm\n")), "bookworm");
    let several = refused(&with_top("bases: { trixie: {}, sid: {} }\n"));
    assert!(several[0].contains("there are several; write one of sid, trixie"), "{several:?}");
    let unknown = refused(&with_pocket("      acl: [a@B]\n      base: buster\n"));
    assert!(unknown[0].starts_with("site.yaml:5: build.pockets.dev.base: the base buster is not defined"));
    let nothing = Config::parse(&with_top(""), Path::new("site.yaml"), &Host::default()).unwrap_err();
    assert_eq!(nothing.problems().len(), 2, "{nothing}");
}

#[test]
fn nothing_private_is_below_the_archive() {
    let error = refused(&with_top("paths:\n  archive: /srv/www\n  gnupg: /srv/www/gnupg\n"));
    assert!(
        error[0].starts_with("site.yaml:7: paths.gnupg: /srv/www/gnupg is inside of the archive"),
        "{error:?}"
    );
}

#[test]
fn the_archive_has_one_key_or_a_list_of_keys_each_once() {
    let (a, b) = ("A".repeat(40), "B".repeat(40));
    let keys = |text: &str| accepted(&with_top(&format!("publisher: {{ {text} }}\n"))).publisher.keys;
    assert_eq!(keys(&format!("keys: [{a}, '{b}!']")), [a.parse().unwrap(), format!("{b}!").parse().unwrap()]);
    assert_eq!(keys(&format!("key: {a}")), [a.parse().unwrap()]);
    for (text, problem) in [
        (format!("key: {a}, keys: [{b}]"), "key is there too, and the two exclude each other"),
        (format!("keys: [{a}, '{a}!']"), "is there twice"),
        ("keys: []".to_owned(), "it is empty"),
        ("keys: [ABCD]".to_owned(), "it is not a full fingerprint"),
    ] {
        let error = refused(&with_top(&format!("publisher: {{ {text} }}\n"))).join("\n");
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_configuration_of_a_new_site_parses_back_to_the_same_values() {
    let new = NewSite {
        root: "/srv/a site: \"with\" #signs".into(),
        pockets: vec![
            NewPocket {
                name: "prod".parse().unwrap(),
                suite: "stable".parse().unwrap(),
                acl: vec!["alice@EXAMPLE.ORG".parse().unwrap(), "b: [c]".parse().unwrap()],
                allow_backtracking: false,
            },
            NewPocket {
                name: "2024".parse().unwrap(),
                suite: "1e3".parse().unwrap(),
                acl: vec!["*".parse().unwrap()],
                allow_backtracking: true,
            },
        ],
        base: "bookworm".parse().unwrap(),
        base_suites: vec!["bookworm".parse().unwrap(), "bookworm-updates".parse().unwrap()],
        mirror: Some("http://mirror.example.org/debian".to_owned()),
        tagger: Tagger { name: "Ünïcode ✓".to_owned(), email: "a@example.org".to_owned(), key: None },
        builder: BuildBackend::Overlay,
        key: Some("1234567890".repeat(4)),
        builds: Some("/run/s".into()),
        builder_user: Some("1000".to_owned()),
    };
    let config = accepted(&Config::render_new(&new));
    assert_eq!(config.root, new.root);
    assert_eq!(config.paths.scratch, Path::new("/run/s/scratch"));
    assert_eq!(config.paths.queue, new.root.join("queue"));
    assert_eq!(config.pockets.len(), 2);
    for pocket in &new.pockets {
        let found = &config.pockets[&pocket.name];
        assert_eq!((&found.suite, found.branch.as_str()), (&pocket.suite, pocket.name.as_str()));
        assert_eq!((found.policy.allow_backtracking, &found.base), (pocket.allow_backtracking, &new.base));
        assert_eq!(config.acls[&pocket.name], Acl::of(pocket.acl.clone()));
        assert_eq!(found.building.build_against, std::slice::from_ref(&pocket.name));
    }
    assert_eq!(config.builder.backend, new.builder);
    assert_eq!(config.bases[&new.base].suites, new.base_suites);
    assert_eq!(config.bases[&new.base].mirror, new.mirror);
    let keys: Vec<_> = new.key.iter().map(|it| it.parse().unwrap()).collect();
    assert_eq!((config.tagger, config.publisher.keys), (new.tagger, keys));
    assert_eq!(config.builder.user, new.builder_user);
    let plain = NewSite {
        mirror: None,
        key: None,
        builds: None,
        builder_user: None,
        builder: BuildBackend::Sbuild,
        tagger: accepted(MISSION).tagger,
        ..new
    };
    let config = accepted(&Config::render_new(&plain));
    assert_eq!((config.publisher.keys, config.builder.user), (Vec::new(), None));
}

#[test]
fn this_machine_knows_its_architecture() {
    assert!(Host::detect().unwrap().architecture.is_some());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(line in 0_usize..12, text in "[a-z:{}, \\[\\]'\"|>&*!#\n -]{0,40}") {
        let mut lines: Vec<&str> = MISSION.lines().collect();
        lines.insert(line.min(lines.len()), &text);
        if let Err(error) = parse(&lines.join("\n")) {
            proptest::prop_assert!(!error.problems().is_empty());
        }
    }
}

#[test]
fn lists_may_be_in_lists_but_not_in_themselves() {
    let config = accepted(&with_top(
        "acls: { a: [x@Y, b, { pattern: '*@Z' }], b: { file: who }, c: [{ command: [/bin/who] }] }\n",
    ));
    let pattern = Member::Pattern(Pattern::new("*@Z"));
    let of_b = Member::List(Acl::Named("b".to_owned()));
    assert_eq!(
        config.lists["a"],
        Acl::Members(vec![Member::Principal("x@Y".parse().unwrap()), of_b, pattern])
    );
    assert_eq!(config.lists["b"], Acl::File("/var/lib/invirtibuilder/who".into()));
    assert_eq!(
        refused(&with_top("acls: { a: [b], b: [c], c: [a] }\n"))[0],
        "site.yaml:5: acls.a: it is in itself: a, which has b, which has c, which has a; take it out of one of them"
    );
}
