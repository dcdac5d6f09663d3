//! `ambuild`: the heap is streamed into segments, which become visible with the transaction that builds the index.
//! Nothing of a segment goes into PostgreSQL's log (architecture 4, "Bulk work").
//!
//! Every build starts a new life with a new incarnation. What an earlier life left (REINDEX, TRUNCATE, a rewrite of the table)
//! stays until the maintenance worker sees that no metapage names it any more: a rollback makes it the present one again.

use super::columns::Columns;
use super::metapage::Metapage;
use super::relation::Rel;
use super::{key, options};
use crate::compaction::{Figures, Limits, max_rows, pack};
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, EntryOrder, Key, NamespaceId, Op};
use crate::ipc::message::{
    BufferedEntry, CompactInput, CompactRequest, FlushRequest, NamespaceView, ProvidedEntry, Request,
};
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::client::{Needs, Provided};
use crate::pg::compaction::Started;
use crate::pg::error::OrRaise;
use crate::pg::namespace;
use crate::pg::snapshot::top_transaction_id;
use crate::pg::view::in_this_database;
use crate::pg::{engine_call, gucs, preload, xact};
use crate::segment_info::SegmentInfo;
use pgrx::pg_sys;
use std::collections::HashMap;
use std::ffi::{c_char, c_void};

/// Most rows of one segment: ordinals are 32 bits, and the engine holds all of one segment in memory while it builds it.
const MAX_SEGMENT_ROWS: usize = 500_000;
/// Least memory of a build, whatever the settings say: below this every segment would hold a handful of rows.
const MIN_BUILD_BYTES: usize = 1 << 20;
/// Bytes that a row takes beside its payload while it waits for its segment.
const ROW_OVERHEAD: usize = size_of::<BufferedEntry>() + size_of::<ProvidedEntry>() + 16;
/// Phases in `pg_stat_progress_create_index`.
const PHASE_SCANNING: i64 = 2;
const PHASE_SEGMENT: i64 = 3;
const PHASE_MERGING: i64 = 4;

/// PostgreSQL's `ambuildphasename`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambuildphasename(phase: i64) -> *mut c_char {
    let name = match phase {
        1 => c"initializing",
        PHASE_SCANNING => c"reading rows",
        PHASE_SEGMENT => c"building a segment",
        PHASE_MERGING => c"merging segments",
        _ => return std::ptr::null_mut(),
    };
    name.as_ptr().cast_mut()
}

/// PostgreSQL's `ambuild`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambuild(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: PostgreSQL holds both open during the build.
    let open_heap = unsafe { Rel::new(heap) };
    // SAFETY: as above.
    let open_index = unsafe { Rel::new(index) };
    // SAFETY: written by PostgreSQL at start.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        // The files of the old cluster replace what is written here.
        Metapage::new(NamespaceId([0; 16])).write(open_index);
        return result(0.0, 0.0);
    }
    preload::require();
    xact::register();
    // SAFETY: PostgreSQL's own argument.
    refuse_exclusion(unsafe { &*info }).or_raise();
    let mut build = Build::begin(open_heap, open_index).or_raise();
    // SAFETY: the arguments of this very call; the callback gets the state it expects.
    let heap_tuples = unsafe { scan_heap(heap, index, info, &mut build) };
    let rows = build.finish().or_raise();
    result(heap_tuples, rows as f64)
}

/// PostgreSQL's `ambuildempty`, called for the init fork of an unlogged index.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    // SAFETY: PostgreSQL holds it open during the call.
    refuse_unlogged(unsafe { Rel::new(index) }).or_raise();
}

fn result(heap_tuples: f64, index_tuples: f64) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: zeroed memory of the current context.
    let result = unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexBuildResult>()) }.cast::<pg_sys::IndexBuildResult>();
    // SAFETY: just allocated.
    unsafe { result.write(pg_sys::IndexBuildResult { heap_tuples, index_tuples }) };
    result
}

/// # Safety
/// PostgreSQL's own arguments of `ambuild`.
unsafe fn scan_heap(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    build: &mut Build,
) -> f64 {
    // SAFETY: an open relation.
    let table_am = unsafe { (*heap).rd_tableam };
    // SAFETY: every relation with storage has a table access method.
    let scan = unsafe { (*table_am).index_build_range_scan };
    let scan = scan.expect("invariant: a table access method builds indexes");
    let state: *mut c_void = (&raw mut *build).cast();
    // SAFETY: as `table_index_build_scan` calls it; the callback gets the state it expects.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            scan(
                heap,
                index,
                info,
                true,
                false,
                true,
                0,
                pg_sys::InvalidBlockNumber,
                Some(each_row),
                state,
                std::ptr::null_mut(),
            )
        })
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn each_row(
    _index: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // SAFETY: what `scan_heap` handed over; the scan is the only user.
    let build = unsafe { &mut *state.cast::<Build>() };
    // SAFETY: a row of the index.
    let document = build.in_row(|columns| unsafe { columns.document(values, nulls) }).or_raise();
    // SAFETY: a valid tid: that of the chain's root.
    build.add(key::of_tid(unsafe { *tid }), &document).or_raise();
}

/// A build in progress.
struct Build {
    row: NamespaceRow,
    columns: Columns,
    index: Rel,
    memory: pgrx::PgMemoryContexts,
    root: String,
    path: String,
    budget: usize,
    xid: u64,
    buffered: Vec<BufferedEntry>,
    payloads: HashMap<EntryId, Vec<u8>>,
    bytes: usize,
    rows: u64,
    /// Segments and their statistics; nothing refers to them before the end.
    written: Vec<(SegmentInfo, String)>,
}

impl Build {
    fn begin(heap: Rel, index: Rel) -> Result<Self> {
        refuse_unlogged(index)?;
        refuse_encoding()?;
        let columns = Columns::of(index)?;
        let id = namespace::random_id()?;
        let mut schema = columns.schema();
        if let Some(vector) = &mut schema.vector {
            vector.lists = options::lists(index);
        }
        let row = NamespaceRow {
            tid: pg_sys::ItemPointerData::default(),
            id,
            name: id.to_string(),
            kind: catalog::KIND_INDEX,
            // SAFETY: an open relation.
            owner: unsafe { (*(*heap.ptr()).rd_rel).relowner },
            relation: index.oid(),
            schema: schema.to_stored(),
            options: "{}".to_string(),
            format: catalog::CATALOG_FORMAT,
            generation: 1,
            manifest_generation: 0,
            watermark: 0,
            created_at: catalog::now(),
        };
        // An index that cannot be searched would be worse than none: the engine must be there before anything is written.
        Metapage::new(id).write(index);
        progress(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, PHASE_SCANNING);
        Ok(Self {
            path: namespace::object_path(id),
            root: gucs::storage_root()?,
            budget: budget(),
            xid: top_transaction_id(),
            memory: pgrx::PgMemoryContexts::new("elacsym build row"),
            row,
            columns,
            index,
            buffered: Vec::new(),
            payloads: HashMap::new(),
            bytes: 0,
            rows: 0,
            written: Vec::new(),
        })
    }

    /// Runs `work` in a memory context that is reset for each row: detoasted values must not pile up.
    fn in_row<T>(&mut self, work: impl FnOnce(&Columns) -> T) -> T {
        // SAFETY: nothing outlives `work` in that context.
        unsafe { self.memory.reset() };
        let columns = &self.columns;
        // SAFETY: a context of ours.
        unsafe { self.memory.switch_to(|_| work(columns)) }
    }

    fn add(&mut self, key: Key, document: &Document) -> Result<()> {
        // SAFETY: no arguments; not in recovery.
        let seq = unsafe { pg_sys::GetXLogInsertRecPtr() };
        let id = EntryId { key, order: EntryOrder { seq, xid: self.xid } };
        let payload = document.encode();
        self.bytes += payload.len() + ROW_OVERHEAD;
        self.buffered.push(BufferedEntry { id, op: Op::Upsert });
        self.payloads.insert(id, payload);
        if self.bytes >= self.budget || self.buffered.len() >= MAX_SEGMENT_ROWS {
            self.write_segment()?;
        }
        Ok(())
    }

    fn write_segment(&mut self) -> Result<()> {
        if self.buffered.is_empty() {
            return Ok(());
        }
        progress(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, PHASE_SEGMENT);
        let buffered = std::mem::take(&mut self.buffered);
        let rows = buffered.len() as u64;
        let request = Request::Flush(Box::new(FlushRequest {
            namespace: NamespaceView {
                id: in_this_database(self.row.id),
                schema: self.row.schema.clone(),
                // Every tid comes once, so nothing in earlier segments of this build is superseded.
                segments: Vec::new(),
                buffered,
                tombstones: None,
            },
            root: self.root.clone(),
            path: self.path.clone(),
            pin_keys: true,
        }));
        let payloads = std::mem::take(&mut self.payloads);
        let result = engine_call::flushed(&request, Rows(payloads))?;
        gucs::fault_point("build.after_upload");
        let info = result.segment.ok_or_else(|| Error::internal("the engine built no segment of new rows"))?;
        self.written.push((info, result.stats));
        self.bytes = 0;
        self.rows += rows;
        progress(pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, self.rows.cast_signed());
        progress(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, PHASE_SCANNING);
        Ok(())
    }

    /// What was written, in as few segments as the maintenance worker would make of it in the end: every search pays for each.
    fn merged(&mut self) -> Result<Vec<(SegmentInfo, String)>> {
        let mut segments = std::mem::take(&mut self.written);
        let figures: Vec<Figures> = segments
            .iter()
            .map(|(info, _)| Figures { rows: info.rows, bytes: info.bytes(), ..Figures::default() })
            .collect();
        let limits = Limits { flush_rows: 1, max_rows: max_rows(gucs::build_memory() as u64), complete: 0 };
        let mut merged = Vec::new();
        let mut replaced = vec![false; segments.len()];
        for group in pack(&figures, &limits) {
            progress(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, PHASE_MERGING);
            let inputs: Vec<SegmentInfo> = group.iter().map(|at| segments[*at].0.clone()).collect();
            match self.merge(&inputs) {
                Ok(segment) => merged.push(segment),
                // Without room on the engine's disk the worker does it later.
                Err(error) if error.kind == ErrorKind::Exhausted => continue,
                Err(error) => return Err(error),
            }
            group.iter().for_each(|at| replaced[*at] = true);
        }
        let mut replaced = replaced.into_iter();
        segments.retain(|_| !replaced.next().unwrap_or_default());
        segments.extend(merged);
        Ok(segments)
    }

    /// Makes one segment of these.
    fn merge(&self, segments: &[SegmentInfo]) -> Result<(SegmentInfo, String)> {
        let input = |info: &SegmentInfo| CompactInput { info: info.clone(), delete_vector: Vec::new(), forget: false };
        let request = CompactRequest {
            schema: self.row.schema.clone(),
            inputs: segments.iter().map(input).collect(),
            root: self.root.clone(),
            path: self.path.clone(),
            pin_keys: true,
        };
        let rows = segments.iter().map(|info| info.rows).sum();
        let request = Request::Compact(Box::new(request));
        let result = Started::begin(&request, self.row.id, rows)?.drive(|_| ())?;
        gucs::fault_point("build.after_merge");
        let info = result.segment.ok_or_else(|| Error::internal("the engine merged segments into none"))?;
        let keys = segments.iter().flat_map(SegmentInfo::object_keys).collect();
        // What stays for whatever reason is found by the search for orphans.
        let _ = engine_call::done(&Request::DeleteObjects { root: self.root.clone(), keys });
        Ok((info, result.stats))
    }

    /// Writes what is left; returns the number of rows.
    fn finish(mut self) -> Result<u64> {
        self.write_segment()?;
        let segments = self.merged()?;
        let stored_bytes = segments.iter().map(|(info, _)| info.bytes()).sum();
        for (info, stats) in segments {
            catalog::insert_segment(self.row.id, info, self.row.generation, stats)?;
        }
        catalog::insert_namespace(&self.row)?;
        let meta = Metapage { entries: self.rows, bytes: stored_bytes, ..Metapage::new(self.row.id) };
        meta.write(self.index);
        xact::mark_written();
        // SAFETY: inside a transaction, in no parallel mode: what follows in this command must see the rows.
        unsafe { pg_sys::CommandCounterIncrement() };
        xact::new_epoch();
        Ok(self.rows)
    }
}

/// The rows of one segment, for the engine to ask for.
struct Rows(HashMap<EntryId, Vec<u8>>);

impl Needs for Rows {
    fn provide(&mut self, entries: &[EntryId], _: &[String]) -> Result<Provided> {
        let mut provided = Vec::with_capacity(entries.len());
        for id in entries {
            // Kept: the request is asked again if the engine is restarted.
            let payload = self.0.get(id).cloned().ok_or_else(|| {
                Error::internal(format!("the engine asked for entry {id:?}, which is not part of the request"))
            })?;
            provided.push(ProvidedEntry { id: *id, payload });
        }
        Ok(Provided { entries: provided, delete_vectors: Vec::new() })
    }
}

/// Bytes of rows that a build collects: `elacsym.build_memory`, at most `maintenance_work_mem`.
fn budget() -> usize {
    // SAFETY: a plain global, in kilobytes.
    let maintenance = usize::try_from(unsafe { pg_sys::maintenance_work_mem }).unwrap_or(0) << 10;
    // Half: while a segment is sent, its rows are there twice.
    (maintenance.min(gucs::build_memory()) / 2).max(MIN_BUILD_BYTES)
}

fn progress(parameter: u32, value: i64) {
    // SAFETY: plain numbers; does nothing when nobody watches.
    unsafe { pg_sys::pgstat_progress_update_param(parameter as i32, value) };
}

/// Crash recovery empties an unlogged index and keeps what belongs to it elsewhere; a temporary one is invisible to the
/// worker that flushes.
fn refuse_unlogged(index: Rel) -> Result<()> {
    // SAFETY: an open relation.
    let persistence = unsafe { (*(*index.ptr()).rd_rel).relpersistence } as u8;
    let what = match persistence {
        pg_sys::RELPERSISTENCE_PERMANENT => return Ok(()),
        pg_sys::RELPERSISTENCE_TEMP => "temporary",
        _ => "unlogged",
    };
    Err(Error::new(ErrorKind::Invalid, format!("an elacsym index cannot be built on a {what} table"))
        .with_hint("Use a permanent, logged table."))
}

/// Such a constraint would look through the index for rows that are not committed yet, which a scan of ours cannot see.
fn refuse_exclusion(info: &pg_sys::IndexInfo) -> Result<()> {
    if info.ii_ExclusionOps.is_null() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "an elacsym index cannot enforce an exclusion constraint")
        .with_hint("Use an index of method gist or btree for the constraint."))
}

fn refuse_encoding() -> Result<()> {
    // SAFETY: no arguments.
    if unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as i32 {
        return Ok(());
    }
    Err(Error::invalid("an elacsym index needs a database with encoding UTF8"))
}
