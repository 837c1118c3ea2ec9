//! The whole path, from a commit to what apt installs.

use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::packages::Package;
use invirtibuilder_tests::sites::Site;

#[test]
fn a_commit_is_built_in_a_room_and_published() {
    let site = Site::new();
    site.share_base();
    site.configure(|text| {
        let limits = "limits: { disk: 1GiB, memory: 1GiB, processes: 400 }";
        let changed = text
            .replace("builder:\n", &format!("builder:\n  backend: overlay\n  layers: 1GiB\n  {limits}\n"));
        if changed == text { format!("{text}\nbuilder: {{ backend: overlay, {limits} }}\n") } else { changed }
    });
    let checked = site.cli(&["check"]).expect(0).stdout;
    assert!(checked.contains("rooms") && !checked.contains("error"), "{checked}");
    let (_, commit) = Package::hosted(&site, "hello", "1.0");
    let job = site.submit("dev", "hello", &commit);
    site.work().ok();
    assert_eq!(site.outcome(&job), "published");
    let log = site.cli(&["log", &job]).ok();
    assert!(log.contains("in a layer for") && log.contains("dpkg-deb: building package"), "{log}");
    Apt::of_pocket(&site, "dev").get(&["--simulate", "install", "hello"]).ok();
    assert_eq!(site.scratch(), Vec::<String>::new());
    site.assert_agreement();
}
