//! Fragments of a text with what a query found in it between tags, by the same analysis as the search.

use super::analyzer::{AnalyzedToken, Analyzer};
use super::query_language::{AnalyzedQuery, BooleanPart, Part, PhraseList, QueryPart, edits_within, phrase_matches};
use crate::schema::AttributeId;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// How fragments are cut and marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HighlightOptions {
    /// Put before what was found.
    pub start_tag: String,
    /// Put behind it.
    pub end_tag: String,
    /// About how many characters a fragment has, without tags: it ends where words end, and what belongs together stays so.
    pub fragment_size: usize,
    /// Most fragments; 0: the whole text as one.
    pub max_fragments: usize,
}

impl Default for HighlightOptions {
    fn default() -> Self {
        Self { start_tag: "<b>".to_string(), end_tag: "</b>".to_string(), fragment_size: 150, max_fragments: 3 }
    }
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The bytes of the text that it shows.
    pub range: Range<usize>,
    /// The piece with tags.
    pub text: String,
}

/// What was found, and how many different terms it is made of.
struct Found<'a> {
    range: Range<usize>,
    terms: HashSet<&'a str>,
}

/// The best fragments in the order of the text; none if the query finds nothing in it. Excluded parts of a query mark nothing,
/// neither do those of other attributes. `analyzer` is the attribute's [`Analyzer::new`].
pub fn highlight(
    query: &AnalyzedQuery,
    attribute: AttributeId,
    analyzer: &mut Analyzer,
    text: &str,
    options: &HighlightOptions,
) -> Vec<Fragment> {
    let tokens = analyzer.tokens(text);
    let found = found(query, attribute, &tokens);
    if found.is_empty() {
        return Vec::new();
    }
    if options.max_fragments == 0 {
        let ranges = found.iter().map(|found| found.range.clone());
        return vec![Fragment { range: 0..text.len(), text: mark(text, 0..text.len(), ranges, options) }];
    }
    let mut fragments: Vec<(Range<usize>, &[Found<'_>])> = Vec::new();
    let mut rest = found.as_slice();
    let mut free = 0;
    while let Some(first) = rest.first() {
        let fits =
            |found: &Found<'_>| text[first.range.start..found.range.end].chars().nth(options.fragment_size).is_none();
        let count = rest.iter().take_while(|found| fits(found)).count().max(1);
        let (inside, after) = rest.split_at(count);
        let core = first.range.start..inside[count - 1].range.end;
        let limit = after.first().map_or(text.len(), |next| next.range.start);
        let range = widen(text, core, free..limit, options.fragment_size);
        free = range.end;
        fragments.push((range, inside));
        rest = after;
    }
    // Many different terms first, then many places, then the order of the text.
    let rank = |found: &[Found<'_>]| {
        let terms: HashSet<&str> = found.iter().flat_map(|found| found.terms.iter().copied()).collect();
        (terms.len(), found.len())
    };
    fragments.sort_by_cached_key(|(_, found)| std::cmp::Reverse(rank(found)));
    fragments.truncate(options.max_fragments);
    fragments.sort_unstable_by_key(|(range, _)| range.start);
    let fragment = |(range, found): (Range<usize>, &[Found<'_>])| {
        let ranges = found.iter().map(|found| found.range.clone());
        Fragment { range: range.clone(), text: mark(text, range, ranges, options) }
    };
    fragments.into_iter().map(fragment).collect()
}

/// Where the query's parts are, ascending and apart from each other.
fn found<'a>(query: &AnalyzedQuery, attribute: AttributeId, tokens: &'a [AnalyzedToken]) -> Vec<Found<'a>> {
    let mut parts = Vec::new();
    if let Some(root) = &query.root {
        wanted(root, attribute, &mut parts);
    }
    let mut positions: HashMap<&str, Vec<u32>> = HashMap::new();
    for token in tokens {
        positions.entry(&token.term).or_default().push(token.position);
    }
    let mut terms: HashSet<&str> = HashSet::new();
    let mut in_phrases: HashSet<(&str, u32)> = HashSet::new();
    for part in parts {
        let near = |wanted: &String, term: &str, distance| edits_within(wanted, term, distance);
        match part {
            Part::Term(wanted) => terms.extend(positions.keys().filter(|term| *term == wanted)),
            Part::Prefix { prefix, word } => {
                let holds = |term: &&&str| term.starts_with(prefix) || word.as_ref().is_some_and(|word| word == **term);
                terms.extend(positions.keys().filter(holds));
            }
            Part::Fuzzy { text, word, distance } => terms.extend(positions.keys().filter(|term| {
                near(text, term, *distance) || word.as_ref().is_some_and(|word| near(word, term, *distance))
            })),
            Part::Phrase { terms: wanted, slop } => {
                let list = |term: &'_ super::query_language::PhraseTerm| {
                    let (name, positions) = positions.get_key_value(term.text.as_str())?;
                    Some((term.distance, *name, positions.as_slice()))
                };
                let Some(lists) = wanted.iter().map(list).collect::<Option<Vec<_>>>() else { continue };
                let lists: Vec<PhraseList<'_>> = lists
                    .into_iter()
                    .map(|(distance, term, positions)| PhraseList { distance, term, positions })
                    .collect();
                for position in phrase_matches(&lists, *slop) {
                    let held = lists.iter().filter(|list| list.positions.binary_search(&position).is_ok());
                    for list in held {
                        let name = positions.get_key_value(list.term).map(|(name, _)| *name);
                        in_phrases.extend(name.map(|name| (name, position)));
                    }
                }
            }
        }
    }
    let mut found: Vec<Found<'a>> = Vec::new();
    let mut wanted: Vec<&AnalyzedToken> = tokens
        .iter()
        .filter(|token| terms.contains(token.term.as_str()) || in_phrases.contains(&(&token.term, token.position)))
        .collect();
    wanted.sort_by_key(|token| token.start);
    for token in wanted {
        match found.last_mut() {
            Some(last) if token.start <= last.range.end => {
                last.range.end = last.range.end.max(token.end);
                last.terms.insert(&token.term);
            }
            _ => found.push(Found { range: token.start..token.end, terms: HashSet::from([token.term.as_str()]) }),
        }
    }
    found
}

fn wanted<'q>(part: &'q QueryPart, attribute: AttributeId, parts: &mut Vec<&'q Part>) {
    match part {
        QueryPart::Leaf { attribute: of, part, .. } => parts.extend((*of == attribute).then_some(part)),
        QueryPart::Boolean(BooleanPart { required, any, .. }) => {
            required.iter().chain(any).for_each(|part| wanted(part, attribute, parts));
        }
    }
}

/// `core` with about so many characters around it that `size` are shown, cut between words and inside of `limits`.
fn widen(text: &str, core: Range<usize>, limits: Range<usize>, size: usize) -> Range<usize> {
    let around = size.saturating_sub(text[core.clone()].chars().count()) / 2;
    let before = &text[limits.start..core.start];
    let cut = before.char_indices().rev().take(around).last().map_or(before.len(), |(at, _)| at);
    let begins_word = cut == 0 || before[..cut].ends_with(char::is_whitespace);
    let cut = match before[cut..].find(char::is_whitespace) {
        Some(space) if !begins_word => cut + space,
        _ => cut,
    };
    let start = core.start - before[cut..].trim_start().len();
    let after = &text[core.end..limits.end];
    let cut = after.char_indices().nth(around).map_or(after.len(), |(at, _)| at);
    let ends_word = cut == after.len() || after[cut..].starts_with(char::is_whitespace);
    let cut = match after[..cut].rfind(char::is_whitespace) {
        Some(space) if !ends_word => space,
        _ => cut,
    };
    start..core.end + after[..cut].trim_end().len()
}

fn mark(
    text: &str,
    range: Range<usize>,
    found: impl Iterator<Item = Range<usize>>,
    options: &HighlightOptions,
) -> String {
    let mut marked = String::with_capacity(range.len());
    let mut written = range.start;
    for found in found {
        marked.push_str(&text[written..found.start]);
        marked.push_str(&options.start_tag);
        marked.push_str(&text[found.clone()]);
        marked.push_str(&options.end_tag);
        written = found.end;
    }
    marked.push_str(&text[written..range.end]);
    marked
}

#[cfg(test)]
mod tests;
