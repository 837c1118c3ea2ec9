//! Whether a build writes to memory or to a disk.

use std::fmt;

use crate::builder::limits::BuildLimits;
use crate::states::SourcePackage;

/// Where a build writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builder) enum Space {
    /// To memory, so many bytes.
    Memory(u64),
    /// To the disk of the scratch directory.
    Disk,
}

impl Space {
    /// Returns how many bytes of memory it takes at most.
    pub(in crate::builder) fn bytes(self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Disk => 0,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "in {} MiB of memory", bytes >> 20),
            Self::Disk => f.write_str("on disk"),
        }
    }
}

/// Decides for a build.
pub(in crate::builder) fn space(source: &SourcePackage, limits: &BuildLimits) -> Space {
    space_for(source.control().files().iter().map(|it| it.size).sum(), limits)
}

/// Decides for what is made of so many compressed bytes.
pub(super) fn space_for(compressed: u64, limits: &BuildLimits) -> Space {
    let release = rustix::system::uname();
    if !keeps_attributes(&release.release().to_string_lossy()) {
        return Space::Disk;
    }
    decide(available_now(), compressed, limits.disk)
}

/// Where the limit says how much a build may write, memory is used if half of what is free is that much. Where it
/// does not, if a quarter of it is plenty for what is known of the package; should it not do, the build is repeated on
/// disk.
fn decide(available: u64, compressed: u64, limit: Option<u64>) -> Space {
    const LEAST: u64 = 1 << 30;
    const GROWTH: u64 = 50;
    match limit {
        Some(limit) if limit <= available / 2 => Space::Memory(limit),
        None if available / 4 >= compressed.saturating_mul(GROWTH).saturating_add(LEAST) => {
            Space::Memory(available / 4)
        }
        _ => Space::Disk,
    }
}

/// Returns how many bytes of memory are free.
pub(in crate::builder) fn available_now() -> u64 {
    available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// Reads `proc_meminfo(5)`.
fn available(text: &str) -> u64 {
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|it| it.trim().strip_suffix("kB")).and_then(|it| it.trim().parse().ok());
    kibibytes.map_or(0, |it: u64| it << 10)
}

/// Since Linux 6.6, tmpfs keeps the extended attributes that an overlay in a user namespace writes.
fn keeps_attributes(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|it| it.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_small_package_is_built_in_a_quarter_of_the_memory_and_a_large_one_on_disk() {
        assert_eq!(decide(20 * GIB, 1 << 20, None), Space::Memory(5 * GIB));
        assert_eq!(decide(20 * GIB, GIB / 10, None), Space::Disk);
        assert_eq!(decide(2 * GIB, 1 << 20, None), Space::Disk);
    }

    #[test]
    fn a_limit_is_the_size_of_the_memory_where_half_of_it_is_enough() {
        assert_eq!(decide(20 * GIB, GIB, Some(10 * GIB)), Space::Memory(10 * GIB));
        assert_eq!(decide(20 * GIB, 0, Some(11 * GIB)), Space::Disk);
    }

    #[test]
    fn memory_is_read_and_an_old_kernel_has_none_for_us() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), 2 << 20);
        assert_eq!(available(""), 0);
        assert!(keeps_attributes("6.18.44-x") && keeps_attributes("7.0"));
        assert!(!keeps_attributes("6.1.0-37-amd64") && !keeps_attributes("5.10"));
    }
}
