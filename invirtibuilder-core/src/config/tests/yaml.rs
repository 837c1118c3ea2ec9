//! YAML as people write it, and as nobody should.

use super::*;

#[test]
fn texts_that_yaml_takes_for_numbers_must_be_quoted() {
    let key = "1234567890123456789012345678901234567890";
    let error = refused(&with_top(&format!("publisher:\n  key: {key}\n")));
    assert_eq!(error, ["site.yaml:6: publisher.key: it is a number, not a text; write it in quotes"]);
    assert_eq!(
        accepted(&with_top(&format!("publisher: {{ key: '{key}' }}\n"))).publisher.keys,
        [key.parse().unwrap()]
    );
}

#[test]
fn broken_and_hostile_yaml_is_refused_with_a_line() {
    let bomb = (0..9).fold("a0: &a0 [x, x]\n".to_owned(), |text, at| {
        let next = at + 1;
        let alias = format!("*a{at}, ").repeat(9);
        format!("{text}a{next}: &a{next} [{alias}]\n")
    });
    let deep = "[".repeat(20_000);
    for text in
        ["build: [", "a: !tag b", "a: b: c", "\tx: y", "1: x", "--- a\n--- b\n", "a", "", &bomb, &deep]
    {
        let error = parse(text).expect_err("no configuration");
        assert!(error.problems().iter().all(|it| it.line.is_some()), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_so_without_a_line() {
    let error = Config::load(Path::new("/nonexistent/site.yaml"), &host()).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/site.yaml: it cannot be read: No such file"), "{error}");
    assert!(error.contains("invirtibuilder init"), "{error}");
}

#[test]
fn lines_are_found_in_every_style_of_yaml() {
    let text = "# top\n---\n\"a\":\n\n  'b':   # comment\n  - x\n  # between\n  - y\n  c: { d: 1,\n       e: 2 }\n  f: |\n    g: text\n  g: 3\n";
    let line = |path: &[locate::Step]| locate::line_of(text, path);
    let key = |it: &str| locate::Step::Key(it.to_owned());
    assert_eq!(line(&[]), 1);
    assert_eq!(line(&[key("a")]), 3);
    assert_eq!(line(&[key("a"), key("b")]), 5);
    assert_eq!(line(&[key("a"), key("b"), locate::Step::Item(1)]), 8);
    assert_eq!(line(&[key("a"), key("c"), key("d")]), 9);
    assert_eq!(line(&[key("a"), key("g")]), 13);
    assert_eq!(line(&[key("a"), key("missing")]), 3);
}
