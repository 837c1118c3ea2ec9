//! Writes an initramfs: a cpio archive in the form "newc" (the kernel's buffer-format.rst).
//!
//! Never takes an owner, a time or an order from anywhere: the same files always give the same bytes.

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Program,
    File,
    /// The device that the first process has open before it has others.
    Console,
}

impl Kind {
    /// The type and permission bits of `stat(2)`.
    fn mode(self) -> u32 {
        match self {
            Self::Directory => 0o040_755,
            Self::Program => 0o100_755,
            Self::File => 0o100_644,
            Self::Console => 0o020_600,
        }
    }

    /// The device's numbers.
    fn device(self) -> (u32, u32) {
        if self == Self::Console { (5, 1) } else { (0, 0) }
    }
}

/// An initramfs that is being written.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    /// Adds a directory; those above it have been added.
    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, Kind::Directory, &[]);
    }

    /// Adds a program.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, Kind::Program, content);
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, Kind::File, content);
    }

    /// Adds `/dev/console`.
    pub(super) fn console(&mut self) {
        self.entry("dev/console", Kind::Console, &[]);
    }

    /// Returns the whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.header("TRAILER!!!", 0, (0, 0), 0);
        self.bytes
    }

    fn entry(&mut self, name: &str, kind: Kind, content: &[u8]) {
        self.entries += 1;
        self.header(name, kind.mode(), kind.device(), content.len());
        self.bytes.extend(content);
        self.align();
    }

    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), length: usize) {
        let (length, name_length) = (u32::try_from(length).unwrap_or(u32::MAX), name.len() + 1);
        let name_length = u32::try_from(name_length).unwrap_or(u32::MAX);
        // Magic number; inode, mode, owner, group, links, time, length, device and its own number, name, sum.
        self.bytes.extend(b"070701");
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_every_entry_at_a_multiple_of_four_and_a_trailer() {
        let mut written = Initramfs::default();
        written.directory("dev");
        written.console();
        written.program("init", b"#!x");
        let bytes = written.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<_> = text.match_indices("070701").map(|it| it.0).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|it| it % 4 == 0), "{starts:?}");
        assert!(text.contains("000081ed") && text.contains("init\0"), "{text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text}");
    }
}
