//! `room`: what builders start as the first process of a room, and of a run of sbuild. Not for people.

use std::path::PathBuf;

use clap::Subcommand;
use invirtibuilder_core::builder::{limits, overlay::room, sbuild::enclosure, vm};
use invirtibuilder_core::error::BoxError;
use invirtibuilder_core::process;

use crate::context::Failure;

/// Serves the overlay builder
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a room and runs what is planned in it
    Enter {
        /// The plan
        plan: PathBuf,
    },
    /// Makes a room to look at what a failed build left
    Visit {
        /// What is looked at, and with what
        visit: PathBuf,
    },
    /// Runs sbuild without network, and watches how much space is left
    Enclose {
        /// The plan
        plan: PathBuf,
    },
    /// Unpacks a base
    Unpack {
        /// Its tarball
        tarball: PathBuf,
        /// The directory to make
        into: PathBuf,
    },
    /// Writes a base to a disk image
    Image {
        /// The base's tree
        tree: PathBuf,
        /// The file to make
        file: PathBuf,
    },
    /// Runs a program as the first process, which has nothing on its standard input
    Run {
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Joins control groups, and becomes a program
    Join {
        /// The groups' directories
        groups: Vec<PathBuf>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// Returns the exit status, one of [`room::End`]'s.
pub(crate) fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Enter { plan } => Ok(room::enter(&room::read_plan(&plan)?)?.code()),
        Command::Visit { visit } => Ok(room::visit(&room::read_visit(&visit)?).map(|()| 0)?),
        Command::Enclose { plan } => Ok(enclosure::enter(&plan)?),
        Command::Unpack { tarball, into } => Ok(room::unpack(&tarball, &into).map(|()| 0)?),
        Command::Image { tree, file } => Ok(vm::image::write(&tree, &file).map(|()| 0)?),
        Command::Run { command } => Ok(room::run(&command)?),
        Command::Join { groups, command } => {
            groups.iter().try_for_each(|it| limits::join(it))?;
            let (program, arguments) =
                command.split_first().ok_or_else(|| BoxError::from("there is no program"))?;
            Err(process::Command::new(program).args(arguments).exec()).map_err(|e| BoxError::from(e).into())
        }
    }
}
