//! Scores of the query language: the same wherever rows are, and those of a reference that knows no index.
#![allow(clippy::unwrap_used)] // the fixture is test code outside of #[test] functions

use crate::{text_boolean, text_fixture};

use elacsym::document::{Document, Value};
use elacsym::ipc::message::{Operator, TextQuery};
use elacsym::schema::{AttributeId, FullTextOptions, NamespaceSchema, Parameter};
use elacsym::text::query_language::{BooleanPart, Part, PhraseTerm, QueryPart};
use elacsym::text::{AnalyzedQuery, Analyzer, ParsedTextQuery, searched_fields};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use tantivy::fieldnorm::FieldNormReader;
use text_fixture::Spread;

const BODY: AttributeId = 0;
const TITLE: AttributeId = 1;
const NAMES: [&str; 2] = ["body", "title"];

fn schema(body: FullTextOptions, title: FullTextOptions) -> NamespaceSchema {
    let json = json!({"attributes": {
        "body": {"type": "string", "full_text": true}, "title": {"type": "string", "full_text": true}}});
    let mut schema = NamespaceSchema::parse(&json).unwrap();
    schema.attributes[usize::from(BODY)].full_text = Some(body);
    schema.attributes[usize::from(TITLE)].full_text = Some(title);
    schema
}

fn document(body: &Option<String>, title: &Option<String>) -> Document {
    let text = |(id, text): (AttributeId, &Option<String>)| text.as_ref().map(|text| (id, Value::String(text.clone())));
    Document { vector: None, attributes: [(BODY, body), (TITLE, title)].into_iter().filter_map(text).collect() }
}

/// (position, term) of every token of every field of every document.
type Tokens = Vec<BTreeMap<AttributeId, Vec<(u32, String)>>>;

/// Scores as the documentation has them, over plain lists of tokens, in double precision.
struct Reference<'a> {
    schema: &'a NamespaceSchema,
    weights: &'a [(AttributeId, f32)],
    tokens: Tokens,
    /// Terms that count in the score, and the fields that are asked for them.
    scored: BTreeSet<(String, AttributeId)>,
}

impl<'a> Reference<'a> {
    fn new(schema: &'a NamespaceSchema, weights: &'a [(AttributeId, f32)], documents: &[Document]) -> Self {
        let field = |(id, value): &(AttributeId, Value)| {
            let Value::String(text) = value else { unreachable!("texts only") };
            let tokens = Analyzer::new(schema.require_full_text(*id).unwrap()).tokens(text);
            (*id, tokens.into_iter().map(|token| (token.position, token.term)).collect())
        };
        let tokens = documents.iter().map(|document| document.attributes.iter().map(field).collect()).collect();
        Self { schema, weights, tokens, scored: BTreeSet::new() }
    }

    fn scores(mut self, text: &str, operator: Operator) -> BTreeMap<usize, f64> {
        let searched = self.weights.iter().filter(|(_, weight)| *weight > 0.0).map(|(id, _)| *id);
        let fields = searched_fields(self.schema, searched).unwrap();
        let (_, query) = AnalyzedQuery::parse(text, operator, &fields).unwrap();
        let Some(root) = query.root else { return BTreeMap::new() };
        collect(&root, &mut self.scored);
        (0..self.tokens.len()).filter_map(|row| Some((row, self.part(&root, row)?))).collect()
    }

    fn part(&self, part: &QueryPart, row: usize) -> Option<f64> {
        match part {
            QueryPart::Leaf { attribute, boost, part } => {
                let weight = self.weights.iter().find(|(id, _)| id == attribute).unwrap().1;
                Some(self.leaf(*attribute, part, row)? * f64::from(*boost) * f64::from(weight))
            }
            QueryPart::Boolean(BooleanPart { required, any, excluded, fields }) => {
                if excluded.iter().any(|part| self.part(part, row).is_some()) {
                    return None;
                }
                let required_scores: Option<Vec<f64>> = required.iter().map(|part| self.part(part, row)).collect();
                let any_scores: Vec<f64> = any.iter().filter_map(|part| self.part(part, row)).collect();
                let present = fields.iter().any(|field| self.tokens[row].contains_key(field));
                let matches = match (required.is_empty(), any.is_empty()) {
                    (true, true) => present,
                    (true, false) => !any_scores.is_empty(),
                    (false, _) => required_scores.is_some(),
                };
                matches.then(|| required_scores.iter().flatten().chain(&any_scores).sum())
            }
        }
    }

    fn leaf(&self, attribute: AttributeId, part: &Part, row: usize) -> Option<f64> {
        let tokens = self.tokens[row].get(&attribute)?;
        let one = |found: bool| found.then_some(1.0);
        let any_term = |holds: &dyn Fn(&str) -> bool| tokens.iter().any(|(_, term)| holds(term));
        match part {
            Part::Term(wanted) => {
                let frequency = tokens.iter().filter(|(_, term)| term == wanted).count();
                self.bm25(attribute, row, frequency, self.idf(wanted))
            }
            Part::Phrase { terms, slop } => {
                let idf = terms.iter().map(|term| self.idf(&term.text)).sum();
                self.bm25(attribute, row, phrase_places(terms, *slop, tokens), idf)
            }
            Part::Prefix { prefix, word } => {
                one(any_term(&|term| term.starts_with(prefix) || word.as_deref() == Some(term)))
            }
            Part::Fuzzy { text, word, distance } => one(any_term(&|term| {
                let near = |wanted: &str| edits(&chars(wanted), &chars(term)) <= usize::from(*distance);
                near(text) || word.as_deref().is_some_and(near)
            })),
        }
    }

    /// By the field that holds it most often, of those that are asked for it.
    fn idf(&self, wanted: &str) -> f64 {
        let df = |attribute: &AttributeId| {
            let holds = |fields: &&BTreeMap<AttributeId, Vec<(u32, String)>>| {
                fields.get(attribute).is_some_and(|tokens| tokens.iter().any(|(_, term)| term == wanted))
            };
            self.tokens.iter().filter(holds).count()
        };
        let asked = self.scored.iter().filter(|(term, _)| term == wanted);
        // Nobody counts what is excluded.
        let df = asked.map(|(_, attribute)| df(attribute)).max().unwrap_or(0) as f64;
        (1.0 + (self.tokens.len() as f64 - df + 0.5) / (df + 0.5)).ln()
    }

    fn bm25(&self, attribute: AttributeId, row: usize, frequency: usize, idf: f64) -> Option<f64> {
        let options = self.schema.require_full_text(attribute).unwrap();
        let (k1, b) = (f64::from(options.k1.0), f64::from(options.b.0));
        let length = |row: usize| self.tokens[row].get(&attribute).map_or(0, Vec::len);
        let total: usize = (0..self.tokens.len()).map(length).sum();
        let average = total as f64 / self.tokens.len() as f64;
        let quantised = FieldNormReader::id_to_fieldnorm(FieldNormReader::fieldnorm_to_id(length(row) as u32));
        let norm = k1 * (1.0 - b + b * f64::from(quantised) / average);
        let tf = frequency as f64;
        (frequency > 0).then(|| idf * (1.0 + k1) * tf / (tf + norm))
    }
}

/// Terms of parts that are not excluded.
fn collect(part: &QueryPart, scored: &mut BTreeSet<(String, AttributeId)>) {
    match part {
        QueryPart::Boolean(group) => group.required.iter().chain(&group.any).for_each(|part| collect(part, scored)),
        QueryPart::Leaf { attribute, part: Part::Term(term), .. } => drop(scored.insert((term.clone(), *attribute))),
        QueryPart::Leaf { attribute, part: Part::Phrase { terms, .. }, .. } => {
            scored.extend(terms.iter().map(|term| (term.text.clone(), *attribute)));
        }
        QueryPart::Leaf { .. } => {}
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Insertions, deletions, replacements and swaps of neighbours between two words, by their definition.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let mut ways = Vec::new();
            if i == 0 && j == 0 {
                ways.push(0);
            }
            if i > 0 {
                ways.push(table[i - 1][j] + 1);
            }
            if j > 0 {
                ways.push(table[i][j - 1] + 1);
            }
            if i > 0 && j > 0 {
                ways.push(table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            }
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                ways.push(table[i - 2][j - 2] + 1);
            }
            table[i][j] = ways.into_iter().min().unwrap();
        }
    }
    table[a.len()][b.len()]
}

/// In how many places a phrase is: for how many shifts s of one of its terms there is a way to give each term a position of
/// its own with shifts from s to s + slop.
fn phrase_places(terms: &[PhraseTerm], slop: u32, tokens: &[(u32, String)]) -> usize {
    let shifts_of = |term: &PhraseTerm| -> Vec<(i64, u32)> {
        let of_term = tokens.iter().filter(|(_, held)| *held == term.text);
        of_term.map(|(position, _)| (i64::from(*position) - i64::from(term.distance), *position)).collect()
    };
    let all: Vec<Vec<(i64, u32)>> = terms.iter().map(shifts_of).collect();
    let starts: BTreeSet<i64> = all.iter().flatten().map(|(shift, _)| *shift).collect();
    let fits = |start: &&i64| {
        let near = |shift: i64| (**start..=**start + i64::from(slop)).contains(&shift);
        let options = terms.iter().zip(&all).map(|(term, places)| {
            let places: Vec<u32> = places.iter().filter(|(shift, _)| near(*shift)).map(|(_, at)| *at).collect();
            (term.text.as_str(), places)
        });
        let options: Vec<(&str, Vec<u32>)> = options.collect();
        options.iter().all(|(_, places)| !places.is_empty()) && can_choose(&options, &mut Vec::new())
    };
    starts.iter().filter(fits).count()
}

/// Whether each term can have a place that no equal term has: tried one after the other.
fn can_choose<'a>(options: &[(&'a str, Vec<u32>)], chosen: &mut Vec<(&'a str, u32)>) -> bool {
    let Some(((term, places), rest)) = options.split_first() else { return true };
    places.iter().any(|place| {
        if chosen.contains(&(*term, *place)) {
            return false;
        }
        chosen.push((*term, *place));
        let possible = can_choose(rest, chosen);
        chosen.pop();
        possible
    })
}

/// The lengths of that many segments.
fn cuts(documents: usize, segments: usize) -> Vec<usize> {
    let bound = |segment: usize| segment * documents / segments;
    (0..segments).map(|segment| bound(segment + 1) - bound(segment)).filter(|rows| *rows > 0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn scores_are_the_references_wherever_rows_are(
        options in (text_boolean::options(), text_boolean::options()),
        parameters in (prop::sample::select(vec![1.2_f32, 0.5]), prop::sample::select(vec![0.75_f32, 0.0, 1.0])),
        texts in prop::collection::vec(
            (prop::option::weighted(0.9, text_boolean::text()), prop::option::weighted(0.7, text_boolean::text())), 1..45),
        queries in prop::collection::vec(
            (text_boolean::query(&NAMES), any::<bool>(), prop::sample::select(vec![(1.0, 1.0), (1.0, 2.5), (3.0, 0.0)])), 1..6),
    ) {
        let with = |options: FullTextOptions| {
            FullTextOptions { k1: Parameter(parameters.0), b: Parameter(parameters.1), ..options }
        };
        let schema = schema(with(options.0), with(options.1));
        let documents: Vec<Document> = texts.iter().map(|(body, title)| document(body, title)).collect();
        let half = vec![documents.len().div_ceil(2)];
        let spreads = [cuts(documents.len(), 1), cuts(documents.len(), 5), cuts(documents.len(), 20), Vec::new(), half];
        let spreads = spreads.map(|cuts| Spread::new(&schema, &documents, &cuts));
        for (query, and, (body, title)) in queries {
            let operator = if and { Operator::And } else { Operator::Or };
            let fields = vec![(BODY, body), (TITLE, title)];
            let expected = Reference::new(&schema, &fields, &documents).scores(&query, operator);
            let parsed = ParsedTextQuery::parse(&schema, &TextQuery { query: query.clone(), fields, operator }).unwrap();
            let all = spreads[0].search(&parsed, documents.len());
            let found: BTreeSet<usize> = all.iter().map(|(row, _)| *row).collect();
            prop_assert_eq!(&found, &expected.keys().copied().collect(), "{} {:?}", query, parsed);
            for (row, score) in &all {
                let reference = expected[row];
                prop_assert!(
                    (f64::from(*score) - reference).abs() <= 1e-5 * reference.max(1.0),
                    "{query}: row {row} has {score}, reference {reference}; {parsed:?}"
                );
            }
            for spread in &spreads {
                prop_assert_eq!(spread.stats(&parsed), spreads[0].stats(&parsed));
                // To the bit, which is more than the 1e-5 asked for.
                prop_assert_eq!(&spread.search(&parsed, documents.len()), &all, "{}", query);
                prop_assert_eq!(&spread.search(&parsed, 3)[..], &all[..all.len().min(3)], "{}", query);
            }
            // A filter takes rows away and changes no score.
            let allowed: RoaringBitmap = (0..documents.len() as u32).filter(|row| row % 3 != 1).collect();
            let (_, segment) = &spreads[0].segments[0];
            let stats = spreads[0].stats(&parsed);
            let some = segment.search(&parsed, &stats, 5, Some(&allowed)).unwrap();
            let kept = all.iter().filter(|(row, _)| allowed.contains(*row as u32)).take(5);
            prop_assert_eq!(some, kept.map(|(row, score)| (*row as u32, *score)).collect::<Vec<_>>(), "{}", query);
            let mut scored = segment.score_ordinals(&parsed, &stats, &allowed).unwrap();
            scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let kept = all.iter().filter(|(row, _)| allowed.contains(*row as u32));
            prop_assert_eq!(scored, kept.map(|(row, score)| (*row as u32, *score)).collect::<Vec<_>>(), "{}", query);
        }
    }
}

/// The formula by hand: N = 4, each body has 4 tokens, so every length is the average.
#[test]
fn phrases_prefixes_boosts_and_groups_add_up_as_documented() {
    let schema = schema(FullTextOptions::default(), FullTextOptions::default());
    let documents: Vec<Document> =
        ["red fox red fox", "red fox blue whale", "fox whale red bird", "blue bird blue bird"]
            .map(|text| document(&Some(text.to_string()), &None))
            .to_vec();
    let spread = Spread::new(&schema, &documents, &[2]);
    let idf = |df: f32| (1.0 + (4.0 - df + 0.5) / (df + 0.5)).ln();
    let tf = |frequency: f32| 2.2 * frequency / (frequency + 1.2);
    let (red, fox, blue, bird, whale) = (idf(3.0), idf(3.0), idf(2.0), idf(2.0), idf(2.0));
    let search = |query: &str, operator| {
        let query = TextQuery { query: query.to_string(), fields: vec![(BODY, 1.0)], operator };
        let mut rows = spread.search(&ParsedTextQuery::parse(&schema, &query).unwrap(), 10);
        rows.sort_by_key(|row| row.0);
        rows
    };
    let check = |query: &str, operator, expected: &[(usize, f32)]| {
        let rows = search(query, operator);
        assert_eq!(rows.len(), expected.len(), "{query}: {rows:?}");
        for ((row, score), (wanted, by_hand)) in rows.iter().zip(expected) {
            assert!(row == wanted && (score - by_hand).abs() < 1e-5, "{query}: {rows:?}, expected {expected:?}");
        }
    };
    let or = Operator::Or;
    check("\"red fox\"", or, &[(0, (red + fox) * tf(2.0)), (1, red + fox)]);
    check("\"red fox\"^2", or, &[(0, 2.0 * (red + fox) * tf(2.0)), (1, 2.0 * (red + fox))]);
    check("\"red fox\"~3", or, &[(0, (red + fox) * tf(2.0)), (1, red + fox), (2, red + fox)]);
    check("+whale bird -\"red fox\"", or, &[(2, whale + bird)]);
    check("+fox (blue bird)^3", or, &[(0, fox * tf(2.0)), (1, fox + 3.0 * blue), (2, fox + 3.0 * bird)]);
    check("whale (+blue +bird)", or, &[(1, whale), (2, whale), (3, blue * tf(2.0) + bird * tf(2.0))]);
    check("whale bird", Operator::And, &[(2, whale + bird)]);
    check("bl*^2 whale", or, &[(1, 2.0 + whale), (2, whale), (3, 2.0)]);
    check("whlae~1 -blue", or, &[(2, 1.0)]);
    check("-fox", or, &[(3, 0.0)]);
    check("red^0", or, &[(0, 0.0), (1, 0.0), (2, 0.0)]);
    check("+red-fox", or, &[(0, (red + fox) * tf(2.0)), (1, red + fox)]);
    check("whale-bird", or, &[(1, whale), (2, whale + bird), (3, bird * tf(2.0))]);
}
