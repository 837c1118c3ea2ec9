//! What one publication costs in archives of different sizes, beside real reprepro and real aptly: one source with
//! two binary packages, signed by gpg, as whole processes.
//!
//! `cargo bench -p invirtibuilder-core --features conformance --bench archive -- [N]… [--rounds R] [--only NAME]…`
//! prints medians of wall time for archives of N source packages; NAME is the beginning of an archive's name, such as
//! `ours gz`. At 30,000 packages reprepro and aptly need minutes to be filled.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark prints, takes arguments, and plays the part of the outside world"
)]

mod measure;
mod ours;
mod packages;
mod peers;

use invirtibuilder_core::error::BoxError;
use invirtibuilder_core::signer::GpgSigner;

use measure::{Measured, Peer, Plan, Round, measure};
use ours::{CHILD, Ours};
use packages::Package;
use peers::{Aptly, Reprepro, is_installed};

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((CHILD, rest)) = arguments.split_first().map(|it| (it.0.as_str(), it.1)) {
        return ours::child(rest);
    }
    let (mut sizes, mut rounds, mut only) = (Vec::new(), 11, Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            "--only" => only.push(arguments.next().ok_or("--only needs a name")?),
            "--bench" => (),
            size => sizes.push(size.parse()?),
        }
    }
    if sizes.is_empty() {
        sizes = vec![100, 1_000, 10_000];
    }
    for size in sizes {
        run(size, rounds, &only)?;
    }
    Ok(())
}

fn run(size: usize, rounds: usize, only: &[String]) -> Result<(), BoxError> {
    let directory = tempfile::Builder::new().prefix("bench").tempdir_in("/tmp")?;
    let root = directory.path().to_owned();
    let key = GpgSigner::generate(&root.join("gpg"), "A benchmark <bench@example.org>")?.to_string();
    let packages = root.join("packages");
    for number in 0..size {
        Package::write(&packages, &Package::name(number), "1.0")?;
    }
    let plan = Plan { root, packages, size, rounds, key };
    let version = |kind: &str, at: usize| {
        let name = Package::name(at * 7919 % size);
        Package::write(&plan.root.join(format!("{kind}-{at}")), &name, &format!("2.{at}"))
    };
    let round = Round {
        packages: (0..rounds).map(|it| version("new", it)).collect::<Result<_, _>>()?,
        again: (rounds..2 * rounds).map(|it| version("again", it)).collect::<Result<_, _>>()?,
    };
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for (formats, contents) in [("gz", false), ("gz+xz", false), ("gz+xz+zst", false), ("gz", true)] {
        peers.push(Box::new(Ours { formats, contents }));
    }
    if is_installed("reprepro") {
        peers.push(Box::new(Reprepro { xz: false }));
        peers.push(Box::new(Reprepro { xz: true }));
    }
    if is_installed("aptly") {
        peers.push(Box::new(Aptly { all: false }));
        peers.push(Box::new(Aptly { all: true }));
    }
    peers.retain(|it| only.is_empty() || only.iter().any(|only| it.name().starts_with(only)));
    let measured = measure(&plan, &peers, &round)?;
    print(size, &measured);
    Ok(())
}

fn print(size: usize, measured: &[Measured]) {
    println!("{size} source packages");
    println!(
        "{:<32} {:>9} {:>9} {:>9} {:>9} {:>9}  times ours",
        "", "bulk s", "publish s", "cpu s", "copy s", "peak MiB"
    );
    for it in measured {
        let seconds = [it.bulk, it.publish, it.cpu, it.copy].map(|it| it.as_secs_f64());
        let [bulk, publish, cpu, copy] = seconds;
        print!("{:<32} {bulk:>9.2} {publish:>9.4} {cpu:>9.4} {copy:>9.4} {:>9}", it.name, it.memory / 1024);
        // Like with like: the one that makes the same forms, or else the plain one.
        for ours in measured.iter().filter(|it| it.name.starts_with("ours")) {
            if !it.name.starts_with("ours") {
                print!("  {:.0} ({})", publish / ours.publish.as_secs_f64(), ours.name.replace("ours ", ""));
            }
        }
        println!();
        if let Some(more) = &it.more {
            println!("    {more}");
        }
    }
}
