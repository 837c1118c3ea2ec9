//! Reads access lists: those of the pockets, and `acls`, those that have names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::section::{Section, Value};
use super::tree::Node;
use crate::access::{Acl, Lists, Member, Pattern};

const FORMS: &str =
    "write a list of principals, the name of a list below `acls`, `{ file: PATH }` or `{ command: [PATH] }`";

/// Reads `acl` of a pocket.
pub(super) fn read_acl(section: &mut Section<'_>, root: &Path, names: &BTreeSet<&str>) -> Option<Acl> {
    let Some(value) = section.value("acl") else {
        section.place().report(format!("acl is missing, so nobody could publish here; {FORMS}"));
        return None;
    };
    read(&value, root, names)
}

/// Reads `acls`. The names of all lists are `names`.
pub(super) fn read_lists(section: Section<'_>, root: &Path, names: &BTreeSet<&str>) -> Lists {
    let entries = section.named();
    let mut lists = Lists::new();
    let mut places = BTreeMap::new();
    for (name, node, place) in entries {
        places.insert(name, place.clone());
        if let Some(acl) = read(&Value { node, place }, root, names) {
            lists.insert(name.to_owned(), acl);
        }
    }
    for (name, place) in places {
        if let Some(circle) = circle(&lists, name) {
            place.report(format!(
                "it is in itself: {}; take it out of one of them",
                circle.join(", which has ")
            ));
        }
    }
    lists
}

/// Reads an access list.
pub(super) fn read(value: &Value<'_>, root: &Path, names: &BTreeSet<&str>) -> Option<Acl> {
    match value.node {
        Node::List(_) => {
            let members = value.items();
            Some(Acl::Members(members.iter().filter_map(|it| read_member(it, root, names)).collect()))
        }
        Node::Map(_) => match read_source(Section::of(Some(value.node), value.place.clone()), root)? {
            Member::List(acl) => Some(acl),
            member => Some(Acl::Members(vec![member])),
        },
        Node::Text(name) if !name.is_empty() => Some(Acl::Named(name.clone())),
        other => {
            value.place.report(format!("it is {}; {FORMS}", other.kind()));
            None
        }
    }
}

/// Reads a member of a list: a principal, the name of another list, or where others are.
fn read_member(value: &Value<'_>, root: &Path, names: &BTreeSet<&str>) -> Option<Member> {
    match value.node {
        Node::Map(_) => read_source(Section::of(Some(value.node), value.place.clone()), root),
        Node::Text(name) if names.contains(name.as_str()) => Some(Member::List(Acl::Named(name.clone()))),
        _ => value.parse().map(Member::Principal),
    }
}

fn read_source(mut section: Section<'_>, root: &Path) -> Option<Member> {
    let place = section.place().clone();
    let (file, command) = (section.value("file"), section.value("command"));
    let pattern = section.value("pattern");
    section.finish();
    match (file, command, pattern) {
        (Some(file), None, None) => file.path(root).map(|it| Member::List(Acl::File(it))),
        (None, Some(command), None) => read_command(&command).map(|it| Member::List(Acl::Command(it))),
        (None, None, Some(pattern)) => pattern.text().map(|it| Member::Pattern(Pattern::new(it))),
        _ => {
            place.report("it has none or several of file, command and pattern; write one of them");
            None
        }
    }
}

fn read_command(value: &Value<'_>) -> Option<Vec<String>> {
    let items = value.items();
    let words: Vec<String> = items.iter().filter_map(Value::text).map(str::to_owned).collect();
    match words.first() {
        Some(program) if program.starts_with('/') => Some(words),
        Some(program) => {
            value.place.report(format!("{program} is not an absolute path; write where the program is"));
            None
        }
        None => {
            value.place.report("it names no program; write [/path/of/the/program]");
            None
        }
    }
}

/// Returns the way from a list to itself.
fn circle<'a>(lists: &'a Lists, name: &'a str) -> Option<Vec<&'a str>> {
    let mut pending = vec![vec![name]];
    let mut seen = BTreeSet::new();
    while let Some(way) = pending.pop() {
        for next in way.last().and_then(|it| lists.get(*it)).into_iter().flat_map(named) {
            let mut longer = way.clone();
            longer.push(next);
            if next == name {
                return Some(longer);
            }
            if seen.insert(next) {
                pending.push(longer);
            }
        }
    }
    None
}

/// Returns the names of the lists that a list has in itself.
fn named<'a>(acl: &'a Acl) -> Vec<&'a str> {
    match acl {
        Acl::Named(name) => vec![name],
        Acl::Members(members) => {
            let of = |it: &'a Member| match it {
                Member::List(acl) => named(acl),
                _ => Vec::new(),
            };
            members.iter().flat_map(of).collect()
        }
        Acl::File(_) | Acl::Command(_) => Vec::new(),
    }
}
