//! \[worker\] Deletes released objects whose time has come (INV-4).
//!
//! Steps, and what a crash between them leaves: find due rows (nothing); ask whether another server lives and what other databases
//! read (nothing); look at the catalog again and force what was committed to disk (nothing); delete objects (rows without an object,
//! whose deletion is repeated); delete the rows.

use crate::error::{Error, ErrorKind, Result};
use crate::garbage::{Fate, Place, Reason, fate, place_in};
use crate::pg::garbage::{self, GarbageRow, Tables};
use crate::pg::heap_table::Name;
use crate::pg::snapshot::{Snapshot, top_transaction_id};
use crate::pg::worker::transaction::{transaction, transaction_after};
use crate::pg::{gucs, locks, namespace};
use pgrx::pg_sys;
use std::collections::{BTreeMap, BTreeSet};

/// Objects deleted in one request: what S3 takes in one batch.
const GARBAGE_BATCH: usize = 1_000;

/// What one look has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collected {
    /// There is nothing left whose time has come.
    All,
    /// There may be more.
    More,
    /// Rows wait for something that takes longer than a moment: another database, or another server.
    Held,
}

/// What a batch of due rows comes to.
#[derive(Default)]
struct Batch {
    delete: BTreeMap<String, Vec<String>>,
    done: Vec<GarbageRow>,
    keep: Vec<GarbageRow>,
}

/// Deletes one batch.
///
/// # Errors
/// `Fenced` if another server lives; of storage and of the catalog. What was deleted before stays deleted, and what is in other
/// roots was deleted, too.
pub fn collect() -> Result<Collected> {
    let prefix = namespace::database_prefix();
    // Newest segment that is lent, by root; of those where nothing can be deleted now, why.
    let (mut lent, mut closed) = (BTreeMap::new(), BTreeMap::new());
    let due = loop {
        let due = transaction(|| {
            if Name::Garbage.oid().is_err() {
                return Ok(Vec::new());
            }
            garbage::due(&Snapshot::statement()?, GARBAGE_BATCH, |root| !closed.contains_key(root))
        })?;
        let before = closed.len();
        let of_ours = due.iter().filter(|row| row.key.starts_with(&prefix));
        for root in of_ours.map(|row| &row.root).collect::<BTreeSet<_>>() {
            if lent.contains_key(root) {
                continue;
            }
            let exists = |database| transaction(|| Ok(garbage::database_exists(database)));
            let claimed = garbage::claim(root, true);
            match claimed.and_then(|()| garbage::lent(root, namespace::own_database(), exists)) {
                Ok(newest) => drop(lent.insert(root.clone(), newest)),
                Err(error) => drop(closed.insert(root.clone(), error)),
            }
        }
        // Rows of a closed root may have taken the places of others.
        if closed.len() == before {
            break due;
        }
    };
    if due.is_empty() && closed.is_empty() {
        return Ok(Collected::All);
    }
    let more = due.len() == GARBAGE_BATCH;
    let mut batch = transaction_after(
        || free_of_uploads(due, &prefix),
        |due| {
            let batch = decide(due, &prefix, &lent)?;
            if !batch.delete.is_empty() {
                // What released them must be on disk before the objects go: this commit is later in the log than every commit the
                // snapshot saw, and waits for the flush even with synchronous_commit off.
                top_transaction_id();
                // SAFETY: inside a transaction.
                unsafe { pg_sys::ForceSyncCommit() };
            }
            Ok(batch)
        },
    )?;
    for (root, keys) in batch.delete {
        if let Err(error) = garbage::delete(&root, keys) {
            batch.done.retain(|row| row.root != root);
            closed.insert(root, error);
        }
    }
    gucs::fault_point("gc.after_delete");
    transaction(|| {
        garbage::forget(&batch.done)?;
        garbage::postpone(&batch.keep)
    })?;
    gucs::fault_point("gc.after_commit");
    // That another server lives is told elsewhere, too.
    let fenced = |error: &Error| error.kind == ErrorKind::Fenced;
    match closed.into_values().min_by_key(fenced) {
        Some(error) => Err(error),
        None if more => Ok(Collected::More),
        None if batch.keep.is_empty() => Ok(Collected::All),
        None => Ok(Collected::Held),
    }
}

/// The rows without orphans of namespaces where an upload is under way that may be published. Called before the snapshot for the
/// second look is taken, which then sees what was published before.
fn free_of_uploads(due: Vec<GarbageRow>, prefix: &str) -> Result<Vec<GarbageRow>> {
    let mut under_way = BTreeMap::new();
    let mut free = Vec::with_capacity(due.len());
    for row in due {
        if row.released.reason == Reason::Orphan
            && let Some(Place::Segment { namespace, .. }) = place_in(prefix, &row.key)
        {
            let known = under_way.get(&namespace).copied();
            let busy = known.map_or_else(|| locks::has_upload_under_way(namespace), Ok)?;
            under_way.insert(namespace, busy);
            if busy {
                continue;
            }
        }
        free.push(row);
    }
    Ok(free)
}

/// Looks at the catalog again: every transaction that may have created or released one of these is over.
fn decide(due: Vec<GarbageRow>, prefix: &str, lent: &BTreeMap<String, Option<String>>) -> Result<Batch> {
    let snapshot = Snapshot::statement()?;
    let tables = Tables::new(&snapshot)?;
    let mut batch = Batch::default();
    for row in due {
        let newest = match lent.get(&row.root) {
            Some(newest) => newest.as_deref(),
            // INV-9: not ours.
            None if !row.key.starts_with(prefix) => None,
            // Another server lives, or storage does not answer.
            None => continue,
        };
        match fate(prefix, &row.key, &row.released, &tables, newest)? {
            Fate::Keep => batch.keep.push(row),
            Fate::Forget => batch.done.push(row),
            Fate::Delete => {
                batch.delete.entry(row.root.clone()).or_default().push(row.key.clone());
                batch.done.push(row);
            }
        }
    }
    Ok(batch)
}
