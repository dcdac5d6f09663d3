//! From a key of the index to the row version that a snapshot sees (pitfalls 6): redirects and HOT chains are followed.

use super::key;
use super::relation::Rel;
use crate::ids::Key;
use pgrx::pg_sys;

/// Fetches visible rows of one table.
pub struct HeapRows {
    fetch: *mut pg_sys::IndexFetchTableData,
    slot: *mut pg_sys::TupleTableSlot,
    routine: *const pg_sys::TableAmRoutine,
    snapshot: pg_sys::Snapshot,
    blocks: u32,
}

impl Drop for HeapRows {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: every table access method has it.
        if let Some(end) = unsafe { (*self.routine).index_fetch_end } {
            // SAFETY: begun by us, ended once.
            unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| end(self.fetch)) };
        }
        // SAFETY: created by us.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}

impl HeapRows {
    /// Rows of an open table that `snapshot` (registered or active) sees.
    pub fn new(heap: Rel, snapshot: pg_sys::Snapshot) -> Self {
        // SAFETY: an open relation.
        let routine = unsafe { (*heap.ptr()).rd_tableam };
        // SAFETY: every table access method has it.
        let begin = unsafe { (*routine).index_fetch_begin }.expect("invariant: a table access method fetches by index");
        // SAFETY: an open relation.
        let fetch = unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| begin(heap.ptr())) };
        // SAFETY: an open relation.
        let slot = unsafe { pg_sys::table_slot_create(heap.ptr(), std::ptr::null_mut()) };
        Self { fetch, slot, routine, snapshot, blocks: super::page::blocks(heap) }
    }

    /// The visible version of the row that the key leads to.
    pub fn visible(&mut self, key: Key) -> Option<VisibleRow<'_>> {
        if key::block(key) >= self.blocks {
            return None;
        }
        let mut tid = key::to_tid(key);
        let (mut again, mut all_dead) = (false, false);
        // SAFETY: every table access method has it.
        let fetch = unsafe { (*self.routine).index_fetch_tuple }.expect("invariant: a table access method fetches");
        // SAFETY: our own fetch, tid and slot, and a live snapshot.
        let found = unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                fetch(self.fetch, &raw mut tid, self.snapshot, self.slot, &raw mut again, &raw mut all_dead)
            })
        };
        // SAFETY: filled by the fetch.
        found.then(|| VisibleRow { tid: unsafe { (*self.slot).tts_tid }, rows: self })
    }
}

/// A visible row, until the next one is fetched.
pub struct VisibleRow<'r> {
    /// Where this version is.
    pub tid: pg_sys::ItemPointerData,
    rows: &'r HeapRows,
}

impl VisibleRow<'_> {
    /// The slot that holds it, until the next one is fetched.
    pub fn slot(&self) -> *mut pg_sys::TupleTableSlot {
        self.rows.slot
    }

    /// The text form of a column (counted from 1); `None` if it is null.
    pub fn text(&self, column: i16) -> Option<String> {
        let wanted = i32::from(column);
        // SAFETY: a filled slot; brings the columns up to this one into its arrays.
        unsafe {
            if i32::from((*self.rows.slot).tts_nvalid) < wanted {
                pg_sys::slot_getsomeattrs_int(self.rows.slot, wanted);
            }
        }
        let place = (column - 1).cast_unsigned() as usize;
        // SAFETY: filled above.
        if unsafe { *(*self.rows.slot).tts_isnull.add(place) } {
            return None;
        }
        // SAFETY: filled above.
        let value = unsafe { *(*self.rows.slot).tts_values.add(place) };
        // SAFETY: the descriptor of the table.
        let kind = unsafe { super::columns::tuple_attribute((*self.rows.slot).tts_tupleDescriptor, place) }.atttypid;
        let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
        // SAFETY: the oid of an existing type.
        unsafe { pg_sys::getTypeOutputInfo(kind, &raw mut output, &raw mut is_varlena) };
        // SAFETY: the output function of the value's type.
        let text = unsafe { pg_sys::OidOutputFunctionCall(output, value) };
        // SAFETY: a C string of the current memory context.
        Some(unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }
}
