//! Bringing what is installed in a repository up to date: its hooks, and the settings that protect it.
//!
//! Never touches a ref, an object, or a setting of somebody else's.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::create::{HOOKS, Hooks, settings};
use super::{Repositories, RepositoryError, Result};
use crate::durable::{self, Lock};
use crate::names::PackageName;
use crate::process::{Command, ProcessError};

impl Repositories {
    /// Says what in a package's repository is not as this program installs it, a few words each. Where a hook calls this
    /// program by another path, that is no difference, as long as it is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn outdated(&self, package: &PackageName, config: &Path) -> Result<Vec<String>> {
        let path = self.path(package);
        let mut found = Vec::new();
        for hook in HOOKS {
            let file = path.join("hooks").join(hook);
            let script = std::fs::read(&file).unwrap_or_default();
            let called = program_of(&script);
            let hooks = called.map(|program| Hooks { program, config: config.to_owned() });
            let is_right = hooks.is_some_and(|it| it.program.is_file() && it.script(hook) == script);
            if !is_right || !is_executable(&file) {
                found.push(format!("the hook {hook}"));
            }
        }
        found.extend(self.other_settings(&path)?.into_keys().map(|it| format!("the setting {it}")));
        Ok(found)
    }

    /// Installs the hooks and the settings anew, and says which were not as they should be.
    ///
    /// # Errors
    /// There is no such repository, or it cannot be written.
    pub fn refresh(&self, package: &PackageName, hooks: &Hooks) -> Result<Vec<String>> {
        let path = self.path(package);
        if self.find(package)?.is_none() {
            let problem = "there is no repository; `invirtibuilder repo create` makes one".to_owned();
            return Err(RepositoryError::Refused { path, problem });
        }
        let _lock = Lock::wait(&self.directory().join(format!(".{package}.lock")))?;
        let mut changed = Vec::new();
        durable::create_directory(&path.join("hooks"))?;
        for hook in HOOKS {
            let (file, script) = (path.join("hooks").join(hook), hooks.script(hook));
            if std::fs::read(&file).is_ok_and(|it| it == script) && is_executable(&file) {
                continue;
            }
            durable::write_with_mode(&file, &script, 0o755)?;
            durable::set_mode(&file, 0o755)?;
            changed.push(format!("the hook {hook}"));
        }
        let others = self.other_settings(&path)?;
        if !others.is_empty() {
            // Git writes it, who knows how, into a copy, which then takes the place of the file.
            let (file, staged) = (path.join("config"), path.join("invirtibuilder.config"));
            durable::copy(&file, &staged)?;
            for (name, value) in &others {
                let git = Command::new("git").args(["config", "--file"]).arg(&staged);
                let set = git.args(["--replace-all", name, value]).run();
                set.map_err(|e| unreadable(&file, e))?;
            }
            durable::sync_file(&staged)?;
            durable::rename(&staged, &file)?;
            changed.extend(others.into_keys().map(|it| format!("the setting {it}")));
        }
        Ok(changed)
    }

    /// Returns the settings that are not as they should be, as they should be.
    fn other_settings(&self, path: &Path) -> Result<BTreeMap<&'static str, String>> {
        let file = path.join("config");
        let git =
            Command::new("git").args(["config", "--null", "--list", "--no-includes", "--file"]).arg(&file);
        let listed = git.run().map_err(|e| unreadable(&file, e))?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        // Of several lines with one name, the last counts.
        let there: BTreeMap<&str, &str> = listed.split('\0').filter_map(|it| it.split_once('\n')).collect();
        let wanted = settings(self.max_push()).into_iter();
        Ok(wanted.filter(|(name, value)| there.get(name).is_none_or(|it| !is_same(it, value))).collect())
    }
}

fn unreadable(path: &Path, source: ProcessError) -> RepositoryError {
    RepositoryError::Unreadable {
        action: "read the settings of",
        path: path.to_owned(),
        source: source.into(),
    }
}

/// Compares values as git reads them: a number may be written with its unit.
fn is_same(found: &str, wanted: &str) -> bool {
    let bytes = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        let (digits, shift) = match text.strip_suffix(['k', 'm', 'g']) {
            Some(digits) if text.ends_with('k') => (digits.to_owned(), 10),
            Some(digits) if text.ends_with('m') => (digits.to_owned(), 20),
            Some(digits) => (digits.to_owned(), 30),
            None => (text, 0),
        };
        digits.parse::<u64>().ok()?.checked_mul(1 << shift)
    };
    found == wanted || bytes(wanted).is_some_and(|it| bytes(found) == Some(it))
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|it| it.permissions().mode() & 0o111 == 0o111)
}

/// Returns the program that one of our hooks calls.
fn program_of(script: &[u8]) -> Option<PathBuf> {
    let text = script.windows(6).position(|it| it == b"exec '")?;
    let rest = script.get(text + 6..)?;
    let end = rest.windows(11).position(|it| it == b"' --config ")?;
    let word = rest.get(..end)?;
    // A path with a quote in it is written in pieces.
    let word = String::from_utf8_lossy(word).replace("'\\''", "'");
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(word.as_bytes())))
}
