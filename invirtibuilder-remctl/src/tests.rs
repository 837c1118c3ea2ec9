use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_pocket_is_the_subcommand_and_stays_an_argument() {
    let arguments = words("prod hello 0123");
    let (command, rest) = find(Some("build"), &arguments).unwrap();
    assert_eq!((command.name, rest), ("build", arguments.as_slice()));
}

#[test]
fn a_read_command_is_found_by_its_subcommand() {
    let arguments = words("show 20261123101500_abcdef");
    let (command, rest) = find(Some("buildinfo"), &arguments).unwrap();
    assert_eq!((command.name, rest), ("buildinfo show", &arguments[1..]));
    assert!(find(Some("buildinfo"), &words("drop everything")).is_none());
    assert!(find(None, &arguments).is_none());
}

#[test]
fn a_caller_whom_remctld_does_not_name_is_nobody() {
    for user in [None, Some(""), Some(" alice"), Some("a\nb")] {
        let environment = Environment { user: user.map(str::to_owned), ..Environment::default() };
        assert!(environment.principal().is_err(), "{user:?}");
        let answer = answer(&environment, &words("prod hello 0123"));
        assert!(matches!(answer, Err(Failure::NotPermitted(_))));
    }
}
