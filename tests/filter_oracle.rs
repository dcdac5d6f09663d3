//! Random filters of every operator and type, up to 20 deep, against an evaluation that shares no code with the product: trees and
//! values are generated in a form of the test's own, written as JSON for the product, and asked of buffered documents and of
//! segments.

#![allow(clippy::unwrap_used)]

use crate::text_fixture;

use elacsym::document::Document;
use elacsym::filter::Filter;
use elacsym::schema::NamespaceSchema;
use elacsym::text::DocumentFilter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// A value by what it means; two of one field are equal when these are, and ordered as these are.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Meaning {
    Text(String),
    Number(i128),
    Half(i64),
    Truth(bool),
    Hour(i64),
    Reference(u128),
    Texts(Vec<String>),
    Numbers(Vec<i64>),
}

/// The values of one row by field.
type Row = BTreeMap<&'static str, Meaning>;

const FIELDS: [&str; 8] = ["at", "count", "flag", "half", "name", "ref", "sizes", "tags"];

#[derive(Debug, Clone)]
enum Tree {
    Leaf { field: &'static str, op: &'static str, values: Vec<Meaning> },
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
}

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "at": "timestamp", "count": "int", "flag": "bool", "half": "float", "name": "string", "ref": "uuid",
        "sizes": "array_int", "tags": "array_string"}}))
    .unwrap()
}

/// How a user writes it; `form` picks among equal spellings.
fn written(value: &Meaning, form: usize) -> Json {
    match value {
        Meaning::Text(text) => json!(text),
        Meaning::Number(number) => json!(i64::try_from(*number).unwrap()),
        Meaning::Half(halves) if halves % 2 == 0 && form == 0 => json!(halves / 2),
        Meaning::Half(halves) => json!(*halves as f64 / 2.0),
        Meaning::Truth(truth) => json!(truth),
        Meaning::Hour(hour) => match form {
            0 => json!(format!("2024-03-10T{hour:02}:00:00Z")),
            1 => json!(format!("2024-03-10 {:02}:30:00.000+02:30", hour + 2)),
            _ => json!(format!("2024-03-10T{hour:02}:00")),
        },
        Meaning::Reference(number) => {
            let digits = format!("{number:032x}");
            let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            json!(if form == 0 { digits.to_uppercase() } else { parts.join("-") })
        }
        Meaning::Texts(texts) => json!(texts),
        Meaning::Numbers(numbers) => json!(numbers),
    }
}

fn value(field: &'static str) -> BoxedStrategy<Meaning> {
    let text = || prop_oneof![3 => "[ab]{0,2}", 1 => "(ä|日|\u{10FFFF}| ){1,2}"];
    let number = || prop_oneof![4 => -3_i64..4, 1 => prop_oneof![Just(i64::MIN), Just(i64::MAX)]];
    match field {
        "at" => (0_i64..6).prop_map(Meaning::Hour).boxed(),
        "count" => number().prop_map(|number| Meaning::Number(i128::from(number))).boxed(),
        "flag" => any::<bool>().prop_map(Meaning::Truth).boxed(),
        "half" => (-5_i64..6).prop_map(Meaning::Half).boxed(),
        "name" => text().prop_map(Meaning::Text).boxed(),
        "ref" => prop_oneof![0_u128..4, Just(u128::MAX), Just(1 << 127)].prop_map(Meaning::Reference).boxed(),
        "sizes" => proptest::collection::vec(number(), 0..4).prop_map(Meaning::Numbers).boxed(),
        _ => proptest::collection::vec(text(), 0..4).prop_map(Meaning::Texts).boxed(),
    }
}

fn row() -> impl Strategy<Value = Row> {
    let fields: Vec<_> = FIELDS
        .iter()
        .map(|field| proptest::option::weighted(0.75, value(field)).prop_map(move |v| (*field, v)))
        .collect();
    fields.prop_map(|fields| fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect())
}

fn leaf() -> impl Strategy<Value = Tree> {
    proptest::sample::select(FIELDS.to_vec()).prop_flat_map(|field| {
        let ops: &[&'static str] = match field {
            "sizes" | "tags" => &["contains", "contains_any", "is_null"],
            "flag" => &["eq", "ne", "in", "not_in", "is_null"],
            "name" => &["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "prefix", "is_null"],
            _ => &["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "is_null"],
        };
        (proptest::sample::select(ops.to_vec()), proptest::collection::vec(value(field), 1..14)).prop_map(
            move |(op, mut values)| {
                if !matches!(op, "in" | "not_in") {
                    values.truncate(1);
                }
                Tree::Leaf { field, op, values }
            },
        )
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let bushy = leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::Or),
            inner.prop_map(|tree| Tree::Not(Box::new(tree))),
        ]
    });
    // One path of 20 groups, with a leaf beside it at each.
    let deep = (leaf(), proptest::collection::vec((0_u8..3, leaf()), 20)).prop_map(|(innermost, levels)| {
        levels.into_iter().fold(innermost, |inner, (kind, beside)| match kind {
            0 => Tree::And(vec![beside, inner]),
            1 => Tree::Or(vec![inner, beside]),
            _ => Tree::Not(Box::new(inner)),
        })
    });
    prop_oneof![2 => bushy, 1 => deep]
}

impl Tree {
    fn written(&self, form: usize) -> Json {
        let group = |kind: &str, trees: &[Tree]| json!({"type": kind, "conditions": trees.iter().map(|tree| tree.written(form)).collect::<Vec<_>>()});
        match self {
            Self::And(trees) => group("and", trees),
            Self::Or(trees) => group("or", trees),
            Self::Not(tree) => group("not", std::slice::from_ref(tree)),
            Self::Leaf { field, op: "is_null", .. } => json!({"field": field, "op": "is_null"}),
            Self::Leaf { field, op, values } => {
                let value = match (*op, &values[0]) {
                    ("in" | "not_in", _) => values.iter().map(|value| written(value, form)).collect(),
                    ("contains", Meaning::Texts(texts)) => json!(texts.first().cloned().unwrap_or_default()),
                    ("contains", Meaning::Numbers(numbers)) => json!(numbers.first().copied().unwrap_or_default()),
                    (_, value) => written(value, form),
                };
                json!({"field": field, "op": op, "value": value})
            }
        }
    }

    fn holds(&self, row: &Row) -> bool {
        match self {
            Self::And(trees) => trees.iter().all(|tree| tree.holds(row)),
            Self::Or(trees) => trees.iter().any(|tree| tree.holds(row)),
            Self::Not(tree) => !tree.holds(row),
            Self::Leaf { field, op, values } => {
                let wanted = &values[0];
                match (*op, row.get(field)) {
                    ("is_null", held) => held.is_none(),
                    ("ne" | "not_in", None) => true,
                    (_, None) => false,
                    ("eq", Some(held)) => held == wanted,
                    ("ne", Some(held)) => held != wanted,
                    ("in", Some(held)) => values.contains(held),
                    ("not_in", Some(held)) => !values.contains(held),
                    ("gt", Some(held)) => held > wanted,
                    ("gte", Some(held)) => held >= wanted,
                    ("lt", Some(held)) => held < wanted,
                    ("lte", Some(held)) => held <= wanted,
                    ("prefix", Some(Meaning::Text(held))) => {
                        matches!(wanted, Meaning::Text(prefix) if held.starts_with(prefix.as_str()))
                    }
                    ("contains", Some(Meaning::Texts(held))) => {
                        matches!(wanted, Meaning::Texts(texts) if held.contains(&texts.first().cloned().unwrap_or_default()))
                    }
                    ("contains", Some(Meaning::Numbers(held))) => {
                        matches!(wanted, Meaning::Numbers(n) if held.contains(&n.first().copied().unwrap_or_default()))
                    }
                    ("contains_any", Some(Meaning::Texts(held))) => {
                        matches!(wanted, Meaning::Texts(texts) if texts.iter().any(|text| held.contains(text)))
                    }
                    ("contains_any", Some(Meaning::Numbers(held))) => {
                        matches!(wanted, Meaning::Numbers(numbers) if numbers.iter().any(|number| held.contains(number)))
                    }
                    (op, held) => panic!("{op} of {held:?}"),
                }
            }
        }
    }
}

fn document(row: &Row, form: usize) -> Document {
    let attributes: serde_json::Map<String, Json> =
        row.iter().map(|(field, value)| (field.to_string(), written(value, form))).collect();
    let (_, document) = Document::parse(&schema(), &json!({"id": 1, "attributes": attributes})).unwrap();
    // As the write buffer keeps it.
    Document::decode(&document.encode(), "test").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_filter_finds_what_it_means_in_the_buffer_and_in_segments(
        rows in proptest::collection::vec(row(), 0..40),
        trees in proptest::collection::vec(tree(), 20),
        (row_form, tree_form) in (0_usize..3, 0_usize..3),
    ) {
        let schema = schema();
        let documents: Vec<Document> = rows.iter().map(|row| document(row, row_form)).collect();
        let segment = text_fixture::segment(&schema, &documents);
        for tree in &trees {
            let json = tree.written(tree_form);
            let filter = Filter::parse(&schema, &json).unwrap();
            let expected: Vec<u32> = (0..).zip(&rows).filter(|(_, row)| tree.holds(row)).map(|(i, _)| i).collect();
            let mut matching = DocumentFilter::new(&schema, Some(&filter)).unwrap();
            let buffered: Vec<u32> =
                (0..).zip(&documents).filter(|(_, document)| matching.matches(document)).map(|(i, _)| i).collect();
            prop_assert_eq!(&buffered, &expected, "buffered: {}", json);
            let in_segment: Vec<u32> = segment.filter(&filter).unwrap().iter().collect();
            prop_assert_eq!(&in_segment, &expected, "segment: {}", json);
        }
    }
}

#[test]
fn lists_of_ten_thousand_values_are_exact_and_quick() {
    let names = ["at", "count", "half", "name", "ref"];
    let schema = schema();
    let value = |field: &str, i: i64| match field {
        "at" => json!(format!("2024-03-10T{:02}:{:02}:{:02}Z", i / 3600 % 24, i / 60 % 60, i % 60)),
        "count" => json!(i),
        "half" => json!(i as f64 / 2.0),
        "name" => json!(format!("name {i}")),
        _ => json!(format!("{i:032x}")),
    };
    let rows = 30_000;
    let documents: Vec<Document> = (0..rows)
        .map(|i| {
            let attributes: serde_json::Map<String, Json> =
                names.iter().map(|field| (field.to_string(), value(field, i))).collect();
            Document::parse(&schema, &json!({"id": 1, "attributes": attributes})).unwrap().1
        })
        .collect();
    let segment = text_fixture::segment(&schema, &documents);
    for field in names {
        // Every second one is beyond the rows.
        let values: Vec<Json> = (0..10_000).map(|i| value(field, if i % 2 == 0 { i * 3 } else { rows + i })).collect();
        let filter = Filter::parse(&schema, &json!({"field": field, "op": "in", "value": values})).unwrap();
        let started = std::time::Instant::now();
        let found: Vec<u32> = segment.filter(&filter).unwrap().iter().collect();
        let on_segment = started.elapsed();
        let started = std::time::Instant::now();
        let mut matching = DocumentFilter::new(&schema, Some(&filter)).unwrap();
        let buffered: Vec<u32> =
            (0..).zip(&documents).filter(|(_, document)| matching.matches(document)).map(|(i, _)| i).collect();
        println!("{field}: segment of {rows} rows {on_segment:?}, as many documents {:?}", started.elapsed());
        let expected: Vec<u32> = (0..10_000).step_by(2).map(|i| i * 3).collect();
        assert_eq!(found, expected, "{field}");
        assert_eq!(buffered, found, "{field}");
    }
}
