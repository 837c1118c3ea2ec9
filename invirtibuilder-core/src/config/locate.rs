//! Finds the line of a key in the text of a YAML document.
//!
//! Exact for the block style; a key inside of `{ … }` or `[ … ]` has the line of the nearest key above it that
//! is in block style. Never judges whether the document is valid.

use std::fmt;

/// One step from the top of the document towards a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a key.
    Key(String),
    /// The value of a key's second occurrence in the same map.
    Repeated(String),
    /// An item of a list, counted from zero.
    Item(usize),
}

/// A key path, as people write it.
pub(super) struct Shown<'a>(pub(super) &'a [Step]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) | Step::Repeated(key) if at == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) | Step::Repeated(key) => write!(f, ".{}", key.escape_debug())?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// A line with content: its number, counted from one, its indentation, and the rest.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    content: &'a str,
}

/// Returns the line of the deepest part of `path` that is found; the first line if nothing is.
pub(super) fn line_of(text: &str, path: &[Step]) -> usize {
    let lines: Vec<Line<'_>> =
        text.lines().enumerate().filter_map(|(at, line)| content_of(at, line)).collect();
    let mut found = 1;
    let mut inside = lines.as_slice();
    for step in path {
        let Some(indent) = inside.first().map(|it| it.indent) else { break };
        let matches = |line: &Line<'_>| match step {
            Step::Key(key) | Step::Repeated(key) => line.indent == indent && is_key(line.content, key),
            Step::Item(_) => line.indent == indent && is_item(line.content),
        };
        let nth = match step {
            Step::Key(_) => 0,
            Step::Repeated(_) => 1,
            Step::Item(item) => *item,
        };
        let Some((at, line)) = inside.iter().enumerate().filter(|it| matches(it.1)).nth(nth) else { break };
        found = line.number;
        inside = below(inside.split_at(at).1);
    }
    found
}

fn content_of(at: usize, line: &str) -> Option<Line<'_>> {
    let content = line.trim_start_matches(' ');
    let is_content = !content.trim().is_empty() && !content.starts_with('#') && content != "---";
    is_content.then_some(Line { number: at + 1, indent: line.len() - content.len(), content })
}

/// Returns the lines that belong to the value of the first line's key.
fn below<'a, 'b>(lines: &'a [Line<'b>]) -> &'a [Line<'b>] {
    let Some((first, rest)) = lines.split_first() else { return &[] };
    // A list may stand at the indentation of its key.
    let list_is_level = !is_item(first.content)
        && rest.first().is_some_and(|it| it.indent == first.indent && is_item(it.content));
    let belongs = |line: &&Line<'_>| {
        line.indent > first.indent || (list_is_level && line.indent == first.indent && is_item(line.content))
    };
    rest.split_at(rest.iter().take_while(belongs).count()).0
}

fn is_key(content: &str, key: &str) -> bool {
    let quoted = [key.to_owned(), format!("\"{key}\""), format!("'{key}'")];
    quoted.iter().any(|it| {
        content
            .strip_prefix(it.as_str())
            .and_then(|rest| rest.trim_start_matches(' ').strip_prefix(':'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    })
}

fn is_item(content: &str) -> bool {
    content == "-" || content.starts_with("- ")
}
