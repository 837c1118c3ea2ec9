//! `completions` and `man`: what a shell and a reader of manuals are given, made of the same words as `--help`.

use std::path::PathBuf;

use clap_complete::Shell;
use invirtibuilder_core::durable;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;

/// The program's name.
const NAME: &str = "invirtibuilder";

/// Print the completions of a shell
///
/// For bash, put them into /usr/share/bash-completion/completions/invirtibuilder.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the manual: a page for each command
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The directory for the pages, such as /usr/share/man/man1
    directory: PathBuf,
}

pub(crate) fn completions(arguments: &Completions, context: &Context) -> Answer {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::command(), NAME, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    context.output().answer(&text, |to| to.write_all(text.as_bytes()))?;
    Ok(Exit::Done)
}

pub(crate) fn man(arguments: &Man, context: &Context) -> Answer {
    durable::create_directory(&arguments.directory)?;
    let mut command = crate::command();
    command.build();
    let mut pages = Vec::new();
    write_pages(&command, NAME, arguments, &mut pages)?;
    context.output().answer(&pages, |to| pages.iter().try_for_each(|it| writeln!(to, "{}", it.display())))?;
    Ok(Exit::Done)
}

/// Writes the page of a command, and those of its subcommands.
fn write_pages(
    command: &clap::Command,
    name: &str,
    arguments: &Man,
    pages: &mut Vec<PathBuf>,
) -> Result<(), crate::context::Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name.to_owned())).title(name).render(&mut text)?;
    let path = arguments.directory.join(format!("{name}.1"));
    durable::write(&path, &text)?;
    pages.push(path);
    let shown = |it: &&clap::Command| !it.is_hide_set() && it.get_name() != "help";
    for subcommand in command.get_subcommands().filter(shown) {
        write_pages(subcommand, &format!("{name}-{}", subcommand.get_name()), arguments, pages)?;
    }
    Ok(())
}
