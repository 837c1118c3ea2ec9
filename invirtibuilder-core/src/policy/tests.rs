use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::memory::files::commit_id;

/// The facts about a request, in a world of three pockets: `prod`, `staging`, and `dev`, which backtracks and is
/// not trusted.
struct Case {
    target: &'static str,
    pockets: BTreeMap<PocketName, PocketSpec>,
    access: Access,
    survey: Survey,
    held: BTreeMap<PocketName, Held>,
    protected: BTreeSet<PackageName>,
}

fn pocket(name: &str) -> PocketName {
    name.parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn spec(name: &str, policy: Policy) -> (PocketName, PocketSpec) {
    let spec = PocketSpec {
        name: pocket(name),
        branch: name.parse().unwrap(),
        suite: name.parse().unwrap(),
        components: vec!["main".parse().unwrap()],
        architectures: vec!["amd64".parse().unwrap()],
        base: "bookworm".parse().unwrap(),
        policy,
        building: Building::default(),
    };
    (pocket(name), spec)
}

/// A first publication of hello 1.0 from the commit `new` in `target`, which breaks no rule.
fn case(target: &'static str) -> Case {
    let dev = Policy { allow_backtracking: true, trust: Trust::None, ..Policy::default() };
    Case {
        target,
        pockets: [spec("prod", Policy::default()), spec("staging", Policy::default()), spec("dev", dev)]
            .into(),
        access: Access::Granted,
        survey: Survey {
            commit: CommitState::Present,
            changelog: Some(Ok(("hello".parse().unwrap(), version("1.0")))),
            control: Some(Ok(Declaration::of_one("hello".parse().unwrap()))),
            relation: Relation::New,
            heads: BTreeMap::new(),
            tagged: None,
        },
        held: BTreeMap::new(),
        protected: BTreeSet::new(),
    }
}

impl Case {
    fn head(mut self, name: &str, commit: &str, text: &str) -> Self {
        let head = Head { commit: commit_id(commit), version: Some(version(text)) };
        self.survey.heads.insert(pocket(name), head);
        self
    }

    fn held(mut self, name: &str, commit: &str, text: &str) -> Self {
        let commit = Some(commit_id(commit));
        let held = Held { package: "hello".parse().unwrap(), version: version(text), commit };
        self.held.insert(pocket(name), held);
        self
    }

    /// The pocket's branch and its suite agree.
    fn serves(self, name: &str, commit: &str, text: &str) -> Self {
        self.head(name, commit, text).held(name, commit, text)
    }

    fn relation(mut self, relation: Relation) -> Self {
        self.survey.relation = relation;
        self
    }

    fn tagged(mut self, commit: &str) -> Self {
        self.survey.tagged = Some(commit_id(commit));
        self
    }

    fn copy_from(mut self, sources: &[&str]) -> Self {
        let sources = sources.iter().map(|it| pocket(it)).collect::<BTreeSet<_>>();
        self.pockets.get_mut(&pocket(self.target)).unwrap().policy.copy_from = CopyFrom::Only(sources);
        self
    }

    fn judge(&self) -> Result<Verdict, Vec<String>> {
        let (package, commit) = ("hello".parse().unwrap(), commit_id("new"));
        let facts = Facts {
            package: &package,
            commit: &commit,
            principal: &"alice@EXAMPLE.ORG".parse().unwrap(),
            pocket: &self.pockets[&pocket(self.target)],
            pockets: &self.pockets,
            access: &self.access,
            survey: &self.survey,
            held: &self.held,
            protected: &self.protected,
        };
        validate(&facts).map_err(|it| it.reasons())
    }

    fn builds(&self) -> bool {
        self.judge() == Ok(Verdict::Build(version("1.0")))
    }

    fn copies_from(&self, name: &str) -> bool {
        self.judge() == Ok(Verdict::Copy { version: version("1.0"), from: pocket(name) })
    }

    /// Whether each of these texts is in one reason, and there is no other reason.
    fn refused(&self, texts: &[&str]) -> bool {
        let Err(reasons) = self.judge() else { return false };
        reasons.len() == texts.len() && texts.iter().all(|text| reasons.iter().any(|it| it.contains(text)))
    }
}

#[test]
fn a_first_publication_is_built() {
    assert!(case("prod").builds() && case("dev").builds());
}

#[test]
fn p1_the_id_names_a_commit_that_a_ref_reaches() {
    for (state, text) in [
        (CommitState::NoRepository, "there is no repository for hello"),
        (CommitState::Missing, "has no commit"),
        (CommitState::NotACommit("tag".to_owned()), "is a tag, not a commit"),
        (CommitState::Unreachable, "no branch or tag of hello reaches"),
    ] {
        let mut case = case("prod");
        (case.survey.commit, case.survey.changelog, case.survey.control) = (state, None, None);
        assert!(case.refused(&[text]), "{:?}", case.judge());
    }
}

#[test]
fn p2_changelog_and_control_parse_and_name_the_package() {
    let mut both = case("prod");
    both.survey.changelog = Some(Err("it is empty".to_owned()));
    both.survey.control = Some(Err("it has no Source field".to_owned()));
    assert!(both.refused(&["debian/changelog at commit", "debian/control at commit"]), "{:?}", both.judge());
    let mut other = case("prod");
    other.survey.changelog = Some(Ok(("goodbye".parse().unwrap(), version("1.0"))));
    other.survey.control = Some(Ok(Declaration::of_one("hello2".parse().unwrap())));
    assert!(other.refused(&["names the source package goodbye", "names the source package hello2"]));
    let mut unread = case("prod");
    (unread.survey.changelog, unread.survey.control) = (None, None);
    assert!(unread.refused(&["it could not be read"]));
}

#[test]
fn p3_the_principal_is_in_the_access_list() {
    let mut case = case("prod");
    case.access = Access::Denied("ask carol".to_owned());
    assert!(case.refused(&["alice@EXAMPLE.ORG may not publish in prod: ask carol"]));
}

#[test]
fn p4_a_version_that_another_pocket_has_from_another_commit_is_refused() {
    assert!(
        case("prod").serves("staging", "old", "1.0").refused(&["staging already has hello 1.0 from commit"])
    );
    assert!(case("dev").serves("prod", "old", "1.0").refused(&["prod already has hello 1.0"]));
    // dpkg holds these spellings for one version, and so does apt.
    assert!(case("prod").serves("staging", "old", "1.00").refused(&["staging already has"]));
    assert!(case("prod").serves("staging", "old", "1.1").builds());
}

#[test]
fn p4_what_only_the_branch_or_only_the_suite_has_counts_as_well() {
    assert!(case("prod").head("staging", "old", "1.0").refused(&["staging already has"]));
    assert!(case("prod").held("staging", "old", "1.0").refused(&["staging already has"]));
}

#[test]
fn p4_a_version_tag_at_another_commit_is_refused_even_where_versions_may_fall() {
    assert!(case("prod").tagged("old").refused(&["the version tag of hello 1.0 is at commit"]));
    assert!(case("dev").tagged("old").refused(&["the version tag of hello 1.0 is at commit"]));
    assert!(case("prod").tagged("new").builds());
}

#[test]
fn p4_a_pocket_that_backtracks_may_use_its_own_version_again() {
    assert!(case("dev").serves("dev", "old", "1.0").relation(Relation::Diverged).builds());
    let own = case("prod").serves("prod", "old", "1.0").relation(Relation::FastForward);
    assert!(own.refused(&["prod already has hello 1.0 from commit", "1.0 is not greater"]));
}

#[test]
fn p4_an_untrusted_pocket_reserves_nothing_against_a_trusted_one() {
    assert!(case("prod").serves("dev", "old", "1.0").builds());
    // But it does against one that is trusted no more than it is.
    let mut equals = case("dev").serves("lab", "old", "1.0");
    let lab = Policy { trust: Trust::None, ..Policy::default() };
    equals.pockets.extend([spec("lab", lab)]);
    assert!(equals.refused(&["lab already has hello 1.0"]));
    // And the exception does not extend to a trusted pocket that has the same.
    let both = case("prod").serves("dev", "old", "1.0").serves("staging", "old", "1.0");
    assert!(both.refused(&["staging already has"]));
}

#[test]
fn p5_a_pocket_goes_only_forward_in_version_and_in_history() {
    let descends = |text| case("prod").serves("prod", "old", text).relation(Relation::FastForward);
    assert!(descends("0.9").builds());
    assert!(descends("1.0~rc1").builds());
    assert!(descends("1.1").refused(&["prod already has hello 1.1, and 1.0 is not greater"]));
    assert!(descends("1:0.1").refused(&["1.0 is not greater"]));
    let diverged = |text| case("prod").serves("prod", "old", text).relation(Relation::Diverged);
    assert!(diverged("0.9").refused(&["which prod has; merge or rebase onto"]));
    assert!(diverged("2.0").refused(&["1.0 is not greater", "merge or rebase"]));
    let dev = case("dev").serves("dev", "old", "2.0").relation(Relation::Diverged);
    assert!(dev.builds());
}

#[test]
fn p5_a_history_that_nobody_compared_is_no_proof() {
    let unknown = |target| case(target).serves(target, "old", "0.9").relation(Relation::Unknown);
    assert!(unknown("prod").refused(&["merge or rebase onto"]));
    assert!(unknown("dev").builds());
    let mut missing = unknown("prod");
    missing.survey.commit = CommitState::Missing;
    assert!(missing.refused(&["has no commit"]));
}

#[test]
fn p5_the_greater_of_branch_and_suite_counts_where_they_differ() {
    let suite_is_ahead =
        case("prod").head("prod", "old", "0.8").held("prod", "lost", "1.5").relation(Relation::FastForward);
    assert!(suite_is_ahead.refused(&["prod already has hello 1.5"]));
    let branch_is_ahead =
        case("prod").head("prod", "old", "1.5").held("prod", "older", "0.8").relation(Relation::FastForward);
    assert!(branch_is_ahead.refused(&["prod already has hello 1.5"]));
    // An interrupted first publication left no branch.
    assert!(case("prod").held("prod", "lost", "1.5").refused(&["prod already has hello 1.5"]));
    assert!(case("prod").held("prod", "new", "1.0").builds());
}

#[test]
fn p6_a_version_that_another_pocket_serves_from_the_same_commit_is_copied() {
    assert!(case("prod").serves("staging", "new", "1.0").copies_from("staging"));
    assert!(case("dev").serves("prod", "new", "1.0").tagged("new").copies_from("prod"));
    assert!(case("prod").serves("dev", "new", "1.0").copy_from(&["dev"]).copies_from("dev"));
}

#[test]
fn p6_it_is_built_where_copy_from_does_not_allow_the_source() {
    assert!(case("prod").serves("dev", "new", "1.0").copy_from(&["staging"]).builds());
    assert!(case("prod").serves("dev", "new", "1.0").copy_from(&[]).builds());
    let both = case("prod").serves("dev", "new", "1.0").serves("staging", "new", "1.0");
    assert!(both.copy_from(&["staging"]).copies_from("staging"));
}

#[test]
fn p6_what_is_not_known_to_come_from_the_commit_is_not_copied() {
    let mut unknown = case("prod").serves("staging", "new", "1.0");
    unknown.held.get_mut(&pocket("staging")).unwrap().commit = None;
    assert!(unknown.builds());
    // Only the branch has it: the suite has nothing to copy.
    assert!(case("prod").head("staging", "new", "1.0").builds());
}

#[test]
fn p7_what_the_pocket_serves_already_is_current() {
    let current = || case("prod").serves("prod", "new", "1.0").tagged("new").relation(Relation::Same);
    assert_eq!(current().judge(), Ok(Verdict::Current(version("1.0"))));
    // It is current even if another pocket serves it too.
    assert_eq!(current().serves("staging", "new", "1.0").judge(), Ok(Verdict::Current(version("1.0"))));
    // The branch moved and the suite did not, or the other way round: it is not current.
    assert!(case("prod").head("prod", "new", "1.0").relation(Relation::Same).builds());
}

#[test]
fn p7_who_may_not_publish_is_refused_even_what_is_current() {
    let mut case = case("prod").serves("prod", "new", "1.0").relation(Relation::Same);
    case.access = Access::Denied("ask carol".to_owned());
    assert!(case.refused(&["may not publish"]));
}

#[test]
fn p8_every_broken_rule_is_named_at_once_with_a_remedy() {
    let mut case = case("prod").serves("prod", "old", "2.0").serves("staging", "x", "1.0").tagged("y");
    case.survey.relation = Relation::Diverged;
    case.survey.commit = CommitState::Unreachable;
    case.access = Access::Denied("ask carol".to_owned());
    case.survey.control = Some(Ok(Declaration::of_one("hello2".parse().unwrap())));
    assert!(
        case.refused(&[
            "may not publish in prod",
            "push a branch",
            "submit it as hello2",
            "staging already has hello 1.0",
            "the version tag of hello 1.0",
            "1.0 is not greater; raise the version",
            "merge or rebase",
        ]),
        "{:#?}",
        case.judge()
    );
}

#[test]
fn a_rejection_knows_whether_only_access_is_missing() {
    let denied = Violation::NotPermitted {
        principal: "a@B".parse().unwrap(),
        pocket: pocket("prod"),
        reason: "ask".to_owned(),
    };
    let missing = Violation::NoRepository { package: "hello".parse().unwrap() };
    assert!(Rejection::from(denied.clone()).is_only_access());
    assert!(!Rejection::of(vec![denied, missing]).unwrap().is_only_access());
    assert!(Rejection::of(Vec::new()).is_none());
}

#[test]
fn a_commit_that_declares_a_package_of_the_base_is_refused_unless_the_pocket_may_replace_it() {
    let mut case = case("prod");
    case.protected = ["hello", "bash"].map(|it| it.parse().unwrap()).into();
    assert!(case.refused(&["debian/control declares hello, a package of the base bookworm"]));
    case.pockets.get_mut(&pocket("prod")).unwrap().policy.may_replace = ["hello".parse().unwrap()].into();
    assert!(case.builds());
}

#[test]
fn what_one_pocket_may_replace_is_not_copied_to_one_that_may_not() {
    let mut case = case("prod").serves("staging", "new", "1.0");
    case.pockets.get_mut(&pocket("staging")).unwrap().policy.may_replace = ["hello".parse().unwrap()].into();
    assert!(case.refused(&["if prod shall replace it"]), "{:?}", case.judge());
}

#[test]
fn what_was_published_under_a_laxer_rule_for_versions_is_built_again() {
    let mut case = case("prod").serves("staging", "new", "1.0");
    case.pockets.get_mut(&pocket("staging")).unwrap().policy.binary_versions = BinaryVersions::Any;
    assert!(case.builds(), "{:?}", case.judge());
    case.pockets.get_mut(&pocket("prod")).unwrap().policy.binary_versions = BinaryVersions::Any;
    assert!(matches!(case.judge(), Ok(Verdict::Copy { .. })), "{:?}", case.judge());
}

/// Case: a pocket serves a version that was imported, and so is of no commit.
fn imported(target: &'static str, holder: &str, text: &str) -> Case {
    let mut it = case(target).held(holder, "unknown", text);
    it.held.get_mut(&pocket(holder)).unwrap().commit = None;
    it
}

#[test]
fn what_was_imported_is_followed_by_a_greater_version_only() {
    assert!(imported("prod", "prod", "0.9").builds());
    for held in ["1.0", "1.00", "1.1"] {
        let reasons = imported("prod", "prod", held).judge().unwrap_err();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].contains(held), "{reasons:?}");
    }
    assert!(imported("dev", "dev", "1.1").builds());
}

#[test]
fn what_was_imported_is_never_copied() {
    assert!(imported("prod", "staging", "1.0").builds());
}

/// The version of a try of hello 1.0 from the commit `new`, or from another one.
fn tried(commit: &str) -> String {
    format!("1.0~dev20261123T101500.g{}", &commit_id(commit).as_str()[..7])
}

fn tries(target: &'static str) -> Case {
    let mut case = case(target);
    let policy = Policy { allow_backtracking: true, versions: Versions::Snapshot, ..Policy::default() };
    case.pockets.insert(pocket("dev"), spec("dev", policy.clone()).1);
    case.pockets.insert(pocket("lab"), spec("lab", policy).1);
    case
}

#[test]
fn a_try_reserves_no_version_and_is_copied_nowhere() {
    let serves =
        |target, commit: &str| tries(target).head("dev", commit, "1.0").held("dev", commit, &tried(commit));
    assert!(serves("prod", "other").builds(), "its commit may be released, or another one");
    assert!(
        serves("prod", "new").builds() && serves("lab", "new").builds() && serves("lab", "other").builds()
    );
    assert!(serves("dev", "other").builds(), "the next try");
    // What was released is taken.
    assert!(tries("dev").serves("prod", "other", "1.0").refused(&["prod"]));
    assert!(tries("dev").tagged("other").refused(&["tag"]));
    assert!(tries("prod").serves("dev", "other", "1.0").refused(&["dev"]), "a release that was copied there");
}

#[test]
fn a_commit_whose_try_is_served_is_current_until_it_is_released() {
    let served = || tries("dev").head("dev", "new", "1.0").held("dev", "new", &tried("new"));
    assert_eq!(served().judge(), Ok(Verdict::Current(version(&tried("new")))));
    assert!(served().serves("prod", "new", "1.0").copies_from("prod"));
    assert_eq!(tries("dev").serves("dev", "new", "1.0").judge(), Ok(Verdict::Current(version("1.0"))));
    let elsewhere = tries("dev").head("dev", "other", "1.0").held("dev", "new", &tried("new"));
    assert!(elsewhere.builds());
    let mut off = served();
    off.pockets.get_mut(&pocket("dev")).unwrap().policy.versions = Versions::Declared;
    assert!(off.builds(), "the pocket wants the declared version now");
}

#[test]
fn a_version_that_leaves_a_try_no_room_is_refused() {
    let long = version(&"1".repeat(190));
    let mut case = tries("dev");
    case.survey.changelog = Some(Ok(("hello".parse().unwrap(), long)));
    assert!(case.refused(&["too long for what snapshot_versions of dev adds"]), "{:?}", case.judge());
}
