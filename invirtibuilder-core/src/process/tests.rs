use super::*;
use crate::stop::Stop;

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn limits(time: u64, silence: u64, output: u64) -> Limits {
    Limits { time: Duration::from_millis(time), silence: Duration::from_millis(silence), output }
}

/// Returns whether a process with this argument runs.
fn runs(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut command_lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    command_lines.any(|it| it.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}

#[test]
fn what_a_program_prints_is_returned() {
    assert_eq!(shell("printf 'a\\nb'").run().unwrap(), b"a\nb");
}

#[test]
fn a_program_sees_only_the_environment_that_it_was_given() {
    let printed = Command::new("env").env("HOME", "/nonexistent").run().unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let mut names: Vec<_> = printed.lines().filter_map(|it| it.split_once('=')).map(|it| it.0).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LC_ALL", "PATH", "TZ"]);
}

#[test]
fn standard_input_is_empty() {
    assert_eq!(Command::new("cat").run().unwrap(), b"");
}

#[test]
fn a_failure_carries_the_status_and_what_was_written_to_standard_error() {
    let error = shell("echo shown; echo reason >&2; exit 3").run().unwrap_err();
    let ProcessError::Failed { status, stderr, .. } = &error else { panic!("{error}") };
    assert_eq!((status.code(), stderr.as_str()), (Some(3), "reason\n"));
    assert_eq!(error.to_string(), "sh failed with exit status: 3: reason");
}

#[test]
fn a_missing_program_names_the_debian_package_that_has_it() {
    let error = Command::new("nobody-has-this-program").run().unwrap_err();
    assert!(matches!(&error, ProcessError::Missing { .. }), "{error}");
    assert_eq!(debian_package_of("newuidmap"), "uidmap");
    assert_eq!(debian_package_of("prlimit"), "util-linux");
    assert!(error.to_string().contains("apt-get install nobody-has-this-program"), "{error}");
}

#[test]
fn a_missing_working_directory_is_not_taken_for_a_missing_program() {
    let error = shell("true").current_dir(Path::new("/nonexistent")).run().unwrap_err();
    assert!(matches!(error, ProcessError::Io { .. }), "{error}");
}

#[test]
fn a_program_that_runs_for_too_long_is_ended() {
    // It prints all the time, so only the time can end it.
    let script = "while :; do echo; sleep 0.01; done";
    let error = shell(script).limits(limits(300, 60_000, 1 << 20)).run().unwrap_err();
    let ProcessError::Limit { limit, .. } = error else { panic!("{error}") };
    assert!(limit.contains("ran for more than"), "{limit}");
}

#[test]
fn a_program_that_is_silent_for_too_long_is_ended_with_its_children() {
    let script = "echo begun; setsid sleep 3155760101 & sleep 3155760102";
    let error = shell(script).limits(limits(60_000, 300, 1 << 20)).run().unwrap_err();
    let ProcessError::Limit { limit, .. } = error else { panic!("{error}") };
    assert!(limit.contains("printed nothing for"), "{limit}");
    assert!(!runs("3155760102"), "the child in its process group runs on");
    assert!(!runs("3155760101"), "the child that left its process group runs on");
}

#[test]
fn a_program_that_prints_too_much_is_ended() {
    let mut log = Vec::new();
    let command = Command::new("yes").limits(limits(60_000, 60_000, 1 << 20));
    let error = command.run_logged(&mut log, &Never).unwrap_err();
    let ProcessError::Limit { limit, .. } = error else { panic!("{error}") };
    assert!(limit.contains("more than 1048576 bytes"), "{limit}");
    assert!(log.len() < 2 << 20, "{} bytes were kept", log.len());
}

#[test]
fn an_interrupt_ends_a_program() {
    let stop = Stop::new().unwrap();
    stop.set();
    let error = Command::new("sleep").arg("3155760103").run_interruptible(&stop).unwrap_err();
    assert!(matches!(error, ProcessError::Interrupted { .. }), "{error}");
    assert!(!runs("3155760103"));
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_is_not_waited_for() {
    let started = Instant::now();
    let printed = shell("setsid sleep 30 & echo done").run().unwrap();
    assert_eq!(printed, b"done\n");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn all_that_was_printed_is_kept_when_the_program_ends_at_once() {
    let printed = shell("head -c 3000000 /dev/zero").run().unwrap();
    assert_eq!(printed.len(), 3_000_000);
}

#[test]
fn a_log_gets_both_outputs_and_any_status_is_returned() {
    let mut log = Vec::new();
    let status = shell("echo out; echo err >&2; exit 4").run_logged(&mut log, &Never).unwrap();
    assert_eq!(status.code(), Some(4));
    assert_eq!(log, b"out\nerr\n");
}

#[test]
fn a_log_that_cannot_be_written_ends_the_program() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = Command::new("yes").arg("3155760104").run_logged(&mut Full, &Never).unwrap_err();
    assert!(matches!(error, ProcessError::Io { .. }), "{error}");
    assert!(!runs("3155760104"));
}
