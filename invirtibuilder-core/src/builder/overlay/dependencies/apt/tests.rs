use super::*;

#[test]
fn packages_are_read_with_their_hashes_and_nothing_else_is() {
    let hash = "0e".repeat(32);
    let text = format!(
        "Reading package lists...\nThe following NEW packages will be installed:\n  b a\n'http://m/b_1%3a2_all.deb' b_1%3a2_all.deb 10 SHA256:{hash}\n'http://m/a.deb' a_1_all.deb 10 SHA256:{hash}\n"
    );
    let packages = parse(&text).unwrap();
    let files: Vec<_> = packages.iter().map(|it| it.file.as_str()).collect();
    assert_eq!(files, ["a_1_all.deb", "b_1%3a2_all.deb"]);
    assert_eq!(packages[1].uri, "http://m/b_1%3a2_all.deb");
}

#[test]
fn what_is_brought_along_is_preferred_by_name_and_version() {
    let text = preferred(
        "Package: apple\nVersion: 1:2~x\nDepends: bean\n\nPackage: no name\nVersion: 1\n\nPackage: bean\nVersion: 3\n",
    );
    assert_eq!(
        text,
        "Package: apple\nPin: version 1:2~x\nPin-Priority: 1001\n\nPackage: bean\nPin: version 3\nPin-Priority: 1001\n"
    );
}

#[test]
fn a_package_without_sha256_or_with_a_name_that_leads_elsewhere_is_refused() {
    let hash = "0e".repeat(32);
    for line in [
        "'http://m/a.deb' a_1_all.deb 10 MD5Sum:00".to_owned(),
        format!("'http://m/a.deb' ../a_1_all.deb 10 SHA256:{hash}"),
        format!("'http://m/a.deb' -a_1_all.deb 10 SHA256:{hash}"),
    ] {
        assert!(parse(&line).is_err(), "{line}");
    }
}

#[test]
fn apts_explanation_names_what_is_missing_and_no_path() {
    let text = "Building dependency tree...\nSome packages could not be installed.\n\nThe following packages have unmet dependencies:\n builddeps:/x/needs.dsc : Depends: nobody-has-this but it is not installable\nE: Unable to correct problems, you have held broken packages.\n";
    assert_eq!(
        explanation(text, "builddeps:/x/needs.dsc"),
        ["the package : Depends: nobody-has-this but it is not installable"]
    );
    let text = "E: Packages need to be removed but remove is disabled.\n";
    assert_eq!(explanation(text, "x"), ["E: Packages need to be removed but remove is disabled."]);
}
