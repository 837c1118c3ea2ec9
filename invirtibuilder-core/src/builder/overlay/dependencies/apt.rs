//! Asks this machine's apt about a tree, with apt's files at places of our own.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::against::View;
use super::{Package, Question, sort};
use crate::builder::overlay::store::{Kind, Store};
use crate::builder::overlay::tree::Tree;
use crate::builder::overlay::{Trouble, Workplace};
use crate::builder::scratch::{Entry, Part};
use crate::durable;
use crate::error::BoxError;
use crate::names::{Architecture, PackageName, Version};

/// Lists that are older are fetched again before a package is told that nothing meets its needs.
const OLD: Duration = Duration::from_secs(3600);

/// The file among the lists that tells them from others.
const STAMP: &str = "stamp";

/// The directory among the lists with what apt computed from them.
const COMPUTED: &str = "computed";

/// When lists are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// If there are none.
    Missing,
    /// Also if there are some.
    Always,
}

/// What apt knows packages from.
pub(super) struct Sources<'a> {
    pub(super) tree: &'a Tree,
    /// Where its lists are.
    pub(super) lists: &'a Path,
    /// sources.list(5).
    pub(super) list: PathBuf,
    /// The directory of the `.sources` files besides it.
    pub(super) parts: PathBuf,
    /// `apt_preferences(5)`.
    pub(super) preferences: PathBuf,
    /// Where apt keeps what it computed from all of these, for the next question about the same; `None` if that would
    /// never be asked.
    pub(super) computed: Option<PathBuf>,
}

impl<'a> Sources<'a> {
    /// Takes those of a tree, whose lists somebody asks about once.
    pub(super) fn of(tree: &'a Tree, lists: &'a Path) -> Self {
        let etc = tree.root().join("etc/apt");
        Self {
            tree,
            lists,
            list: etc.join("sources.list"),
            parts: etc.join("sources.list.d"),
            preferences: "/dev/null".into(),
            computed: None,
        }
    }

    /// Takes those of a tree, whose lists are kept.
    pub(super) fn of_kept(tree: &'a Tree, lists: &'a Path) -> Self {
        Self { computed: Some(lists.join(COMPUTED)), ..Self::of(tree, lists) }
    }
}

/// Writes apt.conf(5).
pub(super) fn settings(
    entry: &Entry,
    sources: &Sources<'_>,
    architecture: &Architecture,
    proxy: Option<&str>,
) -> String {
    let (own, root) = (entry.part(Part::Home), sources.tree.root());
    let mut text = String::new();
    let mut set = |name: &str, value: &str| {
        // Paths of ours have neither quotes nor backslashes. Writing to a string does not fail.
        let _ = writeln!(text, "{name} \"{value}\";");
    };
    let path = |it: &Path| it.display().to_string();
    for (name, value) in [
        ("Dir", path(&own)),
        ("Dir::State", path(&own)),
        ("Dir::State::lists", path(sources.lists)),
        ("Dir::State::status", path(&root.join("var/lib/dpkg/status"))),
        ("Dir::Cache", path(sources.computed.as_ref().unwrap_or(&own))),
        ("Dir::Cache::archives", path(&own)),
        ("Dir::Etc::sourcelist", path(&sources.list)),
        ("Dir::Etc::sourceparts", path(&sources.parts)),
        ("Dir::Etc::preferences", path(&sources.preferences)),
        ("Dir::Etc::trustedparts", path(&root.join("etc/apt/trusted.gpg.d"))),
    ] {
        set(name, &value);
    }
    for name in ["main", "parts", "trusted", "preferencesparts"] {
        set(&format!("Dir::Etc::{name}"), "/dev/null");
    }
    for (name, value) in [
        ("APT::Architecture", architecture.as_str()),
        ("APT::Architectures::", architecture.as_str()),
        ("APT::Install-Recommends", "false"),
        ("APT::Sandbox::User", ""),
        ("APT::Update::Error-Mode", "any"),
        ("Acquire::ForceHash", "SHA256"),
        ("Acquire::Languages", "none"),
        ("Acquire::Retries", "2"),
    ] {
        set(name, value);
    }
    if let Some(proxy) = proxy {
        set("Acquire::http::Proxy", proxy);
    }
    text
}

/// Returns which lists of a tree are there.
pub(super) fn stamp(store: &Store, tree: &Tree) -> Result<Option<String>, BoxError> {
    let Some(lists) = store.take(Kind::Lists, &tree.id)? else { return Ok(None) };
    Ok(fs::read_to_string(lists.path.join(STAMP)).ok())
}

/// Returns whether the lists of a tree are so old that something may have come since.
pub(super) fn is_old(store: &Store, tree: &Tree) -> Result<bool, BoxError> {
    let Some(lists) = store.take(Kind::Lists, &tree.id)? else { return Ok(true) };
    let modified = fs::metadata(lists.path.join(STAMP)).and_then(|it| it.modified())?;
    Ok(modified.elapsed().is_ok_and(|it| it > OLD))
}

/// Fetches the lists of a tree; returns which they are now. The caller has the turn to do so.
pub(super) fn update(
    place: &Workplace<'_>,
    tree: &Tree,
    architecture: &Architecture,
    when: When,
    log: &mut (dyn Write + Send),
) -> Result<String, Trouble> {
    if when == When::Missing
        && let Some(stamp) = stamp(place.store, tree)?
    {
        return Ok(stamp);
    }
    let machine = |e: BoxError| Trouble::Machine(e);
    writeln!(log, "invirtibuilder: fetching apt's lists").map_err(|e| machine(e.into()))?;
    let entry = place.store.workshop().enter(place.walls)?;
    let lists = entry.part(Part::Chroots);
    let command = place.apt("apt-get", &entry, &Sources::of(tree, &lists), architecture)?;
    let command = command.args(["-q", "update"]);
    if let Err(problem) = sort(command.run_interruptible(place.interrupt))? {
        return Err(Trouble::Moment(format!("apt's lists cannot be fetched: {}", last_lines(&problem))));
    }
    // Apt writes there as the account that fetched the lists.
    let account = place.walls.account();
    durable::create_directory(&lists.join(COMPUTED)).map_err(|e| machine(e.into()))?;
    durable::give_to(&lists.join(COMPUTED), account.user(), account.group())
        .map_err(|e| machine(e.into()))?;
    let stamp = jiff::Timestamp::now().to_string();
    durable::write(&lists.join(STAMP), stamp.as_bytes()).map_err(|e| machine(e.into()))?;
    place.store.forget_answers()?;
    if !place.store.remove_soon(Kind::Lists, &tree.id, place.walls)? {
        return Err(Trouble::Moment("apt's lists are in use".to_owned()));
    }
    place.store.keep(Kind::Lists, &tree.id, &entry, Part::Chroots)?;
    entry.remove()?;
    Ok(stamp)
}

/// Asks which packages meet the needs in a tree.
///
/// # Errors
/// No packages do: that is the source package's fault. The lists must be there.
pub(super) fn ask(
    place: &Workplace<'_>,
    question: &Question<'_>,
    view: &View,
    log: &mut (dyn Write + Send),
) -> Result<Vec<Package>, Trouble> {
    let machine = |e: BoxError| Trouble::Machine(e);
    let entry = place.store.workshop().enter(place.walls)?;
    let file = entry.part(Part::Input).join("needs.dsc");
    durable::note(&file, question.needs.text.as_bytes()).map_err(|e| machine(e.into()))?;
    let mut output = Vec::new();
    let mut sources = view.sources(question.tree, &entry)?;
    let beside = &question.needs.beside;
    if !beside.is_empty() {
        let preferences = entry.part(Part::Input).join("preferences-of-all");
        let others = std::fs::read_to_string(&sources.preferences).map_err(|e| machine(e.into()))?;
        let text = format!("{}\n{others}", preferred(beside));
        durable::note(&preferences, text.as_bytes()).map_err(|e| machine(e.into()))?;
        sources.preferences = preferences;
    }
    let mut command = place.apt("apt-get", &entry, &sources, question.architecture)?;
    if !beside.is_empty() {
        let packages = entry.part(Part::Input).join("Packages");
        durable::note(&packages, beside.as_bytes()).map_err(|e| machine(e.into()))?;
        command = command.arg("--with-source").arg(&packages);
    }
    let command = command.args(["-q", "--yes", "--no-remove", "--print-uris", "build-dep", "--"]).arg(&file);
    let status = command.run_logged(&mut output, place.interrupt);
    let text = String::from_utf8_lossy(&output).into_owned();
    let answer = match sort(status.map(|status| if status.success() { Vec::new() } else { vec![1] }))? {
        Ok(failed) if failed.is_empty() => parse(&text).map_err(machine).and_then(|mut packages| {
            // They are brought in otherwise.
            packages.retain(|it| !beside.contains(&it.sha256));
            view.locate(packages)
        }),
        _ => {
            let explanation = explanation(&text, &format!("builddeps:{}", file.display()));
            writeln!(log, "{}", explanation.join("\n")).map_err(|e| machine(e.into()))?;
            Err(Trouble::Package(format!("its build dependencies cannot be met: {}", explanation.join("; "))))
        }
    };
    entry.remove()?;
    answer
}

/// Returns the `apt_preferences(5)` that let apt take these packages also where the base has a greater version.
fn preferred(paragraphs: &str) -> String {
    let pin = |paragraph: &str| {
        let field = |name: &str| paragraph.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
        let name: PackageName = field("Package:")?.parse().ok()?;
        let version: Version = field("Version:")?.parse().ok()?;
        Some(format!("Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"))
    };
    paragraphs.split("\n\n").filter_map(pin).collect::<Vec<_>>().join("\n")
}

/// Reads what `--print-uris` prints: URI in quotes, file name, size and hash.
fn parse(text: &str) -> Result<Vec<Package>, BoxError> {
    let mut packages = Vec::new();
    for line in text.lines().filter(|it| it.starts_with('\'')) {
        let fields: Vec<_> = line.split(' ').collect();
        let [uri, file, _, hash] = fields[..] else { return Err(format!("apt printed {line:?}").into()) };
        let sha256 = hash.strip_prefix("SHA256:").filter(|it| it.len() == 64);
        let sha256 = sha256.filter(|it| it.bytes().all(|c| c.is_ascii_hexdigit()));
        let sha256 = sha256.ok_or_else(|| format!("the mirror has no SHA-256 of {file}"))?;
        if !is_plain(file) {
            return Err(format!("apt named a file {file:?}").into());
        }
        let (uri, sha256) = (uri.trim_matches('\'').to_owned(), sha256.to_owned());
        packages.push(Package { file: file.to_owned(), sha256, uri });
    }
    packages.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(packages)
}

fn is_plain(name: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "+-._~%:".contains(c);
    name.ends_with(".deb") && !name.starts_with(['.', '-']) && name.chars().all(is_known)
}

/// Returns the lines in which apt says why not.
pub(super) fn explanation(text: &str, subject: &str) -> Vec<String> {
    let text = if subject.is_empty() { text.to_owned() } else { text.replace(subject, "the package") };
    let lines = || text.lines().map(str::trim).filter(|it| !it.is_empty());
    let unmet = lines().skip_while(|it| !it.contains("unmet dependencies:")).skip(1);
    let mut found: Vec<String> = unmet.map(str::to_owned).collect();
    if found.is_empty() {
        found = lines().filter(|it| it.starts_with("E: ")).map(str::to_owned).collect();
    }
    found.retain(|it| !it.contains("held broken packages"));
    found
}

fn last_lines(text: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<_> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("; ")
}

#[cfg(test)]
mod tests;
