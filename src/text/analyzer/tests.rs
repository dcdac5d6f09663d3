use super::*;
use crate::limits::DEFAULT_MAX_TOKEN_LENGTH;

fn tokens(options: FullTextOptions, text: &str) -> Vec<String> {
    Analyzer::new(&options).terms(text)
}

#[test]
fn english_is_lower_cased_stemmed_and_without_stop_words() {
    assert_eq!(tokens(FullTextOptions::default(), "The Runners are running, x86-64!"), ["runner", "run", "x86", "64"]);
}

#[test]
fn every_step_can_be_switched_off() {
    let plain = FullTextOptions { stemming: false, remove_stopwords: false, ..FullTextOptions::default() };
    assert_eq!(tokens(plain.clone(), "The Runners"), ["the", "runners"]);
    assert_eq!(tokens(FullTextOptions { case_sensitive: true, ..plain }, "The Runners"), ["The", "Runners"]);
    let stemmed = FullTextOptions { remove_stopwords: false, ..FullTextOptions::default() };
    assert_eq!(tokens(stemmed, "the Runners"), ["the", "runner"]);
}

#[test]
fn tokens_up_to_the_limit_are_kept() {
    let options = FullTextOptions { stemming: false, ..FullTextOptions::default() };
    let longest = "x".repeat(DEFAULT_MAX_TOKEN_LENGTH as usize);
    assert_eq!(tokens(options.clone(), &longest).concat(), longest);
    assert_eq!(tokens(options.clone(), &format!("a {longest}x cat")), ["cat"]);
    assert_eq!(tokens(FullTextOptions { max_token_length: 3, ..options }, "cats cat"), ["cat"]);
}

#[test]
fn folding_takes_accents_off_and_stop_words_know_both_forms() {
    let german = FullTextOptions { language: Language::German, ascii_folding: true, ..FullTextOptions::default() };
    assert_eq!(tokens(german, "Für die Straße über Köln"), ["strass", "koln"]);
    let turkish = FullTextOptions { language: Language::Turkish, ascii_folding: true, ..FullTextOptions::default() };
    assert!(!tokens(turkish, "İstanbul").is_empty());
}

#[test]
fn tokens_that_are_no_words_are_neither_stemmed_nor_dropped() {
    for (tokenizer, expected) in
        [("raw", vec!["the cats"]), ("source_code", vec!["the", "cats"]), ("whitespace", vec!["cat"])]
    {
        let tokenizer = Tokenizer::parse(tokenizer).unwrap();
        assert_eq!(tokens(FullTextOptions { tokenizer, ..FullTextOptions::default() }, "The Cats"), expected);
    }
}

#[test]
fn a_token_knows_where_it_was_written() {
    let found = analyze(&FullTextOptions::default(), "Der Köche, of Cats");
    let expected = [("der", 0, 0, 3), ("köche", 1, 4, 10), ("cat", 3, 15, 19)];
    let expected =
        expected.map(|(term, position, start, end)| AnalyzedToken { term: term.into(), position, start, end });
    assert_eq!(found, expected);
}

#[test]
fn all_languages_tokenise_their_words() {
    let words = [
        "الكتاب المدارس",
        "bøgerne løber",
        "boeken lopen",
        "books running",
        "kirjastoissa juoksevat",
        "livres courant",
        "Bücher laufenden",
        "βιβλία τρέχοντας",
        "könyvek futnak",
        "libri correndo",
        "bøkene løper",
        "livros correndo",
        "cărțile alergând",
        "книги бегущие",
        "libros corriendo",
        "böckerna springer",
        "புத்தகங்கள் ஓடுகின்றன",
        "kitaplarım koşuyorlar",
    ];
    for (language, words) in Language::ALL.into_iter().zip(words) {
        for stemming in [true, false] {
            let options = FullTextOptions { language, stemming, ..FullTextOptions::default() };
            assert!(!tokens(options.clone(), words).is_empty(), "{language:?}");
            // Any text at all goes through every stemmer.
            let odd = "İstanbul ß ﬁ αντιθετε 日本語 \u{0} e\u{301} 12 𝒳 ЁЖ ą";
            assert!(!tokens(options.clone(), odd).is_empty(), "{language:?}");
            assert!(tokens(options, "").is_empty());
        }
    }
}

/// Two forms of a word with one stem, and a stop word, in the order of [`Language::ALL`].
const FORMS: [(&str, &str, &str); 18] = [
    ("الكتاب", "كتاب", "من"),
    ("husene", "huset", "og"),
    ("boeken", "boek", "het"),
    ("running", "runs", "the"),
    ("talossa", "talot", "ja"),
    ("livres", "livre", "dans"),
    ("häuser", "haus", "und"),
    ("δρόμους", "δρόμος", "και"),
    ("házak", "ház", "és"),
    ("libri", "libro", "della"),
    ("husene", "huset", "og"),
    ("livros", "livro", "para"),
    ("lucrători", "lucrător", "pentru"),
    ("книги", "книга", "что"),
    ("libros", "libro", "para"),
    ("husen", "huset", "och"),
    ("புத்தகங்கள்", "புத்தகம்", "என்று"),
    ("evler", "ev", "için"),
];

#[test]
fn every_language_has_a_stemmer_and_stop_words_that_can_be_switched_off() {
    for (language, (a, b, stop_word)) in Language::ALL.into_iter().zip(FORMS) {
        let options = FullTextOptions { language, ..FullTextOptions::default() };
        let text = format!("{a} {stop_word} {b}");
        let stemmed = tokens(options.clone(), &text);
        assert!(stemmed.len() == 2 && stemmed[0] == stemmed[1], "{language:?}: {stemmed:?}");
        let unstemmed = tokens(FullTextOptions { stemming: false, ..options.clone() }, &text);
        assert_eq!(unstemmed, [a, b], "{language:?}");
        let kept = tokens(FullTextOptions { stemming: false, remove_stopwords: false, ..options }, &text);
        assert_eq!(kept, [a, stop_word, b], "{language:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_an_analyser(text in proptest::prelude::any::<String>(), language in 0_usize..18) {
        let options = FullTextOptions { language: Language::ALL[language], ..FullTextOptions::default() };
        tokens(options, &text);
    }
}
