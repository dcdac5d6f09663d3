//! Retries with full jitter, the same for every S3-compatible store whatever its SDK thinks.
//!
//! Full jitter: see M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

use super::StoreMetrics;
use crate::config::StorageTimeouts;
use crate::env::Env;
use crate::error::{Error, Result};

/// Longest wait before the second attempt; doubles with each further one.
const BASE_DELAY: Duration = Duration::from_millis(100);
/// Longest wait before any attempt.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// How one attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again can help: throttling, a 5xx, a timeout, a broken connection.
    Transient(Error),
    /// Trying again cannot help.
    Final(Error),
}

/// Runs `attempt` (which gets its number, from 0) until it succeeds, fails for good, or attempts or time are used up.
pub(super) async fn retry<T, F: Future<Output = std::result::Result<T, Failure>>>(
    timeouts: &StorageTimeouts,
    env: &Env,
    metrics: &StoreMetrics,
    mut attempt: impl FnMut(u32) -> F,
) -> Result<T> {
    let start = env.clock.monotonic();
    let mut number = 0;
    loop {
        let error = match attempt(number).await {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Transient(error)) => error,
        };
        number += 1;
        let delay = delay_before(number, env.rng.unit());
        let elapsed = env.clock.monotonic().saturating_sub(start);
        if number >= timeouts.attempts || elapsed.saturating_add(delay) >= timeouts.deadline() {
            let tried = format!("gave up after {number} attempts in {} ms", elapsed.as_millis());
            return Err(match error.detail.clone() {
                Some(detail) => error.with_detail(format!("{detail}; {tried}")),
                None => error.with_detail(tried),
            });
        }
        tracing::debug!(attempt = number, delay_ms = delay.as_millis() as u64, %error, "object storage request is repeated");
        metrics.count_retry();
        tokio::time::sleep(delay).await;
    }
}

/// The wait before attempt `number` (from 1): evenly distributed below a bound that doubles.
fn delay_before(number: u32, unit: f64) -> Duration {
    let bound = BASE_DELAY.saturating_mul(1_u32.checked_shl(number - 1).unwrap_or(u32::MAX)).min(MAX_DELAY);
    bound.mul_f64(unit)
}

#[cfg(test)]
mod tests;
