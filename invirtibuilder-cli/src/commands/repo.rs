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
        /// Take over the branches and tags of another repository
        #[arg(long, value_name = "PATH-OR-URL")]
        import: Option<String>,
    },
    /// List the packages that have a repository
    List,
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
            let path = site.repository_path(&package);
            let object = serde_json::json!({ "package": package, "repository": path });
            context.output().answer(&object, |to| writeln!(to, "{}", path.display()))?;
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
