use std::process::{Command, Stdio};

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write(&path, b"old, and longer").unwrap();
    let reader = File::open(&path).unwrap();
    write_with_mode(&path, b"new", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(io::read_to_string(reader).unwrap(), "old, and longer");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn a_file_that_is_not_committed_is_never_seen_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let mut file = NewFile::create(&path).unwrap();
    file.write_all(b"half").unwrap();
    assert!(!path.exists());
    let staged = names(directory.path());
    assert!(staged.len() == 1 && is_unfinished(&staged[0]), "{staged:?}");
    drop(file);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_name_that_is_taken_is_not_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    assert!(write_new(&path, b"first").unwrap());
    assert!(!write_new(&path, b"second").unwrap());
    std::os::unix::fs::symlink("/nonexistent", directory.path().join("link")).unwrap();
    assert!(!write_new(&directory.path().join("link"), b"third").unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(names(directory.path()), ["file", "link"]);
}

#[test]
fn of_many_who_write_one_new_name_exactly_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let won = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16_u8)
            .map(|it| {
                scope.spawn({
                    let path = &path;
                    move || write_new(path, &[it; 100]).unwrap()
                })
            })
            .collect();
        writers.into_iter().map(|it| it.join().unwrap()).filter(|it| *it).count()
    });
    assert_eq!(won, 1);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() == 100 && bytes.iter().all(|it| *it == bytes[0]));
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn a_link_is_followed_by_no_write() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("target"), directory.path().join("link"));
    write(&target, b"kept").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write(&link, b"new").unwrap();
    assert_eq!((fs::read(&target).unwrap(), fs::read(&link).unwrap()), (b"kept".to_vec(), b"new".to_vec()));
}

#[test]
fn a_second_name_may_be_given_twice_but_not_to_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b, other] = ["a", "b", "other"].map(|it| directory.path().join(it));
    write(&a, b"a").unwrap();
    write(&other, b"other").unwrap();
    link_unsynced(&a, &b).unwrap();
    link_unsynced(&a, &b).unwrap();
    assert_eq!(link_unsynced(&a, &other).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&other).unwrap(), b"other");
}

#[test]
fn what_is_there_or_gone_already_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a/b/c");
    create_directory(&deep).unwrap();
    create_directory(&deep).unwrap();
    write(&deep.join("file"), b"x").unwrap();
    assert!(create_directory(&deep.join("file")).is_err());
    for _ in 0..2 {
        remove_file(&deep.join("file")).unwrap();
        remove_directory(&directory.path().join("a")).unwrap();
    }
    assert!(names(directory.path()).is_empty());
}

#[test]
fn an_error_says_what_could_not_be_done_and_where() {
    let error = write(Path::new("/nonexistent/file"), b"x").unwrap_err();
    assert!(error.to_string().starts_with("cannot create /nonexistent/.new-"), "{error}");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(write(Path::new("/"), b"x").is_err());
}

#[test]
fn the_longest_name_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "\u{1f600}".repeat(63)] {
        write(&directory.path().join(&name), b"x").unwrap();
        assert_eq!(fs::read(directory.path().join(name)).unwrap(), b"x");
    }
}

#[test]
fn a_log_that_is_added_to_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/log");
    append_log(&path).unwrap().write_all(b"one\n").unwrap();
    append_log(&path).unwrap().write_all(b"two\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    create_log(&path).unwrap();
    assert!(fs::read(&path).unwrap().is_empty());
}

#[test]
fn a_lock_excludes_others_in_this_process_until_it_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = Lock::try_now(&path).unwrap().unwrap();
    assert!(Lock::try_now(&path).unwrap().is_none());
    let waiter = std::thread::spawn({
        let path = path.clone();
        move || Lock::wait(&path).map(drop)
    });
    drop(lock);
    waiter.join().unwrap().unwrap();
    drop(Lock::try_now(&path).unwrap().unwrap());
}

#[test]
fn a_lock_excludes_other_processes_and_dies_with_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let mut owner = Command::new("flock")
        .arg("--no-fork")
        .arg(&path)
        .args(["sh", "-c", "echo locked; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    io::Read::read_exact(owner.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert!(Lock::try_now(&path).unwrap().is_none());
    owner.kill().unwrap();
    owner.wait().unwrap();
    drop(Lock::wait(&path).unwrap());
    // And the other way round.
    let lock = Lock::wait(&path).unwrap();
    let excluded = Command::new("flock").arg("--nonblock").arg(&path).arg("true").status().unwrap();
    assert!(!excluded.success());
    drop(lock);
}

#[test]
fn a_lock_tells_whether_its_last_owner_died_in_the_middle_of_something() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = Lock::wait(&path).unwrap();
    assert!(!lock.is_busy().unwrap());
    lock.set_busy(true).unwrap();
    // All that the death of a process does to its lock is this.
    drop(lock);
    let lock = Lock::wait(&path).unwrap();
    assert!(lock.is_busy().unwrap());
    lock.set_busy(false).unwrap();
    drop(lock);
    assert!(!Lock::wait(&path).unwrap().is_busy().unwrap());
}

#[test]
fn what_a_killed_process_leaves_is_recognised_as_unfinished() {
    let directory = tempfile::tempdir().unwrap();
    let staged = staging_name(&directory.path().join("a_1.0.dsc")).unwrap();
    fs::write(&staged, b"half").unwrap();
    assert!(is_unfinished(&names(directory.path())[0]));
    assert!(!is_unfinished("a_1.0.dsc") && !is_unfinished(".newer"));
    write(&directory.path().join("a_1.0.dsc"), b"whole").unwrap();
    assert_eq!(names(directory.path()).len(), 2);
}

/// A file system of 64 KiB, unmounted at the end.
struct Small(tempfile::TempDir);

impl Small {
    /// Returns `None` where this user may not mount.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(directory.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|it| it.success()).then_some(Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let Some(disk) = Small::mount() else {
        assert!(!rustix::process::geteuid().is_root(), "root can mount a tmpfs");
        return;
    };
    let path = disk.0.path().join("file");
    write(&path, b"old").unwrap();
    let big = vec![7; 1 << 20];
    assert_eq!(write(&path, &big).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(write_new(&disk.0.path().join("new"), &big).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(disk.0.path()), ["file"]);
    write(&path, b"room again").unwrap();
}

#[test]
fn files_that_are_committed_together_get_their_names() {
    let root = tempfile::tempdir().unwrap();
    let below = root.path().join("a/b");
    create_directory_unsynced(&below).unwrap();
    let begin = |name: &str| {
        let mut file = NewFile::create(&below.join(name)).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file
    };
    commit_together(vec![begin("one"), begin("two")], root.path()).unwrap();
    link_unsynced(&below.join("one"), &below.join("three")).unwrap();
    link_unsynced(&below.join("one"), &below.join("three")).unwrap();
    assert!(link_unsynced(&below.join("one"), &below.join("two")).is_err());
    commit_together(Vec::new(), root.path()).unwrap();
    assert_eq!(names(&below), ["one", "three", "two"]);
    assert_eq!(fs::read(below.join("two")).unwrap(), b"two");
}
