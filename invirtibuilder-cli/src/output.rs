//! How answers look: tables, colours on a terminal, plain lines in a pipe, JSON where asked.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the command line prints")]

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::Serialize;

use crate::context::Failure;

/// Emphasis.
pub(crate) const BOLD: Style = Style::new().bold();
/// What is good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What wants attention.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// What is bad.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Puts a style around a text. A stream without colour strips it again.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns whether standard error shows colours.
pub(crate) fn stderr_has_colour() -> bool {
    !matches!(anstream::AutoStream::choice(&io::stderr()), anstream::ColorChoice::Never)
}

/// Returns whether standard error is a terminal, where progress may be drawn.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes one line to standard error: an error, with what to do.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(anstream::stderr(), "{} {}", styled(BAD.bold(), "error:"), escape(line));
}

/// Writes one line to standard error: something that is not an answer.
pub(crate) fn remark(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Draws on standard error, which is a terminal, without ending the line.
pub(crate) fn draw(text: &str) {
    let mut stderr = anstream::stderr();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

/// Replaces control characters, which a terminal would obey, by what Rust shows for them.
pub(crate) fn escape(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Standard output, and how to write answers on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    is_json: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Writes an answer: as one JSON document, or as `show` writes it for people.
    pub(crate) fn answer<T: Serialize>(
        self,
        answer: &T,
        show: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut stdout = anstream::stdout();
        if self.is_json {
            let text = serde_json::to_string_pretty(answer).map_err(io::Error::from)?;
            writeln!(stdout, "{text}")?;
        } else {
            show(&mut stdout)?;
        }
        Ok(stdout.flush()?)
    }
}

/// Writes one object of a stream as a line of JSON.
pub(crate) fn json_line<T: Serialize>(object: &T) -> io::Result<()> {
    let text = serde_json::to_string(object)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(Style, String)>>,
}

impl Table {
    /// Makes a table with a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|it| (FAINT, (*it).to_owned())).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<(Style, String)>) {
        self.rows.push(cells.into_iter().map(|(style, text)| (style, escape(&text))).collect());
    }

    /// Writes the table. Nothing follows the last cell of a line.
    pub(crate) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.1.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (at, ((style, text), width)) in row.iter().zip(&widths).enumerate() {
                let is_last = at + 1 == row.len();
                let gap = if is_last { 0 } else { width.saturating_sub(text.chars().count()) + 2 };
                write!(to, "{}{}", styled(*style, text), " ".repeat(gap))?;
            }
            writeln!(to)?;
        }
        Ok(())
    }
}

/// A cell without style.
#[allow(clippy::needless_pass_by_value, reason = "literals, references and values are all easy to write")]
pub(crate) fn plain(text: impl ToString) -> (Style, String) {
    (Style::new(), text.to_string())
}

/// Shows a moment in the local time zone, to the second.
pub(crate) fn show_time(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Shows the time from one moment to another in the two largest units.
pub(crate) fn show_duration(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// Cuts a commit id to what a person compares.
pub(crate) fn short(commit: &invirtibuilder_core::names::CommitId) -> String {
    commit.as_str().chars().take(12).collect()
}
