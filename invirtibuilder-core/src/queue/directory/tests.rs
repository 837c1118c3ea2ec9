//! Tests of the directory queue; the contract itself is in `conformance::queue`.
#![allow(clippy::disallowed_methods, reason = "tests make the files that they need")]

use super::*;

#[cfg(feature = "conformance")]
#[test]
fn the_directory_queue_fulfils_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    crate::conformance::queue::run(&|| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::new(DirectoryQueue::open(&directory.path().join(n.to_string())).unwrap())
    });
}
