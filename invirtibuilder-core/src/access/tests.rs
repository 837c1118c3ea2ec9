#![allow(clippy::disallowed_methods)]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn pocket() -> PocketName {
    "dev".parse().unwrap()
}

fn alice() -> Principal {
    "alice@EXAMPLE.ORG".parse().unwrap()
}

fn may(acl: &Acl, who: &str) -> bool {
    check(acl, &Lists::new(), &pocket(), &who.parse().unwrap()) == Access::Granted
}

fn reason(acl: &Acl) -> String {
    match check(acl, &Lists::new(), &pocket(), &alice()) {
        Access::Denied(reason) => reason,
        Access::Granted => panic!("access was granted"),
    }
}

fn script(directory: &Path, text: &str) -> Acl {
    let path = directory.join("who may");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Acl::Command(vec![path.to_str().unwrap().to_owned(), "-v".to_owned()])
}

#[test]
fn principals_are_compared_exactly_and_patterns_mean_nothing() {
    let acl = Acl::of(vec![alice(), "*".parse().unwrap(), "*@EXAMPLE.ORG".parse().unwrap()]);
    assert!(may(&acl, "alice@EXAMPLE.ORG"));
    for other in [
        "alice@example.org",
        "Alice@EXAMPLE.ORG",
        "alice",
        "alice@EXAMPLE.ORG.evil",
        "bob@EXAMPLE.ORG",
        "аlice@EXAMPLE.ORG",
    ] {
        assert!(!may(&acl, other), "{other}");
    }
    assert!(reason(&Acl::of(vec![])).contains("build.pockets.dev.acl"));
}

#[test]
fn a_named_list_that_is_not_defined_denies_and_says_how_to_define_it() {
    let acl = Acl::Named("system:xvm-root".to_owned());
    assert_eq!(
        reason(&acl),
        "the list \"system:xvm-root\" is not defined; define it below `acls` in the configuration, or write one principal as acl: [\"system:xvm-root\"]"
    );
    let lists = Lists::from([("system:xvm-root".to_owned(), Acl::of([alice()]))]);
    assert_eq!(check(&acl, &lists, &pocket(), &alice()), Access::Granted);
    assert!(!may(&Acl::Named(alice().to_string()), "alice@EXAMPLE.ORG"));
}

#[test]
fn a_file_is_read_again_at_every_check() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dev.acl");
    let acl = Acl::File(path.clone());
    std::fs::write(&path, "# who may\n\n  alice@EXAMPLE.ORG  # since 2009\r\na#b@C\n#bob@EXAMPLE.ORG\n")
        .unwrap();
    assert!(may(&acl, "alice@EXAMPLE.ORG") && may(&acl, "a#b@C"));
    assert!(!may(&acl, "bob@EXAMPLE.ORG") && !may(&acl, "# who may"));
    std::fs::write(&path, "bob@EXAMPLE.ORG\n").unwrap();
    assert!(may(&acl, "bob@EXAMPLE.ORG") && !may(&acl, "alice@EXAMPLE.ORG"));
}

#[test]
fn a_file_that_cannot_be_read_as_a_list_denies_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dev.acl");
    let acl = Acl::File(path.clone());
    assert!(reason(&acl).contains("it cannot be read: No such file"), "{}", reason(&acl));
    std::fs::write(&path, b"alice@EXAMPLE.ORG\n\xff\n").unwrap();
    assert!(reason(&acl).contains("not UTF-8"));
    std::fs::write(&path, "alice@EXAMPLE.ORG\nbob\x1b[31m\n").unwrap();
    assert!(reason(&acl).contains("line 2"));
    std::fs::write(&path, "alice@EXAMPLE.ORG\n".repeat(100_000)).unwrap();
    assert!(reason(&acl).contains("longer than"));
    assert!(reason(&Acl::File(directory.path().to_owned())).contains("not a regular file"));
    // A pipe that nobody writes to must not hold up the check.
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    assert!(reason(&Acl::File(pipe)).contains("not a regular file"));
}

#[test]
fn a_command_gets_the_pocket_as_its_one_further_argument() {
    let directory = tempfile::tempdir().unwrap();
    let acl = script(directory.path(), "printf '%s\\n' \"# $#\" alice@EXAMPLE.ORG \"$*\"");
    assert!(may(&acl, "alice@EXAMPLE.ORG"));
    assert!(may(&acl, "-v dev"));
    assert!(!may(&acl, "dev"));
}

#[test]
fn a_command_that_fails_denies_even_those_that_it_printed() {
    let directory = tempfile::tempdir().unwrap();
    let acl = script(directory.path(), "echo alice@EXAMPLE.ORG; echo no ticket >&2; exit 3");
    let reason_of_failure = reason(&acl);
    assert!(reason_of_failure.contains("exit status: 3: no ticket"), "{reason_of_failure}");
    assert!(reason(&Acl::Command(vec!["/nonexistent".to_owned()])).contains("missing"));
    assert!(reason(&Acl::Command(vec![])).contains("names no program"));
    let endless = script(directory.path(), "yes alice@EXAMPLE.ORG");
    assert!(reason(&endless).contains("printed more than"));
}

#[test]
fn a_list_may_have_other_lists_files_and_patterns_in_it_and_says_what_admitted_somebody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admins");
    std::fs::write(&path, "carol@EXAMPLE.ORG\n").unwrap();
    let named = |name: &str| Member::List(Acl::Named(name.to_owned()));
    let lists = Lists::from([
        ("root".to_owned(), Acl::Members(vec![named("admins"), Member::Principal(alice())])),
        ("admins".to_owned(), Acl::Members(vec![Member::List(Acl::File(path.clone())), named("roots")])),
        ("roots".to_owned(), Acl::Members(vec![Member::Pattern(Pattern::new("*/root@EXAMPLE.ORG"))])),
    ]);
    let acl = Acl::Named("root".to_owned());
    let way = |who: &str| admit(&acl, &lists, &pocket(), &who.parse().unwrap());
    assert_eq!(way("alice@EXAMPLE.ORG").unwrap(), ["the list \"root\"", "alice@EXAMPLE.ORG"]);
    let file = format!("the file {}", path.display());
    assert_eq!(
        way("carol@EXAMPLE.ORG").unwrap(),
        ["the list \"root\"", "the list \"admins\"", &file, "carol@EXAMPLE.ORG"]
    );
    assert_eq!(way("bob/root@EXAMPLE.ORG").unwrap()[3], "the pattern */root@EXAMPLE.ORG");
    assert!(way("bob/root@EXAMPLE.ORG.evil").is_err());
    // What cannot be read admits nobody, and takes nothing from the others.
    std::fs::remove_file(&path).unwrap();
    assert!(way("carol@EXAMPLE.ORG").unwrap_err().contains("cannot be read"));
    assert!(way("alice@EXAMPLE.ORG").is_ok());
    assert!(members(&acl, &lists, &pocket()).is_err());
}

#[test]
fn a_list_that_is_in_itself_ends() {
    let acl = Acl::Named("a".to_owned());
    let lists = Lists::from([("a".to_owned(), Acl::Members(vec![Member::List(acl.clone())]))]);
    assert!(admit(&acl, &lists, &pocket(), &alice()).unwrap_err().contains("or in itself"));
}

#[test]
fn a_pattern_covers_the_whole_principal() {
    let matches = |pattern: &str, who: &str| Pattern::new(pattern).matches(&who.parse().unwrap());
    for (pattern, who) in [("*", "a@B"), ("a@B", "a@B"), ("a*@B", "a@B"), ("*@*", "a@B"), ("a*c*e", "abcde")]
    {
        assert!(matches(pattern, who), "{pattern} {who}");
    }
    for (pattern, who) in [("a@B", "a@Bx"), ("a@B", "xa@B"), ("*@B", "a@Bx"), ("a*a", "a"), ("ab*ba", "aba")]
    {
        assert!(!matches(pattern, who), "{pattern} {who}");
    }
}
