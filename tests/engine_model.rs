//! The engine against a naive model: random writes in random commit order, flushes at random moments, exact effort.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use elacsym::document::{Document, Value};
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{ResultRow, TextQuery};
use elacsym::schema::NamespaceSchema;
use elacsym::vector::Metric;
use engine_support::{Database, Model, Random, engine};
use serde_json::json;

const DIM: usize = 8;
const BODY: u16 = 0;

fn schema(metric: &str) -> NamespaceSchema {
    // Attribute names that collide with the columns `seq` and `id` must not matter.
    let plain = json!({"stemming": false, "remove_stopwords": false});
    NamespaceSchema::parse(&json!({"vector_dim": DIM, "vector_metric": metric, "attributes": {
        "body": {"type": "string", "full_text": plain},
        "flag": {"type": "bool"},
        "seq": {"type": "float"},
        "tag": {"type": "string"},
        "tags": {"type": "array_string"},
        "year": {"type": "int"},
    }}))
    .unwrap()
}

fn document(random: &mut Random) -> Document {
    let mut attributes = Vec::new();
    if random.chance(90) {
        let words: Vec<String> = (0..1 + random.below(12)).map(|_| format!("w{}", random.below(25))).collect();
        attributes.push((BODY, Value::String(words.join(" "))));
    }
    if random.chance(60) {
        attributes.push((1, Value::Bool(random.chance(50))));
    }
    if random.chance(60) {
        attributes.push((2, Value::Float(f64::from(random.unit()))));
    }
    if random.chance(60) {
        attributes.push((3, Value::String(format!("tag{}", random.below(4)))));
    }
    if random.chance(60) {
        attributes
            .push((4, Value::ArrayString((0..random.below(3)).map(|i| format!("t{}", i + random.below(3))).collect())));
    }
    if random.chance(60) {
        attributes.push((5, Value::Int(2000 + random.below(10) as i64)));
    }
    let vector = random.chance(85).then(|| (0..DIM).map(|_| random.unit() - 0.5).collect());
    Document { vector, attributes }
}

fn filter(random: &mut Random, schema: &NamespaceSchema) -> Option<Filter> {
    let conditions = [
        json!({"field": "year", "op": "gte", "value": 2000 + random.below(10)}),
        json!({"field": "year", "op": "ne", "value": 2003}),
        json!({"field": "tag", "op": "in", "value": ["tag1", "tag2"]}),
        json!({"field": "tag", "op": "prefix", "value": "tag"}),
        json!({"field": "flag", "op": "eq", "value": true}),
        json!({"field": "seq", "op": "lt", "value": random.unit()}),
        json!({"field": "tags", "op": "contains", "value": "t1"}),
        json!({"field": "tag", "op": "is_null"}),
        json!({"field": "year", "op": "eq", "value": 1900}),
    ];
    let mut pick = || conditions[random.below(conditions.len() as u64) as usize].clone();
    let (a, b) = (pick(), pick());
    let json = match random.below(5) {
        0 | 1 => return None,
        2 => a,
        3 => json!({"type": "and", "conditions": [a, b]}),
        _ => json!({"type": "or", "conditions": [a, {"type": "not", "conditions": [b]}]}),
    };
    Some(Filter::parse(schema, &json).unwrap())
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    match metric {
        Metric::Cosine => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::L2 => a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt(),
        Metric::Dot => -dot(a, b),
    }
}

fn words(document: &Document) -> Vec<&str> {
    match document.get(BODY) {
        Some(Value::String(text)) => text.split(' ').collect(),
        _ => Vec::new(),
    }
}

/// (key, score) best first.
fn bm25(model: &Model, filter: &Option<Filter>, query: &str) -> Vec<(Key, f64)> {
    let corpus = model.corpus();
    let n = corpus.len() as f64;
    let average = corpus.iter().map(|d| words(d).len()).sum::<usize>() as f64 / n;
    let mut scored: Vec<(Key, f64)> = model
        .alive(filter)
        .filter_map(|(key, document)| {
            let held = words(document);
            let mut score = 0.0;
            for term in query.split(' ') {
                let tf = held.iter().filter(|w| **w == term).count() as f64;
                if tf > 0.0 {
                    let df = corpus.iter().filter(|d| words(d).contains(&term)).count() as f64;
                    let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
                    score += idf * 2.2 * tf / (tf + 1.2 * (0.25 + 0.75 * held.len() as f64 / average));
                }
            }
            (score > 0.0).then_some((key, score))
        })
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored
}

fn nearest(model: &Model, filter: &Option<Filter>, metric: Metric, query: &[f32]) -> Vec<(Key, f64)> {
    let mut scored: Vec<(Key, f64)> = model
        .alive(filter)
        .filter_map(|(key, document)| document.vector.as_ref().map(|v| (key, distance(metric, query, v))))
        .collect();
    scored.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    scored
}

/// Same length, same numbers rank by rank, and each row has the number the model gives its key.
fn assert_ranking(
    rows: &[ResultRow],
    value: impl Fn(&ResultRow) -> f32,
    expected: &[(Key, f64)],
    k: usize,
    what: &str,
) {
    assert_eq!(rows.len(), expected.len().min(k), "INV-7: {what}");
    for (row, (_, of_rank)) in rows.iter().zip(expected) {
        let of_key = expected.iter().find(|(key, _)| *key == row.key);
        let of_key = of_key.unwrap_or_else(|| panic!("{what}: key {} should not be there", row.key)).1;
        for number in [*of_rank, of_key] {
            assert!((f64::from(value(row)) - number).abs() < 1e-4, "{what}: {row:?}, expected {number}");
        }
    }
}

async fn check(database: &Database, model: &Model, engine: &elacsym::engine::Engine, random: &mut Random, what: &str) {
    let metric = database.schema.vector.unwrap().metric;
    for _ in 0..3 {
        let filter = filter(random, &database.schema);
        let k = [1, 5, 20, 1000][random.below(4) as usize];
        let query: Vec<f32> = (0..DIM).map(|_| random.unit() - 0.5).collect();
        let text =
            (0..1 + random.below(3)).map(|i| format!("w{}", i * 8 + random.below(8))).collect::<Vec<_>>().join(" ");
        let by_vector = nearest(model, &filter, metric, &query);
        let by_text = bm25(model, &filter, &text);
        let text = TextQuery::of_attribute(BODY, text);

        let mut plain = database.query();
        (plain.top_k, plain.filter) = (k, filter.clone());
        let rows = database.run(engine, plain.clone().and_vector(query.clone())).await.unwrap();
        assert_ranking(&rows, |r| r.vector_distance.unwrap(), &by_vector, k, &format!("vector {filter:?}, {what}"));
        assert!(rows.iter().zip(1..).all(|(row, rank)| row.vector_rank == Some(rank)));

        let rows = database.run(engine, plain.clone().and_text(text.clone())).await.unwrap();
        assert_ranking(&rows, |r| r.text_score.unwrap(), &by_text, k, &format!("text {filter:?}, {what}"));

        let mut request = plain.and_vector(query).and_text(text);
        request.candidates = 1000;
        request.include_vector = true;
        request.include_attributes = database.schema.attributes.iter().map(|a| a.id).collect();
        let rows = database.run(engine, request).await.unwrap();
        let rank = |list: &[(Key, f64)], key: Key| list.iter().position(|(k, _)| *k == key).map(|i| i as u32 + 1);
        let mut fused: Vec<(Key, f64)> = Vec::new();
        for key in model.truth.keys() {
            let sum: f64 = [rank(&by_vector, *key), rank(&by_text, *key)]
                .iter()
                .flatten()
                .map(|r| 1.0 / (60.0 + f64::from(*r)))
                .sum();
            if sum > 0.0 {
                fused.push((*key, sum));
            }
        }
        fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        assert_ranking(&rows, |r| r.score, &fused, k, &format!("hybrid, {what}"));
        for row in &rows {
            assert_eq!(
                (row.vector_rank, row.text_rank),
                (rank(&by_vector, row.key), rank(&by_text, row.key)),
                "{what}"
            );
            assert_values(row, model.truth[&row.key].1.as_ref().unwrap(), &database.schema);
        }
    }
    let keys: Vec<Key> = (0..12).map(|_| random.below(70) as Key - 5).collect();
    let rows = database.fetch(engine, &keys).await.unwrap();
    let mut expected: Vec<Key> = Vec::new();
    for key in keys {
        if model.truth.get(&key).is_some_and(|(_, document)| document.is_some()) && !expected.contains(&key) {
            expected.push(key);
        }
    }
    assert_eq!(rows.iter().map(|r| r.key).collect::<Vec<_>>(), expected, "fetch, {what}");
    for row in &rows {
        assert_values(row, model.truth[&row.key].1.as_ref().unwrap(), &database.schema);
    }
}

fn assert_values(row: &ResultRow, document: &Document, schema: &NamespaceSchema) {
    assert_eq!(row.vector, document.vector, "vector of {}", row.key);
    let attributes = document.attributes_json(schema, None).to_string();
    assert_eq!(row.attributes.as_ref(), Some(&attributes), "attributes of {}", row.key);
}

/// INV-1, INV-3, INV-7: whatever the order of commits and flushes.
async fn scenario(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut database = Database::new(directory.path(), schema(["cosine", "l2", "dot"][(seed % 3) as usize]));
    let mut model = Model::default();
    let mut running = engine(directory.path()).await;
    // Written but not yet committed: becomes visible later, with the order it has now.
    let mut uncommitted: Vec<(Key, EntryOrder, Option<Document>)> = Vec::new();
    let mut seq = 0;
    for step in 0..60 {
        for _ in 0..random.below(12) {
            let key = random.below(60) as Key;
            // Equal seq of two transactions: xid decides.
            seq += random.below(2);
            let order = EntryOrder { seq, xid: 100 + step * 100 + random.below(1 << 40) };
            let document = random.chance(80).then(|| document(&mut random));
            uncommitted.push((key, order, document));
        }
        let mut waiting = Vec::new();
        for (key, order, document) in uncommitted {
            if random.chance(70) {
                model.apply(key, order, document.clone());
                match document {
                    Some(document) => database.upsert(key, order, document),
                    None => database.delete(key, order),
                }
            } else {
                waiting.push((key, order, document));
            }
        }
        uncommitted = waiting;
        if random.chance(50) {
            check(&database, &model, &running, &mut random, &format!("seed {seed}, step {step}, before flush")).await;
        }
        if random.chance(30) {
            database.flush(&running).await.unwrap();
            model.flush();
            check(&database, &model, &running, &mut random, &format!("seed {seed}, step {step}, after flush")).await;
        }
        if random.chance(10) {
            running = engine(directory.path()).await;
            check(&database, &model, &running, &mut random, &format!("seed {seed}, step {step}, after restart")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_3_random_writes_and_flushes_answer_like_the_naive_model() {
    let seeds = std::env::var("ENGINE_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(6);
    for seed in 1..=seeds {
        scenario(seed).await;
    }
}
