//! The function behind the view `elacsym.stat_engine`.

use super::client::{self, NoNeeds, Reply};
use super::error::OrRaise;
use super::shmem;
use crate::error::Error;
use crate::ipc::message::Request;
use pgrx::prelude::*;

/// \[backend\] One row: process id, version, seconds since the start, starts since the server's start, and the engine's own
/// figures. Waits for the engine, or raises that there is none.
#[pg_extern(volatile, parallel_safe)]
#[allow(clippy::type_complexity)] // the columns
fn stat_engine() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(version, String),
        name!(uptime_seconds, f64),
        name!(starts, i64),
        name!(stats, pgrx::JsonB),
    ),
> {
    super::preload::require();
    let reply = client::call(&Request::Stats, &mut NoNeeds).or_raise();
    let (pid, version) = client::engine_identity().or_raise();
    let Reply::Stats(json) = reply else {
        super::error::raise(Error::internal(format!(
            "the engine answered \"{}\" to a request for its figures",
            reply.name()
        )));
    };
    let stats = serde_json::from_str(&json)
        .map_err(|e| Error::internal(format!("the engine's figures are not JSON: {e}")))
        .or_raise();
    let state = shmem::engine_state();
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let uptime = state.map_or(0, |state| now.saturating_sub(state.started_at));
    let starts = state.map_or(0, |state| i64::try_from(state.starts).unwrap_or(i64::MAX));
    #[allow(clippy::cast_precision_loss)] // microseconds of any uptime are exact in a double
    let seconds = uptime as f64 / 1e6;
    TableIterator::once((i32::try_from(pid).unwrap_or(0), version, seconds, starts, pgrx::JsonB(stats)))
}
