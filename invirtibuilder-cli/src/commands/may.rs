//! `may`: who may do what, and why.

use invirtibuilder_core::names::Principal;
use invirtibuilder_core::site::{Action, Exit};

use super::Answer;
use crate::context::Context;

/// Tell whether somebody may do something in a pocket, and why
///
/// The exit status is 0 if so, and 4 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Who, such as alice@EXAMPLE.ORG
    principal: String,
    /// What: build, cancel (somebody else's job) or rollback
    action: Action,
    /// Where
    pocket: String,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let principal: Principal = arguments.principal.parse()?;
    let pocket = site.pocket_name(&arguments.pocket)?;
    let action = arguments.action;
    let answer = site.may(&principal, action, &pocket);
    let (is_allowed, reasons, text) = match answer {
        Ok(way) => {
            let text = format!("{principal} may {action} in {pocket}: {}", way.join(" has "));
            (true, way, text)
        }
        Err(reason) => (false, vec![reason.clone()], reason),
    };
    let object = serde_json::json!({
        "principal": principal, "action": action.as_str(), "pocket": pocket, "may": is_allowed, "because": reasons,
    });
    context.output().answer(&object, |to| writeln!(to, "{text}"))?;
    Ok(if is_allowed { Exit::Done } else { Exit::NotPermitted })
}
