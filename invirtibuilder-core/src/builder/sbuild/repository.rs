//! The build dependencies of one build as an APT repository of their own: a directory with the packages and one index.
//!
//! It is the only repository that the build environment's apt has lists of, so what it installs is what was fetched in
//! advance, and nothing else. Never signed: it does not leave the run, and each package's hash has just been checked.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use crate::builder::overlay::dependencies::{Package, link};
use crate::builder::overlay::store::Store;
use crate::control::control_text;
use crate::durable::scratch;
use crate::error::BoxError;

/// Makes the directory `into`.
pub(in crate::builder) fn make(store: &Store, packages: &[Package], into: &Path) -> Result<(), BoxError> {
    scratch::create_directory(into, 0o755)?;
    // Versions have characters that mean something in a URI, hashes have none.
    let mut named = packages.to_vec();
    for package in &mut named {
        package.file = format!("{}.deb", package.sha256);
    }
    link(store, &named, into)?;
    let mut index = String::new();
    for package in &named {
        let file = into.join(&package.file);
        let control = control_text(File::open(&file)?).map_err(|e| format!("in {}: {e}", package.file))?;
        index.push_str(&paragraph(&control, &package.file, fs::metadata(&file)?.len(), &package.sha256));
    }
    Ok(scratch::write_new(&into.join("Packages"), index.as_bytes(), 0o644)?)
}

/// Returns the line of sources.list(5) for the repository at a place in the build environment.
pub(in crate::builder) fn source_line(at: &str) -> String {
    format!("deb [trusted=yes] file://{at} ./")
}

fn paragraph(control: &str, file: &str, size: u64, sha256: &str) -> String {
    let mut text = control.trim_matches('\n').to_owned();
    // Writing to a string does not fail.
    let _ = write!(text, "\nFilename: ./{file}\nSize: {size}\nSHA256: {sha256}\n\n");
    text
}

#[cfg(test)]
#[test]
fn a_paragraph_ends_with_where_and_what_the_file_is() {
    assert_eq!(
        paragraph("Package: a\nVersion: 1:2\n", "00.deb", 7, "00"),
        "Package: a\nVersion: 1:2\nFilename: ./00.deb\nSize: 7\nSHA256: 00\n\n"
    );
}
