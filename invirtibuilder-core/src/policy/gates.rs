//! Gates: what is asked of packages that could be built, before they may enter a pocket.
//!
//! An examiner says what it found; here is decided what that means. A pocket decides for each gate whether it is asked
//! at all, whether its findings are only noted, or whether they keep the package out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A question that is asked of source and binary packages together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateKind {
    /// Whether a rebuild in the pocket's environment gives what another pocket serves: `copy_from: verify: rebuild`.
    Rebuild,
    /// Whether each binary package can be installed from the pocket's suite, as apt sees it.
    Installability,
    /// Whether lintian(1) finds nothing.
    Lintian,
    /// Whether installing and purging each binary package leaves nothing behind (piuparts(1)).
    Piuparts,
    /// Whether the tests in `debian/tests` pass (autopkgtest(1)).
    Autopkgtest,
    /// Whether another build, in an environment that differs, gives the same bits.
    Reproducibility,
}

impl GateKind {
    /// Those that `gates` of a pocket configures, in the order in which they are asked: the cheapest first.
    pub const CONFIGURED: [Self; 5] =
        [Self::Installability, Self::Lintian, Self::Piuparts, Self::Autopkgtest, Self::Reproducibility];

    /// Returns its name in the configuration, in records and in the names of logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Installability => "installability",
            Self::Lintian => "lintian",
            Self::Piuparts => "piuparts",
            Self::Autopkgtest => "autopkgtest",
            Self::Reproducibility => "reproducibility",
        }
    }
}

impl fmt::Display for GateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the faults mean that a gate finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nobody asks.
    #[default]
    Off,
    /// They are kept with the record of the job.
    Note,
    /// The job fails.
    Refuse,
}

impl Demand {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Note, Self::Refuse];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Note => "note",
            Self::Refuse => "refuse",
        }
    }
}

/// How bad a tag of lintian's is, as its option `--fail-on` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintianSeverity {
    /// `E:`
    Error,
    /// `W:`
    Warning,
    /// `I:`
    Info,
    /// `P:`
    Pedantic,
}

impl LintianSeverity {
    /// Returns lintian's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Pedantic => "pedantic",
        }
    }
}

impl FromStr for LintianSeverity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Error, Self::Warning, Self::Info, Self::Pedantic];
        all.into_iter().find(|it| it.as_str() == text).ok_or_else(|| {
            format!("{text:?} is no severity of lintian's; write error, warning, info or pedantic")
        })
    }
}

/// What a pocket asks of all that enters it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates {
    /// What each gate's faults mean; one that is not here is off.
    pub demands: BTreeMap<GateKind, Demand>,
    /// The tags of lintian's that are faults; those of other severities are only in its log.
    pub lintian_fail_on: BTreeSet<LintianSeverity>,
}

impl Default for Gates {
    fn default() -> Self {
        Self { demands: BTreeMap::new(), lintian_fail_on: [LintianSeverity::Error].into() }
    }
}

impl Gates {
    /// Returns what the faults mean that a gate finds.
    #[must_use]
    pub fn demand(&self, gate: GateKind) -> Demand {
        // What is copied only if it is rebuilt is not copied if it is not.
        if gate == GateKind::Rebuild {
            Demand::Refuse
        } else {
            self.demands.get(&gate).copied().unwrap_or_default()
        }
    }

    /// Returns the gates that are asked, in their order.
    pub fn asked(&self) -> impl Iterator<Item = GateKind> {
        GateKind::CONFIGURED.into_iter().filter(|it| self.demand(*it) != Demand::Off)
    }
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Something is wrong with the packages: what, and where.
    Fault(String),
    /// Something that somebody should know, such as a test that was skipped. It never keeps anything out.
    Remark(String),
}

/// A finding that is kept with the record of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whose finding it is.
    pub gate: GateKind,
    /// What was found.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.gate, self.text)
    }
}

/// The faults that keep packages out of a pocket, of all gates at once. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRejection {
    faults: Vec<Note>,
    notes: Vec<Note>,
}

impl GateRejection {
    /// Returns what keeps them out.
    #[must_use]
    pub fn faults(&self) -> &[Note] {
        &self.faults
    }

    /// Returns a line for each thing that was found: the faults, then what was only noted.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let noted = self.notes.iter().map(|it| format!("{it} (noted only)"));
        self.faults.iter().map(ToString::to_string).chain(noted).collect()
    }
}

impl std::error::Error for GateRejection {}

impl fmt::Display for GateRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pocket's gates refuse it: {}", self.reasons().join("; "))
    }
}

/// Judges what the gates of a pocket found; returns what is to be noted.
///
/// # Errors
/// A gate that refuses found a fault.
pub fn weigh(gates: &Gates, found: Vec<(GateKind, Finding)>) -> Result<Vec<Note>, GateRejection> {
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    for (gate, finding) in found {
        match (finding, gates.demand(gate)) {
            (Finding::Fault(text), Demand::Refuse) => faults.push(Note { gate, text }),
            (Finding::Fault(text) | Finding::Remark(text), Demand::Note | Demand::Refuse) => {
                notes.push(Note { gate, text });
            }
            (_, Demand::Off) => (),
        }
    }
    if faults.is_empty() { Ok(notes) } else { Err(GateRejection { faults, notes }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(demands: &[(GateKind, Demand)]) -> Gates {
        Gates { demands: demands.iter().copied().collect(), ..Gates::default() }
    }

    fn fault(text: &str) -> Finding {
        Finding::Fault(text.to_owned())
    }

    #[test]
    fn every_gate_is_off_unless_somebody_says_otherwise() {
        assert_eq!(Gates::default().asked().count(), 0);
        assert_eq!(weigh(&Gates::default(), vec![(GateKind::Lintian, fault("bad"))]), Ok(vec![]));
    }

    #[test]
    fn a_fault_is_noted_or_refused_as_the_pocket_says_and_a_remark_is_noted_always() {
        let demands = gates(&[(GateKind::Lintian, Demand::Note), (GateKind::Autopkgtest, Demand::Refuse)]);
        let skipped = Finding::Remark("a test was skipped".to_owned());
        let notes =
            weigh(&demands, vec![(GateKind::Lintian, fault("bad")), (GateKind::Autopkgtest, skipped)]);
        let notes: Vec<_> = notes.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(notes, ["lintian: bad", "autopkgtest: a test was skipped"]);
    }

    #[test]
    fn a_refusal_names_the_faults_of_all_gates_and_what_would_have_been_noted() {
        let demands = gates(&[
            (GateKind::Installability, Demand::Refuse),
            (GateKind::Lintian, Demand::Note),
            (GateKind::Reproducibility, Demand::Refuse),
        ]);
        let found = vec![
            (GateKind::Installability, fault("cannot be installed")),
            (GateKind::Lintian, fault("bad")),
            (GateKind::Reproducibility, fault("differs")),
        ];
        let reasons = weigh(&demands, found).unwrap_err().reasons();
        let expected =
            ["installability: cannot be installed", "reproducibility: differs", "lintian: bad (noted only)"];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn a_copy_that_a_rebuild_does_not_give_is_refused_whatever_the_gates_are() {
        assert!(weigh(&Gates::default(), vec![(GateKind::Rebuild, fault("differs"))]).is_err());
    }
}
