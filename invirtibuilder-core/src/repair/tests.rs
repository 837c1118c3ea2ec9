use super::*;
use crate::memory::files::commit_id;
use crate::pocket::{SuperprojectEntry, Untagged};
use crate::policy::Head;

/// A pocket where the archive, the branch and the superproject say this of `hello`: a word for its commit, or nothing.
fn pocket(
    archive: Option<&str>,
    branch: Option<&str>,
    submodule: Option<&str>,
) -> (PocketContents, Vec<Held>) {
    let (hello, version): (PackageName, Version) = ("hello".parse().unwrap(), "1.0".parse().unwrap());
    let mut git = PocketContents::default();
    if let Some(word) = branch {
        let head = Head { commit: commit_id(word), version: Some(version.clone()) };
        git.branches.insert(hello.clone(), head);
    }
    if let Some(word) = submodule {
        let entry = SuperprojectEntry { commit: commit_id(word), url: Some("../hello.git".to_owned()) };
        git.superproject.insert(hello.clone(), entry);
    }
    let held = archive.map(|word| Held { package: hello, version, commit: Some(commit_id(word)) });
    (git, held.into_iter().collect())
}

fn planned(archive: Option<&str>, branch: Option<&str>, submodule: Option<&str>) -> Option<Mend> {
    let (git, served) = pocket(archive, branch, submodule);
    let (repairs, left) = plan(&"prod".parse().unwrap(), &git, &served);
    assert!(repairs.len() <= 1 && (repairs.is_empty() || left.is_empty()), "{repairs:?} {left:?}");
    repairs.into_iter().next().map(|it| it.mend)
}

#[test]
fn where_two_agree_the_third_is_mended_and_the_archive_never_is() {
    let id = |word: &str| Some(commit_id(word));
    let (a, b, c) = (Some("a"), Some("b"), Some("c"));
    for (archive, branch, submodule, expected) in [
        (a, a, a, None),
        (a, a, b, Some(Mend::Submodule { to: id("a") })),
        (a, a, None, Some(Mend::Submodule { to: id("a") })),
        (None, None, a, Some(Mend::Submodule { to: None })),
        (a, b, a, Some(Mend::Branch { from: id("b"), to: id("a") })),
        (a, None, a, Some(Mend::Branch { from: None, to: id("a") })),
        (None, a, None, Some(Mend::Branch { from: id("a"), to: None })),
        (a, b, b, None),
        (None, b, b, None),
        (a, None, None, None),
        (a, b, c, None),
        (None, b, c, None),
        (a, None, c, None),
    ] {
        assert_eq!(planned(archive, branch, submodule), expected, "{archive:?} {branch:?} {submodule:?}");
    }
}

#[test]
fn what_is_left_says_what_to_do() {
    let (git, served) = pocket(Some("a"), Some("b"), Some("b"));
    let (_, left) = plan(&"prod".parse().unwrap(), &git, &served);
    assert!(left.iter().all(|it| it.remedy.contains("archive rollback")), "{left:?}");
    let (git, mut served) = pocket(Some("a"), None, None);
    served[0].commit = None;
    let (repairs, left) = plan(&"prod".parse().unwrap(), &git, &served);
    assert_eq!((repairs.len(), left.len()), (0, 1));
    assert!(left[0].remedy.contains("greater version"));
}

#[test]
fn a_tag_is_made_where_the_history_wants_it() {
    let (mut git, served) = pocket(Some("a"), Some("a"), Some("a"));
    git.untagged.insert(Untagged {
        package: "hello".parse().unwrap(),
        version: "0.9".parse().unwrap(),
        tag: "0.9".to_owned(),
        commit: commit_id("z"),
        found: "nothing".to_owned(),
    });
    let (repairs, left) = plan(&"prod".parse().unwrap(), &git, &served);
    assert!(left.is_empty());
    assert_eq!(repairs[0].mend, Mend::Tag { version: "0.9".parse().unwrap(), commit: commit_id("z") });
}
