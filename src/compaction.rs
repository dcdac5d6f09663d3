//! Which segments of a namespace are merged, and when.
//!
//! A segment costs every search about the same, however small it is, so their number is bounded: with `n` live rows at most
//! `2 + log2(n / flush_rows)`. Within the bound nothing is merged. Beyond it the smallest segments are, so many that the result has
//! its place in a series of sizes that grow by one factor from the smallest to `n`: then each row is rewritten about once for each
//! of those sizes. Besides, a segment is rewritten when dead rows are a large part of it, or when its index is out of date.
//!
//! A dead entry (a row that was replaced or deleted, or the record of a delete) is still needed while an older entry of its key may
//! turn up in the write buffer, against which it has to win. Each segment has a *horizon*: transactions from that one on draw higher
//! orders than all of its entries. Once all transactions before the horizon are over and have nothing in the buffer, its dead entries
//! are needed no more.

/// A segment is rewritten when more than this share of its entries is dead, in percent. Rewriting then costs one and a half live rows
/// for each dead one that goes, and dead rows take two thirds of the room of live ones at most.
const DEAD_PERCENT: u64 = 40;
/// Fewer dead entries than this share of `flush_rows` are not worth a rewrite: the divisor.
const DEAD_SHARE: u64 = 4;
/// What a row takes in memory during a merge, in bytes: its places in old and new orders; values are on the local disk.
const ROW_BYTES: u64 = 32;
/// Share of the memory of a merge for that: the divisor.
const ROWS_SHARE: u64 = 2;
/// A merge of less than this share of the memory of one does not wait for a larger one: the divisor.
const SMALL_SHARE: u64 = 8;
/// Segments within the bound whatever the number of rows.
const LEAST_BOUND: usize = 2;

/// What the choice needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Rows, dead ones included.
    pub rows: u64,
    /// Rows that its delete vector marks.
    pub dead: u64,
    /// Records of deletes.
    pub tombstones: u64,
    /// Bytes of its objects.
    pub bytes: u64,
    /// Transactions from this one on draw higher orders than all of its entries.
    pub horizon: u64,
    /// It lacks an index that the schema wants by now, so whoever opens it makes that index.
    pub outdated: bool,
    /// It is where new segments are not written any more.
    pub misplaced: bool,
    /// A merge that is under way replaces it.
    pub busy: bool,
}

/// What the choice depends on besides the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows of one flush.
    pub flush_rows: u64,
    /// Most rows of a merge: [`max_rows`].
    pub max_rows: u64,
    /// Every transaction before this one is over, and nothing of it is in the write buffer.
    pub complete: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    Nothing,
    /// Nothing now, but dead entries can go once older transactions are over.
    Wait,
    /// Replace these by one segment, or by none.
    Merge(Vec<usize>),
}

impl Figures {
    /// Rows that are alive.
    pub fn live(&self) -> u64 {
        self.rows.saturating_sub(self.dead)
    }

    /// Whether nothing needs its dead entries any more.
    pub fn can_forget(&self, complete: u64) -> bool {
        self.horizon <= complete
    }

    /// Whether nothing of it is needed any more.
    pub fn is_gone(&self, complete: u64) -> bool {
        self.live() == 0 && self.can_forget(complete)
    }

    /// Dead entries, and all entries.
    fn dead_of(&self, complete: u64) -> (u64, u64) {
        let tombstones = if self.can_forget(complete) { self.tombstones } else { 0 };
        (self.dead + tombstones, self.rows + self.tombstones)
    }
}

/// Most rows that are merged into one segment where a build may take `memory`: what a merge holds besides grows with nothing.
pub fn max_rows(memory: u64) -> u64 {
    (memory / ROWS_SHARE / ROW_BYTES).min(u64::from(u32::MAX - 1))
}

/// Whether a merge of so many bytes is small enough to run beside a large one, which holds up to `memory`.
pub fn is_small(bytes: u64, memory: u64) -> bool {
    bytes < memory / SMALL_SHARE
}

/// Most segments of a namespace with so many live rows in the steady state.
pub fn bound(live_rows: u64, flush_rows: u64) -> usize {
    LEAST_BOUND + (live_rows / flush_rows.max(1)).checked_ilog2().unwrap_or(0) as usize
}

/// What to do next about these segments.
pub fn choose(segments: &[Figures], limits: &Limits) -> Choice {
    // By falling number of live rows; of equal ones the older first.
    let mut idle: Vec<usize> = (0..segments.len()).filter(|i| !segments[*i].busy).collect();
    idle.sort_by_key(|i| std::cmp::Reverse(segments[*i].live()));
    let gone: Vec<usize> = idle.iter().copied().filter(|i| segments[*i].is_gone(limits.complete)).collect();
    if !gone.is_empty() {
        return Choice::Merge(gone);
    }
    if let Some(at) = idle.iter().position(|i| is_worth_rewriting(&segments[*i], limits)) {
        return Choice::Merge(with_smaller(segments, &idle, at, limits));
    }
    if let Some(merge) = too_many(segments, &idle, limits) {
        return Choice::Merge(merge);
    }
    let all_known = Limits { complete: u64::MAX, ..*limits };
    let waits = |i: &usize| segments[*i].is_gone(u64::MAX) || is_worth_rewriting(&segments[*i], &all_known);
    if idle.iter().any(waits) { Choice::Wait } else { Choice::Nothing }
}

fn is_worth_rewriting(segment: &Figures, limits: &Limits) -> bool {
    let (dead, all) = segment.dead_of(limits.complete);
    let many = dead > 0 && dead >= limits.flush_rows / DEAD_SHARE && dead * 100 > all * DEAD_PERCENT;
    (segment.outdated && segment.live() > 0 || many) && segment.live() <= limits.max_rows
}

/// The segment at `at` with those smaller ones that cost no more than itself.
fn with_smaller(segments: &[Figures], idle: &[usize], at: usize, limits: &Limits) -> Vec<usize> {
    let own = &segments[idle[at]];
    let mut rows = 0;
    let mut merge = vec![idle[at]];
    for i in idle[at + 1..].iter().rev() {
        rows += segments[*i].live();
        if rows > own.live() || own.live() + rows > limits.max_rows {
            break;
        }
        merge.push(*i);
    }
    merge
}

/// The merge that brings the number of segments back below the bound, if there are more and they fit.
fn too_many(segments: &[Figures], idle: &[usize], limits: &Limits) -> Option<Vec<usize>> {
    let live: u64 = segments.iter().map(Figures::live).sum();
    let bound = bound(live, limits.flush_rows);
    // Room for the segment that the next flush adds while the merge is under way.
    let wanted = if bound > LEAST_BOUND { bound - 1 } else { bound };
    let busy = segments.iter().any(|segment| segment.busy);
    let count = idle.len() + usize::from(busy);
    if count <= wanted || idle.len() < 2 {
        return None;
    }
    let size = |i: usize| segments[i].live().max(1) as f64;
    let total: f64 = idle.iter().map(|i| size(*i)).sum();
    let smallest = size(idle[idle.len() - 1]);
    let levels = wanted.max(1);
    let least = count - wanted + 1;
    let (mut rows, mut exact_rows, mut fitting) = (0.0, 0, 0);
    for len in 1..=idle.len() {
        let i = idle[idle.len() - len];
        rows += size(i);
        exact_rows += segments[i].live();
        if exact_rows > limits.max_rows {
            break;
        }
        fitting = len;
        // Counted from the smallest size, which has level 0.
        let level = (levels + len).saturating_sub(count).min(levels);
        let room = smallest * (total / smallest).powf(level as f64 / levels as f64);
        if len >= least.max(2) && rows <= room * (1.0 + f64::EPSILON * 16.0) {
            break;
        }
    }
    // Whatever else: if it is not all of them, merging fewer helps too.
    (fitting >= 2).then(|| idle[idle.len() - fitting..].to_vec())
}

/// All segments in as few groups as fit, for a compaction by hand; what is as good as it can be is left out.
pub fn pack(segments: &[Figures], limits: &Limits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(segments[*i].live()));
    let mut groups: Vec<(u64, Vec<usize>)> = Vec::new();
    for i in order {
        let rows = segments[i].live();
        match groups.iter_mut().find(|(sum, _)| sum.saturating_add(rows) <= limits.max_rows) {
            Some((sum, group)) => {
                *sum += rows;
                group.push(i);
            }
            None => groups.push((rows, vec![i])),
        }
    }
    let improves = |group: &Vec<usize>| {
        let [one] = group.as_slice() else { return true };
        let segment = &segments[*one];
        segment.dead_of(limits.complete).0 > 0 || segment.outdated || segment.misplaced
    };
    groups.into_iter().map(|(_, group)| group).filter(improves).collect()
}

#[cfg(test)]
mod tests;
