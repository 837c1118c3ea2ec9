//! The `.dsc`, written by dpkg-source of the files that are there already.
//!
//! Its format `3.0 (custom)` takes any files and reads nothing of the tree but what the fields are made of, so what a
//! source package says of itself is dpkg's word, and what is in it is ours.

use std::path::PathBuf;

use super::format::{Format, SKELETON};
use super::{Export, Problem, shown};
use crate::durable;
use crate::process::{Command, ProcessError};

/// Writes and syncs the source package's `.dsc`, which names these files beside it. Returns its path.
pub(super) fn write(export: &Export<'_>, files: &[String]) -> Result<PathBuf, Problem> {
    let (plan, into) = (export.plan, export.into);
    // Without a default vendor no hook of the machine's distribution takes part.
    let origins = export.work.join("origins");
    durable::scratch::create_directory(&origins, 0o755)?;
    let top = export.work.join("skeleton");
    for directory in [&top, &top.join("debian"), &top.join("debian/tests")] {
        durable::scratch::create_directory(directory, 0o755)?;
    }
    for path in SKELETON {
        if let Some(bytes) = export.facts.skeleton.get(path) {
            durable::scratch::write_new(&top.join(path), bytes, 0o644)?;
        }
    }
    let format = match export.facts.format {
        Format::Native => "3.0 (native)",
        Format::Quilt => "3.0 (quilt)",
        Format::NativeOne | Format::One => "1.0",
    };
    let command = Command::new("dpkg-source")
        .env("SOURCE_DATE_EPOCH", export.time.to_string())
        .env("DPKG_ORIGINS_DIR", &origins)
        .current_dir(into)
        .args(["--format=3.0 (custom)", &format!("--target-format={format}"), "-Fdebian"])
        .args([&format!("-DGit-Commit={}", plan.commit()), "-b"])
        .arg(top.strip_prefix(into).unwrap_or(&top))
        .args(files);
    command.run().map_err(|e| match e {
        ProcessError::Failed { stderr, .. } => {
            Problem::Tree(format!("dpkg-source refuses it: {}", told(&stderr)))
        }
        other => Problem::Backend(other.into()),
    })?;
    let dsc = into.join(format!("{}.dsc", export.stem()));
    for file in files.iter().map(|it| into.join(it)).chain([dsc.clone()]) {
        if !file.is_file() {
            return Err(Problem::Backend(format!("dpkg-source made no {}", file.display()).into()));
        }
        durable::sync_file(&file)?;
    }
    durable::sync_directory(into)?;
    Ok(dsc)
}

/// Returns the lines in which dpkg-source says what is wrong, safe to print.
pub(super) fn told(stderr: &str) -> String {
    let errors = stderr.lines().filter(|it| it.starts_with("dpkg-source: error:"));
    let lines: Vec<&str> = errors.map(|it| it.trim_start_matches("dpkg-source: error:").trim()).collect();
    let text = if lines.is_empty() { stderr.trim().to_owned() } else { lines.join("; ") };
    shown(&text)
}
