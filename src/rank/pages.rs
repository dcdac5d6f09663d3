//! The ranked list, and a page of it.
//!
//! The list is defined as blocks. The first is the fusion of the best `depth` rows of each arm, ordered by score; the second is
//! what the fusion at twice that depth adds, ordered by score; and so on, until no arm has more. Group limits are applied from
//! the top. A page is a slice of what is left. So the pages of one query are parts of one list whatever their number: they do
//! not overlap and leave nothing out while the data stays as it is, and none is short before the end of the list (INV-7).

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::fusion::{Arm, ArmKind, Fused, Fusion, Place, fuse};
use super::group::Group;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_REPLY_ROWS;

/// How much deeper each block looks than the one before.
const DEEPER: usize = 2;

/// What page of which list.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Kind and weight of each arm.
    pub arms: Vec<(ArmKind, f32)>,
    /// How they are joined.
    pub fusion: Fusion,
    /// Whether modifiers scale the score; then a single arm has a fused score too, because its own may be negative.
    pub modified: bool,
    /// Most rows of one group.
    pub per: Option<u32>,
    /// Rows of each arm in the first block.
    pub depth: usize,
    /// Rows before the page.
    pub offset: usize,
    /// Rows of the page.
    pub count: usize,
}

impl Plan {
    /// The depth beyond which an answer would hold too many candidates.
    pub fn deepest(&self) -> usize {
        MAX_REPLY_ROWS / self.arms.len().max(1)
    }

    fn is_plain(&self) -> bool {
        self.arms.len() == 1 && !self.modified
    }
}

/// What the attributes of a candidate say.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The product of the modifiers.
    pub factor: f64,
    /// Its group; None: no value, or nothing is grouped.
    pub group: Option<Group>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { factor: 1.0, group: None }
    }
}

/// A row of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<I> {
    /// The row.
    pub id: I,
    /// What it is ordered by within its block.
    pub score: f32,
    /// Its place in each arm.
    pub places: Vec<Option<Place>>,
}

impl<I> Ranked<I> {
    /// The best of its places in arms of that kind: vector or text.
    pub fn best_place(&self, plan: &Plan, wanted: fn(ArmKind) -> bool) -> Option<Place> {
        let places = self.places.iter().zip(&plan.arms).filter(|(_, (kind, _))| wanted(*kind));
        // The first of equal ranks.
        places.filter_map(|(place, _)| *place).min_by_key(|place| place.rank)
    }

    /// Its best place in a vector arm.
    pub fn vector_place(&self, plan: &Plan) -> Option<Place> {
        self.best_place(plan, |kind| matches!(kind, ArmKind::Vector(_)))
    }

    /// Its best place in a text arm.
    pub fn text_place(&self, plan: &Plan) -> Option<Place> {
        self.best_place(plan, |kind| kind == ArmKind::Text)
    }
}

/// The list as far as it is known: ask [`Ranking::depth`], bring the arms to [`Ranking::block`], what is known of its rows to
/// [`Ranking::add`], until there is no depth any more.
#[derive(Debug)]
pub struct Ranking<I> {
    plan: Plan,
    depth: Option<usize>,
    seen: HashSet<I>,
    groups: HashMap<Option<Group>, u32>,
    kept: Vec<Ranked<I>>,
}

/// The rows of one block, before their attributes are known.
#[derive(Debug)]
pub struct Block<I> {
    /// In no order.
    pub rows: Vec<Fused<I>>,
    /// Some arm may have more.
    more: bool,
}

impl<I: Copy + Ord + Hash> Ranking<I> {
    /// Nothing is known yet.
    pub fn new(plan: Plan) -> Self {
        let depth = (plan.count > 0 && !plan.arms.is_empty()).then(|| plan.depth.clamp(1, plan.deepest().max(1)));
        Self { plan, depth, seen: HashSet::new(), groups: HashMap::new(), kept: Vec::new() }
    }

    /// How many of the best rows of each arm the next block needs; None: the page is complete.
    pub fn depth(&self) -> Option<usize> {
        self.depth
    }

    /// The page it is about.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The next block, out of the best rows of each arm (best first), as many as [`Self::depth`] says. `more`: some arm may
    /// have others.
    pub fn block(&mut self, lists: Vec<Vec<(I, f32)>>, more: bool) -> Block<I> {
        let depth = self.depth.unwrap_or(0);
        let mut arms = Vec::with_capacity(lists.len());
        for ((kind, weight), mut hits) in self.plan.arms.iter().zip(lists) {
            hits.truncate(depth);
            arms.push(Arm { kind: *kind, weight: *weight, hits });
        }
        let mut rows = fuse(&arms, self.plan.fusion);
        self.seen.reserve(rows.len());
        rows.retain(|row| self.seen.insert(row.id));
        Block { rows, more }
    }

    /// Appends a block to the list; `facts` is asked once for each of its rows.
    ///
    /// # Errors
    /// `Exhausted` when the page is not complete at the greatest depth. Those of `facts`.
    pub fn add(&mut self, block: Block<I>, mut facts: impl FnMut(&I) -> Result<Facts>) -> Result<()> {
        let plain = self.plan.is_plain();
        let mut rows = Vec::with_capacity(block.rows.len());
        for fused in block.rows {
            let facts = facts(&fused.id)?;
            let score = match (plain, self.plan.arms.first(), fused.places.first()) {
                // An arm's own score says more than a rank does.
                (true, Some((kind, _)), Some(Some(place))) => kind.score(place.value),
                _ => (fused.score * facts.factor).min(f64::from(f32::MAX)) as f32,
            };
            rows.push((Ranked { id: fused.id, score, places: fused.places }, facts.group));
        }
        if plain {
            // Distances that differ may give one score.
            rows.sort_unstable_by_key(|(row, _)| row.places.first().copied().flatten().map(|place| place.rank));
        } else {
            // By the f32 that is returned, so that the order the caller sees is explained by the scores the caller sees.
            rows.sort_unstable_by(|(a, _), (b, _)| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        }
        let wanted = self.plan.offset.saturating_add(self.plan.count);
        for (row, group) in rows {
            if self.kept.len() == wanted {
                break;
            }
            if let Some(limit) = self.plan.per {
                let held = self.groups.entry(group).or_insert(0);
                if *held == limit {
                    continue;
                }
                *held += 1;
            }
            self.kept.push(row);
        }
        let depth = self.depth.unwrap_or(0);
        self.depth = None;
        if self.kept.len() < wanted && block.more {
            if depth >= self.plan.deepest() {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!("the {depth} best candidates of each query do not fill a page that ends at row {wanted}"),
                )
                .with_hint("Use a filter, a smaller offset, or a larger limit per group."));
            }
            self.depth = Some(depth.saturating_mul(DEEPER).min(self.plan.deepest()));
        }
        Ok(())
    }

    /// The page.
    pub fn finish(mut self) -> Vec<Ranked<I>> {
        self.kept.drain(..self.plan.offset.min(self.kept.len()));
        self.kept
    }
}

#[cfg(test)]
mod tests;
