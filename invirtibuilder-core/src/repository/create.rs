//! Making a package's repository: whole under its name, or not there.
//!
//! Never starts from a template of the machine, whose hooks and settings are somebody else's.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Repositories, RepositoryError, Result};
use crate::durable::{self, Lock};
use crate::names::PackageName;

/// How many bytes one push may have unless somebody says otherwise: 2 GiB.
pub const MAX_PUSH: u64 = 2 << 30;

/// The settings of every repository that protect it, or what is built from it.
pub(super) fn settings(max_push: u64) -> [(&'static str, String); 8] {
    let text = |text: &str| text.to_owned();
    [
        ("core.fsync", text("all")),
        ("core.usereplacerefs", text("false")),
        ("receive.fsckobjects", text("true")),
        ("receive.maxinputsize", max_push.to_string()),
        ("http.receivepack", text("false")),
        ("transfer.fsckobjects", text("true")),
        ("fetch.fsckobjects", text("true")),
        ("protocol.ext.allow", text("never")),
    ]
}

/// Returns the configuration of a new repository. Git reads it; this program reads only its format.
fn config(max_push: u64) -> String {
    format!(
        "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tfsync = all
\tuseReplaceRefs = false
[receive]
\tfsckObjects = true
\tdenyDeletes = false
\tdenyNonFastForwards = false
\tmaxInputSize = {max_push}
[http]
\treceivepack = false
[transfer]
\tfsckObjects = true
[fetch]
\tfsckObjects = true
[protocol \"ext\"]
\tallow = never
"
    )
}

/// The hook that sees what a push through a door does to refs in the end, whatever names it used for them.
const TRANSACTION: &str = "reference-transaction";

/// The hooks of a repository.
pub(super) const HOOKS: [&str; 3] = ["update", "pre-receive", TRANSACTION];

/// What the hooks of a repository call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// The program, `invirtibuilder`.
    pub program: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
}

impl Hooks {
    /// Returns the script of a hook.
    pub(super) fn script(&self, hook: &str) -> Vec<u8> {
        let mut script =
            b"#!/bin/sh\n# Pocket branches and version tags are moved by publications only.\n".to_vec();
        if hook == TRANSACTION {
            // Git asks it thrice for every change of a ref, also for one that an administrator makes in the repository.
            script.extend(
                b"if [ \"$1\" != prepared ] || [ -z \"$INVIRTIBUILDER_PRINCIPAL\" ]; then exit 0; fi\n",
            );
        }
        script.extend(b"exec ");
        script.extend(quoted(&self.program));
        script.extend(b" --config ");
        script.extend(quoted(&self.config));
        script.extend(format!(" git-hook {hook} \"$@\"\n").bytes());
        script
    }
}

/// Returns a path as one word of a shell.
fn quoted(path: &Path) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.extend(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    word
}

impl Repositories {
    /// Makes an empty repository for a package, with the push policy installed.
    ///
    /// # Errors
    /// There is one already.
    pub fn create(&self, package: &PackageName, hooks: &Hooks) -> Result<PathBuf> {
        self.create_with(package, hooks, |_| Ok(())).map(|it| it.0)
    }

    /// As [`Repositories::create`], with a function that fills the repository before it gets its name.
    pub(super) fn create_with<T>(
        &self,
        package: &PackageName,
        hooks: &Hooks,
        fill: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<(PathBuf, T)> {
        let path = self.path(package);
        let _lock = Lock::wait(&self.directory().join(format!(".{package}.lock")))?;
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(RepositoryError::Exists(package.clone()));
        }
        // Whoever holds the lock is alone: what is there was left by a process that died.
        let staged = self.directory().join(format!(".{package}.new"));
        durable::remove_directory(&staged)?;
        let filled = write_skeleton(&staged, Some(hooks), self.max_push()).and_then(|()| fill(&staged));
        let renamed = filled.and_then(|it| durable::rename(&staged, &path).map(|()| it).map_err(Into::into));
        if renamed.is_err() {
            durable::remove_directory(&staged)?;
        }
        renamed.map(|it| (path, it))
    }
}

/// Writes the files of an empty bare repository.
pub(crate) fn write_skeleton(path: &Path, hooks: Option<&Hooks>, max_push: u64) -> Result<()> {
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info", "hooks"] {
        durable::create_directory(&path.join(directory))?;
    }
    durable::write(&path.join("config"), config(max_push).as_bytes())?;
    durable::write(&path.join("HEAD"), b"ref: refs/heads/main\n")?;
    for hook in HOOKS {
        if let Some(hooks) = hooks {
            let file = path.join("hooks").join(hook);
            durable::write_with_mode(&file, &hooks.script(hook), 0o755)?;
            durable::set_mode(&file, 0o755)?;
        }
    }
    Ok(())
}
