//! A document scores the same wherever it is, and pruning loses nothing.
#![allow(clippy::unwrap_used)] // the fixture is test code outside of #[test] functions
#![cfg(feature = "engine")]

use crate::text_fixture;

use elacsym::document::{Document, Value};
use elacsym::schema::NamespaceSchema;
use elacsym::text::{ParsedTextQuery, builder};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::json;
use text_fixture::{Spread, open, parse, segment};

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "body": {"type": "string", "full_text": true},
        "title": {"type": "string", "full_text": {"stemming": false, "remove_stopwords": false}}}}))
    .unwrap()
}

/// A small generator of its own: the same corpus in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    /// Small numbers are common, as words are.
    fn word(&mut self) -> String {
        let bound = 1 + self.below(400);
        format!("word{}", self.below(bound))
    }

    fn text(&mut self, words: u64) -> String {
        (0..words).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
}

/// Titles of a few words (some missing), bodies whose length drifts with the place in the corpus.
fn corpus(schema: &NamespaceSchema, len: usize) -> Vec<Document> {
    let body = schema.require("body").unwrap().id;
    let title = schema.require("title").unwrap().id;
    let mut random = Random(7);
    (0..len)
        .map(|i| {
            let mut attributes = Vec::new();
            if random.below(10) > 0 {
                let words = 1 + random.below(20 + 200 * i as u64 / len as u64);
                attributes.push((body, Value::String(random.text(words))));
            }
            if random.below(5) > 0 {
                let words = random.below(6);
                attributes.push((title, Value::String(random.text(words))));
            }
            attributes.sort_by_key(|(id, _)| *id);
            Document { vector: None, attributes }
        })
        .collect()
}

fn queries(schema: &NamespaceSchema) -> Vec<ParsedTextQuery> {
    let mut random = Random(11);
    let mut queries = Vec::new();
    for words in [1, 1, 2, 2, 3, 5, 8, 20] {
        let text = random.text(words);
        queries.push(parse(schema, &text, &[("body", 1.0)]));
        queries.push(parse(schema, &text, &[("body", 0.3)]));
        queries.push(parse(schema, &text, &[("title", 2.0), ("body", 1.0)]));
        queries.push(parse(schema, &format!("{text} {text}"), &[("body", 0.7), ("title", 3.5)]));
    }
    queries
}

#[test]
fn scores_and_ranks_do_not_depend_on_where_documents_are() {
    let schema = schema();
    let documents = corpus(&schema, 300);
    let whole = Spread::new(&schema, &documents, &[300]);
    let spreads = [
        Spread::new(&schema, &documents, &[60, 60, 60, 60, 60]),
        Spread::new(&schema, &documents, &[1, 13, 200, 86]),
        Spread::new(&schema, &documents, &[]),
        Spread::new(&schema, &documents, &[150]),
        Spread::new(&schema, &documents, &[70, 80]),
    ];
    for query in queries(&schema) {
        for k in [1, 10, 300] {
            let expected = whole.search(&query, k);
            assert!(!expected.is_empty());
            for spread in &spreads {
                assert_eq!(spread.stats(&query), whole.stats(&query));
                // To the bit, which is more than the 1e-5 asked for.
                assert_eq!(spread.search(&query, k), expected, "{query:?}");
            }
        }
    }
}

#[test]
fn a_segment_scores_as_tantivy_does() {
    // The formula by hand: N = 3, df = 2, lengths 2, 1 and 3, average 2.
    let schema =
        NamespaceSchema::parse(&json!({"attributes": {"body": {"type": "string", "full_text": true}}})).unwrap();
    let documents: Vec<Document> = ["apple pear", "plum", "apple apple plum"]
        .map(|text| Document { vector: None, attributes: vec![(0, Value::String(text.to_string()))] })
        .to_vec();
    let spread = Spread::new(&schema, &documents, &[3]);
    let query = parse(&schema, "apple", &[("body", 1.0)]);
    let idf = (1.0_f32 + (3.0 - 2.0 + 0.5) / (2.0 + 0.5)).ln();
    let bm25 = |tf: f32, len: f32| idf * 2.2 * tf / (tf + 1.2 * (0.25 + 0.75 * len / 2.0));
    let rows = spread.search(&query, 10);
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 0]);
    for ((_, score), expected) in rows.iter().zip([bm25(2.0, 3.0), bm25(1.0, 2.0)]) {
        assert!((score - expected).abs() < 1e-6, "{score} {expected}");
    }
    // A repeated word counts twice, a weight multiplies.
    for (_, doubled) in spread.search(&parse(&schema, "apple apples", &[("body", 1.5)]), 1) {
        assert!((doubled - 3.0 * rows[0].1).abs() < 1e-5);
    }
}

#[test]
fn pruning_and_filters_lose_no_row() {
    let schema = schema();
    let documents = corpus(&schema, 6_000);
    // The second half's texts are longer: its averages differ from the whole's, and so do its block maxima.
    let spread = Spread::new(&schema, &documents, &[3_000, 3_000]);
    let mut random = Random(3);
    let filters: Vec<Option<RoaringBitmap>> = vec![
        None,
        Some((0..3_000).filter(|_| random.below(2) == 0).collect()),
        Some((0..3_000).filter(|_| random.below(20) == 0).collect()),
        Some((0..3_000).filter(|_| random.below(1_000) == 0).collect()),
        Some(RoaringBitmap::new()),
    ];
    for query in queries(&schema) {
        let stats = spread.stats(&query);
        for (_, segment) in &spread.segments {
            let everything = segment.score_ordinals(&query, &stats, &(0..3_000).collect()).unwrap();
            for allowed in &filters {
                let mut expected = everything.clone();
                expected.retain(|(ordinal, _)| allowed.as_ref().is_none_or(|allowed| allowed.contains(*ordinal)));
                expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                for k in [1, 10, 100, 10_000] {
                    let found = segment.search(&query, &stats, k, allowed.as_ref()).unwrap();
                    assert_eq!(found, expected[..k.min(expected.len())], "k {k} of {query:?}");
                }
            }
        }
    }
}

#[test]
fn rows_with_equal_scores_come_in_ordinal_order() {
    let schema =
        NamespaceSchema::parse(&json!({"attributes": {"body": {"type": "string", "full_text": true}}})).unwrap();
    let document = Document { vector: None, attributes: vec![(0, Value::String("red green blue".to_string()))] };
    let spread = Spread::new(&schema, &vec![document; 5_000], &[4_000]);
    for text in ["red", "red green", "red green blue"] {
        for weight in [1.0, 0.3] {
            let rows = spread.search(&parse(&schema, text, &[("body", weight)]), 10);
            assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        }
    }
}

#[test]
fn all_rows_equal_to_the_last_are_found_when_asked_for() {
    let schema =
        NamespaceSchema::parse(&json!({"attributes": {"body": {"type": "string", "full_text": true}}})).unwrap();
    let mut random = Random(5);
    let documents: Vec<Document> = (0..4_000)
        .map(|_| {
            let text = ["red", "red green", "green green blue", "red green blue", "blue"][random.below(5) as usize];
            Document { vector: None, attributes: vec![(0, Value::String(text.to_string()))] }
        })
        .collect();
    // Averages of the second segment are not those of the whole.
    let spread = Spread::new(&schema, &documents, &[2_500, 900]);
    let some: RoaringBitmap = (0..2_500).filter(|_| random.below(3) == 0).collect();
    for text in ["red", "red green", "red green blue", "blue purple"] {
        for weight in [1.0, 0.3] {
            let query = parse(&schema, text, &[("body", weight)]);
            let stats = spread.stats(&query);
            for (_, segment) in &spread.segments {
                for allowed in [None, Some(&some)] {
                    let all = segment.search(&query, &stats, 4_000, allowed).unwrap();
                    for (k, ties) in [(1, 4_000), (10, 4_000), (700, 4_000), (10, 3), (10, 0), (4_000, 5)] {
                        let found = segment.search_with_ties(&query, &stats, k, ties, allowed).unwrap();
                        let last = all[k.min(all.len()) - 1].1;
                        let equal = all.iter().skip(k).filter(|(_, score)| *score == last).count();
                        let expected = k.min(all.len()) + equal.min(ties);
                        assert_eq!(found, all[..expected], "{k} and {ties} of {text}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_query_without_terms_matches_nothing() {
    let schema = schema();
    let documents = corpus(&schema, 50);
    let spread = Spread::new(&schema, &documents, &[25]);
    for text in ["", "  ?! ", "the of and", "unseen"] {
        let query = parse(&schema, text, &[("body", 1.0)]);
        assert_eq!(query.is_empty(), text != "unseen");
        assert_eq!(spread.search(&query, 10), []);
    }
    // Weight 0 leaves a field out.
    assert!(parse(&schema, "word1", &[("body", 0.0)]).is_empty());
}

#[test]
fn statistics_that_do_not_count_the_segment_are_an_error_not_a_panic() {
    let schema = schema();
    let segment = segment(&schema, &corpus(&schema, 50));
    let query = parse(&schema, "word1", &[("body", 1.0)]);
    let empty = elacsym::text::CorpusStats::new(&query);
    assert!(segment.search(&query, &empty, 10, None).is_err());
}

#[test]
fn opening_and_statistics_of_a_flush_read_nothing() {
    let schema = schema();
    let documents = corpus(&schema, 2_000);
    let bundle = builder::build(&schema, &documents).unwrap();
    let (segment, counts) = open(&schema, &bundle);
    let query = parse(&schema, "word1 word2 word3", &[("body", 1.0), ("title", 1.0)]);
    let stats = segment.stats(&query).unwrap();
    assert_eq!(counts.reads(), 0);
    assert_eq!(segment.plan_dictionaries(Some(&query), None).unwrap(), []);

    // Exactly the planned ranges are read, each once.
    let planned = segment.plan_postings(Some(&query), None).unwrap();
    assert_eq!(counts.reads(), 0);
    segment.search(&query, &stats, 10, None).unwrap();
    assert_eq!(counts.reads(), planned.len());
    assert_eq!(counts.bytes() as u64, planned.iter().map(|read| read.range.end - read.range.start).sum::<u64>());
    println!("search of {} rows: {} reads, {} bytes", documents.len(), counts.reads(), counts.bytes());
}

#[test]
fn large_dictionaries_are_read_once_and_in_one_piece() {
    let schema = schema();
    let body = schema.require("body").unwrap().id;
    let text = |i: usize| (0..20).map(|j| format!("x{}y", (i * 20 + j) * 7919)).collect::<Vec<_>>().join(" ");
    let documents: Vec<Document> =
        (0..6_000).map(|i| Document { vector: None, attributes: vec![(body, Value::String(text(i)))] }).collect();
    let bundle = builder::build(&schema, &documents).unwrap();
    let (segment, counts) = open(&schema, &bundle);
    // Single words would be found without it.
    let query = parse(&schema, "\"x7919y x15838y\"", &[("body", 1.0)]);
    assert_eq!(counts.reads(), 0);
    let planned = segment.plan_dictionaries(Some(&query), None).unwrap();
    assert!(!planned.is_empty() && planned.len() <= 2, "{planned:?}");
    assert_eq!(counts.reads(), 0);
    let stats = segment.stats(&query).unwrap();
    assert_eq!(counts.reads(), planned.len());
    assert_eq!(stats.fields[0].doc_freqs, [1, 1]);
    segment.stats(&query).unwrap();
    assert_eq!(counts.reads(), planned.len());
    println!("hotcache {} bytes, dictionary read {} bytes", bundle.hotcache.len(), counts.bytes());
    assert!(bundle.hotcache.len() < 100_000);
}

fn document() -> impl Strategy<Value = Document> {
    let words = proptest::collection::vec("[a-e]{1,2}|the|running|runs", 0..30).prop_map(|words| words.join(" "));
    let attribute = |id: u16| proptest::option::of(words.clone()).prop_map(move |text| text.map(|text| (id, text)));
    (attribute(0), attribute(1)).prop_map(|(a, b)| Document {
        vector: None,
        attributes: [a, b].into_iter().flatten().map(|(id, text)| (id, Value::String(text))).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_spread_gives_the_same_rows(
        documents in proptest::collection::vec(document(), 1..60),
        cut in 0_usize..60,
        words in proptest::collection::vec("[a-e]{1,2}|the|running", 1..6),
        weights in (0.1_f32..5.0, 0.0_f32..5.0),
        k in 1_usize..20,
    ) {
        let schema = schema();
        let cut = cut.min(documents.len());
        let query = parse(&schema, &words.join(" "), &[("body", weights.0), ("title", weights.1)]);
        let expected = Spread::new(&schema, &documents, &[]).search(&query, k);
        let mut cuts = vec![cut, documents.len() - cut];
        cuts.retain(|cut| *cut > 0);
        prop_assert_eq!(Spread::new(&schema, &documents, &cuts).search(&query, k), expected.clone());
        cuts.pop();
        prop_assert_eq!(Spread::new(&schema, &documents, &cuts).search(&query, k), expected);
    }
}
