//! Where a base's packages come from: what is configured, or what this machine's own apt uses.
//!
//! Never names a host by itself.

use std::path::PathBuf;

use super::BaseSpec;
use crate::error::BoxError;
use crate::names::BaseName;
use crate::process::Command;

/// An index of packages that this machine's apt knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Index {
    uri: String,
    suite: String,
    is_security: bool,
}

/// The arguments of mmdebstrap that say where packages come from.
#[derive(Debug)]
pub(super) struct Sources {
    suite: String,
    lines: Vec<String>,
    keyring: Option<PathBuf>,
    proxy: Option<String>,
}

impl Sources {
    /// Finds them.
    pub(super) fn find(base: &BaseName, spec: &BaseSpec) -> Result<Self, BoxError> {
        let known = if spec.mirror.is_some() { Vec::new() } else { indices()? };
        let suites = if spec.suites.is_empty() { default_suites(base, &known) } else { spec.suites.clone() };
        let components =
            if spec.components.is_empty() { "main".to_owned() } else { spec.components.join(" ") };
        let mut lines = Vec::new();
        for suite in &suites {
            let uri = match &spec.mirror {
                Some(mirror) => beside(mirror, suite),
                None => uri_of(suite, &known)?,
            };
            lines.push(format!("deb {uri} {suite} {components}"));
        }
        let suite = suites.into_iter().next().unwrap_or_else(|| base.to_string());
        Ok(Self { suite, lines, keyring: spec.keyring.clone(), proxy: proxy()? })
    }

    /// Returns the first suite.
    pub(super) fn suite(&self) -> &str {
        &self.suite
    }

    /// Returns the lines of sources.list(5).
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the options.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if let Some(keyring) = &self.keyring {
            let keyring = keyring.display();
            // The first is for now, the second for apt in the base.
            options.push(format!("--keyring={keyring}"));
            options.push(format!(
                "--setup-hook=mkdir -p \"$1\"/etc/apt/trusted.gpg.d && cp -- {} \"$1\"/etc/apt/trusted.gpg.d/",
                quoted(&keyring.to_string())
            ));
        }
        if let Some(proxy) = &self.proxy {
            options.push(format!("--aptopt=Acquire::http::Proxy \"{proxy}\";"));
        }
        options
    }
}

/// Quotes a text for the shell that runs mmdebstrap's hooks.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Returns the indices of Debian's archives that this machine's apt uses.
fn indices() -> Result<Vec<Index>, BoxError> {
    const FORMAT: &str = "$(REPO_URI)\t$(RELEASE)\t$(ORIGIN)\t$(LABEL)";
    let command = Command::new("apt-get").args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
    Ok(parse_indices(&String::from_utf8_lossy(&command.run()?)))
}

fn parse_indices(text: &str) -> Vec<Index> {
    let mut found = Vec::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [uri, suite, "Debian", label] = fields[..] else { continue };
        let is_security = match label {
            "Debian" => false,
            "Debian-Security" => true,
            // Such as Debian Backports, which is not a part of a release.
            _ => continue,
        };
        let index = Index { uri: uri.to_owned(), suite: suite.to_owned(), is_security };
        if !found.contains(&index) {
            found.push(index);
        }
    }
    found
}

/// Returns the suite with the base's name, and those of its updates that are known.
fn default_suites(base: &BaseName, known: &[Index]) -> Vec<String> {
    let more = ["-updates", "-security"].map(|ending| format!("{base}{ending}"));
    let more = more.into_iter().filter(|it| known.iter().any(|index| index.suite == *it));
    std::iter::once(base.to_string()).chain(more).collect()
}

/// Returns where a suite is: where apt has it from, or else where apt has the like from.
fn uri_of(suite: &str, known: &[Index]) -> Result<String, BoxError> {
    let exact = known.iter().find(|it| it.suite == suite);
    let alike = || known.iter().find(|it| it.is_security == suite.ends_with("-security"));
    let index = exact.or_else(alike).ok_or_else(|| {
        format!(
            "this machine's apt knows no Debian mirror for {suite}; run `apt-get update`, or configure the base's mirror"
        )
    })?;
    Ok(index.uri.trim_end_matches('/').to_owned())
}

/// Returns where a suite is, given the main archive. Debian's security updates are in an archive of their own.
fn beside(mirror: &str, suite: &str) -> String {
    let mirror = mirror.trim_end_matches('/');
    if suite.ends_with("-security") && mirror.ends_with("/debian") {
        return format!("{mirror}-security");
    }
    mirror.to_owned()
}

/// Returns the proxy that this machine's apt uses for HTTP.
pub(in crate::builder) fn proxy() -> Result<Option<String>, BoxError> {
    let command = Command::new("apt-config").args(["dump", "--format", "%v%n", "Acquire::http::Proxy"]);
    let text = String::from_utf8_lossy(&command.run()?).trim().to_owned();
    let is_proxy = text.starts_with("http") && !text.contains(['"', '\n', ';']);
    Ok(is_proxy.then_some(text))
}

#[cfg(test)]
mod tests;
