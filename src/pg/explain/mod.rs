//! What index scans did, in `EXPLAIN (ANALYZE, VERBOSE)`: under the node of the scan where PostgreSQL has a hook for it (18),
//! else after the plan, scan by scan.

#[cfg(not(feature = "pg18"))]
mod after_plan;
#[cfg(feature = "pg18")]
mod per_node;

use super::am::scan::{self, Figures};
use super::search_log;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// Digits behind the point: a hundredth of what the cheapest request costs.
const PRICE_DIGITS: i32 = 8;

/// \[postmaster\] Installs the hooks; called once, from `_PG_init`, when preloaded.
pub fn install() {
    #[cfg(feature = "pg18")]
    per_node::install();
    #[cfg(not(feature = "pg18"))]
    after_plan::install();
}

/// Whether figures exist and are asked for.
///
/// # Safety
/// `es` must be an EXPLAIN under way.
unsafe fn wanted(es: *const pg_sys::ExplainState) -> bool {
    // SAFETY: the caller's contract.
    let es = unsafe { &*es };
    es.analyze && es.verbose
}

/// The scan of a node of the executor, and what it did; `None` unless it is one of ours that asked the engine.
///
/// # Safety
/// `node` must be a node of a query whose executor has not ended.
unsafe fn figures_of(node: *mut pg_sys::PlanState) -> Option<(pg_sys::IndexScanDesc, Figures)> {
    // SAFETY: every node starts with its tag.
    let scan = match unsafe { (*node).type_ } {
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_IndexScanState => unsafe { (*node.cast::<pg_sys::IndexScanState>()).iss_ScanDesc },
        // SAFETY: the tag says so.
        pg_sys::NodeTag::T_BitmapIndexScanState => unsafe {
            (*node.cast::<pg_sys::BitmapIndexScanState>()).biss_ScanDesc
        },
        _ => return None,
    };
    // SAFETY: null until the node is first executed, and open until the executor ends.
    unsafe { scan::figures(scan) }.map(|figures| (scan, figures))
}

/// Prints the properties of one scan into the group that is open.
///
/// # Safety
/// `es` must be an EXPLAIN that is being printed.
unsafe fn print(es: *mut pg_sys::ExplainState, figures: &Figures) {
    let figures = figures.total();
    let search_log::Figures { searches, fetched, cost, .. } = figures;
    // SAFETY: the caller's contract.
    let pg_sys::ExplainState { format, timing, .. } = unsafe { *es };
    if format == pg_sys::ExplainFormat::EXPLAIN_FORMAT_TEXT {
        // SAFETY: the caller's contract.
        unsafe { text(es, c"Elacsym", &figures.found()) };
        // SAFETY: as above.
        unsafe { text(es, c"Elacsym I/O", &figures.read()) };
    } else {
        let properties = [
            (c"Elacsym Searches", searches),
            (c"Elacsym Segments", cost.segments),
            (c"Elacsym Lists Probed", cost.lists_probed),
            (c"Elacsym Candidates", cost.rows_scanned),
            (c"Elacsym Candidates Reranked", cost.rows_reranked),
            (c"Elacsym Buffered Rows", cost.buffered),
            (c"Elacsym Rows Fetched", fetched),
            (c"Elacsym Object Requests", cost.object_requests),
            (c"Elacsym Object Bytes", cost.object_bytes),
            (c"Elacsym Cache Hits", cost.cache_hits),
            (c"Elacsym Cache Misses", cost.cache_misses),
        ];
        for (label, value) in properties {
            // SAFETY: the caller's contract; C strings.
            unsafe { pg_sys::ExplainPropertyUInteger(label.as_ptr(), std::ptr::null(), value, es) };
        }
        let price = figures.price();
        // SAFETY: as above.
        unsafe {
            pg_sys::ExplainPropertyFloat(c"Elacsym Estimated Cost".as_ptr(), std::ptr::null(), price, PRICE_DIGITS, es)
        };
    }
    // As PostgreSQL's own times, which TIMING OFF leaves out.
    if timing {
        let millis = cost.engine_micros as f64 / 1000.0;
        // SAFETY: the caller's contract; C strings.
        unsafe { pg_sys::ExplainPropertyFloat(c"Elacsym Engine Time".as_ptr(), c"ms".as_ptr(), millis, 3, es) };
    }
}

/// Prints a property that is text.
///
/// # Safety
/// `es` must be an EXPLAIN that is being printed.
unsafe fn text(es: *mut pg_sys::ExplainState, label: &CStr, value: &str) {
    let value = CString::new(value).expect("invariant: names and numbers hold no NUL");
    // SAFETY: the caller's contract; C strings, which PostgreSQL copies.
    unsafe { pg_sys::ExplainPropertyText(label.as_ptr(), value.as_ptr(), es) };
}
