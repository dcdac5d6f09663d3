//! BM25 of single texts by the statistics of an index: a scorer in the engine for each expression that computes scores.
//!
//! A scorer belongs to the connection and holds the state of the index at its first call. It is given back when the
//! expression's memory goes: its number is put on a list, which is sent with the next opening or before the commit.

use super::bm25query::Bm25Query;
use super::resolve::TextIndex;
use crate::error::{Error, Result};
use crate::ipc::message::{Request, ScorerRequest};
use crate::pg::am;
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::xact;
use std::cell::RefCell;

thread_local! {
    /// Scorers that nobody uses any more, and the connections they are of.
    static UNUSED: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

/// A scorer in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    /// The connection it is of.
    connection: u64,
    /// Its number there.
    number: u64,
}

/// What `<@>` keeps from row to row.
#[derive(Default)]
pub struct Scorer {
    /// The right side, the epoch in which the index was looked at, and the scorer.
    state: Option<(Bm25Query, u64, Open)>,
}

impl Drop for Scorer {
    // Runs when PostgreSQL frees memory, also after an error: nothing here may fail.
    fn drop(&mut self) {
        self.release();
    }
}

impl Scorer {
    fn release(&mut self) {
        if let Some((_, _, open)) = self.state.take() {
            UNUSED.with_borrow_mut(|unused| unused.push(open));
        }
    }

    /// BM25 of `text`.
    ///
    /// # Errors
    /// The engine's, and those of reading the index.
    pub fn score(&mut self, text: String, query: Bm25Query) -> Result<f32> {
        let open = self.ready(query)?;
        let mut request = Request::ScoreTexts { scorer: open.number, texts: vec![text] };
        let answer = match client::call(&request, &mut NoNeeds) {
            // The engine went away and another one answered, which does not know this scorer.
            Err(_) if client::connection() != Some(open.connection) => {
                let Some((query, ..)) = self.state.take() else { return Err(Error::internal("no scorer is open")) };
                let again = self.ready(query)?;
                if let Request::ScoreTexts { scorer, .. } = &mut request {
                    *scorer = again.number;
                }
                client::call(&request, &mut NoNeeds)?
            }
            other => other?,
        };
        match answer {
            Reply::Scores(scores) if scores.len() == 1 => Ok(scores[0]),
            other => Err(Error::internal(format!("the engine answered \"{}\" instead of a score", other.name()))),
        }
    }

    /// The scorer for this query, opened if there is none.
    fn ready(&mut self, query: Bm25Query) -> Result<Open> {
        xact::register();
        let (epoch, connection) = (xact::epoch(), client::connection());
        if let Some((known, at, open)) = &self.state
            && *known == query
            && *at == epoch
            && connection == Some(open.connection)
        {
            return Ok(*open);
        }
        self.release();
        close_unused()?;
        let open = open(&query)?;
        self.state = Some((query, epoch, open));
        Ok(open)
    }
}

fn open(query: &Bm25Query) -> Result<Open> {
    let index = TextIndex::open(query.index)?;
    if index.is_partitioned() {
        return Err(Error::invalid(format!(
            "index \"{}\" is partitioned and has no statistics of its own",
            index.name()
        ))
        .with_hint("Query the partitions, or name the index of one: text <@> elacsym.bm25query('words', 'index')."));
    }
    let column = index.require_text_column(query.column.into())?;
    let attribute = am::columns::attribute_id(usize::try_from(column - 1).unwrap_or(0));
    am::view::with_view(index.relation(), |view| {
        let namespace = view.message();
        let request = Request::ScorerOpen(Box::new(ScorerRequest { namespace, attribute, query: query.query.clone() }));
        match client::call(&request, view)? {
            Reply::ScorerOpened(number) => {
                let connection = client::connection().ok_or_else(|| Error::internal("no connection was kept"))?;
                Ok(Open { connection, number })
            }
            other => Err(Error::internal(format!("the engine answered \"{}\" instead of a scorer", other.name()))),
        }
    })
}

/// Gives back what is not used any more. Connections that are gone have taken their scorers along.
///
/// # Errors
/// The engine's.
pub fn close_unused() -> Result<()> {
    let unused = UNUSED.with_borrow_mut(std::mem::take);
    let Some(connection) = client::connection() else { return Ok(()) };
    let scans: Vec<u64> = unused.iter().filter(|open| open.connection == connection).map(|open| open.number).collect();
    if scans.is_empty() {
        return Ok(());
    }
    client::tell(&Request::ScanClose { scans })
}
