//! BM25 of single texts by the statistics of an index: a scorer in the engine for each query of a statement.
//!
//! A scorer belongs to the connection and holds the state of the index at its first call. Expressions of one statement with the
//! same query share it: the plan of a partitioned table has them for each partition. [`OpenScan`] gives it back when the
//! memory of the last one goes.

use super::bm25query::Bm25Query;
use super::resolve::TextIndex;
use crate::error::{Error, Result};
use crate::ipc::message::{Request, ScorerRequest, TextQuery};
use crate::pg::am::columns::{Columns, attribute_id};
use crate::pg::am::corpus;
use crate::pg::am::open_scans::{self, OpenScan};
use crate::pg::am::relation::Rel;
use crate::pg::am::view::with_view;
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::snapshot::Moment;
use crate::pg::xact;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// What `<@>` keeps from row to row.
#[derive(Default)]
pub struct Scorer {
    open: Option<Rc<Open>>,
}

thread_local! {
    /// Those that some expression holds.
    static SHARED: RefCell<Vec<Weak<Open>>> = const { RefCell::new(Vec::new()) };
}

/// A scorer in the engine.
struct Open {
    query: Bm25Query,
    /// In which the index was looked at.
    epoch: u64,
    /// What the statement saw that looked at it.
    moment: Option<Moment>,
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
        let open = self.open.insert(Open::shared(query, epoch)?);
        let (connection, scorer) = open.scorer.number();
        let reply = client::call_on(connection, &Request::ScoreTexts { scorer, texts }, &mut NoNeeds)?;
        reply.map_or_else(
            || Err(Error::unavailable("the connection to the elacsym engine was lost").with_hint("Try again.")),
            |reply| score_of(&reply),
        )
    }
}

impl Open {
    /// The one that the statement has for this query, or a new one.
    fn shared(query: Bm25Query, epoch: u64) -> Result<Rc<Self>> {
        let moment = Moment::of_statement();
        // Of a connection that is gone, nothing is left in the engine.
        let connection = client::connection();
        let known = SHARED.with_borrow_mut(|shared| {
            shared.retain(|open| open.strong_count() > 0);
            shared.iter().filter_map(Weak::upgrade).find(|open| {
                let same = open.query == query && open.epoch == epoch && open.moment == moment;
                same && moment.is_some() && Some(open.scorer.number().0) == connection
            })
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let open = Rc::new(Self { scorer: open_scorer(&query)?, query, epoch, moment });
        SHARED.with_borrow_mut(|shared| shared.push(Rc::downgrade(&open)));
        Ok(open)
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
    let column = index.require_text_column(query.column.into())?;
    let attribute = attribute_id(usize::try_from(column - 1).unwrap_or(0));
    // SAFETY: open as long as `index` is.
    let rel = unsafe { Rel::new(index.relation()) };
    let text = TextQuery::of_attribute(attribute, query.query.clone());
    let request = |namespace, corpus| {
        let query = query.query.clone();
        Request::ScorerOpen(Box::new(ScorerRequest { namespace, attribute, query, corpus }))
    };
    let opened = |reply: Reply| match reply {
        Reply::ScorerOpened(number) => Ok(OpenScan::new(number)),
        other => Err(unexpected(&other, "a scorer")),
    };
    if let Some(stats) = corpus::of_whole(query.index, &text)? {
        let namespace = corpus::empty_view(&Columns::of(rel)?.schema());
        return opened(client::call(&request(namespace, Some(stats)), &mut NoNeeds)?);
    }
    with_view(rel, |view| opened(client::call(&request(view.message(), None), view)?))
}
