//! What hostile packages try.

mod bombs;
mod kills;
mod reach;
mod site;
