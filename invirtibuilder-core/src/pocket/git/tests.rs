use super::Tagger;

#[test]
fn a_tagger_is_what_git_can_write() {
    assert!(Tagger::new("Invirt Build Server", "invirt@example.org").is_ok());
    for (name, email) in
        [("", "a@b"), ("A", ""), ("A <x>", "a@b"), ("A\nB", "a@b"), ("A", "a>b"), (" A", "a@b")]
    {
        assert!(Tagger::new(name, email).is_err(), "{name:?} {email:?}");
    }
}
