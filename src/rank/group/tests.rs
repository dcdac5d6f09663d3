use super::*;
use crate::error::ErrorKind;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "author": "string", "body": {"type": "string", "full_text": true}, "tags": "array_string"}}))
    .unwrap()
}

#[test]
fn the_limit_is_one_unless_it_is_said() {
    let schema = schema();
    let author = schema.require("author").unwrap().id;
    assert_eq!(Per::parse(&schema, &json!({"field": "author"})).unwrap(), Per { attribute: author, limit: 1 });
    assert_eq!(
        Per::parse(&schema, &json!({"field": "author", "limit": 7})).unwrap(),
        Per { attribute: author, limit: 7 }
    );
}

#[test]
fn wrong_limits_and_fields_are_refused() {
    let kind = |json: Json| Per::parse(&schema(), &json).unwrap_err().kind;
    assert_eq!(kind(json!("author")), ErrorKind::Invalid);
    assert_eq!(kind(json!({"limit": 1})), ErrorKind::Invalid);
    assert_eq!(kind(json!({"field": 1})), ErrorKind::Invalid);
    assert_eq!(kind(json!({"field": "author", "limits": 1})), ErrorKind::Invalid);
    assert_eq!(kind(json!({"field": "body"})), ErrorKind::Invalid);
    assert_eq!(kind(json!({"field": "nobody"})), ErrorKind::NotFound);
    assert_eq!(kind(json!({"field": "tags"})), ErrorKind::TypeMismatch);
    for limit in [json!(0), json!(-1), json!(1.5), json!("2"), json!(MAX_TOP_K + 1), Json::Null] {
        assert_eq!(kind(json!({"field": "author", "limit": limit})), ErrorKind::OutOfRange);
    }
}

#[test]
fn groups_are_equal_where_values_are() {
    assert_eq!(Group::of(&Value::Float(0.0)), Group::of(&Value::Float(-0.0)));
    assert_ne!(Group::of(&Value::Float(1.0)), Group::of(&Value::Int(1)));
    assert_ne!(Group::of(&Value::String("true".into())), Group::of(&Value::Bool(true)));
    assert_ne!(Group::of(&Value::Bool(false)), Group::of(&Value::Bool(true)));
}
