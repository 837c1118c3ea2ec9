//! `may`: who may do what, and why.

use invirtibuilder_core::names::Principal;
use invirtibuilder_core::site::{Action, Exit};

use super::Answer;
use crate::context::{Context, Failure};

/// Tell whether somebody may do something in a pocket or with a repository, and why
///
/// The exit status is 0 if so, and 4 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Who, such as alice@EXAMPLE.ORG
    principal: String,
    /// What: build, cancel (somebody else's job) or rollback in a pocket; push to or fetch from a package's repository
    action: String,
    /// The pocket, or the package
    #[arg(value_name = "WHERE")]
    place: String,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let site = context.site()?;
    let principal: Principal = arguments.principal.parse()?;
    let Arguments { action, place, .. } = arguments;
    let answer = match action.as_str() {
        "push" => site.may_push(&principal, &place.parse()?),
        "fetch" => site.may_fetch(&principal, &place.parse()?),
        _ => {
            let action: Action = action.parse().map_err(|e| Failure::Usage(format!("{e}, push, fetch")))?;
            site.may(&principal, action, &site.pocket_name(place)?)
        }
    };
    let (is_allowed, reasons, text) = match answer {
        Ok(way) => {
            let word = match action.as_str() {
                "push" => "to",
                "fetch" => "from",
                _ => "in",
            };
            let text = format!("{principal} may {action} {word} {place}: {}", way.join(" has "));
            (true, way, text)
        }
        Err(reason) => (false, vec![reason.clone()], reason),
    };
    let kind = if matches!(action.as_str(), "push" | "fetch") { "package" } else { "pocket" };
    let object = serde_json::json!({
        "principal": principal, "action": action, kind: place, "may": is_allowed, "because": reasons,
    });
    context.output().answer(&object, |to| writeln!(to, "{text}"))?;
    Ok(if is_allowed { Exit::Done } else { Exit::NotPermitted })
}
