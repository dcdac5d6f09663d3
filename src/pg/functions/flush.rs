//! `flush`: what the maintenance worker does by itself, at once and inside the caller's transaction.

use super::Text;
use super::arguments::required;
use crate::error::{ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::pg::am::access::OpenIndex;
use crate::pg::am::metapage::Metapage;
use crate::pg::engine_call::{Source, flushed};
use crate::pg::error::{OrRaise, raise_serialization_failure};
use crate::pg::flush::Plan;
use crate::pg::heap_table::{Name, changed_meanwhile};
use crate::pg::locks::{self, Mode, Target};
use crate::pg::namespace;
use crate::pg::snapshot::{Snapshot, transaction_has_one_snapshot};
use crate::pg::{acl, catalog, gucs, preload};
use pgrx::pg_extern;
use pgrx::pg_sys;

/// \[backend\] `elacsym.flush(target text) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_flush(target: Option<Text>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.flush()");
    match flush(&required(target, "target")) {
        Err(error) if error.kind == ErrorKind::Fenced => {
            raise_serialization_failure("could not serialize access due to a concurrent flush")
        }
        result => result.or_raise(),
    }
}

fn flush(name: &str) -> Result<i64> {
    let named = match namespace::resolve(name, Mode::RowExclusive) {
        Ok(namespace) => return flush_one(namespace.id),
        Err(error) if error.kind == ErrorKind::NotFound => {
            OpenIndex::named_by_name(name, pg_sys::RowExclusiveLock)?.ok_or(error)?
        }
        Err(error) => return Err(error),
    };
    // Of a partitioned index every part, whoever owns it, as REINDEX does.
    named.check_owner()?;
    let mut moved = 0;
    for leaf in named.leaves() {
        let open = OpenIndex::open(leaf, pg_sys::RowExclusiveLock)?;
        moved += flush_one(Metapage::read(open.index)?.incarnation)?;
    }
    Ok(moved)
}

fn flush_one(id: NamespaceId) -> Result<i64> {
    // Waits for the worker or another session that is flushing; after that the set of segments is ours to change.
    locks::lock(Target::Flush(id), Mode::Exclusive)?;
    let mut moved = 0;
    loop {
        // What this statement has written before, or published in the round before, must be visible to the snapshot.
        // SAFETY: inside a transaction, in no parallel mode: the function is PARALLEL UNSAFE.
        unsafe { pg_sys::CommandCounterIncrement() };
        let Some((plan, snapshot)) = plan(id)? else { return Ok(moved) };
        gucs::fault_point("flush.after_read");
        let result = flushed(&plan.request(), Source { view: &plan.view, snapshot: &snapshot })?;
        gucs::fault_point("flush.after_upload");
        moved += plan.publish(Some(plan.row.clone()), result)? as i64;
        gucs::fault_point("flush.after_publish_before_commit");
        if !plan.has_rest() {
            return Ok(moved);
        }
    }
}

fn plan(id: NamespaceId) -> Result<Option<(Plan, Snapshot)>> {
    let table = Name::Namespace.oid()?;
    let snapshot = Snapshot::for_change(table);
    let row = catalog::namespace_by_id(id, &snapshot)?;
    if transaction_has_one_snapshot() {
        // A flush since this transaction's snapshot: what it would start from is not the present.
        let now = catalog::namespace_by_id(id, &Snapshot::fresh(table))?;
        if row.as_ref().map(|r| r.generation) != now.map(|r| r.generation) {
            return Err(changed_meanwhile());
        }
    }
    let row = row.ok_or_else(changed_meanwhile)?;
    Ok(Plan::read(row, &snapshot)?.map(|plan| (plan, snapshot)))
}
