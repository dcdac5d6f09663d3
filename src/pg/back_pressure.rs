//! Back-pressure: the gauge of a database's write buffer in shared memory, and the writers that wait for room by it.
//!
//! Nobody counts rows to write one. Writers add what they write to the bytes in flight; the end of a transaction moves them
//! to the committed ones or takes them back; what a flush or a drop takes out leaves with its commit. What no callback
//! hears of (a row that somebody removed by hand) and what was buffered before the start of the server the maintenance
//! worker's count corrects ([`Recount`]): when it starts, before it leaves, when a prepared transaction has ended, and from
//! time to time while the buffer is large.
//!
//! One gauge for a database, not for a namespace: they share a table, a disk and the worker that flushes them.

use crate::back_pressure::{Ledger, Limits, MIN_WAIT, Totals};
use crate::error::{Error, ErrorKind, Result};
use crate::pg::heap_table::Name;
use crate::pg::snapshot::Snapshot;
use crate::pg::worker::nap;
use crate::pg::worker::transaction::transaction_after;
use crate::pg::{buffer_table, catalog, gucs, shmem};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Pause between two counts of a buffer that is large.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// And at least so many times as long as the last one took.
const COUNT_SHARE: u32 = 20;
/// How often a count starts anew because something commits at the moment it begins. After that it counts all the same, and
/// may be wrong by what commits at that moment, until the next one.
const COUNT_ATTEMPTS: usize = 20;
/// Pause before it starts anew.
const COUNT_AGAIN: Duration = Duration::from_millis(1);

/// How full the write buffer of a database is. In shared memory; all-zero is its initial state.
#[repr(C)]
pub struct Gauge {
    /// Bytes of committed entries that are not flushed. An estimate: it may be below zero until the next count.
    committed: AtomicI64,
    /// Bytes that running transactions have written.
    in_flight: AtomicI64,
    /// Transactions that wrote here and are committing: others may see their rows, `committed` does not hold them yet.
    committing: AtomicI64,
    /// How many transactions have changed `committed`.
    settled: AtomicU64,
    /// When the worker counted last (`timestamptz`); 0: not since the server's start.
    counted_at: AtomicI64,
    /// Microseconds that writers have waited.
    waited: AtomicU64,
    /// Entries that were refused.
    refused: AtomicU64,
    /// The last flush failed.
    failing: AtomicBool,
    /// Something has happened that is not in the figures.
    suspect: AtomicBool,
}

/// What a [`Gauge`] shows.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Bytes of committed entries that are not flushed.
    pub committed: u64,
    /// Bytes that running transactions have written.
    pub in_flight: u64,
    /// When the worker counted last (`timestamptz`); none: not since the server's start.
    pub counted_at: Option<i64>,
    /// How long writers have waited, all together.
    pub waited: Duration,
    /// Entries that were refused.
    pub refused: u64,
    /// The last flush failed.
    pub failing: bool,
}

fn positive(value: &AtomicI64) -> u64 {
    u64::try_from(value.load(Ordering::Relaxed)).unwrap_or(0)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Gauge {
    /// Back to the initial state, for another database.
    pub fn reset(&self) {
        self.committed.store(0, Ordering::Relaxed);
        self.in_flight.store(0, Ordering::Relaxed);
        self.committing.store(0, Ordering::Relaxed);
        self.settled.store(0, Ordering::Relaxed);
        self.counted_at.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
        self.suspect.store(false, Ordering::Relaxed);
    }

    /// Whether running transactions have written.
    pub fn has_writers(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) != 0
    }

    /// The figures.
    pub fn read(&self) -> Reading {
        let counted_at = self.counted_at.load(Ordering::Relaxed);
        Reading {
            committed: positive(&self.committed),
            in_flight: positive(&self.in_flight),
            counted_at: (counted_at != 0).then_some(counted_at),
            waited: Duration::from_micros(self.waited.load(Ordering::Relaxed)),
            refused: self.refused.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    fn add_in_flight(&self, bytes: i64) {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A moment between commits; none while a transaction is committing.
    fn moment(&self) -> Option<(u64, i64)> {
        let settled = self.settled.load(Ordering::SeqCst);
        let committed = self.committed.load(Ordering::SeqCst);
        (self.committing.load(Ordering::SeqCst) == 0).then_some((settled, committed))
    }
}

thread_local! {
    /// What the running transaction did.
    static LEDGER: RefCell<Ledger> = const { RefCell::new(Ledger::new()) };
    /// The running transaction is among those that are committing.
    static COMMITTING: Cell<bool> = const { Cell::new(false) };
    /// Delays that nobody has slept yet.
    static OWED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn database() -> pg_sys::Oid {
    // SAFETY: a plain global, set once when the process connects to its database.
    unsafe { pg_sys::MyDatabaseId }
}

fn subtransaction() -> pg_sys::SubTransactionId {
    // SAFETY: no arguments; inside a transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// \[backend\] The gauge of this database; none when not preloaded.
pub fn gauge() -> Option<&'static Gauge> {
    shmem::gauge(database())
}

// ---- writers ----

/// \[backend\] Waits for as long as an entry of so many bytes has to, before it is written. Cancel and timeouts end it.
///
/// # Errors
/// `LimitExceeded` beyond `elacsym.buffer_hard_limit`.
pub fn wait_for_room(bytes: u64) -> Result<()> {
    let Some(gauge) = gauge() else { return Ok(()) };
    let limits = gucs::buffer_limits();
    let committed = positive(&gauge.committed);
    let buffered = committed.saturating_add(positive(&gauge.in_flight));
    if limits.refuses(buffered, bytes) {
        gauge.refused.fetch_add(1, Ordering::Relaxed);
        // Where the gauge is wrong, a worker's count puts it right; where it is right, its flush does.
        shmem::nudge_maintenance(database());
        return Err(full(limits, gauge.read()));
    }
    let delay = limits.delay_at(committed);
    if delay.is_zero() {
        OWED.set(Duration::ZERO);
        return Ok(());
    }
    let owed = OWED.get() + delay;
    if owed < MIN_WAIT {
        OWED.set(owed);
        return Ok(());
    }
    OWED.set(Duration::ZERO);
    shmem::nudge_maintenance(database());
    // Counted before: an interrupt ends it by an error.
    gauge.waited.fetch_add(u64::try_from(owed.as_micros()).unwrap_or(0), Ordering::Relaxed);
    sleep(owed);
    Ok(())
}

fn full(limits: Limits, now: Reading) -> Error {
    const MIB: u64 = 1 << 20;
    let message = "the write buffer of this database has reached elacsym.buffer_hard_limit";
    let detail = format!(
        "It holds {} MB that are not in object storage yet and {} MB of running transactions; the limit is {} MB.",
        now.committed / MIB,
        now.in_flight / MIB,
        limits.stop.max(limits.delay) / MIB
    );
    let hint = if now.failing {
        "The last flush failed; the server log says why. Deletions still work. Try again when flushes succeed, or raise elacsym.buffer_hard_limit."
    } else {
        "Try again when the buffer was flushed, load in smaller transactions, create the index after the load, or raise elacsym.buffer_hard_limit."
    };
    Error::new(ErrorKind::LimitExceeded, message).with_detail(detail).with_hint(hint)
}

/// Sleeps, visibly in `pg_stat_activity`, through whatever sets the latch for another reason.
fn sleep(pause: Duration) {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // A started millisecond is a whole one: else the last one would be waited for without sleeping.
        let milliseconds = i64::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(i64::MAX);
        let event = wait_event();
        // SAFETY: the latch of the running process.
        unsafe { pg_sys::WaitLatch(pg_sys::MyLatch, events.cast_signed(), milliseconds, event) };
        // SAFETY: our own latch; who else waits for it looks at its condition again before it does.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        pgrx::check_for_interrupts!();
    }
}

/// What `pg_stat_activity` shows: before version 17 extensions have no names of their own there.
#[cfg(not(any(feature = "pg17", feature = "pg18")))]
fn wait_event() -> u32 {
    pg_sys::PG_WAIT_EXTENSION
}

/// What `pg_stat_activity` shows: ElacsymBufferLimit.
#[cfg(any(feature = "pg17", feature = "pg18"))]
fn wait_event() -> u32 {
    thread_local! {
        static EVENT: Cell<u32> = const { Cell::new(0) };
    }
    if EVENT.get() == 0 {
        // SAFETY: a C string, which is copied; every process that asks for the name gets the same number.
        EVENT.set(unsafe { pg_sys::WaitEventExtensionNew(c"ElacsymBufferLimit".as_ptr()) });
    }
    EVENT.get()
}

/// \[backend\] The running transaction has written an entry of so many bytes. It is registered with `xact`.
pub fn wrote(bytes: u64) {
    if let Some(gauge) = gauge() {
        gauge.add_in_flight(signed(bytes));
        LEDGER.with_borrow_mut(|ledger| ledger.write(subtransaction(), bytes));
    }
}

/// \[backend, worker\] The running transaction has taken an entry of so many bytes out. It is registered with `xact`.
pub fn removed(bytes: u64) {
    LEDGER.with_borrow_mut(|ledger| ledger.remove(subtransaction(), bytes));
}

// ---- ends of transactions: called back by `xact`, must not fail ----

fn take_back(gauge: &Gauge, totals: Totals) {
    gauge.add_in_flight(-signed(totals.written));
}

/// The transaction is going to commit, or to be prepared.
pub fn committing() {
    if LEDGER.with_borrow(Ledger::is_empty) {
        return;
    }
    if let Some(gauge) = shmem::known_gauge(database()) {
        gauge.committing.fetch_add(1, Ordering::SeqCst);
        COMMITTING.set(true);
    }
}

/// The transaction has committed, or is prepared.
pub fn committed() {
    end(|gauge, totals| {
        take_back(gauge, totals);
        gauge.committed.fetch_add(signed(totals.written) - signed(totals.removed), Ordering::SeqCst);
        gauge.settled.fetch_add(1, Ordering::SeqCst);
    });
}

/// The transaction was rolled back.
pub fn rolled_back() {
    end(take_back);
}

fn end(settle: impl FnOnce(&Gauge, Totals)) {
    let totals = LEDGER.with_borrow_mut(Ledger::end);
    let is_committing = COMMITTING.replace(false);
    if totals == Totals::default() && !is_committing {
        return;
    }
    let Some(gauge) = shmem::known_gauge(database()) else { return };
    settle(gauge, totals);
    if is_committing {
        gauge.committing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// \[backend\] A transaction that was prepared has ended: nobody is called back for it.
pub fn count_again() {
    if let Some(gauge) = shmem::known_gauge(database()) {
        gauge.suspect.store(true, Ordering::SeqCst);
    }
}

/// A subtransaction was rolled back.
pub fn savepoint_rolled_back(subtransaction: pg_sys::SubTransactionId) {
    let totals = LEDGER.with_borrow_mut(|ledger| ledger.cut(subtransaction));
    if totals != Totals::default()
        && let Some(gauge) = shmem::known_gauge(database())
    {
        take_back(gauge, totals);
    }
}

/// A subtransaction is part of its parent from now on.
pub fn savepoint_released(subtransaction: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
    LEDGER.with_borrow_mut(|ledger| ledger.merge(subtransaction, parent));
}

// ---- the maintenance worker ----

/// \[worker\] When the worker counted, and what it has said.
#[derive(Default)]
pub struct Recount {
    last: Option<(Instant, Duration)>,
    said_full: bool,
}

impl Recount {
    /// Counts the buffer if it is time: at the first call, if something is suspect, and again and again while it is large. True if what is buffered
    /// is due to be flushed whatever its number and age.
    ///
    /// # Errors
    /// Of the catalog.
    pub fn look(&mut self) -> Result<bool> {
        let Some(gauge) = gauge() else { return Ok(false) };
        let limits = gucs::buffer_limits();
        let is_large = |gauge: &Gauge| positive(&gauge.committed) >= limits.flush_all_from();
        let due = gauge.suspect.load(Ordering::Relaxed)
            || self.last.is_none_or(|(at, took)| {
                is_large(gauge) && at.elapsed() >= COUNT_EVERY.max(took.saturating_mul(COUNT_SHARE))
            });
        if due {
            self.count()?;
        }
        self.say(positive(&gauge.committed), limits);
        Ok(is_large(gauge))
    }

    /// Counts the buffer now.
    ///
    /// # Errors
    /// Of the catalog.
    pub fn count(&mut self) -> Result<()> {
        let Some(gauge) = gauge() else { return Ok(()) };
        // Before it counts: what becomes suspect meanwhile is looked at again.
        gauge.suspect.store(false, Ordering::SeqCst);
        let began = Instant::now();
        for attempt in 1..=COUNT_ATTEMPTS {
            let counted = transaction_after(
                || Ok(gauge.moment()),
                |before| {
                    if Name::Namespace.oid().is_err() {
                        return Ok(Some(0));
                    }
                    // Whoever commits at the moment of the snapshot is in it or not, and in the gauge or not.
                    let is_one_moment = before.is_some() && gauge.moment() == before;
                    let Some((_, before)) = before
                        .filter(|_| is_one_moment)
                        .or_else(|| (attempt == COUNT_ATTEMPTS).then(|| (0, gauge.committed.load(Ordering::SeqCst))))
                    else {
                        return Ok(None);
                    };
                    let snapshot = Snapshot::statement()?;
                    let mut bytes = 0;
                    for row in catalog::namespaces(&snapshot)? {
                        bytes += buffer_table::count(row.id, row.watermark, &snapshot)?;
                    }
                    Ok(Some(signed(bytes) - before))
                },
            )?;
            if let Some(missing) = counted {
                // What has committed since the snapshot is in the gauge already.
                gauge.committed.fetch_add(missing, Ordering::SeqCst);
                gauge.counted_at.store(catalog::now(), Ordering::Relaxed);
                break;
            }
            nap(COUNT_AGAIN);
        }
        self.last = Some((Instant::now(), began.elapsed()));
        Ok(())
    }

    /// Once when it is full, once when it is not any more.
    fn say(&mut self, committed: u64, limits: Limits) {
        use pgrx::pg_sys::elog::PgLogLevel;
        let is_full = !limits.delay_at(committed).is_zero();
        if is_full == self.said_full {
            return;
        }
        self.said_full = is_full;
        let mib = committed >> 20;
        let (level, message) = if is_full {
            let message =
                format!("the write buffer holds {mib} MB, more than elacsym.buffer_limit: writers are delayed");
            (PgLogLevel::WARNING, message)
        } else {
            (PgLogLevel::LOG, format!("the write buffer holds {mib} MB again: writers are not delayed any more"))
        };
        crate::pg::error::report(Error::new(ErrorKind::LimitExceeded, message), level);
    }
}

/// \[worker\] Whether the last flush failed: for the hint of who is refused.
pub fn note_flush(failed: bool) {
    if let Some(gauge) = gauge() {
        gauge.failing.store(failed, Ordering::Relaxed);
    }
}
