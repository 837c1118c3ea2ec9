//! Asks this machine's apt whether packages can be installed that no archive has yet. Nothing is installed.

use std::io::Write;

use super::apt;
use crate::builder::overlay::store::Kind;
use crate::builder::overlay::tree::Tree;
use crate::builder::overlay::{Trouble, Workplace};
use crate::builder::scratch::Part;
use crate::durable;
use crate::error::BoxError;
use crate::names::Architecture;

/// A package that apt would not install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::builder::overlay) struct Uninstallable {
    /// As it was asked for.
    pub(in crate::builder::overlay) package: String,
    /// What apt says about it.
    pub(in crate::builder::overlay) explanation: Vec<String>,
}

/// Returns those of some packages, each as `name=version`, that a machine with the tree's suites and `paragraphs`
/// besides cannot install, each alone.
pub(in crate::builder::overlay) fn find_uninstallable(
    place: &Workplace<'_>,
    tree: &Tree,
    architecture: &Architecture,
    paragraphs: &str,
    packages: &[String],
    log: &mut (dyn Write + Send),
) -> Result<Vec<Uninstallable>, Trouble> {
    let machine = |e: BoxError| Trouble::Machine(e);
    {
        let _turn = place.store.turn(Kind::Lists, &tree.id, place.interrupt)?;
        let when = if apt::is_old(place.store, tree)? { apt::When::Always } else { apt::When::Missing };
        apt::update(place, tree, architecture, when, log)?;
    }
    let lists = place.store.take(Kind::Lists, &tree.id)?;
    let lists = lists.ok_or_else(|| machine("apt's lists are gone".into()))?;
    let entry = place.store.workshop().enter(place.walls)?;
    let file = entry.part(Part::Input).join("Packages");
    durable::note(&file, paragraphs.as_bytes()).map_err(|e| machine(e.into()))?;
    let ask = |wanted: &[String]| -> Result<Option<String>, Trouble> {
        let command =
            place.apt("apt-get", &entry, &apt::Sources::of_kept(tree, &lists.path), architecture)?;
        let command = command.args(["-q", "--simulate", "--yes", "--allow-downgrades", "--with-source"]);
        let command = command.arg(&file).args(["install", "--"]).args(wanted);
        let mut output = Vec::new();
        let status = command.run_logged(&mut output, place.interrupt);
        let is_possible = super::sort(status.map(|it| if it.success() { Vec::new() } else { vec![1] }))?
            .is_ok_and(|it| it.is_empty());
        let text = String::from_utf8_lossy(&output).into_owned();
        Ok((!is_possible).then_some(text))
    };
    // Most often all of them fit together, and one question is enough.
    let mut found = Vec::new();
    if packages.len() < 2 || ask(packages)?.is_some() {
        for package in packages {
            let Some(text) = ask(std::slice::from_ref(package))? else { continue };
            writeln!(log, "{package} cannot be installed:\n{text}").map_err(|e| machine(e.into()))?;
            let explanation = apt::explanation(&text, "");
            found.push(Uninstallable { package: package.clone(), explanation });
        }
    }
    entry.remove()?;
    Ok(found)
}
