//! From a Git commit of a Debian package to an APT repository that a team can trust.
//!
//! A *pocket* is a line of development: one Git branch and one APT suite. The library's promise is that for every pocket
//! **what Git says and what APT serves are the same, always, and anybody can check it**.
//!
//! # How a commit becomes a package
//! ```text
//!  Request ─ submit ─▶ Job ─ validate ─▶ Plan ─ export ─▶ SourcePackage
//!                                         │                   │ build
//!                                    copy │                   ▼
//!                                         │            BuildArtifacts
//!                         ════════════════╪═══════════════════╪════  the checkpoint: from here on, only forward
//!                                         ▼                   │ publish
//!                                      Published ◀────────────┘
//!                                         │ record: branch, tag, superproject
//!                                         ▼
//!                                      Recorded ─ announce ─▶ Outcome
//! ```
//! [`pipeline`] is the only place that knows this order. The work is done behind five traits, each with a contract:
//! [`queue::Queue`], [`pocket::Pocket`], [`exporter::Exporter`], [`builder::Builder`] and [`publisher::Publisher`]. A
//! program may bring its own; the module `conformance` has each contract as functions (feature `conformance`),
//! and the feature `mocks` has mocks. [`site::Site`] puts the parts together that a configuration names, and is what
//! every frontend calls.
//!
//! # A whole job
//! ```
//! use invirtibuilder_core::job::{Job, Outcome, Relations, Stage};
//! use invirtibuilder_core::memory::Lab;
//! use invirtibuilder_core::pipeline::Observer;
//! use invirtibuilder_core::queue::Queue;
//! use invirtibuilder_core::stop::Stop;
//! use invirtibuilder_core::worker::{Until, Worker};
//!
//! #[derive(Debug)]
//! struct Unheard;
//! impl Observer for Unheard {
//!     fn claimed(&self, _: &Job) {}
//!     fn entered(&self, _: &Job, _: Stage) {}
//!     fn ended(&self, _: &Job, _: &Outcome) {}
//!     fn given_back(&self, _: &Job, _: &str, _: jiff::Timestamp) {}
//! }
//!
//! // Two pockets, `dev` and `prod`, and all backends in memory.
//! let lab = Lab::new()?;
//! let package = "hello".parse()?;
//! let commit = lab.commit(&package, &"1.0".parse()?, None);
//! let (queue, pipeline) = (lab.queue(), lab.pipeline());
//! queue.submit(Lab::request("prod", &package, &commit), &Relations::default())?;
//!
//! let worker = Worker { queue: &queue, pipeline: &pipeline, observer: &Unheard, jobs: std::num::NonZeroUsize::MIN };
//! let worked = worker.run(Until::Empty, &Stop::new()?)?;
//! assert_eq!(worked.outcomes, [Outcome::Published { version: "1.0".parse()?, copied_from: None, notes: Vec::new() }]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds it together
//! - **Wrong order does not compile.** A stage takes the proof that the stage before it happened, and only that stage
//!   can make it:
//!   ```compile_fail
//!   use invirtibuilder_core::{publisher::Publisher, states::SourcePackage};
//!   fn skip_the_build(publisher: &dyn Publisher, source: &SourcePackage) {
//!       publisher.publish(source); // a `BuildArtifacts` is expected
//!   }
//!   ```
//!   ```compile_fail
//!   use invirtibuilder_core::states::{BuildPlan, Published};
//!   fn forge(plan: BuildPlan) -> Published {
//!       Published { plan, copied_from: None } // its fields are private
//!   }
//!   ```
//! - **One durable decision a job**, the [`job::Checkpoint`]. Without it a job begins again; with it a job rolls forward.
//! - **Success is read back** from the archive and from Git; what a backend or a tool says is never enough.
//! - **Policy is pure** ([`policy`]), names are parsed once ([`names`]), one module writes ([`durable`]: synced before it
//!   is visible), one starts programs ([`process`]).
//! - The library prints nothing and reads no environment variable; it logs through `tracing`.
//!
//! # Files of a site
//! | path below the root | owner |
//! |---|---|
//! | `queue/` | [`queue::directory`]: waiting jobs, one readable file each; `running/`, `ended/`, `locks/` |
//! | `repositories/`, `superproject.git` | [`repository`] and [`pocket::git`] |
//! | `archive/` | [`publisher::archive`]: all that a web server serves, and nothing else |
//! | `cache/`, `scratch/` | [`builder`] and [`publisher::archive`]: what can be made again, and what is thrown away |
//! | `logs/` | [`pipeline`]: `<package>/<version>/<job>-<architecture>.log`; [`hooks`]: `hooks.log` |
//! | `hooks/`, `gnupg/` | whoever runs the site |

pub mod access;
pub mod audit;
mod base64;
pub mod builder;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod control;
pub mod door;
pub mod durable;
pub mod error;
pub mod examiner;
pub mod exporter;
pub mod finding;
pub mod hooks;
pub mod job;
pub mod memory;
pub mod names;
pub mod pipeline;
pub mod plain_text;
pub mod pocket;
pub mod policy;
pub mod process;
pub mod provenance;
pub mod publisher;
pub mod queue;
pub mod repair;
pub mod repository;
pub mod rollback;
pub mod signer;
pub mod site;
pub mod states;
pub mod stop;
pub mod verify;
pub mod worker;
