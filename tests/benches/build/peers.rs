//! The other programs that build packages, each with its own command line and as one of its users would set it up.
//!
//! What they need is made below a directory of the benchmark's own; the one file that schroot wants in `/etc` is
//! removed with this value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use invirtibuilder_core::builder::account::Account;
use invirtibuilder_core::builder::sbuild::ACCOUNT;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_tests::builds::BASE;
use invirtibuilder_tests::programs::{command, run};

/// The name of the chroot for schroot.
const CHROOT: &str = "invirtibuilder-benchmark";

/// The peers on this machine.
pub(crate) struct Peers {
    directory: PathBuf,
    tarball: PathBuf,
    account: Account,
    schroot: PathBuf,
}

impl Peers {
    /// Begins with the base's tarball, from which everything else is made.
    pub(crate) fn new(directory: &Path, tarball: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        Self {
            directory: directory.to_owned(),
            tarball: tarball.to_owned(),
            account: Account::find(ACCOUNT).unwrap(),
            schroot: Path::new("/etc/schroot/chroot.d").join(CHROOT),
        }
    }

    /// Begins a command of the account's, in an empty directory that it may write to, with these groups.
    fn as_account(&self, groups: &[&str], directory: &Path) -> Command {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).unwrap();
        std::os::unix::fs::chown(directory, Some(self.account.user()), Some(self.account.group())).unwrap();
        let mut setpriv = match groups {
            [] => command("setpriv"),
            _ => self.as_member(),
        };
        setpriv.arg(format!("--reuid={}", self.account.user()));
        match groups {
            [] => setpriv.arg(format!("--regid={}", self.account.group())).arg("--init-groups"),
            [first, ..] => {
                setpriv.arg(format!("--regid={first}")).arg(format!("--groups={}", groups.join(",")))
            }
        };
        setpriv.args(["--pdeathsig", "KILL", "--"]).current_dir(directory);
        setpriv.env("HOME", directory).env("USER", self.account.name()).env("LOGNAME", self.account.name());
        setpriv.env("DEB_BUILD_OPTIONS", parallel());
        setpriv
    }

    /// Begins `setpriv` where the account is a member of the group sbuild, which on this machine it need not be.
    fn as_member(&self) -> Command {
        let file = self.directory.join("group");
        let text = fs::read_to_string("/etc/group").unwrap();
        let member = |line: &str| match line.strip_prefix("sbuild:") {
            None => format!("{line}\n"),
            Some(rest) if rest.ends_with(':') => format!("{line}{}\n", self.account.name()),
            Some(_) => format!("{line},{}\n", self.account.name()),
        };
        fs::write(&file, text.lines().map(member).collect::<String>()).unwrap();
        let mut unshare = command("unshare");
        unshare.args(["--mount", "sh", "-ec", "mount --bind \"$0\" /etc/group; exec setpriv \"$@\""]);
        unshare.arg(file);
        unshare
    }

    fn sbuild(&self, groups: &[&str], arguments: &[&str], source: &SourcePackage) {
        const PLAIN: [&str; 7] = [
            "--no-source",
            "--nolog",
            "--batch",
            "--arch-all",
            "--no-run-lintian",
            "--no-run-piuparts",
            "--no-run-autopkgtest",
        ];
        let work = self.directory.join("work");
        let mut sbuild = self.as_account(groups, &work);
        sbuild.arg("sbuild").args(PLAIN).args(arguments).arg(format!("--dist={BASE}"));
        run(sbuild.arg(source.control().path())).ok();
        assert_built(&work);
    }

    /// Builds by sbuild in its unshare mode, which fetches lists and packages over the network.
    pub(crate) fn sbuild_unshare(&self, source: &SourcePackage) {
        let chroot = format!("--chroot={}", self.tarball.display());
        self.sbuild(&[], &["--chroot-mode=unshare", &chroot], source);
    }

    /// Makes a chroot for schroot with an overlay on top, without the build dependencies.
    pub(crate) fn prepare_schroot(&self) {
        let root = self.directory.join("schroot");
        self.unpack(&root);
        let overlays = self.directory.join("schroot-overlays");
        fs::create_dir_all(&overlays).unwrap();
        let text = format!(
            "[{CHROOT}]\ntype=directory\ndirectory={}\nprofile=sbuild\nusers=root\ngroups=root,sbuild\nroot-groups=root,sbuild\nunion-type=overlay\nunion-overlay-directory={}\n",
            root.display(),
            overlays.display()
        );
        fs::write(&self.schroot, text).unwrap();
    }

    /// Builds by sbuild and schroot.
    pub(crate) fn sbuild_schroot(&self, source: &SourcePackage) {
        let chroot = format!("--chroot={CHROOT}");
        self.sbuild(&["sbuild"], &["--chroot-mode=schroot", &chroot], source);
    }

    /// Makes a base for cowbuilder that already holds the build dependencies of a package.
    pub(crate) fn prepare_cowbuilder(&self, source: &SourcePackage) {
        const SCRIPT: &str = "set -e; apt-get -q update; apt-get -q -y install --no-install-recommends cowdancer fakeroot; apt-get -q -y install --no-install-recommends ./needs.dsc 2>/dev/null || apt-get -q -y build-dep --no-install-recommends ./needs.dsc; apt-get clean; rm needs.dsc";
        let root = self.base_of(source);
        if !self.unpack(&root) {
            return;
        }
        fs::copy(source.control().path(), root.join("needs.dsc")).unwrap();
        fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        fs::copy("/etc/hosts", root.join("etc/hosts")).unwrap();
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child"]);
        unshare.arg(format!("--mount-proc={}", root.join("proc").display()));
        unshare.env("DEBIAN_FRONTEND", "noninteractive").arg("chroot").arg(&root).args(["sh", "-c", SCRIPT]);
        let answer = run(&mut unshare);
        if answer.code != Some(0) {
            // Half of a base is none.
            fs::remove_dir_all(&root).unwrap();
            answer.ok();
        }
        fs::create_dir_all(self.directory.join("cow-builds")).unwrap();
    }

    /// Builds by cowbuilder in the base of the package.
    pub(crate) fn cowbuilder(&self, source: &SourcePackage) {
        let (results, settings) = (self.directory.join("cow-results"), self.directory.join("pbuilderrc"));
        let _ = fs::remove_dir_all(&results);
        fs::create_dir_all(&results).unwrap();
        let text = format!(
            "PBUILDERSATISFYDEPENDSCMD=/usr/lib/pbuilder/pbuilder-satisfydepends-apt\nAPTCACHE=\nDEB_BUILD_OPTIONS={}\nBUILDUSERNAME=pbuilder\n",
            parallel()
        );
        fs::write(&settings, text).unwrap();
        let mut cowbuilder = command("cowbuilder");
        cowbuilder.env("HOME", &results).arg("--build").arg("--configfile").arg(&settings);
        cowbuilder.arg("--basepath").arg(self.base_of(source)).arg("--buildresult").arg(&results);
        cowbuilder.arg("--buildplace").arg(self.directory.join("cow-builds"));
        run(cowbuilder.arg(source.control().path())).ok();
        assert_built(&results);
    }

    fn base_of(&self, source: &SourcePackage) -> PathBuf {
        self.directory.join(format!("{}.cow", source.plan().package()))
    }

    /// Unpacks the base as root's own, unless it is there; returns whether it did.
    fn unpack(&self, root: &Path) -> bool {
        let name = self.tarball.file_name().unwrap().to_string_lossy().into_owned();
        let stamp = root.with_extension("of");
        if root.is_dir() && fs::read_to_string(&stamp).is_ok_and(|it| it == name) {
            return false;
        }
        let _ = fs::remove_dir_all(root);
        fs::create_dir_all(root).unwrap();
        run(command("tar").arg("-xf").arg(&self.tarball).arg("-C").arg(root)).ok();
        fs::write(stamp, name).unwrap();
        true
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.schroot);
    }
}

fn parallel() -> String {
    format!("parallel={}", std::thread::available_parallelism().unwrap())
}

#[track_caller]
fn assert_built(directory: &Path) {
    let mut files = fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name());
    assert!(files.any(|it| it.to_string_lossy().ends_with(".changes")), "there is no .changes file");
}
