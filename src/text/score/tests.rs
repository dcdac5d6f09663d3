use super::*;
use crate::ipc::message::TextQuery;
use crate::schema::NamespaceSchema;
use serde_json::json;

#[test]
fn documents_count_once_and_only_what_they_hold_scores() {
    let schema = NamespaceSchema::parse(&json!({"attributes": {
        "a": {"type": "string", "full_text": true}, "b": "int"}}))
    .unwrap();
    let mut analyzers = Analyzers::new(&schema);
    let mut analyze = |attributes| AnalyzedDocument::new(&mut analyzers, &Document { vector: None, attributes });
    let text = |text: &str| vec![(0, Value::String(text.to_string()))];
    let documents =
        [analyze(text("cat cat dog")), analyze(text("bird")), analyze(vec![(1, Value::Int(3))]), analyze(text(""))];
    let query = TextQuery::of_attribute(0, "cats dogs fish".into());
    let query = ParsedTextQuery::parse(&schema, &query).unwrap();
    let mut stats = CorpusStats::new(&query);
    documents.iter().for_each(|document| document.add_to_stats(&query, &mut stats));
    assert_eq!((stats.docs, stats.fields[0].tokens), (4, 4));
    assert_eq!(stats.fields[0].doc_freqs, [1, 1, 0]);
    let scorer = BufferScorer::new(&query, &stats);
    let scores: Vec<Option<f32>> = documents.iter().map(|document| scorer.score(document)).collect();
    assert!(scores[0].unwrap() > 0.0);
    assert_eq!(scores[1..], [None, None, None]);
    // nothing is counted: no document is longer than the average
    let none = CorpusStats::new(&query);
    assert_eq!(BufferScorer::new(&query, &none).score(&documents[0]), Some(0.0));
    assert!(documents[0].memory_bytes() > documents[2].memory_bytes());
}
