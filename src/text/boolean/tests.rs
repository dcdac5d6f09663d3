use super::*;

fn matches(query: &str, text: &str) -> bool {
    let options = FullTextOptions::default();
    BooleanQuery::parse(&options, query).unwrap().matches(&mut Analyzer::new(&options), text)
}

#[test]
fn words_are_alternatives_until_something_is_required() {
    let text = "The quick brown foxes jumped over a lazy dog";
    for query in ["fox", "cat fox", "+fox dog", "+fox cat", "-cat fox", "-cat", "FOXES", "the fox", "cat -wolf dog"] {
        assert!(matches(query, text), "{query}");
    }
    for query in
        ["cat", "+cat fox", "fox -dog", "-dog", "+fox +cat", "", "the", "-the", "+", "- + *", "\"\"", "-\"the\""]
    {
        assert!(!matches(query, text), "{query}");
    }
}

#[test]
fn phrases_keep_the_distances_that_stop_words_leave() {
    let text = "the state of the art and the art of state";
    for query in [
        "\"state of the art\"",
        "\"state a an art\"",
        "\"art of state\"",
        "+\"state of the art\" -\"state art\"",
        "\"arts\"",
    ] {
        assert!(matches(query, text), "{query}");
    }
    for query in ["\"state art\"", "\"state the art\"", "-\"art of state\"", "\"state of the art artful\""] {
        assert!(!matches(query, text), "{query}");
    }
    assert!(matches("\"state of the art", text), "an open quote goes to the end");
    assert!(matches("wi-fi", "some wi fi here") && !matches("wi-fi", "fi wi"));
    assert!(matches("\"b b a\"", "a b b b a") && !matches("\"b b a\"", "b a b a"));
}

#[test]
fn prefixes_compare_with_stored_terms_and_with_the_word_itself() {
    for query in ["databas*", "databases*", "data*", "DATA*", "+data* -cat*", "zebra dat*"] {
        assert!(matches(query, "many databases"), "{query}");
    }
    for query in ["databasez*", "*", "-data*", "+data* +cat*"] {
        assert!(!matches(query, "many databases"), "{query}");
    }
    assert!(matches("wi-fi*", "wi fi") && !matches("wi-fi*", "wi fish"), "the star is for single words");
}

#[test]
fn no_text_is_an_error_except_one_that_is_too_long() {
    let options = FullTextOptions::default();
    for query in ["\"", "+\"", "-", "***", "\u{0}", "++a", "a\"b", "\"a\"b\"c", "+ \"", "ß*", "\u{3000}x"] {
        BooleanQuery::parse(&options, query).unwrap();
    }
    let error = BooleanQuery::parse(&options, &"x".repeat(MAX_QUERY_TEXT_BYTES + 1)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfRange);
}
