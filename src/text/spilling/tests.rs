use super::*;
use crate::error::{Error, ErrorKind};
use crate::ids::Uuid;
use crate::text::TextBundle;
use serde_json::json;

/// Every kind of attribute.
fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "body": {"type": "string", "full_text": true}, "title": {"type": "string", "full_text": true, "indexed": true},
        "tags": "array_string", "n": "int", "price": "float", "sold": "bool", "at": "timestamp", "who": "uuid",
        "parts": "array_int"}}))
    .unwrap()
}

fn documents(count: u64) -> Vec<Document> {
    let schema = schema();
    let id = |name: &str| schema.attributes.iter().find(|attribute| attribute.name == name).unwrap().id;
    let mut state = 5_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let document = |row: u64| {
        let words: Vec<String> = (0..random(40)).map(|_| format!("w{}", random(30) * random(30))).collect();
        let mut attributes = vec![(id("body"), Value::String(words.join(" ")))];
        let mut sometimes = |name: &str, percent: u64, value: Value| {
            if random(100) < percent {
                attributes.push((id(name), value));
            }
        };
        sometimes("title", 50, Value::String(format!("title {}", row % 7)));
        sometimes("tags", 30, Value::ArrayString(vec![format!("t{}", row % 3), "x".to_string()]));
        sometimes("n", 100, Value::Int(row as i64 * 3 - 100));
        // Only late ones have it.
        sometimes("price", if row > count / 2 { 80 } else { 0 }, Value::Float(row as f64 / 8.0));
        sometimes("sold", 50, Value::Bool(row.is_multiple_of(2)));
        sometimes("at", 90, Value::Timestamp(1_600_000_000_000_000 + row as i64));
        sometimes("who", 20, Value::Uuid(Uuid([row as u8; 16])));
        sometimes("parts", 40, Value::ArrayInt(vec![row as i64, 7, -3]));
        attributes.sort_by_key(|(id, _)| *id);
        Document { vector: None, attributes }
    };
    (0..count).map(document).collect()
}

fn in_memory(documents: &[Document]) -> TextBundle {
    builder::build(&schema(), documents).unwrap()
}

/// A bundle of parts with so many documents each.
fn in_parts(documents: &[Document], each: usize) -> SpilledText {
    let mut builder = SpillingTextBuilder::new(&schema(), &Scratch::new(None), usize::MAX);
    for part in documents.chunks(each) {
        part.iter().for_each(|document| builder.add(document).unwrap());
        builder.spill().unwrap();
    }
    builder.finish().unwrap()
}

#[track_caller]
fn assert_same(spilled: &SpilledText, bundle: &TextBundle) {
    let names = |files: Vec<&String>| files.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(spilled.files.iter().map(|(name, _)| name).collect()),
        names(bundle.files.iter().map(|(name, _)| name).collect())
    );
    for ((name, file), (_, bytes)) in spilled.files.iter().zip(&bundle.files) {
        assert!(file.read(0..file.len()).unwrap() == *bytes, "file \"{name}\" differs");
    }
    assert!(spilled.hotcache == bundle.hotcache, "the hotcache differs");
}

#[test]
fn the_bytes_are_those_of_an_index_made_in_memory() {
    for (count, each) in [(1, 1), (10, 100), (100, 7), (500, 11), (3_000, 1_000)] {
        let documents = documents(count);
        assert_same(&in_parts(&documents, each), &in_memory(&documents));
    }
}

#[test]
fn many_documents_have_the_same_store_as_in_memory() {
    // Of parts with several blocks each tantivy would take over the blocks.
    let mut documents = documents(100);
    documents.resize(300_000, Document::default());
    assert_same(&in_parts(&documents, 100_000), &in_memory(&documents));
}

#[test]
fn an_attribute_that_no_row_has_is_empty_in_a_merged_index_too() {
    // Merging writes an entry for it, without terms; an index made at once has none. Both mean the same.
    let spilled = in_parts(&vec![Document::default(); 50], 20);
    let files: Vec<BundleSource> = spilled
        .files
        .iter()
        .map(|(name, file)| (name.clone(), file.len(), Arc::new(file.clone()) as Arc<dyn RangeRead>))
        .collect();
    let segment = crate::text::TextSegment::open(&schema(), "x", files, &spilled.hotcache).unwrap();
    assert_eq!(segment.rows(), 50);
    for attribute in &schema().attributes {
        let filter = crate::filter::Filter::IsNull { attribute: attribute.id };
        assert_eq!(segment.filter(&filter).unwrap().len(), 50, "{}", attribute.name);
    }
}

#[test]
fn documents_go_to_the_disk_when_they_take_their_share_of_memory() {
    let scratch = Scratch::new(None);
    let mut builder = SpillingTextBuilder::new(&schema(), &scratch, 8 << 20);
    let documents = documents(3_000);
    for _ in 0..10 {
        documents.iter().for_each(|document| builder.add(document).unwrap());
    }
    assert!(builder.parts.len() > 1, "{} parts", builder.parts.len());
    let spilled = builder.finish().unwrap();
    let all: Vec<Document> = std::iter::repeat_n(documents, 10).flatten().collect();
    assert_same(&spilled, &in_memory(&all));
    assert!(scratch.written() > spilled.files.iter().map(|(_, file)| file.len()).sum());
}

#[test]
fn a_merge_of_parts_can_be_stopped() {
    let scratch = Scratch::new(None);
    let mut builder = SpillingTextBuilder::new(&schema(), &scratch, usize::MAX);
    for part in documents(40).chunks(20) {
        part.iter().for_each(|document| builder.add(document).unwrap());
        builder.spill().unwrap();
    }
    scratch.set_check(Some(Arc::new(|| Err(Error::new(ErrorKind::Cancelled, "enough")))));
    assert!(builder.finish().is_err());
    assert_eq!(scratch.failure().unwrap().kind, ErrorKind::Cancelled);
}
