//! Backends in memory, strict on purpose.
pub mod files;
