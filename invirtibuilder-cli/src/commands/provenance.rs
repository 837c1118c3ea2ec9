//! `provenance`: how what was published came to be, and whether it did.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use invirtibuilder_core::names::{JobId, PackageName};
use invirtibuilder_core::provenance::{Checked, Question, Resource, Stored, check};
use invirtibuilder_core::site::{Exit, SiteError};

use super::Answer;
use crate::context::{Context, Failure};
use crate::output::{BAD, GOOD, escape, remark, styled};

/// Tell what published packages were made from, and check it
///
/// Each publication leaves a signed statement below the archive: which commit, which source package, the records of its
/// builds, the base and the packages they ran with, which binary packages, and the signed index that listed them first. It
/// is an in-toto statement with SLSA provenance, signed by the archive's own keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what a job's publication, or each publication of a package, was made from
    Show {
        /// The job's id, or the package's name
        what: String,
        /// Of a package: only publications in this pocket
        #[arg(long)]
        pocket: Option<String>,
        /// Of a package: only so many, the latest
        #[arg(long, default_value_t = 1, value_name = "COUNT")]
        limit: usize,
    },
    /// Check a provenance, and the files that somebody downloaded; the exit status is 1 if any link is broken
    ///
    /// Needs no site and no configuration: whoever has the archive's public key can do it. What is checked: the
    /// signature; that each file has the sum that the provenance says; that the .dsc names the commit; that the .dsc and
    /// the .buildinfo name the other files with the same sums. With --archive also the files there, that its signed
    /// index leads to them, and the provenance of what was copied.
    Verify {
        /// The provenance, from provenance/ below the archive
        file: PathBuf,
        /// Files that were downloaded: .deb, .dsc, .buildinfo and tarballs
        downloads: Vec<PathBuf>,
        /// The archive's public keys, ASCII-armored or not
        #[arg(long, value_name = "FILE")]
        keyring: PathBuf,
        /// The archive, a directory or a URI such as `https://apt.example.org/`
        #[arg(long, value_name = "ARCHIVE")]
        archive: Option<String>,
    },
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    match command {
        Command::Show { what, pocket, limit } => show(&what, pocket.as_deref(), limit, context),
        Command::Verify { file, downloads, keyring, archive } => {
            let question = Question {
                envelope: &file,
                downloads: &downloads,
                keyring: &keyring,
                archive: archive.as_deref(),
            };
            verify(&question, context)
        }
    }
}

fn show(what: &str, pocket: Option<&str>, limit: usize, context: &Context) -> Answer {
    let site = context.site()?;
    let mut found = if let Ok(job) = what.parse::<JobId>() {
        vec![site.provenance_of(&job)?]
    } else {
        let package: PackageName = what.parse()?;
        let pocket = pocket.map(|it| site.pocket_name(it)).transpose()?;
        site.provenances(&package, pocket.as_ref())?
    };
    if found.is_empty() {
        return Err(Failure::NotFound(format!(
            "{what} has no provenance; `invirtibuilder history --package {what}` says what was published"
        )));
    }
    let found = found.split_off(found.len().saturating_sub(limit));
    let statements: Vec<_> = found
        .iter()
        .map(|it| serde_json::json!({ "file": it.location, "sha256": it.sha256, "statement": it.statement }))
        .collect();
    context.output().answer(&statements, |to| found.iter().try_for_each(|it| write_stored(it, to)))?;
    Ok(Exit::Done)
}

fn write_stored(stored: &Stored, to: &mut dyn Write) -> io::Result<()> {
    let statement = &stored.statement;
    let (asked, decided) = (statement.asked(), statement.decided());
    writeln!(to, "{} {} in {}, job {}", asked.package, decided.version, asked.pocket, statement.job())?;
    writeln!(to, "  file     {}", escape(&stored.location))?;
    writeln!(to, "  commit   {}", asked.commit)?;
    let builder = &statement.predicate.run_details.builder.id;
    match (&decided.copied_from, &decided.builder) {
        (Some(from), _) => writeln!(to, "  copied   from {from}, by {}", escape(builder))?,
        (None, kind) => {
            writeln!(to, "  built    by {} of {}", kind.as_deref().unwrap_or("?"), escape(builder))?;
        }
    }
    let packages = statement.dependencies().iter().filter(|it| it.uri.is_some()).count();
    for it in statement.dependencies().iter().filter(|it| it.sha256().is_some()) {
        write_resource("from", it, to)?;
    }
    if packages > 0 {
        writeln!(
            to,
            "  with     {packages} packages of the base and its build dependencies (--json lists them)"
        )?;
    }
    for it in &statement.subject {
        write_resource("made", it, to)?;
    }
    for it in statement.byproducts() {
        write_resource("and", it, to)?;
    }
    Ok(())
}

fn write_resource(word: &str, it: &Resource, to: &mut dyn Write) -> io::Result<()> {
    let name = it.download_location.as_deref().unwrap_or_else(|| it.called());
    let generation = it.annotations.generation.map(|it| format!(", generation {it}")).unwrap_or_default();
    writeln!(to, "  {word:<8} {} {}{generation}", it.sha256().unwrap_or_default(), escape(name))
}

fn verify(question: &Question<'_>, context: &Context) -> Answer {
    let checked = check(question).map_err(SiteError::from)?;
    let answer = serde_json::json!({
        "good": checked.is_good(),
        "package": checked.statement.asked().package,
        "version": checked.statement.decided().version,
        "commit": checked.statement.asked().commit,
        "verdicts": checked.verdicts,
    });
    context.output().answer(&answer, |to| write_checked(&checked, to))?;
    let exit = if checked.is_good() { Exit::Done } else { Exit::Differences };
    if !context.is_json() {
        let asked = checked.statement.asked();
        remark(&match exit {
            Exit::Done => {
                let text = format!(
                    "{} {} was made from {}",
                    asked.package,
                    checked.statement.decided().version,
                    asked.commit
                );
                styled(GOOD, text)
            }
            _ => styled(BAD, "it is not as the provenance says"),
        });
    }
    Ok(exit)
}

fn write_checked(checked: &Checked, to: &mut dyn Write) -> io::Result<()> {
    for it in &checked.verdicts {
        let word = if it.good { styled(GOOD, "ok") } else { styled(BAD, "BROKEN") };
        writeln!(to, "{word} {}: {}", escape(&it.subject), escape(&it.found))?;
    }
    Ok(())
}
