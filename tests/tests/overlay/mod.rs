//! What hostile packages try.

mod against;
mod attack;
mod bombs;
mod kills;
mod reach;
mod shell;
mod site;
