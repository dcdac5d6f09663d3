//! Requests about a namespace: the call, and the answers to what the engine asks back.

use crate::error::{Error, Result};
use crate::ids::EntryId;
use crate::ipc::message::{CandidateRow, FlushResult, KeyState, Request, RequestStats, ResultRow, StoredObject};
use crate::pg::client::{self, Needs, Provided, Reply};
use crate::pg::counters::Work;
use crate::pg::search_log::{self, Figures};
use crate::pg::snapshot::{Snapshot, top_transaction_id};
use crate::pg::view::{View, in_this_database};
use crate::pg::{counters, query_stats};
use pgrx::pg_sys;
use std::time::Instant;

/// Answers from the view's tables under the snapshot it was read with.
pub struct Source<'a> {
    /// What the request is about.
    pub view: &'a View,
    /// The snapshot of the view, held until the call ends.
    pub snapshot: &'a Snapshot,
}

impl Source<'_> {
    /// Payloads and delete vectors.
    ///
    /// # Errors
    /// As [`View::payloads`] and [`View::delete_vectors`].
    pub fn read(&self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        let mut provided = Vec::with_capacity(entries.len());
        self.view.payloads(entries, self.snapshot, |entry| {
            provided.push(entry);
            Ok(())
        })?;
        Ok(Provided { entries: provided, delete_vectors: self.view.delete_vectors(delete_vectors, self.snapshot)? })
    }
}

impl Needs for Source<'_> {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        self.read(entries, delete_vectors)
    }
}

fn unexpected(reply: &Reply, wanted: &str) -> Error {
    Error::internal(format!("the engine answered \"{}\" instead of {wanted}", reply.name()))
}

/// Asks for rows (query, fetch, page).
pub fn rows_of(request: &Request, mut source: impl Needs) -> Result<Vec<ResultRow>> {
    let start = Instant::now();
    match client::call(request, &mut source)? {
        Reply::Rows(rows, stats) => {
            query_stats::record(stats);
            let what = match request {
                Request::Query(request) => Some(("query", request.namespace.id)),
                Request::Fetch(request) => Some(("fetch", request.namespace.id)),
                Request::Page(request) => Some(("scan", request.namespace.id)),
                _ => None,
            };
            if let Some((kind, id)) = what {
                let (fetched, micros) = (rows.len() as u64, counters::micros_since(start));
                search_log::of_namespace(
                    kind,
                    in_this_database(id),
                    &Figures { searches: 1, fetched, cost: stats, micros },
                );
            }
            Ok(rows)
        }
        other => Err(unexpected(&other, "rows")),
    }
}

/// Asks for what a ranking is made of, on behalf of a search that asks several times and records what all of it cost.
pub fn candidates_and_cost_of(request: &Request, mut source: impl Needs) -> Result<(Vec<CandidateRow>, RequestStats)> {
    match client::call(request, &mut source)? {
        Reply::Candidates(rows, stats) => Ok((rows, stats)),
        other => Err(unexpected(&other, "candidates")),
    }
}

/// Asks for a segment. A transaction that asks has its id before the first object is written: what becomes of the transaction
/// decides what becomes of the objects (INV-4).
pub fn flushed(request: &Request, mut source: impl Needs) -> Result<FlushResult> {
    // SAFETY: reads a variable.
    if unsafe { pg_sys::IsTransactionState() } {
        top_transaction_id();
    }
    let start = Instant::now();
    match client::call(request, &mut source)? {
        Reply::Flushed(result) => {
            if let Request::Flush(request) = request {
                let work = Work {
                    micros: counters::micros_since(start),
                    entries: request.namespace.buffered.len() as u64,
                    objects_written: result.segment.as_ref().map_or(0, |info| info.object_keys().len() as u64),
                    ..Work::default()
                };
                counters::flushed(in_this_database(request.namespace.id), work);
            }
            Ok(*result)
        }
        other => Err(unexpected(&other, "a segment")),
    }
}

/// Asks for the state of documents.
pub fn checked(request: &Request, mut source: impl Needs) -> Result<Vec<KeyState>> {
    match client::call(request, &mut source)? {
        Reply::Checked(states) => Ok(states),
        other => Err(unexpected(&other, "states")),
    }
}

/// Asks for something to be done about objects.
pub fn done(request: &Request) -> Result<()> {
    match client::call(request, &mut client::NoNeeds)? {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other, "done")),
    }
}

/// Asks for a listing.
pub fn objects(request: &Request) -> Result<Vec<StoredObject>> {
    match client::call(request, &mut client::NoNeeds)? {
        Reply::Objects(objects) => Ok(objects),
        other => Err(unexpected(&other, "objects")),
    }
}

/// Asks how a text or a query is understood: JSON.
pub fn analysis(request: &Request) -> Result<String> {
    match client::call(request, &mut client::NoNeeds)? {
        Reply::Analysis(json) => Ok(json),
        other => Err(unexpected(&other, "an analysis")),
    }
}
