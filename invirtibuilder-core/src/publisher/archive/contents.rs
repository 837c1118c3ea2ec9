//! Which files are in binary packages: the entries of `Contents-*` (Debian's repository format).
//!
//! An entry has all lines of one package, and entries follow each other in the order of the packages' names, not of
//! the files': so a publication changes one piece of an index and not all of it. Readers such as apt-file look at
//! every line and need no order.

use std::fs::File;
use std::io;
use std::path::Path;

use super::stanza::Stanza;
use crate::control::list_files;

/// Makes the entry of a package from its file and its paragraph in `Packages`; empty if the package has no files.
pub(super) fn of_package(path: &Path, stanza: &Stanza) -> io::Result<Stanza> {
    let section = stanza.field("Section").filter(|it| !it.is_empty());
    let location = match section {
        Some(section) => format!("{section}/{}", stanza.key.name()),
        None => stanza.key.name().to_owned(),
    };
    let mut files = list_files(File::open(path)?).map_err(io::Error::other)?;
    files.sort();
    let mut text = String::new();
    for file in files {
        // A name with a line break in it would be two lines of the index.
        if !file.contains(['\n', '\r']) {
            text.push_str(&file);
            text.push(' ');
            text.push_str(&location);
            text.push('\n');
        }
    }
    Ok(Stanza { key: stanza.key.clone(), text })
}
