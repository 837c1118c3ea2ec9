//! An archive as a stranger has it: a directory, or a URI.

use std::path::PathBuf;
use std::time::Duration;

use super::ProvenanceError;
use crate::process::{Command, Limits, ProcessError};
use crate::signer::MemoryFile;

/// How long a file may take to come.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The longest file that is fetched, in bytes.
const LONGEST: u64 = 4 << 30;

/// Where an archive is.
#[derive(Clone, Debug)]
pub(super) enum Archive {
    Directory(PathBuf),
    Uri(String),
}

impl Archive {
    /// Takes a URI, or the path of a directory.
    pub(super) fn parse(text: &str) -> Result<Self, ProvenanceError> {
        if let Some(path) = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")) {
            return Ok(Self::Directory(path.into()));
        }
        if ["http://", "https://"].iter().any(|it| text.starts_with(it)) {
            return Ok(Self::Uri(text.trim_end_matches('/').to_owned()));
        }
        if ["dists", super::DIRECTORY].iter().any(|it| PathBuf::from(text).join(it).is_dir()) {
            return Ok(Self::Directory(text.into()));
        }
        let problem = "it has neither dists/ nor provenance/; name the directory that a web server serves, or a URI such as https://…";
        Err(ProvenanceError::unfit(text, problem))
    }

    /// Fetches a file; `None` if there is none.
    pub(super) fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let is_inside = path.split('/').all(|it| !it.is_empty() && it != ".." && it != ".");
        if !is_inside {
            return Err(format!("{path:?} is no path below an archive"));
        }
        match self {
            Self::Directory(root) => match std::fs::read(root.join(path)) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                other => other.map(Some).map_err(|e| format!("{path} cannot be read: {e}")),
            },
            Self::Uri(uri) => download(&format!("{uri}/{}", escaped(path))),
        }
    }
}

fn download(uri: &str) -> Result<Option<Vec<u8>>, String> {
    // What curl ends with when the server says that there is no such file.
    const REFUSED: i32 = 22;
    let curl = Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location", "--proto", "=http,https", "--"])
        .arg(uri)
        .limits(Limits { time: PATIENCE, silence: PATIENCE, output: LONGEST });
    match curl.run() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ProcessError::Failed { status, stderr, .. })
            if status.code() == Some(REFUSED) && stderr.contains("404") =>
        {
            Ok(None)
        }
        Err(error) => Err(format!("{uri} cannot be fetched: {error}")),
    }
}

/// Escapes what a path in a URI may not have as it is.
fn escaped(path: &str) -> String {
    super::escaped(path, b".-_~/+:")
}

/// Returns what keys of the ring signed of a text with a signature around it.
pub(super) fn signed_text(bytes: &[u8], keyring: &[u8]) -> Result<String, String> {
    let memory = |bytes: &[u8]| MemoryFile::new(bytes).map_err(|e| e.to_string());
    let (signed, keyring) = (memory(bytes)?, memory(keyring)?);
    let gpgv = Command::new("gpgv").arg("--keyring").arg(keyring.path()).args(["--output", "-", "--"]);
    let text = gpgv.arg(signed.path()).run().map_err(|e| match e {
        ProcessError::Failed { stderr, .. } => stderr.lines().last().unwrap_or_default().to_owned(),
        other => other.to_string(),
    })?;
    String::from_utf8(text).map_err(|_| "it is no text".to_owned())
}
