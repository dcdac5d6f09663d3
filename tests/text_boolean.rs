//! A text query means the same on a segment as on each of its texts, and BM25 finds the same rows whatever k1 and b are.
#![allow(clippy::unwrap_used)] // the fixture is test code outside of #[test] functions

use crate::text_fixture;

use elacsym::document::{Document, Value};
use elacsym::error::Result;
use elacsym::filter::Filter;
use elacsym::schema::{FullTextOptions, Language, NamespaceSchema, Parameter, Tokenizer};
use elacsym::text::{AnalyzedQuery, Analyzer, DocumentFilter, PlannedRead, RangeRead, TextSegment, builder};
use proptest::prelude::*;
use serde_json::json;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use text_fixture::{Spread, parse, segment};

const TEXT: u16 = 0;
/// A name that no query can spell: a field that is drawn is never used as one.
const NO_FIELDS: [&str; 1] = ["no field"];

fn schema(options: FullTextOptions) -> NamespaceSchema {
    let json = json!({"attributes": {"a_text": {"type": "string", "full_text": true}, "b_year": "int"}});
    let mut schema = NamespaceSchema::parse(&json).unwrap();
    schema.attributes[0].full_text = Some(options);
    schema
}

pub fn options() -> impl Strategy<Value = FullTextOptions> {
    let language = prop::sample::select(vec![Language::English, Language::German, Language::Tamil]);
    let tokenizers = ["default", "default", "whitespace", "raw", "ngram(1,2)", "ngram(2,3)", "source_code", "cjk"];
    let tokenizer = prop::sample::select(tokenizers.to_vec()).prop_map(|name| Tokenizer::parse(name).unwrap());
    (language, any::<[bool; 4]>(), tokenizer, prop::sample::select(vec![128, 128, 4])).prop_map(
        |(language, [stemming, remove_stopwords, case_sensitive, ascii_folding], tokenizer, max_token_length)| {
            FullTextOptions {
                language,
                stemming,
                remove_stopwords,
                case_sensitive,
                ascii_folding,
                tokenizer,
                max_token_length,
                ..FullTextOptions::default()
            }
        },
    )
}

/// Few words, so that phrases are found; stop words, inflections, capitals, joined words.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "cat",
        "Cats",
        "catalog",
        "dog",
        "dogs",
        "the",
        "of",
        "running",
        "runs",
        "run",
        "wi-fi",
        "fi",
        "wi",
        "Straße",
        "the-cat",
        "a",
        "die",
        "häuser",
        "haus",
        "x1",
        "日本",
        "日本語",
        "getCats",
        "get_cats",
        "ctas",
        "dgo",
        "cat's",
    ];
    prop_oneof![20 => prop::sample::select(words.to_vec()).prop_map(str::to_string), 1 => ".{0,6}"]
}

pub fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 0..12).prop_map(|words| words.join(" "))
}

fn parts(body: BoxedStrategy<String>, fields: &'static [&'static str]) -> BoxedStrategy<String> {
    let sign = prop::sample::select(vec!["", "", "", "+", "-"]);
    let field = prop::option::weighted(0.2, prop::sample::select(fields));
    let part = (sign, field, body).prop_map(|(sign, field, body)| match field {
        Some(field) => format!("{sign}{field}:{body}"),
        None => format!("{sign}{body}"),
    });
    prop::collection::vec(part, 0..5).prop_map(|parts| parts.join(" ")).boxed()
}

/// A text of the query language, with these fields in it.
pub fn query(fields: &'static [&'static str]) -> impl Strategy<Value = String> {
    let slop = prop::sample::select(vec!["", "", "~1", "~2", "~5"]);
    let phrase =
        (prop::collection::vec(word(), 0..4), slop).prop_map(|(words, slop)| format!("\"{}\"{slop}", words.join(" ")));
    let phrase = phrase.boxed();
    let prefix = word().prop_map(|word| format!("{}*", word.chars().take(3).collect::<String>()));
    let fuzzy = (word(), 1..3).prop_map(|(word, distance)| format!("{word}~{distance}"));
    let boost = prop::sample::select(vec!["^2", "^0.5", "^0", "^3.25"]);
    let body = prop_oneof![
        4 => word(),
        2 => phrase.clone(),
        1 => (phrase, boost.clone()).prop_map(|(phrase, boost)| format!("{phrase}{boost}")),
        2 => prefix,
        1 => word().prop_map(|word| format!("{word}*")),
        2 => fuzzy,
        1 => (word(), boost).prop_map(|(word, boost)| format!("{word}{boost}")),
    ];
    let query = body.prop_recursive(2, 12, 4, move |inner| {
        let group = parts(inner.clone(), fields).prop_map(|inside| format!("({inside})"));
        let boosted = parts(inner.clone(), fields).prop_map(|inside| format!("({inside})^2"));
        prop_oneof![4 => inner, 1 => group, 1 => boosted]
    });
    prop_oneof![8 => parts(query.boxed(), fields), 1 => ".{0,30}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_segment_and_a_text_agree(
        options in options(),
        texts in prop::collection::vec(prop::option::weighted(0.9, text()), 1..40),
        queries in prop::collection::vec(query(&NO_FIELDS), 1..8),
    ) {
        let schema = schema(options.clone());
        let document = |text: &Option<String>| Document {
            vector: None,
            attributes: text.iter().map(|text| (TEXT, Value::String(text.clone()))).collect(),
        };
        let documents: Vec<Document> = texts.iter().map(document).collect();
        let segment = segment(&schema, &documents);
        let mut analyzer = Analyzer::new(&options);
        for query in queries {
            let parsed = AnalyzedQuery::of_field(TEXT, &options, &query).unwrap();
            let of_texts: Vec<u32> = (0..)
                .zip(&texts)
                .filter(|(_, text)| text.as_ref().is_some_and(|text| parsed.matches_text(&mut analyzer, text)))
                .map(|(row, _)| row)
                .collect();
            let leaf = Filter::Match { attribute: TEXT, query: query.clone() };
            let of_segment: Vec<u32> = segment.filter(&leaf).unwrap().iter().collect();
            prop_assert_eq!(&of_segment, &of_texts, "{} {:?}", query, parsed);
            let tree = Filter::Or(vec![Filter::Not(Box::new(leaf)), Filter::IsNull { attribute: TEXT }]);
            let mut filter = DocumentFilter::new(&schema, Some(&tree)).unwrap();
            let of_documents: Vec<u32> =
                (0..).zip(&documents).filter(|(_, document)| filter.matches(document)).map(|(row, _)| row).collect();
            let of_segment: Vec<u32> = segment.filter(&tree).unwrap().iter().collect();
            prop_assert_eq!(of_segment, of_documents, "not {}", query);
        }
    }

    #[test]
    fn statistics_do_not_depend_on_how_rows_are_spread(
        options in options(),
        texts in prop::collection::vec(text(), 2..40),
        query in text(),
        cuts in (0_usize..20, 0_usize..20),
    ) {
        let schema = schema(options);
        let document = |text: &String| Document { vector: None, attributes: vec![(TEXT, Value::String(text.clone()))] };
        let documents: Vec<Document> = texts.iter().map(document).collect();
        let query = parse(&schema, &query, &[("a_text", 1.0)]);
        let buffered = Spread::new(&schema, &documents, &[]).search(&query, documents.len());
        let first = cuts.0.min(documents.len());
        let cuts = [first, cuts.1.min(documents.len() - first)].into_iter().filter(|rows| *rows > 0);
        let spread = Spread::new(&schema, &documents, &cuts.collect::<Vec<_>>()).search(&query, documents.len());
        prop_assert_eq!(buffered, spread);
    }

    #[test]
    fn the_best_rows_are_the_best_for_any_k1_and_b(
        k1 in prop_oneof![Just(0.0_f32), Just(1.2), 0.0_f32..10.0],
        b in prop_oneof![Just(0.0_f32), Just(0.75), Just(1.0), 0.0_f32..1.0],
        lengths in prop::collection::vec((0_usize..60, 0_usize..7, 0_usize..7), 300..900),
        k in prop::sample::select(vec![1_usize, 3, 10, 100]),
    ) {
        let schema = schema(FullTextOptions { k1: Parameter(k1), b: Parameter(b), ..FullTextOptions::default() });
        let document = |(filler, cats, dogs): &(usize, usize, usize)| {
            let text = [vec!["filler"; *filler], vec!["cat"; *cats], vec!["dog"; *dogs]].concat().join(" ");
            Document { vector: None, attributes: vec![(TEXT, Value::String(text))] }
        };
        let documents: Vec<Document> = lengths.iter().map(document).collect();
        let query = parse(&schema, "cat dog dog", &[("a_text", 1.0)]);
        let buffered = Spread::new(&schema, &documents, &[]).search(&query, k);
        let half = documents.len() / 2;
        let of_segments = Spread::new(&schema, &documents, &[half, documents.len() - half]).search(&query, k);
        prop_assert_eq!(buffered, of_segments);
    }
}

type Reads = Arc<Mutex<Vec<(usize, Range<u64>)>>>;

/// A file that remembers what is read of it.
#[derive(Debug)]
struct RecordingFile {
    place: usize,
    bytes: Vec<u8>,
    reads: Reads,
}

impl RangeRead for RecordingFile {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.reads.lock().unwrap().push((self.place, range.clone()));
        Ok(self.bytes[range.start as usize..range.end as usize].to_vec())
    }
}

#[test]
fn a_text_query_reads_what_it_planned() {
    let schema = schema(FullTextOptions::default());
    // Terms enough that dictionary and positions do not fit into the hotcache.
    let text =
        |i: u32| format!("red{} green{} blue{} common word {}", i % 977, i * 7919 % 20_011, i, "filler ".repeat(9));
    let document = |i| Document { vector: None, attributes: vec![(TEXT, Value::String(text(i)))] };
    let documents: Vec<Document> = (0..20_000).map(document).collect();
    let bundle = builder::build(&schema, &documents).unwrap();
    for (query, rows) in [
        ("blue777~1", 64),
        ("gren42~2 -common", 0),
        ("+(\"common red5\"~4 blue19*) +word -green1234~1", 1_126),
        ("\"blue15 common word\"~1 \"word common\"~2", 20_000),
    ] {
        let reads = Reads::default();
        let file = |(place, (name, bytes)): (usize, &(String, Vec<u8>))| {
            let file = RecordingFile { place, bytes: bytes.clone(), reads: reads.clone() };
            (name.clone(), bytes.len() as u64, Arc::new(file) as Arc<dyn RangeRead>)
        };
        let files = bundle.files.iter().enumerate().map(file).collect();
        let segment = TextSegment::open(&schema, "test.idx", files, &bundle.hotcache).unwrap();
        let filter = Filter::Match { attribute: TEXT, query: query.to_string() };
        let mut planned = segment.plan_dictionaries(None, Some(&filter)).unwrap();
        planned.extend(segment.plan_postings(None, Some(&filter)).unwrap());
        let found = segment.filter(&filter).unwrap();
        let scored = parse(&schema, query, &[("a_text", 1.0)]);
        planned.extend(segment.plan_dictionaries(Some(&scored), None).unwrap());
        planned.extend(segment.plan_postings(Some(&scored), None).unwrap());
        let stats = segment.stats(&scored).unwrap();
        let mut best: Vec<u32> =
            segment.search(&scored, &stats, 20_000, None).unwrap().iter().map(|row| row.0).collect();
        best.sort_unstable();
        assert_eq!(best, found.iter().collect::<Vec<_>>(), "{query}");
        let mut document_filter = DocumentFilter::new(&schema, Some(&filter)).unwrap();
        let expected: Vec<u32> = (0..)
            .zip(&documents)
            .filter(|(_, document)| document_filter.matches(document))
            .map(|(row, _)| row)
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(expected.len(), rows, "{query}");
        let reads = reads.lock().unwrap();
        assert!(!reads.is_empty(), "{query}");
        for (file, range) in reads.iter() {
            let covers = |plan: &PlannedRead| {
                plan.file == *file && plan.range.start <= range.start && range.end <= plan.range.end
            };
            assert!(planned.iter().any(covers), "{query}: {file} {range:?} was not planned");
        }
    }
}
