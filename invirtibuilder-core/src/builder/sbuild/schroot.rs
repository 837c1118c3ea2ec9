//! sbuild's `schroot` mode: a chroot that somebody set up with `sbuild-createchroot`, with an overlay for each build.
//!
//! schroot is a program of root's and keeps its sessions in `/var/lib/schroot`. So the whole run happens as root in
//! namespaces of its own, in which those directories are parts of the run's throw-away directory: a run that is killed
//! leaves no session, and nobody has network.
//!
//! What it does not contain: maintainer scripts of build dependencies are root of this machine in a chroot. They have
//! lost the capabilities that a chroot needs for nothing, but not the one to mount, and a chroot is no wall to that.

use std::path::{Path, PathBuf};

use super::enclosure::{Bind, Enclosure, Privilege};
use crate::builder::account::Account;
use crate::builder::walls::Walls;
use crate::durable::scratch;
use crate::error::BoxError;
use crate::names::{Architecture, BaseName};
use crate::process::Command;

/// Why somebody else than root cannot use it.
pub(super) const NOT_ROOT: &str = "sbuild's mode schroot needs a worker that is root, as schroot is a program of root's; run it as root, or write mode: unshare";

/// The group whose members may use the chroots that `sbuild-createchroot` makes.
const GROUP: &str = "sbuild";

/// Where the build dependencies are in the chroot: below what schroot's profile `sbuild` shows there as `/build`.
pub(super) const DEPENDENCIES: &str = "/build/dependencies";

/// What schroot and sbuild keep of a run: parts of its throw-away directory, and where they are looked for.
const STATE: [(&str, &str); 3] =
    [("schroot", "/var/lib/schroot"), ("run", "/run/schroot"), ("build", "/var/lib/sbuild/build")];

/// The directories that schroot expects to find.
const EXPECTED: [&str; 6] = [
    "schroot/session",
    "schroot/unpack",
    "schroot/union",
    "schroot/union/overlay",
    "schroot/union/underlay",
    "run/mount",
];

/// A chroot that schroot knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chroot {
    /// Its name.
    pub(super) name: String,
    /// Where it is.
    pub(super) directory: PathBuf,
}

/// Returns the name of a base's chroot if the configuration does not say another: the one that `sbuild-createchroot`
/// gives it.
pub(super) fn default_name(base: &BaseName, architecture: &Architecture) -> String {
    format!("{base}-{architecture}-sbuild")
}

impl Chroot {
    /// Asks schroot.
    pub(super) fn find(name: &str) -> Result<Self, BoxError> {
        let command = Command::new("schroot").args(["--config", "--chroot"]).arg(name);
        let output = command.run().map_err(|e| {
            format!("schroot has no chroot {name}: {e}; make it with `sbuild-createchroot`, or name another in builder.chroots")
        })?;
        Self::parse(name, &String::from_utf8_lossy(&output))
    }

    /// Reads a section of schroot.conf(5).
    fn parse(name: &str, text: &str) -> Result<Self, BoxError> {
        let value = |key: &str| {
            let found = text.lines().find_map(|it| it.strip_prefix(key)?.strip_prefix('='));
            found.map(str::trim).unwrap_or_default().to_owned()
        };
        let (kind, union, directory) = (value("type"), value("union-type"), value("directory"));
        if kind != "directory" || union != "overlay" || !directory.starts_with('/') {
            let problem = format!(
                "schroot's chroot {name} is of the type {kind:?} with the union type {union:?}; write type=directory and union-type=overlay into its file in /etc/schroot/chroot.d"
            );
            return Err(problem.into());
        }
        Ok(Self { name: name.to_owned(), directory: directory.into() })
    }
}

/// Returns where the build dependencies of a run are to be put.
pub(super) fn dependencies(below: &Path) -> PathBuf {
    below.join("build/dependencies")
}

/// Makes what schroot and sbuild expect, in a run's throw-away directory.
pub(super) fn prepare(below: &Path, account: &Account) -> Result<(), BoxError> {
    for name in STATE.map(|it| it.0).into_iter().chain(EXPECTED) {
        scratch::create_directory(&below.join(name), 0o755)?;
    }
    let groups = with_member(&std::fs::read_to_string("/etc/group")?, GROUP, account.name())?;
    Ok(scratch::write_new(&below.join("group"), groups.as_bytes(), 0o644)?)
}

/// Adds a member to a group of group(5). schroot gives its chroots the groups that it sees, and sbuild lets only members
/// of its own into `/build`.
fn with_member(text: &str, group: &str, member: &str) -> Result<String, BoxError> {
    let is_it = |line: &&str| line.split(':').next() == Some(group);
    let line = text
        .lines()
        .find(is_it)
        .ok_or_else(|| format!("there is no group {group}; apt-get install sbuild"))?;
    let separator = if line.ends_with(':') { "" } else { "," };
    Ok(text.replace(&format!("{line}\n"), &format!("{line}{separator}{member}\n")))
}

/// Makes a plan one of root, with the account as the one who calls sbuild.
pub(super) fn furnish(plan: &mut Enclosure, below: &Path, walls: &Walls) -> Result<(), BoxError> {
    let account = walls.account();
    if !account.is_other() {
        return Err(NOT_ROOT.into());
    }
    let mut arguments = vec![
        format!("--reuid={}", account.user()),
        format!("--regid={GROUP}"),
        format!("--groups={GROUP}"),
        "--bounding-set=-net_admin".to_owned(),
        "--".to_owned(),
        std::mem::replace(&mut plan.program, "setpriv".to_owned()),
    ];
    arguments.append(&mut plan.arguments);
    plan.arguments = arguments;
    plan.binds = STATE.map(|(name, at)| Bind { from: below.join(name), at: at.into() }).into();
    plan.binds.push(Bind { from: below.join("group"), at: "/etc/group".into() });
    plan.privilege = Privilege::Root;
    Ok(())
}

#[cfg(test)]
#[test]
fn a_member_is_added_to_one_group() {
    let text = "root:x:0:\nsbuild:x:106:\nsbuilder:x:7:a\n";
    let expected = "root:x:0:\nsbuild:x:106:me\nsbuilder:x:7:a\n";
    assert_eq!(with_member(text, "sbuild", "me").unwrap(), expected);
    assert!(with_member("root:x:0:\n", "sbuild", "me").is_err());
}

#[cfg(test)]
#[test]
fn a_chroot_has_a_directory_and_an_overlay() {
    let text = "[a]\ntype=directory\ndirectory=/srv/a\nunion-type=overlay\n";
    assert_eq!(Chroot::parse("a", text).unwrap().directory, Path::new("/srv/a"));
    let problem = Chroot::parse("a", "type=file\nfile=/srv/a.tar\n").unwrap_err().to_string();
    assert!(problem.contains("\"file\"") && problem.contains("union-type=overlay"), "{problem}");
}
