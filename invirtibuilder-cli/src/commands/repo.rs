//! `repo`: the hosted repositories.

use clap::Subcommand;
use invirtibuilder_core::names::PackageName;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::{Context, principal};
use crate::output::remark;

/// Make and list the packages' Git repositories
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a package's repository, to which anybody with access may push all but pockets and version tags
    Create {
        /// The source package
        package: String,
        /// Take over the branches and tags of another repository, or a source package by the path of its .dsc
        #[arg(long, value_name = "PATH-OR-URL")]
        import: Option<String>,
    },
    /// List the packages that have a repository
    List,
    /// Install the hooks and the protecting settings of repositories anew: after an upgrade, or when `check` warns
    ///
    /// Prints what was not as it should be. Refs, objects and other settings are not touched.
    Refresh {
        /// The source packages; all if none is named
        packages: Vec<String>,
    },
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    let site = context.site()?;
    match command {
        Command::Create { package, import } => {
            let package: PackageName = package.parse()?;
            let by = principal(&site, None)?;
            let imported = {
                let program = std::env::current_exe()?;
                site.create_repository(&package, import.as_deref(), &by, (&program, &context.config_path()))?
            };
            if let Some(imported) = &imported {
                remark(&format!("imported {} branches and {} tags", imported.branches, imported.tags));
                for (theirs, ours, reason) in &imported.renamed {
                    remark(&format!("{theirs} is {ours} here: {reason}"));
                }
                for (theirs, reason) in &imported.left_out {
                    remark(&format!("{theirs} was left out: {reason}"));
                }
            }
            if let Some((branch, commit)) = imported.as_ref().and_then(|it| it.source.as_ref()) {
                remark(&format!("the source package is commit {commit} on the branch {branch}"));
            }
            let path = site.repository_path(&package);
            let commit = imported.as_ref().and_then(|it| it.source.as_ref()).map(|it| &it.1);
            let object = serde_json::json!({ "package": package, "repository": path, "commit": commit });
            context.output().answer(&object, |to| writeln!(to, "{}", path.display()))?;
        }
        Command::Refresh { packages } => {
            let packages = packages.iter().map(|it| it.parse()).collect::<Result<Vec<PackageName>, _>>()?;
            let by = principal(&site, None)?;
            let program = std::env::current_exe()?;
            let refreshed = site.refresh_repositories(&packages, &by, (&program, &context.config_path()))?;
            context.output().answer(&refreshed, |to| {
                refreshed
                    .iter()
                    .try_for_each(|(package, what)| writeln!(to, "{package}: {}", what.join(", ")))
            })?;
        }
        Command::List => {
            let packages = site.repositories()?;
            context
                .output()
                .answer(&packages, |to| packages.iter().try_for_each(|it| writeln!(to, "{it}")))?;
        }
    }
    Ok(Exit::Done)
}
