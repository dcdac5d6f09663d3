use super::super::{PlannedRead, RangeRead, TextSegment, builder::build};
use super::*;
use crate::document::{Document, Value};
use crate::filter::Filter;
use crate::ipc::message::TextQuery;
use crate::schema::NamespaceSchema;
use serde_json::json;
use std::sync::Mutex;

/// A file that says what was read of it.
#[derive(Debug)]
struct Watched {
    file: usize,
    bytes: Vec<u8>,
    reads: Arc<Mutex<Vec<PlannedRead>>>,
}

impl RangeRead for Watched {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.reads.lock().unwrap().push(PlannedRead { file: self.file, range: range.clone() });
        Ok(self.bytes[range.start as usize..range.end as usize].to_vec())
    }
}

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "body": {"type": "string", "full_text": {"stemming": false, "remove_stopwords": false}},
        "title": {"type": "string", "full_text": {"stemming": false, "remove_stopwords": false}},
        "year": {"type": "int"},
    }}))
    .unwrap()
}

/// Word `number`: in no order of the numbers.
fn word(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..9).map(|place| char::from(b'a' + ((mixed >> (7 * place)) % 26) as u8)).collect()
}

/// 60,000 words, each in one document or two, some in most; titles of a few words.
fn documents() -> Vec<Document> {
    let body = |row: u64| {
        let rare = (0..6).map(|place| word(1_000 + (row * 6 + place) % 60_000));
        let common = (0..20).filter(|common| row.is_multiple_of(*common + 1)).map(word);
        rare.chain(common).collect::<Vec<_>>().join(" ")
    };
    let attributes = |row| {
        vec![
            (0, Value::String(body(row))),
            (1, Value::String(format!("{} {}", word(row % 5), word(2_000 + row % 40)))),
            (2, Value::Int(row as i64 % 10)),
        ]
    };
    (0..15_000).map(|row| Document { vector: None, attributes: attributes(row) }).collect()
}

type Reads = Arc<Mutex<Vec<PlannedRead>>>;

fn open(bundle: &super::super::TextBundle) -> (TextSegment, Reads) {
    let reads = Reads::default();
    let files = bundle.files.iter().enumerate().map(|(file, (name, bytes))| {
        let watched = Watched { file, bytes: bytes.clone(), reads: reads.clone() };
        (name.clone(), bytes.len() as u64, Arc::new(watched) as Arc<dyn RangeRead>)
    });
    let segment = TextSegment::open(&schema(), "object", files.collect(), &bundle.hotcache).unwrap();
    (segment, reads)
}

fn query(text: &str) -> ParsedTextQuery {
    let fields = vec![(0, 1.0), (1, 2.0)];
    let query = TextQuery { query: text.to_string(), fields, operator: crate::text::Operator::Or };
    ParsedTextQuery::parse(&schema(), &query).unwrap()
}

fn loaded(segment: &TextSegment, query: &ParsedTextQuery) -> bool {
    segment.cold_dictionaries(&segment.needed_dictionaries(Some(query), None)).is_empty()
}

#[test]
fn words_are_found_with_the_same_scores_without_the_dictionary() {
    let bundle = build(&schema(), &documents()).unwrap();
    let (with, _) = open(&bundle);
    let texts = [
        word(1_000),
        format!("{} {} {}", word(1_003), word(40_000), word(60_999)),
        format!("{} {}", word(0), word(7)),
        format!("{} nowhere {} zzzzzzzzzzz", word(1), word(3_000)),
        format!("{} {} {}", word(2), word(2_005), word(2_006)),
        "nowhere".to_string(),
        "\u{0} a zzzzzzzzzzzzzzzz".to_string(),
    ];
    for text in &texts {
        let query = query(text);
        let (without, _) = open(&bundle);
        // Loaded by a query that takes more than words.
        if !query.is_empty() {
            let parts = TextQuery {
                query: "\"nowhere here\"".into(),
                fields: vec![(0, 1.0), (1, 1.0)],
                operator: crate::text::Operator::Or,
            };
            with.stats(&ParsedTextQuery::parse(&schema(), &parts).unwrap()).unwrap();
            assert!(loaded(&with, &query));
        }
        let stats = without.stats(&query).unwrap();
        assert_eq!(stats, with.stats(&query).unwrap(), "{text}");
        let even = (0..15_000).filter(|row| row % 2 == 0).collect();
        for allowed in [None, Some(&even)] {
            let found = without.search_with_ties(&query, &stats, 20, 5, allowed).unwrap();
            assert_eq!(found, with.search_with_ties(&query, &stats, 20, 5, allowed).unwrap(), "{text}");
        }
        assert_eq!(
            without.score_ordinals(&query, &stats, &even).unwrap(),
            with.score_ordinals(&query, &stats, &even).unwrap()
        );
        assert!(query.is_empty() || !loaded(&without, &query), "{text}");
    }
}

#[test]
fn all_that_a_search_of_words_reads_is_known_at_once_and_little() {
    let bundle = build(&schema(), &documents()).unwrap();
    let dictionary = bundle.files.iter().find(|(name, _)| name == "term").unwrap().1.len() as u64;
    let (segment, reads) = open(&bundle);
    assert_eq!(*reads.lock().unwrap(), [], "opening reads nothing");
    let query = query(&format!("{} {} {}", word(1_003), word(3), word(50_000)));
    let filter = Filter::IsNull { attribute: 0 };
    let planned = segment.plan_dictionaries(Some(&query), Some(&filter)).unwrap();
    assert_eq!(*reads.lock().unwrap(), [], "planning reads nothing");
    let bytes: u64 = planned.iter().map(|read| read.range.end - read.range.start).sum();
    assert!(bytes < dictionary / 4, "{bytes} of {dictionary}");
    segment.plan_postings(Some(&query), None).unwrap();
    let stats = segment.stats(&query).unwrap();
    assert!(!segment.search(&query, &stats, 10, None).unwrap().is_empty());
    for read in reads.lock().unwrap().iter() {
        let covers = |known: &PlannedRead| {
            known.file == read.file && known.range.start <= read.range.start && read.range.end <= known.range.end
        };
        assert!(planned.iter().any(covers), "{read:?} was not planned");
    }
}

#[test]
fn after_some_queries_the_dictionary_is_loaded() {
    let bundle = build(&schema(), &documents()).unwrap();
    let (segment, _) = open(&bundle);
    for number in (0..DICTIONARY_AFTER as u64).rev() {
        let query = query(&word(1_000 + number));
        assert!(!loaded(&segment, &query), "{number}");
        for _ in 0..3 {
            segment.stats(&query).unwrap();
        }
    }
    segment.stats(&query(&word(1_000))).unwrap();
    assert!(!loaded(&segment, &query("other")), "its view is known");
    segment.stats(&query("other")).unwrap();
    assert!(loaded(&segment, &query("other")));
}

#[test]
fn a_short_dictionary_has_no_table() {
    let bundle = build(&schema(), &documents()[..100]).unwrap();
    assert!(bundle.files.iter().all(|(name, _)| name != terms::FILE));
}
