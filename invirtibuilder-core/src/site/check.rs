//! Whether an installation can work: everything that can be known before the first job.

use std::path::Path;

use super::{keys, parts};
use crate::access;
use crate::builder::sbuild::program;
use crate::config::Config;
use crate::finding::Finding;
use crate::hooks::EventKind;

/// The programs that something else than builds needs.
const PROGRAMS: [&str; 4] = ["git", "dpkg-source", "gpg", "gpgv"];

/// Checks the programs, directories, access lists, keys and build environments of a configuration that has been
/// read from `file`.
#[must_use]
pub fn check(config: &Config, file: &Path) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", file.display().to_string())];
    findings.extend(PROGRAMS.into_iter().chain(config.publisher.backend.program()).map(program));
    let paths = &config.paths;
    for (subject, path) in [
        ("repositories", &paths.repositories),
        ("superproject", &paths.superproject),
        ("queue", &paths.queue),
        ("archive", &paths.archive),
        ("logs", &paths.logs),
        ("cache", &paths.cache),
        ("hooks", &paths.hooks),
        ("audit log", &paths.audit),
    ] {
        findings.push(directory(subject, path));
    }
    findings.extend(keys::check(config));
    findings.extend(access_lists(config));
    findings.extend(hooks(&paths.hooks));
    findings.extend(parts::check_builder(config));
    findings
}

/// A directory that does not exist yet is made when it is needed; then the one above it must be writable.
fn directory(subject: &str, path: &Path) -> Finding {
    let subject = format!("directory of the {subject}");
    let Some(existing) = path.ancestors().find(|it| it.exists()) else {
        return Finding::error(
            subject,
            format!("{} is not below any directory", path.display()),
            "mend the configuration",
        );
    };
    if !existing.is_dir() {
        let text = format!("{} is not a directory", existing.display());
        return Finding::error(subject, text, "move it away, or name another in the configuration");
    }
    match rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) => Finding::ok(subject, path.display().to_string()),
        Err(e) => {
            let remedy =
                format!("let the user who runs the worker write it: chown USER {}", existing.display());
            Finding::error(subject, format!("{} is not writable: {e}", existing.display()), remedy)
        }
    }
}

fn access_lists(config: &Config) -> Vec<Finding> {
    let judge = |(pocket, acl)| {
        let subject = format!("access list of {pocket}");
        match access::members(acl, &config.lists, pocket) {
            Ok(members) if members.is_empty() => Finding::warning(
                subject,
                "nobody is in it",
                format!("add a principal to build.pockets.{pocket}.acl"),
            ),
            Ok(members) => Finding::ok(subject, format!("{} principals", members.len())),
            Err(problem) => Finding::error(subject, problem, "until then nobody may publish there"),
        }
    };
    config.acls.iter().map(judge).collect()
}

/// Hooks that nobody runs are a surprise at the worst moment.
fn hooks(directory: &Path) -> Vec<Finding> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let known: Vec<String> = EventKind::ALL.iter().map(|it| format!("{it}.d")).collect();
    let names = entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned());
    let unknown = names.filter(|it| it.ends_with(".d") && !known.contains(it));
    let warn = |name| {
        let text = format!("{name} is no event's directory");
        Finding::warning("hooks", text, format!("the events are {}", known.join(", ")))
    };
    unknown.map(warn).collect()
}
