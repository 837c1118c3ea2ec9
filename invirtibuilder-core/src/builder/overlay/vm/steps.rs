//! What a machine does, as the text of a function for the shell of its initramfs.
//!
//! Never puts a word into it that is not quoted: a word stays one word, whatever is in it.

use std::fmt::Write as _;

use crate::builder::overlay::room::{Step, User};
use crate::process::PATH;

/// The base, as the machine's first process sees it.
const ROOT: &str = "/root";

/// Writes the function `steps`, which ends with the number of the first step that fails. The builder has at most so many
/// processes.
pub(super) fn script(steps: &[(User, Step)], processes: u64) -> String {
    let mut text = "steps() {\n".to_owned();
    for (number, (user, step)) in steps.iter().enumerate() {
        let words: Vec<_> = words(*user, step, processes).iter().map(|it| quote(it)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {} || fail {}", words.join(" "), number + 1);
    }
    text.push_str("}\n");
    text
}

fn words(user: User, step: &Step, processes: u64) -> Vec<String> {
    let id = super::super::room::USER;
    let mut words = vec!["chroot".to_owned(), ROOT.to_owned()];
    if user == User::Builder {
        words.extend(["/usr/bin/prlimit".to_owned(), format!("--nproc={processes}"), "--".to_owned()]);
        words.extend(["/usr/bin/setpriv".to_owned(), format!("--reuid={id}"), format!("--regid={id}")]);
        let options = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"];
        words.extend(options.map(str::to_owned));
    }
    words.extend(["/usr/bin/env", "-i"].map(str::to_owned));
    words.push(format!("--chdir={}", step.directory.display()));
    let own = [("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
    words.extend(own.map(|(name, value)| format!("{name}={value}")));
    words.extend(step.environment.iter().map(|(name, value)| format!("{name}={value}")));
    words.push(step.program.clone());
    words.extend(step.arguments.iter().cloned());
    words
}

/// Quotes a word for the shell (POSIX, Shell Command Language, 2.2.2).
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_what_they_are_in_the_shell() {
        let step = Step {
            program: "printf".to_owned(),
            arguments: ["%s|", "it's", "$(id)", "a b", "*"].map(str::to_owned).into(),
            directory: "/tmp".into(),
            environment: vec![("HOME".to_owned(), "/no where".to_owned())],
        };
        let text = script(&[(User::Root, step)], 100);
        // What the machine has, stands in for it.
        let shell = format!("chroot() {{ shift; \"$@\"; }}\nfail() {{ echo failed $1; }}\n{text}steps");
        let printed = crate::process::Command::new("sh").args(["-c", &shell]).run().unwrap();
        assert_eq!(String::from_utf8_lossy(&printed), "%s|it's|$(id)|a b|*|".trim_start_matches("%s|"));
    }

    #[test]
    fn the_builder_has_neither_privilege_nor_groups() {
        let step = Step {
            program: "true".to_owned(),
            arguments: Vec::new(),
            directory: "/".into(),
            environment: Vec::new(),
        };
        let text = script(&[(User::Builder, step)], 100);
        assert!(text.contains("'/usr/bin/prlimit' '--nproc=100' '--' '/usr/bin/setpriv'"), "{text}");
        assert!(text.contains("'--reuid=1000' '--regid=1000' '--clear-groups' '--no-new-privs'"), "{text}");
        assert!(text.contains("'true' || fail 1"), "{text}");
    }
}
