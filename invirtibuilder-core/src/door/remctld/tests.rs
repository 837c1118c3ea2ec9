use super::*;
use crate::access::Pattern;

fn members(names: &[&str]) -> Acl {
    Acl::of(names.iter().map(|it| it.parse().unwrap()))
}

#[test]
fn lists_in_lists_are_written_out_each_name_once() {
    let lists = Lists::from([("root".to_owned(), members(&["bob@X", "alice/root@X"]))]);
    let acl = Acl::Members(vec![
        Member::Principal("bob@X".parse().unwrap()),
        Member::List(Acl::Named("root".to_owned())),
        Member::List(Acl::Named("not-defined".to_owned())),
    ]);
    assert_eq!(guard(&acl, &lists), Guard::These(vec!["alice/root@X".to_owned(), "bob@X".to_owned()]));
    assert_eq!(guard(&Acl::Named("nobody".to_owned()), &lists), Guard::These(Vec::new()));
}

#[test]
fn what_remctld_cannot_say_is_left_to_our_own_check() {
    let lists = Lists::new();
    for acl in [
        Acl::File("/etc/who".into()),
        Acl::Command(vec!["/bin/who".to_owned()]),
        Acl::Members(vec![Member::Pattern(Pattern::new("*@X"))]),
        members(&["alice@X", "bob smith@X"]),
        members(&["evil\\@x@X"]),
        members(&["a@X", "deny:b"]),
    ] {
        let guard = guard(&acl, &lists);
        assert!(matches!(guard, Guard::Everybody(_)), "{acl:?}");
        assert!(super::acl(&guard).lines().filter(|it| !it.starts_with('#')).eq(["anyuser:auth"]));
    }
}

#[test]
fn only_harmless_words_get_into_the_configuration() {
    for good in ["alice@EXAMPLE.ORG", "/usr/bin/a-b+c", "alice/root@X"] {
        assert!(is_word(good), "{good}");
    }
    for bad in ["", "a b", "a\nb", "a\\", "#a", "a=b", "princ:a", "-a", "+a", "a,b", "\u{430}@X", "a\t"] {
        assert!(!is_word(bad), "{bad}");
    }
    assert!(word("the path", Path::new("etc/remctl")).is_err());
}

#[test]
fn the_script_names_any_site() {
    let text = String::from_utf8(wrapper("/opt/it's/x".as_ref(), "/srv/a b.yaml".as_ref())).unwrap();
    assert!(text.contains("\nINVIRTIBUILDER_CONFIG='/srv/a b.yaml'\n"), "{text}");
    assert!(text.ends_with("\nexec '/opt/it'\\''s/x' \"$@\"\n"), "{text}");
}
