//! Verification: what the heap says should be in an index, against what is.
//!
//! Writers go on meanwhile, so the order of looks decides (pitfalls 2, 3.15). First a snapshot and every row it sees, then the state of
//! the index: whatever the snapshot sees has an entry in the later state. An entry whose row the snapshot does not see belongs to
//! a row that is newer or dead, as long as its place in the heap is in use; if it is not, a second look at the index decides,
//! because VACUUM writes a tombstone before it frees a place. Keys and checksums of all rows are held in memory: about 40
//! bytes each on both sides.

use super::access::OpenIndex;
use super::columns::Columns;
use super::heap_rows::HeapRows;
use super::key;
use super::page::{self, Place};
use super::relation::Rel;
use super::view::{IndexView, namespace_row, with_view};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, Key};
use crate::ipc::message::{KeyInfo, KeysRequest, Request};
use crate::pg::client::{self, Reply};
use crate::pg::engine_call;
use crate::pg::error::OrRaise;
use crate::pg::heap_table::Name;
use crate::pg::snapshot::Snapshot;
use crate::pg::{catalog, xact};
use crate::schema::NamespaceSchema;
use pgrx::pg_sys;
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;

/// Keys between two looks at interrupts.
const INTERRUPT_EVERY: usize = 1024;

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Which kind: `missing entry`, `stale entry`, `different values`, `checksum`, `catalog`.
    pub problem: &'static str,
    /// The row or entry, if it is about one.
    pub key: Option<Key>,
    /// What is wrong.
    pub detail: String,
}

impl Problem {
    fn of_row(problem: &'static str, key: Key, detail: impl Into<String>) -> Self {
        Self { problem, key: Some(key), detail: detail.into() }
    }

    fn of_index(problem: &'static str, detail: impl Into<String>) -> Self {
        Self { problem, key: None, detail: detail.into() }
    }
}

/// Compares everything that belongs to an index. Damage is an answer; what prevents a look (no engine, no storage) is an
/// error.
///
/// # Errors
/// Of the engine and its storage, and those of index expressions.
pub fn verify(open: &OpenIndex) -> Result<Vec<Problem>> {
    xact::register();
    let columns = Columns::of(open.index)?;
    let snapshot = Snapshot::fresh(Name::Wal.oid()?);
    let rows = rows_of_heap(open, columns.clone(), &snapshot)?;
    let mut problems = Vec::new();
    let looked = with_view(open.index, |view| {
        let mut found = check_catalog(open.index, view, &columns.schema())?;
        found.extend(check_segments(view)?);
        let keys = keys_of(view, true);
        Ok((found, keys))
    });
    // What cannot be read cannot be compared, and is a problem by itself.
    let Some((found, keys)) = noted(looked, &mut problems)? else { return Ok(problems) };
    let (mut of_keys, mut compared) = (Vec::new(), Vec::new());
    if let Some(keys) = noted(keys, &mut of_keys)? {
        compared = compare(open, &snapshot, rows, &keys)?;
    }
    // The same damage, met twice, is one problem.
    of_keys.retain(|problem| !found.contains(problem));
    problems.extend(found.into_iter().chain(of_keys).chain(compared));
    Ok(problems)
}

/// Damage becomes a problem; other errors stay errors.
fn noted<T>(result: Result<T>, problems: &mut Vec<Problem>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == ErrorKind::Corrupt => {
            problems.push(Problem::of_index("checksum", error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn check_catalog(index: Rel, view: &IndexView, now: &NamespaceSchema) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let row = namespace_row(index, view.view.id, &Snapshot::fresh(Name::Wal.oid()?))?;
    // Not its oid: ALTER COLUMN TYPE without a rewrite gives the index another one.
    if row.kind != catalog::KIND_INDEX {
        problems.push(Problem::of_index("catalog", format!("incarnation {} is not that of an index", row.id)));
    }
    if !same_columns(&view.schema, now) {
        problems
            .push(Problem::of_index("catalog", "the index was built with other columns or options than it has now"));
    }
    Ok(problems)
}

/// Names may change without a new build.
fn same_columns(stored: &NamespaceSchema, now: &NamespaceSchema) -> bool {
    let nameless = |schema: &NamespaceSchema| {
        let mut schema = schema.clone();
        schema.attributes.iter_mut().for_each(|attribute| attribute.name.clear());
        // Nor does the number of lists say anything about what is in them.
        if let Some(vector) = &mut schema.vector {
            vector.lists = None;
        }
        schema.attributes.sort_unstable_by_key(|attribute| attribute.id);
        schema
    };
    nameless(stored) == nameless(now)
}

/// Every byte of every segment.
fn check_segments(view: &IndexView) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for segment in &view.view.segments {
        let info = Box::new(segment.info.clone());
        let request = Request::CheckSegment { schema: view.view.stored_schema.clone(), info };
        noted(engine_call::done(&request), &mut problems)?;
    }
    Ok(problems)
}

fn keys_of(view: &mut IndexView, checksums: bool) -> Result<Vec<KeyInfo>> {
    let request = Request::Keys(Box::new(KeysRequest { namespace: view.message(), checksums }));
    match client::call(&request, view)? {
        Reply::Keys(keys) => Ok(keys),
        other => Err(Error::internal(format!("the engine answered \"{}\" instead of keys", other.name()))),
    }
}

fn compare(
    open: &OpenIndex,
    snapshot: &Snapshot,
    mut rows: HashMap<Key, u32>,
    entries: &[KeyInfo],
) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut without_row = Vec::new();
    for entry in entries {
        match rows.remove(&entry.id.key) {
            Some(crc) if crc == entry.crc => {}
            Some(_) => {
                let detail = "the entry's values are not those of the row";
                problems.push(Problem::of_row("different values", entry.id.key, detail));
            }
            None => without_row.push(entry.id),
        }
    }
    problems.extend(rows.keys().map(|key| Problem::of_row("missing entry", *key, "the index has no entry of the row")));
    // In the order of the heap.
    without_row.sort_unstable_by_key(|id| id.key);
    let mut heap_rows = HeapRows::new(open.heap, snapshot.as_ptr());
    let mut homeless: Vec<(EntryId, &str)> = Vec::new();
    let blocks = page::blocks(open.heap);
    for (i, id) in without_row.into_iter().enumerate() {
        let tid = key::to_tid(id.key);
        match page::place(open.heap, tid, blocks) {
            Place::Beyond => homeless.push((id, "the entry points beyond the end of the table")),
            Place::Unused => homeless.push((id, "the entry points to an unused place in the table")),
            Place::HeapOnly => homeless.push((id, "the entry points into the middle of a chain of row versions")),
            Place::Used if heap_rows.visible(id.key).is_some() => {
                let detail = "the entry points to a row that is not one of the index's";
                problems.push(Problem::of_row("stale entry", id.key, detail));
            }
            Place::Used => {}
        }
        if i.is_multiple_of(INTERRUPT_EVERY) {
            pgrx::check_for_interrupts!();
        }
    }
    if !homeless.is_empty() {
        let still: HashSet<EntryId> =
            with_view(open.index, |view| keys_of(view, false))?.into_iter().map(|info| info.id).collect();
        homeless.retain(|(id, _)| still.contains(id));
        problems.extend(homeless.into_iter().map(|(id, detail)| Problem::of_row("stale entry", id.key, detail)));
    }
    problems.sort_by_key(|problem| problem.key);
    Ok(problems)
}

/// What a scan of the heap collects.
struct Collected {
    columns: Columns,
    memory: pgrx::PgMemoryContexts,
    rows: HashMap<Key, u32>,
}

/// The index's rows that `snapshot` sees, by the tid their entry should have, with the checksum of what it should hold.
fn rows_of_heap(open: &OpenIndex, columns: Columns, snapshot: &Snapshot) -> Result<HashMap<Key, u32>> {
    let mut collected =
        Collected { columns, memory: pgrx::PgMemoryContexts::new("elacsym verified row"), rows: HashMap::new() };
    let _owner = AsOwner::of(open.heap);
    // SAFETY: an open index; the result is of the current memory context.
    let info = unsafe { pg_sys::BuildIndexInfo(open.index.ptr()) };
    // SAFETY: just made. As in a concurrent build: rows of a snapshot; nothing is checked for uniqueness.
    unsafe { (*info).ii_Concurrent = true };
    // SAFETY: an open table and a registered snapshot; the scan below ends it.
    let scan = unsafe {
        pg_sys::table_beginscan_strat(open.heap.ptr(), snapshot.as_ptr(), 0, std::ptr::null_mut(), true, true)
    };
    let state: *mut c_void = (&raw mut collected).cast();
    // SAFETY: open relations; the callback gets the state it expects.
    unsafe {
        pg_sys::table_index_build_scan(
            open.heap.ptr(),
            open.index.ptr(),
            info,
            true,
            false,
            Some(each_row),
            state,
            scan,
        );
    }
    Ok(collected.rows)
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
    // SAFETY: what `rows_of_heap` handed over; the scan is the only user.
    let Collected { columns, memory, rows } = unsafe { &mut *state.cast::<Collected>() };
    // SAFETY: nothing outlives the work below in that context.
    unsafe { memory.reset() };
    // SAFETY: a context of ours; a row of the index.
    let document = unsafe { memory.switch_to(|_| columns.document(values, nulls)) }.or_raise();
    // SAFETY: a valid tid: that of the chain's root.
    rows.insert(key::of_tid(unsafe { *tid }), crc32fast::hash(&document.encode()));
}

/// While it lives, functions in index expressions run as the table's owner and can change nothing of the session, as when the
/// index is built. While an error unwinds, the end of the transaction does what dropping does.
pub struct AsOwner {
    user: pg_sys::Oid,
    context: i32,
    settings: i32,
}

impl AsOwner {
    /// Becomes the owner of a table.
    pub fn of(heap: Rel) -> Self {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: two locals.
        unsafe { pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context) };
        // SAFETY: an open relation.
        let owner = unsafe { (*(*heap.ptr()).rd_rel).relowner };
        // SAFETY: an existing role; undone by `drop` or by the end of the transaction.
        unsafe { pg_sys::SetUserIdAndSecContext(owner, context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32) };
        // SAFETY: no arguments; ended by `drop` or by the end of the transaction.
        let settings = unsafe { pg_sys::NewGUCNestLevel() };
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        // SAFETY: no arguments; undone with the settings.
        unsafe {
            pg_sys::RestrictSearchPath()
        };
        Self { user, context, settings }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the level that `of` began.
            unsafe { pg_sys::AtEOXact_GUC(false, self.settings) };
            // SAFETY: what was there before.
            unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
        }
    }
}
