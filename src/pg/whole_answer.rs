//! Whether the running statement wants every row. The access method is not told of LIMIT (pitfalls 1.8), but a scan that is
//! going to be read to its end must return rows in exact order, and one that stops after ten must not pay for that.
//!
//! An `ExecutorRun` hook looks at the plan: no row limit from the caller (a cursor has one), and no Limit node anywhere.

use pgrx::pg_sys;
use std::cell::Cell;

static mut PREVIOUS: pg_sys::ExecutorRun_hook_type = None;

thread_local! {
    /// Of the innermost running statement. After an error it is stale until the next statement sets it, before any scan.
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the innermost running statement reads all its rows.
pub fn wanted() -> bool {
    WANTED.get()
}

/// \[postmaster\] Installs the hook; called once, from `_PG_init`, when preloaded.
pub fn install() {
    // SAFETY: the postmaster is single-threaded and still starting.
    unsafe {
        PREVIOUS = pg_sys::ExecutorRun_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::ExecutorRun_hook = Some(executor_run);
    }
}

unsafe extern "C-unwind" {
    // Not pgrx' wrapper, which catches an error and raises it anew with a few of its fields.
    #[link_name = "standard_ExecutorRun"]
    fn raw_standard_executor_run(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        #[cfg(not(feature = "pg18"))] execute_once: bool,
    );
}

/// Not guarded, and without anything to drop: an error of the statement jumps over this frame untouched.
unsafe extern "C-unwind" fn executor_run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    #[cfg(not(feature = "pg18"))] execute_once: bool,
) {
    // SAFETY: a statement that is about to run.
    let wanted = count == 0 && !unsafe { has_limit((*query).plannedstmt) };
    let outer = WANTED.replace(wanted);
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS }.unwrap_or(raw_standard_executor_run);
    // SAFETY: PostgreSQL's own arguments, for the hook that was there before us or for its own function.
    unsafe {
        next(
            query,
            direction,
            count,
            #[cfg(not(feature = "pg18"))]
            execute_once,
        )
    };
    WANTED.set(outer);
}

/// # Safety
/// `statement` must be null or a planned statement.
unsafe fn has_limit(statement: *const pg_sys::PlannedStmt) -> bool {
    // SAFETY: the caller's contract.
    let Some(statement) = (unsafe { statement.as_ref() }) else { return false };
    // SAFETY: the plan of the statement.
    let limited = unsafe { node_has_limit(statement.planTree) };
    // SAFETY: as above.
    limited || unsafe { list_has_limit(statement.subplans) }
}

/// # Safety
/// `list` must be null or a list of plans.
unsafe fn list_has_limit(list: *mut pg_sys::List) -> bool {
    // SAFETY: the caller's contract.
    let length = unsafe { list.as_ref() }.map_or(0, |list| list.length);
    // SAFETY: the place is below the length; an element may be null.
    (0..length).any(|place| unsafe { node_has_limit(pg_sys::list_nth(list, place).cast()) })
}

/// # Safety
/// `plan` must be null or a plan. Plans are as deep as the statement's nesting, which the parser has bounded.
unsafe fn node_has_limit(plan: *mut pg_sys::Plan) -> bool {
    // SAFETY: the caller's contract.
    let Some(node) = (unsafe { plan.as_ref() }) else { return false };
    let below = match node.type_ {
        pg_sys::NodeTag::T_Limit => true,
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_Append => unsafe { list_has_limit((*plan.cast::<pg_sys::Append>()).appendplans) },
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_MergeAppend => unsafe { list_has_limit((*plan.cast::<pg_sys::MergeAppend>()).mergeplans) },
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_SubqueryScan => unsafe { node_has_limit((*plan.cast::<pg_sys::SubqueryScan>()).subplan) },
        _ => false,
    };
    // SAFETY: a child of the plan.
    let below = below || unsafe { node_has_limit(node.lefttree) };
    // SAFETY: as above.
    below || unsafe { node_has_limit(node.righttree) }
}
