use super::*;
use crate::ids::EntryOrder;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 3, "attributes": {
        "title": "string", "body": {"type": "string", "full_text": true}, "year": "int", "score": "float",
        "live": "bool", "tags": "array_string", "at": "timestamp", "ref": "uuid", "sizes": "array_int"}}))
    .unwrap()
}

#[test]
fn a_document_survives_json_and_payload() {
    let schema = schema();
    let json = json!({"id": -5, "vector": [1, 2.5, -3e2], "attributes": {
        "title": "naïve", "year": i64::MIN, "score": 1, "live": false, "tags": ["a", ""], "body": null,
        "at": "2024-05-17T11:30:00.5+02:00", "ref": "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "sizes": [i64::MAX, -1, -1]}});
    let (id, document) = Document::parse(&schema, &json).unwrap();
    assert_eq!((id, document.vector.as_deref()), (-5, Some(&[1.0, 2.5, -300.0][..])));
    let payload = document.encode();
    assert_eq!(payload.len(), document.encoded_len());
    assert_eq!(Document::decode(&payload, "test").unwrap(), document);
    let attributes = document.attributes_json(&schema, None);
    assert_eq!(
        attributes,
        json!({"title": "naïve", "year": i64::MIN, "score": 1.0, "live": false, "tags": ["a", ""],
            "at": "2024-05-17T09:30:00.500000Z", "ref": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "sizes": [i64::MAX, -1, -1]})
    );
    let year = schema.attribute("year").unwrap().id;
    assert_eq!(document.attributes_json(&schema, Some(&[year])), json!({"year": i64::MIN}));
}

#[test]
fn a_payload_cut_or_changed_anywhere_never_panics() {
    let (_, document) = Document::parse(
        &schema(),
        &json!({"id": 1, "vector": [1, 2, 3], "attributes": {"title": "abc", "tags": ["x"], "year": 3,
            "at": "2024-01-01", "ref": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "sizes": [1, 2]}}),
    )
    .unwrap();
    let payload = document.encode();
    for len in 0..payload.len() {
        assert_eq!(Document::decode(&payload[..len], "row").unwrap_err().kind, ErrorKind::Corrupt);
    }
    for at in 0..payload.len() {
        for bit in 0..8 {
            let mut bad = payload.clone();
            bad[at] ^= 1 << bit;
            let _ = Document::decode(&bad, "row");
        }
    }
}

#[test]
fn the_checksum_covers_payload_and_identity() {
    let ns = NamespaceId([7; 16]);
    let id = EntryId { key: 1, order: EntryOrder { seq: 2, xid: 3 } };
    let crc = entry_crc(ns, id, Op::Upsert, b"abc");
    assert_ne!(crc, entry_crc(ns, id, Op::Upsert, b"abd"));
    assert_ne!(crc, entry_crc(ns, id, Op::Delete, b"abc"));
    assert_ne!(crc, entry_crc(ns, EntryId { key: 2, ..id }, Op::Upsert, b"abc"));
    assert_ne!(crc, entry_crc(NamespaceId([8; 16]), id, Op::Upsert, b"abc"));
}

#[test]
fn wrong_documents_are_refused_and_named() {
    let schema = schema();
    let long = "x".repeat(MAX_FILTERABLE_STRING_BYTES + 1);
    for (json, part) in [
        (json!(1), "JSON object"),
        (json!({"vector": [1, 2, 3]}), "id"),
        (json!({"id": "a"}), "64-bit"),
        (json!({"id": 1.5}), "1.5"),
        (json!({"id": 1, "title": "x"}), "title"),
        (json!({"id": 1, "vector": [1, 2]}), "expected 3 dimensions, not 2"),
        (json!({"id": 1, "vector": "[1,2,3]"}), "array"),
        (json!({"id": 1, "vector": [1, null, 3]}), "dimension 2"),
        (json!({"id": 1, "vector": [1, 1e300, 3]}), "dimension 2"),
        (json!({"id": 1, "vector": [0, 0, 0]}), "zero vector"),
        (json!({"id": 1, "attributes": [1]}), "attributes"),
        (json!({"id": 1, "attributes": {"nope": 1}}), "nope"),
        (json!({"id": 1, "attributes": {"year": "2020"}}), "year"),
        (json!({"id": 1, "attributes": {"year": 1.5}}), "year"),
        (json!({"id": 1, "attributes": {"title": 5}}), "title"),
        (json!({"id": 1, "attributes": {"title": long}}), "title"),
        (json!({"id": 1, "attributes": {"live": 1}}), "live"),
        (json!({"id": 1, "attributes": {"tags": "a"}}), "tags"),
        (json!({"id": 1, "attributes": {"tags": ["a", 1]}}), "tags"),
        (json!({"id": 1, "attributes": {"score": "NaN"}}), "score"),
        (json!({"id": 1, "attributes": {"at": 5}}), "\"at\""),
        (json!({"id": 1, "attributes": {"at": "yesterday"}}), "yesterday"),
        (json!({"id": 1, "attributes": {"at": "infinity"}}), "infinity"),
        (json!({"id": 1, "attributes": {"at": "10000-01-01"}}), "10000"),
        (json!({"id": 1, "attributes": {"ref": "a0eebc99"}}), "a0eebc99"),
        (json!({"id": 1, "attributes": {"ref": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1x"}}), "is not one"),
        (json!({"id": 1, "attributes": {"ref": "a0eebc99-9c0b-4ef8-bb6d6-bb9bd380a11"}}), "is not one"),
        (json!({"id": 1, "attributes": {"sizes": 5}}), "sizes"),
        (json!({"id": 1, "attributes": {"sizes": [1, 1.5]}}), "1.5"),
        (json!({"id": 1, "attributes": {"sizes": [1, "2"]}}), "sizes"),
    ] {
        let error = Document::parse(&schema, &json).expect_err(&json.to_string());
        assert!(error.message.contains(part), "{json}: {error}");
    }
}

#[test]
fn a_float_comes_back_bit_for_bit() {
    let schema = schema();
    for text in ["0.42253410816192627", "2.2250738585072014e-308", "-1.7976931348623157e308", "1e-320"] {
        let json = serde_json::from_str(&format!("{{\"id\": 1, \"attributes\": {{\"score\": {text}}}}}")).unwrap();
        let (_, document) = Document::parse(&schema, &json).unwrap();
        let expected: f64 = text.parse().unwrap();
        let printed = document.attributes_json(&schema, None).to_string();
        assert_eq!(document.attributes[0].1, Value::Float(expected));
        assert_eq!(serde_json::from_str::<Json>(&printed).unwrap()["score"].as_f64(), Some(expected), "{printed}");
    }
}
