//! Bulk writes: rows that become segments inside the caller's transaction, without passing through the write buffer.
//!
//! A bulk write is a flush whose rows come from the caller instead of from `elacsym.wal`. The catalog's rows are MVCC
//! rows, so a rollback, also of a savepoint, leaves nothing but objects that no row refers to.
//!
//! INV-3 holds because the caller has the flush lock from before it draws the rows' order to the end of its transaction:
//! whatever is in a segment then is older, whatever is buffered by others is compared by order when it is read or
//! flushed, and what this transaction writes later draws a higher order. All rows share one order: their keys differ, and
//! a number of orders drawn without a record in the log between them would run ahead of it, into the orders of writes
//! that come later.

use crate::error::{Error, Result};
use crate::ids::{EntryId, EntryOrder, Key, Op};
use crate::ipc::message::{BufferedEntry, ProvidedEntry};
use crate::pg::client::{self, Needs, Provided};
use crate::pg::engine_call::{Source, flushed};
use crate::pg::flush::{BUDGET, Plan};
use crate::pg::heap_table::{Name, changed_meanwhile};
use crate::pg::locks::{self, Mode, Target};
use crate::pg::namespace::Namespace;
use crate::pg::snapshot::{Snapshot, transaction_has_one_snapshot};
use crate::pg::{buffer_table, catalog, counters, error, gucs};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use std::cell::Cell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a session writes to the buffer after the engine or object storage has failed it: finding out takes up to a
/// minute, which not every batch of a load should wait.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

thread_local! {
    static FAILED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// One document to write: its id and `Document::encode`.
pub type Row = (Key, Vec<u8>);

/// Writes as many rows (each id once) as can be written into segments, and returns the others, which belong into the
/// write buffer: all of them where there are too few for a segment, another session changes the set of segments, the
/// transaction's snapshot is not the present, or the engine or object storage fails (INV-6).
///
/// # Errors
/// Of the catalog; the transaction must be rolled back then.
pub fn write<'r>(namespace: &Namespace, rows: &'r [Row]) -> Result<&'r [Row]> {
    if !worthwhile(rows) || transaction_has_one_snapshot() || !promising() {
        return Ok(rows);
    }
    if !locks::try_lock(Target::Flush(namespace.id), Mode::Exclusive)? {
        return Ok(rows);
    }
    let order = buffer_table::next_order();
    let mut rest = rows;
    while !rest.is_empty() {
        let (chunk, others) = rest.split_at(chunk_len(rest));
        if !publish(namespace, order, chunk)? {
            if rest.len() == rows.len() {
                // Nothing of it is a segment: while the rest of the transaction fills the buffer, let the worker empty it.
                locks::unlock(Target::Flush(namespace.id), Mode::Exclusive)?;
            }
            return Ok(rest);
        }
        rest = others;
    }
    Ok(rest)
}

/// Whether the write buffer would be flushed right after these rows anyway.
fn worthwhile(rows: &[Row]) -> bool {
    let bytes = || rows.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>();
    !rows.is_empty() && (rows.len() as u64 >= gucs::flush_rows() || bytes() >= gucs::flush_bytes())
}

/// Whether the engine is there, and no failure is recent.
fn promising() -> bool {
    FAILED_AT.get().is_none_or(|at| at.elapsed() >= PAUSE_AFTER_FAILURE) && client::engine_answers()
}

/// How many of the rows one segment takes, at least one: both sides hold a segment's rows in memory.
fn chunk_len(rows: &[Row]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take(BUDGET.rows).take_while(|(_, payload)| {
        bytes += payload.len() as u64;
        bytes <= BUDGET.bytes
    });
    fits.count().max(1)
}

/// One segment in the running transaction. False if the engine could not make it; nothing has changed then.
fn publish(namespace: &Namespace, order: EntryOrder, rows: &[Row]) -> Result<bool> {
    // What this statement has written before must be visible to the snapshot.
    // SAFETY: inside a transaction, in no parallel mode: the function is PARALLEL UNSAFE.
    unsafe { pg_sys::CommandCounterIncrement() };
    let snapshot = Snapshot::fresh(Name::Namespace.oid()?);
    let row = catalog::namespace_by_id(namespace.id, &snapshot)?.ok_or_else(changed_meanwhile)?;
    let plan = Plan::for_rows(row, &snapshot)?;
    let entries =
        rows.iter().map(|(key, _)| BufferedEntry { id: EntryId { key: *key, order }, op: Op::Upsert }).collect();
    let source = Caller {
        payloads: rows.iter().map(|(key, payload)| (EntryId { key: *key, order }, payload.as_slice())).collect(),
        others: Source { view: &plan.view, snapshot: &snapshot },
    };
    let result = match flushed(&plan.request_for(entries), source) {
        Ok(result) => result,
        Err(failure) => {
            FAILED_AT.set(Some(Instant::now()));
            report(&namespace.name, failure);
            return Ok(false);
        }
    };
    FAILED_AT.set(None);
    counters::written(Op::Upsert, rows.len() as u64, rows.iter().map(|(_, payload)| payload.len() as u64).sum());
    gucs::fault_point("bulk.after_upload");
    plan.publish(Some(plan.row.clone()), result)?;
    gucs::fault_point("bulk.after_publish_before_commit");
    Ok(true)
}

/// Only the log: the write succeeds, and the maintenance worker warns until its flush does too.
fn report(namespace: &str, failure: Error) {
    let message = format!("bulk write to namespace \"{namespace}\" goes to the write buffer: {}", failure.message);
    error::report(Error { message, ..failure }, PgLogLevel::LOG);
}

/// Answers the engine: payloads from the caller's memory, delete vectors from the catalog.
struct Caller<'a> {
    payloads: HashMap<EntryId, &'a [u8]>,
    others: Source<'a>,
}

impl Needs for Caller<'_> {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        let mut provided = self.others.read(&[], delete_vectors)?;
        provided.entries.reserve(entries.len());
        for id in entries {
            let payload = self.payloads.get(id).ok_or_else(|| {
                Error::internal(format!("the engine asked for entry {id:?}, which is not part of the request"))
            })?;
            provided.entries.push(ProvidedEntry { id: *id, payload: payload.to_vec() });
        }
        Ok(provided)
    }
}
