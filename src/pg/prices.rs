//! What object storage costs: an estimate from counted requests, stored bytes and the prices in the settings.
//!
//! The currency is that of the settings. Nothing is known of free tiers, of transfer out of a region, or of a store that rounds
//! sizes up; the estimate is for comparing queries, namespaces and settings.

/// US dollars for a million GET requests: S3 Standard in us-east-1.
pub const DEFAULT_GET_PER_MILLION: f64 = 0.40;
/// US dollars for a million PUT, POST and LIST requests there.
pub const DEFAULT_PUT_PER_MILLION: f64 = 5.00;
/// US dollars for a gigabyte (2^30 bytes) stored for a month there, the first 50 TB.
pub const DEFAULT_GB_MONTH: f64 = 0.023;

const MILLION: f64 = 1e6;
const GIGABYTE: f64 = (1_u64 << 30) as f64;

/// Prices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Of a million requests that read.
    pub get_per_million: f64,
    /// Of a million requests that write or list.
    pub put_per_million: f64,
    /// Of 2^30 bytes for a month.
    pub gb_month: f64,
}

impl Prices {
    /// What requests cost.
    pub fn of_requests(&self, reads: u64, writes: u64) -> f64 {
        (reads as f64 * self.get_per_million + writes as f64 * self.put_per_million) / MILLION
    }

    /// What it costs to keep that many bytes for a month.
    pub fn of_month(&self, bytes: u64) -> f64 {
        bytes as f64 / GIGABYTE * self.gb_month
    }
}
