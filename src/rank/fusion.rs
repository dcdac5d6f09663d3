//! Fusion of ranked lists into one score.
//!
//! * `rrf`, reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): the sum of `weight / (k + rank)`, ranks from 1.
//! * `minmax`: the sum of `weight × (score - least) / (greatest - least)`, over the candidates of each arm.
//! * `distribution`: the sum of `weight × (score - (mean - 3σ)) / 6σ`, cut to 0..1.
//!
//! An arm that does not hold a row adds nothing to it. Where all scores of an arm are equal, they tell nothing: each counts 1
//! in `minmax` (a match is a match) and 0.5 in `distribution` (the mean).

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};
use serde::{Deserialize, Serialize};

use crate::limits::DEFAULT_RRF_K;
use crate::vector::Metric;

/// How the arms become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Reciprocal ranks.
    Rrf,
    /// Scores by least and greatest.
    MinMax,
    /// Scores by mean and standard deviation.
    Distribution,
}

impl Method {
    /// The names, as they are listed in messages.
    pub const NAMES: &'static str = "rrf, minmax, distribution";

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "rrf" => Some(Self::Rrf),
            "minmax" => Some(Self::MinMax),
            "distribution" => Some(Self::Distribution),
            _ => None,
        }
    }
}

/// Which fusion joins the arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fusion {
    /// The method.
    pub method: Method,
    /// RRF's k.
    pub rrf_k: u32,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { method: Method::Rrf, rrf_k: DEFAULT_RRF_K }
    }
}

/// What the values of an arm are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArmKind {
    /// Distances: nearer is better.
    Vector(Metric),
    /// BM25: more is better.
    Text,
}

impl ArmKind {
    /// The score of an arm alone, larger is better: cosine 1 - distance, l2 -distance, dot the inner product, BM25.
    pub fn score(self, value: f32) -> f32 {
        match self {
            Self::Vector(Metric::Cosine) => 1.0 - value,
            Self::Vector(Metric::L2 | Metric::Dot) => -value,
            Self::Text => value,
        }
    }
}

/// One ranked list to fuse.
#[derive(Debug, Clone)]
pub struct Arm<I> {
    /// What its values are.
    pub kind: ArmKind,
    /// Its weight.
    pub weight: f32,
    /// Ids and values, best first, each id once.
    pub hits: Vec<(I, f32)>,
}

/// Where a row is in an arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub rank: u32,
    /// Distance or BM25.
    pub value: f32,
}

/// A row of at least one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused<I> {
    /// The row.
    pub id: I,
    /// The fused score, 0 or more.
    pub score: f64,
    /// Its place in each arm, in the order of the arms.
    pub places: Vec<Option<Place>>,
}

/// Fuses the arms: every row of every arm, in no order.
pub fn fuse<I: Copy + Eq + Hash>(arms: &[Arm<I>], fusion: Fusion) -> Vec<Fused<I>> {
    // Growing hashes everything anew.
    let hits = arms.iter().map(|arm| arm.hits.len()).sum();
    let mut rows: Vec<Fused<I>> = Vec::with_capacity(hits);
    let mut known: HashMap<I, usize> = HashMap::with_capacity(hits);
    for (number, arm) in arms.iter().enumerate() {
        let scale = Scale::of(arm, fusion);
        for (rank, (id, value)) in (1_u32..).zip(&arm.hits) {
            let at = *known.entry(*id).or_insert_with(|| {
                rows.push(Fused { id: *id, score: 0.0, places: vec![None; arms.len()] });
                rows.len() - 1
            });
            let row = &mut rows[at];
            row.score += f64::from(arm.weight) * scale.of_hit(rank, arm.kind.score(*value));
            row.places[number] = Some(Place { rank, value: *value });
        }
    }
    rows
}

/// What a place in one arm counts.
enum Scale {
    Ranks {
        k: f64,
    },
    /// `(score - low) / width`, cut to 0..1.
    Scores {
        low: f64,
        width: f64,
    },
    Same(f64),
}

impl Scale {
    fn of<I>(arm: &Arm<I>, fusion: Fusion) -> Self {
        let scores = || arm.hits.iter().map(|(_, value)| finite(arm.kind.score(*value)));
        match fusion.method {
            Method::Rrf => Self::Ranks { k: f64::from(fusion.rrf_k) },
            Method::MinMax => {
                let low = scores().fold(f64::INFINITY, f64::min);
                let high = scores().fold(f64::NEG_INFINITY, f64::max);
                if high > low { Self::Scores { low, width: high - low } } else { Self::Same(1.0) }
            }
            Method::Distribution => {
                let count = arm.hits.len() as f64;
                let mean = scores().sum::<f64>() / count;
                let deviation = (scores().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
                // Of equal scores rounding may leave a trace of a deviation.
                if deviation > mean.abs() * f64::from(f32::EPSILON) * f64::from(f32::EPSILON) {
                    Self::Scores { low: mean - 3.0 * deviation, width: 6.0 * deviation }
                } else {
                    Self::Same(0.5)
                }
            }
        }
    }

    fn of_hit(&self, rank: u32, score: f32) -> f64 {
        match self {
            Self::Ranks { k } => 1.0 / (k + f64::from(rank)),
            Self::Scores { low, width } => ((finite(score) - low) / width).clamp(0.0, 1.0),
            Self::Same(value) => *value,
        }
    }
}

/// Distances of huge vectors overflow to infinity, which no mean survives.
fn finite(score: f32) -> f64 {
    f64::from(score.clamp(f32::MIN, f32::MAX))
}

#[cfg(test)]
mod tests;
