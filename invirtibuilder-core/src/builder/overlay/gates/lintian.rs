//! lintian(1), of the base, on the source and the binary packages.

use std::io::Write;

use super::{Examination, SOURCE, Trouble, User, Visit, faults, step};
use crate::policy::{Finding, LintianSeverity};

/// What lintian exits with if it found what it is to fail on.
const FOUND: u8 = 2;

pub(super) fn ask(it: &Examination<'_>, log: &mut (dyn Write + Send)) -> Result<Vec<Finding>, Trouble> {
    let layer = it.tools("lintian", log)?;
    let severities = &it.subject.source.plan().pocket().building.gates.lintian_fail_on;
    let words: Vec<&str> = severities.iter().map(|it| it.as_str()).collect();
    let mut arguments = vec![
        "--no-cfg".to_owned(),
        "--no-user-dirs".to_owned(),
        "--tag-display-limit=0".to_owned(),
        "--fail-on".to_owned(),
        words.join(","),
    ];
    // lintian fails on nothing that it does not display.
    if severities.contains(&LintianSeverity::Info) || severities.contains(&LintianSeverity::Pedantic) {
        arguments.push("--display-info".to_owned());
    }
    if severities.contains(&LintianSeverity::Pedantic) {
        arguments.push("--pedantic".to_owned());
    }
    arguments.push(it.dsc().display().to_string());
    arguments.extend(it.subject.binaries.iter().map(|it| format!("{SOURCE}/{}", it.name().display())));
    let visit = Visit {
        layer: Some(&layer),
        user: User::Builder,
        steps: vec![step("lintian", arguments, "/nonexistent", SOURCE)],
        texts: Vec::new(),
        takes: false,
        repository: &[],
        besides: 0,
    };
    let visited = it.visit(&visit, log)?;
    Ok(match visited.status {
        0 => Vec::new(),
        FOUND => match tags(&visited.output, &words) {
            lines if lines.is_empty() => {
                vec![Finding::Fault("it is not content; its log says why".to_owned())]
            }
            lines => faults(lines),
        },
        other => {
            vec![Finding::Fault(format!("it could not look at the package: it ended with status {other}"))]
        }
    })
}

/// Returns the lines with tags of these severities: `E: hello: no-copyright-file`.
fn tags(output: &str, severities: &[&str]) -> Vec<String> {
    let is_told = |line: &&str| {
        let mut letters = severities.iter().filter_map(|it| it.chars().next());
        letters.any(|it| line.starts_with(&format!("{}: ", it.to_ascii_uppercase())))
    };
    output.lines().filter(is_told).map(|it| it.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_the_severities_that_are_asked_for_are_told() {
        let output =
            "E: hello: no-copyright-file\nW: hello: no-manual-page [usr/bin/hello]\nN: 1 hint overridden\n";
        assert_eq!(tags(output, &["error"]), ["E: hello: no-copyright-file"]);
        assert_eq!(tags(output, &["error", "warning"]).len(), 2);
    }
}
