use super::*;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "title": "string", "body": {"type": "string", "full_text": true}, "year": "int", "score": "float",
        "live": "bool", "tags": "array_string", "at": "timestamp", "ref": "uuid", "sizes": "array_int"}}))
    .unwrap()
}

fn matches(filter: Json, attributes: Json) -> bool {
    let schema = schema();
    let (_, document) = Document::parse(&schema, &json!({"id": 1, "attributes": attributes})).unwrap();
    Filter::parse(&schema, &filter).unwrap().matches(&document)
}

#[test]
fn every_operator_has_its_meaning() {
    let cond = |field: &str, op: &str, value: Json| json!({"field": field, "op": op, "value": value});
    let doc = json!({"title": "beta", "year": 2020, "score": 0.5, "live": true, "tags": ["x", "y"],
        "at": "2024-05-17T09:30:00Z", "ref": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "sizes": [3, -1]});
    for (field, op, value, expected) in [
        ("year", "eq", json!(2020), true),
        ("year", "eq", json!(2020.0), true),
        ("year", "ne", json!(2020), false),
        ("year", "ne", json!(2021), true),
        ("year", "gt", json!(2019), true),
        ("year", "gt", json!(2020), false),
        ("year", "gte", json!(2020), true),
        ("year", "lt", json!(2020), false),
        ("year", "lte", json!(2020), true),
        ("year", "in", json!([1, 2020]), true),
        ("year", "in", json!([]), false),
        ("year", "not_in", json!([]), true),
        ("score", "gte", json!(0), true),
        ("live", "eq", json!(true), true),
        ("title", "gt", json!("alpha"), true),
        ("title", "prefix", json!("be"), true),
        ("title", "prefix", json!("a"), false),
        ("tags", "contains", json!("y"), true),
        ("tags", "contains", json!("z"), false),
        ("tags", "contains_any", json!(["z", "x"]), true),
        ("tags", "contains_any", json!([]), false),
        ("tags", "is_null", json!(true), false),
        ("tags", "is_null", json!(false), true),
        ("at", "eq", json!("2024-05-17T11:30:00+02:00"), true),
        ("at", "in", json!(["2024-05-17", "2024-05-17 09:30"]), true),
        ("at", "gt", json!("2024-05-17T09:29:59.999999Z"), true),
        ("at", "lte", json!("2024-05-17"), false),
        ("at", "lt", json!("infinity"), true),
        ("at", "lt", json!("-infinity"), false),
        ("ref", "eq", json!("A0EEBC999C0B4EF8BB6D6BB9BD380A11"), true),
        ("ref", "ne", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"), true),
        ("ref", "gte", json!("a0000000-0000-0000-0000-000000000000"), true),
        ("ref", "is_null", json!(true), false),
        ("sizes", "contains", json!(3), true),
        ("sizes", "contains", json!(3.0), true),
        ("sizes", "contains", json!(4), false),
        ("sizes", "contains_any", json!([4, -1]), true),
        ("sizes", "contains_any", json!([]), false),
    ] {
        assert_eq!(matches(cond(field, op, value.clone()), doc.clone()), expected, "{field} {op} {value}");
        assert_eq!(matches(json!({"type": "not", "conditions": [cond(field, op, value)]}), doc.clone()), !expected);
    }
}

#[test]
fn a_missing_attribute_matches_only_negations_and_is_null() {
    for op in ["eq", "gt", "gte", "lt", "lte"] {
        assert!(!matches(json!({"field": "year", "op": op, "value": 1}), json!({})));
    }
    assert!(matches(json!({"field": "year", "op": "ne", "value": 1}), json!({})));
    assert!(matches(json!({"field": "year", "op": "is_null"}), json!({})));
    assert!(matches(json!({"type": "and", "conditions": []}), json!({})));
    assert!(!matches(json!({"type": "or", "conditions": []}), json!({})));
}

#[test]
fn wrong_filters_are_refused_and_named() {
    let schema = schema();
    let mut deep = json!({"field": "year", "op": "eq", "value": 1});
    for _ in 0..100 {
        deep = json!({"type": "not", "conditions": [deep]});
    }
    for (filter, part) in [
        (json!("year > 1"), "JSON object"),
        (json!({}), "field"),
        (json!({"field": "year"}), "op"),
        (json!({"field": 1, "op": "eq"}), "field"),
        (json!({"field": "nope", "op": "eq", "value": 1}), "nope"),
        (json!({"field": "year", "op": "like", "value": 1}), "like"),
        (json!({"field": "year", "op": "eq", "value": "x"}), "year"),
        (json!({"field": "year", "op": "eq", "value": 1.5}), "1.5"),
        (json!({"field": "year", "op": "eq"}), "no value"),
        (json!({"field": "year", "op": "in", "value": 1}), "array"),
        (json!({"field": "year", "op": "contains", "value": 1}), "contains"),
        (json!({"field": "tags", "op": "eq", "value": "x"}), "array_string"),
        (json!({"field": "live", "op": "gt", "value": true}), "gt"),
        (json!({"field": "at", "op": "eq", "value": "soon"}), "soon"),
        (json!({"field": "at", "op": "eq", "value": 5}), "timestamp"),
        (json!({"field": "at", "op": "prefix", "value": "2024"}), "prefix"),
        (json!({"field": "ref", "op": "eq", "value": "1"}), "uuid"),
        (json!({"field": "ref", "op": "prefix", "value": "a0"}), "prefix"),
        (json!({"field": "sizes", "op": "eq", "value": [1]}), "array_int"),
        (json!({"field": "sizes", "op": "gt", "value": 1}), "array_int"),
        (json!({"field": "sizes", "op": "contains", "value": "1"}), "takes a number"),
        (json!({"field": "sizes", "op": "contains", "value": 1.5}), "1.5"),
        (json!({"field": "sizes", "op": "contains_any", "value": ["1"]}), "sizes"),
        (json!({"field": "tags", "op": "contains", "value": 1}), "takes a string"),
        (json!({"field": "year", "op": "in", "value": vec![1; MAX_LIST_VALUES + 1]}), "65536"),
        (json!({"field": "body", "op": "eq", "value": "x"}), "not indexed"),
        (json!({"type": "xor", "conditions": []}), "xor"),
        (json!({"type": "and"}), "conditions"),
        (json!({"type": "not", "conditions": []}), "exactly one"),
        (json!({"type": "and", "conditions": [], "field": "year"}), "field"),
        (deep, "nested"),
    ] {
        let error = Filter::parse(&schema, &filter).expect_err(&filter.to_string());
        assert!(error.message.contains(part), "{filter}: {error}");
    }
}

#[test]
fn match_is_for_full_text_attributes() {
    let schema = NamespaceSchema::parse(&json!({"attributes": {
        "body": {"type": "string", "full_text": true}, "tag": "string"}}))
    .unwrap();
    let parse = |field: &str, value: serde_json::Value| {
        Filter::parse(&schema, &json!({"field": field, "op": "match", "value": value}))
    };
    let expected = Filter::Match { attribute: 0, query: "+a -b".to_string() };
    assert_eq!(parse("body", json!("+a -b")).unwrap(), expected);
    let errors = [parse("tag", json!("a")), parse("body", json!(3)), parse("body", json!("x".repeat(70_000)))];
    let kinds: Vec<ErrorKind> = errors.into_iter().map(|result| result.unwrap_err().kind).collect();
    assert_eq!(kinds, [ErrorKind::TypeMismatch, ErrorKind::TypeMismatch, ErrorKind::OutOfRange]);
}

#[test]
fn a_prepared_filter_means_the_same_whatever_its_lists() {
    let schema = schema();
    let lists = [
        ("title", json!(["a", "b", "c", "d", "e", "f", "g", "h", "beta"])),
        ("year", json!([1, 2, 3, 4, 5, 6, 7, 8, 2020])),
        ("score", json!([1, 2, 3, 4, 5, 6, 7, 8, -0.0])),
        ("live", json!([true, true, true, true, true, true, true, true, true])),
        ("at", json!(vec!["2024-05-17"; 9])),
        ("ref", json!(vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"; 9])),
    ];
    let documents = [
        json!({}),
        json!({"title": "beta", "year": 2020, "score": 0.0, "live": true, "at": "2024-05-17T00:00:00Z",
            "ref": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "tags": ["q", "i"], "sizes": [9]}),
        json!({"title": "z", "year": 9, "score": 9, "live": false, "at": "2024-05-18", "tags": [],
            "ref": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12", "sizes": [10, 11]}),
    ];
    let mut filters: Vec<Json> =
        lists.iter().map(|(field, values)| json!({"field": field, "op": "in", "value": values})).collect();
    filters
        .push(json!({"field": "tags", "op": "contains_any", "value": ["a", "b", "c", "d", "e", "f", "g", "h", "i"]}));
    filters.push(json!({"field": "sizes", "op": "contains_any", "value": [1, 2, 3, 4, 5, 6, 7, 8, 9]}));
    filters.push(json!({"type": "not", "conditions": [{"type": "or", "conditions": filters}]}));
    for filter in &filters {
        let filter = Filter::parse(&schema, filter).unwrap();
        let prepared = Prepared::new(&filter);
        for attributes in &documents {
            let (_, document) = Document::parse(&schema, &json!({"id": 1, "attributes": attributes})).unwrap();
            assert_eq!(prepared.matches(&document, &mut |_| false), filter.matches(&document), "{filter:?}");
        }
        let (_, document) = Document::parse(&schema, &json!({"id": 1, "attributes": documents[1]})).unwrap();
        assert_eq!(filter.matches(&document), !matches!(filter, Filter::Not(_)), "{filter:?}");
    }
}
