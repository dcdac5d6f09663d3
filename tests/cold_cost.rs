//! What a query costs while nothing is cached: sequential round trips, requests and bytes, counted, not timed.
//!
//! `ELACSYM_LONG=1`: 500,000 rows instead of 50,000. `ELACSYM_COLD_DIR`: keeps the segments there for the next run.

#![allow(clippy::unwrap_used)]

use crate::{engine_support, vector_segment};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use elacsym::config::EngineSettings;
use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::env::Env;
use elacsym::ids::{EntryId, EntryOrder, Key};
use elacsym::ipc::message::{QueryRequest, TextQuery};
use elacsym::schema::NamespaceSchema;
use elacsym::segment::{Place, WriteOptions, write_segment};
use elacsym::segment_info::SegmentInfo;
use elacsym::storage::{FaultStore, ObjectStore, StoreRegistry};
use elacsym::vector::Metric;
use elacsym::vector::distance::distances;
use engine_support::{Database, Published, settings};
use serde_json::json;
use vector_segment::{Sequence, synthetic};

const DIM: usize = 384;
const QUERIES: usize = 20;
/// Distinct words; the chance of a word falls with its rank.
const WORDS: f64 = 100_000.0;
/// Of every request, where time is measured.
const LATENCY: Duration = Duration::from_millis(60);
/// Longer than it takes to compute what to read next, also on a busy machine.
const QUIET: Duration = Duration::from_millis(200);
/// How hard vector queries try, the least first.
const EFFORTS: [f32; 6] = [0.25, 0.35, 0.4, 0.5, 0.7, 1.0];
/// Requests and bytes of a vector query of one segment, on average, at the least effort that has a recall of 0.95.
const VECTOR: (f64, f64) = (64.0, 2_500_000.0);
/// Of a query of three words, on average.
const TEXT: (f64, f64) = (24.0, 1_500_000.0);

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": DIM, "vector_metric": "cosine", "attributes": {
        "body": {"type": "string", "full_text": true},
        "title": {"type": "string"},
    }}))
    .unwrap()
}

/// The word of a rank: letters that say nothing of the rank, so that frequent words are all over the dictionary.
fn word(rank: u64) -> String {
    let mut state = Sequence(rank.wrapping_mul(0x9e37_79b9));
    let length = 4 + state.below(6);
    (0..length).map(|_| char::from(b'a' + state.below(26) as u8)).collect()
}

/// A rank between `from` and [`WORDS`], by Zipf's law.
fn rank(random: &mut Sequence, from: f64, to: f64) -> u64 {
    (from.ln() + f64::from(random.uniform()) * (to / from).ln()).exp() as u64
}

fn document(key: usize, vector: &[f32]) -> Document {
    let mut random = Sequence(key as u64);
    // Lengths as texts have them: most short, some long.
    let length = (8.0 + 72.0 * random.uniform() * random.uniform()) as usize;
    let body: Vec<String> = (0..length).map(|_| word(rank(&mut random, 1.0, WORDS))).collect();
    let title = body[..5].join(" ");
    let attributes = vec![(0, Value::String(body.join(" "))), (1, Value::String(title))];
    Document { vector: Some(vector.to_vec()), attributes }
}

struct Corpus {
    vectors: Vec<f32>,
    queries: Vec<(Vec<f32>, String)>,
    /// Keys of the nearest ten of each query.
    truth: Vec<Vec<Key>>,
}

impl Corpus {
    fn new(rows: usize) -> Self {
        let (vectors, queries) = synthetic(rows, QUERIES, DIM, 7);
        let mut random = Sequence(99);
        // Words that tell something: neither in every document nor nowhere.
        let text = |_| (0..3).map(|_| word(rank(&mut random, 30.0, 20_000.0))).collect::<Vec<_>>().join(" ");
        let texts: Vec<String> = (0..QUERIES).map(text).collect();
        let queries = queries.chunks_exact(DIM).map(<[f32]>::to_vec).zip(texts).collect();
        let mut corpus = Self { vectors, queries, truth: Vec::new() };
        corpus.truth = corpus.truth();
        corpus
    }

    /// The segments of all rows, written if they are not there from a former run.
    async fn segments(&self, root: &Path, count: usize) -> Vec<SegmentInfo> {
        let rows = self.vectors.len() / DIM;
        let catalog = root.join(format!("catalog-{rows}-{count}.json"));
        if let Ok(known) = std::fs::read(&catalog) {
            return serde_json::from_slice(&known).unwrap();
        }
        let root_url = format!("file://{}", root.display());
        let mut infos = Vec::new();
        for number in 0..count {
            // Every segment has rows of all topics, as flushes have.
            let keys = (0..rows).filter(|key| key % count == number);
            let entries = keys.map(|key| {
                let id = EntryId { key: key as Key, order: EntryOrder { seq: 1, xid: 1 } };
                (id, document(key, &self.vectors[key * DIM..(key + 1) * DIM]))
            });
            let id = format!("{rows:010}{count:08}{number:08}");
            let place = Place { path: format!("p/{id}"), id, root: root_url.clone() };
            let written =
                write_segment(&schema(), entries.collect(), Vec::new(), &WriteOptions { threads: 2 }, place).unwrap();
            for (key, bytes) in
                [(written.info.index_key(), written.index), (written.info.parquet_key(), written.parquet.unwrap())]
            {
                let path = root.join(key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            infos.push(written.info);
        }
        std::fs::write(catalog, serde_json::to_vec(&infos).unwrap()).unwrap();
        infos
    }

    fn truth(&self) -> Vec<Vec<Key>> {
        let nearest = |(query, _): &(Vec<f32>, String)| {
            let all = distances(Metric::Cosine, query, &self.vectors);
            let mut all: Vec<(f32, Key)> = all.into_iter().zip(0..).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            all[..10].iter().map(|(_, key)| *key).collect()
        };
        self.queries.iter().map(nearest).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Arms {
    Vector,
    Text,
    Hybrid,
}

/// What a kind of query is.
#[derive(Debug, Clone, Copy)]
struct Kind {
    arms: Arms,
    effort: f32,
    /// With an attribute of the results.
    values: bool,
}

/// What queries of one kind cost: the worst of them, and the mean.
#[derive(Debug, Default)]
struct Cost {
    rounds: u64,
    requests: u64,
    bytes: u64,
    mean_requests: f64,
    mean_bytes: f64,
    reranked: u64,
    lists: u64,
    recall: f64,
}

fn within(cost: &Cost, (requests, bytes): (f64, f64)) -> bool {
    cost.mean_requests <= requests && cost.mean_bytes <= bytes
}

/// An engine that has nothing cached, over a store that counts as remote.
async fn cold(root: &Path) -> (Engine, Arc<FaultStore>) {
    let url = format!("file://{}", root.display());
    let local = StoreRegistry::new(settings(root).storage, Env::system()).get(&url).await.unwrap();
    let store = Arc::new(FaultStore::remote(local));
    let handed = store.clone();
    let decorate = Box::new(move |_: Arc<dyn ObjectStore>| handed.clone() as Arc<dyn ObjectStore>);
    let stores = StoreRegistry::decorated(settings(root).storage, Env::system(), decorate);
    let settings = EngineSettings { cache_memory: 256 << 20, ..settings(root) };
    (Engine::with_stores(settings, Env::system(), stores).await.unwrap(), store)
}

fn request(database: &Database, kind: Kind, (vector, text): &(Vec<f32>, String)) -> QueryRequest {
    let mut request = QueryRequest { effort: kind.effort, candidates: 10, ..database.query() };
    if kind.values {
        request.include_attributes = vec![1];
    }
    if kind.arms != Arms::Text {
        request = request.and_vector(vector.clone());
    }
    if kind.arms != Arms::Vector {
        request = request.and_text(TextQuery::of_attribute(0, text.clone()));
    }
    if kind.arms == Arms::Hybrid {
        request.candidates = 100;
    }
    request
}

fn database(root: &Path, infos: &[SegmentInfo]) -> Database {
    let published =
        |info: &SegmentInfo| Published { info: info.clone(), version: 0, delete_vector: Vec::new(), horizon: 0 };
    let mut database = Database::new(root, schema());
    database.segments = infos.iter().map(published).collect();
    database
}

/// Counts, with every wave of requests held together.
async fn measure(corpus: &Corpus, queries: usize, root: &Path, infos: &[SegmentInfo], kind: Kind) -> Cost {
    let database = database(root, infos);
    let mut cost = Cost::default();
    let mut found = 0;
    for (query, truth) in corpus.queries.iter().zip(&corpus.truth).take(queries) {
        let (mut rounds, mut last) = (u64::MAX, None);
        // A machine that is busy for longer than QUIET makes two waves of one, never one of two.
        for quiet in [QUIET, 10 * QUIET] {
            let (engine, store) = cold(root).await;
            store.hold(quiet);
            let request = request(&database, kind, query);
            let (rows, stats) = engine.query(request, &mut database.provider()).await.unwrap();
            assert_eq!(rows.len(), 10);
            assert_eq!(stats.object_requests, store.requests(), "every request is counted");
            rounds = rounds.min(store.rounds());
            last = Some((rows, stats, store));
            if rounds <= 3 {
                break;
            }
        }
        let (rows, stats, store) = last.unwrap();
        found += rows.iter().filter(|row| truth.contains(&row.key)).count();
        if std::env::var_os("ELACSYM_COLD_TRACE").is_some() {
            for (at, (key, range)) in store.ranges().iter().enumerate() {
                println!("  {at:3} {key} {} + {}", range.start, range.end - range.start);
            }
        }
        cost.rounds = cost.rounds.max(rounds);
        cost.requests = cost.requests.max(stats.object_requests);
        cost.bytes = cost.bytes.max(stats.object_bytes);
        cost.mean_requests += stats.object_requests as f64 / queries as f64;
        cost.mean_bytes += stats.object_bytes as f64 / queries as f64;
        cost.reranked = cost.reranked.max(stats.rows_reranked);
        cost.lists = cost.lists.max(stats.lists_probed);
    }
    cost.recall = found as f64 / (10 * queries) as f64;
    println!("{} segments, {kind:?}: {cost:?}", infos.len());
    cost
}

/// Median time of a cold query while every request takes [`LATENCY`], and of the same queries again.
async fn times(
    corpus: &Corpus,
    queries: usize,
    root: &Path,
    infos: &[SegmentInfo],
    kind: Kind,
) -> (Duration, Duration) {
    let database = database(root, infos);
    let (mut colds, mut warms) = (Vec::new(), Vec::new());
    for query in corpus.queries.iter().take(queries) {
        let (engine, store) = cold(root).await;
        store.set_latency(LATENCY);
        for times in [&mut colds, &mut warms] {
            let started = Instant::now();
            engine.query(request(&database, kind, query), &mut database.provider()).await.unwrap();
            times.push(started.elapsed());
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (cold, warm) = (median(colds), median(warms));
    println!("{} segments, {kind:?}: cold {cold:?}, then {warm:?}", infos.len());
    (cold, warm)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_query_takes_three_round_trips_whatever_the_number_of_segments() {
    let long = std::env::var_os("ELACSYM_LONG").is_some();
    let (rows, queries) = if long { (500_000, QUERIES) } else { (50_000, 4) };
    let corpus = Corpus::new(rows);
    let temporary = tempfile::tempdir().unwrap();
    let root = std::env::var_os("ELACSYM_COLD_DIR").map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    let kind = |arms, effort| Kind { arms, effort, values: false };
    for count in [1, 8] {
        let infos = corpus.segments(&root, count).await;
        let tails: u64 = infos.iter().map(|info| info.tail_bytes).sum();
        println!("{rows} rows in {count} segments, heads {} KiB", tails >> 10);
        for arms in [Arms::Vector, Arms::Text, Arms::Hybrid] {
            let cost = measure(&corpus, queries, &root, &infos, kind(arms, 1.0)).await;
            assert!(cost.rounds <= 3, "{arms:?} in {count} segments: {cost:?}");
            if arms == Arms::Vector {
                assert!(cost.recall >= 0.95, "{cost:?}");
            }
            if count == 1 && arms == Arms::Text {
                assert!(within(&cost, TEXT), "{cost:?}");
            }
        }
        let mut enough = None;
        for effort in EFFORTS {
            let cost = measure(&corpus, queries, &root, &infos, kind(Arms::Vector, effort)).await;
            assert!(cost.rounds <= 3, "{cost:?}");
            if cost.recall >= 0.95 && enough.is_none() {
                enough = Some(cost);
                if !long {
                    break;
                }
            }
        }
        let enough = enough.unwrap();
        if count == 1 {
            assert!(within(&enough, VECTOR), "{enough:?}");
        }
        for arms in [Arms::Vector, Arms::Text] {
            let cost = measure(&corpus, queries, &root, &infos, Kind { arms, effort: 1.0, values: true }).await;
            assert!(cost.rounds <= 4, "{arms:?} with values in {count} segments: {cost:?}");
        }
        let (cold, _) = times(&corpus, queries, &root, &infos, kind(Arms::Hybrid, 1.0)).await;
        // Of an idle machine; a busy one says nothing.
        if long && count == 1 {
            assert!(cold <= Duration::from_millis(350), "{cold:?}");
        }
    }
}
