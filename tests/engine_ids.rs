//! Ids of every type: documents are found by their id, come back with it and are read in its order, wherever they are.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::BTreeMap;

use elacsym::document::{Document, DocumentId, Patch, Value};
use elacsym::engine::Engine;
use elacsym::error::ErrorKind;
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, IdType, Key, Uuid};
use elacsym::ipc::message::{CheckRequest, PageRequest, ResultRow};
use elacsym::schema::{NamespaceSchema, TEXT_ID};
use engine_support::{Database, Random, WalRow, engine};
use serde_json::json;

const KINDS: [IdType; 3] = [IdType::Int, IdType::Uuid, IdType::Text];
/// Id of the attribute `n`.
const N: u16 = 0;

fn schema(kind: IdType) -> NamespaceSchema {
    NamespaceSchema::parse(&json!({
        "id": kind.name(), "vector_dim": 2, "vector_metric": "l2", "attributes": {"n": "int"}}))
    .unwrap()
}

/// Neighbours share a beginning, so that order is not decided by the first bytes alone.
fn id(kind: IdType, number: u64) -> DocumentId {
    match kind {
        IdType::Int => DocumentId::Int(number as i64 * 3 - 200),
        IdType::Uuid => {
            let mut bytes = [0; 16];
            bytes[0] = if number.is_multiple_of(2) { 0x7f } else { 0x80 };
            bytes[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            DocumentId::Uuid(Uuid(bytes))
        }
        IdType::Text => DocumentId::Text(match number % 3 {
            0 => format!("https://example.org/é/{number}"),
            1 => format!("{number}"),
            _ => format!("https://example.org/{}", "x".repeat(number as usize % 90)) + &number.to_string(),
        }),
    }
}

fn document(id: &DocumentId, n: i64) -> Document {
    Document::new(id, Some(vec![n as f32, 1.0]), vec![(N, Value::Int(n))])
}

/// The id that a row says it has.
fn id_of(kind: IdType, row: &ResultRow) -> DocumentId {
    let text = DocumentId::text_of(kind, row.key, row.id.clone()).unwrap();
    let id = DocumentId::from_text(kind, &text).unwrap();
    assert_eq!(id.key(), row.key);
    id
}

/// All pages of this size.
async fn pages(engine: &Engine, database: &Database, filter: Option<&Filter>, size: u32) -> Vec<DocumentId> {
    let kind = database.schema.id;
    let (mut all, mut last): (Vec<DocumentId>, Option<ResultRow>) = (Vec::new(), None);
    loop {
        let request = PageRequest {
            namespace: database.view(),
            filter: filter.cloned(),
            after: last.as_ref().filter(|_| kind != IdType::Text).map(|row| row.key),
            after_text: last.and_then(|row| row.id),
            rows: size,
            include_vector: false,
            include_attributes: Vec::new(),
        };
        let rows = engine.page(request, &mut database.provider()).await.unwrap().0;
        all.extend(rows.iter().map(|row| id_of(kind, row)));
        if rows.len() < size as usize {
            return all;
        }
        last = rows.last().cloned();
    }
}

async fn check(engine: &Engine, database: &Database, truth: &BTreeMap<DocumentId, i64>, numbers: u64, what: &str) {
    let kind = database.schema.id;
    for (bound, size) in [(100, 1000), (100, 7), (40, 30), (2, 5), (0, 5)] {
        let below = json!({"field": "n", "op": "lt", "value": bound});
        let filter = (bound < 100).then(|| Filter::parse(&database.schema, &below).unwrap());
        let expected: Vec<DocumentId> = truth.iter().filter(|(_, n)| **n < bound).map(|(id, _)| id.clone()).collect();
        assert_eq!(pages(engine, database, filter.as_ref(), size).await, expected, "{what}, below {bound}, by {size}");
    }
    let all: Vec<DocumentId> = (0..numbers).map(|number| id(kind, number)).collect();
    let keys: Vec<Key> = all.iter().map(DocumentId::key).collect();
    let found = database.fetch(engine, &keys).await.unwrap();
    let found: Vec<(DocumentId, Vec<f32>)> =
        found.iter().map(|row| (id_of(kind, row), row.vector.clone().unwrap())).collect();
    let expected: Vec<(DocumentId, Vec<f32>)> =
        all.iter().filter_map(|id| truth.get(id).map(|n| (id.clone(), vec![*n as f32, 1.0]))).collect();
    assert_eq!(found, expected, "{what}");
    // Nothing is asked for but the ids.
    let mut query = database.query().and_vector(vec![0.0, 1.0]);
    query.top_k = 1_000;
    query.candidates = 1_000;
    let mut near: Vec<DocumentId> =
        database.run(engine, query).await.unwrap().iter().map(|row| id_of(kind, row)).collect();
    near.sort();
    assert_eq!(near, truth.keys().cloned().collect::<Vec<_>>(), "{what}");
    let filters = vec![Filter::parse(&database.schema, &json!({"field": "n", "op": "lt", "value": 40})).unwrap()];
    let request =
        CheckRequest { namespace: database.view(), keys: keys.iter().map(|key| (*key, 0)).collect(), filters };
    let states = engine.check(request, &mut database.provider()).await.unwrap();
    for (id, state) in all.iter().zip(states) {
        let n = truth.get(id);
        assert_eq!((state.order.is_some(), state.matches), (n.is_some(), n.is_some_and(|n| *n < 40)), "{what}, {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_found_by_ids_of_every_type_and_read_in_their_order() {
    const NUMBERS: u64 = 160;
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Database::new(directory.path(), schema(kind));
        let running = engine(directory.path()).await;
        let mut random = Random::new(kind as u64 + 1);
        let mut truth: BTreeMap<DocumentId, i64> = BTreeMap::new();
        let mut seq = 0;
        for round in 0..5 {
            for _ in 0..90 {
                seq += 1;
                let order = EntryOrder { seq, xid: 5 };
                let id = id(kind, random.below(NUMBERS));
                let n = random.below(100) as i64;
                match random.below(10) {
                    0..2 => {
                        database.delete(id.key(), order);
                        truth.remove(&id);
                    }
                    2..4 => {
                        let set = vec![(N, Value::Int(n))];
                        let patch = Patch { vector: Some(Some(vec![n as f32, 1.0])), set, ..Patch::default() };
                        database.wal.push(WalRow::patch(id.key(), order, &patch, 0));
                        truth.entry(id).and_modify(|old| *old = n);
                    }
                    _ => {
                        database.upsert(id.key(), order, document(&id, n));
                        truth.insert(id, n);
                    }
                }
            }
            check(&running, &database, &truth, NUMBERS, &format!("{kind:?}, round {round}, buffered")).await;
            if round < 4 {
                database.flush(&running).await.unwrap();
                check(&running, &database, &truth, NUMBERS, &format!("{kind:?}, round {round}, flushed")).await;
            }
        }
        // Nothing in memory: what was written is read.
        let cold = engine(directory.path()).await;
        check(&cold, &database, &truth, NUMBERS, &format!("{kind:?}, opened anew")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_large_segment_walks_the_ids_and_passes_what_is_dead() {
    // More rows than a page has, so that they are not sorted one by one; several blocks of wide keys.
    const ROWS: u64 = 12_000;
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Database::new(directory.path(), schema(kind));
        let running = engine(directory.path()).await;
        let mut truth: BTreeMap<DocumentId, i64> = BTreeMap::new();
        for number in 0..ROWS {
            let id = id(kind, number);
            let n = number as i64 % 100;
            let document = Document::new(&id, None, vec![(N, Value::Int(n))]);
            database.upsert(id.key(), EntryOrder { seq: 1, xid: 5 }, document);
            truth.insert(id, n);
        }
        assert_eq!(truth.len() as u64, ROWS);
        database.flush(&running).await.unwrap();
        for number in (0..ROWS).step_by(10) {
            let id = id(kind, number);
            database.delete(id.key(), EntryOrder { seq: 2, xid: 5 });
            truth.remove(&id);
        }
        let running = engine(directory.path()).await;
        let expected: Vec<DocumentId> = truth.keys().cloned().collect();
        assert_eq!(pages(&running, &database, None, 2_999).await, expected, "{kind:?}");
        database.flush(&running).await.unwrap();
        assert_eq!(pages(&running, &database, None, 10_000).await, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn a_text_id_can_be_filtered_and_is_not_returned_as_an_attribute() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema(IdType::Text));
    let running = engine(directory.path()).await;
    for (seq, text) in ["a/1", "a/2", "b/1"].into_iter().enumerate() {
        let id = DocumentId::Text(text.to_string());
        database.upsert(id.key(), EntryOrder { seq: seq as u64 + 1, xid: 5 }, document(&id, 1));
        if text == "a/2" {
            database.flush(&running).await.unwrap();
        }
    }
    let filter = json!({"field": "id", "op": "in", "value": ["a/1", "b/1"]});
    let filter = Filter::parse(&database.schema, &filter).unwrap();
    let mut query = database.query().and_vector(vec![0.0, 1.0]);
    query.filter = Some(filter);
    query.include_attributes = database.schema.own_attributes().map(|attribute| attribute.id).collect();
    let rows = database.run(&running, query).await.unwrap();
    let mut found: Vec<_> = rows.into_iter().map(|row| (row.id.unwrap(), row.attributes.unwrap())).collect();
    found.sort();
    assert_eq!(found, [("a/1".to_string(), r#"{"n":1}"#.to_string()), ("b/1".to_string(), r#"{"n":1}"#.to_string())]);
    assert!(database.schema.by_id(TEXT_ID).is_some_and(|attribute| attribute.is_hidden()));
}

#[tokio::test]
async fn a_page_that_begins_after_an_id_of_another_type_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    for (kind, after, after_text) in [
        (IdType::Text, Some(1), None),
        (IdType::Int, None, Some("a".to_string())),
        (IdType::Uuid, None, Some("a".to_string())),
    ] {
        let database = Database::new(directory.path(), schema(kind));
        let request = PageRequest {
            namespace: database.view(),
            filter: None,
            after,
            after_text,
            rows: 1,
            include_vector: false,
            include_attributes: Vec::new(),
        };
        let error = running.page(request, &mut database.provider()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal, "{kind:?}");
    }
}
