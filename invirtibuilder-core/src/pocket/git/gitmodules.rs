//! The `.gitmodules` of the superproject: one section a package, which only this program writes.
//!
//! Reads nothing but what this module writes; a section in another form counts as absent and is written anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Component, Path};

use crate::names::PackageName;

/// The URL of each package's repository.
pub(super) type Urls = BTreeMap<PackageName, String>;

/// Reads the URLs.
pub(super) fn parse(bytes: &[u8]) -> Urls {
    let text = String::from_utf8_lossy(bytes);
    let mut urls = Urls::new();
    let mut package: Option<PackageName> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("[submodule \"") {
            package = rest.strip_suffix("\"]").and_then(|name| name.parse().ok());
        } else if let (Some(package), Some(value)) = (&package, line.trim_start().strip_prefix("url = ")) {
            urls.insert(package.clone(), unquoted(value));
        }
    }
    urls
}

/// Writes the URLs (gitmodules(5)).
pub(super) fn render(urls: &Urls) -> String {
    let mut text = String::with_capacity(urls.len() * 100);
    for (package, url) in urls {
        // Writing to a text cannot fail.
        let _ = write!(text, "[submodule \"{package}\"]\n\tpath = {package}\n\turl = {}\n", quoted(url));
    }
    text
}

fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.+-_".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{escaped}\"")
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match (c, c == '\\') {
            (c, false) => plain.push(c),
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some(other) => plain.push(other),
                None => (),
            },
        }
    }
    plain
}

/// Returns the URL of a package's repository relative to the superproject, so that a clone of the superproject
/// by any way finds the packages' repositories by the same way.
pub(super) fn relative_url(superproject: &Path, repository: &Path) -> String {
    let parts = |path: &Path| -> Vec<String> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let normal = absolute.components().filter(|it| matches!(it, Component::Normal(_)));
        normal.map(|it| it.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let (from, to) = (parts(superproject), parts(repository));
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", from.len() - common);
    let down = to.iter().skip(common).map(String::as_str);
    let path: Vec<&str> = up.chain(down).collect();
    if from.len() == common { format!("./{}", path.join("/")) } else { path.join("/") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Urls, parse, relative_url, render};

    #[test]
    fn a_url_leads_from_the_superproject_to_the_repository() {
        let url = |a: &str, b: &str| relative_url(Path::new(a), Path::new(b));
        assert_eq!(url("/srv/super.git", "/srv/repositories/hello.git"), "../repositories/hello.git");
        assert_eq!(url("/srv/git/super.git", "/srv/packages/hello.git"), "../../packages/hello.git");
        assert_eq!(url("/srv", "/srv/repositories/hello.git"), "./repositories/hello.git");
    }

    #[test]
    fn urls_are_read_back_as_they_were_written() {
        let odd = ["../a b/\"x\"\\y.git", "../plain/hello.git", "../#;\tx.git"];
        let names = ["a1", "b2", "c3"];
        let urls: Urls =
            names.iter().zip(odd).map(|(name, url)| (name.parse().unwrap(), url.to_owned())).collect();
        assert_eq!(parse(render(&urls).as_bytes()), urls);
    }
}
