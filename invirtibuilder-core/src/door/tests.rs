use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_pocket_is_the_subcommand_and_stays_an_argument() {
    let asked = words("build prod hello 0123");
    let (command, rest) = find(&asked).unwrap();
    assert_eq!((command.name, rest), ("build", &asked[1..]));
    // So are the words that remctl itself would like to be subcommands.
    let asked = words("build status x y");
    assert_eq!(find(&asked).unwrap().1, &asked[1..]);
}

#[test]
fn a_command_is_found_by_exactly_its_two_words() {
    let asked = words("buildinfo show 20261123101500_abcdef");
    let (command, rest) = find(&asked).unwrap();
    assert_eq!((command.subcommand, rest), (Some("show"), &asked[2..]));
    for nonsense in
        ["", "buildinfo", "buildinfo drop everything", "BUILD prod hello x", "buildinfo SHOW x", "help"]
    {
        assert!(matches!(find(&words(nonsense)), Err(DoorError::Usage(_))), "{nonsense}");
    }
}

#[test]
fn a_summary_is_of_what_somebody_may_run() {
    assert!(summary("build", Some("prod")).unwrap().starts_with("build prod PACKAGE COMMIT "));
    assert!(summary("buildinfo", Some("log")).unwrap().starts_with("buildinfo log JOB "));
    assert_eq!(summary("buildinfo", Some("nonsense")), None);
    assert_eq!(summary("buildinfo", None).unwrap().lines().count(), 5);
    assert_eq!(help().lines().count(), COMMANDS.len());
}

#[test]
fn what_a_terminal_would_obey_is_shown_and_not_sent() {
    assert_eq!(escape("a\u{1b}[31m\nb\r"), "a\\u{1b}[31m\nb\\r");
}
