//! Index scans against a naive model: random views (buffer, segments, delete vectors, tombstones, keys used again), random
//! orders and filters.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use elacsym::document::{Document, Value};
use elacsym::engine::{Engine, Session};
use elacsym::error::ErrorKind;
use elacsym::filter::Filter;
use elacsym::ids::{EntryId, EntryOrder, Key};
use elacsym::ipc::message::*;
use elacsym::limits::MAX_OPEN_SCANS;
use elacsym::schema::{Attribute, AttributeType, NamespaceSchema, ZERO_VECTOR};
use elacsym::text::DocumentFilter;
use elacsym::vector::Metric;
use elacsym::vector::distance::distance;
use engine_support::{Database, Random, engine};
use serde_json::json;

const DIM: usize = 6;

fn schema(metric: &str) -> NamespaceSchema {
    let plain = json!({"stemming": false, "remove_stopwords": false});
    let mut schema = NamespaceSchema::parse(&json!({"vector_dim": DIM, "vector_metric": metric, "attributes": {
        "body": {"type": "string", "full_text": plain},
        "flag": {"type": "bool"},
        "year": {"type": "int"},
    }}))
    .unwrap();
    let hidden = Attribute {
        id: ZERO_VECTOR,
        name: "zero".to_string(),
        kind: AttributeType::Bool,
        indexed: true,
        full_text: None,
    };
    schema.attributes.push(hidden);
    schema
}

fn document(random: &mut Random) -> Document {
    let mut attributes = Vec::new();
    if random.chance(85) {
        let words: Vec<String> = (0..random.below(9)).map(|_| format!("w{}", random.below(12))).collect();
        attributes.push((0, Value::String(words.join(" "))));
    }
    if random.chance(60) {
        attributes.push((1, Value::Bool(random.chance(50))));
    }
    if random.chance(70) {
        attributes.push((2, Value::Int(2000 + random.below(6) as i64)));
    }
    let vector: Option<Vec<f32>> = random.chance(80).then(|| (0..DIM).map(|_| random.unit() - 0.5).collect());
    if vector.is_none() && random.chance(40) {
        attributes.push((ZERO_VECTOR, Value::Bool(true)));
    }
    Document { vector, attributes }
}

fn filter(random: &mut Random, schema: &NamespaceSchema) -> Option<Filter> {
    let conditions = [
        json!({"field": "year", "op": "gte", "value": 2000 + random.below(6)}),
        json!({"field": "year", "op": "ne", "value": 2003}),
        json!({"field": "flag", "op": "eq", "value": true}),
        json!({"field": "year", "op": "is_null"}),
        json!({"field": "body", "op": "match", "value": format!("w{} w1*", random.below(12))}),
        json!({"field": "body", "op": "match", "value": format!("-w{}", random.below(12))}),
        json!({"field": "body", "op": "match", "value": format!("\"w{} w{}\"", random.below(12), random.below(12))}),
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

/// Everything ever written and visible.
#[derive(Default)]
struct Truth {
    entries: Vec<(Key, EntryOrder, Option<Document>)>,
    /// Highest tombstone of each key.
    dead: BTreeMap<Key, u64>,
}

impl Truth {
    fn alive(&self, filter: &Option<Filter>) -> BTreeMap<Key, (EntryOrder, &Document)> {
        let mut matching = DocumentFilter::new(&schema("l2"), filter.as_ref()).unwrap();
        let mut highest: BTreeMap<Key, (EntryOrder, Option<&Document>)> = BTreeMap::new();
        for (key, order, document) in &self.entries {
            let dead = self.dead.get(key).is_some_and(|seq| order.seq <= *seq);
            if !dead && highest.get(key).is_none_or(|(known, _)| known < order) {
                highest.insert(*key, (*order, document.as_ref()));
            }
        }
        let alive = highest.into_iter().filter_map(|(key, (order, document))| Some((key, (order, document?))));
        alive.filter(|(_, (_, document))| matching.matches(document)).collect()
    }
}

/// A whole scan in answers of `rows` rows.
async fn scan(database: &Database, session: &mut Session, request: ScanRequest) -> Vec<Vec<ScanRow>> {
    let (count, mut backend) = (request.rows, database.provider());
    let (number, mut part) = session.scan_open(request, &mut backend).await.unwrap();
    let mut answers = Vec::new();
    loop {
        let (exhausted, rows) = (part.exhausted, part.rows);
        assert!(rows.len() <= count as usize);
        assert!(exhausted || rows.len() == count as usize, "fewer rows than asked for, and more to come");
        answers.push(rows);
        if exhausted {
            break;
        }
        part = session.scan_next(number, count).await.unwrap();
    }
    assert_eq!(session.scan_next(number, 1).await.unwrap_err().kind, ErrorKind::NotFound);
    answers
}

/// Numbers, then NaN, then null.
fn rank(value: Option<f32>) -> (u8, f32) {
    match value {
        Some(value) if value.is_nan() => (1, 0.0),
        Some(value) => (0, value),
        None => (2, 0.0),
    }
}

fn assert_sorted(rows: &[ScanRow], what: &str) {
    let in_order = |pair: &[ScanRow]| rank(pair[0].value) <= rank(pair[1].value);
    assert!(rows.windows(2).all(in_order), "{what}: {rows:?}");
}

/// A word of a query, now and then something else of the query language.
fn word(random: &mut Random) -> String {
    let (a, b) = (random.below(14), random.below(14));
    match random.below(12) {
        0 => format!("-w{a}"),
        1 => format!("+w{a}"),
        2 => format!("\"w{a} w{b}\"~3"),
        3 => "w1*".to_string(),
        _ => format!("w{a}"),
    }
}

async fn check(database: &Database, truth: &Truth, engine: &Arc<Engine>, random: &mut Random, what: &str) {
    let metric = database.schema.vector.unwrap().metric;
    let mut session = Session::new(engine.clone());
    for _ in 0..3 {
        let mut filter = filter(random, &database.schema);
        let rows = [1, 3, 10, 200][random.below(4) as usize];
        let effort = if random.chance(60) { f32::INFINITY } else { 1.0 };
        let order = match random.below(6) {
            0 => ScanOrder::Unordered,
            1 | 2 => {
                let words: Vec<String> = (0..random.below(4)).map(|_| word(random)).collect();
                ScanOrder::Bm25 { attribute: 0, query: words.join(" "), corpus: None }
            }
            3 if metric == Metric::Cosine => ScanOrder::Distance { vector: vec![0.0; DIM] },
            _ => ScanOrder::Distance { vector: (0..DIM).map(|_| random.unit() - 0.5).collect() },
        };
        if let ScanOrder::Bm25 { query, .. } = &order
            && random.chance(40)
        {
            // As `WHERE body @@@ $1 ORDER BY body <@> $1` asks.
            let same = Filter::Match { attribute: 0, query: query.clone() };
            filter = Some(filter.map_or(same.clone(), |other| Filter::And(vec![other, same])));
        }
        let expected = truth.alive(&filter);
        let mut query = database.query();
        (query.top_k, query.filter, query.effort) = (1000, filter.clone(), effort);
        let what = format!("{order:?} {filter:?} effort {effort} rows {rows}, {what}");
        let request =
            ScanRequest { namespace: database.view(), order: order.clone(), filter, effort, rows, close: Vec::new() };
        let answers = scan(database, &mut session, request).await;
        let all: Vec<ScanRow> = answers.iter().flatten().copied().collect();
        let keys: BTreeSet<Key> = all.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), all.len(), "each key once: {what}");
        assert_eq!(keys, expected.keys().copied().collect(), "{what}");
        answers.iter().for_each(|answer| assert_sorted(answer, &what));
        if effort == f32::INFINITY {
            assert_sorted(&all, &what);
        }
        match order {
            ScanOrder::Unordered => assert!(all.iter().all(|row| row.value.is_none()), "{what}"),
            ScanOrder::Distance { vector } => {
                let zero = vector.iter().all(|x| *x == 0.0);
                for row in &all {
                    let document = expected[&row.key].1;
                    match (&document.vector, row.value) {
                        (Some(_), Some(value)) if zero => assert!(value.is_nan(), "{what}"),
                        (Some(held), Some(value)) => {
                            assert!((distance(metric, &vector, held) - value).abs() < 1e-5, "{what}: {row:?}");
                        }
                        (None, Some(value)) => {
                            assert!(value.is_nan() && document.get(ZERO_VECTOR).is_some(), "{what}: {row:?}");
                        }
                        (held, None) => {
                            assert!(held.is_none() && document.get(ZERO_VECTOR).is_none(), "{what}: {row:?}");
                        }
                    }
                }
                if !zero {
                    (query.top_k, query.candidates) = (rows as usize, rows as usize);
                    let best = database.run(engine, query.and_vector(vector)).await.unwrap();
                    let best: Vec<Option<f32>> = best.iter().map(|row| row.vector_distance).collect();
                    let first: Vec<Option<f32>> =
                        answers[0].iter().map(|row| row.value).filter(|v| v.is_some_and(|v| !v.is_nan())).collect();
                    assert_eq!(first, best, "what a query with that limit finds: {what}");
                }
            }
            ScanOrder::Bm25 { query: text, .. } => {
                let words = TextQuery::of_attribute(0, text.clone());
                let best = database.run(engine, query.and_text(words)).await.unwrap();
                let scores: HashMap<Key, f32> = best.iter().map(|row| (row.key, row.score)).collect();
                for row in &all {
                    match (expected[&row.key].1.get(0), row.value) {
                        (Some(_), Some(value)) => {
                            assert_eq!(-value, scores.get(&row.key).copied().unwrap_or(0.0), "{what}: {row:?}");
                        }
                        (held, value) => assert_eq!((held, value), (None, None), "{what}: {row:?}"),
                    }
                }
                let (attribute, namespace) = (0, database.view());
                let scorer = ScorerRequest { namespace, attribute, query: text, corpus: None };
                let scorer = session.scorer_open(scorer, &mut database.provider()).await.unwrap();
                let with_text = |row: &&ScanRow| expected[&row.key].1.get(0).is_some();
                let texts = all.iter().filter(with_text).map(|row| match expected[&row.key].1.get(0) {
                    Some(Value::String(text)) => text.clone(),
                    _ => unreachable!("only rows with text"),
                });
                let of_texts = session.score_texts(scorer, texts.collect()).await.unwrap();
                let of_rows: Vec<f32> = all.iter().filter(with_text).map(|row| -row.value.unwrap()).collect();
                assert_eq!(of_texts, of_rows, "{what}");
                session.close(&[scorer]);
                assert_eq!(session.score_texts(scorer, Vec::new()).await.unwrap_err().kind, ErrorKind::NotFound);
                let matching = all.iter().filter(|row| scores.contains_key(&row.key)).count();
                assert_eq!(matching, best.len(), "{what}");
                assert!(all[..matching].iter().all(|row| scores.contains_key(&row.key)), "{what}");
            }
        }
    }
}

/// Keys, checksums and fetched documents are those of the model.
async fn check_keys(database: &Database, truth: &Truth, engine: &Engine, what: &str) {
    let alive = truth.alive(&None);
    for checksums in [false, true] {
        let request = KeysRequest { namespace: database.view(), checksums };
        let mut keys = engine.keys(request, &mut database.provider()).await.unwrap();
        keys.sort_by_key(|info| info.id);
        let info = |(key, (order, document)): (&Key, &(EntryOrder, &Document))| KeyInfo {
            id: EntryId { key: *key, order: *order },
            crc: if checksums { crc32fast::hash(&document.encode()) } else { 0 },
        };
        assert_eq!(keys, alive.iter().map(info).collect::<Vec<_>>(), "{what}");
    }
    let keys: Vec<Key> = (-4..60).collect();
    let rows = database.fetch(engine, &keys).await.unwrap();
    let vectors = |key: &Key| alive.get(key).map(|(_, document)| (*key, document.vector.clone()));
    assert_eq!(
        rows.into_iter().map(|row| (row.key, row.vector)).collect::<Vec<_>>(),
        keys.iter().filter_map(vectors).collect::<Vec<_>>(),
        "{what}"
    );
}

async fn scenario(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut database = Database::new(directory.path(), schema(["cosine", "l2", "dot"][(seed % 3) as usize]));
    let mut truth = Truth::default();
    let running = Arc::new(engine(directory.path()).await);
    let mut seq = 0;
    for step in 0..30 {
        for _ in 0..random.below(20) {
            let key = random.below(60) as Key - 4;
            seq += 1 + random.below(2);
            let order = EntryOrder { seq, xid: 100 + random.below(1 << 40) };
            let document = random.chance(85).then(|| document(&mut random));
            truth.entries.push((key, order, document.clone()));
            match document {
                Some(document) => database.upsert(key, order, document),
                None => database.delete(key, order),
            }
        }
        // VACUUM: what it finds dead is dead up to the seq it saw, which may be older than entries that came since.
        while random.chance(45) {
            let tombstone = Tombstone { key: random.below(60) as Key - 4, seq: seq.saturating_sub(random.below(40)) };
            database.tombstones.push(tombstone);
            let highest = truth.dead.entry(tombstone.key).or_default();
            *highest = (*highest).max(tombstone.seq);
        }
        if random.chance(60) {
            check(&database, &truth, &running, &mut random, &format!("seed {seed}, step {step}, before flush")).await;
            check_keys(&database, &truth, &running, &format!("seed {seed}, step {step}, before flush")).await;
        }
        if random.chance(30) {
            database.flush(&running).await.unwrap();
            check_keys(&database, &truth, &running, &format!("seed {seed}, step {step}, after flush")).await;
            check(&database, &truth, &running, &mut random, &format!("seed {seed}, step {step}, after flush")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_of_random_views_return_every_live_row_once_and_in_order() {
    let seeds = std::env::var("ENGINE_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(12);
    for seed in 1..=seeds {
        scenario(seed).await;
    }
}

/// Large enough that the default effort does not compare every row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approximate_scan_returns_each_key_once_and_starts_as_good_as_a_query() {
    const ROWS: Key = 24_000;
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(5);
    let mut database = Database::new(directory.path(), schema("l2"));
    let running = Arc::new(engine(directory.path()).await);
    for key in 0..ROWS {
        if key == ROWS * 5 / 6 || key == ROWS - 500 {
            database.flush(&running).await.unwrap();
        }
        let vector = (0..DIM).map(|_| random.unit() - 0.5).collect();
        let document = Document { vector: Some(vector), attributes: Vec::new() };
        database.upsert(key, EntryOrder { seq: key as u64, xid: 1 }, document);
    }
    let mut session = Session::new(running.clone());
    let (mut same, mut late) = (0, 0);
    for round in 0..20 {
        let vector: Vec<f32> = (0..DIM).map(|_| random.unit() - 0.5).collect();
        let rows = if round == 0 { 1000 } else { 10 };
        let order = ScanOrder::Distance { vector: vector.clone() };
        let request =
            ScanRequest { namespace: database.view(), order, filter: None, effort: 1.0, rows, close: Vec::new() };
        let mut query = database.query().and_vector(vector);
        (query.effort, query.top_k, query.candidates) = (1.0, rows as usize, rows as usize);
        let best = database.run(&running, query).await.unwrap();
        let first = if round == 0 {
            let answers = scan(&database, &mut session, request).await;
            let all: Vec<ScanRow> = answers.iter().flatten().copied().collect();
            let keys: BTreeSet<Key> = all.iter().map(|row| row.key).collect();
            assert_eq!((keys.len(), all.len()), (ROWS as usize, ROWS as usize));
            late = all.windows(2).filter(|pair| rank(pair[0].value) > rank(pair[1].value)).count();
            answers[0].clone()
        } else {
            session.scan_open(request, &mut database.provider()).await.unwrap().1.rows
        };
        same += usize::from(first.iter().map(|r| r.key).eq(best.iter().map(|r| r.key)));
    }
    println!("{same} of 20 first answers are those of the query; {late} rows of {ROWS} came late");
    assert_eq!(same, 20);
    assert!(late < ROWS as usize / 100, "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_holds_so_many_scans_and_closing_frees_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(1);
    let mut database = Database::new(directory.path(), schema("l2"));
    (0..10).for_each(|key| database.upsert(key, EntryOrder { seq: 1, xid: 1 }, document(&mut random)));
    let mut session = Session::new(Arc::new(engine(directory.path()).await));
    let request = || ScanRequest {
        namespace: database.view(),
        order: ScanOrder::Unordered,
        filter: None,
        effort: 1.0,
        rows: 2,
        close: Vec::new(),
    };
    let mut numbers = Vec::new();
    for _ in 0..MAX_OPEN_SCANS {
        numbers.push(session.scan_open(request(), &mut database.provider()).await.unwrap().0);
    }
    assert_eq!(numbers, (1..=MAX_OPEN_SCANS as u64).collect::<Vec<_>>());
    let error = session.scan_open(request(), &mut database.provider()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
    session.close(&[7, u64::MAX]);
    assert_eq!(session.scan_next(7, 1).await.unwrap_err().kind, ErrorKind::NotFound);
    let (number, part) = session.scan_open(request(), &mut database.provider()).await.unwrap();
    assert_eq!((number, part.rows.len(), part.exhausted), (MAX_OPEN_SCANS as u64 + 1, 2, false));
    // A failed request of another kind leaves them alone, and a part of nothing is nothing.
    assert_eq!(session.scan_next(number, 0).await.unwrap().rows, []);
    let part = session.scan_next(number, u32::MAX).await.unwrap();
    assert_eq!((part.rows.len(), part.exhausted), (8, true));
}

fn order(seq: u64) -> EntryOrder {
    EntryOrder { seq, xid: 1 }
}

fn with_year(year: i64) -> Document {
    Document { vector: None, attributes: vec![(2, Value::Int(year))] }
}

async fn live_keys(database: &Database, engine: &Engine) -> Vec<(Key, u64)> {
    let request = KeysRequest { namespace: database.view(), checksums: false };
    let keys = engine.keys(request, &mut database.provider()).await.unwrap();
    let mut keys: Vec<(Key, u64)> = keys.into_iter().map(|info| (info.id.key, info.id.order.seq)).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_kills_up_to_its_seq_and_no_later_entry_in_buffer_or_segment() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let mut database = Database::new(directory.path(), schema("l2"));
    for key in 1..=4 {
        database.upsert(key, order(10), with_year(2000));
    }
    database.flush(&running).await.unwrap();
    // Key 1: in the segment. Key 2: the same, used again. Key 5: buffered. Key 6: buffered, used again.
    database.upsert(2, order(21), with_year(2001));
    database.upsert(5, order(20), with_year(2002));
    database.upsert(6, order(19), with_year(2003));
    database.upsert(6, order(21), with_year(2004));
    database.upsert(3, order(12), with_year(2005));
    for key in [1, 2, 5, 6] {
        database.tombstones.push(Tombstone { key, seq: 20 });
    }
    // Below the entry in the segment: nothing.
    database.tombstones.push(Tombstone { key: 4, seq: 9 });
    let expected = vec![(2, 21), (3, 12), (4, 10), (6, 21)];
    assert_eq!(live_keys(&database, &running).await, expected);
    let result = database.flush(&running).await.unwrap();
    assert_eq!(result.segment.unwrap().rows, 3, "dead entries are not written");
    assert_eq!(live_keys(&database, &running).await, expected, "the delete vectors hold what the tombstones said");
    assert_eq!(live_keys(&database, &engine(directory.path()).await).await, expected);

    // Nothing buffered: only delete vectors come back.
    database.tombstones.push(Tombstone { key: 2, seq: 21 });
    database.tombstones.push(Tombstone { key: 4, seq: 10 });
    let result = database.flush(&running).await.unwrap();
    assert_eq!((result.segment, result.delete_vectors.len()), (None, 2));
    assert_eq!(live_keys(&database, &running).await, [(3, 12), (6, 21)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_are_asked_for_once_in_each_state_of_their_log() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let mut database = Database::new(directory.path(), schema("l2"));
    database.upsert(1, order(10), with_year(2000));
    database.upsert(2, order(11), with_year(2000));
    database.tombstones.push(Tombstone { key: 1, seq: 10 });
    let mut asked = Vec::new();
    for more in [false, false, true, false] {
        if more {
            database.tombstones.push(Tombstone { key: 2, seq: 11 });
        }
        let mut backend = database.provider();
        let request = KeysRequest { namespace: database.view(), checksums: false };
        let keys = running.keys(request, &mut backend).await.unwrap();
        asked.push((backend.calls, backend.entries, keys.len()));
    }
    assert_eq!(asked, [(1, 2, 1), (0, 0, 1), (1, 0, 0), (0, 0, 0)]);
    // Another number than the view says: somebody lost some.
    database.log += 1;
    let mut request = KeysRequest { namespace: database.view(), checksums: false };
    request.namespace.tombstones.as_mut().unwrap().count = 3;
    let error = running.keys(request, &mut database.provider()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_are_those_of_the_documents_as_they_were_written() {
    let schema = NamespaceSchema::parse(&json!({"vector_dim": 3, "vector_metric": "l2", "attributes": {
        "a": {"type": "array_string"},
        "b": {"type": "bool"},
        "f": {"type": "float"},
        "i": {"type": "int"},
        "s": {"type": "string", "indexed": true},
        "t": {"type": "string", "full_text": true},
    }}))
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let mut random = Random::new(9);
    let mut database = Database::new(directory.path(), schema);
    let floats = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE / 8.0, 0.1, f64::MAX];
    let texts = ["", " ", "\0", "wörter 漢字 🙂", "the the", "line\nline"];
    let mut expected = BTreeMap::new();
    for key in 0..3_000 {
        let mut attributes = Vec::new();
        let text = |random: &mut Random| texts[random.below(texts.len() as u64) as usize].to_string();
        for id in 0..6 {
            if random.chance(30) {
                continue;
            }
            let value = match id {
                0 => Value::ArrayString((0..random.below(4)).map(|_| text(&mut random)).collect()),
                1 => Value::Bool(random.chance(50)),
                2 => Value::Float(floats[random.below(floats.len() as u64) as usize]),
                3 => Value::Int([i64::MIN, -1, 0, i64::MAX][random.below(4) as usize]),
                _ => Value::String(text(&mut random)),
            };
            attributes.push((id, value));
        }
        let elements = [0.0, -0.0, 1.5, f32::MAX, f32::MIN_POSITIVE / 4.0];
        let vector = random.chance(70).then(|| (0..3).map(|_| elements[random.below(5) as usize]).collect());
        let document = Document { vector, attributes };
        expected.insert(key, crc32fast::hash(&document.encode()));
        database.upsert(key, order(key as u64), document);
        if key == 2_500 {
            database.flush(&running).await.unwrap();
        }
    }
    let request = KeysRequest { namespace: database.view(), checksums: true };
    let keys = running.keys(request, &mut database.provider()).await.unwrap();
    assert_eq!(keys.len(), expected.len());
    for info in keys {
        assert_eq!(info.crc, expected[&info.id.key], "key {}", info.id.key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_alone_matches_as_the_filter_says() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let texts = ["a quick fox", "the dogs of war", "war and dogs", ""].map(str::to_string).to_vec();
    let matches = |query: &str| running.text_match(Default::default(), query.to_string(), texts.clone());
    assert_eq!(matches("\"dog of war\" fox").await.unwrap(), [true, true, false, false]);
    assert_eq!(matches("-dog").await.unwrap(), [true, false, false, true]);
    assert_eq!(matches(&"x".repeat(70_000)).await.unwrap_err().kind, ErrorKind::OutOfRange);
}
