//! A filter means the same on a segment as on each of its documents.
#![allow(clippy::unwrap_used)] // the fixture is test code outside of #[test] functions
#![cfg(feature = "engine")]

use crate::text_fixture;

use elacsym::document::{Document, Value};
use elacsym::error::ErrorKind;
use elacsym::filter::{Comparison, Filter};
use elacsym::schema::NamespaceSchema;
use elacsym::text::builder;
use proptest::prelude::*;
use serde_json::json;
use text_fixture::{open, segment};

const STRING: u16 = 0;
const INT: u16 = 1;
const FLOAT: u16 = 2;
const BOOL: u16 = 3;
const ARRAY: u16 = 4;
const BOTH: u16 = 5;

/// Names in alphabetical order, so that ids are as above whatever the order of JSON objects.
fn schema() -> NamespaceSchema {
    let schema = NamespaceSchema::parse(&json!({"attributes": {
        "a_string": "string", "b_int": "int", "c_float": "float", "d_bool": "bool", "e_array": "array_string",
        "f_both": {"type": "string", "full_text": true, "indexed": true},
        "g_text": {"type": "string", "full_text": true}}}))
    .unwrap();
    assert_eq!(schema.require("f_both").unwrap().id, BOTH);
    schema
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[ab]{0,2}",
        1 => Just(String::new()),
        1 => "(ä|ö|日本|\u{10FFFF}|\u{0}|\u{1}| ){0,3}",
        1 => prop_oneof![Just(8_191), Just(8_192)].prop_map(|len| "a".repeat(len)),
        1 => "[a-c]{3,40}",
        1 => any::<String>().prop_map(|s| s.chars().take(20).collect()),
    ]
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => -3_i64..4,
        1 => prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(i64::MAX - 1), Just(i64::MAX)],
        1 => any::<i64>(),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    let special = [
        0.0,
        -0.0,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        -f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        0.1,
        0.1 + f64::EPSILON,
    ];
    prop_oneof![
        2 => (-3_i8..4).prop_map(|v| f64::from(v) / 2.0),
        2 => proptest::sample::select(special.to_vec()),
        1 => any::<f64>().prop_filter("finite", |v| v.is_finite()),
    ]
}

fn strings() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        1 => Just(Vec::new()),
        3 => proptest::collection::vec(string(), 0..4),
        // Repeated elements.
        1 => proptest::collection::vec("[ab]", 2..6),
    ]
}

fn document() -> impl Strategy<Value = Document> {
    fn maybe<S: Strategy<Value = Value>>(id: u16, value: S) -> impl Strategy<Value = Option<(u16, Value)>> {
        proptest::option::weighted(0.7, value).prop_map(move |value| value.map(|value| (id, value)))
    }
    (
        maybe(STRING, string().prop_map(Value::String)),
        maybe(INT, int().prop_map(Value::Int)),
        maybe(FLOAT, float().prop_map(Value::Float)),
        maybe(BOOL, any::<bool>().prop_map(Value::Bool)),
        maybe(ARRAY, strings().prop_map(Value::ArrayString)),
        maybe(BOTH, string().prop_map(Value::String)),
    )
        .prop_map(|(a, b, c, d, e, f)| Document {
            vector: None,
            attributes: [a, b, c, d, e, f].into_iter().flatten().collect(),
        })
}

fn comparison() -> impl Strategy<Value = Comparison> {
    proptest::sample::select(vec![Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte])
}

fn leaf() -> impl Strategy<Value = Filter> {
    fn list<S: Strategy<Value = Value>>(attribute: u16, value: S) -> impl Strategy<Value = Filter> {
        proptest::collection::vec(value, 0..5).prop_map(move |values| Filter::In { attribute, values })
    }
    fn order<S: Strategy<Value = Value>>(attribute: u16, value: S) -> impl Strategy<Value = Filter> {
        (comparison(), value).prop_map(move |(comparison, value)| Filter::Compare { attribute, comparison, value })
    }
    prop_oneof![
        list(STRING, string().prop_map(Value::String)),
        list(BOTH, string().prop_map(Value::String)),
        list(INT, int().prop_map(Value::Int)),
        list(FLOAT, float().prop_map(Value::Float)),
        list(BOOL, any::<bool>().prop_map(Value::Bool)),
        order(STRING, string().prop_map(Value::String)),
        order(BOTH, string().prop_map(Value::String)),
        order(INT, int().prop_map(Value::Int)),
        order(FLOAT, float().prop_map(Value::Float)),
        order(BOOL, any::<bool>().prop_map(Value::Bool)),
        strings().prop_map(|values| Filter::ContainsAny {
            attribute: ARRAY,
            values: values.into_iter().map(Value::String).collect(),
        }),
        string().prop_map(|prefix| Filter::Prefix { attribute: STRING, prefix }),
        "[ab]{0,2}".prop_map(|prefix| Filter::Prefix { attribute: BOTH, prefix }),
        (STRING..=BOTH).prop_map(|attribute| Filter::IsNull { attribute }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn expected(filter: &Filter, documents: &[Document]) -> Vec<u32> {
    let matching = documents.iter().enumerate().filter(|(_, document)| filter.matches(document));
    matching.map(|(i, _)| i as u32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_matches_the_same_rows_on_a_segment(
        documents in proptest::collection::vec(document(), 0..40),
        filters in proptest::collection::vec(filter(), 20),
    ) {
        let segment = segment(&schema(), &documents);
        for filter in &filters {
            let rows: Vec<u32> = segment.filter(filter).unwrap().iter().collect();
            prop_assert_eq!(rows, expected(filter, &documents), "{:?}", filter);
        }
    }
}

/// Enough rows for several posting blocks, long lists, and columns in every coding.
fn many(rows: usize) -> Vec<Document> {
    (0..rows)
        .map(|i| {
            let mut attributes = Vec::new();
            attributes.push((STRING, Value::String(format!("key{:05}", i * 7919 % rows))));
            if i % 3 != 0 {
                attributes.push((INT, Value::Int((i as i64 * 31) % 1_000 - 500)));
            }
            if i % 5 != 0 {
                attributes.push((FLOAT, Value::Float(i as f64 * 0.37 - 100.0)));
            }
            attributes.push((BOOL, Value::Bool(i % 2 == 0)));
            if i % 7 != 0 {
                attributes
                    .push((ARRAY, Value::ArrayString((0..i % 4).map(|j| format!("tag{}", (i + j) % 9)).collect())));
            }
            Document { vector: None, attributes }
        })
        .collect()
}

fn condition(field: &str, op: &str, value: serde_json::Value) -> Filter {
    Filter::parse(&schema(), &json!({"field": field, "op": op, "value": value})).unwrap()
}

#[test]
fn every_operator_is_exact_over_many_rows_and_reads_what_it_planned() {
    let documents = many(20_000);
    let bundle = builder::build(&schema(), &documents).unwrap();
    let long_list: Vec<i64> = (-400..400).step_by(2).collect();
    let filters = [
        condition("a_string", "eq", json!("key00042")),
        condition("a_string", "gt", json!("key15000")),
        condition("a_string", "lte", json!("key00100")),
        condition("a_string", "prefix", json!("key1")),
        condition("a_string", "prefix", json!("")),
        condition("a_string", "is_null", json!(true)),
        condition("b_int", "in", json!([1, 2, 3])),
        condition("b_int", "in", json!(long_list)),
        condition("b_int", "gte", json!(100)),
        condition("b_int", "ne", json!(100)),
        condition("b_int", "is_null", json!(true)),
        condition("c_float", "eq", json!(-99.63)),
        condition("c_float", "in", json!([-99.63, -99.26, 5.0])),
        condition("c_float", "lt", json!(0)),
        condition("d_bool", "eq", json!(true)),
        condition("e_array", "contains", json!("tag3")),
        condition("e_array", "contains_any", json!(["tag1", "tag2", "none"])),
        condition("e_array", "is_null", json!(false)),
    ];
    let all = Filter::And(filters.to_vec());
    let any = Filter::Or(filters.iter().map(|filter| Filter::Not(Box::new(filter.clone()))).collect());
    for filter in filters.iter().chain([&all, &any]) {
        let (segment, counts) = open(&schema(), &bundle);
        assert_eq!(counts.reads(), 0);
        let dictionaries = segment.plan_dictionaries(None, Some(filter)).unwrap();
        let planned = segment.plan_postings(None, Some(filter)).unwrap();
        assert_eq!(counts.reads(), dictionaries.len());
        let rows: Vec<u32> = segment.filter(filter).unwrap().iter().collect();
        assert_eq!(rows, expected(filter, &documents), "{filter:?}");
        assert_eq!(counts.reads(), dictionaries.len() + planned.len());
        println!(
            "{} rows, {} reads, {} bytes: {:.80}",
            rows.len(),
            counts.reads(),
            counts.bytes(),
            format!("{filter:?}")
        );
    }
}

#[test]
fn filters_on_a_small_segment_need_few_reads() {
    let documents = many(1_000);
    let bundle = builder::build(&schema(), &documents).unwrap();
    let (segment, counts) = open(&schema(), &bundle);
    segment.filter(&condition("b_int", "gt", json!(3))).unwrap();
    segment.filter(&condition("c_float", "gt", json!(3))).unwrap();
    assert_eq!(counts.reads(), 0, "columns of a small segment are hot");
    segment.filter(&condition("a_string", "prefix", json!("key"))).unwrap();
    assert_eq!(counts.reads(), 1, "a run of the dictionary is one read");
}

#[test]
fn an_attribute_that_is_younger_than_the_segment_is_null() {
    let old = NamespaceSchema::parse(&json!({"attributes": {"a_string": "string"}})).unwrap();
    let documents = vec![Document { vector: None, attributes: vec![(STRING, Value::String("x".into()))] }; 3];
    let bundle = builder::build(&old, &documents).unwrap();
    let (segment, _) = open(&schema(), &bundle);
    for (op, value, count) in
        [("eq", json!(1), 0), ("gt", json!(1), 0), ("ne", json!(1), 3), ("is_null", json!(true), 3)]
    {
        assert_eq!(segment.filter(&condition("b_int", op, value)).unwrap().len(), count, "{op}");
    }
    assert_eq!(segment.filter(&condition("e_array", "contains", json!("x"))).unwrap().len(), 0);
    let query = text_fixture::parse(&schema(), "x", &[("f_both", 1.0)]);
    let stats = segment.stats(&query).unwrap();
    assert_eq!((stats.docs, stats.fields[0].tokens), (3, 0));
    assert_eq!(segment.search(&query, &stats, 10, None).unwrap(), []);
}

#[test]
fn filters_that_make_no_sense_are_errors() {
    let segment = segment(&schema(), &many(10));
    let kind = |filter: Filter| segment.filter(&filter).unwrap_err().kind;
    assert_eq!(kind(Filter::IsNull { attribute: 99 }), ErrorKind::NotFound);
    let text = Value::String(String::new());
    assert_eq!(kind(Filter::In { attribute: 6, values: vec![text] }), ErrorKind::Invalid);
    assert_eq!(kind(Filter::Match { attribute: STRING, query: "a".into() }), ErrorKind::Invalid);
    assert_eq!(kind(Filter::Match { attribute: 6, query: "a".repeat(70_000) }), ErrorKind::OutOfRange);
    let whole = Value::ArrayString(vec![]);
    assert_eq!(kind(Filter::In { attribute: ARRAY, values: vec![whole] }), ErrorKind::Invalid);
}

#[test]
fn full_text_without_a_filter_is_known_to_be_there_even_when_empty() {
    let value = |text: Option<&str>| text.map(|text| (6, Value::String(text.to_string()))).into_iter().collect();
    let documents = [Some("a word"), None, Some(""), Some("the")];
    let documents: Vec<Document> =
        documents.into_iter().map(|text| Document { vector: None, attributes: value(text) }).collect();
    let segment = segment(&schema(), &documents);
    let rows = |filter: Filter| segment.filter(&filter).unwrap().iter().collect::<Vec<u32>>();
    assert_eq!(rows(Filter::IsNull { attribute: 6 }), [1]);
    assert_eq!(rows(Filter::Match { attribute: 6, query: "-word".into() }), [2, 3]);
}
