use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn of(command: Option<&str>) -> Environment {
    Environment { command: command.map(str::to_owned), ..Environment::default() }
}

#[test]
fn a_caller_whom_remctld_does_not_name_is_nobody() {
    for user in [None, Some(""), Some(" alice"), Some("a\nb")] {
        let environment = Environment { user: user.map(str::to_owned), ..Environment::default() };
        assert!(environment.principal().is_err(), "{user:?}");
    }
}

#[test]
fn help_is_told_by_the_arguments_alone() {
    for command in [None, Some("help"), Some("build")] {
        let shown = help(&words("--summary-build prod"), &of(command)).unwrap();
        assert!(shown.starts_with("build prod PACKAGE COMMIT") && shown.lines().count() == 1, "{shown}");
        assert!(help(&words("--help-buildinfo log"), &of(command)).unwrap().starts_with("buildinfo log JOB"));
        assert_eq!(help(&words("--help-nonsense"), &of(command)), None);
    }
    assert!(help(&words("help"), &of(Some("help"))).is_some());
    // A pocket may be called so.
    assert_eq!(help(&words("help hello 0123"), &of(Some("build"))), None);
    assert_eq!(help(&words("summary"), &of(Some("build"))), None);
}
