//! Figures for monitoring, on both sides of the socket: histograms of durations, and Prometheus' text format.

mod exposition;
mod histogram;

pub use exposition::{Exposition, Family, FamilyKind};
pub use histogram::{DURATION_BOUNDS_MICROS, Histogram, HistogramSnapshot};

#[cfg(test)]
mod tests;
