use super::*;

fn needs(fields: &str, with_all: bool) -> String {
    let text = format!("Source: hello\nVersion: 1.0\n{fields}");
    Needs::of(&text.parse().unwrap(), with_all).text
}

#[test]
fn fakeroot_is_added_and_fields_are_one_line_each() {
    let text = needs("Build-Depends: debhelper,\n python3,\nBuild-Depends-Indep: doxygen\n", true);
    assert!(text.contains("Build-Depends: debhelper, python3, fakeroot\n"), "{text}");
    assert!(text.contains("Build-Depends-Indep: doxygen\n"), "{text}");
    assert!(needs("", true).contains("Build-Depends: fakeroot\n"));
}

#[test]
fn a_build_without_packages_for_all_needs_nothing_that_only_they_need() {
    let text = needs(
        "Build-Depends-Arch: cmake\nBuild-Depends-Indep: doxygen\nBuild-Conflicts: autoconf2.13\n",
        false,
    );
    assert!(text.contains("Build-Depends-Arch: cmake\n") && text.contains("Build-Conflicts: autoconf2.13\n"));
    assert!(!text.contains("doxygen"), "{text}");
}
