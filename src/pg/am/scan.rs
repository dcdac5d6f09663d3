//! Index scans: `ambeginscan` to `amendscan`. Rows come from a scan that the engine holds open, in batches that double, until
//! the executor stops asking (pitfalls 1).
//!
//! Nothing starts before the first row is asked for. The engine returns every key once and in order; if it is restarted in
//! the middle, the scan starts anew and leaves out what it has returned.

use super::columns::{Columns, Kind, vector_of};
use super::open_scans::{self, OpenScan};
use super::quals::{self, Quals};
use super::relation::Rel;
use super::view::with_view;
use super::{corpus, cost, effort, key, page};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ids::{Key, NamespaceId};
use crate::ipc::message::{Request, ScanOrder, ScanRequest, ScanRow, TextQuery};
use crate::pg::client::{self, Reply};
use crate::pg::error::OrRaise;
use crate::pg::query_stats::{self, Cost};
use crate::pg::{counters, preload, search_log, whole_answer, xact};
use pgrx::pg_sys;
use std::collections::{HashSet, VecDeque};
use std::time::Instant;

/// Rows of the first batch when the planner saw no LIMIT.
const FIRST_ROWS: u32 = 32;
/// Most rows of one batch: keeps what is fetched ahead of a LIMIT that nobody told us of bounded.
const MOST_ROWS: u32 = 4096;

/// State of one scan, in the executor's memory context.
#[derive(Default)]
struct State {
    /// Set by the first row after `amrescan`.
    running: Option<Running>,
    figures: Figures,
    /// Set by the first view of the index.
    incarnation: Option<NamespaceId>,
    /// The beginning of the statement, if it may be logged: at the end of a scan it may not be known any more.
    statement: Option<String>,
}

/// What a scan did, from `ambeginscan` on and over all rescans.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// How often the engine was asked for the first rows: once for each rescan that asked for a row, and again if it was
    /// restarted in the middle.
    pub searches: u64,
    /// Rows that the engine returned; more than the executor took if it stopped within a batch.
    pub fetched: u64,
    /// What the searches cost together.
    pub cost: Cost,
    /// Time that the session spent on asking and waiting, in microseconds.
    micros: u64,
}

impl Figures {
    /// All of it.
    pub fn total(&self) -> search_log::Figures {
        let Self { searches, fetched, cost, micros } = *self;
        search_log::Figures { searches, fetched, cost: cost.total(), micros }
    }
}

/// What a scan of ours did until now; `None` for a scan of another access method, or if the engine was never asked.
///
/// # Safety
/// `scan` must be null or a scan that has not ended.
pub unsafe fn figures(scan: pg_sys::IndexScanDesc) -> Option<Figures> {
    // SAFETY: as the caller says.
    let desc = unsafe { scan.as_ref() }?;
    // SAFETY: the executor holds the index open for the scan.
    let methods = unsafe { &*(*desc.indexRelation).rd_indam };
    let ours = methods.amgettuple.is_some_and(|f| std::ptr::fn_addr_eq(f, amgettuple as AmGetTuple));
    if !ours {
        return None;
    }
    // SAFETY: set by `ambeginscan`; the memory is the executor's and outlives `amendscan`.
    let state = unsafe { desc.opaque.cast::<State>().as_ref() }?;
    (state.figures.searches > 0).then_some(state.figures)
}

type AmGetTuple = unsafe extern "C-unwind" fn(pg_sys::IndexScanDesc, pg_sys::ScanDirection::Type) -> bool;

/// A scan that has started.
struct Running {
    order: ScanOrder,
    quals: Quals,
    effort: f32,
    /// `None` once the engine has returned everything, or the connection is lost.
    open: Option<OpenScan>,
    exhausted: bool,
    ready: VecDeque<ScanRow>,
    /// What was returned, in case the engine is restarted.
    returned: Vec<Key>,
    /// Returned before the present opening of the scan.
    skip: HashSet<Key>,
    next_rows: u32,
    heap_blocks: u32,
    /// Of this scan, and of its openings before a restart of the engine.
    cost: Cost,
}

/// PostgreSQL's `ambeginscan`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambeginscan(
    index: pg_sys::Relation,
    keys: i32,
    order_keys: i32,
) -> pg_sys::IndexScanDesc {
    preload::require();
    xact::register();
    // SAFETY: PostgreSQL's own arguments.
    let scan = unsafe { pg_sys::RelationGetIndexScan(index, keys, order_keys) };
    let state = pgrx::PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(State::default());
    // SAFETY: just allocated.
    let desc = unsafe { &mut *scan };
    desc.opaque = state.cast();
    if order_keys > 0 {
        let count = order_keys.cast_unsigned() as usize;
        // SAFETY: memory of the current context, which lives as long as the scan.
        desc.xs_orderbyvals = unsafe { pg_sys::palloc0(count * size_of::<pg_sys::Datum>()) }.cast();
        // SAFETY: as above.
        desc.xs_orderbynulls = unsafe { pg_sys::palloc0(count * size_of::<bool>()) }.cast();
    }
    scan
}

/// PostgreSQL's `amrescan`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amrescan(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    key_count: i32,
    order_keys: pg_sys::ScanKey,
    order_count: i32,
) {
    // SAFETY: PostgreSQL's own argument.
    let desc = unsafe { &mut *scan };
    // SAFETY: set by `ambeginscan`.
    let state = unsafe { &mut *desc.opaque.cast::<State>() };
    state.running = None;
    // NULL means: the same keys as before.
    if !keys.is_null() && key_count > 0 {
        // SAFETY: both arrays have that many elements; they may be the same array.
        unsafe { std::ptr::copy(keys, desc.keyData, key_count.cast_unsigned() as usize) };
    }
    if !order_keys.is_null() && order_count > 0 {
        // SAFETY: as above.
        unsafe { std::ptr::copy(order_keys, desc.orderByData, order_count.cast_unsigned() as usize) };
    }
}

/// PostgreSQL's `amendscan`. The state itself goes with its memory context.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: set by `ambeginscan`.
    let state = unsafe { &mut *(*scan).opaque.cast::<State>() };
    state.running = None;
    let figures = state.figures.total();
    if let Some(id) = state.incarnation.take().filter(|_| figures.searches > 0) {
        counters::charge(id, figures.searches, figures.micros, &figures.cost);
        // There may be no snapshot any more, so the catalog is not asked.
        // SAFETY: the executor holds the index open until after this.
        let index = unsafe { Rel::new((*scan).indexRelation) };
        let statement = state.statement.take();
        search_log::ended("index scan", &figures, || index.name(), || statement);
    }
}

/// PostgreSQL's `amgettuple`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amgettuple(
    scan: pg_sys::IndexScanDesc,
    direction: pg_sys::ScanDirection::Type,
) -> bool {
    if direction != pg_sys::ScanDirection::ForwardScanDirection {
        Err(Error::internal("an elacsym index cannot be scanned backwards")).or_raise()
    }
    // SAFETY: PostgreSQL's own argument.
    let desc = unsafe { &mut *scan };
    // SAFETY: a scan of ours.
    let row = unsafe { next_row(desc) }.or_raise();
    let Some(row) = row else { return false };
    desc.xs_heaptid = key::to_tid(row.key);
    desc.xs_recheckorderby = false;
    if desc.numberOfOrderBys > 0 {
        // SAFETY: allocated by `ambeginscan` for at least one key.
        unsafe { *desc.xs_orderbynulls = row.value.is_none() };
        let value = f64::from(row.value.unwrap_or(0.0));
        // SAFETY: as above; float8 is passed by value.
        unsafe { *desc.xs_orderbyvals = pg_sys::Datum::from(value.to_bits()) };
    }
    true
}

/// PostgreSQL's `amgetbitmap`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amgetbitmap(scan: pg_sys::IndexScanDesc, bitmap: *mut pg_sys::TIDBitmap) -> i64 {
    // SAFETY: PostgreSQL's own argument.
    let desc = unsafe { &mut *scan };
    let mut rows = 0;
    // SAFETY: a scan of ours.
    while let Some(row) = unsafe { next_row(desc) }.or_raise() {
        let mut tid = key::to_tid(row.key);
        // SAFETY: one tid; `xs_recheck` was set by `next_row`.
        unsafe { pg_sys::tbm_add_tuples(bitmap, &raw mut tid, 1, desc.xs_recheck) };
        rows += 1;
    }
    rows
}

/// # Safety
/// `desc` must be a scan begun by [`ambeginscan`].
unsafe fn next_row(desc: &mut pg_sys::IndexScanDescData) -> Result<Option<ScanRow>> {
    // SAFETY: set by `ambeginscan`.
    let state = unsafe { &mut *desc.opaque.cast::<State>() };
    let State { running, figures, incarnation, statement } = state;
    if running.is_none() {
        if statement.is_none() && search_log::is_on() {
            *statement = search_log::statement();
        }
        // SAFETY: as the caller says.
        let started = unsafe { Running::start(desc) }?;
        #[cfg(feature = "pg18")]
        if !started.exhausted {
            count_search(desc);
        }
        *running = Some(started);
    }
    let running = running.as_mut().expect("invariant: started above");
    desc.xs_recheck = running.quals.recheck;
    loop {
        if let Some(row) = running.ready.pop_front() {
            // A tid beyond the heap's end at the start cannot be visible: a defence against stale entries (pitfalls 3.10).
            if key::block(row.key) >= running.heap_blocks || running.skip.contains(&row.key) {
                continue;
            }
            running.returned.push(row.key);
            return Ok(Some(row));
        }
        if running.exhausted {
            return Ok(None);
        }
        // SAFETY: the executor holds it open for the scan.
        running.fetch(unsafe { Rel::new(desc.indexRelation) }, figures, incarnation)?;
    }
}

impl Running {
    /// # Safety
    /// `desc` must be a scan begun by [`ambeginscan`], with its keys set.
    unsafe fn start(desc: &pg_sys::IndexScanDescData) -> Result<Self> {
        refuse_dirty_snapshot(desc.xs_snapshot)?;
        // SAFETY: the executor holds it open for the scan.
        let index = unsafe { Rel::new(desc.indexRelation) };
        let columns = Columns::of(index)?;
        // SAFETY: `numberOfKeys` elements, filled by `amrescan`.
        let keys = unsafe { slice(desc.keyData, desc.numberOfKeys) };
        // SAFETY: keys of this index.
        let quals = unsafe { quals::translate(&columns, keys) }?;
        // SAFETY: as above.
        let order_keys = unsafe { slice(desc.orderByData, desc.numberOfOrderBys) };
        // SAFETY: keys of this index.
        let order = unsafe { order(&columns, order_keys) }?;
        // Neither keys nor order: everything. The planner makes a bitmap scan of an ordered scan of a partial index.
        let never = order_keys.is_empty() && quals.filter == Some(Filter::Or(Vec::new()));
        let heap_blocks = if desc.heapRelation.is_null() {
            u32::MAX
        } else {
            // SAFETY: as above.
            page::blocks(unsafe { Rel::new(desc.heapRelation) })
        };
        // Read to its end, a scan must be in exact order; batches of an approximate one are so only in themselves.
        let all = whole_answer::wanted();
        let effort = if all { f32::INFINITY } else { effort::of(index) };
        let rows = if all { MOST_ROWS } else { cost::limit_hint(index).unwrap_or(FIRST_ROWS) };
        pgstat_count(index);
        Ok(Self {
            order,
            quals,
            effort,
            open: None,
            exhausted: never,
            ready: VecDeque::new(),
            returned: Vec::new(),
            skip: HashSet::new(),
            next_rows: rows.clamp(1, MOST_ROWS),
            // The engine's snapshot is taken after this, but rows beyond are younger than the query's.
            heap_blocks,
            cost: Cost::default(),
        })
    }

    /// Gets the next batch.
    fn fetch(&mut self, index: Rel, figures: &mut Figures, incarnation: &mut Option<NamespaceId>) -> Result<()> {
        let start = Instant::now();
        let reply = match &self.open {
            Some(open) => open.next(self.next_rows)?,
            None => None,
        };
        let reply = match reply {
            Some(reply) => reply,
            None => {
                self.open = None;
                self.skip = self.returned.iter().copied().collect();
                let reply = self.open_anew(index, incarnation)?;
                self.cost.opened();
                figures.cost.opened();
                figures.searches += 1;
                reply
            }
        };
        let Reply::ScanRows { scan, rows, exhausted, stats } = reply else {
            return Err(Error::internal(format!("the engine answered \"{}\" instead of rows", reply.name())));
        };
        self.cost.reported(stats);
        query_stats::record(self.cost.total());
        figures.cost.reported(stats);
        figures.fetched += rows.len() as u64;
        figures.micros += counters::micros_since(start);
        if exhausted {
            open_scans::ended(self.open.take());
        } else if self.open.is_none() {
            self.open = Some(OpenScan::new(scan));
        }
        self.exhausted = exhausted;
        self.ready.extend(rows);
        self.next_rows = self.next_rows.saturating_mul(2).min(MOST_ROWS);
        Ok(())
    }

    fn open_anew(&self, index: Rel, incarnation: &mut Option<NamespaceId>) -> Result<Reply> {
        with_view(index, |view| {
            *incarnation = Some(view.view.id);
            self.check_dimension(view)?;
            let request = Request::ScanOpen(Box::new(ScanRequest {
                namespace: view.message(),
                order: self.order.clone(),
                filter: self.quals.filter.clone(),
                effort: self.effort,
                rows: self.next_rows,
                close: open_scans::take_pending(),
            }));
            client::call(&request, view)
        })
    }

    /// The schema the index was built with must still be the one its columns give: otherwise a new build is needed.
    fn check_dimension(&self, view: &super::view::IndexView) -> Result<()> {
        let ScanOrder::Distance { vector } = &self.order else { return Ok(()) };
        match view.schema.vector {
            Some(schema) if schema.dim == vector.len() => Ok(()),
            _ => Err(Error::new(ErrorKind::TypeMismatch, "the index was built with another number of dimensions")
                .with_hint("Run REINDEX on the index.")),
        }
    }
}

/// # Safety
/// `start` must have `count` elements.
unsafe fn slice<'a>(start: pg_sys::ScanKey, count: i32) -> &'a [pg_sys::ScanKeyData] {
    match usize::try_from(count) {
        Ok(count) if count > 0 && !start.is_null() => {
            // SAFETY: as the caller says.
            unsafe { std::slice::from_raw_parts(start, count) }
        }
        _ => &[],
    }
}

/// # Safety
/// `keys` must be the order keys of a scan of an index with these columns.
unsafe fn order(columns: &Columns, keys: &[pg_sys::ScanKeyData]) -> Result<ScanOrder> {
    let Some(key) = keys.first() else { return Ok(ScanOrder::Unordered) };
    if keys.len() > 1 {
        return Err(Error::internal("an elacsym index orders by one operator only"));
    }
    let is_null = key.sk_flags.cast_unsigned() & pg_sys::SK_ISNULL != 0;
    if is_null {
        // The distance to NULL is NULL for every row: any order is right.
        return Ok(ScanOrder::Unordered);
    }
    let place = usize::try_from(key.sk_attno - 1).unwrap_or(usize::MAX);
    match columns.columns.get(place).map(|column| &column.kind) {
        Some(Kind::Vector { half, .. }) => {
            // SAFETY: the operators of the vector classes take values of the column's type.
            let vector = unsafe { vector_of(key.sk_argument, *half) }?;
            columns.check_vector(&vector).map_err(|error| {
                let Error { message, .. } = error;
                // What pgvector's operator says when the executor meets two such vectors.
                Error::new(ErrorKind::TypeMismatch, format!("different vector dimensions: {message}"))
            })?;
            Ok(ScanOrder::Distance { vector })
        }
        Some(Kind::Text(_)) => {
            // SAFETY: the operators of the text class take text or bm25query.
            let (query, named) = unsafe { quals::query_text(columns.index, key) }?.ok_or_else(|| {
                Error::invalid("the query goes by another index than the one it is ordered with")
                    .with_hint("Name the index to go by: body <@> elacsym.bm25query('words', 'index_name').")
            })?;
            let attribute = super::columns::attribute_id(place);
            let text = TextQuery::of_attribute(attribute, query);
            let corpus = corpus::of_whole(named, &text)?;
            Ok(ScanOrder::Bm25 { attribute, query: text.query, corpus })
        }
        _ => Err(Error::internal("an elacsym index cannot order by this column")),
    }
}

/// Entries are found by a snapshot of our own, later than the query's; a snapshot that sees uncommitted rows of others
/// would need them too (pitfalls 1.14).
fn refuse_dirty_snapshot(snapshot: pg_sys::Snapshot) -> Result<()> {
    // SAFETY: the scan's snapshot, or none for a bitmap scan that has not got one yet.
    match unsafe { snapshot.as_ref() } {
        Some(snapshot)
            if snapshot.snapshot_type != pg_sys::SnapshotType::SNAPSHOT_MVCC
                && snapshot.snapshot_type != pg_sys::SnapshotType::SNAPSHOT_HISTORIC_MVCC =>
        {
            Err(Error::internal("an elacsym index can only be scanned with an MVCC snapshot"))
        }
        _ => Ok(()),
    }
}

/// Counts the scan in `pg_stat_all_indexes`.
fn pgstat_count(index: Rel) {
    // SAFETY: an open relation.
    let relation = unsafe { &mut *index.ptr() };
    // PostgreSQL's `pgstat_should_count_relation`: the counters are attached by whoever counts first after a report.
    #[cfg(not(feature = "pg14"))]
    if relation.pgstat_info.is_null() && relation.pgstat_enabled {
        // SAFETY: an open relation, of the kind that is counted.
        unsafe { pg_sys::pgstat_assoc_relation(index.ptr()) };
    }
    // SAFETY: null when counting is off.
    let Some(info) = (unsafe { relation.pgstat_info.as_mut() }) else { return };
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        info.t_counts.t_numscans += 1;
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        info.counts.numscans += 1;
    }
}

/// Counts the search for "Index Searches" of EXPLAIN, which PostgreSQL 18 prints itself, those of parallel workers included.
#[cfg(feature = "pg18")]
fn count_search(desc: &pg_sys::IndexScanDescData) {
    // SAFETY: null unless the executor counts; else it lives as long as the scan.
    if let Some(instrument) = unsafe { desc.instrument.as_mut() } {
        instrument.nsearches += 1;
    }
}
