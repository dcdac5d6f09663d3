//! What comes in from outside never panics, never overflows the stack and never takes long: text queries, filters, documents,
//! rankings, facets, and the bytes of the write buffer. Inputs are mutations of examples.
//!
//! `cargo test` runs a fixed number of rounds; with `ELACSYM_LONG` each target runs for `ELACSYM_FUZZ_SECONDS` (600).

use std::time::{Duration, Instant};

use elacsym::aggregate::Facet;
use elacsym::document::{Document, Patch};
use elacsym::filter::{Condition, Filter};
use elacsym::rank::{Per, Times, Unit, parse_modifiers, parse_order_by};
use elacsym::schema::{FullTextOptions, NamespaceSchema};
use elacsym::text::{
    AnalyzedQuery, Analyzer, DocumentFilter, HighlightOptions, Operator, analyze, highlight, parse_query, search_fields,
};
use serde_json::{Value as Json, json};

/// Rounds of a short run: about a second for each target.
const ROUNDS: u64 = 3_000;
/// No input may keep a thread longer, on a machine where everything else runs as well. Ordinary ones take microseconds.
const LONGEST: Duration = Duration::from_secs(10);
/// Inputs grow no longer than this; what is longer than a limit of ours is refused by its length alone.
const MAX_INPUT_BYTES: usize = 20_000;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Runs `target` on mutations of `examples`, joined and broken with `pieces`.
fn fuzz(name: &str, examples: &[&str], pieces: &[&str], mut target: impl FnMut(&str)) {
    let long = std::env::var_os("ELACSYM_LONG").is_some();
    let seconds = std::env::var("ELACSYM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
    let end = long.then(|| Instant::now() + Duration::from_secs(seconds));
    let seed = std::env::var("ELACSYM_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut random = Random(seed);
    examples.iter().for_each(|example| target(example));
    let mut kept: Vec<String> = examples.iter().map(|example| (*example).to_string()).collect();
    let mut rounds = 0_u64;
    while end.map_or(rounds < ROUNDS, |end| Instant::now() < end) {
        let mut input = kept[random.below(kept.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &mut random, pieces);
        }
        let start = Instant::now();
        target(&input);
        assert!(start.elapsed() < LONGEST, "{name}: {:?} for {input:?}", start.elapsed());
        // Some mutations are mutated further.
        if random.below(10) == 0 {
            let at = examples.len() + random.below(100);
            if at < kept.len() { kept[at] = input } else { kept.push(input) }
        }
        rounds += 1;
    }
    println!("{name}: {rounds} inputs");
}

fn boundary(text: &str, random: &mut Random) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(input: &mut String, random: &mut Random, pieces: &[&str]) {
    let (a, b) = (boundary(input, random), boundary(input, random));
    let (from, to) = (a.min(b), a.max(b));
    match random.below(7) {
        0 => drop(input.drain(from..to)),
        1 => input.insert_str(a, random.pick(pieces)),
        2 => input.replace_range(from..to, random.pick(pieces)),
        // Often: nesting.
        3 => {
            let piece = random.pick(pieces).repeat(1 + random.below(40));
            input.insert_str(a, &piece);
        }
        4 => {
            let part = input[from..to].to_string();
            input.insert_str(a, &part);
        }
        5 => {
            let any = char::from_u32(random.below(0x11_0000) as u32).unwrap_or('\u{fffd}');
            input.insert(a, any);
        }
        _ => {
            let part: String = input[from..to].chars().rev().collect();
            input.replace_range(from..to, &part);
        }
    }
    if input.len() > MAX_INPUT_BYTES {
        let mut end = MAX_INPUT_BYTES;
        while !input.is_char_boundary(end) {
            end -= 1;
        }
        input.truncate(end);
    }
}

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 2, "attributes": {
        "title": {"type": "string", "full_text": true, "indexed": true},
        "body": {"type": "string", "full_text": {"language": "german", "stemming": true}},
        "code": {"type": "string", "full_text": {"tokenizer": "source_code"}},
        "grams": {"type": "string", "full_text": {"tokenizer": "ngram(2,3)"}},
        "cjk": {"type": "string", "full_text": {"tokenizer": "cjk"}},
        "year": {"type": "int"}, "score": {"type": "float"}, "open": {"type": "bool"}, "tags": {"type": "array_string"},
        "numbers": {"type": "array_int"}, "at": {"type": "timestamp"}, "uid": {"type": "uuid"}
    }}))
    .unwrap()
}

fn document() -> Json {
    json!({"id": 1, "vector": [0.5, -1.0], "attributes": {
        "title": "Vacuum and the visibility map", "body": "Die Häuser der Stadt", "code": "fn getHTTPResponse_code(x: u8)",
        "grams": "abcdef", "cjk": "全文検索エンジン", "year": 2024, "score": 1.5, "open": true, "tags": ["a", "b"],
        "numbers": [1, -2], "at": "2024-02-29T12:00:00Z", "uid": "6d8ff6a2-53fd-4d62-9a3c-2f3a5a0b7c11"
    }})
}

const JSON_PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e308",
    "1e999",
    "-0.0",
    "9223372036854775807",
    "9223372036854775808",
    "\\u0000",
    "\\ud800",
    "\"id\":",
    "\"type\":",
    "\"and\"",
    "\"or\"",
    "\"not\"",
    "\"conditions\":[",
    "{\"type\":\"not\",\"conditions\":[",
    "\"field\":",
    "\"op\":",
    "\"value\":",
    "\"year\"",
    "\"title\"",
    "\"tags\"",
    "\"at\"",
    "\"uid\"",
    "\"numbers\"",
    "\"score\"",
    "\"open\"",
    "\"in\"",
    "\"gte\"",
    "\"prefix\"",
    "\"match\"",
    "\"contains_any\"",
    "\"is_null\"",
    "\"2024-02-30T25:61:61Z\"",
    "\"0000-00-00\"",
    "\"infinity\"",
    "[[[[",
    "\u{1f600}",
    "\u{0}",
    " ",
];

#[test]
fn any_text_is_a_query() {
    let schema = schema();
    let ids: Vec<u16> = schema.full_text_attributes().map(|(attribute, _)| attribute.id).collect();
    let fields = search_fields(&schema, &ids).unwrap();
    let text = "Vacuum and the visibility map: autovacuum_naptime, wi-fi, e.g. 全文検索, getHTTPResponse";
    let examples = [
        "vacuum map",
        "+visible -map \"visibility map\"~2",
        "title:vacu* body:(haus~1 OR stadt^2.5)",
        "\"\"",
        "a~9 b^^ c**",
        "(((a) b) c",
        "-\"the\"",
        "全文 検索*",
        "x:y:z",
        "+(+(+(+a)))",
        "getHTTPResponse_code~2",
    ];
    let pieces = [
        "\"",
        "(",
        ")",
        "((((((((",
        "+",
        "-",
        "*",
        "~",
        "~1",
        "~2",
        "^",
        "^2",
        "^1e9",
        ":",
        "title:",
        "body:(",
        "\\",
        " ",
        "\t",
        "the",
        "a",
        "全文",
        "\u{301}",
        "\u{200d}",
        "\u{0}",
        "ß",
        "İ",
        "_",
        "vacuum",
        "\"a b\"~99999999999",
        "^0",
        "^-1",
        "^nan",
    ];
    fuzz("text query", &examples, &pieces, |input| {
        for operator in [Operator::Or, Operator::And] {
            // Refused only for being too much.
            let Ok(understood) = parse_query(input, operator, &fields) else { continue };
            drop(understood.to_string());
            let (_, query) = AnalyzedQuery::parse(input, operator, &fields).expect("what can be shown can be asked");
            for field in &fields {
                let mut analyzer = Analyzer::new(field.options);
                query.matches_text(&mut analyzer, text);
                for fragment in highlight(&query, field.attribute, &mut analyzer, text, &HighlightOptions::default()) {
                    assert!(text.get(fragment.range).is_some(), "{input:?}");
                }
            }
        }
    });
}

#[test]
fn any_text_can_be_analysed() {
    let schema = schema();
    let options: Vec<&FullTextOptions> = schema.full_text_attributes().map(|(_, options)| options).collect();
    let examples =
        ["The quick brown fox", "getHTTPResponse_code2Text", "全文検索 mixed テキスト", "ǅ İstanbul straße ﬁn", ""];
    let pieces =
        ["_", "a", "A", "0", "é", "e\u{301}", "全", "\u{200b}", "\u{1f468}\u{200d}\u{1f469}", "\n", "\u{0}", "ß", "Σς"];
    fuzz("analyser", &examples, &pieces, |input| {
        for options in &options {
            for token in analyze(options, input) {
                assert!(input.get(token.start..token.end).is_some(), "{input:?}: {token:?}");
            }
        }
    });
}

#[test]
fn any_json_is_a_filter_or_an_error() {
    let schema = schema();
    let (_, document) = Document::parse(&schema, &document()).unwrap();
    let examples = [
        r#"{"field": "year", "op": "gte", "value": 2020}"#,
        r#"{"type": "and", "conditions": [{"field": "tags", "op": "contains_any", "value": ["a"]}, {"type": "not", "conditions": [{"field": "open", "op": "eq", "value": false}]}]}"#,
        r#"{"field": "title", "op": "match", "value": "+vacuum -\"x y\"~1"}"#,
        r#"{"field": "at", "op": "lt", "value": "2024-03-01T00:00:00+02:00"}"#,
        r#"{"field": "uid", "op": "in", "value": ["6d8ff6a2-53fd-4d62-9a3c-2f3a5a0b7c11"]}"#,
        r#"{"type": "or", "conditions": [{"type": "not_exists"}, {"field": "score", "op": "is_null"}]}"#,
    ];
    fuzz("filter", &examples, JSON_PIECES, |input| {
        let Ok(json) = serde_json::from_str::<Json>(input) else { return };
        if let Ok(filter) = Filter::parse(&schema, &json) {
            let yes = DocumentFilter::new(&schema, Some(&filter)).is_ok_and(|mut filter| filter.matches(&document));
            let not = Filter::Not(Box::new(filter));
            let no = DocumentFilter::new(&schema, Some(&not)).is_ok_and(|mut filter| filter.matches(&document));
            assert!(yes != no || DocumentFilter::new(&schema, Some(&not)).is_err(), "{input}");
        }
        drop(Condition::parse(&schema, &json));
    });
}

#[test]
fn any_json_is_a_document_or_an_error() {
    let schema = schema();
    let example = document().to_string();
    let examples = [
        example.as_str(),
        r#"{"id": -9223372036854775808, "vector": null, "attributes": {"year": null}}"#,
        r#"{"id": 7, "attributes": {"tags": [], "numbers": [9223372036854775807]}}"#,
    ];
    fuzz("document", &examples, JSON_PIECES, |input| {
        let Ok(json) = serde_json::from_str::<Json>(input) else { return };
        if let Ok((_, document)) = Document::parse(&schema, &json) {
            let back = Document::decode(&document.encode(), "a test").expect("what was written can be read");
            assert_eq!(back, document, "{input}");
        }
        if let Ok((_, patch)) = Patch::parse(&schema, &json) {
            let back = Patch::decode(&patch.encode(), "a test").expect("what was written can be read");
            assert_eq!(back, patch, "{input}");
        }
    });
}

#[test]
fn damaged_payloads_are_errors() {
    let schema = schema();
    let (_, document) = Document::parse(&schema, &document()).unwrap();
    let (_, patch) =
        Patch::parse(&schema, &json!({"id": 1, "vector": null, "attributes": {"year": null, "open": true}})).unwrap();
    let mut random = Random(7);
    for round in 0..20_000 {
        for bytes in [document.encode(), patch.encode()] {
            let mut bytes = bytes;
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, random.next() as u8),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            let what = format!("round {round}");
            drop(Document::decode(&bytes, &what));
            drop(Patch::decode(&bytes, &what));
        }
    }
}

struct NoTimes;

impl Times for NoTimes {
    fn moment(&self, text: &str) -> elacsym::error::Result<f64> {
        Ok(text.len() as f64)
    }

    fn length(&self, text: &str) -> elacsym::error::Result<f64> {
        Ok(text.len() as f64)
    }
}

#[test]
fn any_json_is_a_ranking_or_an_error() {
    let schema = schema();
    let (_, document) = Document::parse(&schema, &document()).unwrap();
    let examples = [
        r#"[{"type": "decay", "field": "year", "origin": 2020, "scale": 5, "function": "exp", "decay": 0.5, "offset": 1}]"#,
        r#"[{"type": "saturate", "field": "score", "k": 10, "weight": 0.5}, {"type": "boost", "filter": {"field": "open", "op": "eq", "value": true}, "factor": 2}]"#,
        r#"{"field": "title", "limit": 2}"#,
        r#"[{"field": "year", "direction": "desc", "nulls": "first"}, {"field": "title"}]"#,
        r#"{"a": {"type": "terms", "field": "tags", "limit": 3}, "b": {"type": "stats", "field": "score"}, "c": {"type": "histogram", "field": "year", "interval": 10}}"#,
    ];
    fuzz("ranking", &examples, JSON_PIECES, |input| {
        let Ok(json) = serde_json::from_str::<Json>(input) else { return };
        if let Ok(modifiers) = parse_modifiers(&schema, &json, &|_| Unit::Number, &NoTimes) {
            for modifier in modifiers {
                let value = modifier.attribute().and_then(|attribute| document.get(attribute));
                let factor = modifier.factor(value, true);
                assert!(factor >= 0.0 && factor.is_finite(), "{input}: {factor}");
            }
        }
        drop(Per::parse(&schema, &json));
        drop(parse_order_by(&schema, &json));
        drop(Facet::parse_all(&schema, &json));
    });
}
