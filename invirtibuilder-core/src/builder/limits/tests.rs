use super::*;

#[test]
fn the_groups_of_this_process_are_found_in_either_version() {
    let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    let own = "8:pids:/\n4:memory:/process/1\n0::/session\n";
    assert_eq!(
        candidates(mounts, own),
        [
            (Resource::Memory, Version::One, "/sys/fs/cgroup/memory/process/1".into()),
            (Resource::Memory, Version::Two, "/sys/fs/cgroup/unified/session".into()),
            (Resource::Processes, Version::Two, "/sys/fs/cgroup/unified/session".into()),
        ]
    );
    assert_eq!(candidates("", ""), []);
}

#[test]
fn a_machine_without_control_groups_limits_nothing_as_a_whole() {
    let groups = Groups::default();
    assert!(!groups.can_limit(Resource::Memory));
    assert!(groups.make("test", &BuildLimits::default()).unwrap().directories().next().is_none());
}

#[test]
fn a_group_ends_with_its_value_and_leftovers_of_the_same_owner_go() {
    let parent = tempfile::tempdir().unwrap();
    let parents = vec![(Resource::Processes, Version::Two, parent.path().to_owned())];
    let groups = Groups { parents };
    for name in ["invirtibuilder-mine-1", "invirtibuilder-mine-2", "invirtibuilder-theirs-1", "mine"] {
        durable::create_directory(&parent.path().join(name)).unwrap();
    }
    groups.remove_leftovers("mine-", &|it| it == "2");
    assert!(!parent.path().join("invirtibuilder-mine-1").exists());
    assert!(parent.path().join("invirtibuilder-mine-2").exists(), "its run is alive");
    assert!(parent.path().join("invirtibuilder-theirs-1").exists());
    assert!(parent.path().join("mine").exists());
}
