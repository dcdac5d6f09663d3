//! Counts and facets over random views (buffer, segments, delete vectors, keys written again) against the rows that are alive.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::sync::Arc;

use elacsym::aggregate::{Aggregation, Facet, matching};
use elacsym::document::{Document, Value};
use elacsym::engine::{Aggregated, Engine};
use elacsym::error::{ErrorKind, Result};
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Uuid};
use elacsym::ipc::message::AggregateRequest;
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Model, Random, engine};
use serde_json::{Value as Json, json};

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 2, "attributes": {
        "at": "timestamp", "body": {"type": "string", "full_text": {"stemming": false, "remove_stopwords": false}},
        "kind": "string", "note": {"type": "string", "indexed": false}, "price": "float", "ref": "uuid",
        "sizes": "array_int", "tags": "array_string", "year": "int"}}))
    .unwrap()
}

fn document(random: &mut Random) -> Document {
    let mut attributes = Vec::new();
    let below = |random: &mut Random, n: u64| random.below(n) as i64;
    let word = |random: &mut Random| format!("w{}", random.below(6));
    if random.chance(80) {
        attributes.push((0, Value::Timestamp(below(random, 1000) * 86_400_000_000)));
    }
    if random.chance(80) {
        let words: Vec<String> = (0..random.below(4)).map(|_| word(random)).collect();
        attributes.push((1, Value::String(words.join(" "))));
    }
    if random.chance(80) {
        attributes.push((2, Value::String(word(random))));
    }
    if random.chance(50) {
        attributes.push((3, Value::String(word(random))));
    }
    if random.chance(80) {
        attributes.push((4, Value::Float(f64::from(random.unit()) * 100.0)));
    }
    if random.chance(50) {
        attributes.push((5, Value::Uuid(Uuid([random.below(3) as u8; 16]))));
    }
    if random.chance(80) {
        attributes.push((6, Value::ArrayInt((0..random.below(4)).map(|_| below(random, 4)).collect())));
    }
    if random.chance(80) {
        attributes.push((7, Value::ArrayString((0..random.below(4)).map(|_| word(random)).collect())));
    }
    if random.chance(80) {
        attributes.push((8, Value::Int(2000 + below(random, 30))));
    }
    let vector = random.chance(70).then(|| vec![random.unit(), 1.0]);
    Document { vector, attributes }
}

fn facets() -> Json {
    json!({
        "kinds": {"type": "terms", "field": "kind", "limit": 3}, "notes": {"type": "terms", "field": "note"},
        "refs": {"type": "terms", "field": "ref"}, "sizes": {"type": "terms", "field": "sizes"},
        "tags": {"type": "terms", "field": "tags", "limit": 2}, "price": {"type": "stats", "field": "price"},
        "year": {"type": "stats", "field": "year"}, "at": {"type": "stats", "field": "at"},
        "months": {"type": "histogram", "field": "at", "interval": "month"},
        "prices": {"type": "histogram", "field": "price", "interval": 7.5},
        "years": {"type": "range", "field": "year", "ranges": [{"to": 2010}, {"from": 2010}]}})
}

fn filters() -> Vec<Option<Filter>> {
    let parse = |json: Json| Some(Filter::parse(&schema(), &json).unwrap());
    vec![
        None,
        parse(json!({"field": "year", "op": "gte", "value": 2015})),
        parse(json!({"field": "kind", "op": "is_null"})),
        parse(json!({"type": "or", "conditions": [
            {"field": "sizes", "op": "contains", "value": 2}, {"field": "at", "op": "lt", "value": "1971-01-01"}]})),
        parse(json!({"field": "year", "op": "gt", "value": 3000})),
    ]
}

async fn aggregate(
    database: &Database,
    engine: &Engine,
    filter: &Option<Filter>,
    facets: &[Facet],
) -> Result<Aggregated> {
    let request = AggregateRequest { namespace: database.view(), filter: filter.clone(), facets: facets.to_vec() };
    engine.aggregate(request, &mut database.provider()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_facets_are_those_of_the_rows_that_are_alive() {
    let facets: Arc<[Facet]> = Facet::parse_all(&schema(), &facets()).unwrap().into();
    for seed in 1..9 {
        let mut random = Random::new(seed);
        let directory = tempfile::tempdir().unwrap();
        let running = engine(directory.path()).await;
        let mut database = Database::new(directory.path(), schema());
        let mut model = Model::default();
        for step in 0..400_u64 {
            let key = i128::from(random.below(150));
            let order = EntryOrder { seq: 100 + step, xid: 1 };
            if random.chance(85) {
                let document = document(&mut random);
                database.upsert(key, order, document.clone());
                model.apply(key, order, Some(document));
            } else {
                database.delete(key, order);
                model.apply(key, order, None);
            }
            if matches!(step, 60 | 200) || random.chance(1) {
                database.flush(&running).await.unwrap();
                model.flush();
            }
            if step % 80 != 79 {
                continue;
            }
            for filter in filters() {
                let alive: Vec<&Document> = model.alive(&filter).map(|(_, document)| document).collect();
                let mut expected = Aggregation::new(facets.clone());
                alive.iter().for_each(|document| expected.add(document).unwrap());
                let found = aggregate(&database, &running, &filter, &facets).await.unwrap();
                assert_eq!(found.count, alive.len() as u64, "{filter:?}");
                assert_eq!(found.facets, expected.to_json().unwrap(), "{filter:?}");
                let count = aggregate(&database, &running, &filter, &[]).await.unwrap();
                assert_eq!((count.count, count.facets.as_str()), (alive.len() as u64, "{}"));
            }
            // A text: rows with one of the words, or with all that are required.
            for (query, all, needed) in [("w1 w2", false, 1), ("w1 w2", true, 2), ("+w1 +w2", false, 2)] {
                let filter = matching(None, Some((query, &[(1, 1.0)], all)));
                let with_words = |document: &&Document| match document.get(1) {
                    Some(Value::String(body)) => {
                        ["w1", "w2"].iter().filter(|word| body.split(' ').any(|held| held == **word)).count() >= needed
                    }
                    _ => false,
                };
                let expected = model.alive(&None).map(|(_, document)| document).filter(with_words).count();
                let found = aggregate(&database, &running, &filter, &[]).await.unwrap();
                assert_eq!(found.count, expected as u64, "{query}, all {all}");
            }
        }
        assert!(database.segments.len() > 1, "seed {seed} tests several segments");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_older_than_an_attribute_have_none_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let old = NamespaceSchema::parse(&json!({"attributes": {"a": "int"}})).unwrap();
    let mut database = Database::new(directory.path(), old);
    for key in 0..10 {
        let document = Document { vector: None, attributes: vec![(0, Value::Int(key))] };
        database.upsert(key.into(), EntryOrder { seq: 1, xid: 1 }, document);
    }
    database.flush(&running).await.unwrap();
    database.schema = NamespaceSchema::parse(&json!({"attributes": {"a": "int", "b": "timestamp"}})).unwrap();
    let document = Document { vector: None, attributes: vec![(1, Value::Timestamp(0))] };
    database.upsert(99, EntryOrder { seq: 2, xid: 1 }, document);
    let facets = Facet::parse_all(&database.schema, &json!({"b": {"type": "terms", "field": "b"}})).unwrap();
    let found = aggregate(&database, &running, &None, &facets).await.unwrap();
    assert_eq!(
        (found.count, serde_json::from_str::<Json>(&found.facets).unwrap()),
        (
            11,
            json!({"b": {"type": "terms", "buckets": [{"value": "1970-01-01T00:00:00Z", "count": 1}], "other": 0, "missing": 10}})
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_buckets_are_an_error_in_every_part_of_a_view() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let schema = NamespaceSchema::parse(&json!({"attributes": {"a": "int"}})).unwrap();
    let facets = Facet::parse_all(&schema, &json!({"a": {"type": "histogram", "field": "a", "interval": 1}})).unwrap();
    let mut database = Database::new(directory.path(), schema);
    for key in 0..10_001 {
        let document = Document { vector: None, attributes: vec![(0, Value::Int(key))] };
        database.upsert(key.into(), EntryOrder { seq: 1, xid: 1 }, document);
    }
    assert_eq!(aggregate(&database, &running, &None, &facets).await.unwrap_err().kind, ErrorKind::Exhausted);
    database.flush(&running).await.unwrap();
    assert_eq!(aggregate(&database, &running, &None, &facets).await.unwrap_err().kind, ErrorKind::Exhausted);
    let few = Some(Filter::parse(&database.schema, &json!({"field": "a", "op": "gte", "value": 1})).unwrap());
    assert_eq!(aggregate(&database, &running, &few, &facets).await.unwrap().count, 10_000);
}
