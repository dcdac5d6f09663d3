//! What the engine does when things are missing, damaged, cancelled or wrong.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::time::Duration;

use elacsym::document::{Document, Value};
use elacsym::error::{Error, ErrorKind};
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{ArmQuery, QueryRequest, ResultRow, TextQuery};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, engine, settings};
use serde_json::{Value as Json, json};

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 16, "attributes": {
        "body": {"type": "string", "full_text": true},
        "note": {"type": "string", "indexed": false},
        "year": {"type": "int"},
    }}))
    .unwrap()
}

fn document(key: Key) -> Document {
    let vector = (0..16).map(|d| ((key * 37 + d * 11) % 101) as f32 - 50.0).collect();
    let body = format!("alpha{} beta{} gamma", key % 7, key % 13);
    Document {
        vector: Some(vector),
        attributes: vec![
            (0, Value::String(body)),
            (1, Value::String(format!("note {key}"))),
            (2, Value::Int((key % 10) as i64)),
        ],
    }
}

fn order(seq: u64) -> EntryOrder {
    EntryOrder { seq, xid: 1 }
}

fn fill(database: &mut Database, keys: std::ops::Range<Key>) {
    keys.for_each(|key| database.upsert(key, order(key as u64 + 1), document(key)));
}

fn requests(database: &Database) -> Vec<QueryRequest> {
    let words = TextQuery::of_attribute(0, "alpha3 beta4".to_string());
    let mut vector = database.query().and_vector(document(5).vector.unwrap());
    vector.include_vector = true;
    let mut text = database.query().and_text(words.clone());
    text.include_attributes = vec![0, 1, 2];
    let mut both = database.query().and_vector(document(5).vector.unwrap()).and_text(words);
    let filter = json!({"field": "year", "op": "lt", "value": 4});
    both.filter = Some(Filter::parse(&database.schema, &filter).unwrap());
    both.effort = 1.0;
    vec![vector, text, both]
}

async fn answers(database: &Database, engine: &elacsym::engine::Engine) -> Result<Vec<Vec<ResultRow>>, Error> {
    let mut all = Vec::new();
    for request in requests(database) {
        all.push(database.run(engine, request).await?);
    }
    all.push(database.fetch(engine, &[3, 4, 250]).await?);
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_8_damaged_bytes_are_an_error_and_never_a_wrong_row() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    fill(&mut database, 0..300);
    let first = engine(directory.path()).await;
    let before = answers(&database, &first).await.unwrap();
    database.flush(&first).await.unwrap();
    let expected = answers(&database, &first).await.unwrap();
    assert_eq!(before.len(), expected.len());
    let info = database.segments[0].info.clone();
    let (mut noticed, mut unread) = (0, 0);
    for key in [info.index_key(), info.parquet_key()] {
        let path = directory.path().join(&key);
        let original = std::fs::read(&path).unwrap();
        let step = original.len() / 30 + 1;
        for at in (0..original.len()).step_by(step).chain([original.len() - 1]) {
            let mut damaged = original.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            match answers(&database, &engine(directory.path()).await).await {
                Ok(rows) => {
                    assert_eq!(rows, expected, "{key} at {at}");
                    unread += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Corrupt, "{key} at {at}: {error:?}");
                    assert!(error.message.contains(&key), "{key} at {at}: {error}");
                    noticed += 1;
                }
            }
        }
        for len in [0, 100, original.len() / 2, original.len() - 1] {
            std::fs::write(&path, &original[..len]).unwrap();
            match answers(&database, &engine(directory.path()).await).await {
                Ok(rows) => assert_eq!(rows, expected),
                Err(error) => assert_eq!(error.kind, ErrorKind::Corrupt, "{key} cut to {len}: {error:?}"),
            }
        }
        std::fs::write(&path, &original).unwrap();
    }
    println!("damage: {noticed} noticed, {unread} not read");
    assert!(noticed > 40, "{noticed}");
    assert_eq!(answers(&database, &engine(directory.path()).await).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_6_a_missing_object_is_an_error_and_never_an_empty_result() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    fill(&mut database, 0..50);
    database.flush(&engine(directory.path()).await).await.unwrap();
    fill(&mut database, 50..60);
    for key in database.segments[0].info.object_keys() {
        let path = directory.path().join(&key);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = answers(&database, &engine(directory.path()).await).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error:?}");
        assert!(error.message.contains(&key), "{error}");
        std::fs::write(&path, bytes).unwrap();
    }
    answers(&database, &engine(directory.path()).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_6_an_unreachable_store_is_unavailable_and_cached_bytes_still_answer() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let running = engine(directory.path()).await;
    fill(&mut database, 0..50);
    database.flush(&running).await.unwrap();
    let expected = answers(&database, &running).await.unwrap();
    // Everything was read once: the objects are not needed any more.
    let away = directory.path().join("away");
    std::fs::rename(directory.path().join("cluster"), &away).unwrap();
    assert_eq!(answers(&database, &running).await.unwrap(), expected);

    let mut settings = settings(directory.path());
    settings.storage.url = "s3://bucket/prefix".to_string();
    settings.storage.s3_endpoint = Some("http://127.0.0.1:1".to_string());
    settings.storage.s3_path_style = true;
    settings.storage.timeouts.attempts = 2;
    settings.storage.timeouts.deadline_ms = 2_000;
    let credentials = directory.path().join("credentials");
    std::fs::write(&credentials, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
    settings.storage.s3_credentials_file = Some(credentials);
    let far = elacsym::engine::Engine::new(settings, elacsym::env::Env::system()).await.unwrap();
    database.segments[0].info.root = "s3://bucket/prefix".to_string();
    let error = answers(&database, &far).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    database.root = "s3://bucket/prefix".to_string();
    database.segments.clear();
    fill(&mut database, 0..3);
    let error = database.flush(&far).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    // The buffer alone needs no store.
    answers(&database, &far).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_is_asked_once_and_only_for_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let running = engine(directory.path()).await;
    fill(&mut database, 0..20);
    database.flush(&running).await.unwrap();
    database.delete(3, order(1000));
    database.flush(&running).await.unwrap();
    fill(&mut database, 20..40);
    // Superseded by another buffered entry, and by the tombstone: neither payload is needed.
    database.upsert(25, order(1), document(1));
    database.upsert(3, order(999), document(2));
    let request = requests(&database).remove(0);
    let mut asked = Vec::new();
    for _ in 0..2 {
        let mut backend = database.provider();
        running.query(request.clone(), &mut backend).await.unwrap();
        asked.push((backend.calls, backend.entries));
    }
    assert_eq!(asked, [(1, 20), (0, 0)]);
    fill(&mut database, 40..41);
    let mut backend = database.provider();
    running.query(requests(&database).remove(0), &mut backend).await.unwrap();
    assert_eq!((backend.calls, backend.entries), (1, 1));
    let rows = database.fetch(&running, &[3, 25]).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.key).collect::<Vec<_>>(), [25]);
    assert_eq!(rows[0].vector, document(25).vector);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_namespace_looked_like_before_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let running = engine(directory.path()).await;
    fill(&mut database, 0..50);
    let kept = async || -> u64 {
        let stats: Json = serde_json::from_str(&running.stats_json().await).unwrap();
        stats["views"]["count"].as_u64().unwrap()
    };
    for key in 50..150 {
        fill(&mut database, key..key + 1);
        for _ in 0..2 {
            let rows = database.run(&running, requests(&database).remove(0)).await.unwrap();
            assert_eq!(rows.len(), 10);
        }
    }
    assert!((1..=16).contains(&kept().await), "{} views", kept().await);
}

async fn weight_of_segments(database: &Database, engine: &elacsym::engine::Engine) -> u64 {
    // The second one weighs what the first has read.
    for _ in 0..2 {
        database.run(engine, requests(database).remove(0)).await.unwrap();
        database.fetch(engine, &[1]).await.unwrap();
    }
    let stats: Json = serde_json::from_str(&engine.stats_json().await).unwrap();
    stats["open_segments"]["bytes"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_segment_remembers_of_keys_is_part_of_its_weight() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let running = engine(directory.path()).await;
    fill(&mut database, 0..10);
    fill(&mut database, 100_000..100_010);
    database.flush(&running).await.unwrap();
    let before = weight_of_segments(&database, &running).await;
    fill(&mut database, 1_000..6_000);
    let grown = weight_of_segments(&database, &running).await - before;
    assert!((5_000 * 32..5_000 * 256).contains(&grown), "{before} bytes and {grown} more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_larger_than_the_buffer_cache_still_work() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let mut settings = settings(directory.path());
    settings.cache_memory = 1 << 20;
    let running = elacsym::engine::Engine::new(settings, elacsym::env::Env::system()).await.unwrap();
    for key in 0..24 {
        let mut large = document(key);
        large.attributes[1].1 = Value::String("x".repeat(7 << 20));
        database.upsert(key, order(1), large);
    }
    for _ in 0..2 {
        let mut backend = database.provider();
        let (rows, _) = running.query(requests(&database).remove(0), &mut backend).await.unwrap();
        assert_eq!((rows.len(), backend.calls), (10, 1));
    }
    database.flush(&running).await.unwrap();
    let rows = database.fetch(&running, &[1]).await.unwrap();
    assert!(rows[0].attributes.as_ref().unwrap().len() > 7 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_refused_and_a_refusing_provider_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let running = engine(directory.path()).await;
    fill(&mut database, 0..5);
    let kind = |change: fn(&mut QueryRequest)| {
        let mut request = requests(&database).remove(0);
        change(&mut request);
        let (database, running) = (&database, &running);
        async move { database.run(running, request).await.unwrap_err().kind }
    };
    assert_eq!(kind(|r| r.arms.clear()).await, ErrorKind::Invalid);
    assert_eq!(kind(|r| r.arms[0].query = ArmQuery::Vector(vec![1.0])).await, ErrorKind::TypeMismatch);
    assert_eq!(kind(|r| r.top_k = elacsym::limits::MAX_REPLY_ROWS + 1).await, ErrorKind::OutOfRange);
    assert_eq!(kind(|r| r.effort = f32::NAN).await, ErrorKind::OutOfRange);
    assert_eq!(kind(|r| r.namespace.schema = "{".to_string()).await, ErrorKind::Corrupt);

    let mut backend = database.provider();
    backend.refuse = Some(Error::new(ErrorKind::Corrupt, "entry is damaged"));
    let error = running.query(requests(&database).remove(0), &mut backend).await.unwrap_err();
    assert_eq!(error.message, "entry is damaged");
    let mut none = requests(&database).remove(0);
    none.top_k = 0;
    assert!(database.run(&running, none).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_4_a_manifest_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let root = format!("file://{}", directory.path().display());
    running.put_manifest(&root, "c/1/n", 7, "{\"a\":1}".to_string()).await.unwrap();
    running.put_manifest(&root, "c/1/n", 7, "{\"a\":1}".to_string()).await.unwrap();
    let error = running.put_manifest(&root, "c/1/n", 7, "{\"a\":2}".to_string()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced);
    let key = "c/1/n/manifest-00000000000000000007.json".to_string();
    assert_eq!(std::fs::read(directory.path().join(&key)).unwrap(), b"{\"a\":1}");
    running.delete_objects(&root, &[key.clone(), "c/1/none".to_string()]).await.unwrap();
    assert!(!directory.path().join(&key).exists());
    running.check_storage().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_query_leaves_the_engine_usable_and_figures_are_json() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let running = engine(directory.path()).await;
    fill(&mut database, 0..3000);
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    for micros in [0, 100, 1_000, 5_000, 20_000] {
        let request = requests(&database).remove(2);
        let mut backend = database.provider();
        let _ =
            tokio::time::timeout(Duration::from_micros(micros), is_send(running.query(request, &mut backend))).await;
    }
    database.flush(&running).await.unwrap();
    answers(&database, &running).await.unwrap();
    let mut changed = running.settings();
    changed.engine_threads = 1;
    running.reload(changed).await.unwrap();
    answers(&database, &running).await.unwrap();
    let stats: Json = serde_json::from_str(&running.stats_json().await).unwrap();
    assert_eq!(stats["cpu_threads"], 1);
    assert_eq!(stats["requests"]["flush"]["requests"], 1);
    assert!(stats["requests"]["query"]["requests"].as_u64().unwrap() >= 6);
    assert!(stats["open_segments"]["bytes"].as_u64().unwrap() > 0);
    assert!(stats["buffer"]["count"].as_u64().unwrap() > 0);
    assert!(stats["stores"][0]["operations"].is_array());
}
