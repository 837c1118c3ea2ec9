//! Reads `hosting`: who may do what with the repositories.

use std::collections::BTreeSet;
use std::path::Path;

use super::acls::read;
use super::section::Section;
use super::units::parse_size;
use super::{Hosting, Rights};
use crate::access::Acl;
use crate::names::PackageName;

/// Reads the rights. The names of all access lists are `names`.
pub(super) fn read_hosting(mut section: Section<'_>, root: &Path, names: &BTreeSet<&str>) -> Hosting {
    let Rights { read, push } = read_rights(&mut section, root, names);
    let max_push = section.value("max_push").and_then(|it| it.place.take(parse_size(it.text()?)));
    let mut hosting = Hosting { read, push, max_push, ..Hosting::default() };
    for (name, node, place) in section.section("repositories").named() {
        let Some(package) = place.take(name.parse::<PackageName>()) else { continue };
        let mut section = Section::of(Some(node), place);
        let rights = read_rights(&mut section, root, names);
        section.finish();
        hosting.repositories.insert(package, rights);
    }
    section.finish();
    hosting
}

fn read_rights(section: &mut Section<'_>, root: &Path, names: &BTreeSet<&str>) -> Rights {
    let mut list = |key| -> Option<Acl> { section.value(key).and_then(|it| read(&it, root, names)) };
    Rights { read: list("read"), push: list("push") }
}
