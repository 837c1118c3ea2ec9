#![allow(clippy::disallowed_methods, reason = "tests make what a dead run might have left")]

use std::fs::Permissions;

use super::*;

#[test]
fn a_directory_below_a_closed_one_is_unreachable_and_the_closed_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    let error = check_reachable(&inner).unwrap_err();
    assert_eq!(error.remedy(), format!("chmod o+x {}", directory.path().display()));
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).unwrap();
    check_reachable(&inner).unwrap();
}

#[test]
fn a_directory_that_is_not_there_yet_is_judged_by_those_above_it() {
    check_reachable(Path::new("/nonexistent/scratch")).unwrap();
}

#[test]
fn an_entry_has_a_lock_beside_it_of_its_own_name() {
    let name = random_name().unwrap();
    assert_eq!(lock_of(&Path::new("/scratch").join(&name)), Path::new(&format!("/scratch/{name}.lock")));
    assert_ne!(name, random_name().unwrap());
}
