//! The column that an index scan is ordered by is not computed where nobody reads it.
//!
//! `SELECT id FROM t ORDER BY embedding <=> $1 LIMIT 10` gets the distance as a hidden column of the scan, which PostgreSQL computes again for
//! each row, although the index has ordered the rows and the column is thrown away: detoasting ten vectors was half of the instructions of such
//! a query, and for `<@>` each row was a question to the engine. A planner hook puts NULL in its place.

use super::am::access::is_ours;
use pgrx::{PgList, pg_sys};
use std::ffi::c_char;

static mut PREVIOUS: pg_sys::planner_hook_type = None;

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
}

/// Not guarded, and without anything to drop: an error of the planner jumps over this frame untouched.
unsafe extern "C-unwind" fn planner(
    query: *mut pg_sys::Query,
    text: *const c_char,
    cursor_options: i32,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS }.unwrap_or(raw_standard_planner);
    // SAFETY: PostgreSQL's own arguments, for the hook that was there before us or for its own function.
    let statement = unsafe { next(query, text, cursor_options, parameters) };
    // SAFETY: a plan that nobody else has yet.
    unsafe { look(statement) };
    statement
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn look(statement: *mut pg_sys::PlannedStmt) {
    // SAFETY: the planner's result.
    let statement = unsafe { &*statement };
    if statement.commandType == pg_sys::CmdType::CMD_SELECT {
        // SAFETY: the root of a plan, whose hidden columns nobody reads: a cursor, or a scan that is read to its end.
        unsafe { without_order_column(statement.planTree) };
    }
    // SAFETY: a plan.
    unsafe { below(statement.planTree) };
    // SAFETY: the plans of subqueries.
    unsafe { each(statement.subplans) };
}

/// # Safety
/// `list` must be null or a list of plans.
unsafe fn each(list: *mut pg_sys::List) {
    // SAFETY: the caller's contract.
    for plan in unsafe { PgList::<pg_sys::Plan>::from_pg(list) }.iter_ptr() {
        // SAFETY: an element of the list; null is none.
        unsafe { below(plan) };
    }
}

/// Looks for LIMIT, above which only columns that the query returns are read.
///
/// # Safety
/// `plan` must be null or a plan. Plans are as deep as the statement's nesting, which the parser has bounded.
unsafe fn below(plan: *mut pg_sys::Plan) {
    // SAFETY: the caller's contract.
    let Some(node) = (unsafe { plan.as_ref() }) else { return };
    match node.type_ {
        pg_sys::NodeTag::T_Limit => {
            // SAFETY: the tag says so.
            let limit = unsafe { &*plan.cast::<pg_sys::Limit>() };
            // WITH TIES compares the column.
            if limit.limitOption != pg_sys::LimitOption::LIMIT_OPTION_WITH_TIES {
                // SAFETY: a child of the plan.
                unsafe { without_order_column(node.lefttree) };
            }
        }
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_Append => unsafe { each((*plan.cast::<pg_sys::Append>()).appendplans) },
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_MergeAppend => unsafe { each((*plan.cast::<pg_sys::MergeAppend>()).mergeplans) },
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_SubqueryScan => unsafe { below((*plan.cast::<pg_sys::SubqueryScan>()).subplan) },
        _ => {}
    }
    // SAFETY: a child of the plan.
    unsafe { below(node.lefttree) };
    // SAFETY: as above.
    unsafe { below(node.righttree) };
}

/// # Safety
/// `plan` must be null or a plan whose hidden columns nobody reads.
unsafe fn without_order_column(plan: *mut pg_sys::Plan) {
    // SAFETY: the caller's contract.
    let Some(node) = (unsafe { plan.as_ref() }) else { return };
    if node.type_ != pg_sys::NodeTag::T_IndexScan {
        return;
    }
    // SAFETY: the tag says so.
    let scan = unsafe { &*plan.cast::<pg_sys::IndexScan>() };
    // SAFETY: null or a list of expressions.
    let orders = unsafe { PgList::<pg_sys::Node>::from_pg(scan.indexorderbyorig) };
    if orders.is_empty() || !is_ours(scan.indexid) {
        return;
    }
    // SAFETY: a list of the plan's columns.
    for column in unsafe { PgList::<pg_sys::TargetEntry>::from_pg(node.targetlist) }.iter_ptr() {
        // SAFETY: an element of the list, which is this plan's own.
        let column = unsafe { &mut *column };
        let expression: *mut pg_sys::Node = column.expr.cast();
        // SAFETY: two valid expressions.
        let is_order = orders.iter_ptr().any(|order| unsafe { pg_sys::equal(order.cast(), expression.cast()) });
        // SAFETY: a valid expression.
        if column.resjunk && is_order && unsafe { pg_sys::exprType(expression) } == pg_sys::FLOAT8OID {
            // SAFETY: allocated in the context of the plan, which is the current one.
            column.expr = unsafe { pg_sys::makeNullConst(pg_sys::FLOAT8OID, -1, pg_sys::InvalidOid) }.cast();
        }
    }
}
