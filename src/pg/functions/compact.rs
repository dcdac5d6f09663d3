//! `compact`: what the maintenance worker does by itself, at once, of all segments, and inside the caller's transaction; and what is
//! under way.

use super::Text;
use super::arguments::required;
use crate::compaction::pack;
use crate::error::{ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::ipc::message::CompactResult;
use crate::pg::am::access::OpenIndex;
use crate::pg::am::metapage::Metapage;
use crate::pg::catalog::NamespaceRow;
use crate::pg::compaction::{Plan, Started, Survey, nothing};
use crate::pg::compaction_progress::{self, Entry};
use crate::pg::error::{OrRaise, raise_serialization_failure};
use crate::pg::heap_table::{Name, changed_meanwhile};
use crate::pg::locks::{self, Mode, Target};
use crate::pg::snapshot::{Snapshot, transaction_has_one_snapshot};
use crate::pg::{acl, catalog, gucs, namespace, preload};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};

/// \[backend\] `elacsym.compact(target text) RETURNS (segments_before, segments_after)`
#[pg_extern(sql = "")]
fn elacsym_compact(
    target: Option<Text>,
) -> TableIterator<'static, (name!(segments_before, i64), name!(segments_after, i64))> {
    preload::require();
    acl::check_may_write(c"elacsym.compact()");
    match compact(&required(target, "target")) {
        Err(error) if error.kind == ErrorKind::Fenced => {
            raise_serialization_failure("could not serialize access due to a concurrent flush or compaction")
        }
        result => TableIterator::once(result.or_raise()),
    }
}

fn compact(name: &str) -> Result<(i64, i64)> {
    let (id, _open) = match namespace::resolve(name, Mode::RowExclusive) {
        Ok(namespace) => (namespace.id, None),
        Err(error) if error.kind == ErrorKind::NotFound => {
            let open = OpenIndex::by_name(name, pg_sys::RowExclusiveLock)?.ok_or(error)?;
            open.check_owner()?;
            (Metapage::read(open.index)?.incarnation, Some(open))
        }
        Err(error) => return Err(error),
    };
    // Waits for a compaction that is under way: what it reads would be replaced under its hands.
    locks::lock(Target::Compact(id), Mode::Exclusive)?;
    let (row, snapshot) = read(id)?;
    let survey = Survey::read(&row, gucs::flush_rows(), &snapshot)?;
    let before = survey.segments.len() as i64;
    let mut generation = row.generation;
    let plans = pack(&survey.figures, &survey.limits).into_iter();
    let plans = plans.map(|group| Plan::read(row.clone(), &survey, &group, &snapshot)).collect::<Result<Vec<_>>>()?;
    // VACUUM need not wait for what takes so long.
    drop(snapshot);
    for plan in plans {
        gucs::fault_point("compaction.after_read");
        let result = if plan.is_gone() { nothing() } else { drive(&plan, name)? };
        gucs::fault_point("compaction.after_upload");
        generation = publish(&plan, result, generation)?;
        gucs::fault_point("compaction.after_publish_before_commit");
    }
    let (_, snapshot) = read(id)?;
    Ok((before, catalog::segments(id, &snapshot)?.len() as i64))
}

/// The namespace's row as this command starts from it, with what this transaction has done so far.
fn read(id: NamespaceId) -> Result<(NamespaceRow, Snapshot)> {
    // SAFETY: inside a transaction, in no parallel mode: the function is PARALLEL UNSAFE.
    unsafe { pg_sys::CommandCounterIncrement() };
    let snapshot = Snapshot::for_change(Name::Namespace.oid()?);
    let row = catalog::namespace_by_id(id, &snapshot)?.ok_or_else(changed_meanwhile)?;
    Ok((row, snapshot))
}

/// Runs a compaction in the engine to its end.
fn drive(plan: &Plan, name: &str) -> Result<CompactResult> {
    let entry = Entry::new(plan.row.id, name);
    Started::new(plan)?.drive(|progress| entry.set(progress))
}

/// Publishes it under the flush lock, which is kept to the end of the transaction. Where all statements of the transaction share
/// one snapshot, nobody else may have changed the set of segments since. Returns the new generation.
fn publish(plan: &Plan, result: CompactResult, generation: u64) -> Result<u64> {
    let id = plan.row.id;
    locks::lock(Target::Flush(id), Mode::Exclusive)?;
    // SAFETY: as above: what the round before has published must be visible.
    unsafe { pg_sys::CommandCounterIncrement() };
    let now = Snapshot::fresh(Name::Namespace.oid()?);
    let current = catalog::namespace_by_id(id, &now)?.ok_or_else(changed_meanwhile)?;
    let published = (|| {
        if transaction_has_one_snapshot() && current.generation != generation {
            return Err(changed_meanwhile());
        }
        let changes = plan.changes(&now)?;
        let carried = plan.carry(&changes, &result)?;
        plan.publish(&now, &changes, result.clone(), &carried)
    })();
    match published {
        Ok(()) => Ok(current.generation + 1),
        Err(error) => {
            // The first error counts; what is left is found by the search for orphans.
            let _ = Plan::discard(&result);
            Err(error)
        }
    }
}

/// \[backend\] `elacsym.compaction_progress()`. Names are for those who may read all statistics.
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_compaction_progress() -> TableIterator<
    'static,
    (
        name!(database, pg_sys::Oid),
        name!(namespace, pgrx::Uuid),
        name!(target, Option<String>),
        name!(pid, i32),
        name!(phase, String),
        name!(rows_done, i64),
        name!(rows_total, i64),
        name!(started, pgrx::datum::TimestampWithTimeZone),
    ),
> {
    preload::require();
    let with_names = acl::may_read_all_statistics();
    let rows = compaction_progress::shown().into_iter().map(move |shown| {
        let started = pgrx::datum::TimestampWithTimeZone::try_from(shown.started);
        (
            shown.database,
            pgrx::Uuid::from_bytes(shown.namespace.0),
            with_names.then_some(shown.name),
            shown.pid,
            shown.progress.phase.name().to_string(),
            i64::try_from(shown.progress.rows_done).unwrap_or(i64::MAX),
            i64::try_from(shown.progress.rows_total).unwrap_or(i64::MAX),
            started.unwrap_or_else(|_| pgrx::datum::TimestampWithTimeZone::positive_infinity()),
        )
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}
