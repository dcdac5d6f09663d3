//! What the engine keeps: answers of repeated queries, and what `warm` brings into the cache.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::path::Path;
use std::sync::Arc;

use elacsym::config::{EngineSettings, MIN_CACHE_DISK_BYTES};
use elacsym::document::{Document, Value};
use elacsym::engine::{Engine, Warmed};
use elacsym::env::Env;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{QueryRequest, TextQuery};
use elacsym::schema::NamespaceSchema;
use elacsym::storage::{FaultStore, ObjectStore, StoreRegistry};
use engine_support::{Database, Random, engine, settings};
use serde_json::{Value as Json, json};

const DIM: usize = 8;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": DIM, "attributes": {
        "body": {"type": "string", "full_text": true},
        "year": {"type": "int"},
    }}))
    .unwrap()
}

fn document(random: &mut Random) -> Document {
    let vector = (0..DIM).map(|_| random.unit() - 0.5).collect();
    let body: Vec<String> = (0..6).map(|_| format!("word{}", random.below(20))).collect();
    let attributes = vec![(0, Value::String(body.join(" "))), (1, Value::Int(random.below(9) as i64))];
    Document { vector: Some(vector), attributes }
}

fn query(database: &Database, number: u64) -> QueryRequest {
    let mut random = Random::new(number + 1);
    let mut request = QueryRequest { effort: 1.0, include_attributes: vec![0, 1], ..database.query() };
    if !number.is_multiple_of(3) {
        request = request.and_vector((0..DIM).map(|_| random.unit() - 0.5).collect());
    }
    if number % 3 != 1 {
        request = request.and_text(TextQuery::of_attribute(0, format!("word{}", number % 20)));
    }
    request
}

fn results(stats: &str) -> (u64, u64) {
    let stats: Json = serde_json::from_str(stats).unwrap();
    (stats["results"]["hits"].as_u64().unwrap(), stats["results"]["misses"].as_u64().unwrap())
}

/// Writes, deletes and flushes at random, and between them the same few queries of an engine that keeps answers and of one that does
/// not: they always agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_query_is_never_answered_with_what_was_true_before() {
    let directory = tempfile::tempdir().unwrap();
    let keeps = EngineSettings { result_cache: 1 << 20, ..settings(directory.path()) };
    let keeps = Engine::new(keeps, Env::system()).await.unwrap();
    let plain = engine(directory.path()).await;
    let mut database = Database::new(directory.path(), schema());
    let mut random = Random::new(5);
    let mut seq = 0;
    for round in 0..120 {
        for _ in 0..random.below(4) {
            seq += 1;
            let (key, order) = (random.below(60) as Key, EntryOrder { seq, xid: seq });
            if random.chance(25) {
                database.delete(key, order);
            } else {
                database.upsert(key, order, document(&mut random));
            }
        }
        if random.chance(12) {
            database.flush(&plain).await.unwrap();
        }
        for number in 0..4 {
            let expected = database.run(&plain, query(&database, number)).await.unwrap();
            for _ in 0..2 {
                let found = database.run(&keeps, query(&database, number)).await.unwrap();
                assert_eq!(found, expected, "round {round}, query {number}");
            }
            let request = query(&database, number);
            let (mut expected, _) = plain.candidates(request.clone(), &mut database.provider()).await.unwrap();
            let (mut found, _) = keeps.candidates(request, &mut database.provider()).await.unwrap();
            expected.sort_by_key(|row| row.key);
            found.sort_by_key(|row| row.key);
            assert_eq!(found, expected, "round {round}, candidates {number}");
        }
    }
    let (hits, misses) = results(&keeps.stats_json().await);
    assert!(hits >= 480 && misses >= 100, "{hits} hits, {misses} misses");
    assert_eq!(results(&plain.stats_json().await), (0, 0), "switched off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_query_reads_nothing_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let keeps = EngineSettings { result_cache: 1 << 20, ..settings(directory.path()) };
    let engine = Engine::new(keeps, Env::system()).await.unwrap();
    let mut database = Database::new(directory.path(), schema());
    let mut random = Random::new(1);
    (0..50).for_each(|key| database.upsert(key, EntryOrder { seq: 1 + key as u64, xid: 1 }, document(&mut random)));
    database.flush(&engine).await.unwrap();
    let ask = || async { engine.query(query(&database, 2), &mut database.provider()).await.unwrap() };
    let (first, first_stats) = ask().await;
    let (second, second_stats) = ask().await;
    assert_eq!(first, second);
    assert!(first_stats.rows_reranked > 0);
    assert_eq!((second_stats.rows_reranked, second_stats.object_requests, second_stats.segments), (0, 0, 1));
    // A setting takes effect at once.
    engine.reload(settings(directory.path())).await.unwrap();
    assert!(ask().await.1.rows_reranked > 0);
}

/// An engine over a store that counts as remote.
async fn remote(root: &Path, change: impl Fn(&mut EngineSettings)) -> (Engine, Arc<FaultStore>) {
    let url = format!("file://{}", root.display());
    let local = StoreRegistry::new(settings(root).storage, Env::system()).get(&url).await.unwrap();
    let store = Arc::new(FaultStore::remote(local));
    let handed = store.clone();
    let decorate = Box::new(move |_: Arc<dyn ObjectStore>| handed.clone() as Arc<dyn ObjectStore>);
    let stores = StoreRegistry::decorated(settings(root).storage, Env::system(), decorate);
    let mut settings = settings(root);
    change(&mut settings);
    (Engine::with_stores(settings, Env::system(), stores).await.unwrap(), store)
}

async fn some_segments(root: &Path) -> Database {
    let engine = engine(root).await;
    let mut database = Database::new(root, schema());
    let mut random = Random::new(3);
    for segment in 0..3 {
        for key in 0..400 {
            let key = segment * 400 + key;
            database.upsert(key, EntryOrder { seq: 1 + key as u64, xid: 1 }, document(&mut random));
        }
        database.flush(&engine).await.unwrap();
    }
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_warm_no_query_reads_from_storage() {
    let directory = tempfile::tempdir().unwrap();
    let database = some_segments(directory.path()).await;
    let (engine, store) = remote(directory.path(), |_| {}).await;
    let warmed = engine.warm(database.view(), &mut database.provider()).await.unwrap();
    let bytes: u64 = database.segments.iter().map(|s| s.info.bytes()).sum();
    assert_eq!(warmed.objects, 6);
    assert!(warmed.bytes > bytes * 9 / 10 && warmed.bytes <= bytes, "{warmed:?} of {bytes} bytes");
    assert!(store.requests() > 0);
    store.reset_counts();
    for number in 0..12 {
        engine.query(query(&database, number), &mut database.provider()).await.unwrap();
    }
    assert_eq!(store.requests(), 0);
    assert_eq!(engine.warm(database.view(), &mut database.provider()).await.unwrap(), warmed, "again, of the cache");
    assert_eq!(store.requests(), 0);
    let empty = Database::new(directory.path(), schema());
    assert_eq!(engine.warm(empty.view(), &mut empty.provider()).await.unwrap(), Warmed::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warm_takes_what_fits_and_what_queries_need_most() {
    let directory = tempfile::tempdir().unwrap();
    let database = some_segments(directory.path()).await;
    let memory = 1 << 20;
    let (engine, store) = remote(directory.path(), |settings| settings.cache_memory = memory).await;
    let warmed = engine.warm(database.view(), &mut database.provider()).await.unwrap();
    let heads: u64 = database.segments.iter().map(|s| s.info.tail_bytes).sum();
    assert!(warmed.bytes <= heads + memory * 3 / 4, "{warmed:?}");
    store.fail_next(None, usize::from(u16::MAX), elacsym::error::Error::unavailable("down"));
    let view = elacsym::ipc::message::NamespaceView { segments: Vec::new(), ..database.view() };
    engine.warm(view, &mut database.provider()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_engine_with_a_warm_disk_makes_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let database = some_segments(directory.path()).await;
    let with_disk = |settings: &mut EngineSettings| {
        settings.cache_disk = MIN_CACHE_DISK_BYTES;
        settings.cache_path = cache.path().into();
    };
    let (engine, _) = remote(directory.path(), with_disk).await;
    let first = engine.query(query(&database, 2), &mut database.provider()).await.unwrap().0;
    engine.close().await;
    drop(engine);
    let (engine, store) = remote(directory.path(), with_disk).await;
    let (second, stats) = engine.query(query(&database, 2), &mut database.provider()).await.unwrap();
    assert_eq!(first, second);
    assert_eq!((store.requests(), stats.object_requests), (0, 0));
}

/// Inverts every `step`-th byte of every file below a directory that is not empty.
fn spoil(directory: &Path, step: usize) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path, step);
        } else if let Ok(mut bytes) = std::fs::read(&path) {
            bytes.iter_mut().step_by(step).for_each(|byte| *byte ^= 0xff);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_damaged_while_the_engine_was_down_costs_requests_and_no_result() {
    let directory = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let database = some_segments(directory.path()).await;
    let with_disk = |settings: &mut EngineSettings| {
        settings.cache_disk = MIN_CACHE_DISK_BYTES;
        settings.cache_path = cache.path().into();
    };
    let (engine, _) = remote(directory.path(), with_disk).await;
    let expected = engine.query(query(&database, 2), &mut database.provider()).await.unwrap().0;
    engine.close().await;
    drop(engine);
    for step in [4_099, 509] {
        spoil(cache.path(), step);
        let (engine, store) = remote(directory.path(), with_disk).await;
        let found = engine.query(query(&database, 2), &mut database.provider()).await.unwrap().0;
        assert_eq!(found, expected, "step {step}");
        assert!(store.requests() > 0, "was anything damaged?");
        engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_cache_costs_no_request_more_than_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let database = some_segments(directory.path()).await;
    let mut counts = Vec::new();
    for disk in [0, MIN_CACHE_DISK_BYTES] {
        let (engine, store) = remote(directory.path(), |settings| {
            settings.cache_disk = disk;
            settings.cache_path = cache.path().into();
        })
        .await;
        store.hold(std::time::Duration::from_millis(100));
        engine.query(query(&database, 2), &mut database.provider()).await.unwrap();
        counts.push((store.requests(), store.rounds()));
    }
    assert_eq!(counts[0], counts[1], "requests and rounds without and with the disk");
}
