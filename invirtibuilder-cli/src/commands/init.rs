//! `init`: makes a new site.

use std::io::Write;
use std::path::PathBuf;

use invirtibuilder_core::config::{Host, NewPocket};
use invirtibuilder_core::names::{BaseName, PocketName};
use invirtibuilder_core::site::{Exit, NewSiteOptions, initialize};

use super::Answer;
use crate::context::{Context, Failure, own_principal};
use crate::output::{BOLD, remark, styled};

/// Make a working site in a directory: configuration, archive, repositories, superproject, key, hooks
///
/// Never overwrites anything: the directory must not exist, or be empty.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  invirtibuilder init /srv/packages --pocket prod --pocket dev:backtracking"
)]
pub(crate) struct Arguments {
    /// The directory of the site
    directory: PathBuf,
    /// The distribution to build in, by its codename; default: this machine's
    #[arg(long, value_name = "CODENAME")]
    suite: Option<BaseName>,
    /// A pocket; `:backtracking` lets its versions fall. Default: prod and dev:backtracking
    #[arg(long = "pocket", value_name = "NAME[:backtracking]", value_parser = parse_pocket)]
    pockets: Vec<(PocketName, bool)>,
}

fn parse_pocket(text: &str) -> Result<(PocketName, bool), String> {
    let (name, flag) = text.split_once(':').map_or((text, None), |(name, flag)| (name, Some(flag)));
    let allow_backtracking = match flag {
        None => false,
        Some("backtracking") => true,
        Some(other) => {
            return Err(format!("{other:?} is no flag of a pocket; the only one is `backtracking`"));
        }
    };
    Ok((name.parse().map_err(|e| format!("{e}"))?, allow_backtracking))
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Answer {
    let principal = own_principal()?;
    let pockets = if arguments.pockets.is_empty() {
        vec![
            parse_pocket("prod").map_err(Failure::Usage)?,
            parse_pocket("dev:backtracking").map_err(Failure::Usage)?,
        ]
    } else {
        arguments.pockets
    };
    let pocket = |(name, allow_backtracking): (PocketName, bool)| -> Result<NewPocket, Failure> {
        Ok(NewPocket {
            suite: name.as_str().parse()?,
            name,
            acl: vec![principal.clone()],
            allow_backtracking,
        })
    };
    let made = initialize(NewSiteOptions {
        directory: std::path::absolute(&arguments.directory)?,
        base: arguments.suite,
        pockets: pockets.into_iter().map(pocket).collect::<Result<_, _>>()?,
        host: Host::detect()?,
    })?;
    context.output().answer(&made, |to| writeln!(to, "{}", made.config.display()))?;
    if !context.is_json() {
        explain(&made);
    }
    Ok(Exit::Done)
}

fn explain(made: &invirtibuilder_core::site::Made) {
    let config = made.config.display();
    remark(&format!("The site is ready; the archive is signed by the key {}.", made.key));
    remark(&styled(BOLD, "What to do next:"));
    remark(&format!("  export INVIRTIBUILDER_CONFIG={config}"));
    for line in [
        "invirtibuilder check                                  # is everything there that builds need?",
        "invirtibuilder repo create hello --import PATH-OR-URL # host a package",
        "invirtibuilder submit dev hello COMMIT                # ask for a commit to be published",
        "invirtibuilder work --until-empty                     # build and publish it",
        "invirtibuilder archive sources dev                    # how apt finds it",
    ] {
        remark(&format!("  {line}"));
    }
    let _ = std::io::stderr().flush();
}
