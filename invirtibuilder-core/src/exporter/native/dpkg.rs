//! dpkg-source, told everything that it would otherwise look up.
//!
//! Why xz at level 1 for `3.0 (native)`: compression is nearly all of the cost of a native source package, and
//! level 1 takes an eighth of the time of dpkg's default 6 for a tenth more bytes; gzip is hardly faster and
//! a quarter larger. One thread, because xz cuts its output at other places with more, and the bytes must not
//! depend on the machine's processors. `1.0` knows only gzip.

use std::path::{Path, PathBuf};

use super::Problem;
use super::format::Format;
use crate::durable;
use crate::process::{Command, ProcessError};
use crate::states::BuildPlan;

/// Builds the source package of a tree into `into`, and syncs it. Returns the path of its `.dsc`.
pub(super) fn build_source(
    plan: &BuildPlan,
    format: Format,
    into: &Path,
    top: &Path,
    time: i64,
) -> Result<PathBuf, Problem> {
    // Without a default vendor no hook of the machine's distribution takes part.
    let origins = into.join(super::WORK).join("origins");
    durable::scratch::create_directory(&origins, 0o755)?;
    let relative = top.strip_prefix(into).unwrap_or(top);
    let how: &[&str] = match format {
        Format::Three => &["--format=3.0 (native)", "-Zxz", "-z1", "--threads-max=1"],
        Format::One => &["--format=1.0", "-sn", "-Zgzip", "-z9"],
    };
    // One pattern, of what is left out anyway, in the place of dpkg's default list, which drops .gitignore, *.o
    // and more from the commit's files.
    let command = Command::new("dpkg-source")
        .env("SOURCE_DATE_EPOCH", time.to_string())
        .env("DPKG_ORIGINS_DIR", &origins)
        .current_dir(into)
        .args(how)
        .args(["--tar-ignore=debian/files", "-Fdebian", &format!("-DGit-Commit={}", plan.commit()), "-b"])
        .arg(relative);
    command.run().map_err(|e| match e {
        ProcessError::Failed { stderr, .. } => {
            Problem::Tree(format!("dpkg-source refuses it: {}", told(&stderr)))
        }
        other => Problem::Backend(other.into()),
    })?;
    let stem = format!("{}_{}", plan.package(), plan.version().without_epoch());
    let extension = if format == Format::Three { "tar.xz" } else { "tar.gz" };
    let dsc = into.join(format!("{stem}.dsc"));
    for file in [&into.join(format!("{stem}.{extension}")), &dsc] {
        if !file.is_file() {
            return Err(Problem::Backend(format!("dpkg-source made no {}", file.display()).into()));
        }
        durable::sync_file(file)?;
    }
    durable::sync_directory(into)?;
    Ok(dsc)
}

/// Returns the lines in which dpkg-source says what is wrong, safe to print.
fn told(stderr: &str) -> String {
    const SHOWN: usize = 400;
    let errors = stderr.lines().filter(|it| it.starts_with("dpkg-source: error:"));
    let lines: Vec<&str> = errors.map(|it| it.trim_start_matches("dpkg-source: error:").trim()).collect();
    let text = if lines.is_empty() { stderr.trim().to_owned() } else { lines.join("; ") };
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            '\n' => shown.push(' '),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
