//! What a pocket's gates ask, in rooms as builds have them: without network, without privilege, thrown away.
//!
//! The tools come from the base's own archive, by the same way as build dependencies, into layers of the same domain of
//! trust. This machine's own lintian and autopkgtest are never used.

use std::io::{self, Write};
use std::path::PathBuf;

use super::dependencies::{self, Against, Needs, Package, Question};
use super::layer::{self, Layer};
use super::memory::{self, Space};
use super::room::{Plan, Shown, Step, Surroundings, User};
use super::tree::{self, Tree};
use super::{Domain, Groups, OverlayBuilder, Trouble, Workplace};
use crate::builder::host_architecture;
use crate::builder::limits::BuildLimits;
use crate::builder::sbuild::repository;
use crate::builder::scratch::{Entry, Part, Scratch};
use crate::builder::walls::Walls;
use crate::durable::{self, scratch};
use crate::error::{BoxError, BuildError};
use crate::examiner::{Examined, Examiner, Subject};
use crate::names::Architecture;
use crate::policy::{Finding, GateKind};
use crate::stop::Interrupt;

mod autopkgtest;
mod installability;
mod lintian;
mod piuparts;

/// Where the packages are in the room.
const SOURCE: &str = "/build/source";
/// How many lines of a tool are told in findings; the log has all.
const TOLD: usize = 20;

/// One examination.
struct Examination<'a> {
    /// For what is bound as builds are.
    place: &'a Workplace<'a>,
    /// For what is ours.
    ours: &'a Workplace<'a>,
    scratch: &'a Scratch,
    layers: u64,
    /// The suites of the site that builds of the pocket see.
    against: Against<'a>,
    tree: &'a Tree,
    host: &'a Architecture,
    domain: Domain,
    subject: &'a Subject,
}

/// What a room does, and what it is shown besides the packages.
struct Visit<'a> {
    layer: Option<&'a Layer>,
    user: User,
    steps: Vec<Step>,
    /// Texts beside the packages, by their names.
    texts: Vec<(&'static str, String)>,
    /// Whether the regular files that it leaves where packages are built are taken.
    takes: bool,
    /// Packages that it is shown as a repository, in the directory `repository` beside the packages.
    repository: &'a [Package],
    /// Bytes that it may write besides what a build may.
    besides: u64,
}

/// What a visit came to.
struct Visited {
    /// The status of the step that failed, or zero.
    status: u8,
    /// What it printed, up to a limit.
    output: String,
    /// A file that it left, if files are taken.
    taken: Option<String>,
}

impl Examination<'_> {
    /// Returns a layer with packages that meet relationships, and what of `beside` they need.
    fn layer(
        &self,
        needs: &Needs,
        against: Against<'_>,
        log: &mut (dyn Write + Send),
    ) -> Result<Layer, Trouble> {
        let Self { place, ours, tree, domain, .. } = self;
        let store = place.store;
        let is_installed =
            |packages: &[Package]| Ok(layer::find(store, &layer::name(tree, packages, domain))?.is_some());
        let question = Question { tree, architecture: self.host, needs, domain, against };
        let packages = dependencies::resolve(ours, &question, &is_installed, log)?;
        let had = is_installed(&packages)?;
        let layer = layer::ensure(place, tree, &packages, domain, log)?;
        if !had {
            layer::evict(store, place.walls, self.layers)?;
        }
        Ok(layer)
    }

    /// As [`Examination::layer`], for what is no package's fault if it cannot be had.
    fn tools(&self, relations: &str, log: &mut (dyn Write + Send)) -> Result<Layer, Trouble> {
        let layer = self.layer(&Needs::on(relations, ""), Against::new(None, &[])?, log);
        layer.map_err(|e| e.ours(&format!("{relations} of the base cannot be used")))
    }

    fn limits_of(&self, visit: &Visit<'_>) -> BuildLimits {
        let limits = self.place.limits;
        BuildLimits { disk: limits.disk.map(|it| it.saturating_add(visit.besides)), ..limits }
    }

    /// Makes a room with the packages in it.
    fn visit(&self, visit: &Visit<'_>, log: &mut (dyn Write + Send)) -> Result<Visited, Trouble> {
        let limits = self.limits_of(visit);
        let mut space = memory::space(&self.subject.source, &limits);
        loop {
            let entry = self.scratch.enter(self.place.walls)?;
            let result = self.visit_in(&entry, space, visit, log);
            entry.remove()?;
            match result {
                Err(Trouble::Moment(problem)) if space != Space::Disk => {
                    writeln!(log, "invirtibuilder: {problem} in memory; again on disk").map_err(machine)?;
                    space = Space::Disk;
                }
                result => return result,
            }
        }
    }

    fn visit_in(
        &self,
        entry: &Entry,
        space: Space,
        visit: &Visit<'_>,
        log: &mut (dyn Write + Send),
    ) -> Result<Visited, Trouble> {
        let shown = entry.part(Part::Input).join("source");
        scratch::create_directory(&shown, 0o755).map_err(machine)?;
        let source = self.subject.source.control();
        let files = source.files().iter().map(|it| source.directory().join(it.name.as_str()));
        for from in files.chain(self.subject.binaries.iter().map(Examined::path)) {
            let to = shown.join(from.file_name().unwrap_or_default());
            scratch::copy(&from, &to).and_then(|()| durable::set_mode(&to, 0o644)).map_err(machine)?;
        }
        for (name, text) in &visit.texts {
            scratch::write_new(&shown.join(name), text.as_bytes(), 0o644).map_err(machine)?;
        }
        if !visit.repository.is_empty() {
            repository::make(self.place.store, visit.repository, &shown.join("repository"))?;
        }
        let output = entry.part(Part::Output);
        let plan = Plan {
            lower: visit.layer.iter().map(|it| it.root()).chain([self.tree.root()]).collect(),
            upper: (space == Space::Disk).then(|| entry.part(Part::Chroots)),
            memory: space.bytes(),
            disk: self.limits_of(visit).disk,
            shown: vec![Shown { from: shown, at: SOURCE.into() }],
            user: visit.user,
            surroundings: Surroundings::usual(),
            steps: visit.steps.clone(),
            results: visit.takes.then(|| output.clone()),
            keep: None,
        };
        let mut seen = Seen { log, text: Vec::new() };
        let status = self.place.try_room(&plan, entry, &mut seen)?;
        let output_text = String::from_utf8_lossy(&seen.text).into_owned();
        let taken = if visit.takes && status == 0 { take(&output)? } else { None };
        Ok(Visited { status, output: output_text, taken })
    }

    /// Returns the name of the `.dsc` in the room.
    fn dsc(&self) -> PathBuf {
        let path = self.subject.source.control().path();
        PathBuf::from(SOURCE).join(path.file_name().unwrap_or_default())
    }

    /// Returns the binary packages that this machine could install.
    fn installable(&self) -> impl Iterator<Item = &Examined> {
        let is_here = |it: &&Examined| {
            let architecture = it.control.architecture();
            architecture == self.host || *architecture == Architecture::all()
        };
        self.subject.binaries.iter().filter(is_here).filter(|it| !it.is_for_installer())
    }

    /// Returns the paragraphs of `Packages` of these binary packages.
    fn paragraphs(&self) -> String {
        let paragraph = |it: &Examined| {
            let file = it.control.artifact();
            let (name, size, sum) = (&file.name, file.size, &file.sha256);
            let text = it.control.text();
            format!("{text}\nFilename: ./{name}\nSize: {size}\nSHA256: {sum}\n\n")
        };
        self.installable().map(paragraph).collect()
    }
}

/// Takes the one file that a room left, if it did; never follows a link or waits.
fn take(output: &std::path::Path) -> Result<Option<String>, Trouble> {
    const MAX: u64 = 1 << 20;
    let entries = std::fs::read_dir(output).map_err(machine)?;
    let Some(Ok(found)) = entries.into_iter().next() else { return Ok(None) };
    let file = crate::builder::results::open_regular(&found.path())?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX), &mut text).map_err(machine)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

fn machine(e: impl Into<BoxError>) -> Trouble {
    Trouble::Machine(e.into())
}

/// A step with the environment of a build.
fn step(program: &str, arguments: impl IntoIterator<Item = String>, home: &str, directory: &str) -> Step {
    Step {
        program: program.to_owned(),
        arguments: arguments.into_iter().collect(),
        directory: directory.into(),
        environment: [("HOME", home), ("DEBIAN_FRONTEND", "noninteractive")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

/// A log that remembers what was written.
struct Seen<'a> {
    log: &'a mut (dyn Write + Send),
    text: Vec<u8>,
}

impl Write for Seen<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const MAX: usize = 4 << 20;
        let count = self.log.write(bytes)?;
        let room = MAX.saturating_sub(self.text.len());
        self.text.extend(bytes.iter().take(count.min(room)));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

/// Makes findings of lines, and says how many more there are.
fn faults(lines: Vec<String>) -> Vec<Finding> {
    let more = lines.len().saturating_sub(TOLD);
    let mut found: Vec<Finding> = lines.into_iter().take(TOLD).map(Finding::Fault).collect();
    if more > 0 {
        found.push(Finding::Fault(format!("and {more} more, which its log has")));
    }
    found
}

impl OverlayBuilder {
    fn ask(
        &self,
        gate: GateKind,
        subject: &Subject,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<Vec<Finding>, Trouble> {
        let host = host_architecture()?;
        let groups = Groups::detect();
        let walls = self.walls(&groups)?;
        let our_walls = Walls::new(walls.account().clone(), self.limits.processes);
        let place = Workplace {
            store: &self.store,
            walls: &walls,
            helper: &self.helper,
            limits: self.limits,
            groups: &groups,
            owner: super::owner_of(&self.scratch),
            interrupt,
        };
        let ours = Workplace { walls: &our_walls, owner: super::owner_of(&self.scratch), ..place };
        let pocket = subject.source.plan().pocket();
        let base = self.bases.ensure(&pocket.base, &host, &self.scratch, &our_walls, log, interrupt)?;
        let tree = tree::ensure(&ours, &base, &pocket.base, &host, log)?;
        let place = Workplace { walls: &walls, owner: super::owner_of(&self.scratch), ..ours };
        let ours = Workplace { walls: &our_walls, owner: super::owner_of(&self.scratch), ..place };
        let examination = Examination {
            place: &place,
            ours: &ours,
            scratch: &self.scratch,
            layers: self.layers,
            against: Against::new(self.archive.as_ref(), &pocket.building.build_against)?,
            tree: &tree,
            host: &host,
            domain: Domain::of(pocket),
            subject,
        };
        match gate {
            GateKind::Lintian => lintian::ask(&examination, log),
            GateKind::Installability => installability::ask(&examination, log),
            GateKind::Autopkgtest => autopkgtest::ask(&examination, log),
            GateKind::Piuparts => piuparts::ask(&examination, log),
            GateKind::Reproducibility | GateKind::Rebuild => {
                Err(Trouble::Machine(format!("the gate {gate} cannot be asked in rooms").into()))
            }
        }
    }
}

impl Examiner for OverlayBuilder {
    fn examine<'a>(
        &self,
        gate: GateKind,
        subject: &Subject,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<Vec<Finding>, BuildError> {
        match self.ask(gate, subject, log, interrupt) {
            Ok(found) => Ok(found),
            // What a gate runs has reached a limit.
            Err(Trouble::Package(problem)) => Ok(vec![Finding::Fault(problem)]),
            Err(trouble) => Err(trouble.of(&subject.source)),
        }
    }
}
