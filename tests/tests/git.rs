//! Pockets in real Git repositories.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make their own worlds")]

mod gitworld;

use std::path::Path;

use gitworld::{GitWorld, commit_tree, debian, git, git_command, git_with, hooks, output, spec, tree};
use invirtibuilder_core::conformance::pocket::{self, World, published};
use invirtibuilder_core::names::{CommitId, PackageName, PocketName, Version};
use invirtibuilder_core::pocket::Pocket;
use invirtibuilder_core::policy::{CommitState, Relation};
use invirtibuilder_core::publisher::Generation;
use invirtibuilder_core::repository::push_policy::PushPolicy;
use invirtibuilder_core::repository::{Repositories, Repository, RepositoryError};
use invirtibuilder_core::rollback::{Move, Place, Rollback, RolledBack};

impl World for GitWorld {
    fn pocket(&self, name: &PocketName) -> &dyn Pocket {
        if name.as_str() == "prod" { &self.prod } else { &self.dev }
    }

    fn commit(&self, package: &PackageName, version: &Version, parent: Option<&CommitId>) -> CommitId {
        self.commit(package, version, parent)
    }
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Publishes a version in prod and returns its commit.
fn publish(world: &GitWorld, text: &str, parent: Option<&CommitId>, number: u32) -> CommitId {
    let commit = world.commit(&hello(), &version(text), parent);
    let proof = published(&world.prod, &hello(), &version(text), &commit, parent, number);
    world.prod.record(&proof).unwrap();
    commit
}

fn ref_of(path: &Path, name: &str) -> Option<String> {
    let output = git_command(path, &["rev-parse", "--verify", "--quiet", name]).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn fsck(path: &Path) {
    git(path, &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn git_pockets_fulfil_the_contract() {
    pocket::check(&GitWorld::new());
}

#[test]
fn git_itself_finds_nothing_wrong_with_what_was_recorded() {
    let world = GitWorld::new();
    let commit = publish(&world, "1:2.0~rc1", None, 1);
    let path = world.repositories.path(&hello());
    fsck(&path);
    fsck(&world.superproject());
    assert_eq!(git(&path, &["rev-parse", "refs/tags/1%2.0_rc1^{commit}"]), commit.as_str());
    assert_eq!(git(&path, &["cat-file", "-t", "refs/tags/1%2.0_rc1"]), "tag");
    let tagger = git(&path, &["for-each-ref", "--format=%(taggername) %(taggeremail)", "refs/tags"]);
    assert_eq!(tagger, "Build Server <builds@example.org>");
}

#[test]
fn a_clone_of_the_superproject_has_the_commits_that_were_published() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    let other: PackageName = "other".parse().unwrap();
    let second = world.commit(&other, &version("3"), None);
    world.prod.record(&published(&world.prod, &other, &version("3"), &second, None, 2)).unwrap();
    let clone = world.directory.path().join("clone");
    let arguments = ["-c", "protocol.file.allow=always", "clone", "--quiet", "--recurse-submodules"];
    let mut command = git_command(world.directory.path(), &arguments);
    command.arg(world.superproject()).arg(&clone);
    output(command, b"");
    assert_eq!(git(&clone.join("hello"), &["rev-parse", "HEAD"]), first.as_str());
    assert_eq!(git(&clone.join("other"), &["rev-parse", "HEAD"]), second.as_str());
    assert!(clone.join("hello/debian/changelog").is_file());
    let job = git(&clone, &["log", "-1", "--format=%(trailers:key=Job,valueonly)"]);
    assert_eq!(job.trim(), "20261123101500_000002");
}

#[test]
fn two_packages_may_be_recorded_at_once() {
    let world = GitWorld::new();
    let packages: Vec<PackageName> = (0..8).map(|n| format!("package{n}").parse().unwrap()).collect();
    let commits: Vec<CommitId> = packages.iter().map(|it| world.commit(it, &version("1"), None)).collect();
    std::thread::scope(|scope| {
        for (number, (package, commit)) in (0..).zip(packages.iter().zip(&commits)) {
            let prod = &world.prod;
            let proof = published(prod, package, &version("1"), commit, None, number);
            scope.spawn(move || prod.record(&proof).unwrap());
        }
    });
    let contents = world.prod.contents().unwrap();
    assert_eq!((contents.branches.len(), contents.superproject.len()), (8, 8));
    assert_eq!(world.prod.history(100).unwrap().len(), 8);
    fsck(&world.superproject());
}

#[test]
fn a_record_completes_what_a_killed_one_began() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    let second = world.commit(&hello(), &version("2.0"), Some(&first));
    let proof = published(&world.prod, &hello(), &version("2.0"), &second, Some(&first), 2);
    let path = world.repositories.path(&hello());
    // The branch moved, and then the process died: no tag, nothing in the superproject.
    git(&path, &["update-ref", "refs/heads/prod", second.as_str()]);
    world.prod.record(&proof).unwrap();
    let whole = (world.prod.contents().unwrap(), world.prod.history(9).unwrap().len());
    assert!(whole.0.untagged.is_empty());
    assert_eq!(whole.1, 2);
    // The tag was made, and then the process died.
    let tag = ref_of(&path, "refs/tags/2.0");
    git(&path, &["update-ref", "refs/heads/prod", first.as_str()]);
    world.prod.record(&proof).unwrap();
    assert_eq!(ref_of(&path, "refs/tags/2.0"), tag);
    // The superproject alone was missing.
    git(&world.superproject(), &["update-ref", "refs/heads/prod", "refs/heads/prod~1"]);
    world.prod.record(&proof).unwrap();
    assert_eq!((world.prod.contents().unwrap(), world.prod.history(9).unwrap().len()), whole);
}

#[test]
fn locks_that_a_killed_process_left_are_removed() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    let path = world.repositories.path(&hello());
    for (repository, refs) in
        [(path.clone(), "refs/heads/prod\nrefs/tags/2.0"), (world.superproject(), "refs/heads/prod")]
    {
        std::fs::write(repository.join("invirtibuilder.refs"), refs).unwrap();
        for name in refs.lines() {
            std::fs::write(repository.join(format!("{name}.lock")), "").unwrap();
        }
        std::fs::write(repository.join("refs/heads/.new-00001-prod.lock"), "half").unwrap();
    }
    assert_eq!(world.prod.contents().unwrap().branches.len(), 1, "a reader minds no leftovers");
    publish(&world, "2.0", Some(&first), 2);
    for repository in [path, world.superproject()] {
        let left: Vec<_> = std::fs::read_dir(repository.join("refs/heads"))
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .filter(|it| it.contains(".lock"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
}

#[test]
fn the_old_lock_of_another_program_is_removed_and_a_new_one_is_respected() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    let lock = world.repositories.path(&hello()).join("refs/heads/prod.lock");
    std::fs::write(&lock, "").unwrap();
    let second = world.commit(&hello(), &version("2.0"), Some(&first));
    let proof = published(&world.prod, &hello(), &version("2.0"), &second, Some(&first), 2);
    assert!(world.prod.record(&proof).is_err());
    assert!(lock.exists(), "somebody else's lock was removed");
    let file = std::fs::File::options().write(true).open(&lock).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    world.prod.record(&proof).unwrap();
    assert!(!lock.exists());
}

#[test]
fn packed_refs_are_read_and_moved() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    git(&world.repositories.path(&hello()), &["gc", "--quiet"]);
    git(&world.superproject(), &["gc", "--quiet"]);
    let second = publish(&world, "2.0", Some(&first), 2);
    let contents = world.prod.contents().unwrap();
    assert_eq!(contents.branches[&hello()].commit, second);
    assert!(contents.untagged.is_empty());
    fsck(&world.repositories.path(&hello()));
}

#[test]
fn a_branch_below_the_name_of_a_pocket_is_an_error_and_not_a_broken_repository() {
    let world = GitWorld::new();
    let commit = world.commit(&hello(), &version("1.0"), None);
    let path = world.repositories.path(&hello());
    git(&path, &["update-ref", "refs/heads/prod/x", commit.as_str()]);
    git(&path, &["pack-refs", "--all"]);
    let proof = published(&world.prod, &hello(), &version("1.0"), &commit, None, 1);
    let error = world.prod.record(&proof).unwrap_err();
    assert!(invirtibuilder_core::error::causes(&error).join(" ").contains("refs/heads/prod/x"));
    fsck(&path);
}

#[test]
fn an_empty_directory_that_git_left_under_a_refs_name_is_replaced() {
    let world = GitWorld::new();
    world.commit(&hello(), &version("1.0"), None);
    std::fs::create_dir_all(world.repositories.path(&hello()).join("refs/heads/prod/topic")).unwrap();
    let commit = publish(&world, "1.0", None, 1);
    assert_eq!(world.prod.contents().unwrap().branches[&hello()].commit, commit);
}

#[test]
fn a_half_written_object_of_a_lost_machine_is_written_again() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    let path = world.superproject();
    let modules = git(&path, &["rev-parse", "prod:.gitmodules"]);
    let object = path.join("objects").join(&modules[..2]).join(&modules[2..]);
    // The superproject is begun anew after its branch, and an object's content, were lost.
    git(&path, &["update-ref", "-d", "refs/heads/prod"]);
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, "").unwrap();
    let proof = published(&world.prod, &hello(), &version("1.0"), &first, None, 1);
    world.prod.record(&proof).unwrap();
    fsck(&path);
}

#[test]
fn missing_and_wrong_tags_are_told() {
    let world = GitWorld::new();
    let first = publish(&world, "1.0", None, 1);
    let second = publish(&world, "2.0", Some(&first), 2);
    publish(&world, "3.0", Some(&second), 3);
    let path = world.repositories.path(&hello());
    git(&path, &["update-ref", "-d", "refs/tags/1.0"]);
    git(&path, &["update-ref", "refs/tags/2.0", second.as_str()]);
    let mut tag = git_command(&path, &["tag", "--force", "-a", "-m", "x", "3.0", second.as_str()]);
    assert!(tag.output().unwrap().status.success());
    let untagged = world.prod.contents().unwrap().untagged;
    let told: Vec<(&str, &str)> = untagged.iter().map(|it| (it.tag.as_str(), it.found.as_str())).collect();
    assert_eq!(told[0], ("1.0", "nothing"));
    assert!(told[1].1.starts_with("a lightweight tag"));
    assert_eq!(told[2].1, format!("a tag at {second}"));
}

#[test]
fn replace_refs_change_nothing() {
    let world = GitWorld::new();
    let good = world.commit(&hello(), &version("1.0"), None);
    let evil = world.commit(&hello(), &version("6.6.6"), None);
    let path = world.repositories.path(&hello());
    git(&path, &["update-ref", &format!("refs/replace/{good}"), evil.as_str()]);
    // The repository's own configuration must not be able to turn them on either.
    git(&path, &["config", "core.useReplaceRefs", "true"]);
    let survey = world.prod.survey(&hello(), &good).unwrap();
    assert_eq!(survey.changelog.unwrap().unwrap().1, version("1.0"));
}

#[test]
fn repositories_that_borrow_objects_or_history_are_refused() {
    for file in ["objects/info/alternates", "info/grafts", "shallow"] {
        let world = GitWorld::new();
        let commit = world.commit(&hello(), &version("1.0"), None);
        let path = world.repositories.path(&hello());
        std::fs::write(path.join(file), "/somewhere\n").unwrap();
        let error = world.prod.survey(&hello(), &commit).unwrap_err();
        let text = invirtibuilder_core::error::causes(&error).join(" ");
        assert!(text.contains(file), "{text}");
    }
}

#[test]
fn a_corrupt_object_is_an_error() {
    let world = GitWorld::new();
    let commit = world.commit(&hello(), &version("1.0"), None);
    let path = world.repositories.path(&hello());
    let blob = git(&path, &["rev-parse", &format!("{commit}:debian/changelog")]);
    let other = git_with(&path, &["hash-object", "-w", "--stdin"], b"other\n");
    let object = |id: &str| path.join("objects").join(&id[..2]).join(&id[2..]);
    std::fs::remove_file(object(&blob)).unwrap();
    std::fs::copy(object(&other), object(&blob)).unwrap();
    let error = world.prod.survey(&hello(), &commit).unwrap_err();
    let text = invirtibuilder_core::error::causes(&error).join(" ");
    assert!(text.contains("does not hash to its id"), "{text}");
}

#[test]
fn only_commits_that_a_branch_or_tag_reaches_are_present() {
    let world = GitWorld::new();
    let first = world.commit(&hello(), &version("1.0"), None);
    let second = world.commit(&hello(), &version("2.0"), Some(&first));
    let path = world.repositories.path(&hello());
    let state = |id: &str| world.prod.survey(&hello(), &id.parse().unwrap()).unwrap().commit;
    let branch = |id: &CommitId| format!("refs/heads/topic-{}", &id.as_str()[..12]);
    git(&path, &["update-ref", "-d", &branch(&first)]);
    assert_eq!(state(first.as_str()), CommitState::Present, "an ancestor of a branch");
    git(&path, &["tag", "v2", second.as_str()]);
    git(&path, &["update-ref", "-d", &branch(&second)]);
    assert_eq!(state(first.as_str()), CommitState::Present, "an ancestor of a tag");
    git(&path, &["tag", "-d", "v2"]);
    assert_eq!(state(second.as_str()), CommitState::Unreachable);
    let tree = git(&path, &["rev-parse", &format!("{second}^{{tree}}")]);
    assert_eq!(state(&tree), CommitState::NotACommit("tree".to_owned()));
    git(&path, &["tag", "-a", "-m", "x", "v3", second.as_str()]);
    let tag = git(&path, &["rev-parse", "refs/tags/v3"]);
    assert_eq!(state(&tag), CommitState::NotACommit("tag".to_owned()));
    assert_eq!(state(&"0".repeat(64)), CommitState::Missing);
}

#[test]
fn ancestry_is_right_though_dates_are_wrong() {
    let world = GitWorld::new();
    let path = world.repository(&hello());
    let (changelog, control) = debian(&hello(), &version("1.0"));
    let tree = tree(
        &path,
        &[
            ("100644", "debian/changelog", changelog.as_bytes()),
            ("100644", "debian/control", control.as_bytes()),
        ],
    );
    let commit = |parents: &[&str], date: u32| {
        let mut arguments = vec!["commit-tree", &tree, "-m", "x"];
        for parent in parents {
            arguments.extend(["-p", parent]);
        }
        let mut command = git_command(&path, &arguments);
        command.env("GIT_COMMITTER_DATE", format!("{date} +0000"));
        output(command, b"")
    };
    // The ancestor is newer than its descendants, by their dates; another line is newer still.
    let root = commit(&[], 1_000_000_000);
    let mut tip = commit(&[&root], 1_900_000_000);
    let base = tip.clone();
    for date in [100, 1_800_000_000, 5, 1_000] {
        tip = commit(&[&tip], 1_000_000_000 + date % 100_000);
    }
    let side = commit(&[&root], 1_950_000_000);
    let repository = Repository::open(&path).unwrap().unwrap();
    let id = |text: &str| invirtibuilder_core::repository::object_id(&text.parse().unwrap()).unwrap();
    let reaches = |a: &str, b: &str| repository.is_reached_from(id(a), &[id(b)]).unwrap();
    assert!(reaches(&base, &tip) && reaches(&root, &tip) && reaches(&root, &side) && reaches(&tip, &tip));
    assert!(!reaches(&tip, &base) && !reaches(&side, &tip) && !reaches(&base, &side));
    let merge = commit(&[&side, &tip], 1_000_000_007);
    assert!(reaches(&base, &merge) && reaches(&side, &merge));
}

#[test]
fn links_below_debian_are_facts_and_are_not_followed() {
    let world = GitWorld::new();
    let (changelog, control) = debian(&hello(), &version("1.0"));
    let linked = world.commit_files(
        &hello(),
        &[("120000", "debian/changelog", b"/etc/passwd"), ("100644", "debian/control", control.as_bytes())],
        None,
    );
    let survey = world.prod.survey(&hello(), &linked).unwrap();
    let problem = survey.changelog.unwrap().unwrap_err();
    assert!(problem.contains("not a regular file") && !problem.contains("root"), "{problem}");
    let files = [("120000", "debian", b"/etc".as_slice()), ("100644", "x", changelog.as_bytes())];
    let linked = world.commit_files(&hello(), &files, None);
    let survey = world.prod.survey(&hello(), &linked).unwrap();
    assert!(survey.changelog.unwrap().is_err() && survey.control.unwrap().is_err());
}

#[test]
fn a_created_repository_takes_pushes_through_its_hooks() {
    let world = GitWorld::new();
    let path = world.repositories.create(&hello(), &hooks()).unwrap();
    fsck(&path);
    let script = std::fs::read_to_string(path.join("hooks/update")).unwrap();
    assert!(
        script.ends_with("exec '/bin/false' --config '/it'\\''s a \"site\"/x.yaml' git-hook update \"$@\"\n")
    );
    let refused = world.repositories.create(&hello(), &hooks());
    assert!(matches!(refused, Err(RepositoryError::Exists(_))));
    assert_eq!(world.repositories.list().unwrap(), [hello()]);
    let other: PackageName = "other".parse().unwrap();
    let commit = world.commit(&other, &version("1"), None);
    let from = world.repositories.path(&other);
    let push = || {
        let mut command = git_command(&from, &["push", "--quiet"]);
        command.arg(&path).arg(format!("{commit}:refs/heads/topic"));
        command.output().unwrap().status.success()
    };
    assert!(!push(), "the hook, /bin/false, refuses");
    for hook in ["update", "pre-receive"] {
        std::fs::write(path.join("hooks").join(hook), "#!/bin/sh\nexit 0\n").unwrap();
    }
    assert!(push());
}

#[test]
fn what_a_killed_creation_left_does_not_hinder_the_next() {
    let world = GitWorld::new();
    let left = world.repositories.directory().join(".hello.new/objects");
    std::fs::create_dir_all(left).unwrap();
    assert_eq!(world.repositories.list().unwrap(), []);
    world.repositories.create(&hello(), &hooks()).unwrap();
    assert_eq!(world.repositories.list().unwrap(), [hello()]);
}

#[test]
fn an_import_brings_all_branches_and_tags_and_no_pocket() {
    let world = GitWorld::new();
    let source: PackageName = "source".parse().unwrap();
    let commit = world.commit(&source, &version("1.0"), None);
    let from = world.repositories.path(&source);
    for name in ["refs/heads/prod", "refs/heads/main", "refs/tags/v1", "refs/tags/1.0", "refs/notes/x"] {
        git(&from, &["update-ref", name, commit.as_str()]);
    }
    git(&from, &["tag", "-a", "-m", "x", "upstream/1.0", commit.as_str()]);
    let policy = world.site.push_policy();
    let imported = world.repositories.import(&hello(), from.to_str().unwrap(), &hooks(), &policy).unwrap();
    assert_eq!((imported.branches, imported.tags, imported.left_out.len()), (2, 2, 0));
    let path = world.repositories.path(&hello());
    let refs = git(&path, &["for-each-ref", "--format=%(refname)"]);
    let topic = format!("refs/heads/topic-{}", &commit.as_str()[..12]);
    let expected = [
        "refs/heads/imported/prod",
        "refs/heads/main",
        &topic,
        "refs/tags/imported/1.0",
        "refs/tags/upstream/1.0",
        "refs/tags/v1",
    ];
    assert_eq!(refs.lines().collect::<Vec<_>>(), expected);
    fsck(&path);
    let survey = world.prod.survey(&hello(), &commit).unwrap();
    assert_eq!((survey.commit, survey.relation), (CommitState::Present, Relation::New));
}

#[test]
fn a_failed_import_leaves_nothing() {
    let world = GitWorld::new();
    let policy = world.site.push_policy();
    let witness = world.directory.path().join("ran");
    let remote_helper = format!("ext::touch {}", witness.display());
    for from in ["/no/such/repository", &remote_helper, "--upload-pack=touch x"] {
        let failed = world.repositories.import(&hello(), from, &hooks(), &policy);
        assert!(matches!(failed, Err(RepositoryError::Fetch { .. })), "{failed:?}");
    }
    assert!(!witness.exists());
    assert_eq!(world.repositories.list().unwrap(), []);
    assert!(!world.repositories.path(&hello()).exists());
}

#[test]
fn a_site_without_repositories_is_an_error() {
    assert!(Repositories::open(Path::new("/no/such/directory")).is_err());
    let pockets = [spec("prod", false)].into_iter().map(|it| (it.name.clone(), it)).collect();
    let policy = PushPolicy::new(&pockets, "");
    assert_eq!(policy.to_string(), "only publications move prod and version tags");
}

#[test]
fn nobody_pushes_to_the_superproject() {
    let world = GitWorld::new();
    publish(&world, "1.0", None, 1);
    let mut push = git_command(&world.superproject(), &["push", "--quiet", "."]);
    push.arg("refs/heads/prod:refs/heads/other");
    assert!(!push.output().unwrap().status.success());
    let path = world.superproject();
    let tree = git(&path, &["rev-parse", "prod^{tree}"]);
    // A commit by somebody else is no publication.
    let foreign = commit_tree(&path, &tree, None);
    git(&path, &["update-ref", "refs/heads/prod", foreign.as_str()]);
    assert_eq!(world.prod.history(9).unwrap(), []);
}

#[test]
fn a_rollback_deletes_a_branch_that_git_has_packed_and_git_agrees() {
    let world = GitWorld::new();
    let commit = publish(&world, "1.0", None, 1);
    let repository = world.repository(&hello());
    git(&repository, &["branch", "other", commit.as_str()]);
    git(&repository, &["pack-refs", "--all"]);
    let old = Some(Place { version: Some(version("1.0")), commit: commit.clone() });
    let rollback = Rollback {
        id: "20261123101500_000002".parse().unwrap(),
        pocket: "prod".parse().unwrap(),
        principal: "alice".parse().unwrap(),
        from: Generation::new(2),
        to: Generation::new(1),
        moves: vec![Move { package: hello(), old, new: None }],
    };
    world.prod.record_rollback(&RolledBack::for_tests(rollback, Generation::new(3))).unwrap();
    let refs = git(&repository, &["for-each-ref", "--format=%(refname)"]);
    assert!(!refs.contains("refs/heads/prod") && refs.contains("refs/heads/other"), "{refs}");
    assert!(refs.contains("refs/tags/"), "the tag stays: {refs}");
    git(&repository, &["fsck", "--strict"]);
    assert!(!world.prod.contents().unwrap().branches.contains_key(&hello()));
    let message = git(&world.superproject(), &["log", "-1", "--format=%B", "prod"]);
    let told = "Roll back prod from generation 2 to 1\n\nhello 1.0 -> nothing\n";
    assert!(message.starts_with(told), "{message}");
    let trailers = git(&world.superproject(), &["log", "-1", "--format=%(trailers)", "prod"]);
    assert!(trailers.contains("Principal: alice") && trailers.contains("Moved: hello 1.0"), "{trailers}");
    publish(&world, "1.1", None, 3);
}
