//! Relevance end to end on SciFact: vector, text and hybrid, the same before a flush, after it, and after a restart.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{QueryRequest, RequestStats, ResultRow, TextQuery};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, engine};
use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};

fn data() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("ELACSYM_SHARED_DATA").map(PathBuf::from);
    let roots = [given, Some(here.join("../shared/data")), Some(here.join("../../shared/data"))];
    let scifact = roots.into_iter().flatten().map(|root| root.join("scifact"));
    scifact.into_iter().find(|path| path.join("corpus_emb.fvecs").exists())
}

struct SciFact {
    corpus: Vec<(String, Document)>,
    queries: Vec<(String, String, Vec<f32>)>,
    relevant: HashMap<String, Vec<String>>,
}

fn lines(path: &Path) -> Vec<Json> {
    let reader = BufReader::new(GzDecoder::new(File::open(path).unwrap()));
    reader.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

fn vectors(path: &Path) -> Vec<Vec<f32>> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let dim = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let row = |row: &[u8]| row[4..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    bytes.chunks_exact(4 + dim * 4).map(row).collect()
}

impl SciFact {
    fn load(path: &Path) -> Self {
        let text = |json: &Json, key: &str| json[key].as_str().unwrap().to_string();
        let document = |(json, vector): (&Json, Vec<f32>)| {
            let (title, body) = (text(json, "title"), text(json, "text"));
            let attributes = vec![(0, Value::String(format!("{title} {body}"))), (1, Value::String(title))];
            (text(json, "_id"), Document { vector: Some(vector), attributes })
        };
        let corpus = lines(&path.join("corpus.jsonl.gz"));
        let corpus = corpus.iter().zip(vectors(&path.join("corpus_emb.fvecs"))).map(document).collect();
        let queries = lines(&path.join("queries.jsonl.gz"));
        let queries = queries
            .iter()
            .zip(vectors(&path.join("queries_emb.fvecs")))
            .map(|(json, vector)| (text(json, "_id"), text(json, "text"), vector))
            .collect();
        let mut relevant: HashMap<String, Vec<String>> = HashMap::new();
        for line in std::fs::read_to_string(path.join("qrels.tsv")).unwrap().lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            relevant.entry(columns[0].to_string()).or_default().push(columns[1].to_string());
        }
        Self { corpus, queries, relevant }
    }

    fn ndcg_at_10(&self, rankings: &[Vec<ResultRow>]) -> f64 {
        let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
        let judged = |((id, _, _), rows): (&(String, String, Vec<f32>), &Vec<ResultRow>)| {
            let relevant = &self.relevant[id];
            let found = rows.iter().enumerate().filter(|(_, row)| relevant.contains(&self.corpus[row.key as usize].0));
            let ideal: f64 = (0..relevant.len().min(10)).map(gain).sum();
            found.map(|(rank, _)| gain(rank)).sum::<f64>() / ideal
        };
        self.queries.iter().zip(rankings).map(judged).sum::<f64>() / self.queries.len() as f64
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Arm {
    Vector,
    Text,
    Hybrid,
}

const ARMS: [Arm; 3] = [Arm::Vector, Arm::Text, Arm::Hybrid];

fn with_arms(mut request: QueryRequest, arm: Arm, text: &str, vector: &[f32]) -> QueryRequest {
    if arm != Arm::Text {
        request = request.and_vector(vector.to_vec());
    }
    if arm != Arm::Vector {
        request = request.and_text(TextQuery::of_attribute(0, text.to_string()));
    }
    request
}

async fn run(
    scifact: &SciFact,
    database: &Database,
    engine: &Engine,
    arm: Arm,
    effort: f32,
) -> (Vec<Vec<ResultRow>>, RequestStats) {
    let started = Instant::now();
    let (mut rankings, mut last) = (Vec::new(), RequestStats::default());
    for (_, text, vector) in &scifact.queries {
        let mut request = database.query();
        request.effort = effort;
        request.candidates = if arm == Arm::Hybrid { 100 } else { request.top_k };
        let request = with_arms(request, arm, text, vector);
        let (rows, stats) = engine.query(request, &mut database.provider()).await.unwrap();
        rankings.push(rows);
        last = stats;
    }
    let each = started.elapsed() / scifact.queries.len() as u32;
    println!("  {arm:?}, effort {effort}: nDCG@10 {:.4}, {each:?} a query", scifact.ndcg_at_10(&rankings));
    (rankings, last)
}

/// The same scores rank by rank, and the same keys except among equal scores at the end of the list.
fn assert_same(left: &[Vec<ResultRow>], right: &[Vec<ResultRow>], what: &str) {
    for (query, (left, right)) in left.iter().zip(right).enumerate() {
        let scores = |rows: &[ResultRow]| rows.iter().map(|r| r.score).collect::<Vec<_>>();
        assert_eq!(scores(left), scores(right), "{what}, query {query}");
        let last = left.last().map(|row| row.score);
        for (left, right) in left.iter().zip(right).filter(|(left, _)| Some(left.score) != last) {
            assert_eq!(left.key, right.key, "{what}, query {query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rankings_are_the_same_before_a_flush_after_it_and_after_a_restart() {
    let Some(path) = data() else {
        println!("skipped: no SciFact in ELACSYM_SHARED_DATA or ../shared/data");
        return;
    };
    let scifact = SciFact::load(&path);
    let schema = NamespaceSchema::parse(&json!({"vector_dim": 384, "attributes": {
        "body": {"type": "string", "full_text": true},
        "title": {"type": "string", "indexed": false},
    }}))
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let engine_1 = engine(directory.path()).await;
    let insert = |database: &mut Database, keys: std::ops::Range<usize>| {
        for key in keys {
            let order = EntryOrder { seq: key as u64 + 1, xid: 1 };
            database.upsert(key as Key, order, scifact.corpus[key].1.clone());
        }
    };
    let n = scifact.corpus.len();
    let mut one = Database::new(directory.path(), schema.clone());
    insert(&mut one, 0..n);
    println!("buffered:");
    let mut expected = Vec::new();
    for arm in ARMS {
        expected.push(run(&scifact, &one, &engine_1, arm, f32::INFINITY).await.0);
    }

    let started = Instant::now();
    let result = one.flush(&engine_1).await.unwrap();
    let info = result.segment.as_ref().unwrap();
    println!(
        "flush of {n} documents: {:?}, rows {} bytes, index {} bytes (tail {}), {}",
        started.elapsed(),
        info.parquet_bytes,
        info.index_bytes,
        info.tail_bytes,
        result.stats
    );
    let mut three = Database::new(directory.path(), schema);
    three.id.0[0] = 9;
    for part in [0..n / 3, n / 3..n / 2, n / 2..n] {
        insert(&mut three, part);
        three.flush(&engine_1).await.unwrap();
    }

    let engine_2 = engine(directory.path()).await;
    for (name, database, engine) in
        [("one segment", &one, &engine_1), ("three segments", &three, &engine_1), ("one, reopened", &one, &engine_2)]
    {
        println!("{name}:");
        for (arm, expected) in ARMS.into_iter().zip(&expected) {
            let (exact, _) = run(&scifact, database, engine, arm, f32::INFINITY).await;
            assert_same(&exact, expected, &format!("{name}, {arm:?}"));
        }
    }
    println!("one segment, default effort:");
    let floor = |arm| match arm {
        Arm::Vector => 0.640,
        Arm::Text => 0.680,
        Arm::Hybrid => 0.710,
    };
    for arm in ARMS {
        let (rankings, stats) = run(&scifact, &one, &engine_2, arm, 1.0).await;
        println!("  last query: {stats:?}");
        let figure = scifact.ndcg_at_10(&rankings);
        assert!(figure >= floor(arm), "{arm:?}: nDCG@10 {figure:.4} is below {}", floor(arm));
    }
    let figures: Json = serde_json::from_str(&engine_1.stats_json().await).unwrap();
    println!(
        "buffer cache {}, views {}, open segments {}",
        figures["buffer"], figures["views"], figures["open_segments"]
    );
    println!("cold, first query of a fresh engine, with attributes:");
    for (name, database) in [("one segment", &one), ("three segments", &three)] {
        for arm in ARMS {
            let fresh = engine(directory.path()).await;
            let (_, text, vector) = &scifact.queries[7];
            let mut request = database.query();
            request.effort = 1.0;
            request.include_attributes = vec![1];
            request.candidates = if arm == Arm::Hybrid { 100 } else { request.top_k };
            let request = with_arms(request, arm, text, vector);
            let (_, stats) = fresh.query(request, &mut database.provider()).await.unwrap();
            println!(
                "  {name}, {arm:?}: {} requests, {} KiB, {} pages, {} us",
                stats.object_requests,
                stats.object_bytes >> 10,
                stats.cache_misses,
                stats.engine_micros
            );
        }
    }
}
