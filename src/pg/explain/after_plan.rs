//! Before PostgreSQL 18: figures after the plan, one group for each scan.
//!
//! No hook is called while the plan is printed, but `ExplainOnePlan` ends the executor before it closes the group of the query:
//! an `ExecutorEnd` hook still has the scans, and prints where anything that follows the plan is printed. It learns which
//! EXPLAIN prints the query from an `ExplainOneQuery` hook, which changes nothing. `EXPLAIN EXECUTE` calls no such hook.

use super::{figures_of, print, text, wanted};
use crate::pg::am::scan::Figures;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

static mut PREVIOUS: pg_sys::ExplainOneQuery_hook_type = None;
static mut PREVIOUS_END: pg_sys::ExecutorEnd_hook_type = None;

thread_local! {
    /// Every EXPLAIN (ANALYZE, VERBOSE) under way, the innermost last: a function may run one inside another. An error jumps
    /// over the hook that added one; then the end of its memory takes it out.
    static UNDER_WAY: RefCell<Vec<*mut pg_sys::ExplainState>> = const { RefCell::new(Vec::new()) };
}

/// \[postmaster\] Installs the hooks.
pub fn install() {
    // SAFETY: the postmaster is single-threaded and still starting.
    unsafe {
        PREVIOUS = pg_sys::ExplainOneQuery_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::ExplainOneQuery_hook = Some(explain_one_query);
    }
    // SAFETY: as above.
    unsafe {
        PREVIOUS_END = pg_sys::ExecutorEnd_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::ExecutorEnd_hook = Some(executor_end);
    }
}

unsafe extern "C-unwind" {
    // Not pgrx' wrappers, which catch an error and raise it anew with a few of its fields.
    #[link_name = "standard_ExecutorEnd"]
    fn raw_standard_executor_end(query: *mut pg_sys::QueryDesc);

    #[cfg(feature = "pg17")]
    #[link_name = "standard_ExplainOneQuery"]
    fn standard_explain_one_query(
        query: *mut pg_sys::Query,
        cursor_options: i32,
        into: *mut pg_sys::IntoClause,
        es: *mut pg_sys::ExplainState,
        source: *const c_char,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
    );

    #[cfg(not(feature = "pg17"))]
    #[link_name = "pg_plan_query"]
    fn raw_pg_plan_query(
        query: *mut pg_sys::Query,
        source: *const c_char,
        cursor_options: i32,
        parameters: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;

    #[cfg(not(feature = "pg17"))]
    #[link_name = "ExplainOnePlan"]
    fn raw_explain_one_plan(
        statement: *mut pg_sys::PlannedStmt,
        into: *mut pg_sys::IntoClause,
        es: *mut pg_sys::ExplainState,
        source: *const c_char,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        planning: *const pg_sys::instr_time,
        buffers: *const pg_sys::BufferUsage,
    );

    // In the bindings under this name from 16 on, and not at all before.
    #[cfg_attr(any(feature = "pg14", feature = "pg15"), link_name = "planstate_tree_walker")]
    #[cfg_attr(not(any(feature = "pg14", feature = "pg15")), link_name = "planstate_tree_walker_impl")]
    fn raw_planstate_tree_walker(
        node: *mut pg_sys::PlanState,
        walker: unsafe extern "C-unwind" fn(*mut pg_sys::PlanState, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
}

/// Not guarded, and without anything to drop: an error of the statement jumps over this frame untouched.
unsafe extern "C-unwind" fn explain_one_query(
    query: *mut pg_sys::Query,
    cursor_options: i32,
    into: *mut pg_sys::IntoClause,
    es: *mut pg_sys::ExplainState,
    source: *const c_char,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
) {
    // SAFETY: an EXPLAIN that is about to run its query.
    let wanted = unsafe { wanted(es) };
    if wanted {
        // SAFETY: as above.
        unsafe { begin(es) };
    }
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS }.unwrap_or(standard_explain_one_query);
    // SAFETY: PostgreSQL's own arguments, for the hook that was there before us or for what it would have done itself.
    unsafe { next(query, cursor_options, into, es, source, parameters, environment) };
    if wanted {
        end(es);
    }
}

/// What PostgreSQL does without the hook; a function of its own only from 17 on. As the hook, without anything to drop.
///
/// # Safety
/// As PostgreSQL's function.
#[cfg(not(feature = "pg17"))]
unsafe extern "C-unwind" fn standard_explain_one_query(
    query: *mut pg_sys::Query,
    cursor_options: i32,
    into: *mut pg_sys::IntoClause,
    es: *mut pg_sys::ExplainState,
    source: *const c_char,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
) {
    // SAFETY: a variable of this process.
    let buffers_before = unsafe { pg_sys::pgBufferUsage };
    let start = std::time::Instant::now();
    // SAFETY: the caller's contract.
    let statement = unsafe { raw_pg_plan_query(query, source, cursor_options, parameters) };
    let planning = instr_time(start.elapsed());
    let mut buffers = pg_sys::BufferUsage::default();
    // SAFETY: counters of this process; it raises no error.
    unsafe {
        pg_sys::BufferUsageAccumDiff(&raw mut buffers, &raw const pg_sys::pgBufferUsage, &raw const buffers_before)
    };
    // SAFETY: the caller's contract.
    let buffers = if unsafe { (*es).buffers } { &raw const buffers } else { std::ptr::null() };
    // SAFETY: the caller's contract.
    unsafe { raw_explain_one_plan(statement, into, es, source, parameters, environment, &raw const planning, buffers) }
}

/// A duration as PostgreSQL counts it.
#[cfg(any(feature = "pg14", feature = "pg15"))]
fn instr_time(duration: std::time::Duration) -> pg_sys::instr_time {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    pg_sys::instr_time { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// A duration as PostgreSQL counts it.
#[cfg(feature = "pg16")]
fn instr_time(duration: std::time::Duration) -> pg_sys::instr_time {
    pg_sys::instr_time { ticks: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}

/// An EXPLAIN of ours runs its query.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn begin(es: *mut pg_sys::ExplainState) {
    // SAFETY: `NewExplainState` allocates it.
    let memory = unsafe { pg_sys::GetMemoryChunkContext(es.cast()) };
    // SAFETY: zeroed memory that lives as long as the EXPLAIN.
    let callback = unsafe { pg_sys::MemoryContextAllocZero(memory, size_of::<pg_sys::MemoryContextCallback>()) };
    let callback = callback.cast::<pg_sys::MemoryContextCallback>();
    // SAFETY: just allocated.
    unsafe { (*callback).func = Some(forget) };
    // SAFETY: as above.
    unsafe { (*callback).arg = es.cast() };
    // SAFETY: lives in that memory itself.
    unsafe { pg_sys::MemoryContextRegisterResetCallback(memory, callback) };
    UNDER_WAY.with_borrow_mut(|all| all.push(es));
}

/// Its query has run.
fn end(es: *mut pg_sys::ExplainState) {
    UNDER_WAY.with_borrow_mut(|all| {
        if let Some(place) = all.iter().rposition(|other| *other == es) {
            all.remove(place);
        }
    });
}

/// Its memory goes, perhaps because of an error.
unsafe extern "C-unwind" fn forget(es: *mut c_void) {
    UNDER_WAY.with_borrow_mut(|all| all.retain(|other| *other != es.cast()));
}

/// Not guarded, and without anything to drop: an error of the statement jumps over this frame untouched.
unsafe extern "C-unwind" fn executor_end(query: *mut pg_sys::QueryDesc) {
    // SAFETY: a query whose executor is about to end.
    if let Some(es) = unsafe { printer_of(query) } {
        // SAFETY: as above.
        unsafe { print_all(query, es) };
    }
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS_END }.unwrap_or(raw_standard_executor_end);
    // SAFETY: PostgreSQL's own argument, for the hook that was there before us or for its own function.
    unsafe { next(query) }
}

/// The EXPLAIN that has just printed the plan of this very query.
///
/// # Safety
/// `query` must be a query whose executor has not ended.
unsafe fn printer_of(query: *mut pg_sys::QueryDesc) -> Option<*mut pg_sys::ExplainState> {
    // SAFETY: the caller's contract.
    let statement = unsafe { (*query).plannedstmt };
    // SAFETY: what is in the list has not been freed. Printing the plan sets the field; a plan outlives its EXPLAIN.
    UNDER_WAY.with_borrow(|all| all.iter().copied().find(|es| unsafe { (**es).pstmt } == statement))
}

/// Prints the figures of every scan of the query, in the order of the plan, into the group of the query.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn print_all(query: *mut pg_sys::QueryDesc, es: *mut pg_sys::ExplainState) {
    let mut found: Vec<Scan> = Vec::new();
    // SAFETY: the executor has not ended; errors become unwinding, which drops the list.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| collect((*query).planstate, (&raw mut found).cast())) };
    if found.is_empty() {
        return;
    }
    let group = c"Elacsym Scans".as_ptr();
    // SAFETY: an EXPLAIN that is being printed.
    unsafe { pg_sys::ExplainOpenGroup(group, group, false, es) };
    for scan in &found {
        // SAFETY: as above.
        unsafe { scan.print(es) };
    }
    // SAFETY: opened above.
    unsafe { pg_sys::ExplainCloseGroup(group, group, false, es) };
}

/// A scan that did something.
struct Scan {
    node: *mut pg_sys::PlanState,
    index: pg_sys::Oid,
    figures: Figures,
}

/// Adds the scans at and below a node. Not guarded: errors jump over these frames, which have nothing to drop.
unsafe extern "C-unwind" fn collect(node: *mut pg_sys::PlanState, found: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: a node of a query whose executor has not ended.
    if let Some((scan, figures)) = unsafe { figures_of(node) } {
        // SAFETY: the executor holds the index open.
        let index = unsafe { (*(*scan).indexRelation).rd_id };
        // SAFETY: the list that `print_all` hands over.
        unsafe { (*found.cast::<Vec<Scan>>()).push(Scan { node, index, figures }) };
    }
    // SAFETY: as above.
    unsafe { raw_planstate_tree_walker(node, collect, found) }
}

impl Scan {
    /// # Safety
    /// `es` must be an EXPLAIN that has printed the plan with this node.
    unsafe fn print(&self, es: *mut pg_sys::ExplainState) {
        // SAFETY: a node of the executor has a plan, and those of either kind start as a scan of a table.
        let number = unsafe { (*(*self.node).plan.cast::<pg_sys::Scan>()).scanrelid };
        let place = i32::try_from(number).unwrap_or(0) - 1;
        // SAFETY: the caller's contract.
        let pg_sys::ExplainState { rtable, rtable_names, format, .. } = unsafe { *es };
        // SAFETY: the range table of the plan.
        let entry = unsafe { pg_sys::list_nth(rtable, place) }.cast::<pg_sys::RangeTblEntry>();
        // SAFETY: an entry for a table.
        let table = unsafe { (*entry).relid };
        // SAFETY: the names of its entries, as the plan shows them.
        let alias = unsafe { pg_sys::list_nth(rtable_names, place) }.cast::<c_char>();
        // SAFETY: any oid, here and below; null if there is no such relation.
        let index = unsafe { pg_sys::get_rel_name(self.index) };
        // SAFETY: as above.
        let schema = unsafe { pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table)) };
        // SAFETY: as above.
        let relation = unsafe { pg_sys::get_rel_name(table) };
        // SAFETY: null or C strings of the current memory context.
        let names = [index, schema, relation, alias].map(|text| unsafe { name(text) });
        let in_text = format == pg_sys::ExplainFormat::EXPLAIN_FORMAT_TEXT;
        let group = c"Elacsym Scan".as_ptr();
        // SAFETY: the caller's contract.
        unsafe { pg_sys::ExplainOpenGroup(group, std::ptr::null(), true, es) };
        if in_text {
            let [index, schema, relation, alias] = names.map(quoted);
            let mut title = format!("{index} on {schema}.{relation}");
            if alias != relation {
                title.push(' ');
                title.push_str(&alias);
            }
            // SAFETY: the caller's contract.
            unsafe { text(es, c"Elacsym Scan", &title) };
        } else {
            let labels = [c"Index Name", c"Schema", c"Relation Name", c"Alias"];
            for (label, value) in labels.into_iter().zip(names) {
                // SAFETY: the caller's contract.
                unsafe { pg_sys::ExplainPropertyText(label.as_ptr(), value.as_ptr(), es) };
            }
        }
        // SAFETY: the caller's contract: in text a group indents nothing by itself.
        unsafe { (*es).indent += i32::from(in_text) };
        // SAFETY: the caller's contract.
        unsafe { print(es, &self.figures) };
        // SAFETY: as above.
        unsafe { (*es).indent -= i32::from(in_text) };
        // SAFETY: opened above.
        unsafe { pg_sys::ExplainCloseGroup(group, std::ptr::null(), true, es) };
    }
}

/// # Safety
/// `name` must be null or a C string that outlives the result.
unsafe fn name<'a>(name: *const c_char) -> &'a CStr {
    // SAFETY: the caller's contract.
    if name.is_null() { c"" } else { unsafe { CStr::from_ptr(name) } }
}

fn quoted(name: &CStr) -> String {
    // SAFETY: a C string.
    let quoted = unsafe { pg_sys::quote_identifier(name.as_ptr()) };
    // SAFETY: a C string of the current memory context, or the one from above.
    unsafe { CStr::from_ptr(quoted) }.to_string_lossy().into_owned()
}
