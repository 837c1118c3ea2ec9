//! `archive import`: moves in with what reprepro or aptly published.

use std::io::{self, Write};
use std::path::PathBuf;

use invirtibuilder_core::publisher::archive::{
    Imported, Leftovers, Placing, Report, Run, Sourceless, Vouched,
};
use invirtibuilder_core::site::{Exit, ImportWords};

use crate::commands::Answer;
use crate::context::{Context, own_principal};
use crate::output::{FAINT, GOOD, WARNING, complain, escape, remark, styled};

/// Bring the packages of another archive, such as reprepro or aptly publish, into pockets without rebuilding
///
/// Everything is read, checked and in the pool before each pocket's suite changes in one step; an import that was
/// interrupted is repeated. The greatest version of each source package comes, with the binary packages that were
/// built from it; what else there is stays behind and is listed. Nothing that the pocket serves is replaced.
///
/// What was imported is not in Git: `verify` lists each package until a commit of a greater version is submitted,
/// and it is never copied to another pocket. Jobs wait with publishing until the import ends.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
#[command(after_help = "\
Example: move in with what reprepro publishes below /srv/reprepro for the codenames bookworm and bookworm-testing

  invirtibuilder archive import /srv/reprepro bookworm=prod bookworm-testing=dev --keyring team.gpg --dry-run
  invirtibuilder archive import /srv/reprepro bookworm=prod bookworm-testing=dev --keyring team.gpg
  invirtibuilder verify

Exit status 3: something is wrong with the tree or stands against it, which is said; nothing was imported.")]
pub(crate) struct Arguments {
    /// The directory that a web server serves, on this machine: it has dists/ and pool/
    tree: PathBuf,
    /// A suite (a directory below dists/) and the pocket that gets its packages
    #[arg(required = true, value_name = "SUITE=POCKET")]
    suites: Vec<String>,
    /// A keyring, as gpgv reads it, with the keys that may have signed the suites; without it nobody vouches for them
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Read and check everything, and say what would come; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Give the files of the tree a second name in the pool, which takes no space; only on one file system
    #[arg(long)]
    hard_link: bool,
    /// Import nothing if anything would be left behind, such as the lesser of two versions
    #[arg(long)]
    strict: bool,
    /// Leave binary packages behind whose source package the suite does not have; without this, import nothing then
    #[arg(long)]
    leave_sourceless: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let report = site.import(ImportWords {
        tree: &arguments.tree,
        suites: &arguments.suites,
        keyring: arguments.keyring.as_deref(),
        placing: if arguments.hard_link { Placing::HardLink } else { Placing::Copy },
        run: if arguments.dry_run { Run::Rehearse } else { Run::Import },
        leftovers: if arguments.strict { Leftovers::Refuse } else { Leftovers::Leave },
        sourceless: if arguments.leave_sourceless { Sourceless::Leave } else { Sourceless::Refuse },
        by: &own_principal()?,
    })?;
    context.output().answer(&report, |to| show(&report, to))?;
    if report.vouched == Vouched::ByNobody {
        let text = "nobody vouches for what was read; --keyring asks for the signatures of the suites";
        remark(&format!("{} {text}", styled(WARNING, "warning:")));
    }
    if report.is_refused() {
        if !context.is_json() {
            report.suites.iter().flat_map(|it| &it.problems).for_each(|it| complain(it));
        }
        remark("nothing was imported");
        return Ok(Exit::Rejected);
    }
    if !context.is_json() && !arguments.dry_run {
        remark(&styled(GOOD, "imported; `invirtibuilder verify` lists what is not in Git yet"));
    }
    Ok(Exit::Done)
}

fn show(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    for suite in report.suites.iter().filter(|_| !report.is_refused()) {
        let Imported { from, pocket, added, unchanged, left_behind, bytes, .. } = suite;
        for it in added {
            let commit = it
                .commit
                .as_ref()
                .map_or_else(|| styled(FAINT, "not in Git yet"), |commit| format!("from {commit}"));
            writeln!(
                to,
                "{pocket} {} {}, with {} binary packages, {commit}",
                it.package, it.version, it.binaries
            )?;
        }
        for it in left_behind {
            writeln!(to, "{} {}", styled(WARNING, "left behind:"), escape(&it.to_string()))?;
        }
        let (count, left) = (added.len(), left_behind.len());
        writeln!(
            to,
            "{from} to {pocket}: {count} source packages of {bytes} bytes, {unchanged} already there, {left} left behind"
        )?;
    }
    Ok(())
}
