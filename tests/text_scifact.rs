//! Relevance on SciFact (BEIR): the text arm against its reference figure.
#![allow(clippy::unwrap_used)] // the fixture is test code outside of #[test] functions
#![cfg(feature = "engine")]

use crate::text_fixture;

use elacsym::document::{Document, Value};
use elacsym::schema::NamespaceSchema;
use elacsym::text::builder;
use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;
use text_fixture::{Spread, open, parse};

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("ELACSYM_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let scifact = root.join("scifact");
    scifact.join("corpus.jsonl.gz").exists().then_some(scifact)
}

fn lines(path: &Path) -> Vec<Json> {
    let reader = BufReader::new(GzDecoder::new(File::open(path).unwrap()));
    reader.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

struct SciFact {
    /// (id, title, text)
    corpus: Vec<[String; 3]>,
    queries: Vec<(String, String)>,
    relevant: HashMap<String, Vec<String>>,
}

impl SciFact {
    fn load(path: &Path) -> Self {
        let text = |json: &Json, key: &str| json[key].as_str().unwrap().to_string();
        let corpus = lines(&path.join("corpus.jsonl.gz"));
        let corpus = corpus.iter().map(|json| ["_id", "title", "text"].map(|key| text(json, key))).collect();
        let queries = lines(&path.join("queries.jsonl.gz"));
        let queries = queries.iter().map(|json| (text(json, "_id"), text(json, "text"))).collect();
        let mut relevant: HashMap<String, Vec<String>> = HashMap::new();
        for line in std::fs::read_to_string(path.join("qrels.tsv")).unwrap().lines().skip(1) {
            let [query, document, _] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            relevant.entry(query.to_string()).or_default().push(document.to_string());
        }
        Self { corpus, queries, relevant }
    }

    fn ndcg_at_10(&self, spread: &Spread, schema: &NamespaceSchema, fields: &[(&str, f32)]) -> f64 {
        let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
        let judged = |(id, text): &(String, String)| {
            let relevant = &self.relevant[id];
            let rows = spread.search(&parse(schema, text, fields), 10);
            let found = rows.iter().enumerate().filter(|(_, (row, _))| relevant.contains(&self.corpus[*row][0]));
            let ideal: f64 = (0..relevant.len().min(10)).map(gain).sum();
            found.map(|(rank, _)| gain(rank)).sum::<f64>() / ideal
        };
        self.queries.iter().map(judged).sum::<f64>() / self.queries.len() as f64
    }
}

#[test]
fn relevance_on_scifact_is_that_of_the_reference() {
    let Some(path) = data() else {
        println!("skipped: no SciFact in ELACSYM_SHARED_DATA or ../shared/data");
        return;
    };
    let scifact = SciFact::load(&path);

    let one = NamespaceSchema::parse(&json!({"attributes": {"all": {"type": "string", "full_text": true}}})).unwrap();
    let document = |[_, title, text]: &[String; 3]| Document {
        vector: None,
        attributes: vec![(0, Value::String(format!("{title} {text}")))],
    };
    let documents: Vec<Document> = scifact.corpus.iter().map(document).collect();
    let started = Instant::now();
    let bundle = builder::build(&one, &documents).unwrap();
    let built = started.elapsed();
    let bytes: usize = bundle.files.iter().map(|(_, bytes)| bytes.len()).sum();
    let sizes: Vec<String> = bundle.files.iter().map(|(name, bytes)| format!("{name} {}", bytes.len())).collect();
    println!(
        "one field: {} rows built in {built:?}, {bytes} bytes ({}), hotcache {}",
        documents.len(),
        sizes.join(", "),
        bundle.hotcache.len()
    );
    let (segment, counts) = open(&one, &bundle);
    let spread = Spread { segments: vec![(0, segment)], buffer: Vec::new() };
    let started = Instant::now();
    let whole = scifact.ndcg_at_10(&spread, &one, &[("all", 1.0)]);
    println!(
        "one field: nDCG@10 {whole:.4}, {:?} a query, {} reads, {} bytes read in all",
        started.elapsed() / scifact.queries.len() as u32,
        counts.reads(),
        counts.bytes()
    );
    assert!(whole >= 0.68, "nDCG@10 {whole}");
    assert!((whole - 0.6858).abs() < 0.01, "nDCG@10 {whole}, reference 0.6858");
    let split = Spread::new(&one, &documents, &[2_000, 500, 2_000]);
    assert_eq!(scifact.ndcg_at_10(&split, &one, &[("all", 1.0)]), whole);

    let two = NamespaceSchema::parse(&json!({"attributes": {
        "text": {"type": "string", "full_text": true}, "title": {"type": "string", "full_text": true}}}))
    .unwrap();
    let document = |[_, title, text]: &[String; 3]| Document {
        vector: None,
        attributes: vec![(0, Value::String(text.clone())), (1, Value::String(title.clone()))],
    };
    assert_eq!(two.require("title").unwrap().id, 1);
    let documents: Vec<Document> = scifact.corpus.iter().map(document).collect();
    let spread = Spread::new(&two, &documents, &[5_000]);
    for weight in [0.0, 0.25, 0.5, 1.0, 2.0] {
        let ndcg = scifact.ndcg_at_10(&spread, &two, &[("title", weight), ("text", 1.0)]);
        println!("two fields, title x {weight}: nDCG@10 {ndcg:.4}");
        assert!(ndcg > 0.6);
    }
}
