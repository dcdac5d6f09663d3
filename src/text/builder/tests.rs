use super::*;
use crate::text::TextSegment;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "a": {"type": "string", "full_text": true, "indexed": true}, "b": "int", "c": "float", "d": "bool", "e": "array_string"}}))
    .unwrap()
}

fn documents(count: usize) -> Vec<Document> {
    (0..count)
        .map(|i| Document {
            vector: None,
            attributes: vec![
                (0, Value::String(format!("text {i} {}", i % 7))),
                (1, Value::Int(i as i64)),
                (2, Value::Float(i as f64 / 3.0)),
                (3, Value::Bool(i % 2 == 0)),
                (4, Value::ArrayString(vec![format!("t{}", i % 5), "x".into(), "x".into()])),
            ],
        })
        .collect()
}

fn open(bundle: &TextBundle) -> Result<TextSegment> {
    let file = |(name, bytes): &(String, Vec<u8>)| {
        (name.clone(), bytes.len() as u64, Arc::new(bytes.clone()) as Arc<dyn RangeRead>)
    };
    TextSegment::open(&schema(), "x", bundle.files.iter().map(file).collect(), &bundle.hotcache)
}

#[test]
fn the_same_documents_give_the_same_bytes() {
    let documents = documents(3_000);
    let bundle = build(&schema(), &documents).unwrap();
    assert_eq!(build(&schema(), &documents).unwrap(), bundle);
    let names: Vec<&str> = bundle.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fast", "fieldnorm", "idx", "meta.json", "pos", "store", "term"]);
}

#[test]
fn no_document_and_empty_documents_make_a_bundle_too() {
    for count in [0, 1, 200] {
        let documents = vec![Document::default(); count];
        let segment = open(&build(&schema(), &documents).unwrap()).unwrap();
        assert_eq!(segment.rows() as usize, count);
        let filter = crate::filter::Filter::IsNull { attribute: 1 };
        assert_eq!(segment.filter(&filter).unwrap().len() as usize, count);
    }
}

#[test]
fn values_that_cannot_be_kept_are_errors() {
    let mut builder = TextBuilder::new(&schema()).unwrap();
    let mut kind = |attribute, value| {
        builder.add(&Document { vector: None, attributes: vec![(attribute, value)] }).unwrap_err().kind
    };
    assert_eq!(kind(0, Value::Int(1)), ErrorKind::TypeMismatch);
    assert_eq!(kind(0, Value::String("x".repeat(MAX_TERM_BYTES + 1))), ErrorKind::OutOfRange);
    assert_eq!(kind(4, Value::ArrayString(vec!["x".repeat(MAX_TERM_BYTES + 1)])), ErrorKind::OutOfRange);
    assert_eq!(builder.rows, 0);
}

#[test]
fn a_bundle_that_lacks_a_file_or_has_another_length_is_corrupt() {
    let bundle = build(&schema(), &documents(10)).unwrap();
    for place in 0..bundle.files.len() {
        let mut without = bundle.clone();
        without.files.remove(place);
        if let Err(error) = open(&without) {
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        } else {
            // Positions are read for phrases only.
            assert_eq!(bundle.files[place].0, "pos");
        }
        let mut longer = bundle.clone();
        longer.files[place].1.push(0);
        assert_eq!(open(&longer).unwrap_err().kind, ErrorKind::Corrupt);
    }
}
