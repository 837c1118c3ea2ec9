//! `remctl-config`: what remctld has to know of the site.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use invirtibuilder_core::config::DEFAULT_FILE;
use invirtibuilder_core::door::remctld::{Options, write};
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::{Context, Failure, user_name};
use crate::output::remark;

/// Write the configuration of remctld, and a list for each pocket
///
/// Writes conf.d/invirtibuilder and acl/invirtibuilder-*, and remctl.conf if there is none. remctld's own parser has to
/// read all that, and each list to keep a stranger out, before anything replaces what was there. Run it again when
/// pockets or their lists have changed. remctld reads lists at every call, and is to be sent SIGHUP where this says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  invirtibuilder remctl-config /etc/remctl && systemctl reload remctld")]
pub(crate) struct Arguments {
    /// The directory of remctld's configuration, such as /etc/remctl
    directory: PathBuf,
    /// The program that remctld is to run; default: invirtibuilder-remctl beside this one
    #[arg(long, value_name = "PROGRAM")]
    backend: Option<PathBuf>,
    /// The user that it is to run as. Default: the one who has the site's queue; remctld must be run by root, or by that
    /// user, who then needs --user ""
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Let remctld pass on everybody whom Kerberos knows: the same requests are refused, but by Invirtibuilder, whose
    /// audit log then has whom
    #[arg(long)]
    record_denials: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let config = context.config()?;
    let program = match &arguments.backend {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("invirtibuilder-remctl"),
    };
    if !program.is_file() {
        let text = format!("{} is not there; name the program with --backend", program.display());
        return Err(Failure::NotFound(text));
    }
    let user = match &arguments.user {
        Some(user) => Some(user.clone()).filter(|it| !it.is_empty()),
        None => owner(&config.paths.queue)?,
    };
    let file = context.config_path();
    let written = write(
        &config,
        &Options {
            directory: &std::path::absolute(&arguments.directory)?,
            program: &program,
            site: Some(&*file).filter(|it| *it != Path::new(DEFAULT_FILE)),
            user: user.as_deref(),
            open: arguments.record_denials,
        },
    )?;
    for (pocket, reason) in &written.unguarded {
        remark(&format!(
            "remctld passes everybody on to {pocket}, whose list Invirtibuilder alone checks: {reason}"
        ));
    }
    if written.must_reload {
        remark("remctld has to read its configuration again: systemctl reload remctld, or send it SIGHUP");
    }
    let object = serde_json::json!({
        "changed": written.changed, "reload": written.must_reload, "unguarded": written.unguarded,
    });
    context
        .output()
        .answer(&object, |to| written.changed.iter().try_for_each(|it| writeln!(to, "{}", it.display())))?;
    Ok(Exit::Done)
}

/// Returns the name of who has the site; `None` for root.
fn owner(queue: &Path) -> Result<Option<String>, Failure> {
    let Ok(metadata) = std::fs::metadata(queue) else {
        return Err(Failure::NotFound(format!("there is no queue at {} yet", queue.display())));
    };
    match metadata.uid() {
        0 => Ok(None),
        user => user_name(user).map(Some).ok_or_else(|| {
            Failure::NotFound(format!("nobody has the user id {user} of {}; use --user", queue.display()))
        }),
    }
}
