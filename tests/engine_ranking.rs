//! Pages of rankings (several arms, modifiers, groups, offsets, orders by attributes) wherever the rows are, against the
//! definition computed from the lists of single arms and from the documents.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::cmp::Ordering;
use std::collections::HashMap;

use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::error::ErrorKind;
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::{ArmQuery, QueryRequest, ResultRow, TextQuery};
use elacsym::rank::{Fusion, Method, Modifier, OrderBy, Per, parse_modifiers};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, engine};
use serde_json::json;

const DIM: usize = 6;
const ROWS: Key = 140;
const YEAR: u16 = 3;

fn schema() -> NamespaceSchema {
    // Ids are in the order of the names.
    NamespaceSchema::parse(&json!({"vector_dim": DIM, "vector_metric": "l2", "attributes": {
        "author": {"type": "string"},
        "body": {"type": "string", "full_text": true},
        "clicks": {"type": "float"},
        "year": {"type": "int"},
    }}))
    .unwrap()
}

fn document(random: &mut Random) -> Document {
    let mut attributes = Vec::new();
    if random.chance(80) {
        attributes.push((0, Value::String(format!("author{}", random.below(6)))));
    }
    let words: Vec<String> = (0..1 + random.below(8)).map(|_| format!("w{}", random.below(9))).collect();
    attributes.push((1, Value::String(words.join(" "))));
    if random.chance(70) {
        attributes.push((2, Value::Float(random.below(50) as f64)));
    }
    if random.chance(85) {
        attributes.push((YEAR, Value::Int(2000 + random.below(12) as i64)));
    }
    let vector = random.chance(85).then(|| (0..DIM).map(|_| random.below(5) as f32).collect());
    Document { vector, attributes }
}

struct Truth(HashMap<Key, Document>);

impl Truth {
    fn factor(&self, key: Key, modifiers: &[Modifier]) -> f64 {
        let document = &self.0[&key];
        let factor = |modifier: &Modifier| {
            let value = modifier.attribute().and_then(|attribute| document.get(attribute));
            modifier.factor(value, modifier.filter().is_some_and(|filter| filter.matches(document)))
        };
        modifiers.iter().map(factor).product()
    }

    fn within_limits(&self, rows: Vec<Key>, per: Option<Per>) -> Vec<Key> {
        let mut held: HashMap<Option<String>, u32> = HashMap::new();
        let mut kept = rows;
        kept.retain(|key| {
            let Some(per) = per else { return true };
            let group = self.0[key].get(per.attribute).map(|value| value.to_json().to_string());
            let held = held.entry(group).or_insert(0);
            *held += 1;
            *held <= per.limit
        });
        kept
    }
}

/// What each row of an arm counts.
fn counted(list: &[(Key, f32)], vector: bool, fusion: Fusion) -> Vec<(Key, f64)> {
    let scores: Vec<f64> = list.iter().map(|(_, value)| f64::from(if vector { -value } else { *value })).collect();
    let (low, high) = scores.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), s| (l.min(*s), h.max(*s)));
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / scores.len() as f64).sqrt();
    let count = |(at, score): (usize, f64)| match fusion.method {
        Method::Rrf => 1.0 / (f64::from(fusion.rrf_k) + at as f64 + 1.0),
        Method::MinMax if high == low => 1.0,
        Method::MinMax => (score - low) / (high - low),
        Method::Distribution if deviation < 1e-6 => 0.5,
        Method::Distribution => ((score - (mean - 3.0 * deviation)) / (6.0 * deviation)).clamp(0.0, 1.0),
    };
    list.iter().map(|(key, _)| *key).zip(scores.into_iter().enumerate().map(count)).collect()
}

/// (key, score) of the whole list, and the places in each arm at each depth.
async fn ranked(
    database: &Database,
    engine: &Engine,
    truth: &Truth,
    request: &QueryRequest,
) -> (Vec<(Key, f64)>, Vec<HashMap<Key, (u32, f32)>>) {
    let plain = request.arms.len() == 1 && request.modifiers.is_empty();
    let mut all: Vec<(Key, f64)> = Vec::new();
    let mut places = vec![HashMap::new(); request.arms.len()];
    let mut depth = request.candidates;
    loop {
        let mut block: HashMap<Key, f64> = HashMap::new();
        let mut more = false;
        for (arm, places) in request.arms.iter().zip(&mut places) {
            let vector = matches!(arm.query, ArmQuery::Vector(_));
            // Which of equal scores is the last one of an arm depends on the depth.
            let list = arm_alone(database, engine, arm.query.clone(), request.filter.clone(), depth).await;
            more |= list.len() >= depth;
            for (rank, (key, value)) in (1..).zip(&list) {
                places.entry(*key).or_insert((rank, *value));
                if plain {
                    block.insert(*key, -f64::from(rank));
                }
            }
            for (key, score) in counted(&list, vector, request.fusion).into_iter().filter(|_| !plain) {
                *block.entry(key).or_default() += f64::from(arm.weight) * score;
            }
        }
        let mut block: Vec<(Key, f64)> =
            block.into_iter().filter(|(key, _)| all.iter().all(|(known, _)| known != key)).collect();
        block.iter_mut().for_each(|(key, score)| *score *= truth.factor(*key, &request.modifiers));
        // Sums are rounded to f32 before rows are ordered.
        block.sort_by(|a, b| (b.1 as f32).total_cmp(&(a.1 as f32)).then(a.0.cmp(&b.0)));
        all.extend(block);
        if !more {
            break;
        }
        depth *= 2;
    }
    let scores: HashMap<Key, f64> = all.iter().copied().collect();
    let kept = truth.within_limits(all.into_iter().map(|(key, _)| key).collect(), request.per);
    (kept.into_iter().map(|key| (key, scores[&key])).collect(), places)
}

/// The list of one arm alone, to that depth.
async fn arm_alone(
    database: &Database,
    engine: &Engine,
    arm: ArmQuery,
    filter: Option<Filter>,
    depth: usize,
) -> Vec<(Key, f32)> {
    let request = QueryRequest { top_k: depth, candidates: depth, filter, ..database.query() }.and_arm(arm, 1.0);
    let rows = database.run(engine, request).await.unwrap();
    rows.into_iter().map(|row| (row.key, row.arms[0].unwrap().value)).collect()
}

/// All pages of a request, joined.
async fn pages(database: &Database, engine: &Engine, request: &QueryRequest) -> Vec<ResultRow> {
    let mut all = Vec::new();
    loop {
        let page = QueryRequest { offset: all.len(), ..request.clone() };
        let rows = database.run(engine, page).await.unwrap();
        let short = rows.len() < request.top_k;
        all.extend(rows);
        if short {
            return all;
        }
    }
}

fn modifiers(random: &mut Random, schema: &NamespaceSchema) -> Vec<Modifier> {
    struct NoTimes;
    impl elacsym::rank::Times for NoTimes {
        fn moment(&self, text: &str) -> elacsym::error::Result<f64> {
            Err(elacsym::error::Error::invalid(text))
        }
        fn length(&self, text: &str) -> elacsym::error::Result<f64> {
            Err(elacsym::error::Error::invalid(text))
        }
    }
    let kinds = [
        json!({"type": "decay", "field": "year", "origin": 2011, "scale": 4, "function": "exp", "missing": 0.2}),
        json!({"type": "saturate", "field": "clicks", "k": 10, "weight": 0.5}),
        json!({"type": "boost", "filter": {"field": "author", "op": "eq", "value": "author2"}, "factor": 3}),
    ];
    let chosen: Vec<_> = kinds.into_iter().filter(|_| random.chance(40)).collect();
    parse_modifiers(schema, &chosen.into(), &|_| elacsym::rank::Unit::Number, &NoTimes).unwrap()
}

async fn check(database: &Database, truth: &Truth, engine: &Engine, random: &mut Random, what: &str) {
    for round in 0..12 {
        let filter = random.chance(40).then(|| {
            let json = json!({"field": "year", "op": "gte", "value": 2000 + random.below(9)});
            Filter::parse(&database.schema, &json).unwrap()
        });
        let mut request = database.query();
        request.filter = filter.clone();
        request.top_k = [3, 10, 50][random.below(3) as usize];
        request.candidates = [2, 5, 20, 1000][random.below(4) as usize];
        request.per = random.chance(40).then(|| Per { attribute: 0, limit: 1 + random.below(3) as u32 });
        request.modifiers = modifiers(random, &database.schema);
        request.fusion.method = [Method::Rrf, Method::MinMax, Method::Distribution][random.below(3) as usize];
        for _ in 0..1 + random.below(4) {
            let arm = if random.chance(50) {
                ArmQuery::Vector((0..DIM).map(|_| random.below(5) as f32 + 0.25 * random.unit()).collect())
            } else {
                let query = format!("w{} w{}", random.below(9), random.below(9));
                ArmQuery::Text { text: TextQuery::of_attribute(1, query), corpus: None }
            };
            request = request.and_arm(arm, 0.5 + random.unit());
        }
        let asked = (&request.arms, request.top_k, request.candidates, request.per, &request.modifiers, request.fusion);
        let what = format!("{what}, round {round}, {asked:?}");
        let found = pages(database, engine, &request).await;
        let (expected, places) = ranked(database, engine, truth, &request).await;
        assert_eq!(found.len(), expected.len(), "INV-7: {what}");
        let plain = request.arms.len() == 1 && request.modifiers.is_empty();
        for (row, (key, score)) in found.iter().zip(&expected) {
            assert_eq!(row.key, *key, "{what}");
            let close = plain || (f64::from(row.score) - score).abs() < 1e-5;
            assert!(close, "{what}: {row:?}, expected {score}");
        }
        let mut keys: Vec<Key> = found.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), found.len(), "{what}");
        for row in &found {
            for (place, places) in row.arms.iter().zip(&places) {
                let Some(place) = place else { continue };
                assert_eq!(places[&row.key], (place.rank, place.value), "{what}");
            }
        }
    }
}

async fn check_orders(database: &Database, truth: &Truth, engine: &Engine, random: &mut Random, what: &str) {
    for _ in 0..8 {
        let mut order_by: Vec<OrderBy> = Vec::new();
        for attribute in [0, 2, YEAR] {
            if random.chance(60) {
                order_by.push(OrderBy { attribute, descending: random.chance(50), nulls_first: random.chance(50) });
            }
        }
        if order_by.is_empty() {
            continue;
        }
        let json = json!({"field": "year", "op": "lt", "value": 2002 + random.below(12)});
        let filter = random.chance(60).then(|| Filter::parse(&database.schema, &json).unwrap());
        let per = random.chance(40).then(|| Per { attribute: 0, limit: 1 + random.below(3) as u32 });
        let top_k = [4, 30][random.below(2) as usize];
        let request =
            QueryRequest { order_by: order_by.clone(), filter: filter.clone(), per, top_k, ..database.query() };
        let mut expected: Vec<Key> = truth.0.keys().copied().collect();
        expected.retain(|key| filter.as_ref().is_none_or(|filter| filter.matches(&truth.0[key])));
        expected.sort_by(|a, b| {
            let of_attribute = |by: &OrderBy| match (truth.0[a].get(by.attribute), truth.0[b].get(by.attribute)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) if by.nulls_first => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) if by.nulls_first => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(x), Some(y)) => {
                    let order = match (x, y) {
                        (Value::Int(x), Value::Int(y)) => x.cmp(y),
                        (Value::Float(x), Value::Float(y)) => x.total_cmp(y),
                        (Value::String(x), Value::String(y)) => x.as_bytes().cmp(y.as_bytes()),
                        other => panic!("{other:?}"),
                    };
                    if by.descending { order.reverse() } else { order }
                }
            };
            order_by.iter().map(of_attribute).fold(Ordering::Equal, Ordering::then).then(a.cmp(b))
        });
        let found: Vec<Key> = pages(database, engine, &request).await.into_iter().map(|row| row.key).collect();
        assert_eq!(found, truth.within_limits(expected, per), "{what}: {order_by:?} {filter:?} {per:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_7_pages_are_slices_of_the_list_that_is_defined_wherever_the_rows_are() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    for seed in 1..=4 {
        let mut random = Random::new(seed);
        let mut database = Database::new(directory.path(), schema());
        database.id.0[0] = seed as u8;
        let mut truth = Truth(HashMap::new());
        let mut seq = 0;
        let mut write =
            |database: &mut Database, truth: &mut Truth, random: &mut Random, keys: std::ops::Range<Key>| {
                for key in keys {
                    seq += 1;
                    let order = EntryOrder { seq, xid: 1 };
                    if truth.0.contains_key(&key) && random.chance(30) {
                        truth.0.remove(&key);
                        database.delete(key, order);
                    } else {
                        let document = document(random);
                        truth.0.insert(key, document.clone());
                        database.upsert(key, order, document);
                    }
                }
            };
        write(&mut database, &mut truth, &mut random, 0..ROWS / 2);
        let check_all = async |database: &Database, truth: &Truth, random: &mut Random, what: &str| {
            let what = format!("seed {seed}, {what}");
            check(database, truth, &running, random, &what).await;
            check_orders(database, truth, &running, random, &what).await;
        };
        check_all(&database, &truth, &mut random, "buffered").await;
        database.flush(&running).await.unwrap();
        check_all(&database, &truth, &mut random, "one segment").await;
        write(&mut database, &mut truth, &mut random, ROWS / 4..ROWS);
        check_all(&database, &truth, &mut random, "half").await;
        database.flush(&running).await.unwrap();
        check_all(&database, &truth, &mut random, "two segments").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_contradict_themselves_or_ask_for_too_much_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let database = Database::new(directory.path(), schema());
    let order = OrderBy { attribute: YEAR, descending: false, nulls_first: false };
    let vector = || database.query().and_vector(vec![1.0; DIM]);
    let kind = async |request: QueryRequest| database.run(&running, request).await.unwrap_err().kind;
    assert_eq!(kind(QueryRequest { order_by: vec![order], ..vector() }).await, ErrorKind::Invalid);
    let offset = elacsym::limits::MAX_OFFSET + 1;
    assert_eq!(kind(QueryRequest { offset, ..vector() }).await, ErrorKind::OutOfRange);
    let mut many = vector();
    for _ in 0..elacsym::limits::MAX_ARMS {
        many = many.and_vector(vec![1.0; DIM]);
    }
    assert_eq!(kind(many).await, ErrorKind::OutOfRange);
    let candidates = elacsym::limits::MAX_REPLY_ROWS;
    let request = QueryRequest { candidates, ..vector().and_vector(vec![1.0; DIM]) };
    let error = running.candidates(request, &mut database.provider()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfRange);
}

/// Keys and scores of an answer.
async fn answer(database: &Database, engine: &Engine, request: QueryRequest) -> Vec<(Key, f32)> {
    let rows = database.run(engine, request).await.unwrap();
    rows.into_iter().map(|row| (row.key, row.score)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_rows_those_with_the_least_keys_are_in_an_answer_wherever_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let running = engine(directory.path()).await;
    let mut random = Random::new(9);
    // Far more equal rows than an answer has, in no order that a segment keeps.
    let rows = 6 * ROWS;
    let documents: Vec<Document> = (0..rows)
        .map(|_| {
            let text = ["w1", "w1 w2", "w2 w3 w4"][random.below(3) as usize];
            let vector = (0..DIM).map(|_| random.below(2) as f32).collect();
            Document { vector: Some(vector), attributes: vec![(1, Value::String(text.to_string()))] }
        })
        .collect();
    let mut databases = Vec::new();
    // Buffered, one segment, a segment and a buffer, two segments, four of them.
    for (number, (parts, flushed)) in [(1, 0), (1, 1), (2, 1), (2, 2), (4, 4)].into_iter().enumerate() {
        let mut database = Database::new(directory.path(), schema());
        database.id.0[0] = number as u8 + 1;
        for part in 0..parts {
            for (key, document) in (0..rows).zip(&documents).filter(|(key, _)| key % parts == part) {
                database.upsert(key, EntryOrder { seq: key as u64 + 1, xid: 1 }, document.clone());
            }
            if part < flushed {
                database.flush(&running).await.unwrap();
            }
        }
        databases.push(database);
    }
    let vector = |vector: Vec<f32>| ArmQuery::Vector(vector);
    let text = |words: &str| ArmQuery::Text { text: TextQuery::of_attribute(1, words.to_string()), corpus: None };
    // The first is as far from all rows.
    let arms = [vector(vec![0.5; DIM]), vector(vec![1.0; DIM]), text("w1"), text("w1 w2"), text("w2 w3 w4")];
    let ask = |database: &Database, top_k: usize, candidates: usize| QueryRequest {
        top_k,
        candidates,
        effort: f32::INFINITY,
        ..database.query()
    };
    for arm in &arms {
        let all = rows as usize;
        let whole = answer(&databases[0], &running, ask(&databases[0], all, all).and_arm(arm.clone(), 1.0)).await;
        assert!(whole.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)), "{arm:?}");
        for (number, database) in databases.iter().enumerate() {
            for k in [1, 5, 37, 200, all] {
                let found = answer(database, &running, ask(database, k, k).and_arm(arm.clone(), 1.0)).await;
                assert_eq!(found, whole[..k.min(whole.len())], "{k} of {arm:?} in database {number}");
            }
        }
    }
    let fused =
        |database: &Database| arms.iter().fold(ask(database, 60, 20), |request, arm| request.and_arm(arm.clone(), 1.0));
    let expected = answer(&databases[0], &running, fused(&databases[0])).await;
    for database in &databases {
        assert_eq!(answer(database, &running, fused(database)).await, expected);
    }
}
