//! Changes of the archive that are interrupted at each of their system calls: readers see all or nothing of them,
//! and a repetition ends as if nothing had happened.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::Retention;
use invirtibuilder_core::states::CopyPlan;
use invirtibuilder_tests::killing::{
    Moment, changes_by_other_threads, chosen, fail_each_thread_at, fail_first_thread_at, kill_at,
    kill_first_thread_at, moments, moments_of_first_thread,
};
use invirtibuilder_tests::programs::{Answer, run};
use invirtibuilder_tests::world::{Apt, World};

use super::hello;
use super::tree::{Saved, Tree, differences, tree, unfinished};

/// How many moments of each kind are tried, if nobody asks for all.
const SOME: usize = 12;

/// A change that will be interrupted, and what it is compared with.
pub(crate) struct Interrupted<'a> {
    world: &'a World,
    saved: Saved<'a>,
    apt: Apt,
    suite: &'static str,
    words: Vec<&'static str>,
    /// Where what is published was built.
    built: PathBuf,
    /// What apt lists before, and after.
    lists: [BTreeSet<String>; 2],
    /// The archive after the change and one more.
    end: Tree,
}

/// Makes a world whose archive forgets everything at once, so that each publication removes files too.
fn world() -> World {
    World::keeping(FORGETFUL)
}

const FORGETFUL: Retention = Retention { generations: 1, time: Duration::ZERO, versions: 0 };

/// Gives both suites something to lose.
fn fill(world: &World) {
    let archive = world.archive();
    for name in ["apple", "hello"] {
        Sample::new(name, "0.9", "").publish(&archive, &unstable()).unwrap();
        let sample = Sample::new(name, "1.0", "");
        sample.publish(&archive, &unstable()).unwrap();
        archive.copy(&CopyPlan::for_tests(sample.plan(&stable()), unstable())).unwrap();
    }
    Sample::new("mango", "1.0", "").publish(&archive, &unstable()).unwrap();
}

impl<'a> Interrupted<'a> {
    /// Prepares a change of `suite`, which is made once without an interruption.
    fn new(world: &'a World, suite: &'static str, words: &[&'static str]) -> Self {
        let built = world.root.join("built");
        std::fs::create_dir(&built).unwrap();
        hello("1.1").build(&unstable(), &built).unwrap();
        Sample::new("later", "1.0", "").build(&unstable(), &built).unwrap();
        let apt = world.apt("apt", &world.open_archive(), &suite.parse().unwrap(), &world.file_uri());
        if words[0] == "add" {
            apt.add_architecture("arm64");
            hello("1.0").addition(&world.open_archive(), &built).unwrap();
        }
        let saved = Saved::new(world);
        let mut new = Self {
            world,
            saved,
            apt,
            suite,
            words: words.to_vec(),
            built,
            lists: Default::default(),
            end: Tree::new(),
        };
        let before = new.list();
        run(&mut new.change()).ok();
        let after = new.list();
        assert_ne!(before, after);
        new.lists = [before, after];
        new.end = new.later();
        assert_eq!(unfinished(&new.end), Vec::<&PathBuf>::new());
        new
    }

    fn change(&self) -> Command {
        let mut command = self.world.change(&self.words);
        if ["publish", "add"].contains(&self.words[0]) {
            command.arg(&self.built);
        }
        command
    }

    /// Publishes something else in the suite, and returns what the archive is then.
    fn later(&self) -> Tree {
        run(self.world.change(&["publish", self.suite, "later", "1.0"]).arg(&self.built)).ok();
        tree(self.world)
    }

    /// Lists what real apt sees in the suite, and makes it fetch all of that, whose sums it checks.
    fn list(&self) -> BTreeSet<String> {
        if !self.world.path(&format!("dists/{}/InRelease", self.suite)).exists() {
            return BTreeSet::new();
        }
        self.apt.forget();
        self.apt.run(&["update"]);
        let (list, binaries, sources) = self.listed();
        let arguments = |first: &[&str], names: Vec<String>| -> Vec<String> {
            first.iter().map(|it| (*it).to_owned()).chain(names).collect()
        };
        let fetches = [
            arguments(&["download"], binaries),
            arguments(&["source", "--download-only", "--only-source"], sources.into_iter().collect()),
        ];
        for all in fetches.iter().filter(|_| !list.is_empty()) {
            self.apt.run(&all.iter().map(String::as_str).collect::<Vec<_>>());
        }
        std::fs::remove_dir_all(self.apt.work()).unwrap();
        std::fs::create_dir(self.apt.work()).unwrap();
        list
    }

    /// Returns what apt lists, by name, version and sum, and the names of the binary and of the source packages.
    fn listed(&self) -> (BTreeSet<String>, Vec<String>, BTreeSet<String>) {
        let available = run(self.apt.command("apt-cache").arg("dumpavail")).ok();
        let (mut list, mut binaries, mut sources) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        for paragraph in available.split("\n\n") {
            let field = |name: &str| paragraph.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
            let Some((name, version)) = field("Package:").zip(field("Version:")) else { continue };
            list.insert(format!("{name} {version} {}", field("SHA256:").unwrap()));
            sources.insert(field("Source:").unwrap_or(name).to_owned());
            let is_foreign = field("Architecture:") == Some("arm64");
            binaries.push(if is_foreign { format!("{name}:arm64") } else { name.to_owned() });
        }
        (list, binaries, sources)
    }

    /// Returns the moments of the change.
    fn moments(&self) -> Vec<Moment> {
        self.saved.restore();
        let note = self.world.root.join("trace");
        let moments = moments_of_first_thread(&self.change(), &note);
        self.saved.restore();
        for change in changes_by_other_threads(&self.change(), &note) {
            // They wait for the disk; they sign, which takes files in memory and pipes; and they write what nobody
            // is told of before the first thread has named it, or what is private; and directories for
            // that, which are empty.
            let is_harmless = change.contains("sync")
                || change.starts_with("mkdir")
                || ["/memfd:", "<pipe:", "/.new-", "/archive-state/"].iter().any(|it| change.contains(it));
            assert!(is_harmless, "another thread than the first changes the archive: {change}");
        }
        moments
    }

    /// Checks what readers see after an interruption. Returns whether they see the change.
    #[track_caller]
    fn check_readers(&self, when: &Moment) -> bool {
        let list = self.list();
        let [before, after] = &self.lists;
        assert!(list == *before || list == *after, "after {when} apt sees neither state: {list:?}");
        list == *after
    }

    /// Repeats the change, and checks that the archive is then as if it had never been interrupted.
    #[track_caller]
    fn check_repetition(&self, when: &Moment) {
        run(&mut self.change()).ok();
        self.apt.forget();
        self.apt.run(&["update"]);
        assert_eq!(self.listed().0, self.lists[1], "after {when} and a repetition");
        // With this, apt could also fetch all of that: the files are those that it fetched without an interruption.
        let later = self.later();
        let differences = differences(&later, &self.end);
        assert!(
            differences.is_empty(),
            "after {when}, a repetition and a later publication: {differences:#?}"
        );
    }

    /// Kills the change at each moment.
    fn kill(&self) {
        let all = self.moments();
        let moments = chosen(&all, SOME);
        let mut seen = 0;
        for moment in &moments {
            self.saved.restore();
            let is_killed = kill_first_thread_at(&self.change(), moment);
            // Times are only changed where two publications are in one second.
            assert!(is_killed || moment.call() == "utimensat", "{moment} never came");
            seen += usize::from(self.check_readers(moment));
            self.check_repetition(moment);
        }
        println!(
            "{:?}: killed {} of {} times, {seen} when it was visible",
            self.words,
            moments.len(),
            all.len()
        );
    }

    /// Kills the change at the moments of all its threads, whichever of them is the first to get there.
    fn kill_threads(&self) {
        self.saved.restore();
        let all = moments(&self.change(), &self.world.root.join("trace"));
        let moments = chosen(&all, SOME);
        let mut killed = 0;
        for moment in &moments {
            self.saved.restore();
            killed += usize::from(kill_at(&self.change(), moment));
            self.check_readers(moment);
            self.check_repetition(moment);
        }
        println!(
            "{:?}: threads killed {killed} times at {} of {} moments",
            self.words,
            moments.len(),
            all.len()
        );
        assert!(killed * 10 >= moments.len() * 8, "only {killed} of {} were killed", moments.len());
    }

    /// Lets each call fail.
    fn fail(&self) {
        let mut all = self.moments();
        // Of what it says to whoever started it, nothing depends.
        all.retain(|it| !it.shown().starts_with("write(2,"));
        let moments = chosen(&all, SOME);
        let mut refused = 0;
        for moment in &moments {
            self.saved.restore();
            let is_of_device = moment.call().contains("sync") || moment.call().starts_with("unlink");
            let error = if is_of_device { "EIO" } else { "ENOSPC" };
            let answer = fail_first_thread_at(&self.change(), moment, error);
            refused += usize::from(self.check_failure(moment, &answer, error));
        }
        println!("{:?}: {} of {} calls failed, {refused} were refused", self.words, moments.len(), all.len());
    }

    /// Lets each sync fail, those by threads that do nothing else too.
    fn fail_to_sync(&self) {
        self.saved.restore();
        let mut all = moments(&self.change(), &self.world.root.join("trace"));
        all.retain(|it| it.call().contains("sync"));
        let moments = chosen(&all, SOME);
        let mut refused = 0;
        for moment in &moments {
            self.saved.restore();
            let answer = fail_each_thread_at(&self.change(), moment, "EIO");
            refused += usize::from(self.check_failure(moment, &answer, "EIO"));
        }
        println!("{:?}: {} of {} syncs failed, {refused} were refused", self.words, moments.len(), all.len());
    }

    /// Checks what is left of a change one of whose calls failed. Returns whether it was refused for that.
    #[track_caller]
    fn check_failure(&self, when: &Moment, answer: &Answer, error: &str) -> bool {
        let is_seen = self.check_readers(when);
        let is_refused = answer.code != Some(0);
        if is_refused {
            let text = if error == "EIO" { "Input/output error" } else { "No space left on device" };
            assert_eq!(answer.code, Some(1), "{when}: {}", answer.stderr);
            assert!(answer.stderr.contains(text), "{when}: {}", answer.stderr);
        } else {
            assert!(is_seen, "{when} failed, and it said that all went well");
        }
        let tree = tree(self.world);
        let left = unfinished(&tree);
        assert!(left.is_empty() || when.call().starts_with("unlink"), "{when} leaves {left:?}");
        self.check_repetition(when);
        is_refused
    }
}

fn publication(world: &World) -> Interrupted<'_> {
    fill(world);
    Interrupted::new(world, "unstable", &["publish", "unstable", "hello", "1.1"])
}

fn copy(world: &World) -> Interrupted<'_> {
    fill(world);
    hello("1.1").publish(&world.archive(), &unstable()).unwrap();
    Interrupted::new(world, "stable", &["copy", "hello", "1.1"])
}

/// An architecture more of what `stable` serves.
fn addition(world: &World) -> Interrupted<'_> {
    fill(world);
    Interrupted::new(world, "stable", &["add", "hello", "1.0"])
}

/// The first publication of all, which makes all directories and both suites.
fn beginning(world: &World) -> Interrupted<'_> {
    Interrupted::new(world, "unstable", &["publish", "unstable", "hello", "1.1"])
}

#[test]
fn a_publication_that_is_killed_at_any_of_its_calls_is_all_or_nothing_and_can_be_repeated() {
    publication(&world()).kill();
}

#[test]
fn a_copy_that_is_killed_at_any_of_its_calls_is_all_or_nothing_and_can_be_repeated() {
    copy(&world()).kill();
}

#[test]
fn an_addition_that_is_killed_at_any_of_its_calls_is_all_or_nothing_and_can_be_repeated() {
    addition(&World::keeping(FORGETFUL).with_arm64()).kill();
}

#[test]
fn an_addition_any_of_whose_calls_fails_says_so_and_can_be_repeated() {
    addition(&World::keeping(FORGETFUL).with_arm64()).fail();
}

#[test]
fn the_first_publication_that_is_killed_at_any_of_its_calls_is_all_or_nothing_and_can_be_repeated() {
    beginning(&world()).kill();
}

#[test]
fn a_publication_any_of_whose_calls_fails_says_so_and_can_be_repeated() {
    publication(&world()).fail();
}

#[test]
fn a_copy_any_of_whose_calls_fails_says_so_and_can_be_repeated() {
    copy(&world()).fail();
}

#[test]
fn the_first_publication_any_of_whose_calls_fails_says_so_and_can_be_repeated() {
    beginning(&world()).fail();
}

#[test]
fn a_publication_that_cannot_be_synced_says_so_and_can_be_repeated() {
    publication(&world()).fail_to_sync();
}

#[test]
fn a_publication_any_of_whose_threads_is_killed_is_all_or_nothing_and_can_be_repeated() {
    publication(&world()).kill_threads();
}
