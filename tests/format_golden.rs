//! Segments written by earlier versions stay readable and give the same answers.
//!
//! `tests/golden/v1/` holds one segment as format version 1 wrote it, its catalog row (`info.json`) and the answers it gave
//! (`answers.json`). It was made by
//! `ELACSYM_WRITE_GOLDEN=tests/golden/v1 cargo test --test format_golden -- --nocapture`
//! and must never be rewritten: a new format version gets a directory of its own.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::path::{Path, PathBuf};

use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key, Uuid};
use elacsym::ipc::message::{ResultRow, TextQuery};
use elacsym::schema::NamespaceSchema;
use elacsym::segment_info::SegmentInfo;
use engine_support::{Database, Published, engine};
use serde_json::{Value as Json, json};

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 12, "vector_metric": "cosine", "attributes": {
        "body": {"type": "string", "full_text": true},
        "flag": {"type": "bool"},
        "score": {"type": "float"},
        "tags": {"type": "array_string"},
        "year": {"type": "int"},
        "z_at": {"type": "timestamp"},
        "z_ref": {"type": "uuid"},
        "z_sizes": {"type": "array_int"},
    }}))
    .unwrap()
}

const WORDS: [&str; 12] = [
    "segment",
    "footer",
    "postings",
    "running",
    "quickly",
    "databases",
    "object",
    "storage",
    "vectors",
    "indexes",
    "search",
    "the",
];

fn document(key: Key) -> Document {
    let key = key as i64;
    let word = |i: i64| WORDS[((key * 5 + i * 7) % 12) as usize];
    let body: Vec<&str> = (0..3 + key % 6).map(word).collect();
    let mut attributes = vec![(0, Value::String(body.join(" ")))];
    if key % 3 != 0 {
        attributes.push((1, Value::Bool(key % 2 == 0)));
        attributes.push((2, Value::Float(key as f64 / 8.0)));
    }
    if key % 4 != 0 {
        attributes.push((3, Value::ArrayString((0..key % 3).map(|i| format!("tag{i}")).collect())));
        attributes.push((4, Value::Int(2000 + key % 20)));
        attributes.push((5, Value::Timestamp(1_700_000_000_000_000 + key * 3_600_000_001)));
        attributes.push((6, Value::Uuid(Uuid([key as u8; 16]))));
        attributes.push((7, Value::ArrayInt((0..key % 4).map(|i| key * i).collect())));
    }
    let vector = (key % 7 != 0).then(|| (0..12).map(|d| (((key + 1) * (d + 3) * 29) % 97) as f32 - 48.0).collect());
    Document { vector, attributes }
}

/// Everything a reader can get out of the segment, as JSON. Scores are rounded: they are computed, not stored.
async fn answers(database: &Database, engine: &Engine) -> Json {
    let row = |row: ResultRow| {
        json!([
            row.key,
            (f64::from(row.score) * 1e4).round(),
            row.vector_rank,
            row.text_rank,
            row.attributes,
            row.vector
        ])
    };
    let mut out = serde_json::Map::new();
    let filters = [
        Json::Null,
        json!({"field": "year", "op": "gte", "value": 2010}),
        json!({"type": "and", "conditions": [
            {"field": "tags", "op": "contains", "value": "tag1"},
            {"type": "not", "conditions": [{"field": "flag", "op": "eq", "value": true}]},
        ]}),
        json!({"field": "score", "op": "lt", "value": 9.5}),
        json!({"field": "z_at", "op": "gte", "value": "2023-11-17"}),
        json!({"type": "or", "conditions": [
            {"field": "z_ref", "op": "lt", "value": "11111111-1111-1111-1111-111111111111"},
            {"field": "z_sizes", "op": "contains", "value": 150},
        ]}),
    ];
    for (f, filter) in filters.iter().enumerate() {
        for (vector, text) in [(true, false), (false, true), (true, true)] {
            let mut request = database.query();
            request.filter = (!filter.is_null()).then(|| Filter::parse(&database.schema, filter).unwrap());
            if vector {
                request = request.and_vector((0..12).map(|d| (d * d) as f32 - 40.0).collect());
            }
            if text {
                let words = TextQuery::of_attribute(0, "run database searches".to_string());
                request = request.and_text(words);
            }
            request.include_attributes = vec![0, 1, 2, 3, 4, 5, 6, 7];
            request.include_vector = true;
            let rows = database.run(engine, request).await.unwrap();
            out.insert(format!("filter {f}, {vector}, {text}"), rows.into_iter().map(row).collect());
        }
    }
    let keys: Vec<Key> = (-2..125).collect();
    let rows = database.fetch(engine, &keys).await.unwrap();
    out.insert("fetch".to_string(), rows.into_iter().map(row).collect());
    Json::Object(out)
}

async fn write(target: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let mut database = Database::new(directory.path(), schema());
    for key in 0..120 {
        database.upsert(key, EntryOrder { seq: 1000 + key as u64, xid: 7 }, document(key));
    }
    database.delete(121, EntryOrder { seq: 5000, xid: 8 });
    let mut info = database.flush(&running).await.unwrap().segment.unwrap();
    std::fs::create_dir_all(target).unwrap();
    for (key, name) in [(info.index_key(), "search.idx"), (info.parquet_key(), "rows.parquet")] {
        std::fs::copy(directory.path().join(key), target.join(name)).unwrap();
    }
    let answers = answers(&database, &running).await;
    std::fs::write(target.join("answers.json"), serde_json::to_string_pretty(&answers).unwrap() + "\n").unwrap();
    (info.root, info.path) = ("file:///golden".to_string(), "v1".to_string());
    std::fs::write(target.join("info.json"), serde_json::to_string_pretty(&info).unwrap() + "\n").unwrap();
    println!("written to {}", target.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_stays_readable_and_answers_the_same() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    if let Some(target) = std::env::var_os("ELACSYM_WRITE_GOLDEN") {
        write(&PathBuf::from(target)).await;
        return;
    }
    let info = std::fs::read_to_string(golden.join("v1/info.json")).unwrap();
    let mut info: SegmentInfo = serde_json::from_str(&info).unwrap();
    info.root = format!("file://{}", golden.display());
    let mut database = Database::new(&golden, schema());
    database.segments.push(Published { info, version: 0, delete_vector: Vec::new(), horizon: 0 });
    let running = engine(&golden).await;
    let expected: Json =
        serde_json::from_str(&std::fs::read_to_string(golden.join("v1/answers.json")).unwrap()).unwrap();
    let found = answers(&database, &running).await;
    for (name, rows) in expected.as_object().unwrap() {
        assert_eq!(&found[name], rows, "{name}");
    }
    // Full text that is no filter was once not listed as present; its lengths tell.
    let mut request = database.query().and_vector(vec![1.0; 12]);
    request.top_k = 1000;
    request.filter = Some(Filter::Match { attribute: 0, query: "-footer".to_string() });
    let mut keys: Vec<Key> = database.run(&running, request).await.unwrap().iter().map(|row| row.key).collect();
    keys.sort_unstable();
    let without = |key: &Key| match document(*key).get(0) {
        Some(Value::String(body)) => key % 7 != 0 && !body.contains("footer"),
        _ => false,
    };
    assert_eq!(keys, (0..120).filter(without).collect::<Vec<Key>>());
    // The tombstone is there: an older entry of its key loses, a newer one wins.
    database.upsert(121, EntryOrder { seq: 4999, xid: 9 }, document(5));
    assert!(database.fetch(&running, &[121]).await.unwrap().is_empty());
    database.upsert(121, EntryOrder { seq: 5000, xid: 9 }, document(6));
    assert_eq!(database.fetch(&running, &[121]).await.unwrap().len(), 1);
}
