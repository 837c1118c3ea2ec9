//! The caller's side of a look at what a failed build left: finds it, opens a room on top of it, and passes bytes.
//!
//! Never gives the room the caller's own terminal or files, with which a hostile package could type or write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::kept::{self, Record};
use super::room::{self, Plan, Step, User};
use super::store::Kind;
use super::{Groups, OverlayBuilder, memory, owner_of};
use crate::builder::scratch::Part;
use crate::builder::{Caller, Look, VisitError};
use crate::error::BoxError;
use crate::process::Attached;
use crate::stop::Interrupt;

/// How often it is asked whether the window has changed, and whether to go on.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl OverlayBuilder {
    pub(super) fn look(&self, look: &Look<'_>) -> Result<u8, VisitError> {
        let found = kept::of_job(&self.store, look.job)?;
        let is_wanted = |it: &&(String, _, Record)| look.architecture.is_none_or(|wanted| it.1 == *wanted);
        let mut wanted: Vec<_> = found.iter().filter(is_wanted).collect();
        let Some((name, _, record)) = wanted.pop() else { return Err(gone(look, "nothing is kept of it")) };
        if !wanted.is_empty() {
            let all: Vec<_> = found.iter().map(|it| it.1.to_string()).collect();
            return Err(VisitError::Unsupported(format!(
                "it failed for several architectures; add --architecture and one of {}",
                all.join(", ")
            )));
        }
        let kept = self.store.take(Kind::Failed, name)?;
        let kept = kept.ok_or_else(|| gone(look, "what was kept of it has been removed"))?;
        let tree = self.store.take(Kind::Tree, &record.tree)?;
        let tree = tree.ok_or_else(|| gone(look, "the base that it was built in has been made anew"))?;
        let layer = self.store.take(Kind::Layer, &record.layer)?;
        let layer =
            layer.ok_or_else(|| gone(look, "the layer with its build dependencies made way for others"))?;

        let groups = Groups::detect();
        let walls = self.walls(&groups)?;
        let entry = self.scratch.enter(&walls)?;
        let space = memory::space_for(0, &self.limits);
        let mut limits = self.limits;
        limits.memory = limits.memory.map(|it| it.saturating_add(space.bytes()));
        let group = groups.make(&format!("{}-{}", owner_of(&self.scratch), entry.name()), &limits)?;
        let visit = room::Visit {
            plan: Plan {
                lower: vec![kept.path.join("upper"), layer.path.join("upper"), tree.path.join("tree")],
                upper: (space == memory::Space::Disk).then(|| entry.part(Part::Chroots)),
                memory: space.bytes(),
                disk: self.limits.disk,
                shown: Vec::new(),
                user: User::Builder,
                surroundings: room::Surroundings::usual(),
                steps: vec![step(&record.step, look)],
                results: None,
                keep: None,
            },
            owners: kept.path.join(room::OWNERS),
            has_terminal: look.caller.terminal.is_some(),
        };
        let file = entry.part(Part::Input).join("visit.json");
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(box_error)?;
        let room = room::visit_command(&self.helper, &walls, Some(&group), &visit, &file)?;
        let room = room.attach(theirs).map_err(box_error)?;
        let result = serve(&look.caller, room, &ours, look.interrupt);
        drop(group);
        entry.remove()?;
        result
    }
}

fn box_error<E: Into<BoxError>>(e: E) -> VisitError {
    VisitError::Backend(e.into())
}

fn gone(look: &Look<'_>, problem: &str) -> VisitError {
    VisitError::NotKept(format!(
        "{problem}; `invirtibuilder retry {}` builds it again, and keeps it for builder.keep_failed if it fails",
        look.job
    ))
}

/// Returns the program to run: what the caller says, else a shell.
fn step(failed: &Step, look: &Look<'_>) -> Step {
    let (program, arguments) = match look.words {
        [program, arguments @ ..] => (program.clone(), arguments.to_vec()),
        [] => ("bash".to_owned(), Vec::new()),
    };
    let mut environment = failed.environment.clone();
    if let Some(terminal) = look.caller.terminal {
        environment.push(("TERM".to_owned(), terminal.to_owned()));
    }
    Step { program, arguments, directory: failed.directory.clone(), environment }
}

/// Passes bytes until the room has ended, and returns the program's exit status.
fn serve(
    caller: &Caller<'_>,
    room: Attached,
    socket: &OwnedFd,
    interrupt: &dyn Interrupt,
) -> Result<u8, VisitError> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(box_error);
    if caller.terminal.is_some() {
        let files = room::receive(socket.as_fd(), 1).map_err(|e| no_room(&e))?;
        let [terminal] = <[OwnedFd; 1]>::try_from(files).map_err(|_| box_error("there is no terminal"))?;
        let _raw = Raw::new(caller.input)?;
        let typed = terminal.try_clone().map_err(box_error)?;
        let window = Some((caller.output, terminal.as_fd()));
        pass((caller.input, typed), window, &[(terminal.as_fd(), caller.output)], interrupt);
    } else {
        let ((input, typed), (output, output_end), (errors, errors_end)) = (pipe()?, pipe()?, pipe()?);
        room::give(socket.as_fd(), &[input.as_fd(), output_end.as_fd(), errors_end.as_fd()])?;
        drop((input, output_end, errors_end));
        let outputs = [(output.as_fd(), caller.output), (errors.as_fd(), caller.errors)];
        pass((caller.input, typed), None, &outputs, interrupt);
    }
    if interrupt.is_interrupted() {
        return Err(VisitError::Interrupted);
    }
    let mut code = [0_u8; 1];
    let (count, _) = recv(socket, &mut code, RecvFlags::empty()).map_err(box_error)?;
    room.wait().map_err(box_error)?;
    let [code] = code;
    if count == 1 { Ok(code) } else { Err(no_room(&"it ended early".into())) }
}

fn no_room(e: &BoxError) -> VisitError {
    box_error(format!("the room could not be opened, for the reason above: {e}"))
}

type Way<'a> = (BorrowedFd<'a>, BorrowedFd<'a>);

/// Passes what is typed, in a thread of its own, as a program that does not read must not keep its output back; and
/// what is printed, until nobody can print any more. Keeps the size of one terminal's window that of another.
fn pass(
    (input, typed): (BorrowedFd<'_>, OwnedFd),
    window: Option<Way<'_>>,
    outputs: &[Way<'_>],
    interrupt: &dyn Interrupt,
) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut typed = Some(typed);
            while !is_over.load(Ordering::Relaxed) {
                if let Some((from, to)) = window {
                    keep_size(from, to);
                }
                match &typed {
                    None => drop(poll(&mut [], Some(&TICK))),
                    Some(to) if !forward(input, to.as_fd()) => typed = None,
                    Some(_) => (),
                }
            }
        });
        let mut open = outputs.to_vec();
        while !open.is_empty() && !interrupt.is_interrupted() {
            let mut polled: Vec<_> =
                open.iter().map(|it| PollFd::from_borrowed_fd(it.0, PollFlags::IN)).collect();
            let waited = poll(&mut polled, Some(&TICK));
            let ready: Vec<bool> = polled.iter().map(|it| !it.revents().is_empty()).collect();
            if waited.is_ok_and(|it| it > 0) {
                let mut ready = ready.into_iter();
                open.retain(|(from, to)| !ready.next().unwrap_or_default() || copy_once(*from, *to));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Waits a moment for something to pass on. Returns whether there may be more.
fn forward(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut polled =
        [PollFd::from_borrowed_fd(from, PollFlags::IN), PollFd::from_borrowed_fd(to, PollFlags::empty())];
    match poll(&mut polled, Some(&TICK)) {
        Ok(0) | Err(Errno::INTR) => true,
        Ok(_) if polled.first().is_some_and(|it| !it.revents().is_empty()) => copy_once(from, to),
        // Nobody reads any more.
        _ => false,
    }
}

/// Passes on what can be read now. Returns whether there may be more.
fn copy_once(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0_u8; 16 << 10];
    let count = match rustix::io::read(from, &mut buffer) {
        Ok(count) => count,
        Err(Errno::INTR | Errno::AGAIN) => return true,
        // A terminal whose last program has ended says so by an error.
        Err(_) => return false,
    };
    let mut rest = buffer.get(..count).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => (),
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], Some(&TICK));
            }
            Err(_) => return false,
        }
    }
    count > 0
}

fn keep_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let (Ok(wanted), Ok(found)) = (tcgetwinsize(from), tcgetwinsize(to)) else { return };
    if (wanted.ws_row, wanted.ws_col) != (found.ws_row, found.ws_col) {
        let _ = tcsetwinsize(to, wanted);
    }
}

/// A terminal that passes each key on as it is; with this value it becomes what it was.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn new(terminal: BorrowedFd<'a>) -> Result<Self, VisitError> {
        let before = tcgetattr(terminal).map_err(box_error)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw).map_err(box_error)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}
