use std::collections::BTreeMap;

use gix::ObjectId;

use super::push_policy::{PushPolicy, Update};
use crate::names::{PocketName, Version};
use crate::policy::{Building, PocketSpec, Policy};

fn policy(prefix: &str) -> PushPolicy {
    let pocket = |(name, branch): (&str, &str)| PocketSpec {
        name: name.parse().unwrap(),
        branch: branch.parse().unwrap(),
        suite: name.parse().unwrap(),
        components: vec!["main".parse().unwrap()],
        architectures: Vec::new(),
        base: "bookworm".parse().unwrap(),
        policy: Policy::default(),
        building: Building::default(),
    };
    let pockets = [("prod", "prod"), ("dev", "dev"), ("lts", "release/lts")].map(pocket);
    let pockets: BTreeMap<PocketName, PocketSpec> =
        pockets.into_iter().map(|it| (it.name.clone(), it)).collect();
    PushPolicy::new(&pockets, prefix)
}

/// Returns why a push to a name is refused; `None` if it is let through.
fn refusal(policy: &PushPolicy, name: &[u8]) -> Option<String> {
    let new = Some(ObjectId::null(gix::hash::Kind::Sha1));
    policy.check(&Update { name, old: None, new, alias_of: None }).err().map(|it| it.to_string())
}

#[test]
fn ordinary_branches_and_tags_are_let_through() {
    let policy = policy("");
    for name in [
        "refs/heads/main",
        "refs/heads/topic/x",
        "refs/heads/production",
        "refs/heads/imported/prod",
        "refs/heads/release/1.0",
        "refs/heads/fürth-süd",
        "refs/heads/héadline",
        "refs/tags/v1.0",
        "refs/tags/debian/1.0-1",
        "refs/tags/imported/1.0",
        "refs/heads/1234567",
    ] {
        assert_eq!(refusal(&policy, name.as_bytes()), None, "{name}");
    }
}

#[test]
fn pocket_branches_and_what_could_not_be_beside_them_or_be_mistaken_are_refused() {
    let policy = policy("");
    for (name, word) in [
        ("refs/heads/prod", "pocket prod moves only when"),
        ("refs/heads/release/lts", "pocket lts"),
        ("refs/heads/prod/x", "beside prod"),
        ("refs/heads/release", "beside release/lts"),
        ("refs/heads/release/lts/x", "beside"),
        ("refs/tags/prod", "git would take it for prod"),
        ("refs/tags/Prod", "git would take it for prod"),
        ("refs/heads/heads/x", "without its refs/"),
        ("refs/heads/a$(id)", "which a shell would obey"),
        ("refs/heads/a\u{202e}b", "nobody sees"),
    ] {
        let text = refusal(&policy, name.as_bytes()).unwrap();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn names_that_look_like_a_pocket_are_refused() {
    let policy = policy("");
    for name in [
        "PROD",
        "Prod",
        "pr\u{43e}d",
        "\u{440}r\u{43e}d",
        "prod\u{200b}",
        "pro\u{301}d",
        "ｐｒｏｄ",
        "d\u{435}v",
        "Release/LTS",
    ] {
        let text = refusal(&policy, format!("refs/heads/{name}").as_bytes()).unwrap();
        assert!(text.contains("mistaken for"), "{text}");
        assert!(text.is_ascii(), "{text}");
    }
}

#[test]
fn version_tags_are_refused_under_the_sites_prefix() {
    for version in ["1.0", "1:2.0~rc1-3", "1..0", "1.0."] {
        let version: Version = version.parse().unwrap();
        for prefix in ["", "debian/"] {
            let tag = crate::names::TagName::of(prefix, &version);
            let text = refusal(&policy(prefix), format!("refs/tags/{tag}").as_bytes()).unwrap();
            assert!(text.contains("its publication"), "{text}");
        }
    }
    assert_eq!(refusal(&policy("debian/"), b"refs/tags/1.0"), None);
}

#[test]
fn refs_outside_of_branches_and_tags_are_refused() {
    let policy = policy("");
    let replace = format!("refs/replace/{}", "a".repeat(40));
    for name in [
        replace.as_str(),
        "refs/notes/commits",
        "refs/remotes/origin/x",
        "refs/original/x",
        "refs/bisect/bad",
        "refs/worktree/x",
        "refs/pull/1/head",
        "refs/stash",
        "HEAD",
        "FETCH_HEAD",
        "config",
        "refs/heads",
        "",
    ] {
        assert!(refusal(&policy, name.as_bytes()).is_some(), "{name}");
    }
}

#[test]
fn confusing_names_are_refused() {
    let policy = policy("");
    let like_an_id = format!("refs/heads/{}", "0123456789abcdef".repeat(4).get(..40).unwrap());
    for name in [
        like_an_id.as_str(),
        "refs/heads/-x",
        "refs/heads/--help",
        "refs/heads/a/-rf",
        "refs/heads/refs/heads/prod",
        "refs/heads/HEAD",
        "refs/heads/head",
        "refs/heads/@",
        "refs/heads/a\x1b[0m",
        "refs/heads/a\nb",
        "refs/tags/-d",
        "refs/tags/HEAD",
        "refs/heads/a\u{85}b",
    ] {
        assert!(refusal(&policy, name.as_bytes()).is_some(), "{name}");
    }
    assert!(refusal(&policy, b"refs/heads/\xff").is_some());
}

#[test]
fn another_name_of_a_pocket_is_refused() {
    let update =
        Update { name: b"refs/heads/alias", old: None, new: None, alias_of: Some(b"refs/heads/prod") };
    let text = policy("").check(&update).unwrap_err().to_string();
    assert!(text.contains("only another name of refs/heads/prod"), "{text}");
}

#[test]
fn a_refusal_has_no_control_characters_and_says_what_to_do() {
    let text = refusal(&policy(""), b"refs/heads/\x1b]0;x\x07").unwrap();
    assert!(text.is_ascii() && !text.chars().any(char::is_control) && text.contains("; use "), "{text}");
}
