use super::*;
use crate::ipc::message::Operator;
use crate::limits::MAX_QUERY_TEXT_BYTES;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "a": {"type": "string", "full_text": true},
        "b": {"type": "string", "full_text": {"remove_stopwords": false, "stemming": false}},
        "c": "string"}}))
    .unwrap()
}

fn parse(text: &str, fields: &[(AttributeId, f32)]) -> Result<ParsedTextQuery> {
    ParsedTextQuery::parse(
        &schema(),
        &TextQuery { query: text.to_string(), fields: fields.to_vec(), operator: Operator::Or },
    )
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

#[test]
fn alternatives_of_words_keep_their_fast_form_and_everything_else_is_a_tree() {
    let one = |text: &str| parse(text, &[(0, 2.0)]).unwrap();
    for text in ["cat", "cat dog^3 (bird cat)^0.5", "\"cat\"", "the", "()", "a:cat", "cat wi-fi"] {
        let two = parse(text, &[(0, 2.0), (1, 1.0)]).unwrap();
        assert_eq!(two.shape, QueryShape::Words, "{text}");
    }
    assert_eq!(terms(&one("cat dog^3 (bird cat)^0.5"), 0), [("cat", 3.0), ("dog", 6.0), ("bird", 1.0)]);
    for text in ["+cat", "cat dog*", "+cat +wi-fi", "\"cat dog\"", "cat~1", "-cat", "cat^0", "cat (+dog -bird)"] {
        let parsed = one(text);
        // A required word alone is that word.
        assert_eq!(parsed.shape == QueryShape::Words, text == "+cat", "{text}");
        assert!(!parsed.is_empty());
    }
    assert_eq!(
        terms(&one("+\"cat dog\" -bird dat* \"dog wolf\"~2"), 0).len(),
        3,
        "excluded and constant parts count nothing"
    );
    assert!(one("dat* -bird").fields.is_empty());
}

#[test]
fn weights_are_in_the_boosts_and_a_field_without_weight_is_not_searched() {
    let QueryShape::Parts(QueryPart::Boolean(group)) = parse("+cat^3 b:dat*", &[(0, 2.0), (1, 0.5)]).unwrap().shape
    else {
        panic!("a group")
    };
    let boosts = |part: &QueryPart| match part {
        QueryPart::Leaf { boost, .. } => vec![*boost],
        QueryPart::Boolean(group) => group
            .any
            .iter()
            .map(|part| match part {
                QueryPart::Leaf { boost, .. } => *boost,
                QueryPart::Boolean(_) => f32::NAN,
            })
            .collect(),
    };
    assert_eq!((boosts(&group.required[0]), boosts(&group.any[0])), (vec![6.0, 1.5], vec![0.5]));
    // One field is left: its name is a word.
    let parsed = parse("b:cats", &[(0, 0.0), (1, 1.0)]).unwrap();
    assert_eq!(terms(&parsed, 0), [("b", 1.0), ("cats", 1.0)]);
}

#[test]
fn the_operator_joins_words() {
    let query = TextQuery { query: "cat dog".to_string(), fields: vec![(0, 1.0)], operator: Operator::And };
    let parsed = ParsedTextQuery::parse(&schema(), &query).unwrap();
    assert!(matches!(parsed.shape, QueryShape::Parts(QueryPart::Boolean(group)) if group.required.len() == 2));
}
