#![allow(clippy::disallowed_methods)]

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// Runs a shell script and returns what it prints.
fn shell(script: &str) -> String {
    let mut child = Command::new("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let script = script.to_owned();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A fixed sequence of numbers without any pattern that matters (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Returns a version made of the parts that comparison is hard for.
    fn version(&mut self) -> String {
        const PARTS: [&str; 30] = [
            "0",
            "00",
            "1",
            "01",
            "10",
            "9",
            "2",
            "a",
            "b",
            "A",
            "Z",
            "z",
            "alpha",
            "~",
            "~~",
            "~rc1",
            "+",
            "+b1",
            ".",
            "..",
            ".0",
            ".1",
            "+dfsg",
            "~bpo",
            "lock",
            ".lock",
            "99999999999999999999999",
            "18446744073709551616",
            "+~",
            "~+",
        ];
        let mut text = self.pick(&["", "", "", "0:", "1:", "00:", "01:", "2147483647:"]).to_owned();
        text.push_str(self.pick(&["0", "1", "1.0", "1.00", "10", "2", "009"]));
        for _ in 0..self.below(4) {
            text.push_str(self.pick(&PARTS));
        }
        if self.below(2) == 0 {
            text.push_str(self.pick(&["-0", "-1", "-0ubuntu1", "-1-1", "-~", "-0+b1", "-a", "-1~"]));
        }
        text
    }

    /// Returns two versions; every second pair differs only in what may make no difference.
    fn pair(&mut self) -> (String, String) {
        let a = self.version();
        let mut b = match self.below(8) {
            0 => a.replacen('0', "00", 1),
            1 if !a.contains('-') => format!("{a}-0"),
            2 if !a.contains(':') => format!("0:{a}"),
            3 => a.replace('1', "01"),
            _ => return (a, self.version()),
        };
        if b.parse::<Version>().is_err() {
            b.clone_from(&a);
        }
        (a, b)
    }
}

#[test]
fn versions_are_ordered_exactly_as_dpkg_orders_them() {
    let mut dice = Dice(2009);
    let pairs: Vec<(String, String)> = (0..3000).map(|_| dice.pair()).collect();
    let mut script = String::new();
    for (a, b) in &pairs {
        // Where it is neither less nor equal it is greater; dpkg is asked twice at most.
        writeln!(
            script,
            "if dpkg --compare-versions '{a}' lt '{b}'; then echo '<'; elif dpkg --compare-versions '{a}' eq '{b}'; then echo =; else echo '>'; fi"
        )
        .unwrap();
    }
    let answers = shell(&script);
    assert_eq!(answers.lines().count(), pairs.len());
    let mut seen = std::collections::BTreeMap::new();
    for ((a, b), answer) in pairs.iter().zip(answers.lines()) {
        let order = a.parse::<Version>().unwrap().cmp(&b.parse().unwrap());
        let expected = match answer {
            "<" => Ordering::Less,
            "=" => Ordering::Equal,
            _ => Ordering::Greater,
        };
        assert_eq!(order, expected, "{a} {b}");
        *seen.entry(answer).or_insert(0) += 1;
    }
    assert!(seen.len() == 3 && seen["="] > 50, "the pairs are too easy: {seen:?}");
}

#[test]
fn what_dpkg_rejects_as_a_version_is_rejected() {
    let mut candidates: Vec<String> = [
        "",
        " ",
        "1:",
        ":1",
        "a:1",
        "-1:1",
        "+1:1",
        "2147483648:1",
        "99999999999999999999:1",
        "1-",
        "-",
        "-1",
        "1 0",
        "1/0",
        "1_0",
        "1^0",
        "1@{0}",
        "1%0",
        "1\u{e9}",
        "1:1:1",
        "a",
        "1.0-1_1",
        "1.0-",
        "1:-1",
        "~1",
        "1\t",
        "1,0",
        "1#",
        "é",
        "1.0-a:b",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut dice = Dice(7);
    for _ in 0..600 {
        let mut text = dice.version();
        let at = dice.below(text.len() + 1);
        text.insert_str(at, dice.pick(&["_", " ", ":", "-", "/", "a:", "^", "%", "é", "~", "+"]));
        candidates.push(text);
    }
    // dpkg exits with 2 and complains about what it holds for no version; an empty one it takes for a missing one.
    let mut script = String::new();
    for text in &candidates {
        writeln!(script, "if dpkg --validate-version '{text}'; then echo good; else echo bad; fi").unwrap();
    }
    let answers = shell(&script);
    assert_eq!(answers.lines().count(), candidates.len());
    let mut rejected = 0;
    for (text, answer) in candidates.iter().zip(answers.lines()) {
        if answer == "bad" {
            rejected += 1;
            assert!(text.parse::<Version>().is_err(), "dpkg rejects {text:?}");
        }
    }
    assert!(rejected > 200, "the candidates are too good: {rejected}");
}

#[test]
fn every_version_tag_is_a_ref_that_git_accepts_and_leads_back_to_its_version() {
    let mut dice = Dice(14);
    let mut versions: std::collections::BTreeSet<String> = (0..3600).map(|_| dice.version()).collect();
    versions.extend(
        ["1..0", "1.", "1.lock", "1:1.0~rc1-1.", "1...", "1.lock.lock", "0.lockx", "1.0-a.lock"]
            .map(str::to_owned),
    );
    let mut script = String::new();
    let mut tags = std::collections::BTreeSet::new();
    for text in &versions {
        let version: Version = text.parse().unwrap();
        for prefix in ["", "debian/"] {
            let tag = TagName::of(prefix, &version);
            assert_eq!(tag.version(prefix).unwrap().as_str(), text);
            if prefix.is_empty() {
                writeln!(script, "git check-ref-format 'refs/tags/{tag}' || echo '{tag}'").unwrap();
                assert!(tags.insert(tag.as_str().to_owned()), "two versions have the tag {tag}");
            }
        }
    }
    assert!(versions.len() > 2000, "{}", versions.len());
    assert_eq!(shell(&script), "");
}

#[test]
fn a_tag_that_is_not_of_a_version_is_none() {
    for text in ["v1.0", "1.0_", "1.#0", "1#", "release", "1.0 ", "1~0", "1:0", "", "debian/1.0"] {
        let tag = TagName::found(text);
        let version = tag.version("");
        assert!(version.is_none() || text == "1.0_", "{text} is taken for {version:?}");
    }
    assert!(TagName::found("1.0").version("debian/").is_none());
}

/// Returns whether a text is refused as a name of this type.
fn refuses<T: FromStr<Err = NameError>>(text: &str) -> bool {
    text.parse::<T>().is_err()
}

#[test]
fn hostile_arguments_are_no_names_of_anything_that_a_request_names() {
    let long = "a".repeat(256);
    let huge = "a".repeat(131_072);
    for text in [
        "",
        "-x",
        "--output=/x",
        "--upload-pack=x",
        "../x",
        "/abs",
        ".",
        "..",
        ".git",
        "a/b",
        "a b",
        " a",
        "a ",
        "a\n",
        "a\0b",
        "a\x1b[2J",
        "pr\u{f6}d",
        "\u{440}rod",
        "prod;dev",
        "prod/",
        "PROD",
        "ALL",
        "EMPTY",
        "$(id)",
        "a\\b",
        "*",
        "X^{tree}",
        ":/msg",
        long.as_str(),
        huge.as_str(),
    ] {
        assert!(refuses::<PackageName>(text), "package {text:?}");
        assert!(refuses::<PocketName>(text), "pocket {text:?}");
        assert!(refuses::<CommitId>(text), "commit {text:?}");
        assert!(refuses::<JobId>(text), "job {text:?}");
        assert!(refuses::<BaseName>(text), "base {text:?}");
        assert!(refuses::<Architecture>(text), "architecture {text:?}");
    }
}

#[test]
fn only_a_full_lower_case_object_id_is_a_commit_id() {
    let id = "0123456789abcdef0123456789abcdef01234567";
    assert!(!refuses::<CommitId>(id) && !refuses::<CommitId>(&"a".repeat(64)));
    for text in [
        &id[..39],
        &id[..7],
        &id.to_uppercase(),
        &format!("{id}0"),
        &format!("{id}\n"),
        &format!("{id}^"),
        "HEAD",
        "main",
    ] {
        assert!(refuses::<CommitId>(text), "{text:?}");
    }
}

#[test]
fn package_names_are_those_of_the_policy() {
    for text in ["hello", "libstdc++6", "0ad", "a+", "x.y", "g++-12", "2ping"] {
        assert!(!refuses::<PackageName>(text), "{text}");
    }
    for text in ["h", "Hello", "+a", ".a", "a_b", "a:amd64", "a~", "a,b", "a=1"] {
        assert!(refuses::<PackageName>(text), "{text}");
    }
}

#[test]
fn branches_are_refs_that_cannot_be_taken_for_anything_else() {
    for text in ["prod", "debian/main", "a.b/c-d", "1"] {
        assert!(!refuses::<BranchName>(text), "{text}");
    }
    for text in [
        "",
        "-a",
        "a/-b",
        ".a",
        "a/.b",
        "a..b",
        "a.lock",
        "a.lock/b",
        "a.",
        "a/",
        "/a",
        "a//b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "@",
        "a@{1}",
        "HEAD",
        "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f",
    ] {
        assert!(refuses::<BranchName>(text), "{text}");
    }
    for text in ["a.lock", "a.", "a..b"] {
        assert!(refuses::<PocketName>(text), "{text}");
    }
}

#[test]
fn file_names_are_one_component_and_never_hidden() {
    for text in ["hello_1.0-1_amd64.deb", "hello_1.0~rc1.orig.tar.gz", "a+b_1%3a"] {
        assert_eq!(refuses::<FileName>(text), text.contains('%'), "{text}");
    }
    for text in ["../x", "a/b", "/x", ".x", "-x", "", "..", "a b", "a\n"] {
        assert!(refuses::<FileName>(text), "{text}");
    }
}

#[test]
fn principals_are_data_of_any_kind_on_one_line() {
    for text in [
        "alice@EXAMPLE.ORG",
        "host/build.example.org@EXAMPLE.ORG",
        "a\\@b@C",
        "Zo\u{eb} M",
        "-x",
        "../x",
        "$(id)",
    ] {
        assert!(!refuses::<Principal>(text), "{text}");
    }
    for text in ["", " a", "a ", "a\nb", "a\0", "a\x1b", "\u{9b}31m", &"a".repeat(257)] {
        assert!(refuses::<Principal>(text), "{text:?}");
    }
}

#[test]
fn the_error_names_the_rule_and_shows_no_control_characters() {
    let error = "\x1b[2JHello".parse::<PackageName>().unwrap_err().to_string();
    assert_eq!(
        error,
        "\"\\u{1b}[2JHello\" is not a valid package name: use 2 to 200 of a-z 0-9 + - . and start with a letter or digit (Debian Policy 5.6.1)"
    );
    assert!("x".repeat(100_000).parse::<CommitId>().unwrap_err().to_string().len() < 300);
}

#[test]
fn names_are_checked_when_they_are_read_from_json() {
    assert!(serde_json::from_str::<PackageName>("\"../x\"").is_err());
    assert!(serde_json::from_str::<Version>("\"1:\"").is_err());
    assert_eq!(serde_json::from_str::<PocketName>("\"prod\"").unwrap().as_str(), "prod");
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = text.parse::<Version>();
        let _ = (text.parse::<BranchName>(), text.parse::<JobId>(), text.parse::<Principal>());
        let _ = TagName::found(&text).version("");
    }

    #[test]
    fn the_order_of_versions_is_total(seed in 1_u64..) {
        let mut dice = Dice(seed);
        let [a, b, c] = [(); 3].map(|()| dice.version().parse::<Version>().unwrap());
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
    }

    #[test]
    fn every_accepted_version_has_a_reversible_tag(text in "[0-9][A-Za-z0-9.+~-]{0,20}") {
        if let Ok(version) = text.parse::<Version>() {
            let tag = TagName::of("v/", &version);
            let back = tag.version("v/").map(String::from);
            prop_assert_eq!(back, Some(text));
        }
    }
}
