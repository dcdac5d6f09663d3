//! BM25 of single texts by the statistics of an index: a scorer in the engine for each expression that computes scores.
//!
//! A scorer belongs to the connection and holds the state of the index at its first call. [`OpenScan`] gives it back when the
//! expression's memory goes.

use super::bm25query::Bm25Query;
use super::resolve::TextIndex;
use crate::error::{Error, Result};
use crate::ipc::message::{Request, ScorerRequest};
use crate::pg::am::columns::attribute_id;
use crate::pg::am::open_scans::{self, OpenScan};
use crate::pg::am::relation::Rel;
use crate::pg::am::view::with_view;
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::xact;

/// What `<@>` keeps from row to row.
#[derive(Default)]
pub struct Scorer {
    open: Option<Open>,
}

/// A scorer in the engine.
struct Open {
    query: Bm25Query,
    /// In which the index was looked at.
    epoch: u64,
    /// Dropping it runs when PostgreSQL frees memory, also after an error, and cannot fail.
    scorer: OpenScan,
}

impl Scorer {
    /// BM25 of `text`.
    ///
    /// # Errors
    /// The engine's, and those of reading the index.
    pub fn score(&mut self, text: String, query: Bm25Query) -> Result<f32> {
        xact::register();
        let epoch = xact::epoch();
        let mut texts = vec![text];
        if let Some(open) = self.open.take_if(|open| open.query == query && open.epoch == epoch) {
            let (connection, scorer) = open.scorer.number();
            let request = Request::ScoreTexts { scorer, texts };
            if let Some(reply) = client::call_on(connection, &request, &mut NoNeeds)? {
                self.open = Some(open);
                return score_of(&reply);
            }
            // The connection is gone: another engine does not know the scorer.
            let Request::ScoreTexts { texts: back, .. } = request else {
                return Err(Error::internal("a request changed its kind"));
            };
            texts = back;
        }
        self.open = None;
        open_scans::close_pending()?;
        let open = self.open.insert(Open { scorer: open_scorer(&query)?, query, epoch });
        let (connection, scorer) = open.scorer.number();
        let reply = client::call_on(connection, &Request::ScoreTexts { scorer, texts }, &mut NoNeeds)?;
        reply.map_or_else(
            || Err(Error::unavailable("the connection to the elacsym engine was lost").with_hint("Try again.")),
            |reply| score_of(&reply),
        )
    }
}

fn score_of(reply: &Reply) -> Result<f32> {
    match reply {
        Reply::Scores(scores) if scores.len() == 1 => Ok(scores[0]),
        other => Err(unexpected(other, "a score")),
    }
}

fn unexpected(reply: &Reply, wanted: &str) -> Error {
    Error::internal(format!("the engine answered \"{}\" instead of {wanted}", reply.name()))
}

fn open_scorer(query: &Bm25Query) -> Result<OpenScan> {
    let index = TextIndex::open(query.index)?;
    if index.is_partitioned() {
        return Err(Error::invalid(format!(
            "index \"{}\" is partitioned and has no statistics of its own",
            index.name()
        ))
        .with_hint("Query the partitions, or name the index of one: text <@> elacsym.bm25query('words', 'index')."));
    }
    let column = index.require_text_column(query.column.into())?;
    let attribute = attribute_id(usize::try_from(column - 1).unwrap_or(0));
    // SAFETY: open as long as `index` is.
    with_view(unsafe { Rel::new(index.relation()) }, |view| {
        let namespace = view.message();
        let request = Request::ScorerOpen(Box::new(ScorerRequest { namespace, attribute, query: query.query.clone() }));
        match client::call(&request, view)? {
            Reply::ScorerOpened(number) => Ok(OpenScan::new(number)),
            other => Err(unexpected(&other, "a scorer")),
        }
    })
}
