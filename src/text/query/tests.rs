use super::*;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "a": {"type": "string", "full_text": true},
        "b": {"type": "string", "full_text": {"remove_stopwords": false, "stemming": false}},
        "c": "string"}}))
    .unwrap()
}

fn parse(text: &str, fields: &[(AttributeId, f32)]) -> Result<ParsedTextQuery> {
    ParsedTextQuery::parse(&schema(), &TextQuery { query: text.to_string(), fields: fields.to_vec() })
}

fn terms(query: &ParsedTextQuery, field: usize) -> Vec<(&str, f32)> {
    query.fields[field].terms.iter().map(|term| (term.text.as_str(), term.boost)).collect()
}

#[test]
fn terms_are_analysed_for_each_field_and_repetitions_count() {
    let query = parse("the cats, a cat and dogs", &[(1, 0.5), (0, 2.0)]).unwrap();
    assert_eq!(query.fields[0].attribute, 1);
    assert_eq!(terms(&query, 0), [("the", 0.5), ("cats", 0.5), ("a", 0.5), ("cat", 0.5), ("and", 0.5), ("dogs", 0.5)]);
    assert_eq!(terms(&query, 1), [("cat", 4.0), ("dog", 2.0)]);
    assert_eq!(query.term_count(), 8);
}

#[test]
fn a_field_named_twice_has_the_sum_of_its_weights() {
    let query = parse("cat", &[(0, 2.0), (0, 1.5)]).unwrap();
    assert_eq!(terms(&query, 0), [("cat", 3.5)]);
}

#[test]
fn stop_words_alone_are_an_empty_query() {
    assert!(parse("the of", &[(0, 1.0)]).unwrap().is_empty());
    assert_eq!(parse("the of", &[(0, 1.0), (1, 1.0)]).unwrap().fields.len(), 1);
}

#[test]
fn wrong_requests_are_errors() {
    let kind = |text: &str, fields: &[(AttributeId, f32)]| parse(text, fields).unwrap_err().kind;
    assert_eq!(kind("x", &[]), ErrorKind::Invalid);
    assert_eq!(kind("x", &[(9, 1.0)]), ErrorKind::NotFound);
    assert_eq!(kind("x", &[(2, 1.0)]), ErrorKind::Invalid);
    for weight in [-1.0, f32::NAN, f32::INFINITY, 2e6] {
        assert_eq!(kind("x", &[(0, weight)]), ErrorKind::OutOfRange);
    }
    assert_eq!(kind(&"x".repeat(MAX_QUERY_TEXT_BYTES + 1), &[(0, 1.0)]), ErrorKind::OutOfRange);
}
