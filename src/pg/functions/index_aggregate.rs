//! Counts and facets over an index: the engine says which rows match, the heap and the policies of the table which of them the
//! caller may see, and their values are aggregated here.

use super::Jsonb;
use super::search::text_query;
use crate::aggregate::{Aggregation, Facet, matching};
use crate::document::Document;
use crate::error::{Error, Result};
use crate::filter::{ExactFilter, Filter, Widened, with_digits};
use crate::ids::Key;
use crate::ipc::message::{Operator, Request, ScanOrder, ScanRequest};
use crate::pg::am::access::OpenIndex;
use crate::pg::am::columns::Columns;
use crate::pg::am::heap_rows::HeapRows;
use crate::pg::am::key;
use crate::pg::am::metapage::Metapage;
use crate::pg::am::open_scans::{self, OpenScan};
use crate::pg::am::recheck::Recheck;
use crate::pg::am::row_values::RowValues;
use crate::pg::am::view::with_view;
use crate::pg::client::{self, Reply};
use crate::pg::query_stats::{self, Cost};
use crate::pg::search_log::{self, Figures};
use crate::pg::snapshot::Snapshot;
use crate::pg::{counters, policies};
use pgrx::pg_sys;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Instant;

/// Keys of one answer of the engine, which are looked up in the heap together, in the order of its pages.
const BATCH: u32 = 16_384;
/// Rows between two looks at interrupts.
const INTERRUPT_EVERY: usize = 1024;
/// How often a leaf is counted anew after the engine was restarted in the middle.
const ATTEMPTS: usize = 3;

/// What to count, of one leaf.
struct Part<'a> {
    named: &'a OpenIndex,
    open: &'a OpenIndex,
    snapshot: &'a Snapshot,
    /// Whether policies of the named table hide rows.
    row_security: bool,
    /// For the engine.
    filter: Option<&'a Filter>,
    /// What must hold for rows besides.
    exact: Option<&'a ExactFilter>,
}

/// Counts the visible rows of an index, or of all leaves of a partitioned one, that match.
///
/// # Errors
/// `Denied` as a SELECT of the indexed columns; those of the arguments, the engine and the facets.
pub fn aggregate(
    named: &OpenIndex,
    facets: Option<&Json>,
    filter: Option<&Jsonb>,
    text: Option<&Json>,
) -> Result<Aggregation> {
    named.check_may_select()?;
    named.check_parts()?;
    named.check_no_foreign_rows()?;
    let row_security = named.has_row_security();
    let columns = Columns::of(named.index)?;
    let schema = columns.schema();
    let facets: Arc<[Facet]> = match facets {
        Some(json) => Facet::parse_all(&schema, json)?.into(),
        None => Arc::new([]),
    };
    let (filter, exact) = match filter {
        Some(json) => {
            let filter = Filter::parse(&schema, &json.parse("filter")?)?;
            let Widened { wide, exact } =
                Widened::new(&filter, &with_digits(&json.0)?, &|attribute| columns.is_numeric(attribute))?;
            (Some(wide), exact)
        }
        None => (None, None),
    };
    let text = text.map(|json| text_query(&schema, json)).transpose()?;
    let filter = matching(
        filter,
        text.as_ref().map(|text| (text.query.as_str(), text.fields.as_slice(), text.operator == Operator::And)),
    );
    let mut all = Aggregation::new(facets.clone());
    let mut cost = Cost::default();
    let start = Instant::now();
    for leaf in named.leaves() {
        let open = OpenIndex::open(leaf, pg_sys::AccessShareLock)?;
        open.check_usable()?;
        let snapshot = Snapshot::statement()?;
        open.lock_predicate(&snapshot);
        let (filter, exact) = (filter.as_ref(), exact.as_ref());
        let part = Part { named, open: &open, snapshot: &snapshot, row_security, filter, exact };
        let (before, began) = (cost.total(), Instant::now());
        all.merge(part.count_anew(&facets, &mut cost)?)?;
        let spent = query_stats::difference(cost.total(), before);
        counters::charge(Metapage::read(open.index)?.incarnation, 1, counters::micros_since(began), &spent);
    }
    let figures =
        Figures { searches: 1, fetched: all.rows(), cost: cost.total(), micros: counters::micros_since(start) };
    search_log::ended("count", &figures, || named.index.name(), search_log::statement);
    Ok(all)
}

impl Part<'_> {
    /// Once more from the beginning if the engine was restarted in the middle.
    fn count_anew(&self, facets: &Arc<[Facet]>, cost: &mut Cost) -> Result<Aggregation> {
        for _ in 0..ATTEMPTS {
            let mut aggregation = Aggregation::new(facets.clone());
            if self.count(&mut aggregation, cost)? {
                return Ok(aggregation);
            }
        }
        Err(Error::unavailable("the connection to the elacsym engine was lost")
            .with_hint("Try again; the server log says why the engine went away."))
    }

    /// False if the engine has forgotten the scan before its end.
    fn count(&self, aggregation: &mut Aggregation, cost: &mut Cost) -> Result<bool> {
        let attributes = aggregation.attributes();
        let mut values = match attributes.as_slice() {
            [] => None,
            attributes => Some(RowValues::new(self.open, Columns::of(self.open.index)?, attributes)),
        };
        let mut recheck = self.exact.map(|exact| Recheck::new(self.open, exact)).transpose()?;
        open_scans::close_pending()?;
        let mut reply = with_view(self.open.index, |view| {
            let request = Request::ScanOpen(Box::new(ScanRequest {
                namespace: view.message(),
                order: ScanOrder::Unordered,
                filter: self.filter.cloned(),
                effort: f32::INFINITY,
                rows: BATCH,
                close: Vec::new(),
            }));
            client::call(&request, view)
        })?;
        cost.opened();
        let mut running = None;
        loop {
            let Reply::ScanRows { scan, rows, exhausted, stats } = reply else {
                return Err(Error::internal(format!("the engine answered \"{}\" instead of rows", reply.name())));
            };
            cost.reported(stats);
            query_stats::record(cost.total());
            if exhausted {
                open_scans::ended(running.take());
            } else if running.is_none() {
                running = Some(OpenScan::new(scan));
            }
            let mut keys: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
            keys.sort_unstable();
            self.add(&keys, recheck.as_mut(), values.as_mut(), aggregation)?;
            let Some(running) = &running else { return Ok(true) };
            reply = match running.next(BATCH)? {
                Some(reply) => reply,
                None => return Ok(false),
            };
        }
    }

    /// Adds the rows of these keys that the caller may see.
    fn add(
        &self,
        keys: &[Key],
        mut recheck: Option<&mut Recheck<'_>>,
        mut values: Option<&mut RowValues<'_>>,
        aggregation: &mut Aggregation,
    ) -> Result<()> {
        let mut heap_rows = HeapRows::new(self.open.heap, self.snapshot.as_ptr());
        let mut guarded = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            if place.is_multiple_of(INTERRUPT_EVERY) {
                pgrx::check_for_interrupts!();
            }
            let Some(row) = heap_rows.visible(*key) else { continue };
            if let Some(recheck) = &mut recheck
                && !recheck.matches(&row)?
            {
                continue;
            }
            let document = match &mut values {
                // SAFETY: the slot holds a row of the table.
                Some(values) => unsafe { values.document(row.slot()) }?,
                None => Document::default(),
            };
            if self.row_security {
                guarded.push((row.tid, document));
            } else {
                aggregation.add(&document)?;
            }
        }
        drop(heap_rows);
        if guarded.is_empty() {
            return Ok(());
        }
        let tids = guarded.iter().map(|(tid, _)| *tid).collect();
        let allowed = policies::allowed(self.named.heap, self.open.heap, tids)?;
        guarded
            .iter()
            .filter(|(tid, _)| allowed.contains(&key::of_tid(*tid)))
            .try_for_each(|(_, document)| aggregation.add(document))
    }
}
