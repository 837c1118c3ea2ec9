//! Checks that virtual machines can build on this machine, and says what to do where they cannot.
//!
//! Never mends anything.

use super::machine::{self, Kind};
use super::{Acceleration, VmBuilder};
use crate::builder::account::Account;
use crate::builder::host_architecture;
use crate::builder::limits::Groups;
use crate::builder::overlay::{Workplace, owner_of};
use crate::builder::sbuild::program;
use crate::builder::walls::Walls;
use crate::error::{BoxError, causes};
use crate::finding::Finding;
use crate::stop::Never;

impl VmBuilder {
    /// Checks what the overlay builder checks, the programs that machines need besides, and whether they are fast.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = self.common.check();
        findings.push(program("mke2fs"));
        let kind = host_architecture().map(|it| (Kind::of(&it), it));
        findings.push(match kind {
            Ok((Some(kind), _)) => program(kind.program),
            Ok((None, host)) => Finding::error(
                "virtual machines",
                format!("there are none for {host} yet"),
                "let another builder build, such as overlay",
            ),
            Err(e) => Finding::error("virtual machines", causes(&*e).join(": "), "apt-get install dpkg"),
        });
        findings.push(match self.acceleration() {
            Ok(Acceleration::Kvm) => Finding::ok("virtual machines", "they use the processor itself (KVM)"),
            Ok(Acceleration::None { reason }) => Finding::warning(
                "virtual machines",
                format!("they are emulated, which takes about ten times as long: {reason}"),
                format!("where there is /dev/kvm: adduser {} kvm", self.account()),
            ),
            Err(e) => Finding::error(
                "virtual machines",
                format!("whether they can run is not known: {}", causes(&*e).join(": ")),
                "mend the build account first",
            ),
        });
        findings
    }

    /// Returns the name of the account that builds run as: where this is not root, its own.
    fn account(&self) -> String {
        let account = Account::find(&self.common.account);
        account.map_or_else(|_| self.common.account.clone(), |it| it.name().to_owned())
    }

    fn acceleration(&self) -> Result<Acceleration, BoxError> {
        let (common, groups) = (&self.common, Groups::detect());
        let walls = Walls::new(Account::find(&common.account)?, common.limits.processes);
        let (store, helper) = (&common.store, &*common.helper);
        let (limits, owner) = (common.limits, owner_of(&common.scratch));
        let place =
            Workplace { store, walls: &walls, helper, limits, groups: &groups, owner, interrupt: &Never };
        machine::acceleration(&place, self.machine.kvm)
    }
}
