//! What an archive consists of, so that two of them can be compared: the same but for times and signatures?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use invirtibuilder_core::durable;
use invirtibuilder_tests::world::{World, expect};

/// The files of an archive and of its private directory, by their paths below the world.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

/// Reads an archive as it is now. Left out are times, signatures, which depend on them, and what is derived from the
/// rest whenever it is asked for, unless it is unfinished.
pub(crate) fn tree(world: &World) -> Tree {
    let mut tree = Tree::new();
    for top in ["archive", "archive-state"] {
        let mut open = vec![world.root.join(top)];
        while let Some(directory) = open.pop() {
            // There is nothing at all before the first publication.
            for entry in std::fs::read_dir(&directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                let is_unfinished = is_unfinished(&path);
                if path.is_symlink() {
                    let target = std::fs::read_link(&path).unwrap();
                    tree.insert(below(world, &path), format!("-> {}", target.display()));
                } else if path.is_dir() {
                    open.push(path);
                } else if is_unfinished || !is_derived(&directory) {
                    let content = std::fs::read(&path).unwrap();
                    tree.insert(below(world, &path), without_times(&path, &content));
                }
            }
        }
    }
    tree
}

/// Returns whether what is in a directory is made again when it is missing, and never read without a check.
fn is_derived(directory: &Path) -> bool {
    ["tables", "texts"].iter().any(|it| directory.ends_with(Path::new("archive-state").join(it)))
}

fn below(world: &World, path: &Path) -> PathBuf {
    path.strip_prefix(&world.root).unwrap().to_owned()
}

fn without_times(path: &Path, content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let is_record = path.components().any(|it| it.as_os_str() == "generations");
    match path.file_name().unwrap().to_str().unwrap() {
        // The time at which something was last removed.
        "Release.gpg" | "expired" => String::new(),
        "InRelease" | "Release" => without(&text, &["Date: "]),
        // A record tells also what it was about to add, and what was left by those that never finished.
        _ if is_record => without(&text, &["Date: ", "Time: ", "Arriving: ", "Stray: "]),
        _ => text.into_owned(),
    }
}

fn without(text: &str, beginnings: &[&str]) -> String {
    let signed = text.split("-----BEGIN PGP SIGNATURE-----").next().unwrap_or_default();
    let lines = signed.lines().filter(|line| !beginnings.iter().any(|it| line.starts_with(it)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the unfinished files.
pub(crate) fn unfinished(tree: &Tree) -> Vec<&PathBuf> {
    tree.keys().filter(|it| is_unfinished(it)).collect()
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|it| it.to_str()).is_some_and(durable::is_unfinished)
}

/// Tells where two trees differ, in at most ten lines.
pub(crate) fn differences(found: &Tree, wanted: &Tree) -> Vec<String> {
    let mut differences = Vec::new();
    for (path, content) in wanted {
        match found.get(path) {
            None => differences.push(format!("{} is missing", path.display())),
            Some(it) if it != content => differences.push(format!("{} differs", path.display())),
            Some(_) => (),
        }
    }
    let more = found.keys().filter(|it| !wanted.contains_key(*it));
    differences.extend(more.map(|it| format!("{} is too much", it.display())));
    differences.truncate(10);
    differences
}

/// Keeps what the first archive of a world is, to begin from it again and again.
#[derive(Debug)]
pub(crate) struct Saved<'a>(&'a World);

impl<'a> Saved<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        std::fs::create_dir(world.root.join("saved")).unwrap();
        copy(world, "", "saved");
        Self(world)
    }

    /// Makes the archive what it was.
    pub(crate) fn restore(&self) {
        for top in ["archive", "archive-state"] {
            let _ = std::fs::remove_dir_all(self.0.root.join(top));
        }
        copy(self.0, "saved", "");
    }
}

fn copy(world: &World, from: &str, to: &str) {
    let tops = ["archive", "archive-state"].map(|top| world.root.join(from).join(top));
    if tops[0].exists() {
        // Hard links stay what they are.
        let mut cp = Command::new("cp");
        expect(&cp.arg("--archive").args(tops).arg(world.root.join(to)).output().unwrap());
    }
}
