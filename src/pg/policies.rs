//! Row-level security for rows that were found without a query: the executor is asked which of them the policies show.
//!
//! PostgreSQL applies the policies of the table that a query names, to the rows of its partitions too. The question is about one
//! partition, so the query names the table, which brings its policies into it, and before it is planned the partition takes
//! the table's place in it. There is no such query in SQL: with a condition on `tableoid` every partition would be read.
//! Privileges have been checked by the caller; the query needs none.

use crate::error::{Error, Result};
use crate::ids::Key;
use crate::pg::am::key;
use crate::pg::am::relation::Rel;
use crate::pg::am::view::qualified_name;
use pgrx::{PgList, pg_sys};
use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::c_char;

static mut PREVIOUS: pg_sys::planner_hook_type = None;

thread_local! {
    /// Set while our query is on its way to the planner.
    static IN_PLACE_OF: Cell<Option<Places>> = const { Cell::new(None) };
}

/// The table of a query, and the partition that is read instead.
#[derive(Clone, Copy)]
struct Places {
    named: pg_sys::Oid,
    part: pg_sys::Oid,
}

/// Forgets it in every case, an error too.
struct Waiting;

impl Drop for Waiting {
    fn drop(&mut self) {
        IN_PLACE_OF.set(None);
    }
}

/// Which of these rows of `part`, which is `named` or a partition of it, the policies of `named` show to the current role.
/// Both tables are open and locked.
///
/// # Errors
/// `Internal`; errors of the policies themselves are raised.
pub fn allowed(named: Rel, part: Rel, tids: Vec<pg_sys::ItemPointerData>) -> Result<HashSet<Key>> {
    let query = format!("SELECT t.ctid FROM ONLY {} t WHERE t.ctid = ANY ($1)", qualified_name(named.oid())?);
    IN_PLACE_OF.set(Some(Places { named: named.oid(), part: part.oid() }));
    let _waiting = Waiting;
    pgrx::Spi::connect(|client| {
        let found = client.select(&query, None, &[tids.into()]).map_err(spi_error)?;
        let mut allowed = HashSet::new();
        for row in found {
            if let Some(tid) = row.get::<pg_sys::ItemPointerData>(1).map_err(spi_error)? {
                allowed.insert(key::of_tid(tid));
            }
        }
        Ok(allowed)
    })
}

fn spi_error(error: pgrx::spi::Error) -> Error {
    Error::internal(format!("the table's policies could not be applied: {error}"))
}

/// \[postmaster\] Installs the hook; called once, from `_PG_init`, when preloaded.
pub fn install() {
    // SAFETY: the postmaster is single-threaded and still starting.
    unsafe {
        PREVIOUS = pg_sys::planner_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::planner_hook = Some(planner);
    }
}

unsafe extern "C-unwind" {
    // Not pgrx' wrapper, which catches an error and raises it anew with a few of its fields.
    #[link_name = "standard_planner"]
    fn raw_standard_planner(
        query: *mut pg_sys::Query,
        text: *const c_char,
        cursor_options: i32,
        parameters: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
    // Not among the bindings.
    fn map_partition_varattnos(
        expressions: *mut pg_sys::List,
        varno: i32,
        to: pg_sys::Relation,
        from: pg_sys::Relation,
    ) -> *mut pg_sys::List;
}

/// Not guarded, and without anything to drop: an error of the planner jumps over this frame untouched.
unsafe extern "C-unwind" fn planner(
    query: *mut pg_sys::Query,
    text: *const c_char,
    cursor_options: i32,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    if IN_PLACE_OF.get().is_some() {
        // SAFETY: a query that is about to be planned.
        unsafe { replace(query) };
    }
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS }.unwrap_or(raw_standard_planner);
    // SAFETY: PostgreSQL's own arguments, for the hook that was there before us or for its own function.
    unsafe { next(query, text, cursor_options, parameters) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn replace(query: *mut pg_sys::Query) {
    // SAFETY: PostgreSQL hands over a valid query.
    let query = unsafe { &mut *query };
    // SAFETY: a list of range table entries.
    let Some(entry) = (unsafe { PgList::<pg_sys::RangeTblEntry>::from_pg(query.rtable) }).get_ptr(0) else { return };
    // SAFETY: an entry of the range table, which is this query's own.
    let entry = unsafe { &mut *entry };
    let Some(places) = IN_PLACE_OF.get() else { return };
    let ours = query.commandType == pg_sys::CmdType::CMD_SELECT
        && entry.rtekind == pg_sys::RTEKind::RTE_RELATION
        && entry.relid == places.named
        && !entry.inh;
    if !ours {
        return;
    }
    // What the policies call is planned on its own.
    IN_PLACE_OF.set(None);
    if places.part != places.named {
        // SAFETY: the caller of `allowed` holds both locks.
        let named = unsafe { pg_sys::table_open(places.named, pg_sys::NoLock as i32) };
        // SAFETY: as above.
        let part = unsafe { pg_sys::table_open(places.part, pg_sys::NoLock as i32) };
        // SAFETY: conditions over the first entry of the range table, which is the named table; errors pass through as
        // unwinding.
        entry.securityQuals = unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| map_partition_varattnos(entry.securityQuals, 1, part, named))
        };
        // SAFETY: an open relation.
        entry.relkind = unsafe { (*(*part).rd_rel).relkind };
        entry.relid = places.part;
        for relation in [part, named] {
            // SAFETY: opened above.
            unsafe { pg_sys::table_close(relation, pg_sys::NoLock as i32) };
        }
    }
    // The system column that it returns would need the privilege on all columns.
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        entry.requiredPerms = 0;
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        // SAFETY: a list of the entries' privileges.
        let privileges = unsafe { PgList::<pg_sys::RTEPermissionInfo>::from_pg(query.rteperminfos) };
        let place = (entry.perminfoindex as usize).checked_sub(1);
        let info = place.and_then(|place| privileges.get_ptr(place)).expect("invariant: a relation has privileges");
        // SAFETY: an element of the list.
        let info = unsafe { &mut *info };
        info.relid = entry.relid;
        info.requiredPerms = 0;
    }
}
