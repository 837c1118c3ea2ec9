//! A whole site in a temporary directory: the library's queue, Git and exporter, and a builder and a publisher of
//! our own.
//!
//! Never writes outside its temporary directory, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};

use invirtibuilder_core::durable;
use invirtibuilder_core::error::{BoxError, causes};
use invirtibuilder_core::exporter::source::{SourceExporter, TreeLimits};
use invirtibuilder_core::hooks::{Announce, Event};
use invirtibuilder_core::job::{Job, Outcome, Relations, Request, Stage};
use invirtibuilder_core::names::{CommitId, PackageName, PocketName, Principal};
use invirtibuilder_core::pipeline::{Gate, MAX_RESULTS, Observer, Pipeline, Slots};
use invirtibuilder_core::pocket::Pocket;
use invirtibuilder_core::pocket::git::{GitSite, Tagger};
use invirtibuilder_core::pocket::locks::PocketLocks;
use invirtibuilder_core::policy::{Access, Building, PocketSpec, Policy};
use invirtibuilder_core::process::Command;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::queue::Queue;
use invirtibuilder_core::queue::directory::DirectoryQueue;
use invirtibuilder_core::repository::{Hooks, Repositories};
use invirtibuilder_core::stop::Stop;
use invirtibuilder_core::verify::differences;
use invirtibuilder_core::worker::{Until, Worker};

use crate::builder::DataBuilder;
use crate::publisher::FlatArchive;

/// The one who may publish.
const ALICE: &str = "alice@EXAMPLE.ORG";

/// Runs the demonstration, and tells `out` what happens, one line at a time.
///
/// # Errors
/// A tool is missing, the disk is full, or a job stopped half-way.
pub fn run(out: &mut (dyn Write + Send)) -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let commit = make_package(&directory.path().join("work"))?;
    let site = Site::make(directory.path())?;
    writeln!(out, "hello 1.0 is commit {commit}")?;

    // The same commit for two pockets: it is built for the first, and copied for the second. And somebody whom
    // nobody knows: a frontend would ask `judge` first, and not even queue that.
    for (pocket, principal) in [("dev", ALICE), ("prod", ALICE), ("prod", "mallory@EXAMPLE.ORG")] {
        let (package, principal) = ("hello".parse()?, principal.parse()?);
        let request =
            Request { pocket: pocket.parse()?, package, commit: commit.clone(), principal, adds: None };
        match site.pipeline.judge(&request) {
            Ok(_) => {
                let id = site.queue.submit(request, &Relations::default())?.job().id.clone();
                writeln!(out, "{pocket}: {ALICE} submitted it as job {id}")?;
            }
            Err(e) => writeln!(out, "{pocket}: refused: {}", causes(&e).join(": "))?,
        }
    }

    // The worker knows neither backend: it takes jobs, and passes them through the pipeline.
    let teller = Teller(Mutex::new(out));
    let worker =
        Worker { queue: &site.queue, pipeline: &site.pipeline, observer: &teller, jobs: NonZeroUsize::MIN };
    worker.run(Until::Empty, &Stop::new()?)?;
    let Teller(out) = teller;
    site.report(out.into_inner().map_err(|_| "a thread panicked while it was telling")?)
}

/// What a program that embeds the library holds: a queue, a pipeline, and whatever it asks questions.
struct Site {
    queue: DirectoryQueue,
    pipeline: Pipeline,
    archive: Arc<FlatArchive>,
}

impl Site {
    fn make(root: &Path) -> Result<Self, BoxError> {
        let specs = specs()?;
        let packages = root.join("repositories");
        durable::create_directory(&packages)?;
        let repositories = Repositories::open(&packages)?;
        let tagger = Tagger::new("Example", "builder@example.org")?;
        let git = GitSite::new(repositories.clone(), root.join("superproject.git"), specs, tagger, "");
        git.initialize()?;
        // Only publications move pocket branches. Nobody can push to these repositories here; on a site the hooks
        // would see to it that nobody pushes to those branches.
        let hooks = Hooks { program: "/usr/bin/invirtibuilder".into(), config: root.join("none") };
        let from = root.join("work");
        let from = from.to_str().ok_or("the temporary directory is not UTF-8")?;
        repositories.import(&"hello".parse()?, from, &hooks, &git.push_policy())?;

        let mut pockets: BTreeMap<PocketName, Box<dyn Pocket>> = BTreeMap::new();
        for name in ["dev".parse()?, "prod".parse()?] {
            let pocket = git.pocket(&name).ok_or("the site has no such pocket")?;
            pockets.insert(name, Box::new(pocket));
        }
        let archive = Arc::new(FlatArchive::open(&root.join("archive"))?);
        let pipeline = Pipeline {
            pockets,
            locks: PocketLocks::new(&root.join("queue/rollbacks")),
            gate: Box::new(OnlyAlice),
            exporter: Box::new(SourceExporter::new(repositories, TreeLimits::default())),
            builder: Box::new(DataBuilder),
            examiner: None,
            publisher: Arc::<FlatArchive>::clone(&archive),
            audit: None,
            attestor: None,
            announcer: Arc::new(Nobody),
            logs: root.join("logs"),
            max_results: MAX_RESULTS,
            slots: Slots::default(),
        };
        Ok(Self { queue: DirectoryQueue::open(&root.join("queue"))?, pipeline, archive })
    }

    /// Tells what is served, and proves it: Git and the archive are read anew, and compared.
    fn report(&self, out: &mut (dyn Write + Send)) -> Result<(), BoxError> {
        let mut found = 0;
        for (name, pocket) in &self.pipeline.pockets {
            let served = self.archive.contents(&pocket.spec().suite)?;
            for held in &served {
                let commit = held.commit.as_ref().map_or("an unknown commit", CommitId::as_str);
                writeln!(out, "{name} serves {} {} from {commit}", held.package, held.version)?;
            }
            for difference in differences(name, &pocket.contents()?, &served) {
                found += 1;
                writeln!(out, "{difference}")?;
            }
            writeln!(out, "  {}", self.archive.sources_line(&pocket.spec().suite))?;
        }
        if found > 0 {
            return Err(format!("Git and the archive differ in {found} ways").into());
        }
        Ok(writeln!(out, "Git and the archive say the same")?)
    }
}

/// Two pockets: `dev` may go back, `prod` may not.
fn specs() -> Result<BTreeMap<PocketName, PocketSpec>, BoxError> {
    let mut specs = BTreeMap::new();
    for (name, suite, allow_backtracking) in [("dev", "unstable", true), ("prod", "stable", false)] {
        let spec = PocketSpec {
            name: name.parse()?,
            branch: name.parse()?,
            suite: suite.parse()?,
            components: vec!["main".parse()?],
            architectures: vec!["amd64".parse()?],
            base: "none".parse()?,
            policy: Policy { allow_backtracking, ..Policy::default() },
            building: Building::default(),
        };
        specs.insert(spec.name.clone(), spec);
    }
    Ok(specs)
}

/// Commits a small native package, as somebody would who never heard of this program.
fn make_package(work: &Path) -> Result<CommitId, BoxError> {
    let files = [
        (
            "debian/changelog",
            "hello (1.0) unstable; urgency=medium\n\n  * First version.\n\n \
             -- Alice <alice@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n",
        ),
        (
            "debian/control",
            "Source: hello\nSection: misc\nPriority: optional\nMaintainer: Alice <alice@example.org>\n\
             Standards-Version: 4.6.2\n\nPackage: hello\nArchitecture: all\n\
             Description: greeting\n A text that greets.\n",
        ),
        ("debian/source/format", "3.0 (native)\n"),
        ("data/usr/share/hello/greeting", "Hello, world!\n"),
    ];
    for (name, text) in files {
        let path = work.join(name);
        durable::create_directory(path.parent().unwrap_or(work))?;
        durable::write(&path, text.as_bytes())?;
    }
    let git = |arguments: &[&str]| {
        let command = Command::new("git").current_dir(work).env("HOME", work).env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["-c", "user.name=Alice", "-c", "user.email=alice@example.org"]).args(arguments).run()
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message=First version"])?;
    // A commit id is 40 digits, and a type of its own, before anything is done with it.
    Ok(String::from_utf8(git(&["rev-parse", "HEAD"])?)?.trim().parse()?)
}

/// An access list with one name on it.
#[derive(Debug)]
struct OnlyAlice;

impl Gate for OnlyAlice {
    fn admits(&self, _: &PocketName, principal: &Principal) -> Access {
        if principal.as_str() == ALICE {
            return Access::Granted;
        }
        Access::Denied(format!("ask {ALICE}, who may"))
    }
}

/// An announcer for a site that has nobody to tell.
#[derive(Debug)]
struct Nobody;

impl Announce for Nobody {
    fn announce(&self, _: &Event) {}
}

/// Tells what happens to jobs, for people to see. Nothing depends on it: an error of it is nobody's.
struct Teller<'a>(Mutex<&'a mut (dyn Write + Send)>);

impl Debug for Teller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

impl Teller<'_> {
    fn tell(&self, job: &Job, what: &str) {
        let package: &PackageName = &job.request.package;
        if let Ok(mut out) = self.0.lock() {
            let _ = writeln!(out, "{} {package}: {what}", job.request.pocket);
        }
    }
}

impl Observer for Teller<'_> {
    fn claimed(&self, job: &Job) {
        self.tell(job, "a worker has it");
    }

    fn entered(&self, job: &Job, stage: Stage) {
        self.tell(job, stage.as_str());
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        let from = match outcome {
            Outcome::Published { copied_from: Some(pocket), .. } => format!(", copied from {pocket}"),
            Outcome::Failed { causes, .. } => format!(": {}", causes.join(": ")),
            Outcome::Rejected { reasons, .. } => format!(": {}", reasons.join("; ")),
            _ => String::new(),
        };
        self.tell(job, &format!("{}{from}", outcome.word()));
    }

    fn given_back(&self, job: &Job, reason: &str, _: jiff::Timestamp) {
        self.tell(job, &format!("given back, to be tried later: {reason}"));
    }
}
