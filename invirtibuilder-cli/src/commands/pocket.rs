//! `pocket`: policies and contents.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Subcommand;
use invirtibuilder_core::access;
use invirtibuilder_core::names::CommitId;
use invirtibuilder_core::policy::{BinaryVersions, Copies, CopyFrom, PocketSpec, Versions};
use invirtibuilder_core::site::{Exit, PocketView, Site};
use serde::Serialize;

use super::Answer;
use crate::context::Context;
use crate::output::{BAD, FAINT, Table, plain, styled};

/// Show the pockets: their policies, and what they hold
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the pockets
    List,
    /// Show one pocket's policy, and each package with its version and commit
    Show {
        /// The pocket
        pocket: String,
    },
}

/// A pocket's policy, as JSON tells it.
#[derive(Serialize)]
struct Policy<'a> {
    pocket: &'a str,
    branch: &'a str,
    suite: &'a str,
    components: Vec<&'a str>,
    architectures: Vec<&'a str>,
    optional_architectures: Vec<&'a str>,
    architecture_all: Option<&'a str>,
    base: &'a str,
    builder: &'static str,
    allow_backtracking: bool,
    trust: String,
    copy_from: Option<Vec<&'a str>>,
    /// Whether a copy must be shown by a rebuild.
    verify_copies: bool,
    /// What the faults mean that each gate finds; those that are off are left out.
    gates: BTreeMap<&'static str, &'static str>,
    /// Whether each try has a version of its own.
    snapshot_versions: bool,
    binary_versions: &'static str,
    may_replace: Vec<&'a str>,
    principals: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Row {
    package: String,
    version: Option<String>,
    commit: Option<String>,
    branch: Option<String>,
    /// The optional architectures that the pocket does not serve yet.
    lacks: Vec<String>,
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    let site = context.site()?;
    match command {
        Command::List => list(&site, context),
        Command::Show { pocket } => show(&site, &pocket, context),
    }
}

fn list(site: &Site, context: &Context) -> Answer {
    let pockets: Vec<Policy<'_>> = site.config().pockets.values().map(|it| policy(site, it)).collect();
    context.output().answer(&pockets, |to| {
        let mut table =
            Table::new(&["POCKET", "SUITE", "BRANCH", "BASE", "ARCHITECTURES", "BACKTRACKING", "TRUST"]);
        for it in &pockets {
            table.row(vec![
                plain(it.pocket),
                plain(it.suite),
                plain(it.branch),
                plain(it.base),
                plain(it.architectures.join(" ")),
                plain(if it.allow_backtracking { "allowed" } else { "no" }),
                plain(&it.trust),
            ]);
        }
        table.write(to)
    })?;
    Ok(Exit::Done)
}

fn show(site: &Site, pocket: &str, context: &Context) -> Answer {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        policy: Policy<'a>,
        packages: Vec<Row>,
    }
    let view = site.pocket(&site.pocket_name(pocket)?)?;
    let mut packages = rows(&view);
    for (row, held) in packages.iter_mut().zip(&view.served) {
        if let Some(commit) = &held.commit {
            let missing = site.missing(&view.spec.name, &held.package, commit)?;
            row.lacks = missing.iter().map(ToString::to_string).collect();
        }
    }
    let shown = Shown { policy: policy(site, &view.spec), packages };
    context.output().answer(&shown, |to| {
        show_policy(&shown.policy, to)?;
        let mut table = Table::new(&["PACKAGE", "VERSION", "COMMIT"]);
        for row in &shown.packages {
            let commit = row.commit.clone().unwrap_or_else(|| "-".to_owned());
            let agrees = row.commit == row.branch;
            let commit =
                if agrees { plain(commit) } else { (BAD, format!("{commit}, but the branch is elsewhere")) };
            let version = row.version.clone().unwrap_or_else(|| "-".to_owned());
            let lacks = row.lacks.join(", ");
            let version = if lacks.is_empty() { version } else { format!("{version} (not yet for {lacks})") };
            table.row(vec![plain(&row.package), plain(version), commit]);
        }
        table.write(to)
    })?;
    Ok(Exit::Done)
}

fn policy<'a>(site: &'a Site, spec: &'a PocketSpec) -> Policy<'a> {
    let acl = site.config().acls.get(&spec.name);
    let members = acl.and_then(|acl| access::members(acl, &site.config().lists, &spec.name).ok());
    Policy {
        pocket: spec.name.as_str(),
        branch: spec.branch.as_str(),
        suite: spec.suite.as_str(),
        components: spec.components.iter().map(AsRef::as_ref).collect(),
        architectures: spec.architectures.iter().map(AsRef::as_ref).collect(),
        optional_architectures: spec.building.optional.iter().map(AsRef::as_ref).collect(),
        architecture_all: spec.architecture_of_all().map(AsRef::as_ref),
        base: spec.base.as_str(),
        builder: spec.building.backend.as_str(),
        allow_backtracking: spec.policy.allow_backtracking,
        trust: spec.policy.trust.to_string(),
        copy_from: match &spec.policy.copy_from {
            CopyFrom::Any => None,
            CopyFrom::Only(pockets) => Some(pockets.iter().map(AsRef::as_ref).collect()),
        },
        verify_copies: spec.policy.copies == Copies::Rebuilt,
        gates: (spec.building.gates.asked())
            .map(|it| (it.as_str(), spec.building.gates.demand(it).as_str()))
            .collect(),
        snapshot_versions: spec.policy.versions == Versions::Snapshot,
        binary_versions: match spec.policy.binary_versions {
            BinaryVersions::Same => "same",
            BinaryVersions::Any => "any",
        },
        may_replace: spec.policy.may_replace.iter().map(AsRef::as_ref).collect(),
        principals: members.map(|it| it.iter().map(ToString::to_string).collect()),
    }
}

fn show_policy(policy: &Policy<'_>, to: &mut dyn Write) -> io::Result<()> {
    let copies = policy.copy_from.as_ref().map_or_else(|| "any pocket".to_owned(), |it| it.join(", "));
    let copies = if policy.verify_copies { format!("{copies}, what a rebuild gives too") } else { copies };
    let gates: Vec<String> = policy.gates.iter().map(|(gate, demand)| format!("{gate}: {demand}")).collect();
    let gates = if gates.is_empty() { "none".to_owned() } else { gates.join(", ") };
    let principals = policy
        .principals
        .as_ref()
        .map_or_else(|| "nobody: the access list cannot be read".to_owned(), |it| it.join(", "));
    let versions = if policy.binary_versions == "any" { "any" } else { "those of the source" };
    let replaces = if policy.may_replace.is_empty() {
        "no package of the base".to_owned()
    } else {
        policy.may_replace.join(", ")
    };
    let backtracking = if policy.allow_backtracking { "allowed" } else { "not allowed" };
    for (name, value) in [
        ("pocket", policy.pocket),
        ("suite", policy.suite),
        ("components", &policy.components.join(", ")),
        ("branch", policy.branch),
        ("base", policy.base),
        ("builder", policy.builder),
        ("architectures", &policy.architectures.join(" ")),
        ("optional", &policy.optional_architectures.join(" ")),
        ("all with", policy.architecture_all.unwrap_or_default()),
        ("backtracking", backtracking),
        ("trust", &policy.trust),
        ("copies from", &copies),
        ("gates", &gates),
        ("versions", if policy.snapshot_versions { "one of each try" } else { "those of the changelog" }),
        ("of binaries", versions),
        ("may replace", &replaces),
        ("principals", &principals),
    ] {
        writeln!(to, "{} {value}", styled(FAINT, format!("{name:<14}")))?;
    }
    writeln!(to)
}

/// Joins what Git and the suite have of each package.
fn rows(view: &PocketView) -> Vec<Row> {
    let text = |it: Option<&CommitId>| it.map(ToString::to_string);
    let mut rows: Vec<Row> = Vec::new();
    for held in &view.served {
        let head = view.branches.get(&held.package);
        rows.push(Row {
            package: held.package.to_string(),
            version: Some(held.version.to_string()),
            commit: text(held.commit.as_ref()),
            branch: text(head.map(|it| &it.commit)),
            lacks: Vec::new(),
        });
    }
    let not_served =
        view.branches.iter().filter(|(package, _)| !view.served.iter().any(|it| it.package == **package));
    rows.extend(not_served.map(|(package, head)| Row {
        package: package.to_string(),
        version: None,
        commit: None,
        branch: text(Some(&head.commit)),
        lacks: Vec::new(),
    }));
    rows
}
