use super::*;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 2, "attributes": {
        "body": {"type": "string"}, "title": {"type": "string", "full_text": true}, "year": {"type": "int", "indexed": false}
    }}))
    .unwrap()
}

fn id(schema: &NamespaceSchema, name: &str) -> AttributeId {
    schema.attribute(name).unwrap().id
}

#[test]
fn ids_of_dropped_attributes_are_not_used_again() {
    let last = schema().attributes.iter().max_by_key(|attribute| attribute.id).unwrap().name.clone();
    let dropped = schema().changed(&json!({"drop": [last]})).unwrap();
    let stored = NamespaceSchema::from_stored(&dropped.to_stored()).unwrap();
    let added = stored.changed(&json!({"add": {last.clone(): {"type": "float"}}})).unwrap();
    assert!(id(&added, &last) > id(&schema(), &last));
    assert_eq!(added.next_attribute, id(&added, &last) + 1);
}

#[test]
fn a_new_attribute_may_take_the_name_of_one_that_goes() {
    let changed = schema().changed(&json!({"drop": ["year"], "add": {"year": {"type": "string"}}})).unwrap();
    assert_ne!(id(&changed, "year"), id(&schema(), "year"));
    assert_eq!(changed.attribute("year").unwrap().kind, AttributeType::String);
}

#[test]
fn renamed_attributes_keep_their_id_and_may_swap_names() {
    let changed = schema().changed(&json!({"rename": {"title": "body", "body": "title"}})).unwrap();
    assert_eq!(id(&changed, "body"), id(&schema(), "title"));
    assert_eq!(id(&changed, "title"), id(&schema(), "body"));
}

#[test]
fn an_index_lacks_what_it_was_written_without() {
    let schema = schema();
    let lacks = |changes: Json| schema.changed(&changes).unwrap().index_lacks(&schema);
    assert!(lacks(json!({"alter": {"body": {"full_text": true}}})));
    assert!(lacks(json!({"alter": {"title": {"full_text": {"language": "german"}}}})));
    assert!(lacks(json!({"alter": {"year": {"indexed": true}}})));
    // Scores change, terms do not; what is new has no values in old segments.
    assert!(!lacks(json!({"alter": {"title": {"full_text": {"k1": 1.5, "b": 0.1, "weight": 2}}}})));
    assert!(!lacks(json!({"alter": {"title": {"full_text": false}}})));
    assert!(!lacks(json!({"add": {"text": {"type": "string", "full_text": true}}})));
    assert!(!lacks(json!({"drop": ["body"], "rename": {"title": "head"}})));
}

#[test]
fn wrong_changes_are_errors_that_name_what_is_wrong() {
    let cases = [
        (json!([]), "\"changes\" must be a JSON object"),
        (json!({"remove": ["a"]}), "remove"),
        (json!({"drop": "year"}), "\"drop\" of changes must be an array"),
        (json!({"drop": [1]}), "holds names"),
        (json!({"drop": ["nothing"]}), "attribute \"nothing\" does not exist"),
        (json!({"drop": ["year", "year"]}), "\"year\" twice"),
        (json!({"drop": ["year"], "rename": {"year": "y"}}), "\"year\" twice"),
        (json!({"add": {"title": {"type": "int"}}}), "attribute \"title\" already exists"),
        (json!({"rename": {"title": "body"}}), "attribute \"body\" already exists"),
        (json!({"rename": {"title": "id"}}), "reserved"),
        (json!({"add": {"id": {"type": "int"}}}), "reserved"),
        (json!({"add": {"x": {"type": "blob"}}}), "blob"),
        (json!({"alter": {"title": {"type": "int"}}}), "type"),
        (json!({"alter": {"year": {"full_text": true}}}), "cannot have full text"),
        (json!({"alter": {"title": {"indexed": true}}}), "cannot be indexed for filters later"),
        (json!({"alter": {"title": {"full_text": {"language": "klingon"}}}}), "klingon"),
    ];
    for (changes, part) in cases {
        let error = schema().changed(&changes).expect_err(&changes.to_string());
        assert!(error.message.contains(part), "{changes}: {}", error.message);
    }
    let only = NamespaceSchema::parse(&json!({"attributes": {"a": {"type": "int"}}})).unwrap();
    assert!(only.changed(&json!({"drop": ["a"]})).unwrap_err().message.contains("neither vectors nor attributes"));
}

#[test]
fn changes_that_change_nothing_leave_the_schema_as_it_is_but_for_the_next_id() {
    let changed = schema().changed(&json!({})).unwrap();
    assert_eq!(changed.attributes, schema().attributes);
}
