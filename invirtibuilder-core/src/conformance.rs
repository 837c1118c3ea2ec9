//! The contract of each trait, as functions that any backend can be run through.

pub mod builder;
pub mod exporter;
pub mod pocket;
pub mod publisher;
pub mod queue;
