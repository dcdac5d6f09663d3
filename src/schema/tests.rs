use super::*;
use serde_json::json;

fn parse(json: Json) -> Result<NamespaceSchema> {
    NamespaceSchema::parse(&json)
}

#[test]
fn a_full_schema_survives_its_stored_form() {
    let schema = parse(json!({
        "vector_dim": 768, "vector_metric": "l2",
        "attributes": {
            "title": {"type": "string", "full_text": true},
            "body": {"type": "string", "indexed": true, "full_text": {"language": "german", "stemming": false}},
            "year": {"type": "int"}, "tags": "array_string"
        }
    }))
    .unwrap();
    assert_eq!(schema.vector, Some(VectorSchema { dim: 768, metric: Metric::L2, lists: None }));
    let title = schema.attribute("title").unwrap();
    assert!(!title.indexed && title.full_text == Some(FullTextOptions::default()));
    let body = schema.attribute("body").unwrap();
    assert!(body.indexed && body.full_text.as_ref().unwrap().language == Language::German);
    assert!(!body.full_text.as_ref().unwrap().stemming);
    assert_eq!(schema.attribute("tags").unwrap().kind, AttributeType::ArrayString);
    assert_eq!(NamespaceSchema::from_stored(&schema.to_stored()).unwrap(), schema);
    for attribute in &schema.attributes {
        assert_eq!(schema.by_id(attribute.id), Some(attribute));
    }
}

#[test]
fn wrong_schemas_are_refused_and_named() {
    for (json, part) in [
        (json!([1]), "JSON object"),
        (json!({}), "neither"),
        (json!({"vector_dim": 0}), "vector_dim"),
        (json!({"vector_dim": 16001}), "16000"),
        (json!({"vector_dim": 2.5}), "2.5"),
        (json!({"vector_dim": 3, "vector_metric": "hamming"}), "hamming"),
        (json!({"vector_dim": 3, "vector_metric": 1}), "vector_metric"),
        (json!({"vector_metric": "l2"}), "vector_dim"),
        (json!({"vector_dim": 3, "dims": 3}), "dims"),
        (json!({"attributes": []}), "attributes"),
        (json!({"attributes": {"a": {"type": "text"}}}), "\"text\""),
        (json!({"attributes": {"a": {"type": "uuid", "full_text": true}}}), "uuid"),
        (json!({"attributes": {"a": {}}}), "\"a\""),
        (json!({"attributes": {"a": {"type": 5}}}), "\"a\""),
        (json!({"attributes": {"a": 5}}), "\"a\""),
        (json!({"attributes": {"a": {"type": "int", "full_text": true}}}), "full text"),
        (json!({"attributes": {"a": {"type": "string", "full_text": {"language": "klingon"}}}}), "klingon"),
        (json!({"attributes": {"a": {"type": "string", "full_text": {"stem": true}}}}), "stem"),
        (json!({"attributes": {"a": {"type": "string", "full_text": {"stemming": "yes"}}}}), "stemming"),
        (json!({"attributes": {"a": {"type": "string", "indexed": 1}}}), "indexed"),
        (json!({"attributes": {"": "int"}}), "empty"),
        (json!({"attributes": {"id": "int"}}), "reserved"),
        (json!({"attributes": {"a\nb": "int"}}), "control"),
    ] {
        let error = parse(json.clone()).expect_err(&json.to_string());
        assert!(error.message.contains(part), "{json}: {error}");
    }
}

#[test]
fn every_type_is_found_by_its_name_and_only_some_are_arrays() {
    for name in super::TYPES.split(", ") {
        let kind = AttributeType::from_name(name).unwrap();
        assert_eq!(kind.name(), name);
        assert_eq!(kind.is_array(), name.starts_with("array_"));
        let schema = parse(json!({"attributes": {"a": name}})).unwrap();
        assert_eq!(schema.attribute("a").map(|a| (a.kind, a.indexed)), Some((kind, true)));
        assert_eq!(NamespaceSchema::from_stored(&schema.to_stored()).unwrap(), schema);
    }
    assert_eq!(AttributeType::from_name("text"), None);
}

#[test]
fn every_language_is_found_by_its_name() {
    for language in Language::ALL {
        assert_eq!(Language::from_name(language.name()), Some(language));
    }
}

#[test]
fn bm25_parameters_are_read_and_checked() {
    let parse = |options: serde_json::Value| {
        NamespaceSchema::parse(&json!({"attributes": {"t": {"type": "string", "full_text": options}}}))
    };
    let schema = parse(json!({"k1": 0.9, "b": 0.4, "weight": 2})).unwrap();
    let options = schema.require_full_text(0).unwrap();
    assert_eq!((options.k1, options.b, options.weight), (Parameter(0.9), Parameter(0.4), Parameter(2.0)));
    assert_eq!(NamespaceSchema::from_stored(&schema.to_stored()).unwrap(), schema);
    assert_eq!(parse(json!({})).unwrap().require_full_text(0).unwrap(), &FullTextOptions::default());
    for (options, key) in [
        (json!({"k1": -0.1}), "k1"),
        (json!({"k1": 11}), "k1"),
        (json!({"b": 1.5}), "b"),
        (json!({"weight": -1}), "weight"),
        (json!({"weight": "2"}), "weight"),
    ] {
        let error = parse(options).unwrap_err();
        assert!(error.message.contains(&format!("\"{key}\"")), "{error}");
    }
    // What was stored before there were any.
    let old = schema.to_stored().replace(",\"k1\":0.9,\"b\":0.4,\"weight\":2.0", "");
    assert_ne!(old, schema.to_stored());
    let old = NamespaceSchema::from_stored(&old).unwrap();
    assert_eq!(old.require_full_text(0).unwrap(), &FullTextOptions::default());
}
