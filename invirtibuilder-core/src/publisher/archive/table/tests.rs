use sha2::Digest as _;

use super::*;

fn table() -> Table {
    let span = |offset| Span { offset, length: 7, crc: 5 };
    let state = || HashState::of(&Sha256::new());
    let form = || vec![Form { unpadded: 5, sha256: [7; 32] }, Form { unpadded: 6, sha256: [8; 32] }];
    let mut table = Table::new(vec![Compression::Gz, Compression::Xz], 42, false);
    let keys = [("a", "a"), ("c", "x"), ("e", "e")].map(|it| Key::new(it.0, it.1));
    let [a, c, e] = &keys;
    table.push([(KeyRef::of(a), 3), (KeyRef::of(c), 4)].into_iter(), span(0), state(), form()).unwrap();
    table.push([(KeyRef::of(e), 7)].into_iter(), span(7), state(), form()).unwrap();
    table
}

#[test]
fn a_table_is_read_as_it_was_written() {
    assert_eq!(Table::parse(&table().to_bytes()), Some(table()));
    assert_eq!(Table::parse(&Table::default().to_bytes()), Some(Table::default()));
    assert_eq!(Table::store_of(&table().to_bytes()), Some(42));
}

#[test]
fn a_table_that_was_cut_or_changed_is_no_table() {
    let bytes = table().to_bytes();
    for end in 0..bytes.len() {
        assert_eq!(Table::parse(&bytes[..end]), None);
    }
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert_eq!(Table::parse(&other), None);
    }
}

#[test]
fn a_block_tells_the_keys_and_lengths_of_its_entries() {
    let table = table();
    let entries: Vec<_> = table.entries(0).map(|it| (it.key.to_key(), it.length)).collect();
    assert_eq!(entries, [(Key::new("a", "a"), 3), (Key::new("c", "x"), 4)]);
    assert_eq!(table.all_keys().count(), 3);
    assert_eq!(table.entries(9).count(), 0);
}

#[test]
fn the_keys_of_a_name_are_found() {
    let table = table();
    let found = |name| table.named(name).map(KeyRef::to_key).collect::<Vec<_>>();
    assert_eq!([found("a"), found("c")], [[Key::new("a", "a")], [Key::new("c", "x")]]);
    assert_eq!([found("0"), found("b"), found("z")], [const { Vec::new() }; 3]);
}

#[test]
fn keys_have_the_order_that_paragraphs_have() {
    let keys = [("a", "a"), ("a", "b"), ("ab", "a"), ("b", "a")].map(|it| Key::new(it.0, it.1));
    assert!(keys.is_sorted() && keys.iter().map(KeyRef::of).is_sorted());
}

#[test]
fn hashing_goes_on_where_it_was() {
    let state = HashState::of(&Sha256::new().chain_update("some text, "));
    let resumed = state.resume().unwrap().chain_update("and more");
    assert_eq!(resumed.finalize(), Sha256::digest("some text, and more"));
}

#[test]
fn a_key_belongs_to_the_last_block_that_does_not_begin_after_it() {
    let at = |name| table().block_for(KeyRef::of(&Key::new(name, name)));
    assert_eq!([at("0"), at("a"), at("d"), at("e"), at("z")], [0, 0, 0, 1, 1]);
}
