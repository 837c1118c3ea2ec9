//! Whether an installation can work: everything that can be known before the first job.

use std::collections::BTreeSet;
use std::path::Path;

use super::{keys, parts};
use crate::access;
use crate::builder;
use crate::builder::sbuild::program;
use crate::config::Config;
use crate::error::causes;
use crate::finding::Finding;
use crate::hooks::EventKind;
use crate::names::Architecture;
use crate::policy::{Copies, PocketSpec, Trust};

/// The programs that something else than builds needs.
const PROGRAMS: [&str; 4] = ["git", "dpkg-source", "gpg", "gpgv"];

/// Says what cannot be done without `pristine-tar`: a site of native packages alone does not need it.
fn pristine_tar() -> Option<Finding> {
    const NAME: &str = "pristine-tar";
    let text = "it is missing, and upstream tarballs that the archive does not hold are made by it";
    let is_missing = crate::process::find(NAME).is_none();
    is_missing.then(|| Finding::warning(NAME, text, "apt-get install pristine-tar"))
}

/// Checks the programs, directories, access lists, keys and build environments of a configuration that has been
/// read from `file`.
#[must_use]
pub fn check(config: &Config, file: &Path) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", file.display().to_string())];
    findings.extend(PROGRAMS.into_iter().chain(config.publisher.backend.program()).map(program));
    findings.extend(pristine_tar());
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
        ("outbox", &paths.outbox),
    ] {
        findings.push(directory(subject, path));
    }
    findings.extend(hosted(config, file));
    findings.extend(keys::check(config));
    findings.extend(access_lists(config));
    findings.extend(hooks(&paths.hooks));
    findings.extend(parts::check_builder(config));
    findings.extend(architectures(config));
    findings.extend(copies(config));
    findings
}

/// What a pocket without trust serves was built where anybody of it could spoil what builds see, and a trusted pocket
/// that copies it serves the same bytes.
fn copies(config: &Config) -> Vec<Finding> {
    let trusts = |it: &&PocketSpec| it.policy.trust == Trust::Full && it.policy.copies == Copies::Believed;
    let mut findings = Vec::new();
    for pocket in config.pockets.values().filter(trusts) {
        let is_copied =
            |it: &&PocketSpec| it.policy.trust == Trust::None && pocket.policy.copy_from.allows(&it.name);
        let sources: Vec<_> =
            config.pockets.values().filter(is_copied).map(|it| it.name.to_string()).collect();
        if !sources.is_empty() {
            let (name, all) = (&pocket.name, sources.join(", "));
            findings.push(Finding::warning(
                format!("copies into {name}"),
                format!("{name} is trusted and copies what {all} built, which is not"),
                format!("write `copy_from: {{ pockets: [...], verify: rebuild }}` for {name}, which copies only what building the commit again gives too; or leave {all} out of its copy_from"),
            ));
        }
    }
    findings
}

/// What is installed in the repositories is what lets pushes through or not.
fn hosted(config: &Config, file: &Path) -> Option<Finding> {
    let subject = "hosted repositories";
    let repositories = parts::repositories(config).ok()?;
    let packages = repositories.list().ok()?;
    let mut outdated = Vec::new();
    for package in &packages {
        match repositories.outdated(package, file) {
            Ok(found) if found.is_empty() => (),
            Ok(found) => outdated.push(format!("{package}: {}", found.join(", "))),
            Err(e) => outdated.push(format!("{package}: {}", causes(&e).join(": "))),
        }
    }
    Some(match outdated.first() {
        None => Finding::ok(subject, format!("{}, with the push policy installed", packages.len())),
        Some(first) => {
            let more = match outdated.len() {
                1 => String::new(),
                count => format!("; and {} more repositories", count - 1),
            };
            let text = format!("not as this program installs them are, of {first}{more}");
            Finding::warning(subject, text, "install them anew: invirtibuilder repo refresh")
        }
    })
}

/// The architectures that packages are built for besides this machine's own.
fn architectures(config: &Config) -> Vec<Finding> {
    let own: BTreeSet<&Architecture> =
        config.pockets.values().flat_map(PocketSpec::all_architectures).collect();
    let is_own = |it: &&Architecture| builder::host_architecture().is_ok_and(|host| host == **it);
    own.into_iter().filter(|it| !is_own(it)).map(builder::architectures::check).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;
    use crate::finding::Level;

    fn warnings(prod: &str) -> Vec<String> {
        let text = format!(
            "build:\n  pockets:\n    dev: {{ acl: [a@B], trust: none, allow_backtracking: yes }}\n    prod: {{ acl: [a@B]{prod} }}\n  tagger: {{ name: A, email: a@example.org }}\n"
        );
        let host = Host {
            codename: Some("bookworm".parse().unwrap()),
            architecture: Some("amd64".parse().unwrap()),
        };
        let config = Config::parse(&text, "site.yaml".as_ref(), &host).unwrap();
        copies(&config).into_iter().filter(|it| it.level == Level::Warning).map(|it| it.text).collect()
    }

    #[test]
    fn a_trusted_pocket_that_believes_an_untrusted_one_is_warned_of() {
        assert_eq!(warnings(""), ["prod is trusted and copies what dev built, which is not"]);
        assert_eq!(warnings(", copy_from: { verify: rebuild }"), [""; 0]);
        assert_eq!(warnings(", trust: none, allow_backtracking: yes"), [""; 0]);
    }
}
