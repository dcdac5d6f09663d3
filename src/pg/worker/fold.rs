//! \[worker\] Folding tombstones: dead entries leave the buffer, dead rows of segments go into delete vectors, then the
//! tombstone log starts anew (pitfalls 3.15.6).
//!
//! The log is trimmed in a step of its own, after the commit that folded it: whoever sees the log empty sees the delete vectors.

use super::abandoned::Vacuumed;
use super::database::{OwnTransaction, discard, publish};
use super::transaction::{transaction, transaction_after};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::ipc::message::{Tombstone, TombstonesVersion};
use crate::pg::am::metapage::Metapage;
use crate::pg::am::relation::Rel;
use crate::pg::am::tombstones;
use crate::pg::client::{Needs, Provided};
use crate::pg::flush::Plan;
use crate::pg::locks::{self, Mode, SessionLock, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::{catalog, engine_call, gucs};
use pgrx::pg_sys;

/// Folds the tombstones of these indexes. False if one is busy: try again soon.
///
/// # Errors
/// Those of a flush.
pub fn fold_all(vacuumed: &[Vacuumed]) -> Result<bool> {
    let mut all = true;
    for index in vacuumed {
        all &= fold(index)?;
    }
    Ok(all)
}

fn fold(vacuumed: &Vacuumed) -> Result<bool> {
    loop {
        match fold_once(vacuumed)? {
            Step::Done => return Ok(true),
            Step::Busy => return Ok(false),
            Step::Again => {}
        }
    }
}

/// What one round of folding came to.
enum Step {
    /// Nothing is left to do, or nothing that can be done now.
    Done,
    /// Somebody holds a lock, or a transaction has to end first.
    Busy,
    /// A full segment was flushed, and more is buffered.
    Again,
}

fn fold_once(vacuumed: &Vacuumed) -> Result<Step> {
    let id = vacuumed.meta.incarnation;
    let planned = transaction_after(
        || {
            let lock = SessionLock::try_acquire(Target::Flush(id), Mode::Exclusive)?;
            // The log's position is read before the snapshot is taken: what it kills is in what the snapshot shows.
            Ok((lock, Metapage::read_unlocked(vacuumed.index)?))
        },
        |(lock, meta)| {
            let Some(lock) = lock else { return Ok(None) };
            let snapshot = Snapshot::statement()?;
            let Some(meta) = meta.filter(|meta| meta.incarnation == id && meta.tombstones.count > 0) else {
                return Ok(Some((lock, None)));
            };
            // A transaction that was running when VACUUM looked may still bring an entry to light that the log kills. Its end
            // tells nobody, so it is waited for by looking.
            if snapshot.xmin() < meta.horizon {
                lock.release();
                return Ok(None);
            }
            let plan = match catalog::namespace_by_id(id, &snapshot)? {
                Some(row) => Plan::read_with(row, &snapshot, Some(meta.tombstones))?,
                None => None,
            };
            Ok(Some((lock, plan)))
        },
    )?;
    let Some((lock, plan)) = planned else { return Ok(Step::Busy) };
    let step = match plan {
        Some(plan) => fold_locked(vacuumed.index, &plan, &lock),
        None => Ok(Step::Done),
    };
    lock.release();
    step
}

fn fold_locked(index: pg_sys::Oid, plan: &Plan, lock: &SessionLock) -> Result<Step> {
    let Some(version) = plan.tombstones else { return Ok(Step::Done) };
    let source = Folding { own: OwnTransaction { view: &plan.view }, index, version };
    let result = match engine_call::flushed(&plan.request(), source) {
        Err(error) if error.kind == ErrorKind::Fenced => return Ok(Step::Busy),
        other => other?,
    };
    gucs::fault_point("fold.after_upload");
    if !publish(plan, result.clone(), lock)? {
        discard(&result);
        return Ok(Step::Busy);
    }
    gucs::fault_point("fold.after_commit");
    if plan.has_rest() {
        return Ok(Step::Again);
    }
    trim(index, plan.row.id, version)
}

fn trim(index: pg_sys::Oid, id: crate::ids::NamespaceId, version: TombstonesVersion) -> Result<Step> {
    let trimmed = transaction(|| {
        if !locks::try_lock(Target::Publish(id), Mode::Exclusive)? {
            return Ok(false);
        }
        with_index(index, |index| {
            if Metapage::read(index)?.incarnation == id {
                tombstones::trim(index, version)?;
            }
            Ok(())
        })
        .map(|done| done.is_some())
    })?;
    gucs::fault_point("fold.after_trim");
    Ok(if trimmed { Step::Done } else { Step::Busy })
}

/// Runs `work` over an index, if it can be locked now and is still there.
fn with_index<T>(index: pg_sys::Oid, work: impl FnOnce(Rel) -> Result<T>) -> Result<Option<T>> {
    // SAFETY: an oid; the lock is released with the transaction.
    if !unsafe { pg_sys::ConditionalLockRelationOid(index, pg_sys::AccessShareLock as i32) } {
        return Ok(None);
    }
    // SAFETY: locked above; null when it is gone.
    let relation = unsafe { pg_sys::try_relation_open(index, pg_sys::NoLock as i32) };
    if relation.is_null() {
        return Ok(None);
    }
    // SAFETY: open until it is closed below.
    let result = work(unsafe { Rel::new(relation) });
    // SAFETY: opened above.
    unsafe { pg_sys::relation_close(relation, pg_sys::NoLock as i32) };
    result.map(Some)
}

impl Metapage {
    /// The metapage of an index that nobody holds open, if it can be locked now.
    fn read_unlocked(index: pg_sys::Oid) -> Result<Option<Self>> {
        with_index(index, Self::read)
    }
}

/// Answers the engine in transactions of its own.
struct Folding<'a> {
    own: OwnTransaction<'a>,
    index: pg_sys::Oid,
    version: TombstonesVersion,
}

impl Needs for Folding<'_> {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        self.own.provide(entries, delete_vectors)
    }

    fn tombstones(&mut self) -> Result<Vec<Tombstone>> {
        let read = transaction(|| with_index(self.index, |index| tombstones::read(index, self.version)))?;
        read.ok_or_else(|| Error::new(ErrorKind::Fenced, "the index is locked"))
    }
}
