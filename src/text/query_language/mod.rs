//! The language of text queries: `Filter::Match`, the SQL operator `@@@`, and whatever shows how a query was understood.
//!
//! ```text
//! query   = { clause } ;
//! clause  = [ "+" | "-" ] [ field ":" ] operand ;
//! operand = group [ boost ] | phrase [ slop ] [ boost ] | word ;
//! group   = "(" query ")" ;
//! phrase  = '"' { any character but '"' } '"' ;
//! word    = text [ "*" | "~1" | "~2" ] [ boost ] ;      (text: up to white space, or a ")" that closes an open group)
//! slop    = "~" digits ;
//! boost   = "^" digits [ "." digits ] ;
//! ```
//!
//! | written | means |
//! |---|---|
//! | `word` | an alternative: without any required part, at least one must match (operator and: all must) |
//! | `"a phrase"` | the words at these distances; words that the analyser drops leave a gap; of one word: that word |
//! | `"a phrase"~2` | the same, the words moved by 2 positions in all against each other |
//! | `+part` | required |
//! | `-part` | excluded |
//! | `pre*` | a term that starts with `pre`, or the term that `pre` is as a word |
//! | `word~1`, `word~2` | a term in so many edits (insert, delete, replace, swap neighbours) of `word`, or of its term |
//! | `(a b)` | a query in the query |
//! | `part^2` | the part's score counts double |
//! | `title:part` | the part in that field only, where the caller names fields |
//!
//! No text is a syntax error: signs count only where the grammar has them, everything else is words. An open quote or
//! parenthesis goes to the end. Too long a text, too many fuzzy terms and too long a phrase with
//! slop are errors.
//!
//! Words and phrases go through the analyser of each field. A word that it splits (`wi-fi`) is a phrase of its parts. A prefix
//! or fuzzy word that it splits is that phrase too. Both are lower-cased and folded like a word but not stemmed, and compared
//! with the terms as they are stored, which may be stems; that is why the word's own term counts as well: `databas*` finds
//! "databases", and so does `databases*`. Parts of which the analyser leaves nothing (stop words, signs alone) are as if they
//! were not there. If only exclusions are left, every row matches that has a field and none of them; if nothing is left, none
//! does.
//!
//! [`parse`] reads a [`Query`] (what was written, which can be written down again); [`AnalyzedQuery`] is what it means for
//! certain fields. Its `matches` is the reference for what an index must find.

mod analyzed;
mod ast;
mod explain;
mod matching;
mod parser;

pub use analyzed::{AnalyzedQuery, BooleanPart, Part, PhraseTerm, QueryPart, SearchField, search_fields};
pub use ast::{Clause, Node, Occur, Operator, Query};
pub use explain::parse_query;
pub use matching::{PositionedDocument, PositionedText};
pub use parser::parse;

pub(super) use matching::{PhraseList, edits_within, phrase_matches, phrase_occurs};

#[cfg(test)]
mod tests;
