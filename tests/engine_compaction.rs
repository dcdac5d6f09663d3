//! Compaction in the engine: answers are those from before, to the bit; dead values go; nothing is left of one that is cancelled.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use elacsym::config::EngineSettings;
use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::env::Env;
use elacsym::error::ErrorKind;
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{CompactPhase, CompactState, ResultRow, TextQuery};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, engine, settings};
use serde_json::json;

const DIM: usize = 16;
const BODY: u16 = 0;
const TAGS: u16 = 1;
const YEAR: u16 = 2;

fn schema(id: &str) -> NamespaceSchema {
    let plain = json!({"stemming": false, "remove_stopwords": false});
    let mut json = json!({"vector_dim": DIM, "vector_metric": "cosine", "attributes": {
        "body": {"type": "string", "full_text": plain}, "year": "int", "tags": "array_string"}});
    if id != "int" {
        json["id"] = json!(id);
    }
    NamespaceSchema::parse(&json).unwrap()
}

fn document(random: &mut Random) -> Document {
    let words: Vec<String> = (0..3 + random.below(9)).map(|_| format!("w{}", random.below(40))).collect();
    let mut attributes = vec![(BODY, Value::String(words.join(" ")))];
    if random.chance(30) {
        attributes.push((TAGS, Value::ArrayString(vec![format!("t{}", random.below(3))])));
    }
    attributes.push((YEAR, Value::Int(2000 + random.below(20) as i64)));
    Document { vector: random.chance(90).then(|| (0..DIM).map(|_| random.unit() - 0.5).collect()), attributes }
}

fn order(seq: u64) -> EntryOrder {
    EntryOrder { seq, xid: 1 }
}

/// Segments of that many rows each, with keys from 0 on.
async fn filled(database: &mut Database, engine: &Engine, random: &mut Random, segments: &[u64]) {
    let mut key = 0;
    for rows in segments {
        for _ in 0..*rows {
            database.upsert(key, order(key as u64 + 1), document(random));
            key += 1;
        }
        database.flush(engine).await.unwrap();
    }
}

/// Answers to some queries: every row with every number of it.
async fn answers(database: &Database, engine: &Engine, seed: u64) -> Vec<Vec<ResultRow>> {
    let mut random = Random::new(seed);
    let mut answers = Vec::new();
    for _ in 0..12 {
        let vector: Vec<f32> = (0..DIM).map(|_| random.unit() - 0.5).collect();
        let text = TextQuery::of_attribute(BODY, format!("w{} w{} \"w1 w2\"", random.below(40), random.below(40)));
        let year = json!({"field": "year", "op": "gte", "value": 2000 + random.below(20)});
        let filter = random.chance(50).then(|| Filter::parse(&database.schema, &year).unwrap());
        let mut plain = database.query();
        (plain.top_k, plain.filter, plain.candidates) = (50, filter, 500);
        plain.include_vector = true;
        plain.include_attributes = database.schema.attributes.iter().map(|a| a.id).collect();
        let both = plain.clone().and_vector(vector.clone()).and_text(text.clone());
        for query in [plain.clone().and_vector(vector), plain.and_text(text), both] {
            answers.push(database.run(engine, query).await.unwrap());
        }
    }
    answers
}

fn objects(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(objects(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_scores_are_the_same_to_the_bit_after_a_merge() {
    for id in ["int", "uuid"] {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Database::new(directory.path(), schema(id));
        let engine = Arc::new(engine(directory.path()).await);
        filled(&mut database, &engine, &mut Random::new(3), &[700, 30, 200, 1, 64]).await;
        let before = answers(&database, &engine, 8).await;
        let result = database.compact(&engine).await.unwrap();
        let info = result.segment.unwrap();
        assert_eq!((info.rows, info.tombstones, database.segments.len()), (995, 0, 1));
        assert!(before == answers(&database, &engine, 8).await, "answers differ with ids of type {id}");
        // Also for one that has nothing in its caches, and after a merge of the only segment with itself.
        let engine = Arc::new(engine_support::engine(directory.path()).await);
        assert!(before == answers(&database, &engine, 8).await);
        database.compact(&engine).await.unwrap();
        assert!(before == answers(&database, &engine, 8).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_merge_dead_rows_count_in_no_score() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let engine = Arc::new(engine(directory.path()).await);
    let mut random = Random::new(5);
    filled(&mut database, &engine, &mut random, &[300, 100]).await;
    let mut alive = Database::new(directory.path(), schema("int"));
    for key in 0..400 {
        if key % 3 == 0 {
            let document = document(&mut random);
            database.upsert(key, order(1_000 + key as u64), document.clone());
            alive.upsert(key, order(1_000 + key as u64), document);
        } else {
            database.delete(key, order(1_000 + key as u64));
        }
    }
    database.flush(&engine).await.unwrap();
    let info = database.compact(&engine).await.unwrap().segment.unwrap();
    assert_eq!((info.rows, info.tombstones), (134, 0));
    // One that never had the others.
    alive.flush(&engine).await.unwrap();
    assert!(answers(&database, &engine, 9).await == answers(&alive, &engine, 9).await);
}

#[tokio::test]
async fn where_everything_is_deleted_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let engine = Arc::new(engine(directory.path()).await);
    filled(&mut database, &engine, &mut Random::new(1), &[20, 20]).await;
    (0..40).for_each(|key| database.delete(key, order(100)));
    database.flush(&engine).await.unwrap();
    let before = objects(directory.path());
    // While an older write could still turn up, that they are deleted must stay known.
    let kept = database.merge(&engine, &[0, 1, 2], 0).await.unwrap();
    assert_eq!(kept.result.segment, None, "a horizon of 0 is before every transaction");
    database.segments.iter_mut().for_each(|segment| segment.horizon = 5);
    let kept = database.merge(&engine, &[0, 1, 2], 4).await.unwrap().result.segment.unwrap();
    assert_eq!((kept.rows, kept.tombstones, kept.parquet_bytes), (0, 40, 0));
    assert_eq!(objects(directory.path()).len(), before.len() + 1);
    assert_eq!(database.compact(&engine).await.unwrap().segment, None);
    assert!(database.segments.is_empty());
    assert_eq!(database.fetch(&engine, &(0..40).collect::<Vec<Key>>()).await.unwrap(), []);
}

#[tokio::test]
async fn values_of_dropped_attributes_go_and_missing_indexes_are_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let engine = Arc::new(engine(directory.path()).await);
    filled(&mut database, &engine, &mut Random::new(1), &[50, 50]).await;
    let changes = json!({"drop": ["tags"], "alter": {"body": {"full_text": {"stemming": true}}}, "add": {"n": "int"}});
    database.schema = database.schema.changed(&changes).unwrap();
    let before = answers(&database, &engine, 2).await;
    let in_memory = |json: &str| {
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        json["open_segments"]["bytes"].as_u64().unwrap()
    };
    database.compact(&engine).await.unwrap();
    let info = database.segments[0].info.clone();
    let file = std::fs::read(directory.path().join(info.parquet_key())).unwrap();
    let has = |name: &str| file.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert!(has("year") && has("body") && !has("tags"));
    // A new engine that opens it needs no index of its own making: it holds what a segment of its size holds.
    let fresh = Arc::new(engine_support::engine(directory.path()).await);
    assert!(before == answers(&database, &fresh, 2).await);
    let rebuilt = in_memory(&fresh.stats_json().await);
    let mut same = Database::new(directory.path(), database.schema.clone());
    filled(&mut same, &fresh, &mut Random::new(1), &[100]).await;
    let other = engine_support::engine(directory.path()).await;
    answers(&same, &other, 2).await;
    let written = in_memory(&other.stats_json().await);
    assert!(rebuilt <= written + written / 4, "{rebuilt} bytes are open instead of {written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_leaves_the_block_cache_to_queries() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let writer = engine(directory.path()).await;
    filled(&mut database, &writer, &mut Random::new(1), &[2_000, 2_000]).await;
    let engine = Arc::new(engine(directory.path()).await);
    let cached = |engine: Arc<Engine>| async move {
        let json: serde_json::Value = serde_json::from_str(&engine.stats_json().await).unwrap();
        json["cache"]["bytes_inserted"].as_u64().unwrap()
    };
    let compaction = database.merge(&engine, &[0, 1], u64::MAX).await.unwrap();
    assert_eq!(compaction.result.segment.as_ref().unwrap().rows, 4_000);
    assert_eq!(cached(engine.clone()).await, 0);
    database.publish(&engine, compaction).await.unwrap();
    answers(&database, &engine, 1).await;
    assert!(cached(engine).await > 0, "the figure counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_trained_on_a_sample_where_memory_is_short() {
    const WIDE: usize = 512;
    let directory = tempfile::tempdir().unwrap();
    let schema = json!({"vector_dim": WIDE, "vector_metric": "l2", "attributes": {"n": "int"}});
    let mut database = Database::new(directory.path(), NamespaceSchema::parse(&schema).unwrap());
    // A quarter of the least build memory is for training: 4,096 of these vectors.
    let settings = EngineSettings { build_memory: 32 << 20, ..settings(directory.path()) };
    let engine = Arc::new(Engine::new(settings, Env::system()).await.unwrap());
    let mut random = Random::new(4);
    let mut vector = move || -> Vec<f32> { (0..WIDE).map(|_| random.unit() - 0.5).collect() };
    for key in 0..9_000 {
        let document = Document { vector: Some(vector()), attributes: vec![(0, Value::Int(key as i64))] };
        database.upsert(key, order(1 + key as u64), document);
        if key % 3_000 == 2_999 {
            database.flush(&engine).await.unwrap();
        }
    }
    let queries: Vec<Vec<f32>> = (0..20).map(|_| vector()).collect();
    let mut found = Vec::new();
    for compacted in [false, true] {
        if compacted {
            assert_eq!(database.compact(&engine).await.unwrap().segment.unwrap().rows, 9_000);
        }
        for query in &queries {
            found.push(database.run(&engine, database.query().and_vector(query.clone())).await.unwrap());
        }
    }
    assert!(found[..20] == found[20..]);
    // The lists are of use: a search that may miss rows finds nearly all of them.
    let mut hits = 0;
    for (query, exact) in queries.iter().zip(&found) {
        let mut request = database.query().and_vector(query.clone());
        request.effort = 1.0;
        let rows = database.run(&engine, request).await.unwrap();
        hits += rows.iter().filter(|row| exact.iter().any(|other| other.key == row.key)).count();
    }
    assert!(hits >= 180, "{hits} of 200 nearest rows are found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_compaction_that_is_cancelled_and_progress_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let engine = Arc::new(engine(directory.path()).await);
    filled(&mut database, &engine, &mut Random::new(1), &[3_000, 3_000]).await;
    let before = objects(directory.path());
    let mut running = Engine::start_compaction(&engine, database.compact_request(&[0, 1], u64::MAX));
    // Until it has begun.
    loop {
        match running.poll(std::time::Duration::from_millis(1)).await.unwrap() {
            CompactState::Running(progress) if progress.phase > CompactPhase::Keys => break,
            CompactState::Running(_) => {}
            CompactState::Done(_) => panic!("6,000 rows were merged within a millisecond"),
        }
    }
    drop(running);
    // What has ended lets the next one in.
    let mut running = Engine::start_compaction(&engine, database.compact_request(&[0, 1], u64::MAX));
    let mut last = 0;
    let result = loop {
        match running.poll(std::time::Duration::from_millis(5)).await.unwrap() {
            CompactState::Running(progress) => {
                assert!(
                    progress.rows_done >= last
                        && (progress.rows_total == 0 || progress.rows_done <= progress.rows_total)
                );
                last = progress.rows_done;
            }
            CompactState::Done(result) => break result,
        }
    };
    let info = result.segment.unwrap();
    let new: Vec<PathBuf> = objects(directory.path()).into_iter().filter(|path| !before.contains(path)).collect();
    let mut expected: Vec<PathBuf> = info.object_keys().iter().map(|key| directory.path().join(key)).collect();
    expected.sort();
    assert_eq!(new, expected, "only the objects of the one that was not cancelled");
}

#[tokio::test]
async fn a_damaged_input_is_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let engine = Arc::new(engine(directory.path()).await);
    filled(&mut database, &engine, &mut Random::new(1), &[100, 100]).await;
    let key = database.segments[1].info.parquet_key();
    let path = directory.path().join(&key);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = objects(directory.path());
    let error = database.compact(&engine).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.message.contains(&key), "{error}");
    assert_eq!(objects(directory.path()), before);
}

#[tokio::test]
async fn a_merge_that_has_no_room_on_the_local_disk_says_so_before_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema("int"));
    let local = tempfile::tempdir().unwrap();
    let settings = EngineSettings { cache_path: local.path().to_path_buf(), ..settings(directory.path()) };
    let engine = Arc::new(Engine::new(settings, Env::system()).await.unwrap());
    filled(&mut database, &engine, &mut Random::new(1), &[100, 100]).await;
    let before = objects(directory.path());
    let mut request = database.compact_request(&[0, 1], u64::MAX);
    // More than any disk has.
    request.inputs[1].info.parquet_bytes = 1 << 60;
    let error = engine.compact(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
    assert!(error.message.contains(local.path().to_str().unwrap()), "{error}");
    assert!(error.hint.unwrap().contains("elacsym.cache_path"));
    assert_eq!(objects(directory.path()), before);
    database.compact(&engine).await.unwrap();
}
