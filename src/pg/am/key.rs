//! Heap tids as keys: block and offset in one integer, in the heap's order.

use crate::ids::Key;
use pgrx::pg_sys;

/// The key of a tid.
pub fn of_tid(tid: pg_sys::ItemPointerData) -> Key {
    let (block, offset) = pgrx::itemptr::item_pointer_get_both(tid);
    (Key::from(block) << 16) | Key::from(offset)
}

/// The tid of a key.
pub fn to_tid(key: Key) -> pg_sys::ItemPointerData {
    let mut tid = pg_sys::ItemPointerData::default();
    pgrx::itemptr::item_pointer_set_all(&mut tid, (key >> 16) as u32, (key & 0xffff) as u16);
    tid
}

/// The heap block of a key.
pub fn block(key: Key) -> u32 {
    (key >> 16) as u32
}
