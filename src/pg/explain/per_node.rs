//! PostgreSQL 18: figures under the node of the scan, whoever prints the plan.

use super::{figures_of, print};
use pgrx::pg_sys;
use std::ffi::c_char;

static mut PREVIOUS: pg_sys::explain_per_node_hook_type = None;

/// \[postmaster\] Installs the hook.
pub fn install() {
    // SAFETY: the postmaster is single-threaded and still starting.
    unsafe {
        PREVIOUS = pg_sys::explain_per_node_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::explain_per_node_hook = Some(explain_node);
    }
}

/// Not guarded, and without anything to drop: an error of the previous hook jumps over this frame untouched.
unsafe extern "C-unwind" fn explain_node(
    node: *mut pg_sys::PlanState,
    ancestors: *mut pg_sys::List,
    relationship: *const c_char,
    plan_name: *const c_char,
    es: *mut pg_sys::ExplainState,
) {
    // SAFETY: set once, before any backend existed.
    if let Some(previous) = unsafe { PREVIOUS } {
        // SAFETY: PostgreSQL's own arguments for the hook that was there before us.
        unsafe { previous(node, ancestors, relationship, plan_name, es) };
    }
    // SAFETY: an EXPLAIN that is being printed.
    if unsafe { super::wanted(es) } {
        // SAFETY: plans are printed before the executor ends.
        unsafe { print_node(node, es) };
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn print_node(node: *mut pg_sys::PlanState, es: *mut pg_sys::ExplainState) {
    // SAFETY: the caller's contract.
    if let Some((_, figures)) = unsafe { figures_of(node) } {
        // SAFETY: the caller's contract.
        unsafe { print(es, &figures) };
    }
}
