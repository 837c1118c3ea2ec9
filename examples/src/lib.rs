//! Backends of one's own: how a program embeds Invirtibuilder's library and brings a builder and a publisher.
//!
//! Never starts sbuild and never signs anything: both backends are small enough to be read in one sitting, and real
//! enough to install a package from. `src/bin/own_backends.rs` runs a whole site with them.
#![warn(missing_docs)]

pub mod builder;
pub mod demo;
pub mod publisher;
