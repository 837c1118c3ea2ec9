use std::io::Write;

use super::*;

/// Returns a disk with a word and these entries.
fn disk(word: &str, entries: &[(EntryType, &str, u64)]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    write!(file, "{word:512}").unwrap();
    file.seek(SeekFrom::Start(ARCHIVE)).unwrap();
    let mut builder = tar::Builder::new(&mut file);
    for (kind, name, size) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(*size);
        // `set_path` would refuse what a hostile machine does not.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, std::io::repeat(b'x').take(*size)).unwrap();
    }
    builder.finish().unwrap();
    drop(builder);
    file.set_len(1 << 20).unwrap();
    file
}

fn taken(entries: &[(EntryType, &str, u64)], limit: u64) -> Result<Vec<String>, String> {
    let into = tempfile::tempdir().unwrap();
    results(&mut disk("finished", entries), into.path(), limit).map_err(|e| e.to_string())?;
    let found = std::fs::read_dir(into.path()).unwrap();
    Ok(found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect())
}

#[test]
fn a_word_is_known_or_nothing() {
    let said = |text| word(&mut disk(text, &[])).unwrap();
    assert_eq!(said("finished"), Word::Finished);
    assert_eq!(said("failed 2"), Word::Failed(2));
    assert_eq!(said("begun"), Word::Begun);
    assert_eq!(said("finished!"), Word::Nothing);
    assert_eq!(said(""), Word::Nothing);
}

#[test]
fn plain_files_are_taken() {
    let file = EntryType::Regular;
    assert_eq!(taken(&[(file, "a_1_amd64.deb", 700)], 1000).unwrap(), ["a_1_amd64.deb"]);
    assert_eq!(taken(&[], 1000).unwrap(), [""; 0]);
    let long = "b".repeat(120);
    let padded = taken(&[(EntryType::GNULongName, "././@LongLink", 120), (file, "short", 3)], 1000);
    // The name that was given is a hundred and twenty times x.
    assert_eq!(padded.unwrap(), ["x".repeat(long.len())]);
}

#[test]
fn what_is_no_plain_file_within_the_limit_is_refused() {
    let file = EntryType::Regular;
    for (entries, problem) in [
        (vec![(file, "../escape", 1)], "../escape"),
        (vec![(file, "/etc/passwd", 1)], "/etc/passwd"),
        (vec![(file, "below/it", 1)], "below/it"),
        (vec![(file, "", 1)], "\"\""),
        (vec![(EntryType::Symlink, "link", 0)], "no regular file"),
        (vec![(EntryType::Link, "link", 0)], "no regular file"),
        (vec![(EntryType::Directory, "tree", 0)], "no regular file"),
        (vec![(EntryType::Char, "null", 0)], "no regular file"),
        (vec![(EntryType::GNUSparse, "sparse", 0)], "no regular file"),
        (vec![(EntryType::XHeader, "pax", 0)], "no regular file"),
        (vec![(EntryType::GNULongName, "././@LongLink", 9000)], "too long"),
        (vec![(file, "large", 1001)], "more than 1000 bytes"),
        (vec![(file, "one", 600), (file, "two", 600)], "more than 1000 bytes"),
        (vec![(file, "one", 1), (file, "one", 1)], "one"),
    ] {
        let refused = taken(&entries, 1000).expect_err(problem);
        assert!(refused.contains(problem), "{refused} does not say {problem}");
    }
}
