//! Scans that the engine holds open for this session, and when it may forget them.
//!
//! A scan belongs to the connection it was opened on. One that ends early (LIMIT, error, end of a cursor) is closed together
//! with the next request, where that can say so, or before it.

use crate::error::Result;
use crate::ipc::message::Request;
use crate::pg::client::{self, NoNeeds, Reply};
use std::cell::RefCell;

thread_local! {
    /// (connection, scan) pairs that nobody uses any more.
    static PENDING: RefCell<Vec<(u64, u64)>> = const { RefCell::new(Vec::new()) };
}

/// A scan in the engine. Dropping it asks for its end.
#[derive(Debug)]
pub struct OpenScan {
    connection: u64,
    scan: u64,
}

impl OpenScan {
    /// The scan (or scorer) of that number on the connection of the last call.
    pub fn new(scan: u64) -> Self {
        Self { connection: client::connection().unwrap_or(0), scan }
    }

    /// Its number, and the connection it belongs to.
    pub fn number(&self) -> (u64, u64) {
        (self.connection, self.scan)
    }

    /// The next rows; `None` when the connection is gone and the scan with it.
    ///
    /// # Errors
    /// The engine's.
    pub fn next(&self, rows: u32) -> Result<Option<Reply>> {
        client::call_on(self.connection, &Request::ScanNext { scan: self.scan, rows }, &mut NoNeeds)
    }
}

impl Drop for OpenScan {
    fn drop(&mut self) {
        // When the process ends, the list may be gone before the scan; the engine forgets scans with their connection.
        let _ = PENDING.try_with(|pending| pending.borrow_mut().push((self.connection, self.scan)));
    }
}

/// The engine has forgotten this scan by itself.
pub fn ended(scan: Option<OpenScan>) {
    if let Some(scan) = scan {
        std::mem::forget(scan);
    }
}

/// Tells the engine which scans have ended.
///
/// # Errors
/// The engine's.
pub fn close_pending() -> Result<()> {
    let connection = client::connection().unwrap_or(0);
    let scans = take_pending();
    if !scans.is_empty() {
        client::call_on(connection, &Request::ScanClose { scans }, &mut NoNeeds)?;
    }
    Ok(())
}

/// The scans that have ended on the connection that is kept, for the next request to say so. If that goes over another one, they are
/// gone, and it has no scans of these numbers yet.
pub fn take_pending() -> Vec<u64> {
    let pending = PENDING.with_borrow_mut(std::mem::take);
    let connection = client::connection().unwrap_or(0);
    pending.iter().filter(|(number, _)| *number == connection).map(|(_, scan)| *scan).collect()
}
