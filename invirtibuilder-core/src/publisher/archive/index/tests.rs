use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn stanza(name: &str, source: &str, version: u32) -> Stanza {
    let text = format!(
        "Package: {name}\nSource: {source}\nVersion: {version}\nDescription: {}\n",
        "words ".repeat(40).trim()
    );
    Stanza { key: Key::new(name, source), text }
}

fn decode_xz(stream: &[u8]) -> String {
    let mut text = String::new();
    liblzma::read::XzDecoder::new(stream).read_to_string(&mut text).unwrap();
    text
}

fn published(built: Built) -> Published {
    Published::new(Arc::new(built.table), built.gz, Some(built.xz))
}

fn fresh(stanzas: &[Stanza]) -> Built {
    Published::default().rebuild(Change { source: None, insert: stanzas }).unwrap()
}

fn many(count: usize) -> Vec<Stanza> {
    (0..count).map(|it| stanza(&format!("package-{it:05}"), &format!("package-{it:05}"), 1)).collect()
}

#[test]
fn both_compressed_forms_have_the_text_that_the_sum_is_of() {
    for count in [0, 1, 700] {
        let stanzas = many(count);
        let text: String = stanzas.iter().flat_map(|it| [it.text.as_str(), "\n"]).collect();
        let built = fresh(&stanzas);
        assert_eq!(decode_member(&built.gz).unwrap(), text);
        assert_eq!(decode_xz(&built.xz), text);
        assert_eq!(built.text, Sum::of(text.as_bytes()));
    }
}

#[test]
fn a_change_compresses_few_blocks_and_keeps_the_bytes_of_the_others() {
    let old = published(fresh(&many(2000)));
    let insert = [stanza("package-01000", "package-01000", 2)];
    let change = Change { source: Some("package-01000"), insert: &insert };
    let parts = old.parts(change, &sorted(&insert)).unwrap();
    let compressed = parts.iter().filter(|it| matches!(it, Part::New(_))).count();
    assert!(parts.len() > 10, "{} blocks", parts.len());
    assert!(compressed <= 2, "{compressed} of {} blocks were compressed again", parts.len());
}

#[test]
fn a_lost_table_is_made_again_from_the_index() {
    let old = published(fresh(&many(500)));
    let recovered = Published::recover(old.gz.clone(), old.xz.clone()).unwrap();
    assert_eq!(recovered.table, old.table);
    assert_eq!(recovered.xz, old.xz);
}

#[test]
fn an_index_that_another_tool_made_is_cut_anew_by_the_first_change() {
    let stanzas = many(500);
    let text: String = stanzas.iter().flat_map(|it| [it.text.as_str(), "\n"]).collect();
    let mut gz = Vec::new();
    encode_member(&mut gz, text.as_bytes()).unwrap();
    let foreign = Published::recover(gz, None).unwrap();
    assert_eq!(foreign.table.blocks.len(), 1);
    let built = foreign.rebuild(Change { source: None, insert: &[] }).unwrap();
    let wanted = fresh(&stanzas);
    assert_eq!((&built.gz, &built.xz, &built.text), (&wanted.gz, &wanted.xz, &wanted.text));
    assert_eq!(built.table, wanted.table);
}

#[test]
fn an_xz_form_that_does_not_fit_is_made_again() {
    let (old, other) = (published(fresh(&many(500))), fresh(&many(499)));
    let recovered = Published::recover(old.gz.clone(), Some(other.xz)).unwrap();
    assert_eq!(recovered.xz, None);
    let built = recovered.rebuild(Change { source: None, insert: &[] }).unwrap();
    assert_eq!(Some(built.xz), old.xz);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn the_bytes_depend_on_the_paragraphs_and_not_on_the_changes_that_led_there(
        steps in prop::collection::vec((0_u32..120, 0_u32..3, 0_u32..4), 1..40),
    ) {
        let mut model: BTreeMap<Key, Stanza> = BTreeMap::new();
        let mut index = published(fresh(&[]));
        for (source, version, binaries) in steps {
            let source = format!("s{source}");
            let insert: Vec<_> =
                (0..binaries * 9).map(|it| stanza(&format!("b{}-{source}", it * 7 % 13), &source, version)).collect();
            let insert: Vec<_> = insert.into_iter().map(|it| (it.key.clone(), it)).collect::<BTreeMap<_, _>>().into_values().collect();
            model.retain(|key, _| key.source() != source);
            model.extend(insert.iter().map(|it| (it.key.clone(), it.clone())));
            let built = index.rebuild(Change { source: Some(&source), insert: &insert }).unwrap();
            let text = decode_member(&built.gz).unwrap();
            prop_assert_eq!(&built.text, &Sum::of(text.as_bytes()));
            index = published(built);
            let stanzas: Vec<Stanza> = model.values().cloned().collect();
            let wanted = fresh(&stanzas);
            prop_assert_eq!(&wanted.table, &*index.table);
            prop_assert_eq!(&wanted.gz, &index.gz);
            prop_assert_eq!(Some(&wanted.xz), index.xz.as_ref());
        }
    }
}
