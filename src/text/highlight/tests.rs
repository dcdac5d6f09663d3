use super::*;
use crate::schema::{FullTextOptions, Tokenizer};
use proptest::prelude::*;

fn whole() -> HighlightOptions {
    HighlightOptions {
        max_fragments: 0,
        start_tag: "[".to_string(),
        end_tag: "]".to_string(),
        ..HighlightOptions::default()
    }
}

fn marked(tokenizer: &str, query: &str, text: &str) -> String {
    let options = FullTextOptions { tokenizer: Tokenizer::parse(tokenizer).unwrap(), ..FullTextOptions::default() };
    let query = AnalyzedQuery::of_field(1, &options, query).unwrap();
    let fragments = highlight(&query, 1, &mut Analyzer::new(&options), text, &whole());
    assert!(highlight(&query, 2, &mut Analyzer::new(&options), text, &whole()).is_empty(), "another attribute");
    fragments.into_iter().map(|fragment| fragment.text).collect()
}

#[test]
fn what_the_query_means_is_marked_as_it_was_written() {
    for (query, text, expected) in [
        ("cat -dog", "Cats, dogs and a cat's tail", "[Cats], dogs and a [cat]'s tail"),
        ("\"state of the art\"", "a state: the State of the Art!", "a state: the [State] of the [Art]!"),
        ("\"c b\"~2", "b c x x x c", "[b] [c] x x x c"),
        ("databa* mnay~2", "Many databases", "[Many] [databases]"),
        ("+a1 (b2 +c3)^2", "a1 b2 c3 d4", "[a1] [b2] [c3] d4"),
        ("wolf", "no such thing", ""),
        ("the", "the", ""),
        ("-cat", "cat", ""),
    ] {
        assert_eq!(marked("default", query, text), expected, "{query}");
    }
    assert_eq!(marked("cjk", "日本語", "これは日本語です"), "これは[日本語]です");
    assert_eq!(marked("source_code", "user_name", "x = getUserName()"), "x = get[UserName]()");
    assert_eq!(marked("source_code", "getUser*", "x = getUserName()"), "x = [getUserName]()");
    assert_eq!(marked("ngram(2,3)", "ostg", "Postgres"), "P[ostg]res");
}

#[test]
fn fragments_are_the_best_places_in_the_order_of_the_text() {
    let filler = "lorem ipsum dolor sit amet ".repeat(10);
    let text = format!("{filler}one cat. {filler}a cat and a dog here. {filler}only dogs here. {filler}");
    let options = FullTextOptions::default();
    let query = AnalyzedQuery::of_field(0, &options, "cat dog").unwrap();
    let cut = |max_fragments, fragment_size| {
        let options = HighlightOptions { max_fragments, fragment_size, ..whole() };
        let fragments = highlight(&query, 0, &mut Analyzer::new(&FullTextOptions::default()), &text, &options);
        fragments.into_iter().map(|fragment| fragment.text).collect::<Vec<_>>()
    };
    assert_eq!(cut(1, 40), ["sit amet a [cat] and a [dog] here. lorem"]);
    assert_eq!(cut(2, 40).len(), 2);
    assert_eq!(cut(9, 40).len(), 3);
    assert_eq!(cut(9, 0), ["[cat]", "[cat]", "[dog]", "[dogs]"]);
}

proptest! {
    #[test]
    fn fragments_are_pieces_of_the_text_with_tags(
        text in "([a-d]{1,3}|[ ,\n]|日|é){0,60}",
        query in "([a-d]{1,2}[*]? |[a-d]~1 |\"a b\"~3 |日 ){1,4}",
        tokenizer in prop::sample::select(vec!["default", "whitespace", "ngram(1,2)", "cjk", "source_code", "raw"]),
        fragment_size in 0_usize..30,
        max_fragments in 0_usize..4,
    ) {
        let tokenizer = Tokenizer::parse(tokenizer).unwrap();
        let options = FullTextOptions { tokenizer, ..FullTextOptions::default() };
        let mut analyzer = Analyzer::new(&options);
        let query = AnalyzedQuery::of_field(0, &options, &query).unwrap();
        let cut = HighlightOptions { fragment_size, max_fragments, ..whole() };
        let fragments = highlight(&query, 0, &mut analyzer, &text, &cut);
        prop_assert!(fragments.len() <= max_fragments.max(1));
        prop_assert_eq!(fragments.is_empty(), !query.matches_text(&mut analyzer, &text), "alternatives: found is marked");
        let mut end = 0;
        for fragment in &fragments {
            prop_assert!(fragment.range.start >= end && fragment.text.contains('['));
            end = fragment.range.end;
            prop_assert_eq!(fragment.text.replace(['[', ']'], ""), &text[fragment.range.clone()]);
            let tags: String = fragment.text.matches(['[', ']']).collect();
            prop_assert_eq!(tags.replace("[]", ""), "");
        }
    }
}
