//! What the planner is told (pitfalls 9). Figures come from the metapage and `pg_class`, never from the engine.

use super::metapage::Metapage;
use super::relation::Rel;
use crate::pg::error::OrRaise;
use pgrx::pg_sys;
use std::cell::RefCell;

/// A request to the engine and its answer, in units of a sequential page read.
const CALL_COST: f64 = 9.0;
/// Estimating one candidate by its code, relative to `cpu_operator_cost`.
const CODE_COST: f64 = 0.2;
/// Returning one row in order (exact distance, transfer), relative to `cpu_tuple_cost`.
const ROW_COST: f64 = 1.0;
/// Rows that a search looks at, at most, before it returns the first: what probing the nearest lists comes to.
const PROBED_ROWS: f64 = 20_000.0;
/// Sessions rarely search more indexes than this in turn.
const MAX_HINTS: usize = 64;

thread_local! {
    /// The last LIMIT planned for each index. Only a hint: it sizes the first batch of a scan and decides nothing.
    static HINTS: RefCell<Vec<(pg_sys::Oid, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The LIMIT of the last plan for this index in this session.
pub fn limit_hint(index: Rel) -> Option<u32> {
    let oid = index.oid();
    HINTS.with_borrow(|hints| hints.iter().find(|(hinted, _)| *hinted == oid).map(|(_, limit)| *limit))
}

fn remember(index: pg_sys::Oid, limit: f64) {
    HINTS.with_borrow_mut(|hints| {
        hints.retain(|(hinted, _)| *hinted != index);
        hints.truncate(MAX_HINTS - 1);
        if limit >= 1.0 {
            hints.insert(0, (index, limit.min(f64::from(u32::MAX)) as u32));
        }
    });
}

/// PostgreSQL's `amcostestimate`.
#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn amcostestimate(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    _loop_count: f64,
    startup: *mut pg_sys::Cost,
    total: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // SAFETY: PostgreSQL's own argument.
    let path = unsafe { &mut *path };
    // SAFETY: as above.
    let root_ref = unsafe { &*root };
    // SAFETY: every index path has its index.
    let info = unsafe { &*path.indexinfo };
    // SAFETY: null or a list.
    let orders = unsafe { path.indexorderbys.as_ref() }.map_or(0, |list| list.length);
    // SAFETY: the path's own order operators.
    let foreign = orders == 1 && unsafe { goes_by_another(path, info.indexoid) };
    let estimate = if (path.indexclauses.is_null() && orders == 0) || orders > 1 || foreign {
        // Nothing to search by, or an order that this index cannot give.
        #[cfg(feature = "pg18")]
        {
            path.path.disabled_nodes = 2;
        }
        Estimate { startup: f64::INFINITY, total: f64::INFINITY, selectivity: 1.0, pages: 0.0 }
    } else {
        // SAFETY: PostgreSQL's own arguments.
        unsafe { estimate(root, path, info, orders == 1) }
    };
    remember(info.indexoid, root_ref.limit_tuples);
    // SAFETY: PostgreSQL's own arguments, all of them to be set.
    unsafe {
        *startup = estimate.startup;
    }
    // SAFETY: as above.
    unsafe {
        *total = estimate.total;
    }
    // SAFETY: as above.
    unsafe {
        *selectivity = estimate.selectivity;
    }
    // SAFETY: as above. Order of distance has nothing to do with order in the heap.
    unsafe {
        *correlation = 0.0;
    }
    // SAFETY: as above.
    unsafe {
        *pages = estimate.pages;
    }
}

/// Whether the order is that of a full-text query which names another index.
///
/// # Safety
/// The planner's own structs; the path has one order operator.
unsafe fn goes_by_another(path: &pg_sys::IndexPath, index: pg_sys::Oid) -> bool {
    // SAFETY: the list has one element.
    let operator = unsafe { pg_sys::list_nth(path.indexorderbys, 0) }.cast::<pg_sys::OpExpr>();
    // SAFETY: an order operator with two arguments.
    let right = unsafe { pg_sys::list_nth((*operator).args, 1) }.cast::<pg_sys::Node>();
    // SAFETY: null or a list of column numbers.
    let column = unsafe { pg_sys::list_nth_int(path.indexorderbycols, 0) };
    // SAFETY: an expression of the query.
    match unsafe { crate::pg::text_operators::index_named_by(right) } {
        Some((named, at)) => {
            i32::from(at) != column + 1 || !crate::pg::text_operators::resolve::answers_for(index, named, at).or_raise()
        }
        None => false,
    }
}

struct Estimate {
    startup: f64,
    total: f64,
    selectivity: f64,
    pages: f64,
}

/// # Safety
/// The planner's own structs.
unsafe fn estimate(
    root: *mut pg_sys::PlannerInfo,
    path: &pg_sys::IndexPath,
    info: &pg_sys::IndexOptInfo,
    ordered: bool,
) -> Estimate {
    // SAFETY: the clauses of the path.
    let quals = unsafe { pg_sys::get_quals_from_indexclauses(path.indexclauses) };
    // SAFETY: the index and those clauses; a partial index adds its predicate.
    let quals = unsafe { pg_sys::add_predicate_to_index_quals(path.indexinfo, quals) };
    // SAFETY: every index has a relation.
    let relation = unsafe { &*info.rel };
    let relid = relation.relid.cast_signed();
    // SAFETY: clauses of that relation.
    let selectivity = unsafe {
        pg_sys::clauselist_selectivity(root, quals, relid, pg_sys::JoinType::JOIN_INNER, std::ptr::null_mut())
    };
    let (entries, bytes) = figures(info, relation.tuples);
    let rows = (selectivity * relation.tuples).max(1.0);
    // SAFETY: a plain global of the planner.
    let operator = unsafe { pg_sys::cpu_operator_cost };
    // SAFETY: as above.
    let tuple = unsafe { pg_sys::cpu_tuple_cost };
    let startup = CALL_COST + if ordered { operator * CODE_COST * entries.min(PROBED_ROWS) } else { 0.0 };
    // A scan to the end searches everything and returns every row that matches.
    let codes = if ordered { operator * CODE_COST * entries } else { 0.0 };
    let total = startup + codes + rows * tuple * ROW_COST;
    Estimate { startup, total, selectivity, pages: (bytes / f64::from(pg_sys::BLCKSZ)).ceil() }
}

/// Entries and bytes of the index. The planner's own count of a partial index is taken from the size of its main fork, which
/// says nothing here (pitfalls 9.5).
fn figures(info: &pg_sys::IndexOptInfo, heap_tuples: f64) -> (f64, f64) {
    // SAFETY: the planner holds a lock on every index it considers.
    let index = unsafe { pg_sys::index_open(info.indexoid, pg_sys::NoLock as i32) };
    // SAFETY: open until it is closed below.
    let meta = Metapage::read(unsafe { Rel::new(index) });
    // SAFETY: opened above.
    unsafe { pg_sys::index_close(index, pg_sys::NoLock as i32) };
    match meta {
        Ok(meta) if !info.indpred.is_null() => (meta.entries as f64, meta.bytes as f64),
        Ok(meta) => (heap_tuples.max(1.0), meta.bytes as f64),
        // Whoever scans it gets the error.
        Err(_) => (heap_tuples.max(1.0), 0.0),
    }
}
