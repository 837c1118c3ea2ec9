//! gpg started before there is a text: it looks for its keys and its agent while the text is made.

use std::fs::File;
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::memory::MemoryFile;
use super::{Form, GpgSigner, PATIENCE, Problem, reading_back};
use crate::process::{Limits, ProcessError};
use crate::signer::{SignError, Signed, Signing};

/// How long a text may take. One that takes longer is given to another gpg, because nobody knows for how long an
/// agent or a card is patient.
const FRESH: Duration = Duration::from_secs(20);

/// Both signatures, waiting for the text. Dropped without it, the programs sign the empty text, which nobody sees.
#[derive(Debug)]
pub(super) struct Begun {
    signer: GpgSigner,
    at: Instant,
    inline: Waiting,
    detached: Waiting,
}

/// One gpg that waits for the text.
#[derive(Debug)]
struct Waiting {
    form: Form,
    text: PipeWriter,
    signature: JoinHandle<Result<Vec<u8>, ProcessError>>,
}

impl Waiting {
    fn new(signer: &GpgSigner, form: Form) -> Result<Self, SignError> {
        let pipe = std::io::pipe();
        let (input, text) = pipe.map_err(|source| ProcessError::Io { program: "gpg".to_owned(), source })?;
        let time = FRESH + PATIENCE;
        let limits = Limits { time, silence: time, ..Limits::default() };
        let command = signer.command(form).stdin(File::from(OwnedFd::from(input))).limits(limits);
        Ok(Self { form, text, signature: std::thread::spawn(|| command.run()) })
    }

    fn finish(self, signer: &GpgSigner, text: &str, files: &Files) -> Result<Vec<u8>, Problem> {
        let Self { form, text: mut input, signature } = self;
        // A gpg that ended before it had read all tells why itself.
        let _ = input.write_all(text.as_bytes());
        drop(input);
        let signed = signature.join().unwrap_or_else(|e| std::panic::resume_unwind(e))?;
        reading_back::check(form, &signed, &files.text, &files.keyring, &signer.keys)?;
        Ok(signed)
    }
}

/// Makes the signature alone of a text that is there.
pub(super) fn detached(signer: &GpgSigner, text: &str) -> Result<Vec<u8>, SignError> {
    let waiting = Waiting::new(signer, Form::Detached)?;
    let files = Files { text: MemoryFile::new(text.as_bytes())?, keyring: MemoryFile::new(&signer.keyring)? };
    waiting.finish(signer, text, &files).map_err(|problem| signer.explain(problem, &files.text))
}

/// What a signature is read back with.
#[derive(Debug)]
struct Files {
    text: MemoryFile,
    keyring: MemoryFile,
}

impl Begun {
    pub(super) fn new(signer: &GpgSigner) -> Result<Self, SignError> {
        let (inline, detached) = (Waiting::new(signer, Form::Inline)?, Waiting::new(signer, Form::Detached)?);
        Ok(Self { signer: signer.clone(), at: Instant::now(), inline, detached })
    }

    pub(super) fn finish(self, release: &str) -> Result<Signed, SignError> {
        if self.at.elapsed() > FRESH {
            return Self::new(&self.signer)?.finish(release);
        }
        let Self { signer, inline, detached, .. } = self;
        let text = MemoryFile::new(release.as_bytes())?;
        let files = Files { text, keyring: MemoryFile::new(&signer.keyring)? };
        // The two are independent, and starting programs is most of what they cost.
        let (inline, detached) = std::thread::scope(|scope| {
            let detached = scope.spawn(|| detached.finish(&signer, release, &files));
            let inline = inline.finish(&signer, release, &files);
            (inline, detached.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
        });
        let explain = |problem| signer.explain(problem, &files.text);
        Ok(Signed { inline: inline.map_err(explain)?, detached: detached.map_err(explain)? })
    }
}

impl Signing for Begun {
    fn finish(self: Box<Self>, release: &str) -> Result<Signed, SignError> {
        Self::finish(*self, release)
    }
}
