//! Whether a text matches: what an index must find, without an index.

use super::analyzed::{AnalyzedQuery, BooleanPart, Part, PhraseTerm, QueryPart};
use crate::schema::AttributeId;
use crate::text::analyzer::Analyzer;
use std::collections::{BTreeSet, HashMap};

/// A text as the index sees it.
#[derive(Debug, Clone, Default)]
pub struct PositionedText(HashMap<String, Vec<u32>>);

/// The texts of a document that it has, by attribute.
pub type PositionedDocument = HashMap<AttributeId, PositionedText>;

impl PositionedText {
    /// Analyses a text.
    pub fn new(analyzer: &mut Analyzer, text: &str) -> Self {
        let mut terms: HashMap<String, Vec<u32>> = HashMap::new();
        analyzer.for_each_positioned(text, |position, term| match terms.get_mut(term) {
            Some(positions) => positions.push(position),
            None => drop(terms.insert(term.to_string(), vec![position])),
        });
        Self(terms)
    }
}

impl TermPositions for PositionedText {
    fn positions(&self, term: &str) -> Option<&[u32]> {
        self.0.get(term).map(Vec::as_slice)
    }

    fn any_term(&self, holds: &mut dyn FnMut(&str) -> bool) -> bool {
        self.0.keys().any(|term| holds(term))
    }
}

/// The terms of one text and where they are: what a query is compared with.
pub(in crate::text) trait TermPositions {
    /// Where a term is, ascending; None if the text does not hold it.
    fn positions(&self, term: &str) -> Option<&[u32]>;

    /// Whether some term is as wanted.
    fn any_term(&self, holds: &mut dyn FnMut(&str) -> bool) -> bool;

    /// Whether some term begins so.
    fn any_with_prefix(&self, prefix: &str) -> bool {
        self.any_term(&mut |term| term.starts_with(prefix))
    }

    /// Whether the text holds a part of a query.
    fn holds(&self, part: &Part) -> bool {
        match part {
            Part::Term(term) => self.positions(term).is_some(),
            Part::Prefix { prefix, word } => {
                word.as_ref().is_some_and(|word| self.positions(word).is_some()) || self.any_with_prefix(prefix)
            }
            Part::Fuzzy { text, word, distance } => {
                let near = |wanted: &String| self.any_term(&mut |term| edits_within(wanted, term, *distance));
                near(text) || word.as_ref().is_some_and(near)
            }
            Part::Phrase { terms, slop } => self.phrase_lists(terms).is_some_and(|lists| phrase_occurs(&lists, *slop)),
        }
    }

    /// How often the text holds a part; of prefixes and fuzzy words, only whether.
    fn frequency(&self, part: &Part) -> u32 {
        match part {
            Part::Term(term) => self.positions(term).map_or(0, |positions| narrow(positions.len())),
            Part::Phrase { terms, slop } => self.phrase_lists(terms).map_or(0, |lists| phrase_frequency(&lists, *slop)),
            Part::Prefix { .. } | Part::Fuzzy { .. } => u32::from(self.holds(part)),
        }
    }

    /// Where each term of a phrase is, if all are there.
    fn phrase_lists<'a>(&'a self, terms: &'a [PhraseTerm]) -> Option<Vec<PhraseList<'a>>> {
        let list = |term: &'a PhraseTerm| {
            let positions = self.positions(&term.text)?;
            Some(PhraseList { distance: term.distance, term: &term.text, positions })
        };
        terms.iter().map(list).collect()
    }
}

/// Positions are counted in `u32`, so a text has no more.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl AnalyzedQuery {
    /// Whether a document matches.
    pub fn matches(&self, document: &PositionedDocument) -> bool {
        self.root.as_ref().is_some_and(|root| root.matches(document))
    }

    /// Whether a text matches, for a query of one field; `analyzer` is the field's.
    pub fn matches_text(&self, analyzer: &mut Analyzer, text: &str) -> bool {
        let Some(root) = &self.root else { return false };
        let Some(attribute) = root.any_attribute() else { return false };
        root.matches(&PositionedDocument::from([(attribute, PositionedText::new(analyzer, text))]))
    }
}

impl QueryPart {
    fn matches(&self, document: &PositionedDocument) -> bool {
        match self {
            Self::Leaf { attribute, part, .. } => document.get(attribute).is_some_and(|text| text.holds(part)),
            Self::Boolean(BooleanPart { required, any, excluded, fields }) => {
                if excluded.iter().any(|part| part.matches(document)) {
                    return false;
                }
                match (required.is_empty(), any.is_empty()) {
                    (false, _) => required.iter().all(|part| part.matches(document)),
                    (true, false) => any.iter().any(|part| part.matches(document)),
                    (true, true) => fields.iter().any(|field| document.contains_key(field)),
                }
            }
        }
    }

    fn any_attribute(&self) -> Option<AttributeId> {
        self.attributes().into_iter().next()
    }

    /// The attributes that parts look into, excluded ones too.
    pub fn attributes(&self) -> BTreeSet<AttributeId> {
        match self {
            Self::Leaf { attribute, .. } => BTreeSet::from([*attribute]),
            Self::Boolean(BooleanPart { required, any, excluded, .. }) => {
                [required, any, excluded].into_iter().flatten().flat_map(Self::attributes).collect()
            }
        }
    }
}

/// Whether `a` becomes `b` in at most `most` edits: insert, delete or replace a character, or swap two neighbours (none of
/// which is edited again), as the automata of tantivy count them.
pub(in crate::text) fn edits_within(a: &str, b: &str, most: u8) -> bool {
    let most = usize::from(most);
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    if a.len().abs_diff(b.len()) > most {
        return false;
    }
    // Rows of the table of edits between beginnings: of i - 2, i - 1 and i characters of `a`.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        if row.iter().all(|edits| *edits > most) {
            return false;
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()] <= most
}

/// A term of a phrase and where a text has it.
#[derive(Debug, Clone, Copy)]
pub(in crate::text) struct PhraseList<'a> {
    /// Positions after the first term of the phrase.
    pub distance: u32,
    /// The term: a position counts for one of several equal terms only.
    pub term: &'a str,
    /// Ascending.
    pub positions: &'a [u32],
}

/// Whether each term has a position of its own, so that the shifts (position minus distance) differ by at most `slop`.
pub(in crate::text) fn phrase_occurs(lists: &[PhraseList<'_>], slop: u32) -> bool {
    let mut found = false;
    visit_matches(lists, slop, |_| {
        found = true;
        false
    });
    found
}

/// How often a phrase is in a text: the number of different smallest shifts that a match may have.
pub(in crate::text) fn phrase_frequency(lists: &[PhraseList<'_>], slop: u32) -> u32 {
    let mut count = 0;
    visit_matches(lists, slop, |_| {
        count += 1;
        true
    });
    count
}

/// All positions that are part of a match of the phrase, ascending; of matches that start alike, the first.
pub(in crate::text) fn phrase_matches(lists: &[PhraseList<'_>], slop: u32) -> Vec<u32> {
    let mut all = Vec::new();
    visit_matches(lists, slop, |positions| {
        all.extend_from_slice(positions);
        true
    });
    all.sort_unstable();
    all.dedup();
    all
}

/// Calls `each` with the positions of matches, one for each smallest shift, until it says false.
fn visit_matches(lists: &[PhraseList<'_>], slop: u32, mut each: impl FnMut(&[u32]) -> bool) {
    let mut lists: Vec<PhraseList<'_>> = lists.to_vec();
    // Equal terms side by side, by distance: then the first free position that is not too small is always right.
    lists.sort_unstable_by(|a, b| (a.term, a.distance).cmp(&(b.term, b.distance)));
    // Some term has the smallest shift. Without slop all have it, so the shortest list names every match.
    let rarest = lists.iter().min_by_key(|list| list.positions.len());
    let anchors = if slop == 0 { rarest.map_or(&[][..], std::slice::from_ref) } else { lists.as_slice() };
    let shift = |list: &PhraseList<'_>, position: u32| i64::from(position) - i64::from(list.distance);
    let mut shifts: Vec<i64> =
        anchors.iter().flat_map(|list| list.positions.iter().map(|position| shift(list, *position))).collect();
    shifts.sort_unstable();
    shifts.dedup();
    let mut positions = Vec::with_capacity(lists.len());
    for shift in shifts {
        if place_all(&lists, shift, slop, &mut positions) && !each(&positions) {
            return;
        }
    }
}

/// Finds a position for each term whose shift is between `shift` and `shift + slop`.
fn place_all(lists: &[PhraseList<'_>], shift: i64, slop: u32, positions: &mut Vec<u32>) -> bool {
    positions.clear();
    let mut last: Option<(&str, u32)> = None;
    for list in lists {
        let lowest = shift + i64::from(list.distance);
        let free = match last {
            Some((term, taken)) if term == list.term => lowest.max(i64::from(taken) + 1),
            _ => lowest,
        };
        let at = list.positions.partition_point(|position| i64::from(*position) < free);
        match list.positions.get(at) {
            Some(position) if i64::from(*position) <= lowest + i64::from(slop) => {
                positions.push(*position);
                last = Some((list.term, *position));
            }
            _ => return false,
        }
    }
    true
}
