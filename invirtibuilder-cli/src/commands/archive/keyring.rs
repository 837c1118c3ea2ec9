//! `archive keyring`: the package that gives clients the archive's public keys.

use invirtibuilder_core::names::{JobId, PocketName};
use invirtibuilder_core::site::{Exit, Submitted, SubmittedTo};

use crate::commands::Answer;
use crate::commands::submit::wait;
use crate::context::{Context, principal};
use crate::output::remark;

/// Publish the package that gives clients the archive's public keys
///
/// Makes a new version of it in its own repository if the keys of the configuration are not those of the last one,
/// and submits it like any other package. Its name is `publisher.keyring_package`. Run it again whenever the keys change,
/// as often as you like. Prints the ids of the jobs, one a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  invirtibuilder archive keyring --wait")]
pub(crate) struct Arguments {
    /// The pockets to publish it in; default: all
    pockets: Vec<String>,
    /// Wait until the jobs have ended, and exit as the first that did not succeed
    #[arg(long)]
    wait: bool,
    /// Ask in the name of another, if the configuration lets you
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let by = principal(&site, arguments.principal.as_deref())?;
    let pockets = arguments.pockets.iter().map(|it| site.pocket_name(it));
    let pockets: Vec<PocketName> = pockets.collect::<Result<_, _>>()?;
    let program = std::env::current_exe()?;
    let made = site.submit_keyring(&pockets, &by, (&program, &context.config_path()))?;
    if made.is_new {
        remark(&format!("{} {} has the keys of today", made.package, made.version));
    }
    for SubmittedTo { pocket, submitted } in &made.submitted {
        if let Submitted::Current(version) = submitted {
            remark(&format!("{pocket} already has version {version}; there is nothing to do"));
        }
    }
    let job = |it: &SubmittedTo| match &it.submitted {
        Submitted::Queued(submission) => Some(submission.job().id.clone()),
        Submitted::Current(_) => None,
    };
    let pockets = made.submitted.iter().map(|it| serde_json::json!({ "pocket": it.pocket, "job": job(it) }));
    let object = serde_json::json!({
        "package": made.package,
        "version": made.version,
        "commit": made.commit,
        "new": made.is_new,
        "pockets": pockets.collect::<Vec<_>>(),
    });
    let jobs: Vec<JobId> = made.submitted.iter().filter_map(job).collect();
    context.output().answer(&object, |to| jobs.iter().try_for_each(|it| writeln!(to, "{it}")))?;
    let mut exit = Exit::Done;
    for job in jobs.iter().filter(|_| arguments.wait) {
        let ended = wait(&site, job, context)?;
        if exit == Exit::Done {
            exit = ended;
        }
    }
    Ok(exit)
}
