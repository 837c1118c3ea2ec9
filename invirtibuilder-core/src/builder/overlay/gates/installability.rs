//! Whether each binary package can be installed from the pocket's suite as it will be, and the base. Only apt says so;
//! no code of a package runs.

use std::io::Write;

use super::{Examination, Trouble, machine};
use crate::builder::overlay::dependencies;
use crate::policy::Finding;

pub(super) fn ask(it: &Examination<'_>, log: &mut (dyn Write + Send)) -> Result<Vec<Finding>, Trouble> {
    let mut paragraphs = it.paragraphs();
    for paragraph in it.subject.beside.get(it.host).into_iter().flatten() {
        paragraphs.push_str(paragraph.trim_end_matches('\n'));
        paragraphs.push_str("\n\n");
    }
    let packages: Vec<String> =
        it.installable().map(|it| format!("{}={}", it.control.package(), it.control.version())).collect();
    writeln!(log, "invirtibuilder: asking apt about {}", packages.join(", ")).map_err(machine)?;
    let found = dependencies::find_uninstallable(it.ours, it.tree, it.host, &paragraphs, &packages, log)?;
    let mut findings: Vec<Finding> = found
        .into_iter()
        .map(|it| {
            let name = it.package.split('=').next().unwrap_or_default();
            Finding::Fault(format!("{name} cannot be installed: {}", it.explanation.join("; ")))
        })
        .collect();
    let architectures = &it.subject.source.plan().pocket().architectures;
    for other in architectures.iter().filter(|other| *other != it.host) {
        let text = format!("apt of this machine, which is {}, was not asked about {other}", it.host);
        findings.push(Finding::Remark(text));
    }
    Ok(findings)
}
