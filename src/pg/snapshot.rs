//! Which rows a reader sees: registered snapshots, and full transaction ids.

use crate::error::{Error, Result};
use pgrx::pg_sys;

/// A registered MVCC snapshot, released when dropped. While a PostgreSQL error unwinds, the resource owner does it.
pub struct Snapshot {
    ptr: pg_sys::Snapshot,
    registered: bool,
    quiet: bool,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if self.registered && !std::thread::panicking() {
            // SAFETY: registered by us, released once.
            unsafe { pg_sys::UnregisterSnapshot(self.ptr) };
        }
    }
}

impl Snapshot {
    fn register(snapshot: pg_sys::Snapshot) -> Self {
        // SAFETY: a valid snapshot from the snapshot manager.
        let ptr = unsafe { pg_sys::RegisterSnapshot(snapshot) };
        Self { ptr, registered: true, quiet: false }
    }

    /// The snapshot of the running statement: what a table would show (INV-2).
    ///
    /// # Errors
    /// `Internal` outside a statement.
    pub fn statement() -> Result<Self> {
        // SAFETY: no arguments.
        if !unsafe { pg_sys::ActiveSnapshotSet() } {
            return Err(Error::internal("no snapshot is active"));
        }
        // SAFETY: one is active.
        Ok(Self::register(unsafe { pg_sys::GetActiveSnapshot() }))
    }

    /// Every row that is physically there, whoever wrote it (`SnapshotAny`): for VACUUM only (pitfalls 2.e).
    pub fn any() -> Self {
        Self { ptr: &raw mut pg_sys::SnapshotAnyData, registered: false, quiet: false }
    }

    /// The state of now, as DDL looks at catalogs: works in parallel workers and under every isolation level, and sees
    /// what earlier commands of this transaction did.
    pub fn fresh(relation: pg_sys::Oid) -> Self {
        // SAFETY: for a relation without a syscache PostgreSQL takes a new snapshot at each call.
        let mut snapshot = Self::register(unsafe { pg_sys::GetCatalogSnapshot(relation) });
        snapshot.quiet = is_serializable();
        snapshot
    }

    /// The state that a change of the catalog starts from: of now, or, where all statements of the transaction share one
    /// snapshot, that one (what it does not see must not become visible to it).
    pub fn for_change(relation: pg_sys::Oid) -> Self {
        if transaction_has_one_snapshot() {
            // SAFETY: inside a transaction; own earlier commands are visible to it.
            return Self::register(unsafe { pg_sys::GetTransactionSnapshot() });
        }
        Self::fresh(relation)
    }

    /// Whether scans find rows with [`Self::to_scan_with`] and ask for each whether this snapshot sees it.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// What to scan our tables with. SERIALIZABLE notes what a scan with an MVCC snapshot reads, and so would take every two
    /// indexes, which share our tables, for one (pitfalls 2.g); of what concerns an index it is told otherwise.
    pub fn to_scan_with(&self) -> pg_sys::Snapshot {
        if self.quiet { &raw mut pg_sys::SnapshotAnyData } else { self.ptr }
    }

    /// The pointer, for PostgreSQL's functions.
    pub fn as_ptr(&self) -> pg_sys::Snapshot {
        self.ptr
    }

    /// Every transaction with a smaller full transaction id is over, or is the running one.
    pub fn oldest_other(&self) -> u64 {
        // SAFETY: the snapshot is registered; an MVCC one, as every snapshot that is asked for this.
        let snapshot = unsafe { &*self.ptr };
        // The own transaction is not among them. In recovery nobody asks: nothing is flushed there.
        // SAFETY: an array of that many transaction ids.
        let running = (0..snapshot.xcnt as usize).map(|i| unsafe { *snapshot.xip.add(i) }.into_inner());
        running.map(full_transaction_id).fold(full_transaction_id(snapshot.xmax.into_inner()), u64::min)
    }

    /// Every transaction with a smaller full transaction id is over.
    pub fn xmin(&self) -> u64 {
        // SAFETY: the snapshot is registered.
        let xmin = unsafe { (*self.ptr).xmin };
        full_transaction_id(xmin.into_inner())
    }
}

/// What the running statement sees, as a value: two of them are equal only where both see the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    epoch: u64,
    command: u32,
    xmin: u32,
    xmax: u32,
    running: Vec<u32>,
}

impl Moment {
    /// That of the active snapshot; none where there is none. Meaningful once [`super::xact::register`] was called.
    pub fn of_statement() -> Option<Self> {
        // SAFETY: no arguments.
        if !unsafe { pg_sys::ActiveSnapshotSet() } {
            return None;
        }
        // SAFETY: one is active; it is only read.
        let snapshot = unsafe { &*pg_sys::GetActiveSnapshot() };
        if snapshot.snapshot_type != pg_sys::SnapshotType::SNAPSHOT_MVCC {
            return None;
        }
        let mut running = Vec::new();
        let counts = [(snapshot.xip, snapshot.xcnt), (snapshot.subxip, snapshot.subxcnt.try_into().unwrap_or(0))];
        for (xids, count) in counts {
            // SAFETY: arrays of that many transaction ids.
            running.extend((0..count as usize).map(|i| unsafe { *xids.add(i) }.into_inner()));
        }
        Some(Self {
            epoch: super::xact::epoch(),
            command: snapshot.curcid,
            xmin: snapshot.xmin.into_inner(),
            xmax: snapshot.xmax.into_inner(),
            running,
        })
    }
}

/// The full form of a transaction id that is running or recent.
fn full_transaction_id(xid: u32) -> u64 {
    let next = next_transaction_id();
    let epoch = next >> 32;
    let epoch = if u64::from(xid) > (next & 0xffff_ffff) { epoch.saturating_sub(1) } else { epoch };
    (epoch << 32) | u64::from(xid)
}

/// The full id that the next transaction will get.
pub fn next_transaction_id() -> u64 {
    // SAFETY: no arguments.
    unsafe { pg_sys::ReadNextFullTransactionId() }.value
}

/// The full id of the running top-level transaction, which gets one now if it has none.
pub fn top_transaction_id() -> u64 {
    // SAFETY: inside a transaction, as all SQL is; raises an error in a parallel worker.
    unsafe { pg_sys::GetTopFullTransactionId() }.value
}

/// Whether statements of this transaction share one snapshot (REPEATABLE READ and SERIALIZABLE).
pub fn transaction_has_one_snapshot() -> bool {
    // SAFETY: a plain global of this single-threaded process.
    let level = unsafe { pg_sys::XactIsoLevel };
    level >= pg_sys::XACT_REPEATABLE_READ as i32
}

/// Whether the transaction is SERIALIZABLE.
pub fn is_serializable() -> bool {
    // SAFETY: a plain global of this process.
    (unsafe { pg_sys::XactIsoLevel }) == pg_sys::XACT_SERIALIZABLE as i32
}
