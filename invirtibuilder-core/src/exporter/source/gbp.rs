//! `debian/gbp.conf`, read as data: what says where upstream's files are, and nothing else.
//!
//! Never uses a hook, a command or a path of it.

use std::collections::BTreeMap;

use crate::names::{TagName, Version};

/// What git-buildpackage would look for (gbp.conf(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GbpConf {
    /// Whether it uses `pristine-tar`; `None` if it does not say.
    pub(super) pristine_tar: Option<bool>,
    /// Whether upstream's tree is a branch, not a tag.
    pub(super) is_branch: bool,
    tag: Option<String>,
    branch: Option<String>,
    pub(super) compression: Option<String>,
    pub(super) components: Vec<String>,
    /// Patterns of upstream's files that are not in the repository.
    pub(super) filters: Vec<String>,
}

impl GbpConf {
    /// Reads the file. What is not understood is as if it were not there.
    pub(super) fn parse(text: &str) -> Self {
        const SECTIONS: [&str; 8] = [
            "DEFAULT",
            "import-orig",
            "git-import-orig",
            "export-orig",
            "pristine-tar",
            "git-buildpackage",
            "buildpackage",
            "import-dsc",
        ];
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let (mut section, mut key) = (String::new(), String::new());
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t']) && !key.is_empty() {
                let values = sections.entry(section.clone()).or_default();
                let value = values.entry(key.clone()).or_default();
                value.push('\n');
                value.push_str(trimmed);
            } else if let Some(name) = trimmed.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                name.trim().clone_into(&mut section);
                key.clear();
            } else if let Some((name, value)) = trimmed.split_once(['=', ':']) {
                key = name.trim().to_ascii_lowercase();
                sections.entry(section.clone()).or_default().insert(key.clone(), value.trim().to_owned());
            }
        }
        let value = |key: &str| {
            let found = SECTIONS.iter().rev().find_map(|it| sections.get(*it)?.get(key));
            found.map(|it| unquoted(it).to_owned())
        };
        let boolean = |text: String| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        };
        let list = |key: &str| value(key).map(|it| list_of(&it)).unwrap_or_default();
        Self {
            pristine_tar: value("pristine-tar").and_then(boolean),
            is_branch: value("upstream-tree").is_some_and(|it| it.eq_ignore_ascii_case("branch")),
            tag: value("upstream-tag"),
            branch: value("upstream-branch"),
            compression: value("compression").filter(|it| it != "auto"),
            components: list("component"),
            filters: list("filter"),
        }
    }

    /// Returns the name of the tag that upstream's version has.
    pub(super) fn upstream_tag(&self, version: &Version) -> String {
        expand(self.tag.as_deref().unwrap_or("upstream/%(version)s"), version.upstream())
    }

    /// Returns the name of the branch that has upstream's versions.
    pub(super) fn upstream_branch(&self) -> &str {
        self.branch.as_deref().unwrap_or("upstream")
    }
}

fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|it| it.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// Reads one text, several lines, or a list as Python writes it.
fn list_of(text: &str) -> Vec<String> {
    let inner = text.trim().strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let items: Vec<&str> = match inner {
        Some(inner) => inner.split([',', '\n']).collect(),
        None => text.lines().collect(),
    };
    let items = items.into_iter().map(str::trim).filter(|it| !it.is_empty());
    items.map(|it| unquoted(it).to_owned()).collect()
}

/// Puts a version into a tag's pattern, as gbp-buildpackage(1) has it: `%(version)s`, `%(hversion)s` with hyphens for
/// dots, `%(version%A%B)s` with B for A; each as DEP-14 writes a version in a tag.
fn expand(pattern: &str, version: &str) -> String {
    let mangled = |text: &str| match text.parse::<Version>() {
        Ok(version) => TagName::of("", &version).as_str().to_owned(),
        Err(_) => text.replace('~', "_").replace(':', "%"),
    };
    let (mut expanded, mut rest) = (String::new(), pattern);
    while let Some((before, after)) = rest.split_once("%(") {
        expanded.push_str(before);
        let Some((name, after)) = after.split_once(")s") else {
            expanded.push_str("%(");
            rest = after;
            continue;
        };
        rest = after;
        let mut parts = name.split('%');
        let value = match parts.next() {
            Some("hversion") => version.replace('.', "-"),
            _ => version.to_owned(),
        };
        let value = match (parts.next(), parts.next()) {
            (Some(from), Some(to)) if !from.is_empty() => {
                value.replace(from.trim_end_matches('\\'), to.trim_end_matches('\\'))
            }
            _ => value,
        };
        expanded.push_str(&mangled(&value));
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::{GbpConf, expand};

    #[test]
    fn it_says_where_upstream_is_and_nothing_else_counts() {
        let text = "[DEFAULT]\npristine-tar = True\nupstream-tag = 'v%(version)s'\n# x\ndebian-branch=main\n\n\
                    [buildpackage]\npostexport = touch /tmp/x\nupstream-tree = BRANCH\nupstream-branch=up\n\
                    [import-orig]\nfilter = [\n  '*.o',\n  \"a/b\" ]\ncomponent = ['x', 'y']\n";
        let conf = GbpConf::parse(text);
        assert_eq!(conf.pristine_tar, Some(true));
        assert!(conf.is_branch);
        assert_eq!(conf.upstream_branch(), "up");
        assert_eq!(conf.upstream_tag(&"1:1.0~rc1-1".parse().unwrap()), "v1.0_rc1");
        assert_eq!(conf.filters, ["*.o", "a/b"]);
        assert_eq!(conf.components, ["x", "y"]);
        assert_eq!(GbpConf::parse("\u{0}[[=]\n ="), GbpConf::default());
    }

    #[test]
    fn a_tag_has_the_version_as_the_pattern_says() {
        assert_eq!(expand("upstream/%(version)s", "1.0~rc1"), "upstream/1.0_rc1");
        assert_eq!(expand("R_%(hversion)s", "1.2.3"), "R_1-2-3");
        assert_eq!(expand("v%(version%.%_)s-x", "1.2"), "v1_2-x");
        assert_eq!(expand("%(version", "1"), "%(version");
    }
}
