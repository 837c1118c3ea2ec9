//! Walks the tree of a configuration and collects every problem on the way.
//!
//! Never stops at the first problem: what cannot be read is reported and counts as left out.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Problem;
use super::locate::{Shown, Step, line_of};
use super::tree::Node;

/// The problems that were found so far, and what is needed to say where they are.
pub(super) struct Problems<'a> {
    text: &'a str,
    file: &'a Path,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str, file: &'a Path) -> Self {
        Self { text, file, found: RefCell::default() }
    }

    /// Returns the problems in the order of the document.
    pub(super) fn into_found(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|it| it.line);
        found
    }
}

/// A place in the document.
#[derive(Clone)]
pub(super) struct Place<'a> {
    problems: &'a Problems<'a>,
    path: Vec<Step>,
}

impl<'a> Place<'a> {
    pub(super) fn top(problems: &'a Problems<'a>) -> Self {
        Self { problems, path: Vec::new() }
    }

    pub(super) fn below(&self, step: Step) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { problems: self.problems, path }
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.below(Step::Key(key.to_owned()))
    }

    /// Notes a problem: what is wrong here, and what to do.
    pub(super) fn report(&self, problem: impl Display) {
        self.problems.found.borrow_mut().push(Problem {
            file: self.problems.file.to_owned(),
            line: Some(line_of(self.problems.text, &self.path)),
            key: Shown(&self.path).to_string(),
            problem: problem.to_string(),
        });
    }

    /// Takes what was read, or reports why it could not be.
    pub(super) fn take<T>(&self, read: Result<T, impl Display>) -> Option<T> {
        read.map_err(|problem| self.report(problem)).ok()
    }
}

/// A map of the document whose keys are asked for one by one.
pub(super) struct Section<'a> {
    place: Place<'a>,
    entries: &'a [(String, Node)],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Takes a value as a map; a value that is left out is an empty one.
    pub(super) fn of(node: Option<&'a Node>, place: Place<'a>) -> Self {
        let entries: &[(String, Node)] = match node {
            None | Some(Node::Nothing) => &[],
            Some(Node::Map(entries)) => entries,
            Some(other) => {
                place.report(format!("it is {}, not a map; write keys below it", other.kind()));
                &[]
            }
        };
        for (at, (key, _)) in entries.iter().enumerate() {
            if entries.iter().take(at).filter(|it| it.0 == *key).count() == 1 {
                place.below(Step::Repeated(key.clone())).report("it is there twice; remove one of the two");
            }
        }
        Self { place, entries, known: Vec::new() }
    }

    pub(super) fn place(&self) -> &Place<'a> {
        &self.place
    }

    /// Returns the value of a key, unless it is left out or empty.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let (_, node) = self.entries.iter().find(|it| it.0 == key)?;
        (*node != Node::Nothing).then(|| Value { node, place: self.place.key(key) })
    }

    /// Returns a text of one line.
    pub(super) fn line(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        let text = value.text()?;
        if text.contains(char::is_control) {
            value.place.report("it has a line break or another control character; write one line");
        }
        Some(text.to_owned())
    }

    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        self.known.push(key);
        let node = self.entries.iter().find(|it| it.0 == key).map(|it| &it.1);
        Section::of(node, self.place.key(key))
    }

    /// Returns every entry of a map whose keys are names, each name once.
    pub(super) fn named(self) -> Vec<(&'a str, &'a Node, Place<'a>)> {
        let is_first = |at: usize, key: &str| !self.entries.iter().take(at).any(|it| it.0 == key);
        let entries = self.entries.iter().enumerate().filter(|(at, it)| is_first(*at, &it.0));
        entries.map(|(_, (key, node))| (key.as_str(), node, self.place.key(key))).collect()
    }

    /// Returns the keys of a map whose keys are names.
    pub(super) fn keys(&self) -> BTreeSet<&'a str> {
        self.entries.iter().map(|it| it.0.as_str()).collect()
    }

    /// Returns which of several backends is named; `None` if none is, or one that there is not.
    pub(super) fn backend_of(&mut self, names: &[&'static str]) -> Option<&'static str> {
        let value = self.value("backend")?;
        let text = value.text()?;
        let found = names.iter().copied().find(|it| *it == text);
        if found.is_none() {
            let names = names.join(", ");
            value
                .place
                .report(format!("there is no backend {text:?}; write one of {names}, or leave it out"));
        }
        found
    }

    /// Refuses a backend other than the one that there is.
    pub(super) fn backend(&mut self, only: &str) {
        if let Some(value) = self.value("backend")
            && let Some(found) = value.text()
            && found != only
        {
            value
                .place
                .report(format!("the backend {found:?} is not supported yet; write {only}, or leave it out"));
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            if self.known.iter().any(|it| it == key) {
                continue;
            }
            let nearest = self.known.iter().map(|it| (distance(key, it), *it)).min();
            let remedy = match nearest {
                Some((distance, nearest)) if distance <= 2 || distance <= nearest.len() / 3 => {
                    format!("did you mean {nearest}?")
                }
                _ => format!("the keys here are {}", self.known.join(", ")),
            };
            self.place.key(key).report(format!("this key is unknown; {remedy}"));
        }
    }
}

/// A value that is there.
pub(super) struct Value<'a> {
    pub(super) node: &'a Node,
    pub(super) place: Place<'a>,
}

impl<'a> Value<'a> {
    /// Returns a text that is not empty.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.node {
            Node::Text(text) if text.is_empty() => {
                self.place.report("it is empty; write a text, or remove it");
            }
            Node::Text(text) => return Some(text),
            Node::Number(_) | Node::Boolean(_) => {
                self.place.report(format!("it is {}, not a text; write it in quotes", self.node.kind()));
            }
            other => self.place.report(format!("it is {}, not a text", other.kind())),
        }
        None
    }

    /// Returns a text in the form of its type.
    pub(super) fn parse<T: FromStr>(&self) -> Option<T>
    where
        T::Err: Display,
    {
        self.text().and_then(|text| self.place.take(text.parse()))
    }

    /// Returns a boolean; YAML 1.1's words, which the original's configuration uses, are booleans too.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node {
            Node::Boolean(value) => return Some(*value),
            Node::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => return Some(true),
                "no" | "off" | "false" => return Some(false),
                _ => (),
            },
            _ => (),
        }
        self.place.report("it is neither yes nor no; write one of them");
        None
    }

    pub(super) fn items(&self) -> Vec<Value<'a>> {
        let Node::List(items) = self.node else {
            self.place.report(format!("it is {}, not a list; write [one, two]", self.node.kind()));
            return Vec::new();
        };
        let value = |(at, node)| Value { node, place: self.place.below(Step::Item(at)) };
        items.iter().enumerate().map(value).collect()
    }

    /// Returns a list of texts in the form of their type.
    pub(super) fn list<T: FromStr>(&self) -> Vec<T>
    where
        T::Err: Display,
    {
        self.items().iter().filter_map(Value::parse).collect()
    }

    /// Returns an absolute path; a relative one begins at `root`.
    pub(super) fn path(&self, root: &Path) -> Option<PathBuf> {
        let path = root.join(self.text()?);
        if path.components().any(|it| it == std::path::Component::ParentDir) {
            self.place.report("it has `..` in it; write the path without");
            return None;
        }
        Some(path)
    }
}

/// Returns how many letters must be added, removed or changed to make one text the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, from) in a.chars().take(64).enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(from != *to));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
