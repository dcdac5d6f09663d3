use super::*;
use crate::schema::{FullTextOptions, Tokenizer as Kind};
use crate::text::{AnalyzedToken, Analyzer, analyze};

fn options(tokenizer: &str) -> FullTextOptions {
    FullTextOptions {
        tokenizer: Kind::parse(tokenizer).unwrap(),
        stemming: false,
        remove_stopwords: false,
        case_sensitive: true,
        ..FullTextOptions::default()
    }
}

/// Terms with their positions.
fn positioned(tokenizer: &str, text: &str) -> Vec<(String, u32)> {
    analyze(&options(tokenizer), text).into_iter().map(|token| (token.term, token.position)).collect()
}

fn expect(tokenizer: &str, text: &str, expected: &[(&str, u32)]) {
    let expected: Vec<(String, u32)> = expected.iter().map(|(term, at)| (term.to_string(), *at)).collect();
    assert_eq!(positioned(tokenizer, text), expected, "{text}");
}

#[test]
fn white_space_of_every_script_separates() {
    expect("whitespace", " a,b  c\u{3000}d\u{a0}é\n", &[("a,b", 0), ("c", 1), ("d", 2), ("é", 3)]);
    expect("whitespace", "", &[]);
    expect("raw", "New York, NY", &[("New York, NY", 0)]);
}

#[test]
fn identifiers_are_kept_whole_and_in_parts() {
    expect("source_code", "getUserName", &[("getUserName", 0), ("get", 0), ("User", 1), ("Name", 2)]);
    expect("source_code", "HTTPServer2Go", &[("HTTPServer2Go", 0), ("HTTP", 0), ("Server", 1), ("2", 2), ("Go", 3)]);
    expect("source_code", "MAX_LEN x", &[("MAX_LEN", 0), ("MAX", 0), ("LEN", 1), ("x", 2)]);
    expect("source_code", "data-user-id = -1", &[("data-user-id", 0), ("data", 0), ("user", 1), ("id", 2), ("1", 3)]);
    expect("source_code", "__init__(self) _ a--b", &[("__init__", 0), ("init", 0), ("self", 1), ("a", 2), ("b", 3)]);
    expect(
        "source_code",
        "utf8 naïveÉtat",
        &[("utf8", 0), ("utf", 0), ("8", 1), ("naïveÉtat", 2), ("naïve", 2), ("État", 3)],
    );
    let parts = Analyzer::for_phrases(&options("source_code")).terms("getUserName");
    assert_eq!(parts, ["get", "User", "Name"]);
    assert_eq!(Analyzer::unstemmed(&options("source_code")).terms("get_user x"), ["get_user", "x"]);
}

#[test]
fn cjk_is_pairs_and_the_rest_words() {
    expect("cjk", "日本語を abc検索 東", &[("日本", 0), ("本語", 1), ("語を", 2), ("abc", 3), ("検索", 4), ("東", 5)]);
    expect("cjk", "한국어 カタ・カナ。", &[("한국", 0), ("국어", 1), ("カタ", 2), ("カナ", 3)]);
    expect("cjk", "ＡＢＣ１２ x", &[("ABC12", 0), ("x", 1)]);
    expect("cjk", "か\u{3099}き", &[("か\u{3099}", 0), ("\u{3099}き", 1)]);
}

#[test]
fn ngrams_stand_where_they_begin() {
    expect("ngram(2,3)", "cätö", &[("cä", 0), ("cät", 0), ("ät", 1), ("ätö", 1), ("tö", 2)]);
    expect("ngram(2,3)", "x", &[]);
    expect("ngram(1,1)", "a b", &[("a", 0), (" ", 1), ("b", 2)]);
}

proptest::proptest! {
    #[test]
    fn tokens_lie_in_the_text_in_order(
        text in "[a-cA-C_1 é日本語カ한ＡßİΣ\u{3099}-]{0,24}|\\PC{0,24}",
        tokenizer in proptest::sample::select(
            vec!["default", "whitespace", "raw", "ngram(2,3)", "ngram(1,4)", "source_code", "cjk"]
        ),
    ) {
        let tokens: Vec<AnalyzedToken> = analyze(&options(tokenizer), &text);
        for pair in tokens.windows(2) {
            assert!(pair[0].position <= pair[1].position && pair[0].start <= pair[1].start, "{pair:?}");
        }
        for token in &tokens {
            let written = &text[token.start..token.end];
            let narrow: String = written.chars().map(narrow_character).collect();
            assert!(token.term == written || (tokenizer == "cjk" && token.term == narrow), "{token:?}");
            assert!(tokenizer == "raw" || !token.term.is_empty());
        }
        // A second text through the same analyser starts afresh.
        let mut analyzer = Analyzer::new(&options(tokenizer));
        analyzer.tokens("erste Zeile 日本");
        assert_eq!(analyzer.tokens(&text), tokens);
    }

    #[test]
    fn a_word_typed_without_accents_is_the_word_with_them(
        word in "[a-zéèêëàâäîïôöûüùçñ]{1,10}",
        language in 0_usize..18,
    ) {
        let language = crate::schema::Language::ALL[language];
        let options = FullTextOptions { language, remove_stopwords: false, ascii_folding: true, ..FullTextOptions::default() };
        let bare: String = word.chars().map(|c| match c {
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'à' | 'â' | 'ä' => 'a',
            'î' | 'ï' => 'i',
            'ô' | 'ö' => 'o',
            'û' | 'ü' | 'ù' => 'u',
            'ç' => 'c',
            'ñ' => 'n',
            c => c,
        }).collect();
        let mut analyzer = Analyzer::new(&options);
        assert_eq!(analyzer.terms(&word), analyzer.terms(&bare));
    }
}

#[test]
fn words_keep_their_marks_and_nothing_else() {
    expect(
        "default",
        "x86-64, don't e\u{301}te\u{301}!",
        &[("x86", 0), ("64", 1), ("don", 2), ("t", 3), ("e\u{301}te\u{301}", 4)],
    );
    expect("default", "புத்தகங்கள் ஓடுகின்றன", &[("புத்தகங்கள்", 0), ("ஓடுகின்றன", 1)]);
    expect("default", "\u{301}a \u{bcd} नमस्ते", &[("a", 0), ("नमस्ते", 1)]);
    expect("cjk", "日本 தமிழ்", &[("日本", 0), ("தமிழ்", 1)]);
}
