use super::*;

const SUBUID: &str = "alice:100000:65536\n4711:200000:65536\nsmall:300000:1000\n\n# no range\n";

#[test]
fn a_line_of_passwd_gives_name_user_and_group() {
    let line = "builder:x:999:995::/nonexistent:/usr/sbin/nologin\n";
    assert_eq!(parse_passwd(line), Some(("builder".to_owned(), 999, 995)));
    assert_eq!(parse_passwd("builder:x:many:995::/:"), None);
    assert_eq!(parse_passwd(""), None);
}

#[test]
fn subordinate_ids_are_found_by_name_and_by_number() {
    assert_eq!(subordinates_in(SUBUID, "alice", 1), Some(100_000));
    assert_eq!(subordinates_in(SUBUID, "bob", 4711), Some(200_000));
    assert_eq!(subordinates_in(SUBUID, "bob", 1), None);
}

#[test]
fn a_range_that_is_too_small_is_not_taken() {
    assert_eq!(subordinates_in(SUBUID, "small", 1), None);
}

#[test]
fn the_remedy_names_a_range_that_nobody_has() {
    assert_eq!(
        remedy_subordinates(SUBUID, "bob"),
        "usermod --add-subuids 301000-366535 --add-subgids 301000-366535 bob"
    );
    assert!(remedy_subordinates("", "bob").contains("100000-165535"));
}

#[test]
fn a_missing_account_is_named_with_the_command_that_makes_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let error = Account::find("nobody-has-this-name").unwrap_err();
    assert!(matches!(error, AccountError::NoUser { .. }), "{error}");
    assert!(error.to_string().contains("useradd --system --add-subids-for-system"), "{error}");
}

#[test]
fn root_is_refused_as_the_account_of_builds() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    assert!(matches!(Account::find("root"), Err(AccountError::IsRoot { .. })));
}
