//! One index of a search: asked for candidates, deeper while too few of them are visible.

use super::{Found, IndexSearch};
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{CandidateRow, QueryRequest, Request, RequestStats, TombstonesVersion};
use crate::pg::am::access::OpenIndex;
use crate::pg::am::heap_rows::HeapRows;
use crate::pg::am::metapage::Metapage;
use crate::pg::am::recheck::Recheck;
use crate::pg::am::relation::Rel;
use crate::pg::am::view::with_view;
use crate::pg::am::visibility_map::VisibilityMap;
use crate::pg::am::{self, open_scans};
use crate::pg::engine_call::candidates_and_cost_of;
use crate::pg::snapshot::Snapshot;
use crate::pg::{counters, policies, query_stats};
use crate::rank::{Modifier, deep_enough, deeper};
use foldhash::{HashMap, HashMapExt};
use pgrx::pg_sys;
use serde_json::Value as Json;
use std::cell::RefCell;
use std::time::Instant;

/// Sessions rarely search more indexes than this in turn.
const MAX_SHARES: usize = 64;

thread_local! {
    /// Which share of an index's candidates was visible in the last search of this session. Only a hint: it says how deep to ask first.
    static SHARES: RefCell<Vec<(pg_sys::Oid, f64)>> = const { RefCell::new(Vec::new()) };
}

fn share_hint(index: Rel) -> f64 {
    let oid = index.oid();
    SHARES.with_borrow(|shares| shares.iter().find(|(of, _)| *of == oid).map_or(1.0, |(_, share)| *share))
}

fn remember_share(index: Rel, share: f64) {
    let oid = index.oid();
    SHARES.with_borrow_mut(|shares| {
        shares.retain(|(of, _)| *of != oid);
        shares.truncate(MAX_SHARES - 1);
        shares.insert(0, (oid, share));
    });
}

/// A row that the transaction sees.
pub(super) struct Visible {
    /// Where its visible version is; None as long as only its page is known to be visible.
    tid: Option<pg_sys::ItemPointerData>,
    primary_key: String,
    /// The product of the modifiers.
    pub factor: f64,
    /// The value of the attribute of `per`.
    pub group: Option<Value>,
}

/// A row of the page.
pub(super) struct Seen {
    /// Where its visible version is.
    pub tid: pg_sys::ItemPointerData,
    /// As text, if that is wanted.
    pub primary_key: String,
}

impl Seen {
    pub(super) fn without_score(self) -> Found {
        Found {
            tid: self.tid,
            primary_key: self.primary_key,
            score: None,
            vector_rank: None,
            vector_distance: None,
            text_rank: None,
            text_score: None,
            arms: None,
        }
    }
}

/// One index with rows, and what was asked of it so far.
pub(super) struct Leaf<'a> {
    open: &'a OpenIndex,
    snapshot: &'a Snapshot,
    search: &'a IndexSearch<'a>,
    /// What must hold for rows besides the request's filter.
    pub recheck: Option<Recheck<'a>>,
    /// Modifiers that the engine cannot apply.
    pub boosts: Vec<(&'a Modifier, Recheck<'a>)>,
    /// Columns of the primary key, if that is wanted.
    pub key_columns: Vec<i16>,
    request: QueryRequest,
    /// Rows that were looked up in the table; None: not visible, or the filter does not hold.
    pub known: HashMap<Key, Option<Visible>>,
    /// The last answer, and whether each row is among the visible ones.
    rows: Vec<(CandidateRow, bool)>,
    /// How many of each arm it was asked for.
    depth: usize,
    /// How often it was asked.
    pub questions: u64,
    /// It may have more.
    pub full: bool,
    /// The last row of an order, visible or not.
    pub last: Option<CandidateRow>,
}

/// Rows of one arm.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    found: usize,
    visible: usize,
}

impl<'a> Leaf<'a> {
    /// One that nothing was asked of yet.
    pub fn new(
        search: &'a IndexSearch<'a>,
        open: &'a OpenIndex,
        snapshot: &'a Snapshot,
        request: QueryRequest,
    ) -> Self {
        Self {
            open,
            snapshot,
            search,
            recheck: None,
            boosts: Vec::new(),
            key_columns: Vec::new(),
            request,
            known: HashMap::new(),
            rows: Vec::new(),
            depth: 0,
            questions: 0,
            full: false,
            last: None,
        }
    }

    /// Brings the best `depth` rows of each arm; goes deeper while fewer of them are visible (and match exactly), so that ranks are
    /// those among visible rows. Whether there may be more.
    ///
    /// # Errors
    /// The engine's; `Exhausted` when too few of the deepest are visible.
    pub fn look(&mut self, depth: usize, deepest: usize, cost: &mut RequestStats) -> Result<bool> {
        // With a condition that rows are checked against, the share would be that of the condition.
        let plain = self.recheck.is_none() && !self.search.row_security;
        let hint = if plain { share_hint(self.open.index) } else { 1.0 };
        let mut ask = deep_enough(depth, hint).min(deepest);
        loop {
            if self.depth < ask && (self.depth == 0 || self.full) {
                self.ask(ask, cost)?;
            }
            // Also of an answer that was deep enough to begin with: it may hold fewer visible rows than are wanted now.
            let counts = self.counts();
            let short = counts.iter().any(|count| count.visible < depth && count.found >= self.depth);
            // The least of an arm; 1 where there is nothing.
            let share = counts.iter().filter(|count| count.found > 0);
            let share = share.map(|count| count.visible as f64 / count.found as f64).fold(1.0, f64::min);
            if !short {
                if plain {
                    remember_share(self.open.index, share);
                }
                return Ok(self.full);
            }
            if self.depth >= deepest {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!("fewer than {depth} of the best {deepest} rows are visible to this transaction"),
                )
                .with_hint("Use a filter, or a smaller number of candidates."));
            }
            ask = deeper(self.depth, depth, share).min(deepest);
            pgrx::check_for_interrupts!();
        }
    }

    fn ask(&mut self, depth: usize, cost: &mut RequestStats) -> Result<()> {
        open_scans::close_pending()?;
        let start = Instant::now();
        let (id, rows, stats, log) = with_view(self.open.index, |view| {
            let (id, log) = (view.view.id, view.log);
            let request = QueryRequest {
                namespace: view.message(),
                candidates: depth,
                top_k: depth,
                offset: 0,
                ..self.request.clone()
            };
            let (rows, stats) = candidates_and_cost_of(&Request::Candidates(Box::new(request)), view)?;
            Ok((id, rows, stats, log))
        })?;
        counters::charge(id, u64::from(self.questions == 0), counters::micros_since(start), &stats);
        self.questions += 1;
        // The cost is that of the whole search.
        *cost = query_stats::sum(*cost, stats);
        query_stats::record(*cost);
        let arms = self.request.arms.len();
        let full = |arm: usize| rows.iter().filter(|row| row.values[arm].is_some()).count() >= depth;
        self.full = if arms == 0 { rows.len() >= depth } else { (0..arms).any(full) };
        self.depth = depth;
        self.last = if arms == 0 { rows.last().cloned() } else { None };
        self.look_up(&rows, log)?;
        let is_visible = |row: &CandidateRow| self.known.get(&row.key).is_some_and(Option::is_some);
        let with = |row: CandidateRow| {
            let visible = is_visible(&row);
            (row, visible)
        };
        self.rows = rows.into_iter().map(with).collect();
        Ok(())
    }

    /// Looks up in the table what was not looked up before. `log`: the tombstone log as the rows were found with it.
    fn look_up(&mut self, rows: &[CandidateRow], log: TombstonesVersion) -> Result<()> {
        let mut left: Vec<&CandidateRow> = rows.iter().filter(|row| !self.known.contains_key(&row.key)).collect();
        if let Some(mut map) = self.map() {
            let (by_map, others): (Vec<&CandidateRow>, Vec<_>) =
                left.iter().copied().partition(|row| map.is_all_visible(row.key));
            // VACUUM writes down which keys are dead before it frees their places: if it has not since, no row of ours was freed.
            if !by_map.is_empty() && Metapage::read(self.open.index)?.tombstones == log {
                let visible = |row: &CandidateRow| Visible {
                    tid: None,
                    primary_key: String::new(),
                    factor: row.factor,
                    group: row.group.clone(),
                };
                self.known.extend(by_map.into_iter().map(|row| (row.key, Some(visible(row)))));
                left = others;
            }
        }
        let mut heap_rows = HeapRows::new(self.open.heap, self.snapshot.as_ptr());
        let mut new = Vec::with_capacity(left.len());
        for row in left {
            let Some(found) = heap_rows.visible(row.key) else {
                new.push((row.key, None));
                continue;
            };
            if let Some(recheck) = &mut self.recheck
                && !recheck.matches(&found)?
            {
                new.push((row.key, None));
                continue;
            }
            let mut factor = row.factor;
            for (modifier, filter) in &mut self.boosts {
                factor *= modifier.factor(None, filter.matches(&found)?);
            }
            let visible = Visible {
                tid: Some(found.tid),
                primary_key: key_text(&found, &self.key_columns),
                factor,
                group: row.group.clone(),
            };
            new.push((row.key, Some(visible)));
        }
        if self.search.row_security {
            let tids = new.iter().filter_map(|(_, visible)| visible.as_ref()?.tid).collect();
            let allowed = policies::allowed(self.search.named.heap, self.open.heap, tids)?;
            for (_, visible) in &mut new {
                visible.take_if(|visible| !visible.tid.is_some_and(|tid| allowed.contains(&am::key::of_tid(tid))));
            }
        }
        self.known.extend(new);
        Ok(())
    }

    /// The visibility map, if it says all that is to be known of a row: whether the snapshot sees it.
    fn map(&self) -> Option<VisibilityMap> {
        let nothing_else = self.recheck.is_none()
            && self.boosts.is_empty()
            && self.key_columns.is_empty()
            && !self.search.row_security;
        nothing_else.then(|| VisibilityMap::of(self.open.heap)).flatten()
    }

    /// A visible row that becomes part of the page.
    ///
    /// # Errors
    /// `Corrupt` if it is not there.
    pub fn take(&mut self, key: Key) -> Result<Option<Seen>> {
        let Some(visible) = self.known.remove(&key).flatten() else { return Ok(None) };
        let tid = match visible.tid {
            Some(tid) => tid,
            None => {
                let mut heap_rows = HeapRows::new(self.open.heap, self.snapshot.as_ptr());
                let found = heap_rows.visible(key).map(|found| found.tid);
                found.ok_or_else(|| self.leads_nowhere())?
            }
        };
        Ok(Some(Seen { tid, primary_key: visible.primary_key }))
    }

    fn leads_nowhere(&self) -> Error {
        let (index, table) = (self.open.index.name(), self.open.heap.name());
        let message = format!("index \"{index}\" leads to a row that table \"{table}\" does not have");
        Error::new(ErrorKind::Corrupt, message).with_hint("elacsym.verify() tells more; REINDEX makes the index anew.")
    }

    /// The rows of each arm in the last answer.
    fn counts(&self) -> Vec<Count> {
        let mut counts = vec![Count::default(); self.request.arms.len()];
        for (row, visible) in &self.rows {
            for (count, value) in counts.iter_mut().zip(&row.values) {
                count.found += usize::from(value.is_some());
                count.visible += usize::from(*visible && value.is_some());
            }
        }
        counts
    }

    /// The visible rows of the last answer.
    pub fn visible(&self) -> impl Iterator<Item = &CandidateRow> {
        self.rows.iter().filter_map(|(row, visible)| visible.then_some(row))
    }
}

/// The primary key as text: of one column as it is, of several as a JSON array of their text forms.
fn key_text(row: &crate::pg::am::heap_rows::VisibleRow<'_>, columns: &[i16]) -> String {
    match columns {
        [] => String::new(),
        [column] => row.text(*column).unwrap_or_default(),
        columns => Json::from(columns.iter().map(|column| row.text(*column)).collect::<Vec<_>>()).to_string(),
    }
}
