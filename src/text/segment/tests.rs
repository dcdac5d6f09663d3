use super::*;
use crate::document::{Document, Value};
use crate::error::ErrorKind;
use crate::ipc::message::TextQuery;
use crate::text::{RangeRead, builder};
use serde_json::json;
use std::ops::Range;

/// The hotcache answers; every read fails.
#[derive(Debug)]
struct Offline;

impl RangeRead for Offline {
    fn read(&self, _range: Range<u64>) -> Result<Vec<u8>> {
        Err(Error::unavailable("object storage is down"))
    }
}

#[test]
fn without_storage_a_segment_opens_and_searches_fail_clearly() {
    let schema = NamespaceSchema::parse(&json!({"attributes": {
        "a": {"type": "string", "full_text": true}, "b": "string"}}))
    .unwrap();
    let document = |i: usize| Document {
        vector: None,
        attributes: vec![(0, Value::String(format!("cat {i}"))), (1, Value::String(format!("b{i}")))],
    };
    let bundle = builder::build(&schema, &(0..100).map(document).collect::<Vec<_>>()).unwrap();
    let file =
        |(name, bytes): &(String, Vec<u8>)| (name.clone(), bytes.len() as u64, Arc::new(Offline) as Arc<dyn RangeRead>);
    let files = bundle.files.iter().map(file).collect();
    let segment = TextSegment::open(&schema, "x", files, &bundle.hotcache).unwrap();
    assert_eq!(segment.rows(), 100);
    assert!(segment.memory_bytes() > bundle.hotcache.len());
    let query = TextQuery::of_attribute(0, "cats".into());
    let query = ParsedTextQuery::parse(&schema, &query).unwrap();
    let stats = segment.stats(&query).unwrap();
    assert_eq!((stats.docs, stats.fields[0].tokens, stats.fields[0].doc_freqs[0]), (100, 200, 100));
    let error = segment.search(&query, &stats, 10, None).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unavailable, "object storage is down"));
    let filter = Filter::In { attribute: 1, values: vec![Value::String("b7".into())] };
    assert_eq!(segment.filter(&filter).unwrap_err().kind, ErrorKind::Unavailable);
    // Nothing to read, nothing to fail.
    let filter = Filter::In { attribute: 1, values: vec![Value::String("c".into())] };
    assert_eq!(segment.filter(&filter).unwrap().len(), 0);
    assert_eq!(segment.search(&query, &stats, 10, Some(&RoaringBitmap::new())).unwrap(), []);
}
