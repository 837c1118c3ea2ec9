use super::*;
use crate::memory::files::commit_id;
use crate::pocket::{SuperprojectEntry, Untagged};
use crate::policy::Head;

fn package(text: &str) -> PackageName {
    text.parse().unwrap()
}

fn commit() -> CommitId {
    commit_id("one")
}

/// A pocket whose one package, hello 1.0, is the same everywhere.
fn agreed() -> (PocketContents, Vec<Held>) {
    let (hello, version): (_, Version) = (package("hello"), "1.0".parse().unwrap());
    let mut git = PocketContents::default();
    git.branches.insert(hello.clone(), Head { commit: commit(), version: Some(version.clone()) });
    git.superproject
        .insert(hello.clone(), SuperprojectEntry { commit: commit(), url: Some("../hello.git".to_owned()) });
    (git, vec![Held { package: hello, version, commit: Some(commit()) }])
}

fn found(git: &PocketContents, served: &[Held]) -> Vec<Kind> {
    differences(&"prod".parse().unwrap(), git, served).into_iter().map(|it| it.kind).collect()
}

#[test]
fn a_pocket_that_is_the_same_everywhere_has_no_difference() {
    let (git, served) = agreed();
    assert_eq!(found(&git, &served), []);
}

type Change<'a> = &'a dyn Fn(&mut PocketContents, &mut Vec<Held>);

#[test]
fn every_way_to_differ_is_named() {
    let (other, version): (_, Version) = (commit_id("two"), "1.0".parse().unwrap());
    let hello = package("hello");
    let cases: &[(Change<'_>, Vec<Kind>)] = &[
        (&|_, served| served.clear(), vec![Kind::NotServed { branch: commit() }]),
        (
            &|git, _| drop(git.branches.remove(&hello)),
            vec![Kind::NoBranch { served: version.clone() }, Kind::StraySubmodule { submodule: commit() }],
        ),
        (
            &|git, _| git.branches.get_mut(&hello).unwrap().commit = other.clone(),
            vec![
                Kind::OtherCommit { branch: other.clone(), served: commit() },
                Kind::OtherSubmodule { branch: other.clone(), submodule: commit() },
            ],
        ),
        (
            &|_, served| served[0].version = "1.00".parse().unwrap(),
            vec![Kind::OtherVersion { branch: Some(version.clone()), served: "1.00".parse().unwrap() }],
        ),
        (
            &|git, served| {
                *git = PocketContents::default();
                served[0].commit = None;
            },
            vec![Kind::NotInGit { served: version.clone() }],
        ),
        (&|_, served| served[0].commit = None, vec![Kind::NoCommit { served: version.clone() }]),
        (&|git, _| git.superproject.clear(), vec![Kind::NoSubmodule]),
        (
            &|git, _| git.superproject.get_mut(&hello).unwrap().commit = other.clone(),
            vec![Kind::OtherSubmodule { branch: commit(), submodule: other.clone() }],
        ),
        (&|git, _| git.superproject.get_mut(&hello).unwrap().url = None, vec![Kind::NoUrl]),
        (
            &|git, _| {
                git.untagged.insert(Untagged {
                    package: hello.clone(),
                    version: version.clone(),
                    tag: "1.0".to_owned(),
                    commit: commit(),
                    found: "nothing".to_owned(),
                });
            },
            vec![Kind::NoTag { tag: "1.0".to_owned(), commit: commit(), found: "nothing".to_owned() }],
        ),
    ];
    for (change, expected) in cases {
        let (mut git, mut served) = agreed();
        change(&mut git, &mut served);
        assert_eq!(found(&git, &served), *expected);
    }
}

#[test]
fn a_difference_says_where_it_is_and_what_was_found() {
    let (mut git, served) = agreed();
    git.branches.clear();
    let lines: Vec<_> =
        differences(&"prod".parse().unwrap(), &git, &served).iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "prod hello: the suite serves 1.0, but there is no branch");
}

#[test]
fn a_try_of_the_version_at_the_branch_is_no_difference() {
    let (git, mut served) = agreed();
    let tried = |digits: &str| format!("1.0~dev20261123T101500.g{digits}").parse().unwrap();
    served[0].version = tried(&commit().as_str()[..7]);
    assert_eq!(found(&git, &served), []);
    served[0].version = tried("0000000");
    assert!(matches!(found(&git, &served)[..], [Kind::OtherVersion { .. }]), "a try of another commit");
}
