//! The operators' functions: the same answers as the index, from the text alone.

use super::bm25query::Bm25Query;
use super::resolve::TextIndex;
use super::scorer::Scorer;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::Request;
use crate::pg::c_function::{Call, Returned, c_functions};
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::xact;
use crate::schema::FullTextOptions;
use pgrx::pg_sys;

/// What `@@@` keeps while its right side stays the same.
#[derive(Default)]
struct Matcher {
    /// The right side, and the epoch in which the index was looked at.
    of: Option<(Query, u64)>,
    options: FullTextOptions,
}

/// The right side of `@@@`.
#[derive(Clone, PartialEq)]
enum Query {
    /// A text that no index is known for.
    Plain(String),
    /// One that goes by an index.
    ByIndex(Bm25Query),
}

impl Query {
    fn words(&self) -> &str {
        match self {
            Self::Plain(query) => query,
            Self::ByIndex(query) => &query.query,
        }
    }

    fn options(&self) -> Result<FullTextOptions> {
        match self {
            Self::Plain(_) => Ok(FullTextOptions::default()),
            Self::ByIndex(query) => TextIndex::open(query.index)?.options(query.column),
        }
    }
}

impl Matcher {
    fn matches(&mut self, text: String, query: Query) -> Result<bool> {
        xact::register();
        let epoch = xact::epoch();
        if self.of.as_ref().is_none_or(|(known, at)| *known != query || *at != epoch) {
            self.options = query.options()?;
            self.of = Some((query.clone(), epoch));
        }
        let request =
            Request::TextMatch { options: self.options.clone(), query: query.words().to_owned(), texts: vec![text] };
        match client::call(&request, &mut NoNeeds)? {
            Reply::Matches(matches) if matches.len() == 1 => Ok(matches[0]),
            other => Err(Error::internal(format!("the engine answered \"{}\" instead of a match", other.name()))),
        }
    }
}

fn matched(call: &mut Call, text: String, query: Query) -> Returned {
    let matches = call.state(Matcher::default)?.matches(text, query)?;
    Ok(Some(pg_sys::Datum::from(matches)))
}

fn text_match(call: &mut Call) -> Returned {
    let (text, query) = (call.text(0)?, call.text(1)?);
    matched(call, text, Query::Plain(query))
}

fn text_match_by_index(call: &mut Call) -> Returned {
    let (text, query) = (call.text(0)?, call.datum(1)?);
    // SAFETY: declared as the type.
    let query = unsafe { Bm25Query::read(query) }?;
    matched(call, text, Query::ByIndex(query))
}

/// The planner replaces this function wherever it knows the index.
fn text_distance(_: &mut Call) -> Returned {
    Err(Error::new(ErrorKind::Fenced, "operator <@> needs an elacsym index with class bm25_ops on its left side").with_hint(
        "Create one: CREATE INDEX … USING elacsym (column bm25_ops). For a text that is not the column of an index, name the index: text <@> elacsym.bm25query('words', 'index').",
    ))
}

fn text_distance_by_index(call: &mut Call) -> Returned {
    let (text, query) = (call.text(0)?, call.datum(1)?);
    // SAFETY: declared as the type.
    let query = unsafe { Bm25Query::read(query) }?;
    let score = call.state(Scorer::default)?.score(text, query)?;
    // Not a negation: the distance of a text that matches nothing is 0, not -0.
    let distance = 0.0 - f64::from(score);
    Ok(pgrx::IntoDatum::into_datum(distance))
}

c_functions! {
    /// `text @@@ text` where no index is known.
    elacsym_text_match = text_match;
    /// `text @@@ bm25query`.
    elacsym_text_match_by_index = text_match_by_index;
    /// `text <@> text` where no index is known.
    elacsym_text_distance = text_distance;
    /// `text <@> bm25query`.
    elacsym_text_distance_by_index = text_distance_by_index;
}
