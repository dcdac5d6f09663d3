//! Vectors: metrics, exact distances, and the vector index of one segment (IVF + RaBitQ).
//!
//! Core (no feature): [`Metric`], [`validate`], [`distance`] and the `simd` kernels.
//! Engine: `rotate` (random rotation), `rabitq` (quantiser and estimator), `kmeans` (training of the lists) and `ivf`
//! (build, head, search). `docs/decisions/0001-own-rabitq-kernels.md` says why the kernels are our own.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DIMENSIONS;

pub mod distance;
#[allow(unsafe_code)]
pub mod simd;

#[cfg(feature = "engine")]
pub mod ivf;
#[cfg(feature = "engine")]
pub mod kmeans;
#[cfg(feature = "engine")]
pub(crate) mod parallel;
#[cfg(feature = "engine")]
pub mod rabitq;
#[cfg(feature = "engine")]
mod random;
#[cfg(feature = "engine")]
pub mod rotate;

#[cfg(feature = "engine")]
pub use ivf::{
    Bounds, BuildParams, BuiltIndex, CodeSink, Cut, Head, Need, Pieces, Reply, SearchParams, SearchStats, SearchStream,
    Searcher, VectorInput, VectorSource, build, build_from, build_into, search,
};

#[cfg(test)]
mod tests;

/// How two vectors are compared; every metric is a distance: smaller is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `1 - cos(a, b)`, pgvector's `<=>`; undefined for a zero vector.
    Cosine,
    /// Euclidean distance, pgvector's `<->`.
    L2,
    /// Negative inner product, pgvector's `<#>`.
    Dot,
}

impl Metric {
    /// Every metric, for tests and tables.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::L2, Self::Dot];

    /// The name used in schemas: `cosine`, `l2` or `dot`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::L2 => "l2",
            Self::Dot => "dot",
        }
    }

    /// The metric of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The stored form of the metric (segment format 1).
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Cosine => 1,
            Self::L2 => 2,
            Self::Dot => 3,
        }
    }

    /// The inverse of [`Metric::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.code() == code)
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Metric {
    type Err = Error;

    /// Parses a name as [`Metric::name`] gives it; `Invalid` for any other text.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| {
            Error::invalid(format!("unknown vector metric \"{name}\"")).with_hint("Use cosine, l2 or dot.")
        })
    }
}

/// Checks a number of dimensions: `OutOfRange` unless it is within `1..=MAX_DIMENSIONS`.
pub fn validate_dimension(dim: usize) -> Result<()> {
    if (1..=MAX_DIMENSIONS).contains(&dim) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::OutOfRange,
        format!("a vector must have between 1 and {MAX_DIMENSIONS} dimensions, not {dim}"),
    ))
}

/// Checks one vector (`dim` elements expected) before it is stored or searched for.
///
/// Errors: `OutOfRange` for `dim` itself, `TypeMismatch` for another number of elements, `Invalid` for an element that
/// is not finite and, with [`Metric::Cosine`], for a vector of zeros (it has no direction).
pub fn validate(vector: &[f32], dim: usize, metric: Metric) -> Result<()> {
    validate_dimension(dim)?;
    if vector.len() != dim {
        return Err(Error::new(ErrorKind::TypeMismatch, format!("expected {dim} dimensions, not {}", vector.len())));
    }
    if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::invalid(format!("element {} of the vector is not finite", position + 1)));
    }
    if metric == Metric::Cosine && vector.iter().all(|x| *x == 0.0) {
        return Err(Error::invalid("a vector of zeros has no direction, so it has no cosine distance")
            .with_hint("Leave the vector out, or use the l2 or dot metric."));
    }
    Ok(())
}
