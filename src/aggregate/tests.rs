use super::*;
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind};
use crate::ids::Uuid;
use crate::schema::NamespaceSchema;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Attributes in alphabetical order, so that ids are as written.
fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "a_text": "string", "b_int": "int", "c_float": "float", "d_bool": "bool", "e_tags": "array_string",
        "f_time": "timestamp", "g_uuid": "uuid", "h_ints": "array_int",
        "i_body": {"type": "string", "full_text": true}}}))
    .unwrap()
}

fn document(attributes: Json) -> Document {
    Document::parse(&schema(), &json!({"id": 1, "attributes": attributes})).unwrap().1
}

fn aggregation(facets: &Json, documents: &[Document]) -> Result<Aggregation, Error> {
    let mut aggregation = Aggregation::new(Facet::parse_all(&schema(), facets)?.into());
    documents.iter().try_for_each(|document| aggregation.add(document))?;
    Ok(aggregation)
}

fn facet(facet: Json, documents: &[Document]) -> Json {
    let aggregation = aggregation(&json!({"f": facet}), documents).unwrap();
    serde_json::from_str::<Json>(&aggregation.to_json().unwrap()).unwrap()["f"].clone()
}

#[test]
fn terms_are_ordered_by_count_then_value_and_nothing_is_lost() {
    let documents: Vec<Document> = ["b", "a", "c", "b", "d"]
        .iter()
        .map(|text| document(json!({"a_text": text})))
        .chain([document(json!({}))])
        .collect();
    assert_eq!(
        facet(json!({"type": "terms", "field": "a_text", "limit": 2}), &documents),
        json!({"type": "terms", "buckets": [{"value": "b", "count": 2}, {"value": "a", "count": 1}], "other": 2, "missing": 1})
    );
    let values: Vec<Json> = [1.5, -0.0, 0.0, -2.5].iter().map(|float| json!({"c_float": float})).collect();
    let documents: Vec<Document> = values.into_iter().map(document).collect();
    assert_eq!(
        facet(json!({"type": "terms", "field": "c_float"}), &documents)["buckets"],
        json!([{"value": 0.0, "count": 2}, {"value": -2.5, "count": 1}, {"value": 1.5, "count": 1}])
    );
}

#[test]
fn an_element_counts_once_for_each_document_and_an_empty_array_is_missing() {
    let documents =
        [json!(["x", "x", "y"]), json!(["y"]), json!([]), json!(null)].map(|tags| document(json!({"e_tags": tags})));
    assert_eq!(
        facet(json!({"type": "terms", "field": "e_tags"}), &documents),
        json!({"type": "terms", "buckets": [{"value": "y", "count": 2}, {"value": "x", "count": 1}], "other": 0, "missing": 2})
    );
    let documents = [json!([3, 3, -1]), json!([3])].map(|ints| document(json!({"h_ints": ints})));
    assert_eq!(
        facet(json!({"type": "terms", "field": "h_ints"}), &documents)["buckets"],
        json!([{"value": 3, "count": 2}, {"value": -1, "count": 1}])
    );
}

#[test]
fn every_type_has_terms() {
    let uuid = "00000000-0000-4000-8000-00000000000a";
    let documents = [document(json!({"d_bool": true, "f_time": "2024-05-17", "g_uuid": uuid, "b_int": 7}))];
    for (field, value) in [
        ("d_bool", json!(true)),
        ("f_time", json!("2024-05-17T00:00:00Z")),
        ("g_uuid", json!(uuid)),
        ("b_int", json!(7)),
    ] {
        let answer = facet(json!({"type": "terms", "field": field}), &documents);
        assert_eq!(answer["buckets"], json!([{"value": value, "count": 1}]), "{field}");
    }
    assert_eq!(Uuid::parse(uuid).unwrap().to_string(), uuid);
}

#[test]
fn stats_are_exact_for_ints_beyond_64_bits_and_for_floats() {
    let ints: Vec<Document> = [i64::MAX, i64::MAX, 1]
        .iter()
        .map(|int| document(json!({"b_int": int})))
        .chain([document(json!({}))])
        .collect();
    let answer = aggregation(&json!({"f": {"type": "stats", "field": "b_int"}}), &ints).unwrap().to_json().unwrap();
    let expected = "{\"f\":{\"type\":\"stats\",\"count\":3,\"nulls\":1,\"min\":1,\"max\":9223372036854775807,\
                    \"sum\":18446744073709551615,\"avg\":6.148914691236517e+18}}";
    assert_eq!(answer, expected);
    let floats: Vec<Document> = [1e16, 1.0, -1e16].iter().map(|float| document(json!({"c_float": float}))).collect();
    let answer = facet(json!({"type": "stats", "field": "c_float"}), &floats);
    assert_eq!((&answer["sum"], &answer["min"], &answer["max"]), (&json!(1.0), &json!(-1e16), &json!(1e16)));
    let times: Vec<Document> =
        ["2024-05-17", "2023-01-01"].iter().map(|time| document(json!({"f_time": time}))).collect();
    assert_eq!(
        facet(json!({"type": "stats", "field": "f_time"}), &times),
        json!({"type": "stats", "count": 2, "nulls": 0, "min": "2023-01-01T00:00:00Z", "max": "2024-05-17T00:00:00Z"})
    );
    assert_eq!(
        facet(json!({"type": "stats", "field": "b_int"}), &[]),
        json!({"type": "stats", "count": 0, "nulls": 0, "min": null, "max": null, "sum": null, "avg": null})
    );
}

#[test]
fn what_is_not_finite_is_written_as_postgresql_does() {
    let value = |float: f64| Document { vector: None, attributes: vec![(2, Value::Float(float))] };
    let documents = [value(f64::NAN), value(f64::INFINITY), value(1.0)];
    let answer = facet(json!({"type": "stats", "field": "c_float"}), &documents);
    assert_eq!((&answer["sum"], &answer["min"], &answer["max"]), (&json!("NaN"), &json!(1.0), &json!("NaN")));
    let answer = facet(json!({"type": "histogram", "field": "c_float", "interval": 1}), &documents);
    assert_eq!((&answer["missing"], answer["buckets"].as_array().unwrap().len()), (&json!(2), 1));
    let answer = facet(json!({"type": "range", "field": "c_float", "ranges": [{"from": 5}, {"to": 5}]}), &documents);
    assert_eq!(answer["buckets"], json!([{"from": 5, "count": 2}, {"to": 5, "count": 1}]));
}

#[test]
fn histograms_start_at_their_offset_and_leave_empty_buckets_out() {
    let ints: Vec<Document> = [-1, 0, 9, 10, 35].iter().map(|int| document(json!({"b_int": int}))).collect();
    let bucket = |from: i64, to: i64, count: u64| json!({"from": from, "to": to, "count": count});
    assert_eq!(
        facet(json!({"type": "histogram", "field": "b_int", "interval": 10}), &ints)["buckets"],
        json!([bucket(-10, 0, 1), bucket(0, 10, 2), bucket(10, 20, 1), bucket(30, 40, 1)])
    );
    assert_eq!(
        facet(json!({"type": "histogram", "field": "b_int", "interval": 10, "offset": 5}), &ints)["buckets"],
        json!([bucket(-5, 5, 2), bucket(5, 15, 2), bucket(35, 45, 1)])
    );
    let ends = [i64::MIN, i64::MAX].map(|int| document(json!({"b_int": int})));
    assert_eq!(facet(json!({"type": "histogram", "field": "b_int", "interval": i64::MAX}), &ends)["missing"], json!(0));
    let times: Vec<Document> =
        ["2024-01-31T23:30:00Z", "2024-02-29"].iter().map(|time| document(json!({"f_time": time}))).collect();
    assert_eq!(
        facet(json!({"type": "histogram", "field": "f_time", "interval": "month"}), &times)["buckets"],
        json!([
            {"from": "2024-01-01T00:00:00Z", "to": "2024-02-01T00:00:00Z", "count": 1},
            {"from": "2024-02-01T00:00:00Z", "to": "2024-03-01T00:00:00Z", "count": 1},
        ])
    );
    // One hour east of UTC, February has begun.
    assert_eq!(
        facet(json!({"type": "histogram", "field": "f_time", "interval": "month", "offset": "-1 hour"}), &times)["buckets"],
        json!([{"from": "2024-01-31T23:00:00Z", "to": "2024-02-29T23:00:00Z", "count": 2}])
    );
}

#[test]
fn ranges_are_answered_in_their_order_and_may_overlap() {
    let ints: Vec<Document> = (0..10).map(|int| document(json!({"b_int": int}))).chain([document(json!({}))]).collect();
    let ranges = json!([{"from": 5}, {"key": "few", "to": 2.5}, {"from": 2, "to": 6}, {"from": 9, "to": 1}]);
    assert_eq!(
        facet(json!({"type": "range", "field": "b_int", "ranges": ranges}), &ints),
        json!({"type": "range", "missing": 1, "buckets": [
            {"from": 5, "count": 5}, {"key": "few", "to": 2.5, "count": 3}, {"from": 2, "to": 6, "count": 4},
            {"from": 9, "to": 1, "count": 0}]})
    );
}

#[test]
fn too_much_is_an_error_and_never_half_an_answer() {
    let many: Vec<Document> = (0..10_001).map(|int| document(json!({"b_int": int}))).collect();
    let error = aggregation(&json!({"f": {"type": "histogram", "field": "b_int", "interval": 1}}), &many).unwrap_err();
    assert!(error.kind == ErrorKind::Exhausted && error.message.contains("\"f\""), "{error}");
    let far = [document(json!({"c_float": 1e300}))];
    let error = aggregation(&json!({"f": {"type": "histogram", "field": "c_float", "interval": 1}}), &far).unwrap_err();
    assert!(error.kind == ErrorKind::OutOfRange && error.message.contains("\"f\""), "{error}");
    let long = |i: usize| Document {
        vector: None,
        attributes: vec![(8, Value::String(format!("{i}{}", "x".repeat(4 << 20))))],
    };
    let mut aggregation = Aggregation::new(
        Facet::parse_all(&schema(), &json!({"f": {"type": "terms", "field": "i_body"}})).unwrap().into(),
    );
    let error = (0..100).find_map(|i| aggregation.add(&long(i)).err()).unwrap();
    assert!(error.kind == ErrorKind::Exhausted && error.message.contains("256 MiB"), "{error}");
}

#[test]
fn wrong_facets_are_refused_and_named() {
    let of = |facet: Json| json!({"f": facet});
    for (facets, kind, part) in [
        (json!([]), ErrorKind::Invalid, "JSON object"),
        (json!({}), ErrorKind::Invalid, "empty"),
        (of(json!(1)), ErrorKind::Invalid, "\"f\""),
        (of(json!({"field": "b_int"})), ErrorKind::Invalid, "\"type\""),
        (of(json!({"type": "terms"})), ErrorKind::Invalid, "\"field\""),
        (of(json!({"type": "sum", "field": "b_int"})), ErrorKind::Invalid, "\"sum\""),
        (of(json!({"type": "terms", "field": "nope"})), ErrorKind::NotFound, "\"nope\""),
        (of(json!({"type": "terms", "field": "b_int", "size": 3})), ErrorKind::Invalid, "\"size\""),
        (of(json!({"type": "terms", "field": "b_int", "limit": 0})), ErrorKind::OutOfRange, "10000"),
        (of(json!({"type": "terms", "field": "b_int", "limit": 2.5})), ErrorKind::OutOfRange, "2.5"),
        (of(json!({"type": "stats", "field": "a_text"})), ErrorKind::TypeMismatch, "\"a_text\""),
        (of(json!({"type": "range", "field": "e_tags", "ranges": [{}]})), ErrorKind::TypeMismatch, "\"e_tags\""),
        (of(json!({"type": "histogram", "field": "b_int"})), ErrorKind::Invalid, "interval"),
        (of(json!({"type": "histogram", "field": "b_int", "interval": 0})), ErrorKind::OutOfRange, "above 0"),
        (of(json!({"type": "histogram", "field": "b_int", "interval": 0.5})), ErrorKind::TypeMismatch, "0.5"),
        (of(json!({"type": "histogram", "field": "c_float", "interval": "1 day"})), ErrorKind::TypeMismatch, "number"),
        (of(json!({"type": "histogram", "field": "f_time", "interval": 5})), ErrorKind::Invalid, "length of time"),
        (
            of(json!({"type": "histogram", "field": "f_time", "interval": "day", "offset": "1 month"})),
            ErrorKind::Invalid,
            "offset",
        ),
        (of(json!({"type": "range", "field": "b_int", "ranges": []})), ErrorKind::Invalid, "ranges"),
        (of(json!({"type": "range", "field": "b_int", "ranges": [5]})), ErrorKind::TypeMismatch, "objects"),
        (of(json!({"type": "range", "field": "b_int", "ranges": [{"low": 1}]})), ErrorKind::Invalid, "\"low\""),
        (of(json!({"type": "range", "field": "b_int", "ranges": [{"from": "x"}]})), ErrorKind::TypeMismatch, "\"x\""),
        (of(json!({"type": "range", "field": "f_time", "ranges": [{"to": "soon"}]})), ErrorKind::TypeMismatch, "soon"),
    ] {
        let error = Facet::parse_all(&schema(), &facets).expect_err(&facets.to_string());
        assert!(error.kind == kind && error.message.contains(part), "{facets}: {error}");
    }
    let many: serde_json::Map<String, Json> =
        (0..101).map(|i| (i.to_string(), json!({"type": "terms", "field": "b_int"}))).collect();
    assert_eq!(Facet::parse_all(&schema(), &Json::Object(many)).unwrap_err().kind, ErrorKind::OutOfRange);
}

#[test]
fn a_text_matches_in_every_field_with_a_weight() {
    let text = ("+a -\"b c\"*", &[(1, 0.0), (8, 2.0)][..], true);
    let words = Filter::Search { attributes: vec![8], query: "+a -\"b c\"*".to_string(), all: true };
    let filter = Filter::IsNull { attribute: 1 };
    assert_eq!(matching(None, Some(text)), Some(words.clone()));
    assert_eq!(matching(Some(filter.clone()), Some(text)), Some(Filter::And(vec![filter.clone(), words])));
    assert_eq!((matching(Some(filter.clone()), None), matching(None, None)), (Some(filter), None));
}

fn row() -> impl Strategy<Value = Document> {
    let text = proptest::option::of("[a-d]{0,2}").prop_map(|v| v.map(|v| (0, Value::String(v))));
    let int = proptest::option::of(prop_oneof![-20_i64..20, any::<i64>()]).prop_map(|v| v.map(|v| (1, Value::Int(v))));
    let float = proptest::option::of(-100.0..100.0).prop_map(|v| v.map(|v| (2, Value::Float(v))));
    let tags = proptest::option::of(proptest::collection::vec("[a-c]", 0..4));
    let tags = tags.prop_map(|v| v.map(|v| (4, Value::ArrayString(v))));
    let time = proptest::option::of(-(1_i64 << 52)..(1 << 52)).prop_map(|v| v.map(|v| (5, Value::Timestamp(v))));
    (text, int, float, tags, time).prop_map(|(a, b, c, d, e)| Document {
        vector: None,
        attributes: [a, b, c, d, e].into_iter().flatten().collect(),
    })
}

const ALL: &str = r#"{
    "text": {"type": "terms", "field": "a_text", "limit": 3}, "tags": {"type": "terms", "field": "e_tags"},
    "int": {"type": "stats", "field": "b_int"}, "float": {"type": "stats", "field": "c_float"},
    "width": {"type": "histogram", "field": "c_float", "interval": 0.1, "offset": 0.05},
    "years": {"type": "histogram", "field": "f_time", "interval": "10 years"},
    "range": {"type": "range", "field": "b_int", "ranges": [{"to": 0}, {"from": 0, "to": 10}, {"from": 10}]}}"#;

proptest! {
    #[test]
    fn order_and_spread_of_rows_change_nothing(
        rows in proptest::collection::vec(row(), 0..60),
        cuts in proptest::collection::vec(0_usize..60, 0..4),
    ) {
        let facets: Arc<[Facet]> = Facet::parse_all(&schema(), &serde_json::from_str(ALL).unwrap()).unwrap().into();
        let mut whole = Aggregation::new(facets.clone());
        rows.iter().for_each(|row| whole.add(row).unwrap());
        let mut parts: BTreeMap<usize, Aggregation> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate().rev() {
            let part = cuts.iter().filter(|cut| **cut <= place).count();
            parts.entry(part).or_insert_with(|| Aggregation::new(facets.clone())).add(row).unwrap();
        }
        let mut merged = Aggregation::new(facets.clone());
        parts.into_values().for_each(|part| merged.merge(part).unwrap());
        prop_assert_eq!(merged.to_json().unwrap(), whole.to_json().unwrap());
        prop_assert_eq!(merged.rows(), rows.len() as u64);
    }

    #[test]
    fn a_value_is_within_the_bounds_of_its_bucket(value in -1e6..1e6_f64, interval in 1e-3..1e3_f64, offset in -10.0..10.0_f64) {
        let row = Document { vector: None, attributes: vec![(2, Value::Float(value))] };
        let answer = facet(json!({"type": "histogram", "field": "c_float", "interval": interval, "offset": offset}), &[row]);
        let bucket = &answer["buckets"][0];
        let (from, to) = (bucket["from"].as_f64().unwrap(), bucket["to"].as_f64().unwrap());
        prop_assert!(from <= value && value < to, "{value} in {bucket}");
    }
}
