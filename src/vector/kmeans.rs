//! Training of the lists: hierarchical k-means with balancing.
//!
//! Deterministic: work is cut into tasks by its size, sums run in row order, ties go to the lower index, and the kernels
//! give the same bits everywhere; so neither the number of threads nor the CPU changes the result.

use super::parallel;
use super::random::Random;
use super::simd::kernels;

mod panels;
#[cfg(test)]
mod tests;

use panels::Panels;

/// Up to this many lists one flat k-means is cheap; above, lists are trained in groups.
const FLAT_LISTS: usize = 128;
/// Rows of the training sample per list: fewer make lists uneven, more gain nothing (measured).
const SAMPLE_PER_LIST: usize = 64;
/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 10;
/// Groups whose lists compete for a row in an assignment.
const GROUPS_PER_ROW: usize = 8;
/// Rows of one task.
const TASK_ROWS: usize = 1024;
/// A list with more than this many times the mean is split.
const SPLIT_ABOVE: usize = 2;
/// A list with less than one part in this many of the mean is dissolved.
const DISSOLVE_BELOW: usize = 8;

/// Points: `len()` rows of `dim` values.
#[derive(Debug, Clone, Copy)]
pub struct Points<'a> {
    /// Row-major values.
    pub values: &'a [f32],
    /// Values of a row.
    pub dim: usize,
}

impl<'a> Points<'a> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    fn gather(&self, rows: impl Iterator<Item = usize>) -> Vec<f32> {
        let mut values = Vec::new();
        for row in rows {
            values.extend_from_slice(self.row(row));
        }
        values
    }
}

/// Trained centroids in groups of neighbours, neighbouring groups and centroids next to each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    dim: usize,
    /// Centroids, row-major, group after group.
    pub centroids: Vec<f32>,
    /// First centroid of every group, and the number of centroids at the end.
    starts: Vec<usize>,
    /// Centre of every group.
    groups: Vec<f32>,
}

impl Codebook {
    /// Trains about `lists` centroids for `points` (at least one of each; all values finite).
    #[must_use]
    pub fn train(points: &Points<'_>, lists: usize, seed: u64, threads: usize) -> Self {
        let mut random = Random::new(seed, 2);
        let lists = lists.clamp(1, points.len());
        let wanted = lists.saturating_mul(SAMPLE_PER_LIST);
        let sampled;
        let sample = if wanted < points.len() {
            sampled = points.gather(random.sample(points.len(), wanted).into_iter());
            Points { values: &sampled, dim: points.dim }
        } else {
            *points
        };
        let mut book = if lists <= FLAT_LISTS {
            Self::flat(points.dim, lloyd(&sample, lists, random.next(), threads))
        } else {
            Self::grouped(&sample, lists, random.next(), threads)
        };
        if lists > 1 {
            book.balance(points, random.next(), threads);
        }
        book.arrange();
        book
    }

    /// Number of centroids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.centroids.len() / self.dim
    }

    /// Whether there is no centroid (never after training).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.centroids.is_empty()
    }

    /// The centroid of every row: the nearest of those in the [`GROUPS_PER_ROW`] nearest groups.
    #[must_use]
    pub fn assign(&self, points: &Points<'_>, threads: usize) -> Vec<u32> {
        let dim = self.dim;
        let panels: Vec<Panels> = self
            .starts
            .windows(2)
            .map(|range| Panels::new(&self.centroids[range[0] * dim..range[1] * dim], dim))
            .collect();
        let group_panels = Panels::new(&self.groups, dim);
        let nearest = parallel::map(threads, points.len().div_ceil(TASK_ROWS), |task| {
            let first = task * TASK_ROWS;
            let rows =
                Points { values: &points.values[first * dim..points.values.len().min((first + TASK_ROWS) * dim)], dim };
            self.assign_task(&rows, &group_panels, &panels)
        });
        nearest.concat()
    }

    fn assign_task(&self, rows: &Points<'_>, groups: &Panels, panels: &[Panels]) -> Vec<u32> {
        let mut best = vec![(f32::INFINITY, u32::MAX); rows.len()];
        if let [panel] = panels {
            panel.nearest(rows.values, |row, score, column| best[row] = (score, column));
            return best.into_iter().map(|(_, list)| list.min(self.len() as u32 - 1)).collect();
        }
        let mut members = vec![Vec::new(); panels.len()];
        for (row, nearest) in groups.nearest_few(rows.values, GROUPS_PER_ROW).into_iter().enumerate() {
            for group in nearest {
                members[group as usize].push(row);
            }
        }
        for (group, members) in members.iter().enumerate() {
            let gathered = rows.gather(members.iter().copied());
            let start = self.starts[group] as u32;
            panels[group].nearest(&gathered, |i, score, column| {
                let candidate = (score, start + column);
                let best = &mut best[members[i]];
                if candidate.0 < best.0 || (candidate.0 == best.0 && candidate.1 < best.1) {
                    *best = candidate;
                }
            });
        }
        best.into_iter().map(|(_, list)| list.min(self.len() as u32 - 1)).collect()
    }

    fn flat(dim: usize, centroids: Vec<f32>) -> Self {
        let count = centroids.len() / dim;
        let groups = mean(dim, centroids.chunks_exact(dim));
        Self { dim, centroids, starts: vec![0, count], groups }
    }

    fn from_groups(dim: usize, members: Vec<Vec<f32>>, groups: Vec<f32>) -> Self {
        let mut book = Self { dim, centroids: Vec::new(), starts: vec![0], groups: Vec::new() };
        for (members, group) in members.into_iter().zip(groups.chunks_exact(dim)) {
            if !members.is_empty() {
                book.centroids.extend(members);
                book.groups.extend_from_slice(group);
                book.starts.push(book.centroids.len() / dim);
            }
        }
        book
    }

    /// Trains about `sqrt(lists)` groups, then the lists of every group in proportion to its rows.
    fn grouped(sample: &Points<'_>, lists: usize, seed: u64, threads: usize) -> Self {
        let dim = sample.dim;
        let groups = lloyd(sample, lists.isqrt(), seed, threads);
        let members = invert(&nearest_all(sample, &groups, threads), groups.len() / dim);
        let trained = parallel::map(threads, members.len(), |group| {
            let rows = &members[group];
            if rows.is_empty() {
                return Vec::new();
            }
            let share = (rows.len() * lists + sample.len() / 2) / sample.len();
            let values = sample.gather(rows.iter().map(|row| *row as usize));
            lloyd(&Points { values: &values, dim }, share.max(1), seed.wrapping_add(1 + group as u64), 1)
        });
        Self::from_groups(dim, trained, groups)
    }

    /// Moves every centroid to the mean of its rows, dissolves tiny lists and splits huge ones.
    fn balance(&mut self, points: &Points<'_>, seed: u64, threads: usize) {
        let dim = self.dim;
        let members = invert(&self.assign(points, threads), self.len());
        let typical = points.len().div_ceil(self.len());
        let replaced = parallel::map(threads, members.len(), |list| {
            let rows = &members[list];
            if rows.len() * DISSOLVE_BELOW < typical {
                return Vec::new();
            }
            if rows.len() <= SPLIT_ABOVE * typical {
                return mean(dim, rows.iter().map(|row| points.row(*row as usize)));
            }
            let parts = rows.len().div_ceil(typical);
            let mut random = Random::new(seed, list as u64);
            let chosen = random.sample(rows.len(), parts * SAMPLE_PER_LIST);
            let values = points.gather(chosen.into_iter().map(|i| rows[i] as usize));
            lloyd(&Points { values: &values, dim }, parts, random.next(), 1)
        });
        let mut replaced = replaced.into_iter();
        let grouped =
            self.starts.windows(2).map(|range| replaced.by_ref().take(range[1] - range[0]).flatten().collect());
        let grouped: Vec<Vec<f32>> = grouped.collect();
        *self = Self::from_groups(dim, grouped, std::mem::take(&mut self.groups));
    }

    /// Orders the groups, and the centroids of every group, along a chain of nearest neighbours.
    fn arrange(&mut self) {
        let dim = self.dim;
        let mut tail = self.groups[..dim].to_vec();
        let mut groups = Vec::new();
        let mut members = Vec::new();
        for group in chain(&self.groups, dim, &tail) {
            let own = &self.centroids[self.starts[group] * dim..self.starts[group + 1] * dim];
            let mut ordered = Vec::with_capacity(own.len());
            for centroid in chain(own, dim, &tail) {
                ordered.extend_from_slice(&own[centroid * dim..(centroid + 1) * dim]);
            }
            tail = ordered[ordered.len() - dim..].to_vec();
            groups.extend_from_slice(&self.groups[group * dim..(group + 1) * dim]);
            members.push(ordered);
        }
        *self = Self::from_groups(dim, members, groups);
    }
}

/// The rows of every list, ascending.
#[must_use]
pub fn invert(assigned: &[u32], lists: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); lists];
    for (row, list) in assigned.iter().enumerate() {
        members[*list as usize].push(row as u32);
    }
    members
}

/// The mean of at least one row, summed in f64 in the order given.
fn mean<'a>(dim: usize, rows: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    let mut count = 0usize;
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
        count += 1;
    }
    sums.into_iter().map(|sum| (sum / count.max(1) as f64) as f32).collect()
}

/// The nearest centroid of every row.
fn nearest_all(points: &Points<'_>, centroids: &[f32], threads: usize) -> Vec<u32> {
    let dim = points.dim;
    let panels = Panels::new(centroids, dim);
    let last = (centroids.len() / dim - 1) as u32;
    let tasks = parallel::map(threads, points.len().div_ceil(TASK_ROWS), |task| {
        let first = task * TASK_ROWS * dim;
        let rows = &points.values[first..points.values.len().min(first + TASK_ROWS * dim)];
        let mut nearest = vec![0; rows.len() / dim];
        panels.nearest(rows, |row, _, column| nearest[row] = column.min(last));
        nearest
    });
    tasks.concat()
}

/// Lloyd's algorithm from a random sample of rows: `min(k, rows)` centroids.
fn lloyd(points: &Points<'_>, k: usize, seed: u64, threads: usize) -> Vec<f32> {
    let dim = points.dim;
    let k = k.clamp(1, points.len());
    let mut centroids = points.gather(Random::new(seed, 3).sample(points.len(), k).into_iter());
    let mut before = Vec::new();
    for _ in 0..ROUNDS {
        let assigned = nearest_all(points, &centroids, threads);
        if assigned == before {
            break;
        }
        let members = invert(&assigned, k);
        let means = parallel::map(threads, k, |list| {
            if members[list].is_empty() {
                return Vec::new();
            }
            mean(dim, members[list].iter().map(|row| points.row(*row as usize)))
        });
        let mut sizes: Vec<usize> = members.iter().map(Vec::len).collect();
        for (centroid, mean) in centroids.chunks_exact_mut(dim).zip(&means) {
            if !mean.is_empty() {
                centroid.copy_from_slice(mean);
            }
        }
        for list in 0..k {
            if sizes[list] == 0 {
                revive(&mut centroids, dim, &mut sizes, list);
            }
        }
        before = assigned;
    }
    centroids
}

/// Gives a list without rows half of the largest one: both centroids move a little, in opposite directions.
fn revive(centroids: &mut [f32], dim: usize, sizes: &mut [usize], list: usize) {
    const SHIFT: f32 = 1.0 / 1024.0;
    let largest = (0..sizes.len()).max_by_key(|i| (sizes[*i], std::cmp::Reverse(*i))).unwrap_or(list);
    if sizes[largest] < 2 {
        return;
    }
    for i in 0..dim {
        let value = centroids[largest * dim + i];
        let sign = if i % 2 == 0 { SHIFT } else { -SHIFT };
        centroids[list * dim + i] = value * (1.0 + sign);
        centroids[largest * dim + i] = value * (1.0 - sign);
    }
    sizes[list] = sizes[largest] / 2;
    sizes[largest] -= sizes[list];
}

/// All rows, starting with the nearest to `start`, each followed by the nearest of those left.
fn chain(rows: &[f32], dim: usize, start: &[f32]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..rows.len() / dim).collect();
    let mut order = Vec::with_capacity(left.len());
    let mut at = start;
    while !left.is_empty() {
        let distance = |row: usize| (kernels().l2_squared)(at, &rows[row * dim..(row + 1) * dim]);
        let nearest = (0..left.len()).min_by(|a, b| distance(left[*a]).total_cmp(&distance(left[*b])));
        // `remove` and not `swap_remove`: ties go to the lower index.
        let row = left.remove(nearest.unwrap_or(0));
        at = &rows[row * dim..(row + 1) * dim];
        order.push(row);
    }
    order
}
