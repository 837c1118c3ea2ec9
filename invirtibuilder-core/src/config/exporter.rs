//! `exporter`: where upstream tarballs come from, and what the hosted repositories are called.

use super::section::Section;
use crate::exporter::source::OrigSource;

/// How source packages are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// Where upstream tarballs are looked for that the archive does not hold, in this order.
    pub upstream_tarballs: Vec<OrigSource>,
    /// The URLs under which people reach the hosted repositories, with `{package}` in the place of the package's name.
    pub hosted: Vec<String>,
}

impl Default for Exporter {
    fn default() -> Self {
        Self { upstream_tarballs: OrigSource::ALL.to_vec(), hosted: Vec::new() }
    }
}

/// Reads the section.
pub(super) fn read_exporter(mut section: Section<'_>) -> Exporter {
    let mut exporter = Exporter::default();
    if let Some(value) = section.value("upstream_tarballs") {
        let mut order: Vec<OrigSource> = Vec::new();
        for item in value.items() {
            let Some(source) = item.parse::<OrigSource>() else { continue };
            if order.contains(&source) {
                item.place.report(format!("{} is there twice; remove one of the two", source.as_str()));
            }
            order.push(source);
        }
        exporter.upstream_tarballs = order;
    }
    if let Some(value) = section.value("hosted") {
        for item in value.items() {
            match item.text() {
                Some(url) if url.contains("{package}") => exporter.hosted.push(url.to_owned()),
                Some(url) => item.place.report(format!(
                    "{url:?} has no {{package}}; write where the package's name belongs, as in https://git.example.org/{{package}}.git"
                )),
                None => (),
            }
        }
    }
    section.finish();
    exporter
}
