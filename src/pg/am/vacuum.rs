//! `ambulkdelete` and `amvacuumcleanup`: VACUUM reads without trusting its own snapshot and writes without a transaction
//! id (pitfalls 3).

use super::metapage::Metapage;
use super::relation::Rel;
use super::{key, tombstones};
use crate::error::{Error, Result};
use crate::ids::{EntryId, Key};
use crate::ipc::message::{KeysRequest, NamespaceView, Request, Tombstone};
use crate::pg::client::{self, Needs, Provided, Reply};
use crate::pg::engine_call::Source;
use crate::pg::error::OrRaise;
use crate::pg::heap_table::Name;
use crate::pg::locks::{self, Mode, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::view::View;
use crate::pg::{buffer_table, catalog, gucs, preload, xact};
use pgrx::pg_sys;
use std::collections::BTreeSet;
use std::ffi::c_void;

/// Keys between two looks at interrupts and at VACUUM's cost limit.
const DELAY_EVERY: usize = 1024;

/// PostgreSQL's `ambulkdelete`: asks `callback` about every entry and leaves tombstones for the dead ones.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambulkdelete(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    state: *mut c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    preload::require();
    // SAFETY: PostgreSQL's own argument.
    let index = unsafe { Rel::new((*info).index) };
    let keys = entries(index).or_raise();
    let mut dead = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let mut tid = key::to_tid(*key);
        if let Some(ask) = callback {
            // SAFETY: VACUUM's or CREATE INDEX CONCURRENTLY's own function and state; it raises errors as C does.
            let is_dead = unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| ask(&raw mut tid, state)) };
            if is_dead {
                dead.push(*key);
            }
        }
        if i.is_multiple_of(DELAY_EVERY) {
            delay();
        }
    }
    // After the last look at an entry: what reuses a slot from now on gets a greater seq.
    // SAFETY: no arguments; VACUUM does not run in recovery.
    let seq = unsafe { pg_sys::GetXLogInsertRecPtr() };
    if !dead.is_empty() {
        let dead: Vec<Tombstone> = dead.iter().map(|key| Tombstone { key: *key, seq }).collect();
        let lock = Target::Publish(Metapage::read(index).or_raise().incarnation);
        locks::lock(lock, Mode::Exclusive).or_raise();
        gucs::fault_point("vacuum.before_append");
        tombstones::append(index, &dead).or_raise();
        gucs::fault_point("vacuum.after_append");
        locks::unlock(lock, Mode::Exclusive).or_raise();
        // The maintenance worker folds them into delete vectors.
        xact::mark_written();
    }
    let stats = allocated(stats);
    // SAFETY: just allocated, or handed over by PostgreSQL.
    let result = unsafe { &mut *stats };
    result.num_index_tuples = (keys.len() - dead.len()) as f64;
    result.tuples_removed += dead.len() as f64;
    stats
}

/// PostgreSQL's `amvacuumcleanup`: notes the planner's figures.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amvacuumcleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: PostgreSQL's own argument.
    let info = unsafe { &*info };
    // SAFETY: open during VACUUM.
    let index = unsafe { Rel::new(info.index) };
    if info.analyze_only || stats.is_null() {
        // Nothing was looked at; the figures of the last time stay.
        return std::ptr::null_mut();
    }
    // SAFETY: what `ambulkdelete` returned.
    let result = unsafe { &mut *stats };
    result.num_pages = super::page::blocks(index);
    let mut meta = Metapage::read(index).or_raise();
    let segments = catalog::segments(meta.incarnation, &Snapshot::fresh(Name::Wal.oid().or_raise())).or_raise();
    meta.entries = result.num_index_tuples as u64;
    meta.bytes = segments.iter().map(|segment| segment.info.bytes()).sum();
    meta.write(index);
    stats
}

fn allocated(stats: *mut pg_sys::IndexBulkDeleteResult) -> *mut pg_sys::IndexBulkDeleteResult {
    if stats.is_null() {
        // SAFETY: zeroed memory of the current context is a valid result.
        return unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexBulkDeleteResult>()) }.cast();
    }
    stats
}

fn delay() {
    #[cfg(feature = "pg18")]
    // SAFETY: sleeps if VACUUM must; looks at interrupts.
    unsafe {
        pg_sys::vacuum_delay_point(false)
    };
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as above.
    unsafe {
        pg_sys::vacuum_delay_point()
    };
}

/// Every key that has an entry: of the buffer physically, whoever wrote it (an entry may be committed later and outlive
/// its slot, pitfalls 2.e), then of the segments. Buffer first: what is flushed in between is found twice, not never.
fn entries(index: Rel) -> Result<BTreeSet<Key>> {
    xact::register();
    let meta = Metapage::read(index)?;
    let buffered = buffer_table::read(meta.incarnation, 0, &Snapshot::any(), None)?;
    let mut keys: BTreeSet<Key> = buffered.rows.iter().map(|row| row.entry.id.key).collect();
    // VACUUM's snapshot does not keep rows from being pruned, so nobody may replace a segment's row while it is read.
    let lock = Target::Publish(meta.incarnation);
    locks::lock(lock, Mode::Share)?;
    // Again: the tombstone log may have been trimmed before.
    let meta = Metapage::read(index)?;
    let mut segments = Segments::read(index, &meta)?;
    if !segments.view.segments.is_empty() {
        let request = Request::Keys(Box::new(KeysRequest { namespace: segments.message(), checksums: false }));
        match client::call(&request, &mut segments)? {
            Reply::Keys(found) => keys.extend(found.iter().map(|info| info.id.key)),
            other => return Err(Error::internal(format!("the engine answered \"{}\" instead of keys", other.name()))),
        }
    }
    drop(segments);
    locks::unlock(lock, Mode::Share)?;
    Ok(keys)
}

/// The segments without the buffer.
struct Segments {
    view: View,
    meta: Metapage,
    index: Rel,
    snapshot: Snapshot,
}

impl Segments {
    fn read(index: Rel, meta: &Metapage) -> Result<Self> {
        let snapshot = Snapshot::fresh(Name::Wal.oid()?);
        let row = super::view::namespace_row(index, meta.incarnation, &snapshot)?;
        let view = View::without_buffer(row.id, row.schema, &snapshot)?;
        Ok(Self { view, meta: *meta, index, snapshot })
    }

    fn message(&self) -> NamespaceView {
        let tombstones = (self.meta.tombstones.count > 0).then_some(self.meta.tombstones);
        NamespaceView { tombstones, ..self.view.message() }
    }
}

impl Needs for Segments {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        Source { view: &self.view, snapshot: &self.snapshot }.read(entries, delete_vectors)
    }

    fn tombstones(&mut self) -> Result<Vec<Tombstone>> {
        tombstones::read(self.index, self.meta.tombstones)
    }
}
