//! One choice among the candidates of several segments: which of them are worth reading their exact vectors for.
//!
//! Every segment's search finds candidates for all results that are wanted. Together they have that many times as many as it takes,
//! and their bounds say so: what cannot be among the nearest of all segments is not read.

/// What the first stage knows of a row, in units that all segments share: squared distances, or products with a query of length 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Estimated distance.
    pub estimate: f64,
    /// Lower bound of it.
    pub lower: f64,
}

impl Bounds {
    fn upper(&self) -> f64 {
        if self.lower == f64::NEG_INFINITY { f64::INFINITY } else { self.estimate + (self.estimate - self.lower) }
    }
}

/// Which candidates are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Their lower bounds are not above this.
    lower: f64,
    /// Their estimates are not above this.
    estimate: f64,
}

impl Cut {
    /// Of all candidates of a query for `k` results: those that may be among the nearest `k` as far as the bounds hold; of more than
    /// `most` (at least `k`) the best estimates.
    #[must_use]
    pub fn of(mut bounds: Vec<Bounds>, k: usize, most: usize) -> Self {
        let mut cut = Self { lower: f64::INFINITY, estimate: f64::INFINITY };
        let Some(last) = k.checked_sub(1).filter(|last| *last < bounds.len()) else { return cut };
        let (_, kth, _) = bounds.select_nth_unstable_by(last, |a, b| a.upper().total_cmp(&b.upper()));
        cut.lower = kth.upper();
        bounds.retain(|bounds| cut.keeps(bounds));
        let last = most.max(k) - 1;
        if last + 1 < bounds.len() {
            let (_, worst, _) = bounds.select_nth_unstable_by(last, |a, b| a.estimate.total_cmp(&b.estimate));
            cut.estimate = worst.estimate;
        }
        cut
    }

    /// Whether a candidate is kept. One of which nothing is known always is.
    #[must_use]
    pub fn keeps(&self, bounds: &Bounds) -> bool {
        bounds.lower == f64::NEG_INFINITY || (bounds.lower <= self.lower && bounds.estimate <= self.estimate)
    }
}

#[cfg(test)]
mod tests;
