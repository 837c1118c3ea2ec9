//! A writer that passes everything on and remembers the end of it, for an error's text.

use std::io::{self, Write};

/// How many bytes are remembered.
const KEPT: usize = 1000;

/// Passes on what is written.
pub(in crate::builder) struct Tail<'a> {
    inner: &'a mut (dyn Write + Send),
    end: Vec<u8>,
}

impl<'a> Tail<'a> {
    pub(in crate::builder) fn new(inner: &'a mut (dyn Write + Send)) -> Self {
        Self { inner, end: Vec::new() }
    }

    /// Returns the last whole lines as one line.
    pub(in crate::builder) fn text(&self) -> String {
        const LINES: usize = 5;
        let text = String::from_utf8_lossy(&self.end);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("; ")
    }
}

impl Write for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.end.extend_from_slice(bytes.get(..count).unwrap_or_default());
        let excess = self.end.len().saturating_sub(KEPT);
        self.end.drain(..excess);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
