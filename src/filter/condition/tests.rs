use super::*;
use crate::document::Document;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {"version": "int", "state": "string"}})).unwrap()
}

/// (of a document with version 3 and no state, of no document)
fn holds(json: serde_json::Value) -> (bool, bool) {
    let condition = Condition::parse(&schema(), &json).unwrap();
    let document = Document::parse(&schema(), &json!({"id": 1, "attributes": {"version": 3}})).unwrap().1;
    (condition.filter.matches(&document), condition.if_missing)
}

#[test]
fn a_condition_on_attributes_is_never_fulfilled_without_a_document() {
    let version = |op, value| json!({"field": "version", "op": op, "value": value});
    assert_eq!(holds(version("eq", 3)), (true, false));
    assert_eq!(holds(version("eq", 4)), (false, false));
    assert_eq!(holds(version("ne", 4)), (true, false));
    assert_eq!(holds(json!({"field": "state", "op": "is_null"})), (true, false));
    assert_eq!(holds(json!({"type": "not", "conditions": [version("eq", 4)]})), (true, false));
    assert_eq!(holds(json!({"type": "and", "conditions": []})), (true, false));
}

#[test]
fn existence_can_be_asked_for_alone_and_inside() {
    let newer = json!({"field": "version", "op": "lt", "value": 5});
    let older = json!({"field": "version", "op": "gt", "value": 5});
    let missing = json!({"type": "not_exists"});
    assert_eq!(holds(missing.clone()), (false, true));
    assert_eq!(holds(json!({"type": "exists"})), (true, false));
    assert_eq!(holds(json!({"type": "not", "conditions": [missing]})), (true, false));
    assert_eq!(holds(json!({"type": "not", "conditions": [{"type": "exists"}]})), (false, true));
    assert_eq!(holds(json!({"type": "or", "conditions": [missing, newer]})), (true, true));
    assert_eq!(holds(json!({"type": "or", "conditions": [missing, older]})), (false, true));
    assert_eq!(holds(json!({"type": "and", "conditions": [missing, newer]})), (false, false));
    assert_eq!(holds(json!({"type": "and", "conditions": [{"type": "exists"}, newer]})), (true, false));
}

#[test]
fn wrong_conditions_say_what_is_wrong() {
    let error = |json| Condition::parse(&schema(), &json).unwrap_err();
    let missing = json!({"type": "not_exists"});
    assert!(error(json!({"type": "not_exists", "field": "state"})).message.contains("\"field\""));
    assert!(error(json!({"type": "nor", "conditions": [missing]})).message.contains("nor"));
    assert!(error(json!({"type": "not", "conditions": [missing, missing]})).message.contains("exactly one"));
    assert!(
        error(json!({"type": "or", "conditions": [missing, {"field": "x", "op": "eq", "value": 1}]}))
            .message
            .contains("\"x\"")
    );
    assert!(error(json!({"type": "sometimes"})).message.contains("sometimes"));
    assert!(error(json!(7)).message.contains("number"));
    let mut deep = missing;
    for _ in 0..=MAX_FILTER_DEPTH {
        deep = json!({"type": "and", "conditions": [deep]});
    }
    assert_eq!(error(deep).kind, ErrorKind::OutOfRange);
}
