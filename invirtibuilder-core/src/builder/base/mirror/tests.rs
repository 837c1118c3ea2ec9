use super::*;

const INDICES: &str = "http://one.example.org/debian/\tbookworm\tDebian\tDebian\n\
    http://one.example.org/debian/\tbookworm\tDebian\tDebian\n\
    http://one.example.org/debian/\tbookworm-updates\tDebian\tDebian\n\
    http://two.example.org/debian-security/\tbookworm-security\tDebian\tDebian-Security\n\
    http://one.example.org/debian/\tbookworm-backports\tDebian Backports\tDebian Backports\n\
    http://three.example.org/\tnodistro\t. nodistro\t. nodistro\n\
    https://four.example.org/\tstable\n";

fn base(name: &str) -> BaseName {
    name.parse().unwrap()
}

#[test]
fn only_debian_s_own_archives_are_taken_from_apt() {
    let suites: Vec<_> = parse_indices(INDICES).into_iter().map(|it| it.suite).collect();
    assert_eq!(suites, ["bookworm", "bookworm-updates", "bookworm-security"]);
}

#[test]
fn a_base_that_apt_knows_has_its_updates() {
    let known = parse_indices(INDICES);
    let suites = default_suites(&base("bookworm"), &known);
    assert_eq!(suites, ["bookworm", "bookworm-updates", "bookworm-security"]);
    assert_eq!(uri_of("bookworm-security", &known).unwrap(), "http://two.example.org/debian-security");
}

#[test]
fn a_base_that_apt_does_not_know_comes_from_the_same_mirror() {
    let known = parse_indices(INDICES);
    assert_eq!(default_suites(&base("trixie"), &known), ["trixie"]);
    assert_eq!(uri_of("trixie", &known).unwrap(), "http://one.example.org/debian");
    assert_eq!(uri_of("trixie-security", &known).unwrap(), "http://two.example.org/debian-security");
}

#[test]
fn without_a_mirror_the_error_says_what_to_do() {
    let error = uri_of("bookworm", &[]).unwrap_err().to_string();
    assert!(error.contains("apt-get update"), "{error}");
}

#[test]
fn the_security_archive_is_beside_a_configured_mirror() {
    assert_eq!(beside("http://m.example.org/debian/", "bookworm"), "http://m.example.org/debian");
    assert_eq!(
        beside("http://m.example.org/debian", "bookworm-security"),
        "http://m.example.org/debian-security"
    );
    assert_eq!(beside("http://m.example.org/all", "bookworm-security"), "http://m.example.org/all");
}

#[test]
fn a_keyring_cannot_leave_the_hook_s_quotes() {
    assert_eq!(quoted("/a'b; true"), "'/a'\\''b; true'");
}
