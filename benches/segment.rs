//! A flush of 10,000 rows and searches of one warm segment, as the engine does them, without PostgreSQL. `ELACSYM_SEGMENT_ROWS`
//! (default 50,000) is the size of the segment that is searched. `cargo bench --bench segment`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/engine_support/mod.rs"]
mod engine_support;
#[path = "../tests/vector_segment/mod.rs"]
mod vector_segment;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use elacsym::document::{Document, Value};
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{QueryRequest, TextQuery};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, WalRow, engine};
use serde_json::json;
use tokio::runtime::Runtime;
use vector_segment::synthetic;

/// `elacsym.flush_rows` by default.
const FLUSH_ROWS: usize = 10_000;
const DIM: usize = 384;
const QUERIES: usize = 100;
const BODY_WORDS: u64 = 100;
const VOCABULARY: u64 = 20_000;

fn schema() -> NamespaceSchema {
    let plain = json!({"stemming": false, "remove_stopwords": false});
    let attributes = json!({"body": {"type": "string", "full_text": plain}, "bucket": {"type": "int"}});
    NamespaceSchema::parse(&json!({"vector_dim": DIM, "vector_metric": "cosine", "attributes": attributes})).unwrap()
}

/// Few words are frequent and most are rare: the cube of a uniform number.
fn word(random: &mut Random) -> String {
    let u = f64::from(random.unit());
    format!("w{}", (u * u * u * VOCABULARY as f64) as u64)
}

/// Rows with a vector, a text and a number below 1,000; and query vectors.
fn rows(count: usize) -> (Vec<WalRow>, Vec<Vec<f32>>) {
    let (vectors, queries) = synthetic(count, QUERIES, DIM, 7);
    let mut random = Random::new(7);
    let row = |(i, vector): (usize, &[f32])| {
        let body: Vec<String> = (0..BODY_WORDS).map(|_| word(&mut random)).collect();
        let attributes = vec![(0, Value::String(body.join(" "))), (1, Value::Int(random.below(1000) as i64))];
        let document = Document { vector: Some(vector.to_vec()), attributes };
        WalRow::upsert(i as Key, EntryOrder { seq: i as u64 + 1, xid: 1 }, &document)
    };
    let rows = vectors.chunks_exact(DIM).enumerate().map(row).collect();
    (rows, queries.chunks_exact(DIM).map(<[f32]>::to_vec).collect())
}

fn flush(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let engine = runtime.block_on(engine(directory.path()));
    let (rows, _) = rows(FLUSH_ROWS);
    let mut group = criterion.benchmark_group("segment");
    group.sample_size(10).measurement_time(Duration::from_secs(10)).throughput(Throughput::Elements(FLUSH_ROWS as u64));
    group.bench_function("flush 10,000 rows", |bencher| {
        let setup = || (Database::new(directory.path(), schema()), rows.clone());
        bencher.iter_batched(
            setup,
            |(mut database, rows)| runtime.block_on(database.bulk(&engine, rows)).unwrap(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    runtime.block_on(engine.close());
}

fn search(criterion: &mut Criterion) {
    let count = std::env::var("ELACSYM_SEGMENT_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(50_000);
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let engine = runtime.block_on(engine(directory.path()));
    let (rows, queries) = rows(count);
    let mut database = Database::new(directory.path(), schema());
    runtime.block_on(database.bulk(&engine, rows)).unwrap();
    let mut random = Random::new(11);
    let words: Vec<String> = (0..QUERIES).map(|_| [word(&mut random), word(&mut random)].join(" ")).collect();
    let below =
        |n: u64| Some(Filter::parse(&database.schema, &json!({"field": "bucket", "op": "lt", "value": n})).unwrap());
    // What is asked by query i: through the vector, the text, or both; at default effort.
    let request = |i: usize, vector: bool, text: bool, filter: &Option<Filter>| -> QueryRequest {
        let mut request = QueryRequest { effort: 1.0, filter: filter.clone(), ..database.query() };
        if vector {
            request = request.and_vector(queries[i].clone());
        }
        if text {
            request = request.and_text(TextQuery::of_attribute(0, words[i].clone()));
        }
        request
    };
    let cases = [
        ("vector", true, false, None),
        ("vector, filter of 10 %", true, false, below(100)),
        ("vector, filter of 1 %", true, false, below(10)),
        ("text of two words", false, true, None),
        ("vector and text", true, true, None),
    ];
    let mut group = criterion.benchmark_group(format!("segment of {count} rows"));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for (name, vector, text, filter) in &cases {
        let mut next = 0;
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                next = (next + 1) % QUERIES;
                let rows = runtime.block_on(database.run(&engine, request(next, *vector, *text, filter))).unwrap();
                assert_eq!(rows.len(), 10, "{name}");
                rows
            });
        });
    }
    group.finish();
    runtime.block_on(engine.close());
}

criterion_group!(benches, flush, search);
criterion_main!(benches);
