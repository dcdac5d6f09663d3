//! What the session's last search cost in the engine.

use crate::ipc::message::RequestStats;
use std::cell::Cell;

thread_local! {
    static LAST: Cell<Option<RequestStats>> = const { Cell::new(None) };
}

/// Remembers the figures of a search; a later batch of the same scan replaces them with the scan's sum.
pub fn record(stats: RequestStats) {
    LAST.set(Some(stats));
}

/// The figures of the last search, if there was one.
pub fn last() -> Option<RequestStats> {
    LAST.get()
}
