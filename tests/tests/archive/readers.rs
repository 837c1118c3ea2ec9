//! Readers while the archive changes without pause: each must be served a whole archive, whatever the moment.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use invirtibuilder_core::publisher::archive::Retention;
use invirtibuilder_tests::world::{Apt, Server, World};

use super::hello;
use invirtibuilder_core::conformance::publisher::{stable, unstable};

/// How often each reader reads, unless `INVIRTIBUILDER_TEST_READERS` says otherwise.
const TIMES: usize = 40;

/// A process that changes the archive of a world until this value goes.
struct Publisher(Child);

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a reader saw.
#[derive(Debug, Default)]
struct Seen {
    /// Updates with fresh lists.
    updates: usize,
    /// Updates of the lists that it had.
    refreshes: usize,
    /// Downloads of binary and of source packages.
    downloads: usize,
    /// What went wrong.
    bad: Vec<String>,
}

impl Seen {
    fn note(&mut self, apt: &Apt, arguments: &[&str]) {
        let output = apt.try_run(arguments);
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        // Warnings are not failures to apt-get, but a reader who is shown one was not served well.
        if !output.status.success() || text.lines().any(|it| it.starts_with("W:") || it.starts_with("E:")) {
            self.bad.push(format!("{arguments:?}: {text}"));
        }
    }
}

fn read(apt: &Apt, times: usize) -> Seen {
    let mut seen = Seen::default();
    for time in 0..times {
        apt.forget();
        seen.note(apt, &["update"]);
        seen.updates += 1;
        if seen.updates % 100 == 0 {
            println!("{} fresh updates, {} bad", seen.updates, seen.bad.len());
        }
        if time % 8 == 0 {
            seen.note(apt, &["update"]);
            seen.refreshes += 1;
        }
        if time % 8 == 1 {
            let package = ["apple", "hello", "libmango"][time / 8 % 3];
            let suite = if package == "hello" { "stable" } else { "unstable" };
            // apt refuses a file that has another sum than its index names.
            seen.note(apt, &["download", &format!("{package}/{suite}"), &format!("{package}-doc/{suite}")]);
            seen.note(apt, &["source", "--download-only", &format!("{package}/{suite}")]);
            std::fs::remove_dir_all(apt.work()).unwrap();
            std::fs::create_dir(apt.work()).unwrap();
            seen.downloads += 2;
        }
    }
    seen
}

#[test]
fn readers_are_served_whole_archives_while_it_changes_without_pause() {
    let times = std::env::var("INVIRTIBUILDER_TEST_READERS").ok();
    let times: usize = times.map_or(TIMES, |it| it.parse().unwrap());
    // What a reader begins to fetch, it has fetched long before this.
    let world = World::keeping(Retention { generations: 3, time: Duration::from_secs(30), versions: 0 });
    let archive = world.archive();
    for package in ["apple", "libmango"] {
        invirtibuilder_core::conformance::publisher::Sample::new(package, "1.0", "")
            .publish(&archive, &unstable())
            .unwrap();
    }
    hello("1.0").publish(&archive, &stable()).unwrap();
    let server = Server::start(archive.directory());
    let begin = Instant::now();
    let mut publisher = Publisher(world.change(&["churn"]).stdout(Stdio::piped()).spawn().unwrap());
    let changes = BufReader::new(publisher.0.stdout.take().unwrap());
    let count = AtomicUsize::new(0);
    let (http, file) = std::thread::scope(|scope| {
        let count = &count;
        scope.spawn(move || {
            for _ in changes.lines() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let reader = |name: &'static str, uri: String| {
            let apt = world.apt_of_all(name, &archive, &uri);
            scope.spawn(move || read(&apt, times))
        };
        let readers = [reader("http", server.uri.clone()), reader("file", world.file_uri())];
        let [http, file] = readers.map(|it| it.join().unwrap());
        assert!(publisher.0.try_wait().unwrap().is_none(), "the publisher ended");
        drop(publisher);
        (http, file)
    });
    let count = count.into_inner();
    let took = begin.elapsed();
    for (name, seen) in [("http", &http), ("file", &file)] {
        let Seen { updates, refreshes, downloads, bad } = seen;
        println!(
            "{name}: {updates} fresh updates, {refreshes} further updates, {downloads} downloads, {} bad, \
             during {count} changes in {took:?}",
            bad.len()
        );
    }
    let bad = [http.bad, file.bad].concat();
    assert!(bad.is_empty(), "{} bad, such as {}", bad.len(), bad[0]);
    assert!(count * 5 > times, "{count} changes are no competition");
}
