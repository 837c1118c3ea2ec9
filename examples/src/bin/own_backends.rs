//! Publishes a package with a builder and a publisher that are not Invirtibuilder's own.
//!
//! Run it with `cargo run -p invirtibuilder-examples --bin own_backends`. It works in a temporary directory that it
//! removes in the end. What it does is told in `demo`.
#![warn(missing_docs)]

use std::io::stdout;
use std::process::ExitCode;

use invirtibuilder_core::error::causes;
use invirtibuilder_examples::demo;

fn main() -> ExitCode {
    match demo::run(&mut stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // An error names what it was about; its causes, one a line, say why.
            #[allow(clippy::print_stderr, reason = "it is a program")]
            for cause in causes(&*e) {
                eprintln!("own_backends: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
