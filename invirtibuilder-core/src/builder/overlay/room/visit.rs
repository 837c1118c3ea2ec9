//! A look at what a failed build left, by the room's first process: a room with that as one more read-only layer, and
//! one program in it, on a terminal of the room's own or with the streams that the caller sent.
//!
//! The caller is at the other end of the socket that is this process's standard output. With a terminal, its
//! controlling end is sent there; without, three streams come from there. In the end goes one byte, the exit status.
//! Never gives a program of the room anything of the caller's that leads further than bytes: no terminal, no file.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};

use super::carry::restore_owners;
use super::inside::{die_with_parent, failed, furnish, refuse_open_files, settle};
use super::{BUILD, Step, Visit};
use crate::error::BoxError;
use crate::process::Command;

/// How many streams a program has.
const STREAMS: usize = 3;

/// Opens the room and runs the program, and sends its exit status.
///
/// # Errors
/// The room could not be made, or the program not started.
pub fn visit(visit: &Visit) -> Result<(), BoxError> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    die_with_parent()?;
    refuse_open_files()?;
    let caller = std::io::stdout();
    let received = if visit.has_terminal { None } else { Some(receive(caller.as_fd(), STREAMS)?) };
    let plan = &visit.plan;
    let [left, ..] = &plan.lower[..] else { return Err("there is no layer to look at".into()) };
    restore_owners(left, &visit.owners)?;
    let upper = furnish(plan)?;
    settle(plan, &upper)?;
    drop(upper);
    let step = plan.steps.first().ok_or("there is no program to run")?;
    let command = match received {
        None => {
            let (controlling, terminal) = open_terminal()?;
            give(caller.as_fd(), &[controlling.as_fd()])?;
            let (output, errors) = (terminal.try_clone()?, terminal.try_clone()?);
            // It makes a session of its own, with the terminal in control of it.
            let setsid = Command::new("setsid").args(["--ctty", "--wait", "--"]).arg(&step.program);
            begin(setsid, step).streams(terminal, output, errors)
        }
        Some(streams) => {
            let [input, output, errors] =
                <[OwnedFd; STREAMS]>::try_from(streams).map_err(|_| "the caller sent other streams")?;
            begin(Command::new(&step.program), step).streams(input, output, errors)
        }
    };
    let status = command.run_attached()?;
    let code = status.code().or_else(|| status.signal().map(|it| it + 128)).unwrap_or_default();
    send(caller, &[u8::try_from(code).unwrap_or(u8::MAX)], SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Gives a program its arguments and surroundings. A build may have failed before its directory was there.
fn begin(command: Command, step: &Step) -> Command {
    let places = [step.directory.as_path(), Path::new(BUILD)];
    let directory = places.into_iter().find(|it| it.is_dir()).unwrap_or(Path::new("/"));
    let mut command = command.args(&step.arguments).current_dir(directory);
    for (name, value) in &step.environment {
        command = command.env(name, value);
    }
    command
}

/// Opens a terminal of the room: the end that controls it, and the end that a program has.
fn open_terminal() -> Result<(OwnedFd, OwnedFd), BoxError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let controlling = rustix::fs::openat(CWD, "/dev/ptmx", flags, Mode::empty());
    let controlling = controlling.map_err(failed("open", "/dev/ptmx"))?;
    rustix::pty::unlockpt(&controlling).map_err(failed("unlock", "a terminal"))?;
    let name = rustix::pty::ptsname(&controlling, Vec::new()).map_err(failed("name", "a terminal"))?;
    let terminal = rustix::fs::openat(CWD, &name, flags, Mode::empty());
    Ok((controlling, terminal.map_err(failed("open", "a terminal"))?))
}

/// Sends open files over a socket.
pub(in crate::builder::overlay) fn give(
    socket: BorrowedFd<'_>,
    files: &[BorrowedFd<'_>],
) -> Result<(), BoxError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err("that are too many files to send".into());
    }
    sendmsg(socket, &[IoSlice::new(b"f")], &mut ancillary, SendFlags::NOSIGNAL)
        .map_err(failed("send", "open files"))?;
    Ok(())
}

/// Receives exactly so many open files from a socket.
pub(in crate::builder::overlay) fn receive(
    socket: BorrowedFd<'_>,
    count: usize,
) -> Result<Vec<OwnedFd>, BoxError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => (),
            other => break other.map_err(failed("receive", "open files"))?,
        }
    };
    let mut files = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            files.extend(sent);
        }
    }
    if received.bytes == 0 {
        return Err("the other end is gone".into());
    }
    if files.len() != count || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err("the other end sent something else than open files".into());
    }
    Ok(files)
}
