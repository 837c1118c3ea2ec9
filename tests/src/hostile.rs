//! What a hostile build leaves, made by hand as `debian/rules` could make it.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use invirtibuilder_core::error::BoxError;
use invirtibuilder_core::memory::files::write_changes;
use invirtibuilder_core::states::SourcePackage;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::debs::Deb;

/// The size of the file that has no bytes on disk.
pub const HUGE: u64 = 10 << 30;

/// Leaves in `into` what is asked for, a word or several with commas between, and returns where the `.changes` is.
///
/// Each word adds a package to the good one, or spoils that.
///
/// # Errors
/// It cannot be made.
///
/// # Panics
/// A word is unknown.
pub fn leave(
    what: &str,
    source: &SourcePackage,
    architecture: &str,
    into: &Path,
) -> Result<PathBuf, BoxError> {
    let plan = source.plan();
    let (package, version) = (plan.package().as_str(), plan.version().as_str());
    let words: Vec<&str> = what.split(',').collect();
    let mut names = vec![Deb::new(package, "misc").build(into, package, version)];
    let of = format!("{package} ({version})");
    for word in &words {
        let deb = |name: &str| Deb::new(name, "misc");
        names.extend(match *word {
            "undeclared" => Some(deb("evil").build(into, package, version)),
            "owned" => Some(deb("libother1").build(into, package, version)),
            "base" => Some(deb("bash").build(into, package, version)),
            "essential" => {
                let deb = Deb { fields: "Essential: yes\n".to_owned(), ..deb("hello-more") };
                Some(deb.build(into, package, version))
            }
            "version" => Some(deb("hello-more").build(into, &of, "9")),
            "rebuild" => Some(deb("hello-more").build(into, &of, &format!("{version}+b1"))),
            "source" => Some(deb("hello-more").build(into, "other", version)),
            "architecture" => {
                let other = if architecture == "arm64" { "amd64" } else { "arm64" };
                let deb = Deb { architecture: other.to_owned(), ..deb("hello-any") };
                Some(deb.build(into, package, version))
            }
            "udeb" => Some(Deb { ending: "udeb", ..deb("hello-more") }.build(into, package, version)),
            "renamed" => {
                let name = deb("hello-more").build(into, package, version);
                let other = name.replace("hello-more", "hello-less");
                fs::rename(into.join(name), into.join(&other))?;
                Some(other)
            }
            "no-package" => {
                let name = format!("hello-more_{version}_all.deb");
                fs::write(into.join(&name), [b'x'; 976])?;
                Some(name)
            }
            _ => None,
        });
    }
    let architecture = architecture.parse()?;
    let changes = write_changes(into, plan.package(), plan.version(), &architecture, &names)?;
    let good = names.first().ok_or("there is a package")?;
    for word in words {
        spoil(word, into, good, &changes)?;
    }
    Ok(changes)
}

/// Spoils what is finished.
fn spoil(word: &str, into: &Path, good: &str, changes: &Path) -> Result<(), BoxError> {
    let file = into.join(good);
    let node = |kind| {
        fs::remove_file(&file)?;
        mknodat(CWD, &file, kind, Mode::from_raw_mode(0o644), rustix::fs::makedev(1, 5))
            .map_err(std::io::Error::from)
    };
    match word {
        "link" => {
            let elsewhere = into.with_extension("elsewhere");
            fs::rename(&file, &elsewhere)?;
            symlink(elsewhere, &file)?;
        }
        "pipe" => node(FileType::Fifo)?,
        "device" => node(FileType::CharacterDevice)?,
        "directory" => {
            fs::remove_file(&file)?;
            fs::create_dir(&file)?;
        }
        "absent" => fs::remove_file(&file)?,
        "traversal" => {
            let text = fs::read_to_string(changes)?;
            fs::write(changes, text.replace(good, "../../../../../etc/hostname"))?;
        }
        "rewritten" => {
            // The size stays, so that only the sum shows it.
            let mut opened = fs::File::options().write(true).open(&file)?;
            opened.seek(SeekFrom::End(-1))?;
            opened.write_all(b"~")?;
        }
        "huge" => {
            let text = fs::read_to_string(changes)?;
            let size = fs::metadata(&file)?.len();
            fs::File::options().write(true).open(&file)?.set_len(HUGE)?;
            fs::write(changes, text.replace(&format!(" {size} "), &format!(" {HUGE} ")))?;
        }
        "unlisted" => {
            fs::copy(&file, into.join("evil_1_all.deb"))?;
            fs::write(into.join("core"), "dumped\n")?;
        }
        _ => (),
    }
    Ok(())
}
