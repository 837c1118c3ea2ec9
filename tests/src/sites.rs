//! A site for one test, made by `invirtibuilder init`, and the programs run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use invirtibuilder_core::builder::account::{Account, AccountError};
use invirtibuilder_core::builder::sbuild::ACCOUNT;
use invirtibuilder_core::durable::Lock;
use invirtibuilder_core::error::causes;
use serde_json::Value;

use crate::programs::{self, Answer, CLI, REMCTL, command, program, run};

/// A site that is removed with this value.
#[derive(Debug)]
pub struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    /// Makes one with the pockets `prod`, and `dev`, which allows backtracking.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pockets(&[])
    }

    /// Makes one with these pockets, as `init --pocket` takes them.
    #[must_use]
    pub fn with_pockets(pockets: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("site-").tempdir_in(programs::temporary()).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self { directory };
        let mut init = site.command(&program(CLI));
        init.arg("init").arg(site.root());
        for pocket in pockets {
            init.args(["--pocket", pocket]);
        }
        run(&mut init).ok();
        site
    }

    /// Returns the site's own directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// Returns a path below the site's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Returns a path of the test's own, beside the site.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("invirtibuilder.yaml")
    }

    /// Changes the configuration file.
    pub fn configure(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), change(text)).unwrap();
    }

    /// Writes another access list of a pocket, in YAML on one line.
    pub fn set_acl(&self, pocket: &str, acl: &str) {
        self.configure(|text| {
            let (mut in_pocket, mut lines) = (false, Vec::new());
            for line in text.lines() {
                if line.starts_with("    ") && !line.starts_with("     ") {
                    in_pocket = line.trim().trim_end_matches(':').trim_matches('"') == pocket;
                }
                let is_it = in_pocket && line.trim_start().starts_with("acl:");
                lines.push(if is_it { format!("      acl: {acl}") } else { line.to_owned() });
            }
            lines.join("\n") + "\n"
        });
    }

    /// Begins a command that knows the site's configuration.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = command(program);
        command.env("INVIRTIBUILDER_CONFIG", self.config());
        command
    }

    /// Begins a call of the command line.
    #[must_use]
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&program(CLI));
        command.args(arguments);
        command
    }

    /// Calls the command line.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Answer {
        run(&mut self.cli_command(arguments))
    }

    /// Calls the command line and returns the JSON that it answers.
    #[must_use]
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
        let text = self.cli(&arguments).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?} answers no JSON: {e}\n{text}"))
    }

    /// Submits, and returns the id of the job.
    #[track_caller]
    pub fn submit(&self, pocket: &str, package: &str, commit: &str) -> String {
        self.cli(&["submit", pocket, package, commit]).ok().trim().to_owned()
    }

    /// Works the queue until it is empty.
    #[must_use]
    pub fn work(&self) -> Answer {
        self.cli(&["work", "--until-empty"])
    }

    /// Begins a worker whose builder makes the smallest package there is at once.
    #[must_use]
    pub fn quick_worker(&self) -> Command {
        // It is a program of the tests' own package, so cargo has always built it with them.
        self.command(&program("quick-worker"))
    }

    /// Works the queue until it is empty, with a builder that takes no time.
    #[must_use]
    pub fn work_quickly(&self) -> Answer {
        run(&mut self.quick_worker())
    }

    /// Calls the backend as remctld does.
    #[must_use]
    pub fn remctl_command(&self, user: &str, words: &[&str]) -> Command {
        let (name, arguments) = words.split_first().unwrap();
        let mut command = self.command(&program(REMCTL));
        command.env("REMCTL_COMMAND", name).env("REMOTE_USER", user).args(arguments);
        command
    }

    /// Returns the record of a job, as `show` tells it.
    #[must_use]
    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.json(&["show", id])
    }

    /// Returns how a job ended, in one word.
    #[must_use]
    #[track_caller]
    pub fn outcome(&self, id: &str) -> String {
        let job = self.job(id);
        job["outcome"].as_str().unwrap_or_else(|| panic!("job {id} has not ended: {job}")).to_owned()
    }

    /// Fails the test unless Git and the archive say the same.
    #[track_caller]
    pub fn assert_agreement(&self) {
        assert_eq!(self.cli(&["verify"]).expect(0).stdout, "");
    }

    /// Returns the names of all jobs' files in the queue that wait or run.
    #[must_use]
    pub fn queued(&self) -> Vec<String> {
        let names = |path: PathBuf| {
            let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
            entries.map(|it| it.file_name().to_string_lossy().into_owned())
        };
        let all = names(self.path("queue")).chain(names(self.path("queue/running")));
        all.filter(|it| it.starts_with("20")).collect()
    }

    /// Returns the repository of a package.
    #[must_use]
    pub fn repository(&self, package: &str) -> PathBuf {
        self.path(&format!("repositories/{package}.git"))
    }

    /// Runs git in a repository.
    #[must_use]
    pub fn git(&self, repository: &Path, arguments: &[&str]) -> Answer {
        run(command("git").arg("-C").arg(repository).args(arguments))
    }

    /// Writes a hook.
    pub fn hook(&self, event: &str, name: &str, text: &str) {
        let path = self.path(&format!("hooks/{event}.d/{name}"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Lets the builds of this site use the base that all tests share.
    pub fn share_base(&self) {
        let shared = shared_bases();
        fs::create_dir_all(self.path("cache")).unwrap();
        std::os::unix::fs::symlink(&shared, self.path("cache/bases")).unwrap();
    }

    /// Lets the builder `overlay` build, with the base and the layers that all tests share.
    pub fn build_by_overlay(&self) {
        self.share_base();
        let store = shared_bases().join("overlay");
        fs::create_dir_all(&store).unwrap();
        std::os::unix::fs::symlink(store, self.path("cache/overlay")).unwrap();
        self.configure(|text| {
            let text = text.replace("builder:\n", "builder:\n  backend: overlay\n");
            if text.contains("backend: overlay") { text } else { text + "\nbuilder: { backend: overlay }\n" }
        });
    }

    /// Returns what is left where builds live, which should be nothing once they have ended.
    #[must_use]
    pub fn scratch(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scratch_directory()).into_iter().flatten().filter_map(Result::ok);
        let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
        names.filter(|it| !it.ends_with(".lock")).collect()
    }

    fn scratch_directory(&self) -> PathBuf {
        let text = fs::read_to_string(self.config()).unwrap_or_default();
        let set = text.lines().find_map(|line| line.trim().strip_prefix("scratch: "));
        set.map_or_else(|| self.path("scratch"), |it| it.trim_matches('"').into())
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = run(command("gpgconf").arg("--homedir").arg(self.path("gnupg")).args(["--kill", "all"]));
        let scratch = self.scratch_directory();
        if !scratch.starts_with(self.directory.path()) {
            let _ = fs::remove_dir_all(scratch);
        }
    }
}

/// Returns the directory of the base that all tests build in, and makes the account that builds run as, if this is
/// root and there is none, as an administrator would.
#[must_use]
pub fn shared_bases() -> PathBuf {
    let directory = std::env::var_os("INVIRTIBUILDER_TEST_CACHE").map_or_else(
        || {
            let temporary = programs::temporary();
            let is_own = temporary != std::env::temp_dir();
            temporary.join(if is_own { "sbuild" } else { "invirtibuilder-test-cache" })
        },
        PathBuf::from,
    );
    fs::create_dir_all(&directory).unwrap();
    let _lock = Lock::wait(&directory.join("account.lock")).unwrap();
    match Account::find(ACCOUNT) {
        Ok(_) => (),
        Err(e @ AccountError::NoUser { .. }) => {
            let remedy = e.remedy().unwrap();
            let mut words = remedy.split(' ');
            run(command(words.next().unwrap()).args(words)).ok();
        }
        Err(e) => panic!("{}", causes(&e).join(": ")),
    }
    directory
}
