//! Pages by ascending key.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::BTreeMap;

use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{PageRequest, RequestStats};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, engine};
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {"n": "int"}})).unwrap()
}

/// The outermost ids of type int.
const LEAST: Key = i64::MIN as Key;
const MOST: Key = i64::MAX as Key;

fn document(n: i64) -> Document {
    Document { vector: None, attributes: vec![(0, Value::Int(n))] }
}

async fn page(
    engine: &Engine,
    database: &Database,
    filter: &Option<Filter>,
    after: Option<Key>,
    rows: u32,
) -> (Vec<Key>, RequestStats) {
    let request = PageRequest {
        namespace: database.view(),
        filter: filter.clone(),
        after,
        after_text: None,
        rows,
        include_vector: false,
        include_attributes: Vec::new(),
    };
    let (rows, stats) = engine.page(request, &mut database.provider()).await.unwrap();
    (rows.into_iter().map(|row| row.key).collect(), stats)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_together_are_every_matching_document_once_by_ascending_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let engine = engine(directory.path()).await;
    let mut random = Random::new(4);
    let mut truth: BTreeMap<Key, Document> = BTreeMap::new();
    let mut seq = 0;
    // Several blocks of the key index in the first segment; the last round stays in the buffer.
    for (round, count) in [3000, 900, 900, 900].into_iter().enumerate() {
        for _ in 0..count {
            seq += 1;
            let key = random.below(4000) as Key - 2000;
            let order = EntryOrder { seq, xid: 5 };
            if round > 0 && random.chance(30) {
                database.delete(key, order);
                truth.remove(&key);
            } else {
                let document = document(random.below(1000) as i64);
                truth.insert(key, document.clone());
                database.upsert(key, order, document);
            }
        }
        if round < 3 {
            database.flush(&engine).await.unwrap();
        }
    }
    for (bound, size) in [(1000, 100), (1000, 7), (500, 600), (20, 50), (20, 3), (1, 10), (0, 10)] {
        let below = json!({"field": "n", "op": "lt", "value": bound});
        let filter = (bound < 1000).then(|| Filter::parse(&database.schema, &below).unwrap());
        let matches = |document: &&Document| filter.as_ref().is_none_or(|filter| filter.matches(document));
        let expected: Vec<Key> = truth.iter().filter(|(_, d)| matches(d)).map(|(key, _)| *key).collect();
        let (mut all, mut after): (Vec<Key>, Option<Key>) = (Vec::new(), None);
        loop {
            let (keys, _) = page(&engine, &database, &filter, after, size).await;
            all.extend(&keys);
            if keys.len() < size as usize {
                break;
            }
            after = keys.last().copied();
        }
        assert_eq!(all, expected, "below {bound}, pages of {size}");
    }
}

#[tokio::test]
async fn a_page_reads_a_part_of_a_large_segment_and_bounds_are_keys_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let first = engine(directory.path()).await;
    let keys: Vec<Key> = (0..30_000).map(|i| i * 3).chain([LEAST, MOST]).collect();
    for key in keys {
        database.upsert(key, EntryOrder { seq: 1, xid: 5 }, document(0));
    }
    database.flush(&first).await.unwrap();
    let engine = engine(directory.path()).await;
    assert_eq!(page(&engine, &database, &None, None, 2).await.0, [LEAST, 0]);
    let (keys, stats) = page(&engine, &database, &None, Some(60_000), 10).await;
    assert_eq!(keys, (1..=10).map(|i| 60_000 + i * 3).collect::<Vec<_>>());
    // Two blocks of 16 KiB, of 52.
    assert!(stats.object_bytes <= 3 * 16_384, "{stats:?}");
    assert_eq!(page(&engine, &database, &None, Some(29_999 * 3), 10).await.0, [MOST]);
    assert_eq!(page(&engine, &database, &None, Some(MOST), 10).await.0, [] as [Key; 0]);
    let request = PageRequest {
        namespace: database.view(),
        filter: None,
        after: None,
        after_text: None,
        rows: 10_001,
        include_vector: false,
        include_attributes: Vec::new(),
    };
    assert!(engine.page(request, &mut database.provider()).await.is_err());
}
