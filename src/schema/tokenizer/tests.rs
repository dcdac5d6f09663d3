use super::*;
use crate::schema::{FullTextOptions, NamespaceSchema};
use serde_json::json;

fn options(json: Json) -> Result<FullTextOptions> {
    let schema = json!({"attributes": {"body": {"type": "string", "full_text": json}}});
    NamespaceSchema::parse(&schema)?.require_full_text(0).cloned()
}

#[test]
fn the_text_form_and_the_stored_form_are_read_back() {
    for text in ["default", "whitespace", "raw", "ngram(2,3)", "ngram(1,1)", "source_code", "cjk"] {
        let tokenizer = Tokenizer::parse(text).unwrap();
        assert_eq!(tokenizer.to_string(), text);
        assert_eq!(options(json!({"tokenizer": text})).unwrap().tokenizer, tokenizer);
        let stored = serde_json::to_value(tokenizer).unwrap();
        assert_eq!(serde_json::from_value::<Tokenizer>(stored.clone()).unwrap(), tokenizer);
        assert_eq!(options(json!({"tokenizer": stored})).unwrap().tokenizer, tokenizer);
        let frame = postcard::to_stdvec(&tokenizer).unwrap();
        assert_eq!(postcard::from_bytes::<Tokenizer>(&frame).unwrap(), tokenizer, "as messages carry it");
    }
    assert_eq!(Tokenizer::parse("ngram").unwrap(), Tokenizer::Ngram(NgramLengths::default()));
    assert_eq!(
        serde_json::to_value(Tokenizer::parse("ngram(2,4)").unwrap()).unwrap(),
        json!({"ngram": {"min": 2, "max": 4}})
    );
}

#[test]
fn errors_name_the_attribute_and_the_value() {
    for (json, named) in [
        (json!({"tokenizer": "standard"}), "\"standard\""),
        (json!({"tokenizer": "ngram(3)"}), "\"ngram(3)\""),
        (json!({"tokenizer": "ngram(0,2)"}), "from 0 to 2"),
        (json!({"tokenizer": {"ngram": {"min": 3, "max": 2}}}), "from 3 to 2"),
        (json!({"tokenizer": {"ngram": {"min": 1, "max": 16}}}), "from 1 to 16"),
        (json!({"tokenizer": {"ngram": {"min": 1}}}), "\"max\""),
        (json!({"tokenizer": {"ngram": {"min": 1, "max": 2, "edge": true}}}), "\"edge\""),
        (json!({"tokenizer": {"raw": {}}}), "raw"),
        (json!({"tokenizer": 1}), "a number"),
        (json!({"tokenizer": "raw", "stemming": true}), "\"stemming\""),
        (json!({"tokenizer": "source_code", "remove_stopwords": true}), "\"remove_stopwords\""),
        (json!({"max_token_length": 0}), "not 0"),
        (json!({"max_token_length": 1_000_000}), "not 1000000"),
        (json!({"max_token_length": 1.5}), "not 1.5"),
        (json!({"ascii_folding": "yes"}), "\"ascii_folding\""),
    ] {
        let error = options(json.clone()).unwrap_err();
        assert!(error.message.contains(named) && error.message.contains("\"body\""), "{json}: {error}");
    }
}

#[test]
fn only_tokenizers_of_words_have_stemmers_and_stop_words() {
    let raw = options(json!({"tokenizer": "raw"})).unwrap();
    assert!(!raw.stemming && !raw.remove_stopwords);
    assert_eq!(raw.max_token_length, MAX_TOKEN_LENGTH);
    let cjk = options(json!({"tokenizer": "cjk", "ascii_folding": true, "max_token_length": 20})).unwrap();
    assert!(cjk.stemming && cjk.remove_stopwords && cjk.ascii_folding);
    assert_eq!(cjk.max_token_length, 20);
}

#[test]
fn what_was_stored_before_there_were_tokenizers_means_the_default() {
    let old = r#"{"language":"german","stemming":true,"remove_stopwords":false,"case_sensitive":false}"#;
    let old: FullTextOptions = serde_json::from_str(old).unwrap();
    assert_eq!((old.tokenizer, old.ascii_folding, old.max_token_length), (Tokenizer::Default, false, 128));
    let bad = r#"{"ngram":{"min":0,"max":3}}"#;
    assert!(serde_json::from_str::<Tokenizer>(bad).is_err(), "stored lengths are checked too");
}
