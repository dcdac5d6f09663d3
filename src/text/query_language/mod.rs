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
//! Words and phrases go through the analyser of each field. A word that the default tokenizer splits (`wi-fi`) is its parts, as
//! if they were written apart, where it is an alternative; where it is required or excluded, and with every other tokenizer, it is
//! the phrase of its parts. (As phrases only, names like `max_wal_size` in questions cost relevance: rows that hold some of the
//! parts are what is looked for too.) A prefix
//! or fuzzy word that it splits is that phrase. Both are lower-cased and folded like a word but not stemmed, and compared
//! with the terms as they are stored, which may be stems; that is why the word's own term counts as well: `databas*` finds
//! "databases", and so does `databases*`. Parts of which the analyser leaves nothing (stop words, signs alone) are as if they
//! were not there. If only exclusions are left, every row matches that has a field and none of them; if nothing is left, none
//! does.
//!
//! The score of a row is the sum over the parts without `-` that it matches, inside of groups that it matches. A word scores
//! as BM25 has it; a phrase as a word whose rarity is the sum of its terms' and whose frequency is the number of its places;
//! a prefix and a fuzzy word score 1, whatever they find, because how rare that is would take all terms of all parts of a
//! corpus. Boosts and the weights of fields multiply.
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

pub(super) use matching::{PhraseList, TermPositions, edits_within, phrase_frequency, phrase_matches, phrase_occurs};

#[cfg(test)]
mod tests;
