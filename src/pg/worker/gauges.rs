//! \[worker\] Counts what is in the database, now and then, for [`crate::pg::metrics`].

use super::transaction::transaction;
use crate::error::Result;
use crate::pg::database_gauges::DatabaseFigures;
use crate::pg::error::report;
use crate::pg::snapshot::Snapshot;
use crate::pg::{buffer_table, catalog, shmem};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// Shortest time between two counts while the worker is busy: about what scrapers wait between two scrapes.
const PAUSE: Duration = Duration::from_secs(5);
/// The worker spends at most this share of its time on counting: the divisor. A full buffer takes long to count.
const SHARE: u32 = 20;

/// When the next count is due.
#[derive(Debug, Default)]
pub struct Gauges {
    last: Option<(Instant, Duration)>,
    /// Something may have changed since the last count.
    changed: bool,
}

impl Gauges {
    /// Something may have changed.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// Counts if it is time.
    pub fn tend(&mut self) {
        let due = self.last.is_none_or(|(at, took)| at.elapsed() >= PAUSE.max(took * SHARE));
        if self.changed && due {
            self.count();
        }
    }

    /// Counts what has changed: the last look before the worker leaves.
    pub fn leave(&mut self) {
        if self.changed {
            self.count();
        }
    }

    /// The extension is not in this database.
    pub fn not_installed() {
        shmem::set_gauges(None);
    }

    fn count(&mut self) {
        let start = Instant::now();
        // Before the snapshot is taken: what commits later asks for another look.
        self.changed = false;
        match counted() {
            Ok(figures) => shmem::set_gauges(figures.as_ref()),
            // The next look comes; nobody needs to be told that figures are a little older.
            Err(error) => report(error, PgLogLevel::DEBUG1),
        }
        self.last = Some((start, start.elapsed()));
    }
}

/// What is in the database; `None` without the extension.
fn counted() -> Result<Option<DatabaseFigures>> {
    transaction(|| {
        // SAFETY: a C string; `true` means that a missing extension is no error.
        if unsafe { pg_sys::get_extension_oid(c"elacsym".as_ptr(), true) } == pg_sys::InvalidOid {
            return Ok(None);
        }
        let snapshot = Snapshot::statement()?;
        let totals = catalog::segment_totals(&snapshot)?;
        let mut figures = DatabaseFigures {
            name: database_name(),
            counted_at: catalog::now(),
            segments: totals.segments,
            rows: totals.rows,
            dead_rows: totals.dead_rows,
            bytes: totals.bytes,
            ..DatabaseFigures::default()
        };
        for row in catalog::namespaces(&snapshot)? {
            let (rows, bytes) = buffer_table::size(row.id, row.watermark, &snapshot)?;
            figures.namespaces += 1;
            figures.buffered_rows += rows;
            figures.buffered_bytes += bytes;
        }
        Ok(Some(figures))
    })
}

fn database_name() -> String {
    // SAFETY: inside a transaction; null if the database is gone, which it cannot be while we are connected.
    let name = unsafe { pg_sys::get_database_name(pg_sys::MyDatabaseId) };
    if name.is_null() {
        return String::new();
    }
    // SAFETY: a C string of the current memory context.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
