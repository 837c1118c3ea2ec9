//! `retry`: submits the request of an ended job once more.

use invirtibuilder_core::site::Exit;

use super::{Answer, submit};
use crate::context::{Context, job_id, principal};

/// Ask once more for what an ended job asked for, as a new job
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The ended job's id
    job: String,
    /// Ask in the name of another, if the configuration lets you
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let id = job_id(&arguments.job)?;
    let by = principal(&site, arguments.principal.as_deref())?;
    let pocket = site.job(&id)?.job().request.pocket.clone();
    submit::report(&site.retry(&id, &by)?, context, pocket.as_str())?;
    Ok(Exit::Done)
}
