//! This archive: what a process of its own does, and how long each part of it takes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::error::{BoxError, PublishError};
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Archive, ArchiveSpec, Compression, Retention, SuiteSpec};
use invirtibuilder_core::signer::{Fingerprint, GpgOnDemand, Signer};
use invirtibuilder_core::states::{BuildArtifacts, CopyPlan, SourcePackage};
use sha2::{Digest, Sha256};
use tracing::span;

use crate::measure::{Peer, Plan, Round, expect};
use crate::packages::Package;

/// The argument that makes the benchmark do one thing as a process of its own.
pub(crate) const CHILD: &str = "--child";

/// This archive, in one of its configurations.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) formats: &'static str,
    pub(crate) contents: bool,
}

impl Ours {
    fn root(&self, plan: &Plan) -> PathBuf {
        plan.root.join(self.name().replace(' ', "-"))
    }

    fn run(&self, plan: &Plan, what: &[&str]) -> Result<std::process::Command, BoxError> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg(CHILD).arg(self.root(plan)).arg(plan.root.join("gpg")).arg(&plan.key);
        command.args([self.formats, if self.contents { "contents" } else { "" }]).args(what);
        Ok(command)
    }
}

impl Peer for Ours {
    fn name(&self) -> String {
        format!("ours {}{}", self.formats, if self.contents { " Contents" } else { "" })
    }

    fn fill(&self, plan: &Plan) -> Result<Duration, BoxError> {
        let packages = plan.packages.to_string_lossy();
        let begun = Instant::now();
        expect(&mut self.run(plan, &["fill", &packages, &plan.size.to_string()])?)?;
        Ok(begun.elapsed())
    }

    fn publish(&self, plan: &Plan, package: &Package) -> Result<Vec<std::process::Command>, BoxError> {
        let directory = package.directory.to_string_lossy();
        Ok(vec![self.run(plan, &["publish", &directory, &package.name, &package.version])?])
    }

    fn copy(&self, plan: &Plan, package: &Package) -> Result<Vec<std::process::Command>, BoxError> {
        Ok(vec![self.run(plan, &["copy", "", &package.name, &package.version])?])
    }

    fn more(&self, plan: &Plan, round: &Round) -> Result<Option<String>, BoxError> {
        let mut floors = Vec::new();
        for _ in 0..plan.rounds {
            let begun = Instant::now();
            expect(&mut self.run(plan, &["floor"])?)?;
            floors.push(begun.elapsed());
        }
        let mut text = format!("floor {:.1} ms;", crate::measure::median(&mut floors).as_secs_f64() * 1e3);
        let mut parts: HashMap<String, Vec<Duration>> = HashMap::new();
        for package in &round.again {
            for command in &mut self.publish(plan, package)? {
                for line in expect(command.env("TRACE", "1"))?.lines() {
                    let (part, time) = line.split_once('\t').ok_or("a part of a publication has no time")?;
                    parts.entry(part.to_owned()).or_default().push(Duration::from_nanos(time.parse()?));
                }
            }
        }
        let mut parts: Vec<_> =
            parts.into_iter().map(|(part, mut times)| (crate::measure::median(&mut times), part)).collect();
        parts.sort_by(|a, b| b.cmp(a));
        for (time, part) in parts {
            write!(text, " {part} {:.1},", time.as_secs_f64() * 1e3)?;
        }
        Ok(Some(text.trim_end_matches(',').to_owned()))
    }
}

/// Does one thing.
pub(crate) fn child(arguments: &[String]) -> Result<(), BoxError> {
    let begun = Instant::now();
    let trace = std::env::var_os("TRACE").is_some();
    if trace {
        tracing::subscriber::set_global_default(Times::default())?;
    }
    let [root, gpg, key, formats, contents, what, rest @ ..] = arguments else {
        return Err("there are arguments missing".into());
    };
    let (root, gpg, key) = (Path::new(root), Path::new(gpg), key.parse::<Fingerprint>()?);
    let signer = GpgOnDemand::new(gpg, std::slice::from_ref(&key));
    if what == "floor" {
        return floor(root, &signer);
    }
    let formats = formats.split('+').map(str::parse).collect::<Result<Vec<Compression>, _>>()?;
    let suite = |it| SuiteSpec {
        compression: formats.clone(),
        contents: contents == "contents",
        debug: None,
        ..SuiteSpec::of(&it, "A benchmark", "Bench")
    };
    let spec = ArchiveSpec {
        directory: root.join("archive"),
        state: root.join("state"),
        key_file: "archive-key.asc".parse()?,
        suites: [stable(), unstable()].map(suite).to_vec(),
        retention: Retention { generations: 3, time: Duration::ZERO, versions: 0 },
        valid_for: None,
    };
    let archive = Archive::new(spec, Box::new(signer));
    let prepare = span!(tracing::Level::DEBUG, "prepare");
    prepare.in_scope(|| archive.prepare())?;
    match (what.as_str(), rest) {
        ("fill", [packages, count]) => {
            let next = |number| {
                built(&Path::new(packages).join(Package::name(number)), &Package::name(number), "1.0")
            };
            let all = (0..count.parse()?).map(|it| next(it).map_err(PublishError::Backend));
            archive.publish_all(&unstable().suite, all)?;
        }
        ("publish", [directory, name, version]) => {
            let verify = span!(tracing::Level::DEBUG, "verify files");
            let artifacts = verify.in_scope(|| built(Path::new(directory), name, version))?;
            archive.publish(&artifacts)?;
        }
        ("copy", [_, name, version]) => copy(&archive, name, version)?,
        _ => return Err("there is no such thing to do".into()),
    }
    if trace {
        let mut out = std::io::stdout();
        for (part, time) in TIMES.lock().map_err(|_| "a thread panicked")?.iter() {
            writeln!(out, "{part}\t{}", time.as_nanos())?;
        }
        writeln!(out, "process\t{}", begun.elapsed().as_nanos())?;
    }
    Ok(())
}

fn built(directory: &Path, name: &str, version: &str) -> Result<BuildArtifacts, BoxError> {
    let package =
        Package { name: name.to_owned(), version: version.to_owned(), directory: directory.to_owned() };
    let plan = Sample::new(name, version, "").plan(&unstable());
    let source = SourcePackage::for_tests(plan, &package.dsc())?;
    Ok(BuildArtifacts::for_tests(source, &[package.changes()])?)
}

fn copy(archive: &Archive, name: &str, version: &str) -> Result<(), BoxError> {
    archive.copy(&CopyPlan::for_tests(Sample::new(name, version, "").plan(&stable()), unstable()))?;
    Ok(())
}

/// What nothing can be faster than: the same indices hashed, written and synced, and a text signed.
fn floor(root: &Path, signer: &GpgOnDemand) -> Result<(), BoxError> {
    let signing = signer.begin()?;
    let suite = root.join("archive/dists/unstable");
    let release = std::fs::read_to_string(suite.join("Release"))?;
    let indices: Vec<PathBuf> = release
        .lines()
        .filter_map(|it| it.strip_prefix(' ')?.split(' ').nth(2).map(|it| suite.join(it)))
        .filter(|it| it.extension().is_some())
        .collect();
    let texts: u64 = release
        .lines()
        .filter_map(|it| it.strip_prefix(' '))
        .filter(|it| !it.ends_with(['z', 't']))
        .filter_map(|it| it.split(' ').nth(1)?.parse::<u64>().ok())
        .sum();
    let work = |path: &PathBuf, at: usize| -> Result<(), std::io::Error> {
        let bytes = std::fs::read(path)?;
        std::hint::black_box(Sha256::digest(&bytes));
        let copy = root.join(format!("floor{at}"));
        let mut file = std::fs::File::create(&copy)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(copy, root.join("floor"))
    };
    std::thread::scope(|scope| -> Result<(), BoxError> {
        let threads: Vec<_> =
            indices.iter().enumerate().map(|(at, it)| scope.spawn(move || work(it, at))).collect();
        // Half of the text, which is what follows a change on the average.
        let (piece, mut hash) = (vec![b'x'; 64 << 10], Sha256::new());
        for _ in 0..texts / 2 / (64 << 10) {
            hash.update(&piece);
        }
        std::hint::black_box(hash.finalize());
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })?;
    signing.finish(&release)?;
    Ok(())
}

/// How long each span was entered, by its name.
static TIMES: Mutex<Vec<(&'static str, Duration)>> = Mutex::new(Vec::new());

/// Adds up the times of spans.
#[derive(Debug, Default)]
struct Times {
    spans: Mutex<Vec<(&'static str, Instant)>>,
}

impl tracing::Subscriber for Times {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut spans = self.spans.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        spans.push((span.metadata().name(), Instant::now()));
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, id: &span::Id) {
        let spans = self.spans.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some((name, begun)) = usize::try_from(id.into_u64()).ok().and_then(|it| spans.get(it - 1)) else {
            return;
        };
        let mut times = TIMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match times.iter_mut().find(|it| it.0 == *name) {
            Some((_, time)) => *time += begun.elapsed(),
            None => times.push((name, begun.elapsed())),
        }
    }
}
