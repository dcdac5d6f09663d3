//! `aminsert`: one entry in the write buffer for each new row version (architecture 4, "Write path").

use super::columns::Columns;
use super::key;
use super::metapage::Metapage;
use super::relation::Rel;
use crate::error::Result;
use crate::ids::{NamespaceId, Op};
use crate::pg::buffer_table::Writer;
use crate::pg::error::OrRaise;
use crate::pg::preload;
use pgrx::pg_sys;

/// What one statement needs to know of the index it writes to.
struct Target {
    incarnation: NamespaceId,
    columns: Columns,
}

/// PostgreSQL's `aminsert`.
#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn aminsert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    heap_tid: pg_sys::ItemPointer,
    _heap: pg_sys::Relation,
    _check_unique: pg_sys::IndexUniqueCheck::Type,
    _index_unchanged: bool,
    info: *mut pg_sys::IndexInfo,
) -> bool {
    preload::require();
    // SAFETY: PostgreSQL's own arguments.
    unsafe { insert(index, values, nulls, heap_tid, info) }.or_raise();
    false
}

/// # Safety
/// PostgreSQL's own arguments of `aminsert`.
unsafe fn insert(
    index: pg_sys::Relation,
    values: *const pg_sys::Datum,
    nulls: *const bool,
    heap_tid: pg_sys::ItemPointer,
    info: *mut pg_sys::IndexInfo,
) -> Result<()> {
    // SAFETY: the statement's own info.
    let target = unsafe { target(index, info) }?;
    // SAFETY: a row of this index.
    let payload = unsafe { target.columns.document(values, nulls) }?.encode();
    // SAFETY: a valid tid.
    let key = key::of_tid(unsafe { *heap_tid });
    Writer::open(target.incarnation)?.append(key, Op::Upsert, &payload)
}

/// Found once for each statement and remembered in its `ii_AmCache`.
///
/// # Safety
/// `info` must be valid, `index` open.
unsafe fn target<'a>(index: pg_sys::Relation, info: *mut pg_sys::IndexInfo) -> Result<&'a Target> {
    // SAFETY: as the caller says.
    let info = unsafe { &mut *info };
    if info.ii_AmCache.is_null() {
        // SAFETY: PostgreSQL holds it open for the statement.
        let index = unsafe { Rel::new(index) };
        let target = Target { incarnation: Metapage::read(index)?.incarnation, columns: Columns::of(index)? };
        let mut context = pgrx::PgMemoryContexts::For(info.ii_Context);
        info.ii_AmCache = context.leak_and_drop_on_delete(target).cast();
    }
    // SAFETY: set above, by this statement; it lives as long as `info` does.
    Ok(unsafe { &*info.ii_AmCache.cast::<Target>() })
}
