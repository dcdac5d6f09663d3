//! Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): the sum of `weight / (k + rank)` over the lists that
//! hold a key, ranks counted from 1.

use std::collections::HashMap;

use crate::ids::Key;

/// One ranked list to fuse.
#[derive(Debug, Clone)]
pub struct Arm {
    /// Its weight.
    pub weight: f32,
    /// Keys, best first, each once.
    pub keys: Vec<Key>,
}

/// A fused result.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused {
    /// Document id.
    pub key: Key,
    /// The RRF sum.
    pub score: f32,
    /// 1-based rank in each arm, in the order of the arms.
    pub ranks: Vec<Option<u32>>,
}

/// Fuses `arms` with the constant `k`; returns every key of every arm, best first, ties by key.
pub fn fuse(arms: &[Arm], k: u32) -> Vec<Fused> {
    let mut sums: HashMap<Key, (f64, Vec<Option<u32>>)> = HashMap::new();
    for (index, arm) in arms.iter().enumerate() {
        for (position, key) in arm.keys.iter().enumerate() {
            let rank = position as u32 + 1;
            let (sum, ranks) = sums.entry(*key).or_insert_with(|| (0.0, vec![None; arms.len()]));
            *sum += f64::from(arm.weight) / (f64::from(k) + f64::from(rank));
            ranks[index] = Some(rank);
        }
    }
    let mut fused: Vec<Fused> =
        sums.into_iter().map(|(key, (sum, ranks))| Fused { key, score: sum as f32, ranks }).collect();
    // By the f32 that is returned, so that the order the caller sees is explained by the scores the caller sees.
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.key.cmp(&b.key)));
    fused
}

#[cfg(test)]
mod tests;
