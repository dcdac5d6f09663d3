//! Vectors.
use serde::{Deserialize, Serialize};

/// How distance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// 1 - cosine similarity.
    Cosine,
    /// Euclidean distance.
    L2,
    /// Negative inner product.
    Dot,
}

impl Metric {
    /// The metric of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cosine" => Some(Self::Cosine),
            "l2" => Some(Self::L2),
            "dot" => Some(Self::Dot),
            _ => None,
        }
    }
}
