use super::*;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 2, "vector_metric": "l2", "attributes": {
        "a": "string", "b": "int", "c": "bool", "tags": "array_string"}}))
    .unwrap()
}

fn document(json: serde_json::Value) -> Document {
    Document::parse(&schema(), &json).unwrap().1
}

fn patch(json: serde_json::Value) -> Patch {
    Patch::parse_changes(&schema(), &json).unwrap()
}

#[test]
fn a_patch_changes_what_it_names_and_nothing_else() {
    let old = json!({"id": 1, "vector": [1, 2], "attributes": {"a": "x", "b": 7, "tags": ["t"]}});
    let changed = |json| {
        let mut document = document(old.clone());
        patch(json).apply(&mut document);
        document
    };
    assert_eq!(changed(json!({})), document(old.clone()));
    assert_eq!(
        changed(json!({"attributes": {"b": 8, "c": true, "a": null}})),
        document(json!({"id": 1, "vector": [1, 2], "attributes": {"b": 8, "c": true, "tags": ["t"]}}))
    );
    assert_eq!(
        changed(json!({"vector": null})),
        document(json!({"id": 1, "attributes": {"a": "x", "b": 7, "tags": ["t"]}}))
    );
    assert_eq!(
        changed(json!({"vector": [3, 4], "attributes": {"c": null}})),
        document(json!({"id": 1, "vector": [3, 4], "attributes": {"a": "x", "b": 7, "tags": ["t"]}}))
    );
}

#[test]
fn two_patches_after_each_other_are_one_patch() {
    let all = [
        json!({}),
        json!({"attributes": {"a": "y"}}),
        json!({"attributes": {"a": null, "b": 1}}),
        json!({"vector": null, "attributes": {"b": null, "c": false}}),
        json!({"vector": [5, 6], "attributes": {"a": "z", "tags": []}}),
    ];
    for first in &all {
        for second in &all {
            let mut one = document(json!({"id": 1, "vector": [1, 2], "attributes": {"a": "x", "b": 7}}));
            let mut two = one.clone();
            patch(first.clone()).apply(&mut one);
            patch(second.clone()).apply(&mut one);
            let mut both = patch(first.clone());
            both.then(patch(second.clone()));
            assert_eq!(Patch::decode(&both.encode(), "test").unwrap(), both, "{first} {second}");
            both.apply(&mut two);
            assert_eq!(one, two, "{first} {second}");
        }
    }
}

#[test]
fn a_damaged_payload_is_an_error_that_names_its_origin() {
    let bytes = patch(json!({"vector": [5, 6], "attributes": {"a": "z", "b": null}})).encode();
    for len in 0..bytes.len() {
        assert!(Patch::decode(&bytes[..len], "here").unwrap_err().message.contains("here"), "cut at {len}");
    }
    let document = document(json!({"id": 1}));
    assert!(Patch::decode(&document.encode(), "here").is_err());
    assert!(Document::decode(&bytes, "here").is_err());
    assert!(Patch::decode(&[bytes.as_slice(), &[0]].concat(), "here").is_err());
    let mut flags = bytes;
    flags[3] = 3;
    assert!(Patch::decode(&flags, "here").is_err());
}

#[test]
fn wrong_patches_name_what_is_wrong() {
    let error = |json| Patch::parse(&schema(), &json).unwrap_err();
    assert!(error(json!({"attributes": {}})).message.contains("\"id\""));
    assert!(error(json!({"id": 1, "a": 1})).message.contains("\"a\""));
    assert_eq!(error(json!({"id": 1, "attributes": {"b": "x"}})).detail.as_deref(), Some("document id 1"));
    assert!(error(json!({"id": 1, "attributes": {"nothing": null}})).message.contains("nothing"));
    assert!(error(json!({"id": 1, "attributes": []})).message.contains("attributes"));
    assert!(error(json!({"id": 1, "vector": [1]})).message.contains("expected 2 dimensions"));
    assert!(error(json!({"id": 1, "vector": "x"})).message.contains("\"vector\""));
    assert!(Patch::parse_changes(&schema(), &json!({"id": 1})).unwrap_err().message.contains("\"id\""));
    assert!(Patch::parse_changes(&schema(), &json!([])).unwrap_err().message.contains("an array"));
}
