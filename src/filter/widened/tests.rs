use super::*;
use crate::filter::with_digits;
use crate::schema::NamespaceSchema;
use serde_json::json;
use std::cmp::Ordering;

const AMOUNT: AttributeId = 0;
const BODY: AttributeId = 1;
const NAME: AttributeId = 2;
const PRICE: AttributeId = 3;
const SEEN: AttributeId = 4;
const TAGS: AttributeId = 5;

/// Ids are in the order of the names.
fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "amount": "float",
        "body": {"type": "string", "full_text": true},
        "name": "string",
        "price": "float",
        "seen": "timestamp",
        "tags": "array_string",
    }}))
    .unwrap()
}

fn widened(json: &str) -> Widened {
    let filter = Filter::parse(&schema(), &serde_json::from_str(json).unwrap()).unwrap();
    Widened::new(&filter, &with_digits(json).unwrap(), &|attribute| attribute == AMOUNT).unwrap()
}

/// A row as a table has it.
#[derive(Debug, Clone, Default)]
struct Values {
    amount: Option<&'static str>,
    name: Option<String>,
    price: Option<f64>,
    tags: Option<Vec<String>>,
}

impl Values {
    /// As src/pg/am/values.rs translates them.
    fn row(&self) -> Row {
        let mut row = Row::default();
        if let Some(amount) = self.amount {
            row.held.attributes.push((AMOUNT, Value::Float(amount.parse().unwrap())));
            row.in_full.push((AMOUNT, vec![Exact::Number(Decimal::parse(amount).unwrap())]));
        }
        if let Some(name) = &self.name {
            row.held.attributes.push((NAME, Value::String(held_string(name).to_string())));
            row.in_full.push((NAME, vec![Exact::Text(name.clone())]));
        }
        if let Some(price) = self.price {
            let kept = if price.is_nan() { f64::MAX } else { price.clamp(f64::MIN, f64::MAX) };
            row.held.attributes.push((PRICE, Value::Float(kept)));
            row.in_full.push((PRICE, vec![Exact::float(price)]));
        }
        if let Some(tags) = &self.tags {
            let held = tags.iter().map(|tag| held_string(tag).to_string()).collect();
            row.held.attributes.push((TAGS, Value::ArrayString(held)));
            row.in_full.push((TAGS, tags.iter().cloned().map(Exact::Text).collect()));
        }
        row
    }
}

/// What the two parts together find.
fn finds(widened: &Widened, values: &Values) -> bool {
    let row = values.row();
    widened.wide.matches(&row.held)
        && widened.exact.as_ref().is_none_or(|exact| exact.matches(row, &mut |_, _| panic!("no text is asked for")))
}

fn holds(op: &str, ordering: Ordering) -> bool {
    match op {
        "eq" => ordering.is_eq(),
        "ne" => ordering.is_ne(),
        "gt" => ordering.is_gt(),
        "gte" => ordering.is_ge(),
        "lt" => ordering.is_lt(),
        "lte" => ordering.is_le(),
        other => panic!("{other} is no comparison"),
    }
}

/// Long strings around the limit, where characters of one to four bytes lie across it.
fn long_strings() -> Vec<String> {
    let mut strings = Vec::new();
    for length in MIN_CUT_STRING_BYTES - 1..=MAX_FILTERABLE_STRING_BYTES + 1 {
        for end in ["", "a", "z", "é", "日", "🦌", "🦌a", "🦌z", "zzzzzz"] {
            strings.push("m".repeat(length) + end);
        }
    }
    strings.push("m".repeat(100));
    strings.push("n".to_string());
    strings.push("b".repeat(20_000));
    strings
}

#[test]
fn numbers_beyond_those_of_floats_are_told_apart() {
    let amounts = [
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740993.0000001",
        "-9007199254740993",
        "0.1",
    ];
    let bound = Decimal::parse("9007199254740993").unwrap();
    for op in ["eq", "ne", "gt", "gte", "lt", "lte"] {
        let condition = format!(r#"{{"field": "amount", "op": "{op}", "value": 9007199254740993}}"#);
        let plain = widened(&condition);
        let negated = widened(&format!(r#"{{"type": "not", "conditions": [{condition}]}}"#));
        for amount in amounts {
            let truth = holds(op, Decimal::parse(amount).unwrap().cmp(&bound));
            let row = Values { amount: Some(amount), ..Values::default() };
            assert_eq!(finds(&plain, &row), truth, "{amount} {op}");
            assert_eq!(finds(&negated, &row), !truth, "not {amount} {op}");
        }
        let missing = Values::default();
        assert_eq!(finds(&plain, &missing), op == "ne", "null {op}");
        assert_eq!(finds(&negated, &missing), op != "ne", "not null {op}");
    }
    let listed = widened(r#"{"field": "amount", "op": "not_in", "value": [9007199254740993, 0.10]}"#);
    let found: Vec<_> = amounts
        .into_iter()
        .filter(|amount| finds(&listed, &Values { amount: Some(*amount), ..Values::default() }))
        .collect();
    assert_eq!(found, ["9007199254740991", "9007199254740992", "9007199254740993.0000001", "-9007199254740993"]);
}

#[test]
fn long_strings_are_compared_whole() {
    let strings = long_strings();
    for wanted in strings.iter().step_by(3) {
        for op in ["eq", "ne", "gt", "gte", "lt", "lte", "prefix"] {
            let condition = json!({"field": "name", "op": op, "value": wanted}).to_string();
            let plain = widened(&condition);
            let negated = widened(&format!(r#"{{"type": "not", "conditions": [{condition}]}}"#));
            for name in &strings {
                let truth = match op {
                    "prefix" => name.starts_with(wanted.as_str()),
                    op => holds(op, name.cmp(wanted)),
                };
                let row = Values { name: Some(name.clone()), ..Values::default() };
                let what = || format!("{} bytes {op} {} bytes", name.len(), wanted.len());
                assert_eq!(finds(&plain, &row), truth, "{}", what());
                assert_eq!(finds(&negated, &row), !truth, "not {}", what());
            }
        }
    }
}

#[test]
fn long_elements_of_arrays_are_compared_whole() {
    let (long, other) = ("x".repeat(9_001), "x".repeat(9_002));
    let one = widened(&json!({"field": "tags", "op": "contains", "value": long}).to_string());
    let any = widened(&json!({"field": "tags", "op": "contains_any", "value": ["a", other]}).to_string());
    let none = widened(
        &json!({"type": "not", "conditions": [{"field": "tags", "op": "contains_any", "value": ["a", other]}]})
            .to_string(),
    );
    for (tags, has_long, has_any) in [
        (vec![long.clone()], true, false),
        (vec![other.clone(), "b".to_string()], false, true),
        (vec!["a".to_string(), long], true, true),
        (Vec::new(), false, false),
    ] {
        let row = Values { tags: Some(tags), ..Values::default() };
        assert_eq!((finds(&one, &row), finds(&any, &row), finds(&none, &row)), (has_long, has_any, !has_any));
    }
}

#[test]
fn outermost_floats_are_told_apart() {
    let ascending = [f64::NEG_INFINITY, f64::MIN, -0.0, f64::MAX, f64::INFINITY, f64::NAN];
    for (op, first, last) in [("gt", 4, 5), ("gte", 3, 5), ("eq", 3, 3), ("lt", 0, 2), ("lte", 0, 3)] {
        let filter = widened(&json!({"field": "price", "op": op, "value": f64::MAX}).to_string());
        for (place, price) in ascending.into_iter().enumerate() {
            let row = Values { price: Some(price), ..Values::default() };
            assert_eq!(finds(&filter, &row), (first..=last).contains(&place), "{price} {op}");
        }
    }
}

#[test]
fn infinity_is_later_than_every_time() {
    let filter = widened(r#"{"field": "seen", "op": "eq", "value": "infinity"}"#);
    let exact = filter.exact.as_ref().unwrap();
    assert_eq!(exact.in_full(), [SEEN]);
    // Held as one with infinity.
    let held = Document { vector: None, attributes: vec![(SEEN, Value::Timestamp(timestamp::INFINITY))] };
    for (time, expected) in [(Exact::time(timestamp::INFINITY), true), (Exact::Time(i128::from(i64::MAX) + 1), false)] {
        let row = Row { held: held.clone(), in_full: vec![(SEEN, vec![time])] };
        assert!(filter.wide.matches(&row.held));
        assert_eq!(exact.matches(row, &mut |_, _| false), expected);
    }
}

#[test]
fn values_that_are_held_in_full_are_left_to_the_engine() {
    for json in [
        r#"{"field": "price", "op": "ne", "value": 0.1}"#,
        r#"{"field": "name", "op": "lte", "value": "short"}"#,
        r#"{"field": "name", "op": "prefix", "value": ""}"#,
        r#"{"field": "seen", "op": "eq", "value": "-infinity"}"#,
        r#"{"field": "amount", "op": "is_null", "value": false}"#,
        r#"{"type": "not", "conditions": [{"field": "tags", "op": "contains", "value": "red"}]}"#,
        r#"{"type": "and", "conditions": []}"#,
    ] {
        let filter = Filter::parse(&schema(), &serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(widened(json), Widened { wide: filter, exact: None }, "{json}");
    }
}

#[test]
fn of_conditions_that_all_must_hold_only_inexact_ones_are_asked_again() {
    let filter = widened(
        r#"{"type": "and", "conditions": [
            {"field": "body", "op": "match", "value": "word"},
            {"field": "name", "op": "eq", "value": "a"},
            {"type": "and", "conditions": [{"field": "amount", "op": "gt", "value": 1}, {"field": "price", "op": "gt", "value": 1}]}]}"#,
    );
    let exact = filter.exact.unwrap();
    assert_eq!((exact.attributes(), exact.in_full()), (vec![], vec![AMOUNT]));
}

#[test]
fn texts_are_asked_for_where_the_outcome_depends_on_them() {
    let filter = widened(
        r#"{"type": "or", "conditions": [
            {"field": "amount", "op": "eq", "value": 1},
            {"field": "body", "op": "match", "value": "word"}]}"#,
    );
    let exact = filter.exact.unwrap();
    assert_eq!((exact.attributes(), exact.in_full()), (vec![BODY], vec![AMOUNT]));
    for (amount, text, expected) in [("1", "none", true), ("2", "word", true), ("2", "none", false)] {
        let mut row = Values { amount: Some(amount), ..Values::default() }.row();
        row.held.attributes.push((BODY, Value::String(text.to_string())));
        let matches = exact.matches(row, &mut |node, document| {
            let Filter::Match { attribute, query } = node else { panic!("{node:?} is no text query") };
            matches!(document.get(*attribute), Some(Value::String(text)) if text == query)
        });
        assert_eq!(matches, expected, "{amount} {text}");
    }
}

/// A filter nested at random over the amounts and names of [`nested_filters_find_exactly_their_rows`], and its truth.
fn tree(random: &mut impl FnMut(usize) -> usize, depth: usize) -> serde_json::Value {
    if depth == 0 || random(4) == 0 {
        let op = ["eq", "ne", "gt", "gte", "lt", "lte", "is_null"][random(7)];
        let field = ["amount", "name"][random(2)];
        if op == "is_null" {
            return json!({"field": field, "op": op});
        }
        if field == "name" {
            return json!({"field": field, "op": op, "value": "s".repeat(9_000 + random(2))});
        }
        return json!({"field": field, "op": op, "value": 9_007_199_254_740_992_u64 + random(2) as u64});
    }
    match random(3) {
        0 => json!({"type": "not", "conditions": [tree(random, depth - 1)]}),
        kind => {
            let conditions: Vec<_> = (0..1 + random(3)).map(|_| tree(random, depth - 1)).collect();
            json!({"type": (["", "and", "or"][kind]), "conditions": conditions})
        }
    }
}

fn truth(json: &serde_json::Value, values: &Values) -> bool {
    if let Some(kind) = json["type"].as_str() {
        let conditions = json["conditions"].as_array().unwrap();
        let holding = conditions.iter().filter(|condition| truth(condition, values)).count();
        return match kind {
            "and" => holding == conditions.len(),
            "or" => holding > 0,
            _ => holding == 0,
        };
    }
    let ordering = if json["field"] == "amount" {
        let bound = Decimal::parse(&json["value"].to_string());
        values.amount.map(|amount| Decimal::parse(amount).cmp(&bound))
    } else {
        values.name.as_deref().map(|name| Some(name).cmp(&json["value"].as_str()))
    };
    match (json["op"].as_str().unwrap(), ordering) {
        ("is_null", ordering) => ordering.is_none(),
        (op, Some(ordering)) => holds(op, ordering),
        (op, None) => op == "ne",
    }
}

#[test]
fn nested_filters_find_exactly_their_rows() {
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let amounts = [None, Some("9007199254740992"), Some("9007199254740993"), Some("9007199254740992.5"), Some("1")];
    let names = [None, Some("s".repeat(9_000)), Some("s".repeat(9_001)), Some("t".to_string()), Some("a".to_string())];
    for _ in 0..500 {
        let json = tree(&mut random, 5);
        let filter = widened(&json.to_string());
        for amount in amounts {
            for name in &names {
                let row = Values { amount, name: name.clone(), ..Values::default() };
                assert_eq!(finds(&filter, &row), truth(&json, &row), "{amount:?} in {json}");
            }
        }
    }
}
