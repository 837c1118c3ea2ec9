//! Writes the configuration of a new site.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::Tagger;
use crate::names::{BaseName, PocketName, Principal, Suite};
use crate::policy::BuildBackend;

/// What a new site is made with.
#[derive(Clone, Debug)]
pub struct NewSite {
    /// Where everything is kept, an absolute path.
    pub root: PathBuf,
    /// Its pockets.
    pub pockets: Vec<NewPocket>,
    /// The distribution that all are built in.
    pub base: BaseName,
    /// The suites of it that a build sees.
    pub base_suites: Vec<Suite>,
    /// The URI of its mirror; `None` for what the host's own apt uses.
    pub mirror: Option<String>,
    /// Who makes the tags and the commits of the superproject.
    pub tagger: Tagger,
    /// What its packages are built by.
    pub builder: BuildBackend,
    /// The fingerprint of the archive's key.
    pub key: Option<String>,
    /// A directory for what builds need and throw away; `None` for the default places below the root.
    pub builds: Option<PathBuf>,
    /// The user of the operating system who builds; `None` for the one who runs the worker.
    pub builder_user: Option<String>,
}

/// A pocket of a new site.
#[derive(Clone, Debug)]
pub struct NewPocket {
    /// Its name, and its branch's.
    pub name: PocketName,
    /// Its suite.
    pub suite: Suite,
    /// Who may publish in it.
    pub acl: Vec<Principal>,
    /// Whether its versions may fall.
    pub allow_backtracking: bool,
}

pub(super) fn render(site: &NewSite) -> String {
    let mut text = String::new();
    write_site(&mut text, site).expect("a String takes every text");
    text
}

fn write_site(text: &mut String, site: &NewSite) -> std::fmt::Result {
    writeln!(
        text,
        "# The configuration of an Invirtibuilder site. `invirtibuilder check` says whether it is right.\n"
    )?;
    writeln!(text, "# Everything is kept below this directory, unless `paths` moves it.")?;
    writeln!(text, "root: {}", quote(&site.root.to_string_lossy()))?;
    if let Some(builds) = &site.builds {
        writeln!(
            text,
            "\n# The users that builds run as must reach these, and cannot reach {}.",
            quote(&site.root.to_string_lossy())
        )?;
        writeln!(text, "paths:\n  # What lives no longer than a build.")?;
        writeln!(text, "  scratch: {}", quote(&builds.join("scratch").to_string_lossy()))?;
        writeln!(text, "  # What can be made again: build environments.")?;
        writeln!(text, "  cache: {}", quote(&builds.join("cache").to_string_lossy()))?;
    }
    writeln!(
        text,
        "\nbuild:\n  # A pocket is one Git branch (`git:`) and one APT suite (`apt:`).\n  pockets:"
    )?;
    for pocket in &site.pockets {
        write_pocket(text, pocket, site)?;
    }
    writeln!(text, "  # Who makes the tags and the commits of the superproject.\n  tagger:")?;
    writeln!(text, "    name: {}\n    email: {}", quote(&site.tagger.name), quote(&site.tagger.email))?;

    writeln!(text, "\n# The distributions that packages are built in.\nbases:")?;
    writeln!(text, "  {}:", quote(site.base.as_str()))?;
    match &site.mirror {
        Some(mirror) => writeln!(text, "    mirror: {}", quote(mirror))?,
        None => writeln!(text, "    # mirror: the one that this machine's own apt uses")?,
    }
    if site.base_suites.is_empty() {
        writeln!(text, "    # suites: the one of this name, with its updates and security updates")?;
    } else {
        writeln!(text, "    suites: {}", quote_list(&site.base_suites))?;
    }
    let is_default = site.builder == BuildBackend::default();
    if site.builder_user.is_some() || !is_default {
        writeln!(text, "\nbuilder:")?;
    }
    if !is_default {
        writeln!(text, "  backend: {}", site.builder.as_str())?;
    }
    if let Some(user) = &site.builder_user {
        writeln!(text, "  # The user who runs the builds, without privilege.\n  user: {}", quote(user))?;
    }
    if let Some(key) = &site.key {
        writeln!(
            text,
            "\npublisher:\n  # The fingerprint of the key that signs the archive.\n  key: {}",
            quote(key)
        )?;
    }
    Ok(())
}

fn write_pocket(text: &mut String, pocket: &NewPocket, site: &NewSite) -> std::fmt::Result {
    writeln!(text, "    {}:", quote(pocket.name.as_str()))?;
    writeln!(text, "      # Who may publish here: principals, the name of a list, a file or a command.")?;
    writeln!(text, "      acl: {}", quote_list(&pocket.acl))?;
    writeln!(text, "      apt: {}", quote(pocket.suite.as_str()))?;
    writeln!(text, "      # Whether versions may fall, and be used again; such a pocket makes no tags.")?;
    writeln!(text, "      allow_backtracking: {}", if pocket.allow_backtracking { "yes" } else { "no" })?;
    writeln!(text, "      base: {}", quote(site.base.as_str()))?;
    writeln!(text, "      # The pockets whose packages a build may depend on, besides the base's.")?;
    // A builder that cannot show them to a build refuses the key.
    let mark = if site.builder.can_build_against() { "" } else { "# " };
    writeln!(text, "      {mark}build_against: {}", quote_list(&[&pocket.name]))
}

/// Returns a text as YAML: as it is where that can be read as nothing else, else as JSON, which is YAML too (YAML
/// 1.2, section 1.3).
fn quote(text: &str) -> String {
    // What YAML 1.1 or 1.2 takes for a truth value or for nothing.
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-@+".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn quote_list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|it| quote(it.as_ref())).collect();
    format!("[{}]", items.join(", "))
}
