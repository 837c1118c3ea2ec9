#![allow(clippy::disallowed_methods, reason = "the tests do what an intruder would")]

use super::*;

fn entry(version: &str) -> Entry {
    Entry { version: Some(version.parse().unwrap()), ..Entry::new(Happened::Published) }.with("size", 17)
}

fn log_of(count: u32) -> (tempfile::TempDir, AuditLog, Vec<Head>) {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::new(&directory.path().join("audit"));
    let heads = (1..=count).map(|it| log.append(&entry(&it.to_string())).unwrap()).collect();
    (directory, log, heads)
}

fn lines(log: &AuditLog) -> Vec<String> {
    std::fs::read_to_string(log.path()).unwrap().lines().map(str::to_owned).collect()
}

fn write(log: &AuditLog, lines: &[String]) {
    std::fs::write(log.path(), lines.join("\n") + "\n").unwrap();
}

#[test]
fn records_are_numbered_without_a_gap_and_each_is_chained_to_the_one_before() {
    let (_directory, log, heads) = log_of(5);
    assert_eq!(heads.iter().map(|it| it.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(log.head().unwrap().as_ref(), heads.last());
    let verified = log.verify(None).unwrap().unwrap();
    assert_eq!(verified, Verified { head: heads.last().cloned(), has_rest: false });
    let read: Vec<Line> = log.read().unwrap().map(Result::unwrap).collect();
    assert_eq!(read[4].entry, entry("5"));
    assert_eq!(read[4].prev, heads[3].hash);
    for head in &heads {
        assert!(log.verify(Some(head)).unwrap().is_ok());
        assert_eq!(head.to_string().parse::<Head>().as_ref(), Ok(head));
    }
}

#[test]
fn an_empty_log_has_no_head_and_is_whole() {
    let (_directory, log, _) = log_of(0);
    assert_eq!(log.head().unwrap(), None);
    assert_eq!(log.verify(None).unwrap().unwrap().head, None);
}

#[test]
fn a_changed_a_removed_an_inserted_and_a_moved_line_are_found() {
    let (_directory, log, _) = log_of(6);
    let whole = lines(&log);
    let tamper = |change: fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        write(&log, &lines);
        log.verify(None).unwrap().unwrap_err()
    };
    assert_eq!(
        tamper(|it| it[2] = it[2].replace("\"seq\":3", "\"seq\":4")),
        Broken::Unchained { line: 3, seq: 4 }
    );
    assert_eq!(
        tamper(|it| it[2] = it[2].replacen("\"event\":", "\"event\" :", 1)),
        Broken::Unchained { line: 4, seq: 4 }
    );
    assert_eq!(tamper(|it| drop(it.remove(1))), Broken::Unchained { line: 2, seq: 3 });
    assert_eq!(tamper(|it| it.insert(1, it[1].clone())), Broken::Unchained { line: 3, seq: 2 });
    assert_eq!(tamper(|it| it.swap(3, 4)), Broken::Unchained { line: 4, seq: 5 });
    assert_eq!(tamper(|it| it[0] = "{}".to_owned()), Broken::Unreadable { line: 1 });
    assert_eq!(tamper(|it| drop(it.remove(0))), Broken::Unchained { line: 1, seq: 2 });
}

#[test]
fn a_log_that_was_cut_or_rewritten_as_a_whole_is_found_by_a_head_that_was_known() {
    let (_directory, log, heads) = log_of(6);
    let whole = lines(&log);
    write(&log, &whole[..4]);
    assert!(log.verify(None).unwrap().is_ok(), "a cut chain is a chain");
    let cut = log.verify(heads.last()).unwrap().unwrap_err();
    assert!(matches!(cut, Broken::Cut { .. }), "{cut}");
    std::fs::remove_file(log.path()).unwrap();
    for at in 1..=8 {
        log.append(&entry(&format!("9.{at}"))).unwrap();
    }
    assert!(log.verify(None).unwrap().is_ok(), "a rewritten chain is a chain");
    let rewritten = log.verify(heads.last()).unwrap().unwrap_err();
    assert!(matches!(rewritten, Broken::Rewritten { .. }), "{rewritten}");
}

#[test]
fn what_a_writer_who_died_left_of_a_record_is_written_over() {
    let (_directory, log, heads) = log_of(3);
    let text = std::fs::read_to_string(log.path()).unwrap();
    for rest in ["{\"seq\":4,\"prev\":", "x", &text[..text.len() / 2].replace('\n', " ")] {
        std::fs::write(log.path(), format!("{text}{rest}")).unwrap();
        assert_eq!(log.head().unwrap().as_ref(), heads.last());
        assert!(log.verify(heads.last()).unwrap().unwrap().has_rest);
        let head = log.append(&entry("4")).unwrap();
        assert_eq!(head.seq, 4);
        assert_eq!(log.verify(Some(&head)).unwrap().unwrap(), Verified { head: Some(head), has_rest: false });
    }
}

#[test]
fn a_log_whose_last_line_is_no_record_is_not_continued() {
    let (_directory, log, _) = log_of(2);
    let mut lines = lines(&log);
    lines.push("hello".to_owned());
    write(&log, &lines);
    assert!(matches!(log.append(&entry("3")), Err(AuditError::Damaged(_))));
    assert_eq!(super::tests::lines(&log), lines);
}

#[test]
fn a_record_that_is_longer_than_usual_is_continued_and_what_follows_it_too() {
    let (_directory, log, _) = log_of(3);
    for at in 4..=6 {
        let long = entry(&at.to_string()).with("reasons", "x".repeat(40_000 * at));
        assert_eq!(log.append(&long).unwrap().seq, at as u64);
        assert_eq!(log.head().unwrap().unwrap().seq, at as u64);
    }
    let head = log.append(&entry("7")).unwrap();
    assert_eq!(log.verify(Some(&head)).unwrap().unwrap().head, Some(head));
    let too_long = log.append(&entry("8").with("reasons", "x".repeat(2 << 20)));
    assert!(matches!(too_long, Err(AuditError::TooLong(_))));
}

#[test]
fn many_who_write_at_once_make_one_chain() {
    let (_directory, log, _) = log_of(0);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                for at in 0..25 {
                    log.append(&entry(&format!("{writer}.{at}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(log.verify(None).unwrap().unwrap().head.unwrap().seq, 100);
}

#[test]
fn a_text_that_is_no_head_is_refused() {
    let sum = "a".repeat(64);
    for text in
        ["", "1", &sum, &format!("0:{sum}"), &format!("x:{sum}"), "1:abc", &format!("1:{}", "G".repeat(64))]
    {
        assert!(text.parse::<Head>().unwrap_err().contains("is not a head"), "{text}");
    }
}
