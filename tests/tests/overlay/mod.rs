//! What hostile packages try.

mod bombs;
mod reach;
