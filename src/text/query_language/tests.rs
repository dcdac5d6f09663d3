use super::*;
use crate::error::ErrorKind;
use crate::limits::{MAX_FUZZY_TERMS, MAX_QUERY_TEXT_BYTES, MAX_TEXT_QUERY_DEPTH};
use crate::schema::{FullTextOptions, NamespaceSchema, Tokenizer};
use crate::text::Analyzer;
use proptest::prelude::*;
use serde_json::json;

fn read(text: &str) -> Query {
    parse(text, Operator::Or, &["title", "body"]).unwrap()
}

/// One clause without a sign.
fn node(text: &str) -> Node {
    let mut query = read(text);
    assert_eq!(query.clauses.len(), 1, "{text}: {query:?}");
    let clause = query.clauses.remove(0);
    assert_eq!(clause.occur, Occur::Should, "{text}");
    clause.node
}

fn term(text: &str) -> Node {
    Node::Term(text.to_string())
}

fn boosted(node: Node, boost: f32) -> Node {
    Node::Boost(Box::new(node), boost)
}

fn in_title(node: Node) -> Node {
    Node::Field("title".to_string(), Box::new(node))
}

fn phrase(text: &str, slop: u32) -> Node {
    Node::Phrase { text: text.to_string(), slop }
}

fn fuzzy(text: &str, distance: u8) -> Node {
    Node::Fuzzy { text: text.to_string(), distance }
}

#[test]
fn every_form_of_a_part_is_read() {
    assert_eq!(node("\"a b\"~2^1.5"), boosted(phrase("a b", 2), 1.5));
    assert_eq!(node("\"a b"), phrase("a b", 0));
    assert_eq!(node("pre*^2"), boosted(Node::Prefix("pre".to_string()), 2.0));
    assert_eq!(node("word~1^3"), boosted(fuzzy("word", 1), 3.0));
    assert_eq!(node("title:cat~2"), in_title(fuzzy("cat", 2)));
    assert_eq!(node("title:\"a b\"~1"), in_title(phrase("a b", 1)));
    let clause = |occur, text| Clause { occur, node: term(text) };
    let group = Node::Group(vec![clause(Occur::Must, "a"), clause(Occur::MustNot, "f(x)"), clause(Occur::Should, "b")]);
    assert_eq!(node("title:(+a -f(x) b)^2"), in_title(boosted(group.clone(), 2.0)));
    assert_eq!(node("(+a -f(x) b"), group, "an open parenthesis goes to the end");
    let title = Node::Field("title".to_string(), Box::new(term("x")));
    assert_eq!(node("(title:x)"), Node::Group(vec![Clause { occur: Occur::Should, node: title }]));
}

#[test]
fn what_is_no_syntax_is_words() {
    for word in [
        "wi-fi",
        "--link",
        "+-x",
        "--title:x",
        "a+b",
        "f(x)",
        "a)",
        ":-(",
        "http://x.y/z?q=1",
        "5:30",
        "title:",
        "a~3",
        "a~12",
        "a~",
        "~1",
        "^2",
        "a^",
        "a^x",
        "a^-1",
        "a^1e3",
        "a^1.",
        "a^9999999999",
        "+",
        "-",
        "a\"b\"",
        "año",
        "Title:x",
    ] {
        assert_eq!(node(word), term(word));
    }
    let texts = |text: &str| read(text).clauses.into_iter().map(|clause| clause.node).collect::<Vec<_>>();
    assert_eq!(texts("\"a\"~2x"), [phrase("a", 0), term("~2x")]);
    assert_eq!(texts("\"a\"b"), [phrase("a", 0), term("b")]);
    assert_eq!(texts("\"a\"~1001"), [phrase("a", 0), term("~1001")]);
    assert_eq!(texts("- a"), [term("-"), term("a")]);
    assert_eq!(texts("title: a"), [term("title:"), term("a")]);
    assert_eq!(
        texts("(a -)"),
        [Node::Group(texts("a -").into_iter().map(|node| Clause { occur: Occur::Should, node }).collect())]
    );
    let odd = parse("a:b c(d:e", Operator::Or, &["a:b c", "", "+x", "c(d"]).unwrap();
    assert_eq!(odd.clauses.len(), 2, "names that no query can spell are no fields");
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = "(".repeat(MAX_TEXT_QUERY_DEPTH + 5) + "a";
    let mut inner = &node(&deep);
    for _ in 0..MAX_TEXT_QUERY_DEPTH {
        let Node::Group(clauses) = inner else { panic!("{inner:?}") };
        inner = &clauses[0].node;
    }
    assert_eq!(inner, &term("(((((a"));
    let longest = "(".repeat(MAX_QUERY_TEXT_BYTES);
    assert_eq!(read(&longest).to_string().matches('(').count(), MAX_QUERY_TEXT_BYTES);
    let error = parse(&format!("{longest}("), Operator::Or, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfRange);
    let options = FullTextOptions::default();
    let error = AnalyzedQuery::of_field(0, &options, &"cat~1 ".repeat(MAX_FUZZY_TERMS + 1)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfRange);
    AnalyzedQuery::of_field(0, &options, &"cat~1 ".repeat(MAX_FUZZY_TERMS)).unwrap();
    let long = "\"".to_string() + &"cat ".repeat(65) + "\"";
    AnalyzedQuery::of_field(0, &options, &long).unwrap();
    let error = AnalyzedQuery::of_field(0, &options, &(long + "~1")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfRange);
    let word = "x".repeat(100);
    assert_eq!(node(&format!("{word}~1")), term(&format!("{word}~1")), "a long fuzzy word is a word");
}

fn matches(query: &str, text: &str) -> bool {
    let options = FullTextOptions::default();
    AnalyzedQuery::of_field(3, &options, query).unwrap().matches_text(&mut Analyzer::new(&options), text)
}

#[test]
fn words_are_alternatives_until_something_is_required() {
    let text = "The quick brown foxes jumped over a lazy dog";
    for query in [
        "fox",
        "cat fox",
        "+fox dog",
        "+fox cat",
        "-cat fox",
        "-cat",
        "FOXES",
        "the fox",
        "cat -wolf dog",
        "(cat fox)",
        "+(cat fox) +(dog wolf)",
        "-(cat wolf)",
        "+fox -(+dog +cat)",
        "cat (-wolf)",
        "fox^0",
        "()  fox",
        "+(the) fox",
    ] {
        assert!(matches(query, text), "{query}");
    }
    for query in [
        "cat",
        "+cat fox",
        "fox -dog",
        "-dog",
        "+fox +cat",
        "",
        "the",
        "-the",
        "+",
        "- + *",
        "\"\"",
        "-\"the\"",
        "()",
        "(())",
        "-(-cat)",
        "+(cat wolf) fox",
        "fox -(dog cat)",
        "-(the)",
        "cat^5",
        "(cat",
    ] {
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
        "\"state art\"~2",
        "\"art state\"~1",
        "\"state of the art",
    ] {
        assert!(matches(query, text), "{query}");
    }
    for query in
        ["\"state art\"", "\"state the art\"", "-\"art of state\"", "\"state of the art artful\"", "\"art art\"~1"]
    {
        assert!(!matches(query, text), "{query}");
    }
    assert!(matches("+wi-fi", "some wi fi here") && !matches("+wi-fi", "fi wi"));
    assert!(!matches("-wi-fi", "some wi fi here") && matches("-wi-fi", "fi wi"));
    assert!(matches("wi-fi", "fi wi") && matches("\"wi-fi\"", "wi fi") && !matches("\"wi-fi\"", "fi wi"));
    assert!(matches("\"b b a\"", "a b b b a") && !matches("\"b b a\"", "b a b a"));
    assert!(matches("\"c b\"~2", "b c") && !matches("\"c b\"~1", "b c"), "swapping neighbours takes two moves");
    assert!(!matches("\"b b\"~9", "b") && matches("\"b b\"~2", "b x x b"), "a position counts once");
}

#[test]
fn prefixes_and_fuzzy_words_compare_with_stored_terms_and_with_the_word_itself() {
    for query in [
        "databas*",
        "databases*",
        "data*",
        "DATA*",
        "+data* -cat*",
        "zebra dat*",
        "databaces~1",
        "dtaabases~1",
        "databas~1",
        "dat4b4ses~2",
        "DATABASE~1",
        "mnay~2",
    ] {
        assert!(matches(query, "many databases"), "{query}");
    }
    for query in ["databasez*", "*", "-data*", "+data* +cat*", "d4t4b4ses~2", "mxxy~1", "-many~1", "x~1"] {
        assert!(!matches(query, "many databases"), "{query}");
    }
    assert!(matches("wi-fi*", "wi fi") && !matches("wi-fi*", "wi fish"), "the star is for single words");
    assert!(matches("wi-fi~1", "wi fi") && !matches("wi-fi~1", "wi fu"), "so is the tilde");
}

#[test]
fn every_tokenizer_finds_what_it_split() {
    for (tokenizer, text, found, missed) in [
        ("ngram(2,3)", "Postgres search", vec!["tgre", "SEAR", "\"es se\"", "gr*"], vec!["tgres-", "erg", "x"]),
        (
            "source_code",
            "let user = getUserName(x);",
            vec!["getUserName", "get_user", "user_name", "getUs*", "getUserNmae~1"],
            vec!["name_user", "\"name user\"", "getName"],
        ),
        (
            "cjk",
            "東京都で日本語を検索",
            vec!["京都", "日本語", "日*", "\"日本語 を検索\"~1"],
            vec!["都京", "日語", "日"],
        ),
        ("raw", "New York", vec!["\"new york\"", "ne*", "\"new york\"^2"], vec!["york", "new", "new york"]),
        ("whitespace", "c++ a,b", vec!["c++", "a,b"], vec!["c", "a"]),
    ] {
        let options = FullTextOptions { tokenizer: Tokenizer::parse(tokenizer).unwrap(), ..FullTextOptions::default() };
        let matches = |query: &str| {
            let query = AnalyzedQuery::of_field(0, &options, query).unwrap();
            query.matches_text(&mut Analyzer::new(&options), text)
        };
        for query in found {
            assert!(matches(query), "{tokenizer}: {query}");
        }
        for query in missed {
            assert!(!matches(query), "{tokenizer}: {query}");
        }
    }
}

#[test]
fn fields_are_searched_each_with_its_analyser() {
    let schema = NamespaceSchema::parse(&json!({"attributes": {
        "body": {"type": "string", "full_text": {"stemming": false, "remove_stopwords": false}},
        "title": {"type": "string", "full_text": true},
        "year": "int",
    }}));
    let schema = schema.unwrap();
    let id = |name: &str| schema.require(name).unwrap().id;
    assert!(search_fields(&schema, &[id("year")]).is_err());
    let fields = search_fields(&schema, &[id("title"), id("body")]).unwrap();
    let text = |name: &str, text: &str| {
        let mut analyzer = Analyzer::new(schema.require_full_text(id(name)).unwrap());
        (id(name), PositionedText::new(&mut analyzer, text))
    };
    let both = PositionedDocument::from([text("title", "running cats"), text("body", "the dogs")]);
    let matches = |operator, query: &str, document: &PositionedDocument| {
        AnalyzedQuery::parse(query, operator, &fields).unwrap().1.matches(document)
    };
    for query in [
        "run",
        "+cat +dogs",
        "title:runs",
        "body:the",
        "the",
        "body:(cats dogs)",
        "-body:cats",
        "title:(cat body:the)",
        "year:x dogs",
    ] {
        assert!(matches(Operator::Or, query, &both), "{query}");
    }
    for query in
        ["dog", "title:dogs", "body:run", "-the", "title:the", "+title:(cat -run)", "\"cats dogs\"", "+year:cats"]
    {
        assert!(!matches(Operator::Or, query, &both), "{query}");
    }
    assert!(matches(Operator::And, "cats dogs", &both) && !matches(Operator::And, "cats (dogs wolf)", &both));
    let no_title = PositionedDocument::from([text("body", "")]);
    assert!(matches(Operator::Or, "-cat", &no_title) && !matches(Operator::Or, "title:(-cat)", &no_title));
    assert!(!matches(Operator::Or, "-cat", &PositionedDocument::default()));

    let explained = |query: &str| parse_query(query, Operator::Or, &fields).unwrap();
    assert_eq!(
        explained("+the -title:\"Cats  run\"~1^2 body:dat*"),
        json!({"query": "+the -title:\"Cats  run\"~1^2 body:dat*", "operator": "or", "understood": {"bool": {
            "must": [{"term": {"field": "body", "value": "the"}}],
            "must_not": [{"phrase": {"field": "title", "slop": 1, "boost": 2.0,
                "terms": [{"position": 0, "value": "cat"}, {"position": 1, "value": "run"}]}}],
            "should": [{"prefix": {"field": "body", "value": "dat", "word": "dat"}}],
        }}})
    );
    assert_eq!(explained("title:the")["understood"], json!({"match_none": {}}));
    assert_eq!(
        explained("Cats~1")["understood"],
        json!({"bool": {"should": [
            {"fuzzy": {"field": "title", "value": "cats", "word": "cat", "distance": 1}},
            {"fuzzy": {"field": "body", "value": "cats", "distance": 1}}]}})
    );
    for operator in [Operator::Or, Operator::And] {
        assert_eq!(Operator::from_name(operator.name()), Some(operator));
    }
}

/// The words of the language and of its syntax.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "cat", "the", "wi-fi", " ", " ", "  ", "+", "-", "\"", "\"", "(", ")", "(", ")", "*", "~1", "~2", "~",
        "^2", "^1.5", "^", "title:", "body:", ":", "\u{3000}", "日本", "\\", "f(x", "~3^2", "^0",
    ]);
    prop_oneof![6 => prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat()), 1 => any::<String>()]
}

fn any_node() -> impl Strategy<Value = Node> {
    let word = || prop::sample::select(vec!["cat", "f(x)", "wi-fi", "a:b", "日本", "x\"y"]).prop_map(str::to_string);
    let leaf = prop_oneof![
        word().prop_map(Node::Term),
        word().prop_map(Node::Prefix),
        ("[a-c ()+~^-]{0,8}", 0_u32..5).prop_map(|(text, slop)| Node::Phrase { text, slop }),
        (word(), 1_u8..3).prop_map(|(text, distance)| Node::Fuzzy { text, distance }),
    ];
    let boost = |node: Node, tenths: Option<u8>| match (node, tenths) {
        (node @ (Node::Boost(..) | Node::Field(..)), _) | (node, None) => node,
        (node, Some(tenths)) => boosted(node, f32::from(tenths) / 8.0),
    };
    let field = |node: Node, field: bool| if field && !matches!(node, Node::Field(..)) { in_title(node) } else { node };
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let occur = prop::sample::select(vec![Occur::Should, Occur::Must, Occur::MustNot]);
        let clause = (occur, inner.clone()).prop_map(|(occur, node)| Clause { occur, node });
        let group = prop::collection::vec(clause, 0..4).prop_map(Node::Group);
        (prop_oneof![inner, group], any::<Option<u8>>(), any::<bool>())
            .prop_map(move |(node, tenths, named)| field(boost(node, tenths), named))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_written_down_is_read_back(text in any_text()) {
        let query = read(&text);
        let written = query.to_string();
        prop_assert_eq!(read(&written), query, "{}", written);
        AnalyzedQuery::of_field(0, &FullTextOptions::default(), &text).unwrap();
    }

    #[test]
    fn any_tree_is_read_back(node in any_node()) {
        let query = Query { operator: Operator::Or, clauses: vec![Clause { occur: Occur::Must, node }] };
        let written = query.to_string();
        prop_assert_eq!(read(&written), query, "{}", written);
    }

    #[test]
    fn plain_words_are_the_alternatives_of_the_words(words in prop::collection::vec("[a-zA-Zéß0-9.,;!?/_'&%-]{0,3}[a-z]", 0..8)) {
        let words: Vec<&str> = words.iter().map(|word| word.trim_start_matches('-')).collect();
        let query = read(&words.join(" "));
        let expected = words.iter().map(|word| Clause { occur: Occur::Should, node: term(word) });
        prop_assert_eq!(query.clauses, expected.collect::<Vec<_>>());
    }

    #[test]
    fn sloppy_phrases_are_found_however_they_are_looked_for(
        terms in prop::collection::vec((0_usize..3, 0_u32..4), 1..4),
        lists in prop::collection::vec(prop::collection::btree_set(0_u32..12, 0..5), 3),
        slop in 0_u32..5,
    ) {
        let lists: Vec<Vec<u32>> = lists.into_iter().map(|list| list.into_iter().collect()).collect();
        let mut terms = terms;
        terms.sort_unstable();
        terms.dedup();
        let names = ["a", "b", "c"];
        let phrase: Vec<PhraseList<'_>> = terms
            .iter()
            .map(|(term, distance)| PhraseList { distance: *distance, term: names[*term], positions: &lists[*term] })
            .collect();
        // Every way to give each term a position.
        let mut ways: Vec<Vec<u32>> = vec![Vec::new()];
        for (term, _) in &terms {
            ways = ways.iter().flat_map(|way| lists[*term].iter().map(|at| [way.as_slice(), &[*at]].concat())).collect();
        }
        let right = |way: &&Vec<u32>| {
            let shifts = || way.iter().zip(&terms).map(|(at, (_, distance))| i64::from(*at) - i64::from(*distance));
            let near = shifts().max().zip(shifts().min()).is_some_and(|(most, least)| most - least <= i64::from(slop));
            let twice = (0..way.len()).any(|i| (0..i).any(|j| terms[i].0 == terms[j].0 && way[i] == way[j]));
            near && !twice
        };
        prop_assert_eq!(phrase_occurs(&phrase, slop), ways.iter().any(|way| right(&way)));
        let in_a_match: Vec<u32> = phrase_matches(&phrase, slop);
        let of_ways: std::collections::BTreeSet<u32> = ways.iter().filter(right).flatten().copied().collect();
        prop_assert!(in_a_match.iter().all(|at| of_ways.contains(at)));
        prop_assert_eq!(in_a_match.is_empty(), of_ways.is_empty());
    }

    #[test]
    fn a_word_is_one_edit_from_what_one_edit_makes_of_it(word in "[a-cé日]{1,6}", at in 0_usize..6, kind in 0..4) {
        let characters: Vec<char> = word.chars().collect();
        let mut edited = characters.clone();
        let at = at % characters.len();
        match kind {
            0 => edited.insert(at, 'x'),
            1 => drop(edited.remove(at)),
            2 => edited[at] = 'x',
            _ => edited.swap(at, (at + 1) % characters.len().min(at + 2)),
        }
        let edited: String = edited.into_iter().collect();
        prop_assert!(kind == 3 || edits_within(&word, &edited, 1));
        prop_assert!(edits_within(&word, &word, 0) && edits_within(&word, &edited, 2));
        prop_assert_eq!(edits_within(&word, &edited, 1), edits_within(&edited, &word, 1));
        prop_assert_eq!(edits_within(&word, &edited, 0), word == edited);
    }
}

#[test]
fn swaps_count_once_and_swapped_characters_are_not_edited_again() {
    assert!(edits_within("ab", "ba", 1) && !edits_within("ca", "abc", 2));
    assert!(edits_within("", "ab", 2) && !edits_within("", "abc", 2) && edits_within("日本", "本日", 1));
}
