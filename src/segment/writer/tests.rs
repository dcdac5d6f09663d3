use super::*;
use crate::document::Value;
use crate::ids::EntryOrder;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 4, "attributes": {"body": {"type": "string", "full_text": true}}}))
        .unwrap()
}

fn id(key: i64) -> EntryId {
    EntryId { key: key.into(), order: EntryOrder { seq: (100 + key) as u64, xid: 5 } }
}

fn place() -> Place {
    Place { id: "01".to_string(), root: "file:///r".to_string(), path: "p/01".to_string() }
}

fn entries(n: i64) -> Vec<(EntryId, Document)> {
    let document = |key: i64| Document {
        vector: (key % 5 != 0).then(|| (0..4).map(|d| ((key * 7 + d * 3) % 11) as f32 + 0.5).collect()),
        attributes: vec![(0, Value::String(format!("word{} other", key % 3)))],
    };
    (0..n).map(|key| (id(key), document(key))).collect()
}

#[test]
fn the_same_entries_give_the_same_bytes_in_any_order_and_with_any_number_of_threads() {
    let write = |entries, threads| {
        write_segment(&schema(), entries, vec![id(1000), id(900)], &WriteOptions { threads }, place()).unwrap()
    };
    let first = write(entries(600), 1);
    let mut reversed = entries(600);
    reversed.reverse();
    let second = write(reversed, 2);
    assert_eq!(first.index, second.index);
    assert_eq!(first.parquet, second.parquet);
    assert_eq!(first.info, second.info);
    assert_eq!((first.info.rows, first.info.vectors, first.info.tombstones), (600, 480, 2));
    assert_eq!((first.info.min_key, first.info.max_key), (0, 1000));
    assert_eq!((first.info.min_seq, first.info.max_seq), (100, 1100));
}

#[test]
fn a_segment_of_tombstones_has_no_row_file() {
    let written = write_segment(&schema(), Vec::new(), vec![id(3)], &WriteOptions { threads: 1 }, place()).unwrap();
    assert_eq!((written.parquet, written.info.parquet_bytes), (None, 0));
    assert_eq!(written.info.object_keys(), ["p/01/search.idx"]);
}

#[test]
fn a_key_twice_or_nothing_at_all_is_refused() {
    let write =
        |entries, tombstones| write_segment(&schema(), entries, tombstones, &WriteOptions { threads: 1 }, place());
    assert!(write(entries(3), vec![id(2)]).unwrap_err().message.contains("key 2 "));
    assert!(write(Vec::new(), Vec::new()).is_err());
}
