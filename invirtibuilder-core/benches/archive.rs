//! What one publication costs in archives of different sizes: a source with two binary packages, signed by gpg.
//!
//! `cargo bench -p invirtibuilder-core --features conformance --bench archive -- [N]…` prints medians of wall time.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark prints, and takes arguments"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::error::BoxError;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Archive, ArchiveSpec, Retention, SuiteSpec};
use invirtibuilder_core::signer::GpgSigner;
use invirtibuilder_core::states::CopyPlan;

/// How often each operation is measured.
const ROUNDS: usize = 15;

fn main() -> Result<(), BoxError> {
    let sizes: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100, 1_000, 10_000] } else { sizes };
    println!(
        "{:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "N", "publish", "cold", "copy", "held", "contents", "peak MiB"
    );
    for size in sizes {
        measure(size)?;
    }
    Ok(())
}

fn measure(size: usize) -> Result<(), BoxError> {
    let directory = tempfile::Builder::new().prefix("bench").tempdir_in("/tmp")?;
    let root = directory.path();
    let fingerprint = GpgSigner::generate(&root.join("gpg"), "A benchmark <bench@example.org>")?;
    let open = || -> Result<Archive, BoxError> {
        let signer = GpgSigner::open(&root.join("gpg"), std::slice::from_ref(&fingerprint))?;
        let archive = Archive::new(
            ArchiveSpec {
                directory: root.join("archive"),
                state: root.join("state"),
                key_file: "archive-key.asc".parse()?,
                suites: [stable(), unstable()]
                    .iter()
                    .map(|it| SuiteSpec::of(it, "A benchmark", "Bench"))
                    .collect(),
                retention: Retention { generations: 3, time: Duration::ZERO, versions: 0 },
                valid_for: None,
            },
            Box::new(signer),
        );
        Ok(archive)
    };
    open()?.prepare()?;
    fill(root, size)?;
    // The description differs, so this publishes all of it once, compressed and signed.
    open()?.prepare()?;
    let archive = open()?;

    let mut publish = Vec::new();
    let mut cold = Vec::new();
    let mut copy = Vec::new();
    for round in 0..ROUNDS {
        for (kind, times, archive) in [("warm", &mut publish, &archive), ("cold", &mut cold, &open()?)] {
            let name = format!("p{:05}-{kind}{round}", (round * 7919) % size.max(1));
            let sample = Sample::new(&name, "1.0", "");
            let files = tempfile::tempdir()?;
            let artifacts = sample.build(&unstable(), files.path())?;
            times.push(timed(|| archive.publish(&artifacts))?);
            if copy.len() < ROUNDS {
                let plan = CopyPlan::for_tests(sample.plan(&stable()), unstable());
                copy.push(timed(|| archive.copy(&plan))?);
            }
        }
    }
    let suite = unstable().suite;
    let package = "p00042".parse()?;
    let mut held: Vec<_> =
        (0..ROUNDS).map(|_| timed(|| archive.held(&suite, &package))).collect::<Result<_, _>>()?;
    let mut contents: Vec<_> =
        (0..ROUNDS).map(|_| timed(|| archive.contents(&suite))).collect::<Result<_, _>>()?;
    let peak = std::fs::read_to_string("/proc/self/status")?;
    let peak = peak.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak: usize = peak.split_whitespace().next().unwrap_or("0").parse()?;
    let mut line = format!("{size:>7}");
    for times in [&mut publish, &mut cold, &mut copy, &mut held, &mut contents] {
        write!(line, " {:>7.1}ms", median(times).as_secs_f64() * 1000.0)?;
    }
    println!("{line} {:>10}", peak / 1024);
    Ok(())
}

/// Fills the suite with so many source packages, by writing its indices as another tool would have.
fn fill(root: &Path, size: usize) -> Result<(), BoxError> {
    const SUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const TEXT: &str = "a package of this size\n Its description has a few lines of words, as they are common, so that\n the index has the size of an index of real packages, which is about 700\n bytes a package, and compresses as one.\n";
    let (mut sources, mut packages) = (String::new(), String::new());
    for at in 0..size {
        let name = format!("p{at:05}");
        let sum: String = SUM.chars().cycle().skip(at % 61).take(64).collect();
        let place = format!("pool/main/p/{name}");
        write!(
            sources,
            "Package: {name}\nFormat: 3.0 (native)\nBinary: {name}, {name}-doc\nArchitecture: any all\nVersion: 1.{at}\nMaintainer: Nobody <nobody@example.org>\nStandards-Version: 4.7.0\nBuild-Depends: debhelper-compat (= 13), libc6-dev, zlib1g-dev\nGit-Commit: {}\nFiles:\n {} 1200 {name}_1.{at}.dsc\n {} 34567 {name}_1.{at}.tar.xz\nChecksums-Sha256:\n {sum} 1200 {name}_1.{at}.dsc\n {sum} 34567 {name}_1.{at}.tar.xz\nDirectory: {place}\n\n",
            &sum[..40],
            &sum[..32],
            &sum[..32]
        )?;
        for (package, architecture) in [(name.clone(), "amd64"), (format!("{name}-doc"), "all")] {
            write!(
                packages,
                "Package: {package}\nSource: {name}\nVersion: 1.{at}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@example.org>\nInstalled-Size: {at}\nDepends: libc6 (>= 2.34), zlib1g (>= 1:1.2)\nSection: misc\nPriority: optional\nFilename: {place}/{package}_1.{at}_{architecture}.deb\nSize: {at}\nMD5sum: {}\nSHA256: {sum}\nDescription: {TEXT}\n",
                &sum[..32]
            )?;
        }
    }
    let suite = root.join("archive/dists/unstable");
    let mut release = "Suite: unstable\nSHA256:\n".to_owned();
    for (path, text) in [("main/source/Sources", sources), ("main/binary-amd64/Packages", packages)] {
        let file = suite.join(path);
        std::fs::write(&file, &text)?;
        std::process::Command::new("gzip").args(["-f", "-1"]).arg(&file).status()?;
        let file = file.with_extension("gz");
        let sum = std::process::Command::new("sha256sum").arg(&file).output()?.stdout;
        let sum = String::from_utf8(sum)?;
        let sum = sum.split(' ').next().unwrap_or_default();
        writeln!(release, " {sum} {} {path}.gz", std::fs::metadata(&file)?.len())?;
    }
    std::fs::write(suite.join("InRelease"), release)?;
    Ok(())
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
