use super::*;
use crate::document::{Document, Patch};
use crate::schema::NamespaceSchema;
use serde_json::json;

const UUID: &str = "0191e0a5-7cf8-7bd2-8f6e-5d6b2a6a0c11";

fn schema(id: &str) -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"id": id, "attributes": {"n": "int"}})).unwrap()
}

#[test]
fn each_type_of_id_takes_its_json_and_no_other() {
    let good = [
        (IdType::Int, json!(-7), DocumentId::Int(-7)),
        (IdType::Uuid, json!(UUID), DocumentId::Uuid(Uuid::parse(UUID).unwrap())),
        (IdType::Uuid, json!(UUID.to_uppercase().replace('-', "")), DocumentId::Uuid(Uuid::parse(UUID).unwrap())),
        (IdType::Text, json!("Zoë/1"), DocumentId::Text("Zoë/1".to_string())),
        (IdType::Text, json!("7"), DocumentId::Text("7".to_string())),
    ];
    for (kind, json, id) in good {
        assert_eq!(DocumentId::from_json(kind, &json).unwrap(), id, "{kind:?} {json}");
    }
    let long = "x".repeat(MAX_TEXT_ID_BYTES + 1);
    let bad = [
        (IdType::Int, json!("7"), ErrorKind::TypeMismatch),
        (IdType::Int, json!(1.5), ErrorKind::TypeMismatch),
        (IdType::Int, json!(9_223_372_036_854_775_808_u64), ErrorKind::TypeMismatch),
        (IdType::Int, json!(null), ErrorKind::TypeMismatch),
        (IdType::Uuid, json!(7), ErrorKind::TypeMismatch),
        (IdType::Uuid, json!("0191e0a5"), ErrorKind::TypeMismatch),
        (IdType::Text, json!(7), ErrorKind::TypeMismatch),
        (IdType::Text, json!(["a"]), ErrorKind::TypeMismatch),
        (IdType::Text, json!(""), ErrorKind::OutOfRange),
        (IdType::Text, json!(long), ErrorKind::OutOfRange),
    ];
    for (kind, json, error) in bad {
        assert_eq!(DocumentId::from_json(kind, &json).unwrap_err().kind, error, "{kind:?} {json}");
    }
    assert!(DocumentId::from_json(IdType::Text, &json!("x".repeat(MAX_TEXT_ID_BYTES))).is_ok());
}

#[test]
fn the_text_form_leads_back_to_the_id() {
    let ids = [
        (IdType::Int, DocumentId::Int(i64::MIN)),
        (IdType::Uuid, DocumentId::Uuid(Uuid::parse(UUID).unwrap())),
        (IdType::Text, DocumentId::Text("a b".to_string())),
    ];
    for (kind, id) in ids {
        let text = match id.attribute() {
            Some((_, Value::String(text))) => Some(text),
            _ => None,
        };
        let text = DocumentId::text_of(kind, id.key(), text).unwrap();
        assert_eq!(DocumentId::from_text(kind, &text).unwrap(), id);
    }
    assert_eq!(DocumentId::text_of(IdType::Text, 5, None).unwrap_err().kind, ErrorKind::Internal);
}

#[test]
fn a_document_with_a_text_id_carries_the_text_last_and_nobody_else_can_set_it() {
    let schema = schema("text");
    let (key, document) = Document::parse(&schema, &json!({"id": "a", "attributes": {"n": 1}})).unwrap();
    assert_eq!(key, text_key("a"));
    assert_eq!(document.attributes, [(0, Value::Int(1)), (TEXT_ID, Value::String("a".to_string()))]);
    assert_eq!(Document::decode(&document.encode(), "a payload").unwrap(), document);
    for json in [json!({"id": "a", "attributes": {"id": "b"}}), json!({"id": "a", "attributes": {"id": null}})] {
        assert_eq!(Document::parse(&schema, &json).unwrap_err().kind, ErrorKind::NotFound);
        let error = Patch::parse(&schema, &json).unwrap_err();
        assert_eq!(
            (error.kind, error.hint.as_deref()),
            (ErrorKind::NotFound, Some("Attributes of this namespace: n."))
        );
    }
}

#[test]
fn a_patch_of_a_text_id_keeps_the_id() {
    let schema = schema("text");
    let (key, mut document) = Document::parse(&schema, &json!({"id": "a", "attributes": {"n": 1}})).unwrap();
    let (patched, patch) = Patch::parse(&schema, &json!({"id": "a", "attributes": {"n": null}})).unwrap();
    patch.apply(&mut document);
    assert_eq!(patched, key);
    assert_eq!(document.attributes, [(TEXT_ID, Value::String("a".to_string()))]);
}

#[test]
fn stored_schemas_name_the_type_of_ids_only_if_it_is_not_int() {
    assert!(!schema("int").to_stored().contains("\"id\":\"int\""));
    for name in ["int", "uuid", "text"] {
        let schema = schema(name);
        assert_eq!(schema.id.name(), name);
        assert_eq!(NamespaceSchema::from_stored(&schema.to_stored()).unwrap(), schema);
        assert_eq!(schema.own_attributes().count(), 1);
        assert_eq!(schema.by_id(TEXT_ID).is_some(), name == "text");
    }
    assert_eq!(NamespaceSchema::parse(&json!({"id": "text"})).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(NamespaceSchema::parse(&json!({"id": "serial", "vector_dim": 2})).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(NamespaceSchema::parse(&json!({"id": 4, "vector_dim": 2})).unwrap_err().kind, ErrorKind::Invalid);
}
