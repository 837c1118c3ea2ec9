//! The contract of the trait, as functions.
