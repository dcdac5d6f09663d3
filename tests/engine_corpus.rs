//! BM25 over parts of a corpus, each a view of its own: with the statistics of the whole every value is what one view of all
//! documents gives.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::HashMap;
use std::sync::Arc;

use elacsym::document::{Document, Value};
use elacsym::engine::{Engine, Session};
use elacsym::error::ErrorKind;
use elacsym::filter::{Comparison, Filter};
use elacsym::ids::{EntryOrder, Key, NamespaceId};
use elacsym::ipc::message::*;
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, engine};
use serde_json::json;

fn schema() -> NamespaceSchema {
    let plain = json!({"stemming": false, "remove_stopwords": false});
    NamespaceSchema::parse(&json!({"attributes": {
        "title": {"type": "string", "full_text": plain},
        "body": {"type": "string", "full_text": {"stemming": false, "remove_stopwords": false, "k1": 1.7, "b": 0.3}},
        "year": {"type": "int"},
    }}))
    .unwrap()
}

/// Long texts and the first words are in the first parts: their own statistics are far from those of the whole.
fn document(random: &mut Random, part: u64) -> Document {
    let mut text = |most: u64| {
        let words: Vec<String> = (0..random.below(most)).map(|_| format!("w{}", random.below(3 + 4 * part))).collect();
        Value::String(words.join(" "))
    };
    let attributes = vec![(0, text(4)), (1, text(30 - 6 * part))];
    let mut document = Document { vector: None, attributes };
    document.attributes.push((2, Value::Int(2000 + random.below(6) as i64)));
    document
}

fn text(words: &str) -> TextQuery {
    TextQuery { query: words.to_string(), fields: vec![(0, 2.0), (1, 1.0)], operator: Operator::Or }
}

async fn count(database: &Database, engine: &Engine, text: TextQuery) -> CorpusStats {
    let request = CorpusRequest { namespace: database.view(), text };
    engine.corpus(request, &mut database.provider()).await.unwrap()
}

async fn scan(database: &Database, session: &mut Session, order: ScanOrder, filter: Option<Filter>) -> Vec<ScanRow> {
    let request = ScanRequest { namespace: database.view(), order, filter, effort: 1.0, rows: 1000, close: Vec::new() };
    session.scan_open(request, &mut database.provider()).await.unwrap().1.rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_with_the_statistics_of_the_whole_score_as_the_whole_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(11);
    let running = Arc::new(engine(directory.path()).await);
    let mut session = Session::new(running.clone());
    let database = |id: u8| {
        let mut database = Database::new(directory.path(), schema());
        database.id = NamespaceId([id; 16]);
        database
    };
    let mut whole = database(9);
    // The last part stays empty.
    let mut parts: Vec<Database> = (0..4).map(database).collect();
    let mut bodies: HashMap<Key, String> = HashMap::new();
    for key in 0..300 {
        let part = key as u64 % 3;
        let document = document(&mut random, part);
        let Some(Value::String(body)) = document.get(1) else { unreachable!("every document has a body") };
        bodies.insert(key, body.clone());
        let order = EntryOrder { seq: key as u64, xid: 1 };
        whole.upsert(key, order, document.clone());
        parts[part as usize].upsert(key, order, document);
        // Segments here, the buffer there.
        match key {
            100 => drop(whole.flush(&running).await.unwrap()),
            200 => drop(parts[0].flush(&running).await.unwrap()),
            299 => drop(parts[1].flush(&running).await.unwrap()),
            _ => {}
        }
    }
    let late = Filter::Compare { attribute: 2, comparison: Comparison::Gte, value: Value::Int(2003) };
    for (words, filter) in [
        ("w0 w4 w9", None),
        ("w1", Some(late.clone())),
        ("w8 w8 nowhere", Some(late)),
        ("+\"w0 w1\"~1 w4^2 -w9", None),
        ("", None),
    ] {
        let expected = count(&whole, &running, text(words)).await;
        let (mut corpus, mut of_body) = (CorpusStats::default(), CorpusStats::default());
        for (n, part) in parts.iter().enumerate() {
            let body = TextQuery { fields: vec![(1, 1.0)], ..text(words) };
            let (stats, body) = (count(part, &running, text(words)).await, count(part, &running, body).await);
            if n == 0 {
                (corpus, of_body) = (stats, body);
            } else {
                corpus.add(&stats).unwrap();
                of_body.add(&body).unwrap();
            }
        }
        assert_eq!(corpus, expected, "{words}");

        // The text arm over both fields.
        let query = |database: &Database, corpus: Option<CorpusStats>| {
            let request = QueryRequest { filter: filter.clone(), top_k: 1000, ..database.query() };
            request.and_arm(ArmQuery::Text { text: text(words), corpus }, 1.0)
        };
        let all = whole.run(&running, query(&whole, None)).await.unwrap();
        let all: HashMap<Key, f32> = all.into_iter().map(|row| (row.key, row.score)).collect();
        let mut found = HashMap::new();
        let mut own = HashMap::new();
        for part in &parts {
            let rows = part.run(&running, query(part, Some(corpus.clone()))).await.unwrap();
            found.extend(rows.into_iter().map(|row| (row.key, row.score)));
            let rows = part.run(&running, query(part, None)).await.unwrap();
            own.extend(rows.into_iter().map(|row| (row.key, row.score)));
        }
        assert_eq!(found, all, "{words}");
        assert_eq!(own == all, words.is_empty(), "a part alone scores otherwise: {words}");

        // A scan, and single texts, by one field.
        let order = |corpus| ScanOrder::Bm25 { attribute: 1, query: words.to_string(), corpus };
        let value = |row: ScanRow| (row.key, row.value);
        let all: HashMap<Key, Option<f32>> =
            scan(&whole, &mut session, order(None), filter.clone()).await.into_iter().map(value).collect();
        let mut found = HashMap::new();
        for part in &parts {
            let rows = scan(part, &mut session, order(Some(of_body.clone())), filter.clone()).await;
            assert!(rows.windows(2).all(|pair| pair[0].value <= pair[1].value), "{words}");
            found.extend(rows.into_iter().map(value));
        }
        assert_eq!(found, all, "{words}");
        let request = ScorerRequest {
            namespace: parts[3].view(),
            attribute: 1,
            query: words.to_string(),
            corpus: Some(of_body.clone()),
        };
        let scorer = session.scorer_open(request, &mut parts[3].provider()).await.unwrap();
        for (key, value) in all {
            let score = session.score_texts(scorer, vec![bodies[&key].clone()]).await.unwrap()[0];
            assert_eq!(Some(-score), value.map(|value| value + 0.0), "{words}: {key}");
        }
        session.close(&[scorer]);
    }
}

/// The whole was counted first, and a part of it grew.
#[tokio::test]
async fn a_part_that_has_grown_is_searched_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(3);
    let running = Arc::new(engine(directory.path()).await);
    let mut database = Database::new(directory.path(), schema());
    let words = || text("w0 w1 w2");
    let empty = count(&database, &running, words()).await;
    assert_eq!((empty.docs, empty.fields.len()), (0, 2));
    for key in 0..50 {
        database.upsert(key, EntryOrder { seq: key as u64, xid: 1 }, document(&mut random, 0));
    }
    for _ in 0..2 {
        let query = |corpus| {
            let request = QueryRequest { top_k: 100, ..database.query() };
            request.and_arm(ArmQuery::Text { text: words(), corpus }, 1.0)
        };
        let expected = database.run(&running, query(None)).await.unwrap();
        assert!(expected.len() > 10 && expected.iter().all(|row| row.score > 0.0));
        assert_eq!(database.run(&running, query(Some(empty.clone()))).await.unwrap(), expected);
        // Statistics of another query are refused.
        let error = database.run(&running, query(Some(CorpusStats::default()))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        database.flush(&running).await.unwrap();
    }
}
