//! Boolean text queries: `Filter::Match`, the SQL operator `@@@`.
//!
//! | written | means |
//! |---|---|
//! | `word` | an alternative: without any required part, at least one must match |
//! | `"a phrase"` | the words at these distances; words that the analyser drops leave a gap; of one word: that word |
//! | `+word`, `+"a phrase"` | required |
//! | `-word`, `-"a phrase"` | excluded |
//! | `pre*` | a term that starts with `pre`, or the term that `pre` is as a word |
//!
//! Words and phrases go through the attribute's analyser. A word that it splits (`wi-fi`) is a phrase of its parts. Signs count
//! at the beginning of a word or phrase only, the star at the end of a word of one part only. A prefix is lower-cased like a
//! word but not stemmed, and compared with the terms as they are stored, which are stems: `databas*` finds "databases", and so
//! does `databases*`, as a word. Parts of which the analyser leaves nothing (stop words, signs alone) are as if they were not
//! there. If only exclusions are left, every row matches that has the attribute and none of them; if nothing is left, none
//! does. An open quote goes to the end. No text is an error, except one that is too long.

use super::analyzer::Analyzer;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_QUERY_TEXT_BYTES;
use crate::schema::FullTextOptions;
use std::collections::HashMap;

/// A query after analysis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BooleanQuery {
    /// Of these at least one must match, unless something is required.
    pub any: Vec<Part>,
    /// All of these must match.
    pub required: Vec<Part>,
    /// None of these may match.
    pub excluded: Vec<Part>,
}

/// One word, phrase or prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This term.
    Term(String),
    /// These terms (at least two) at these distances from the first, whose own is 0.
    Phrase(Vec<(u32, String)>),
    /// A term that starts with this, or the word's term.
    Prefix {
        /// Not empty.
        prefix: String,
        /// What the prefix is as a word; None if the analyser drops it.
        word: Option<String>,
    },
}

/// What the sign of a part says.
enum Sign {
    None,
    Required,
    Excluded,
}

impl BooleanQuery {
    /// Parses and analyses a query for an attribute with these options.
    ///
    /// # Errors
    /// `OutOfRange` for a text that is too long.
    pub fn parse(options: &FullTextOptions, query: &str) -> Result<Self> {
        if query.len() > MAX_QUERY_TEXT_BYTES {
            let message = format!("query text of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", query.len());
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        let mut parser = Parser { words: Analyzer::for_phrases(options), plain: Analyzer::unstemmed(options) };
        let mut parsed = Self::default();
        let mut rest = query.trim_start();
        while !rest.is_empty() {
            let (sign, after) = match rest.as_bytes()[0] {
                b'+' => (Sign::Required, &rest[1..]),
                b'-' => (Sign::Excluded, &rest[1..]),
                _ => (Sign::None, rest),
            };
            let (part, after) = match after.strip_prefix('"') {
                Some(quoted) => {
                    let (inside, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                    (parser.phrase(inside), after)
                }
                None => {
                    let end = after.find(char::is_whitespace).unwrap_or(after.len());
                    (parser.word(&after[..end]), &after[end..])
                }
            };
            match sign {
                Sign::None => parsed.any.extend(part),
                Sign::Required => parsed.required.extend(part),
                Sign::Excluded => parsed.excluded.extend(part),
            }
            rest = after.trim_start();
        }
        Ok(parsed)
    }

    /// Whether a text matches; `analyzer` is the one of the attribute.
    pub fn matches(&self, analyzer: &mut Analyzer, text: &str) -> bool {
        let text = PositionedText::new(analyzer, text);
        let holds = |part: &Part| text.holds(part);
        if self.excluded.iter().any(holds) {
            return false;
        }
        match (self.required.is_empty(), self.any.is_empty()) {
            (false, _) => self.required.iter().all(holds),
            (true, false) => self.any.iter().any(holds),
            (true, true) => !self.excluded.is_empty(),
        }
    }
}

struct Parser {
    words: Analyzer,
    plain: Analyzer,
}

impl Parser {
    fn phrase(&mut self, text: &str) -> Option<Part> {
        let mut terms: Vec<(u32, String)> = Vec::new();
        self.words.for_each_positioned(text, |position, term| terms.push((position, term.to_string())));
        let first = terms.first()?.0;
        if terms.len() == 1 {
            return terms.pop().map(|(_, term)| Part::Term(term));
        }
        terms.iter_mut().for_each(|(position, _)| *position -= first);
        Some(Part::Phrase(terms))
    }

    fn word(&mut self, text: &str) -> Option<Part> {
        let Some(start) = text.strip_suffix('*') else { return self.phrase(text) };
        let mut tokens = self.plain.terms(start);
        if tokens.len() != 1 {
            return self.phrase(start);
        }
        // Of the same single token.
        let word = self.words.terms(start).pop();
        tokens.pop().map(|prefix| Part::Prefix { prefix, word })
    }
}

/// A text as the index sees it.
struct PositionedText(HashMap<String, Vec<u32>>);

impl PositionedText {
    fn new(analyzer: &mut Analyzer, text: &str) -> Self {
        let mut terms: HashMap<String, Vec<u32>> = HashMap::new();
        analyzer.for_each_positioned(text, |position, term| match terms.get_mut(term) {
            Some(positions) => positions.push(position),
            None => drop(terms.insert(term.to_string(), vec![position])),
        });
        Self(terms)
    }

    fn holds(&self, part: &Part) -> bool {
        match part {
            Part::Term(term) => self.0.contains_key(term),
            Part::Prefix { prefix, word } => {
                word.as_ref().is_some_and(|word| self.0.contains_key(word))
                    || self.0.keys().any(|term| term.starts_with(prefix))
            }
            Part::Phrase(terms) => {
                let lists: Option<Vec<(u32, &[u32])>> = terms
                    .iter()
                    .map(|(distance, term)| self.0.get(term).map(|positions| (*distance, positions.as_slice())))
                    .collect();
                lists.is_some_and(|lists| phrase_occurs(&lists))
            }
        }
    }
}

/// Whether terms with these ascending positions occur at these distances from the first.
pub(super) fn phrase_occurs(lists: &[(u32, &[u32])]) -> bool {
    let Some(((first, starts), others)) = lists.split_first() else { return false };
    starts.iter().any(|start| {
        others.iter().all(|(distance, positions)| {
            // The first term's own distance is 0 and no other is smaller.
            start.checked_add(distance - first).is_some_and(|position| positions.binary_search(&position).is_ok())
        })
    })
}

#[cfg(test)]
mod tests;
