//! What the end-to-end tests share: sites, packages, apt, and the programs under test.
//!
//! Nothing here knows how the product works inside: sites are made, changed and read by the programs that users have.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "this is a part of tests: what goes wrong ends the test, with all that is known"
)]

pub mod apt;
pub mod builds;
pub mod debs;
pub mod hostile;
pub mod keys;
pub mod killing;
pub mod leaving;
pub mod packages;
pub mod programs;
pub mod servers;
pub mod sites;
pub mod world;
