use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::durable;
use crate::publisher::archive::stanza::Key;
use crate::publisher::archive::table::{Form, HashState};

/// A place to make indices in.
struct Lab {
    directory: tempfile::TempDir,
    stores: Stores,
    formats: Vec<Compression>,
    layout: Layout,
}

impl Lab {
    fn new(layout: Layout, formats: &[Compression]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stores = Stores::new(directory.path().join("texts"));
        Self { stores, directory, formats: formats.to_vec(), layout }
    }

    fn place(&self) -> Workplace<'_> {
        Workplace { directory: self.directory.path(), formats: &self.formats, stores: &self.stores }
    }

    fn open(&self, sum: &Sum) -> IndexFile {
        let path = self.directory.path().join(&sum.sha256);
        IndexFile { file: File::open(&path).unwrap(), path, sum: sum.clone() }
    }

    /// Gives the files of an index their names, and opens it as a reader does.
    fn publish(&self, built: Built) -> Published {
        let mut files = IndexFiles::new();
        for mut built in built.files {
            built.file.set_name(built.sum.sha256.as_ref());
            built.file.commit().unwrap();
            files.insert(built.compression, self.open(&built.sum));
        }
        Published::new(self.layout, Arc::new(built.table), files)
    }

    /// Writes a file as another tool would have.
    fn file(&self, bytes: &[u8]) -> IndexFile {
        let sum = Sum::of(bytes);
        durable::write(&self.directory.path().join(&sum.sha256), bytes).unwrap();
        self.open(&sum)
    }

    fn fresh(&self, stanzas: &[Stanza]) -> Published {
        let change = Change::new([], stanzas);
        self.publish(Published::empty(self.layout).rebuild(&change, self.place()).unwrap())
    }

    fn changed(&self, old: &Published, source: &str, insert: &[Stanza]) -> Published {
        self.publish(old.rebuild(&Change::new([source], insert), self.place()).unwrap())
    }

    fn again(&self, old: &Published) -> Published {
        self.publish(old.rebuild(&Change::default(), self.place()).unwrap())
    }
}

fn stanza(name: &str, source: &str, version: u32) -> Stanza {
    let text = format!(
        "Package: {name}\nSource: {source}\nVersion: {version}\nDescription: {}\n",
        "words ".repeat(40).trim()
    );
    Stanza { key: Key::new(name, source), text }
}

fn lines(name: &str, source: &str, version: u32) -> Stanza {
    let lines: Vec<String> =
        (0..30).map(|it| format!("usr/share/{name}/{version}/a file {it} misc/{name}\n")).collect();
    let text = lines.concat();
    Stanza { key: Key::new(name, source), text }
}

fn description(name: &str, source: &str, version: u32) -> Stanza {
    let text = format!("Package: {name}\nDescription-md5: {version}\nDescription-en: a\n b\n");
    Stanza { key: Key::new(name, source), text }
}

fn many(count: usize) -> Vec<Stanza> {
    (0..count).map(|it| stanza(&format!("package-{it:05}"), &format!("package-{it:05}"), 1)).collect()
}

fn texts_of(index: &Published) -> BTreeMap<Compression, String> {
    let read = |(compression, file): (&Compression, &IndexFile)| {
        let bytes = std::fs::read(&file.path).unwrap();
        (*compression, String::from_utf8(compression.decode_all(&bytes).unwrap()).unwrap())
    };
    index.files.iter().map(read).collect()
}

/// What a table says of the index, and not of the private store.
type Shape = Vec<(Vec<Key>, u64, HashState, Vec<Form>)>;

fn shape(index: &Published) -> (Vec<Compression>, Shape, Vec<(Compression, Sum)>) {
    let table = &index.table;
    let keys = |it| table.keys(it).map(KeyRef::to_key).collect();
    let block = |(at, it): (usize, &crate::publisher::archive::table::Block)| {
        (keys(at), it.text.length, it.state.clone(), it.forms.clone())
    };
    let sums = index.files.iter().map(|(compression, it)| (*compression, it.sum.clone())).collect();
    (table.forms.clone(), table.blocks.iter().enumerate().map(block).collect(), sums)
}

#[test]
fn all_compressed_forms_have_the_text_that_the_sum_is_of() {
    let lab = Lab::new(Layout::Paragraphs, &Compression::ALL);
    for count in [0, 1, 700] {
        let stanzas = many(count);
        let text: String = stanzas.iter().flat_map(|it| [it.text.as_str(), "\n"]).collect();
        let change = Change::new([], &stanzas);
        let built = Published::empty(lab.layout).rebuild(&change, lab.place()).unwrap();
        assert_eq!(built.text, Sum::of(text.as_bytes()));
        let texts = texts_of(&lab.publish(built));
        assert!(texts.len() == 3 && texts.values().all(|it| *it == text));
    }
}

#[test]
fn a_change_compresses_few_blocks_and_keeps_the_bytes_of_the_others() {
    let lab = Lab::new(Layout::Paragraphs, &[Compression::Gz]);
    let old = lab.fresh(&many(2000));
    let insert = [stanza("package-01000", "package-01000", 2)];
    let parts = old.parts(&Change::new(["package-01000"], &insert)).unwrap();
    let compressed = parts.iter().filter(|it| matches!(it, Part::New(_))).count();
    assert!(parts.len() > 10, "{} blocks", parts.len());
    assert!(compressed <= 2, "{compressed} of {} blocks were compressed again", parts.len());
}

#[test]
fn several_source_packages_are_replaced_at_once() {
    let lab = Lab::new(Layout::Paragraphs, &[Compression::Gz]);
    let old = lab.fresh(&many(300));
    let (a, b) = ("package-00010", "package-00200");
    let insert = [stanza(b, b, 2), stanza("new", "new", 1)];
    let change = Change::new([a, b, "new"], &insert);
    let new = lab.publish(old.rebuild(&change, lab.place()).unwrap());
    assert_eq!(new.entries(a).unwrap(), []);
    assert_eq!([new.entries(b).unwrap(), new.entries("new").unwrap()].concat(), insert);
    assert_eq!(new.all().unwrap().len(), 300);
}

#[test]
fn a_lost_table_is_made_again_from_the_index() {
    for formats in [&Compression::ALL[..], &[Compression::Xz], &[Compression::Zst]] {
        let lab = Lab::new(Layout::Paragraphs, formats);
        let old = lab.fresh(&many(500));
        let before = shape(&old);
        let recovered = Published::recover(lab.layout, old.files, &Sources::new()).unwrap();
        assert!(!recovered.table.foreign);
        assert_eq!(shape(&recovered), before);
        let next = lab.changed(&recovered, "package-00042", &[]);
        assert_eq!(next.all().unwrap().len(), 499);
    }
}

#[test]
fn a_lost_table_of_lines_or_descriptions_is_made_again_with_the_sources_that_packages_tells() {
    for (layout, entry) in [
        (Layout::Lines, lines as fn(&str, &str, u32) -> Stanza),
        (Layout::Descriptions, description as fn(&str, &str, u32) -> Stanza),
    ] {
        let lab = Lab::new(layout, &[Compression::Gz, Compression::Xz]);
        let names: Vec<String> = (0..300).map(|it| format!("p{it:03}")).collect();
        let entries: Vec<Stanza> = names.iter().map(|it| entry(it, "s", 1)).collect();
        let old = lab.fresh(&entries);
        let before = shape(&old);
        let reopened = || {
            let sums: Vec<_> = old.files.iter().map(|(it, file)| (*it, file.sum.clone())).collect();
            sums.iter().map(|(it, sum)| (*it, lab.open(sum))).collect::<IndexFiles>()
        };
        let sources: Sources = names.iter().map(|it| (it.clone(), "s".to_owned())).collect();
        let recovered = Published::recover(layout, reopened(), &sources).unwrap();
        assert_eq!(shape(&recovered), before);
        assert_eq!(recovered.all().unwrap(), entries);
        let refused = Published::recover(layout, reopened(), &Sources::new()).unwrap_err().to_string();
        assert!(refused.contains("lists p000, which no Packages lists"), "{refused}");
    }
}

#[test]
fn an_index_that_another_tool_made_is_cut_anew_by_the_first_change() {
    let lab = Lab::new(Layout::Paragraphs, &Compression::ALL);
    let stanzas = many(500);
    let text: String = stanzas.iter().flat_map(|it| ["\n", it.text.as_str(), "\n"]).collect();
    for compression in Compression::ALL {
        let block = compression.encode(text.as_bytes()).unwrap();
        let trailer = compression.trailer(&[(block.unpadded, text.len() as u64)]).unwrap();
        let file = lab.file(&[compression.header(), block.bytes, trailer].concat());
        let files = BTreeMap::from([(compression, file)]);
        let foreign = Published::recover(lab.layout, files, &Sources::new()).unwrap();
        assert!(foreign.table.foreign && foreign.table.blocks.len() == 1);
        assert_eq!(foreign.entries("package-00042").unwrap(), &stanzas[42..43]);
        assert_eq!(shape(&lab.again(&foreign)), shape(&lab.fresh(&stanzas)));
    }
}

#[test]
fn a_form_that_is_lost_damaged_or_of_another_index_is_made_again() {
    let lab = Lab::new(Layout::Paragraphs, &[Compression::Gz, Compression::Xz]);
    let wanted = shape(&lab.fresh(&many(500)));
    let mut lost = lab.fresh(&many(500));
    lost.files.remove(&Compression::Xz);
    assert_eq!(shape(&lab.again(&lost)), wanted);

    let mut other = lab.fresh(&many(500));
    other.files.extend(lab.fresh(&many(499)).files.remove_entry(&Compression::Xz));
    let other = Published::recover(lab.layout, other.files, &Sources::new()).unwrap();
    assert_eq!(other.table.forms, [Compression::Gz]);
    assert_eq!(shape(&lab.again(&other)), wanted);

    let damaged = lab.fresh(&many(500));
    let path = &damaged.files[&Compression::Xz].path;
    let mut bytes = std::fs::read(path).unwrap();
    bytes[100] ^= 1;
    durable::write(path, &bytes).unwrap();
    let damaged = Published::new(lab.layout, damaged.table, {
        let mut files = damaged.files;
        let sum = files[&Compression::Xz].sum.clone();
        files.insert(Compression::Xz, lab.open(&sum));
        files
    });
    assert_eq!(shape(&lab.again(&damaged)), wanted);
}

#[test]
fn an_index_whose_file_is_damaged_is_never_copied() {
    let lab = Lab::new(Layout::Paragraphs, &[Compression::Gz]);
    let old = lab.fresh(&many(500));
    let sum = old.files[&Compression::Gz].sum.clone();
    let path = old.files[&Compression::Gz].path.clone();
    let bytes = std::fs::read(&path).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        durable::write(&path, &bytes).unwrap();
        let files = BTreeMap::from([(Compression::Gz, lab.open(&sum))]);
        let old = Published::new(lab.layout, Arc::clone(&old.table), files);
        for source in ["package-00000", "package-00499", "no-such"] {
            let refused = old.rebuild(&Change::new([source], &[]), lab.place()).unwrap_err().to_string();
            assert!(refused.contains("the archive is damaged"), "{refused}");
        }
    }
}

#[test]
fn the_private_store_may_be_lost_or_damaged() {
    let lab = Lab::new(Layout::Paragraphs, &[Compression::Gz]);
    let old = lab.fresh(&many(500));
    let insert = [stanza("package-00001", "package-00001", 2)];
    let wanted = shape(&lab.changed(&old, "package-00001", &insert));
    let store = lab.directory.path().join("texts").join(format!("{:016x}", old.table.store));
    durable::write(&store, &vec![0; 1 << 20]).unwrap();
    assert_eq!(shape(&lab.changed(&old, "package-00001", &insert)), wanted);
    durable::remove_file(&store).unwrap();
    let built = old.rebuild(&Change::new(["package-00001"], &insert), lab.place()).unwrap();
    assert!(built.has_moved);
    assert_eq!(shape(&lab.publish(built)), wanted);
}

#[test]
fn a_format_that_is_added_or_taken_away_leaves_the_others_as_they_are() {
    let lab = |formats: &[Compression]| Lab::new(Layout::Paragraphs, formats);
    let (gz, all) = (lab(&[Compression::Gz]), lab(&Compression::ALL));
    let (few, many) = (gz.fresh(&many(500)), all.fresh(&many(500)));
    assert_eq!(shape(&all.again(&few)), shape(&many));
    let zst = lab(&[Compression::Zst]);
    assert_eq!(shape(&zst.again(&few)), shape(&zst.again(&many)));
    assert_eq!(shape(&gz.again(&many)), shape(&few));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_bytes_depend_on_the_entries_and_not_on_the_changes_that_led_there(
        steps in prop::collection::vec((prop::collection::btree_set(0_u32..120, 1..3), 0_u32..3, 0_u32..4), 1..25),
        layout in prop::sample::select(vec![Layout::Paragraphs, Layout::Descriptions, Layout::Lines]),
        formats in prop::sample::subsequence(Compression::ALL.to_vec(), 1..=3),
    ) {
        let lab = Lab::new(layout, &formats);
        let make = match layout {
            Layout::Paragraphs => stanza,
            Layout::Descriptions => description,
            Layout::Lines => lines,
        };
        let mut model: BTreeMap<Key, Stanza> = BTreeMap::new();
        let mut index = lab.fresh(&[]);
        for (sources, version, binaries) in steps {
            let sources: Vec<String> = sources.iter().map(|it| format!("s{it}")).collect();
            let names = |source: &String| (0..binaries * 9).map(|it| format!("b{}-{source}", it * 7 % 13)).collect::<BTreeSet<_>>();
            let insert: Vec<Stanza> = sources.iter().flat_map(|source| names(source).into_iter().map(|name| make(&name, source, version))).collect();
            model.retain(|key, _| !sources.iter().any(|it| it == key.source()));
            model.extend(insert.iter().map(|it| (it.key.clone(), it.clone())));
            let built = index.rebuild(&Change::new(sources.iter().map(String::as_str), &insert), lab.place()).unwrap();
            let (sum, moved) = (built.text.clone(), built.has_moved);
            prop_assert!(!moved);
            index = lab.publish(built);
            prop_assert!(texts_of(&index).values().all(|it| Sum::of(it.as_bytes()) == sum));
            let stanzas: Vec<Stanza> = model.values().cloned().collect();
            prop_assert_eq!(index.all().unwrap(), stanzas.clone());
            prop_assert_eq!(shape(&lab.fresh(&stanzas)), shape(&index));
            let bytes = index.table.to_bytes();
            prop_assert!(Table::parse(&bytes).is_some_and(|it| it == *index.table));
        }
    }
}
