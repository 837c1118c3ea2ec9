//! `cancel`: ends a job without effect.

use invirtibuilder_core::queue::Cancellation;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::{Context, job_id, principal};
use crate::output::remark;

/// End a job without effect, if it is not being published already
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The job's id, as `submit` and `status` print it
    job: String,
    /// Ask in the name of another, if the configuration lets you
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let id = job_id(&arguments.job)?;
    let by = principal(&site, arguments.principal.as_deref())?;
    let (word, text) = match site.cancel(&id, &by)? {
        Cancellation::Done => ("cancelled", format!("job {id} is cancelled")),
        Cancellation::Requested => {
            ("requested", format!("job {id} is running; it ends soon, unless it is being published already"))
        }
        Cancellation::AlreadyEnded(ended) => {
            ("ended", format!("job {id} ended before: {}", ended.outcome.word()))
        }
    };
    if context.is_json() {
        context.output().answer(&serde_json::json!({ "job": id, "cancellation": word }), |_| Ok(()))?;
    } else {
        remark(&text);
    }
    Ok(if word == "ended" { Exit::Rejected } else { Exit::Done })
}
