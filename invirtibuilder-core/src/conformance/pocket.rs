//! The contract of [`Pocket`], as checks that any backend can be run through.
//!
//! Each check uses packages of its own, so one world serves them all.

use crate::error::PocketError;
use crate::job::{Job, PublicationKind, Request};
use crate::names::{CommitId, PackageName, PocketName, Version};
use crate::pocket::Pocket;
use crate::policy::{CommitState, Relation};
use crate::publisher::Generation;
use crate::rollback::{Move, Place, Rollback, RolledBack};
use crate::states::{BuildPlan, Published};

/// A site whose pockets are to be checked, and a way to make commits in it.
///
/// It has the pocket `prod`, which only goes forward, and the pocket `dev`, which allows backtracking.
pub trait World {
    /// Returns one of the two pockets.
    fn pocket(&self, name: &PocketName) -> &dyn Pocket;
    /// Makes a commit of a version of a package, that a branch reaches which is no pocket's.
    fn commit(&self, package: &PackageName, version: &Version, parent: Option<&CommitId>) -> CommitId;
}

/// Runs all checks.
///
/// # Panics
/// The backend breaks the contract.
pub fn check(world: &dyn World) {
    a_record_moves_the_pocket_and_nothing_else(world);
    a_record_may_be_repeated(world);
    a_record_from_an_unexpected_head_changes_nothing(world);
    a_survey_relates_the_commit_to_the_head(world);
    a_survey_of_what_does_not_exist_is_an_answer(world);
    a_backtracking_pocket_may_go_back_and_keeps_no_tags(world);
    history_tells_the_latest_first(world);
    a_rollback_moves_makes_and_deletes_branches_in_one_record(world);
    a_rollback_from_an_unexpected_head_is_refused(world);
}

fn name(text: &str) -> PocketName {
    text.parse().expect("a literal pocket name is valid")
}

fn package(text: &str) -> PackageName {
    text.parse().expect("a literal package name is valid")
}

fn version(text: &str) -> Version {
    text.parse().expect("a literal version is valid")
}

/// Makes a proof that a pocket's suite serves a commit, as from the job with this number.
///
/// # Panics
/// The number has more than six digits.
#[must_use]
pub fn published(
    pocket: &dyn Pocket,
    package: &PackageName,
    version: &Version,
    commit: &CommitId,
    expected: Option<&CommitId>,
    number: u32,
) -> Published {
    let request = Request {
        pocket: pocket.spec().name.clone(),
        package: package.clone(),
        commit: commit.clone(),
        // A principal is any text on one line, also one that looks like a part of a record.
        principal: "Job: alice <a@EXAMPLE.ORG> é".parse().expect("a literal principal is valid"),
        adds: None,
    };
    let id = format!("20261123101500_{number:06}").parse().expect("a job id is a time and six digits");
    let job = Job::new(id, request);
    Published::for_tests(BuildPlan::for_tests(job, pocket.spec().clone(), version.clone(), expected.cloned()))
}

fn a_record_moves_the_pocket_and_nothing_else(world: &dyn World) {
    let (prod, dev) = (world.pocket(&name("prod")), world.pocket(&name("dev")));
    let (hello, one) = (package("moved"), version("1:1.0~rc1"));
    let commit = world.commit(&hello, &one, None);
    prod.record(&published(prod, &hello, &one, &commit, None, 1)).expect("a record succeeds");
    let survey = prod.survey(&hello, &commit).expect("a survey succeeds");
    let head = survey.heads.get(&name("prod")).expect("the pocket has a head");
    assert_eq!((&head.commit, head.version.as_ref()), (&commit, Some(&one)));
    assert_eq!(survey.tagged.as_ref(), Some(&commit), "the version has its tag");
    assert_eq!(survey.relation, Relation::Same);
    assert!(!survey.heads.contains_key(&name("dev")), "another pocket moved");
    let contents = prod.contents().expect("the contents are readable");
    assert_eq!(contents.branches.get(&hello).map(|it| &it.commit), Some(&commit));
    assert_eq!(contents.superproject.get(&hello).map(|it| &it.commit), Some(&commit));
    assert!(contents.untagged.iter().all(|it| it.package != hello));
    assert!(!dev.contents().expect("the contents are readable").branches.contains_key(&hello));
}

fn a_record_may_be_repeated(world: &dyn World) {
    let prod = world.pocket(&name("prod"));
    let (hello, one) = (package("repeated"), version("1.0"));
    let commit = world.commit(&hello, &one, None);
    let proof = published(prod, &hello, &one, &commit, None, 2);
    prod.record(&proof).expect("a record succeeds");
    let before = (prod.contents().expect("readable"), prod.history(100).expect("readable"));
    prod.record(&proof).expect("a repeated record succeeds");
    assert_eq!((prod.contents().expect("readable"), prod.history(100).expect("readable")), before);
}

fn a_record_from_an_unexpected_head_changes_nothing(world: &dyn World) {
    let prod = world.pocket(&name("prod"));
    let hello = package("unexpected");
    let versions = [version("1"), version("2"), version("3")];
    let [one, two, three] = &versions;
    let first = world.commit(&hello, one, None);
    let second = world.commit(&hello, two, Some(&first));
    let third = world.commit(&hello, three, Some(&second));
    prod.record(&published(prod, &hello, one, &first, None, 3)).expect("a record succeeds");
    let before = prod.contents().expect("readable");
    let refused = prod.record(&published(prod, &hello, three, &third, Some(&second), 4));
    assert!(
        matches!(&refused, Err(PocketError::Moved { found: Some(found), .. }) if *found == first),
        "{refused:?}"
    );
    let refused = prod.record(&published(prod, &hello, two, &second, None, 5));
    assert!(matches!(refused, Err(PocketError::Moved { expected: None, .. })), "{refused:?}");
    assert_eq!(prod.contents().expect("readable"), before);
    assert_eq!(prod.survey(&hello, &third).expect("a survey succeeds").tagged, None, "a tag was left behind");
}

fn a_survey_relates_the_commit_to_the_head(world: &dyn World) {
    let (prod, dev) = (world.pocket(&name("prod")), world.pocket(&name("dev")));
    let hello = package("related");
    let first = world.commit(&hello, &version("1"), None);
    let second = world.commit(&hello, &version("2"), Some(&first));
    let other = world.commit(&hello, &version("3"), Some(&first));
    let relation = |commit| prod.survey(&hello, commit).expect("a survey succeeds").relation;
    assert_eq!(relation(&second), Relation::New);
    prod.record(&published(prod, &hello, &version("2"), &second, None, 6)).expect("a record succeeds");
    assert_eq!(relation(&second), Relation::Same);
    assert_eq!(relation(&first), Relation::Diverged);
    assert_eq!(relation(&other), Relation::Diverged);
    let next = world.commit(&hello, &version("4"), Some(&second));
    assert_eq!(relation(&next), Relation::FastForward);
    assert_eq!(dev.survey(&hello, &next).expect("a survey succeeds").relation, Relation::Unknown);
    let survey = prod.survey(&hello, &next).expect("a survey succeeds");
    assert_eq!(survey.commit, CommitState::Present);
    assert_eq!(survey.changelog, Some(Ok((hello.clone(), version("4")))));
    assert_eq!(survey.control.map(|it| it.map(|it| it.source)), Some(Ok(hello)));
}

fn a_survey_of_what_does_not_exist_is_an_answer(world: &dyn World) {
    let prod = world.pocket(&name("prod"));
    let nothing: CommitId = "0123456789012345678901234567890123456789".parse().expect("a commit id");
    let survey = prod.survey(&package("nowhere"), &nothing).expect("a survey succeeds");
    assert_eq!(survey.commit, CommitState::NoRepository);
    let hello = package("somewhere");
    world.commit(&hello, &version("1"), None);
    let survey = prod.survey(&hello, &nothing).expect("a survey succeeds");
    assert_eq!(survey.commit, CommitState::Missing);
    assert_eq!((survey.changelog, survey.control, survey.tagged), (None, None, None));
}

fn a_backtracking_pocket_may_go_back_and_keeps_no_tags(world: &dyn World) {
    let dev = world.pocket(&name("dev"));
    let hello = package("back");
    let first = world.commit(&hello, &version("1"), None);
    let second = world.commit(&hello, &version("2"), Some(&first));
    dev.record(&published(dev, &hello, &version("2"), &second, None, 7)).expect("a record succeeds");
    dev.record(&published(dev, &hello, &version("1"), &first, Some(&second), 8)).expect("a record succeeds");
    dev.record(&published(dev, &hello, &version("2"), &second, Some(&first), 9)).expect("a record succeeds");
    let survey = dev.survey(&hello, &second).expect("a survey succeeds");
    assert_eq!(survey.heads.get(&name("dev")).map(|it| &it.commit), Some(&second));
    assert_eq!(survey.tagged, None, "a version of a backtracking pocket has a tag");
    let contents = dev.contents().expect("the contents are readable");
    assert_eq!(contents.superproject.get(&hello).map(|it| &it.commit), Some(&second));
    assert!(contents.untagged.is_empty());
    let told: Vec<CommitId> = told(dev, &hello).into_iter().map(|it| it.1).collect();
    assert_eq!(told, [second.clone(), first, second], "each publication is told once");
}

fn history_tells_the_latest_first(world: &dyn World) {
    let prod = world.pocket(&name("prod"));
    let hello = package("told");
    let first = world.commit(&hello, &version("1"), None);
    let second = world.commit(&hello, &version("2"), Some(&first));
    prod.record(&published(prod, &hello, &version("1"), &first, None, 10)).expect("a record succeeds");
    prod.record(&published(prod, &hello, &version("2"), &second, Some(&first), 11))
        .expect("a record succeeds");
    assert_eq!(told(prod, &hello), [(version("2"), second.clone()), (version("1"), first)]);
    let history = prod.history(1).expect("the history is readable");
    let last = history.first().expect("there is a publication");
    assert_eq!(history.len(), 1, "the limit counts");
    assert_eq!((&last.package, &last.commit), (&hello, &second));
    assert_eq!(last.principal.as_str(), "Job: alice <a@EXAMPLE.ORG> é");
    assert_eq!(last.job.as_str(), "20261123101500_000011");
}

/// Makes a proof that a pocket's suite was returned to where these packages were elsewhere.
fn rolled_back(pocket: &dyn Pocket, number: u32, moves: Vec<Move>) -> RolledBack {
    let rollback = Rollback {
        id: format!("20261123101500_{number:06}").parse().expect("a job id is a time and six digits"),
        pocket: pocket.spec().name.clone(),
        principal: "Job: alice <a@EXAMPLE.ORG> é".parse().expect("a literal principal is valid"),
        from: Generation::new(7),
        to: Generation::new(4),
        moves,
    };
    RolledBack::for_tests(rollback, Generation::new(8))
}

fn place(text: &str, commit: &CommitId) -> Place {
    Place { version: Some(version(text)), commit: commit.clone() }
}

fn a_rollback_moves_makes_and_deletes_branches_in_one_record(world: &dyn World) {
    let prod = world.pocket(&name("prod"));
    let [back, away, again] = ["rolled-back", "rolled-away", "rolled-again"].map(package);
    let first = world.commit(&back, &version("1"), None);
    let second = world.commit(&back, &version("2"), Some(&first));
    let gone = world.commit(&away, &version("1"), None);
    let here = world.commit(&again, &version("1"), None);
    prod.record(&published(prod, &back, &version("1"), &first, None, 12)).expect("a record succeeds");
    prod.record(&published(prod, &back, &version("2"), &second, Some(&first), 13))
        .expect("a record succeeds");
    prod.record(&published(prod, &away, &version("1"), &gone, None, 14)).expect("a record succeeds");
    let before = prod.history(usize::MAX).expect("the history is readable").len();
    let moves = || {
        vec![
            Move { package: again.clone(), old: None, new: Some(place("1", &here)) },
            Move { package: away.clone(), old: Some(place("1", &gone)), new: None },
            Move { package: back.clone(), old: Some(place("2", &second)), new: Some(place("1", &first)) },
        ]
    };
    for _ in 0..2 {
        prod.record_rollback(&rolled_back(prod, 15, moves())).expect("a record, and its repetition, succeed");
        let contents = prod.contents().expect("the contents are readable");
        let head = |package| contents.branches.get(package).map(|it| it.commit.clone());
        assert_eq!([&again, &away, &back].map(head), [Some(here.clone()), None, Some(first.clone())]);
        let entry = |package| contents.superproject.get(package).map(|it| it.commit.clone());
        assert_eq!([&again, &away, &back].map(entry), [Some(here.clone()), None, Some(first.clone())]);
        assert!(contents.superproject.get(&again).is_some_and(|it| it.url.is_some()), "it has a URL");
        let history = prod.history(usize::MAX).expect("the history is readable");
        assert_eq!(history.len(), before + 3, "each package is told once");
        let told: Vec<_> = history.iter().take(3).map(|it| (it.kind, &it.package, &it.commit)).collect();
        assert_eq!(
            told,
            [
                (PublicationKind::Rollback, &again, &here),
                (PublicationKind::Removal, &away, &gone),
                (PublicationKind::Rollback, &back, &first)
            ]
        );
        let last = history.first().expect("there is a publication");
        assert_eq!(last.generation, Some(Generation::new(8)));
        assert!(
            history.iter().take(3).all(|it| it.recorded_in == last.recorded_in),
            "one commit records all"
        );
    }
    // What was published keeps its tag, and can be published again.
    let survey = prod.survey(&back, &second).expect("a survey succeeds");
    assert_eq!((survey.tagged.as_ref(), survey.relation), (Some(&second), Relation::FastForward));
    prod.record(&published(prod, &back, &version("2"), &second, Some(&first), 16))
        .expect("a record succeeds");
    prod.record(&published(prod, &away, &version("1"), &gone, None, 17)).expect("a record succeeds");
    let untagged = prod.contents().expect("the contents are readable").untagged;
    assert!(untagged.iter().all(|it| it.package == again), "{untagged:?}");
}

fn a_rollback_from_an_unexpected_head_is_refused(world: &dyn World) {
    let prod = world.pocket(&name("prod"));
    let hello = package("rolled-unexpected");
    let first = world.commit(&hello, &version("1"), None);
    let second = world.commit(&hello, &version("2"), Some(&first));
    prod.record(&published(prod, &hello, &version("1"), &first, None, 18)).expect("a record succeeds");
    let before = prod.contents().expect("the contents are readable");
    let change = Move { package: hello, old: Some(place("2", &second)), new: None };
    let refused = prod.record_rollback(&rolled_back(prod, 19, vec![change]));
    assert!(matches!(refused, Err(PocketError::Moved { .. })), "{refused:?}");
    assert_eq!(prod.contents().expect("the contents are readable"), before);
}

fn told(pocket: &dyn Pocket, package: &PackageName) -> Vec<(Version, CommitId)> {
    let history = pocket.history(usize::MAX).expect("the history is readable");
    history.into_iter().filter(|it| it.package == *package).map(|it| (it.version, it.commit)).collect()
}
