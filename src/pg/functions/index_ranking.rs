//! Ranking over an index: candidates come from the engine, the heap decides which are visible, and only those have ranks.
//!
//! Each leaf of a partitioned index is asked for itself, and their candidates are ranked together.

use super::Jsonb;
use super::ranking::{Prepared, arms_json, rank};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{ArmQuery, CandidateRow, QueryRequest, RequestStats};
use crate::limits::MAX_REPLY_ROWS;
use crate::pg::am::access::OpenIndex;
use crate::pg::am::recheck::Recheck;
use crate::pg::am::relation::Rel;
use crate::pg::am::{self, corpus};
use crate::pg::counters;
use crate::pg::search_log::{self, Figures};
use crate::pg::snapshot::Snapshot;
use crate::rank::{ArmKind, Facts, Group, Plan, Ranked, Ranking, SortKey};
use crate::schema::NamespaceSchema;
use foldhash::{HashMap, HashMapExt};
use leaf::{Leaf, Seen};
use pgrx::pg_sys;
use std::time::Instant;

mod leaf;

/// How much deeper an order is read when too few of its rows were visible.
const DEEPER: usize = 4;

/// One result.
pub struct Found {
    pub tid: pg_sys::ItemPointerData,
    pub primary_key: String,
    pub score: Option<f32>,
    pub vector_rank: Option<i32>,
    pub vector_distance: Option<f32>,
    pub text_rank: Option<i32>,
    pub text_score: Option<f32>,
    pub arms: Option<Jsonb>,
}

/// A row: the place of its leaf, and its key there.
type RowId = (usize, Key);

/// An index that is open for searching, and whose rows the current role may read.
pub struct IndexSearch<'a> {
    named: &'a OpenIndex,
    schema: NamespaceSchema,
    /// Whether policies of the named table hide rows.
    row_security: bool,
    leaves: Vec<OpenIndex>,
}

impl<'a> IndexSearch<'a> {
    /// Checks privileges and opens the leaves. Of a partitioned index too, privileges and policies are those of the table that
    /// is named, not of its partitions.
    ///
    /// # Errors
    /// `Denied`; `Fenced` for an index that cannot be used.
    pub fn open(named: &'a OpenIndex) -> Result<Self> {
        named.check_may_select()?;
        named.check_parts()?;
        named.check_no_foreign_rows()?;
        let row_security = named.has_row_security();
        let open = |leaf| {
            let open = OpenIndex::open(leaf, pg_sys::AccessShareLock)?;
            open.check_usable()?;
            Ok(open)
        };
        let leaves = named.leaves().into_iter().map(open).collect::<Result<_>>()?;
        let schema = crate::pg::am::columns::Columns::of(named.index)?.schema();
        Ok(Self { named, schema, row_security, leaves })
    }

    /// The rows of a page, in order.
    ///
    /// # Errors
    /// The engine's; `Exhausted` for a page that cannot be filled.
    pub fn run(&self, prepared: &Prepared, with_keys: bool) -> Result<Vec<Found>> {
        let mut request = prepared.request.clone();
        for arm in &mut request.arms {
            if let ArmQuery::Text { text, corpus: of_whole } = &mut arm.query {
                *of_whole = corpus::of_whole(self.named.index.oid(), text)?;
            }
        }
        let start = Instant::now();
        let snapshot = Snapshot::statement()?;
        let mut cost = RequestStats::default();
        let mut leaves = Vec::with_capacity(self.leaves.len());
        for open in &self.leaves {
            open.lock_predicate(&snapshot);
            let key_columns = if with_keys { primary_key(open.heap)? } else { Vec::new() };
            self.named.check_may_select_columns(&self.columns_of_named(open, &key_columns)?)?;
            let effort = if prepared.effort_given { request.effort } else { am::effort::of(open.index) };
            let mut boosts = Vec::with_capacity(prepared.boosts.len());
            for boost in &prepared.boosts {
                boosts.push((&boost.modifier, Recheck::new(open, &boost.filter)?));
            }
            let mut leaf = Leaf::new(self, open, &snapshot, QueryRequest { effort, ..request.clone() });
            leaf.recheck = prepared.exact.as_ref().map(|filter| Recheck::new(open, filter)).transpose()?;
            leaf.boosts = boosts;
            leaf.key_columns = key_columns;
            leaves.push(leaf);
        }
        let found = if request.arms.is_empty() {
            ordered(&mut leaves, &request, &mut cost)?
        } else {
            self.ranked(&mut leaves, &request, prepared, &mut cost)?
        };
        let searches = leaves.iter().map(|leaf| leaf.questions).sum();
        let fetched = leaves.iter().map(|leaf| leaf.known.len() as u64).sum();
        let figures = Figures { searches, fetched, cost, micros: counters::micros_since(start) };
        search_log::ended("search", &figures, || self.named.index.name(), search_log::statement);
        Ok(found)
    }

    /// The page by the fusion of the arms, over all leaves.
    fn ranked(
        &self,
        leaves: &mut [Leaf<'_>],
        request: &QueryRequest,
        prepared: &Prepared,
        cost: &mut RequestStats,
    ) -> Result<Vec<Found>> {
        let metric = self.schema.vector.map(|vector| vector.metric);
        let kind = |query: &ArmQuery| match query {
            ArmQuery::Vector(_) => {
                metric.map(ArmKind::Vector).ok_or_else(|| Error::internal("a vector was checked without a metric"))
            }
            ArmQuery::Text { .. } => Ok(ArmKind::Text),
        };
        let arms = request.arms.iter().map(|arm| Ok((kind(&arm.query)?, arm.weight))).collect::<Result<_>>()?;
        let plan = Plan {
            arms,
            fusion: request.fusion,
            modified: prepared.is_modified(),
            per: request.per.map(|per| per.limit),
            depth: request.candidates,
            offset: request.offset,
            count: request.top_k,
        };
        // Nothing of a row but its places counts.
        let plain = !plan.modified && plan.per.is_none();
        let mut ranking: Ranking<RowId> = Ranking::new(plan.clone());
        while let Some(depth) = ranking.depth() {
            let mut more = false;
            let mut lists: Vec<Vec<(RowId, f32)>> = vec![Vec::new(); plan.arms.len()];
            for (place, leaf) in leaves.iter_mut().enumerate() {
                more |= leaf.look(depth, plan.deepest(), cost)?;
                for row in leaf.visible() {
                    for (list, value) in lists.iter_mut().zip(&row.values) {
                        list.extend(value.map(|value| ((place, row.key), value)));
                    }
                }
            }
            for (list, (kind, _)) in lists.iter_mut().zip(&plan.arms) {
                let better = |value: f32| kind.score(value);
                match kind {
                    // Not by the score, to which rounding may make distances equal.
                    ArmKind::Vector(_) => list.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))),
                    ArmKind::Text => {
                        list.sort_unstable_by(|a, b| better(b.1).total_cmp(&better(a.1)).then(a.0.cmp(&b.0)))
                    }
                }
                more |= list.len() > depth;
            }
            let block = ranking.block(lists, more);
            ranking.add(block, |(place, key)| {
                if plain {
                    return Ok(Facts::default());
                }
                let known = leaves.get(*place).and_then(|leaf| leaf.known.get(key)).and_then(Option::as_ref);
                let known = known.ok_or_else(|| Error::internal("a ranked row was not looked at"))?;
                Ok(Facts { factor: known.factor, group: known.group.as_ref().map(Group::of) })
            })?;
            pgrx::check_for_interrupts!();
        }
        let mut found = Vec::new();
        for row in ranking.finish() {
            let (place, key) = row.id;
            let visible = leaves.get_mut(place).map(|leaf| leaf.take(key)).transpose()?.flatten();
            let visible = visible.ok_or_else(|| Error::internal("a ranked row was not looked at"))?;
            found.push(found_row(visible, &row, &plan, prepared.by_arm.then(|| arms_json(&request.arms, &row.places))));
        }
        Ok(found)
    }

    /// The numbers that columns of the leaf's table have in the named one.
    fn columns_of_named(&self, part: &OpenIndex, columns: &[i16]) -> Result<Vec<i16>> {
        let (leaf, named) = (part.heap.oid(), self.named.heap.oid());
        let number = |column: &i16| {
            // SAFETY: a column of an open table; raises if there is none.
            let name = unsafe { pg_sys::get_attname(leaf, *column, false) };
            // SAFETY: a C string; a missing column is 0.
            let number = unsafe { pg_sys::get_attnum(named, name) };
            let missing = || Error::internal("a partition has a column that its table has not");
            (number > 0).then_some(number).ok_or_else(missing)
        };
        columns.iter().map(number).collect()
    }
}

fn found_row(visible: Seen, row: &Ranked<RowId>, plan: &Plan, arms: Option<Jsonb>) -> Found {
    let (vector, text) = (row.vector_place(plan), row.text_place(plan));
    Found {
        tid: visible.tid,
        primary_key: visible.primary_key,
        score: Some(row.score),
        vector_rank: vector.map(|place| rank(place.rank)),
        vector_distance: vector.map(|place| place.value),
        text_rank: text.map(|place| rank(place.rank)),
        text_score: text.map(|place| place.value),
        arms,
    }
}

/// The page by an order of attributes, over all leaves.
fn ordered(leaves: &mut [Leaf<'_>], request: &QueryRequest, cost: &mut RequestStats) -> Result<Vec<Found>> {
    let wanted = request.offset.saturating_add(request.top_k);
    let mut first = wanted;
    loop {
        // Beyond the last row that a leaf with more rows has given, nothing is certain.
        let mut certain: Option<SortKey<RowId>> = None;
        let mut rows: Vec<SortKey<RowId>> = Vec::new();
        let mut more = false;
        for (place, leaf) in leaves.iter_mut().enumerate() {
            more |= leaf.look(first, MAX_REPLY_ROWS, cost)?;
            let key = |row: &CandidateRow| SortKey::new(&request.order_by, row.sort.clone(), (place, row.key));
            rows.extend(leaf.visible().map(key));
            if let Some(last) = leaf.last.as_ref().filter(|_| leaf.full).map(key)
                && certain.as_ref().is_none_or(|certain| last < *certain)
            {
                certain = Some(last);
            }
        }
        rows.sort();
        let mut groups: HashMap<Option<Group>, u32> = HashMap::new();
        let mut page = Vec::new();
        for row in rows {
            if page.len() == wanted || certain.as_ref().is_some_and(|certain| row > *certain) {
                break;
            }
            let (place, key) = *row.id();
            if let Some(per) = request.per {
                let visible = leaves[place].known.get(&key).and_then(Option::as_ref);
                let group = visible.and_then(|visible| visible.group.as_ref()).map(Group::of);
                let held = groups.entry(group).or_insert(0);
                if *held == per.limit {
                    continue;
                }
                *held += 1;
            }
            page.push((place, key));
        }
        if page.len() == wanted || !more {
            let page = page.into_iter().skip(request.offset);
            let rows = page.map(|(place, key)| leaves[place].take(key)).collect::<Result<Vec<_>>>()?;
            return Ok(rows.into_iter().flatten().map(Seen::without_score).collect());
        }
        if first >= MAX_REPLY_ROWS {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!("fewer than {wanted} of the first {first} rows are visible to this transaction"),
            )
            .with_hint("Use a filter, or ORDER BY without the index."));
        }
        first = first.saturating_mul(DEEPER).min(MAX_REPLY_ROWS);
        pgrx::check_for_interrupts!();
    }
}

fn primary_key(heap: Rel) -> Result<Vec<i16>> {
    #[cfg(feature = "pg18")]
    // SAFETY: an open relation.
    let index = unsafe { pg_sys::RelationGetPrimaryKeyIndex(heap.ptr(), true) };
    #[cfg(not(feature = "pg18"))]
    // SAFETY: an open relation.
    let index = unsafe { pg_sys::RelationGetPrimaryKeyIndex(heap.ptr()) };
    if index == pg_sys::InvalidOid {
        return Err(Error::new(ErrorKind::Fenced, format!("table \"{}\" has no primary key", heap.name()))
            .with_hint("Add one, or use elacsym.search(), which returns the ctid."));
    }
    // SAFETY: an index of an open table.
    let open = unsafe { pg_sys::index_open(index, pg_sys::AccessShareLock as i32) };
    // SAFETY: just opened.
    let form = unsafe { &*(*open).rd_index };
    let count = usize::try_from(form.indnkeyatts).unwrap_or(0);
    // SAFETY: one number for each column; copied before the index is closed.
    let columns = unsafe { std::slice::from_raw_parts(form.indkey.values.as_ptr(), count) }.to_vec();
    // SAFETY: opened above.
    unsafe { pg_sys::index_close(open, pg_sys::NoLock as i32) };
    Ok(columns)
}
