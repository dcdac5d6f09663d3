//! Maintenance of one database: flush what is due, merge segments, write manifests, delete released objects. Short transactions; nothing
//! but a namespace's flush lock is held while the engine works; every lock is taken only if it is free.
//!
//! Steps of a flush, and what a crash between them leaves:
//! 1. read the buffer under the flush lock (nothing);
//! 2. build and upload (objects that no row refers to: orphans);
//! 3. publish in one transaction (either all of it or nothing, INV-1);
//! 4. write `manifest.json` (the catalog says which generation is written; the next look writes it again);
//! 5. note that in the catalog.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, NamespaceId};
use crate::ipc::message::{FlushResult, Request};
use crate::pg::am::options::Thresholds;
use crate::pg::back_pressure::{self, Recount};
use crate::pg::buffer_table::{self, Budget};
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::client::{Needs, Provided};
use crate::pg::engine_call::{self, Source};
use crate::pg::flush::Plan;
use crate::pg::locks::{self, Mode, SessionLock, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::view::View;
use crate::pg::worker::abandoned;
use crate::pg::worker::collect::{self, Collected};
use crate::pg::worker::compaction::Compactor;
use crate::pg::worker::fold;
use crate::pg::worker::gauges::Gauges;
use crate::pg::worker::nap;
use crate::pg::worker::sweep::{Sweep, Swept};
use crate::pg::worker::transaction::{pin_settings, transaction, transaction_after};
use crate::pg::worker::unowned;
use crate::pg::{counters, error, garbage, gucs, manifest, namespace, shmem, xact};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a worker with nothing to do stays, so that a busy database does not start one for every commit.
const LINGER: Duration = Duration::from_secs(2);
/// Longest and shortest time between two looks while something is buffered but not due.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Time between two looks at released objects.
const GARBAGE_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks while released objects wait for another database or another server.
const HELD_GARBAGE_EVERY: Duration = Duration::from_secs(15);
/// How long other databases wait for a worker before one that itself only waits for others leaves, so that none does for a place
/// that is free anyway; and when the next one looks again.
const MAKE_ROOM: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// \[worker\] Maintains `database`, to which this process is connected, until there is nothing left to do.
pub fn run(_database: pg_sys::Oid) {
    // SAFETY: no arguments.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return;
    }
    xact::register();
    locks::release_at_exit();
    if let Err(error) = pin_settings() {
        warn("elacsym maintenance cannot set up its session", error);
        return;
    }
    let mut maintenance = Maintenance::default();
    let mut gauges = Gauges::default();
    gauges.changed();
    let mut idle_since = Instant::now();
    let mut in_the_way_since: Option<Instant> = None;
    loop {
        // Asked before looking: whatever commits after this asks again.
        if shmem::take_pending() {
            idle_since = Instant::now();
            gauges.changed();
        }
        let next = match maintenance.round() {
            Ok(Round::NotInstalled) => {
                if let Err(error) = unowned::tidy_own() {
                    warn("elacsym could not look after what its extension has left in this database", error);
                }
                return Gauges::not_installed();
            }
            Ok(Round::Idle) => None,
            Ok(Round::Waiting(pause)) => {
                in_the_way_since = None;
                Some(pause)
            }
            Ok(Round::Patient(pause)) => {
                in_the_way_since = shmem::others_waiting().then(|| in_the_way_since.unwrap_or_else(Instant::now));
                if in_the_way_since.is_some_and(|at| at.elapsed() >= MAKE_ROOM.0) {
                    shmem::come_back(MAKE_ROOM.1);
                    return gauges.leave();
                }
                Some(pause)
            }
            Err(error) => {
                warn("elacsym maintenance failed", error);
                Some(RETRY.0)
            }
        };
        if next.is_some() {
            idle_since = Instant::now();
            gauges.changed();
        } else if idle_since.elapsed() >= LINGER || shmem::others_waiting() {
            // Nothing is buffered, so this costs nothing, and what the gauge has wrong would stay wrong until the next worker.
            if let Err(error) = maintenance.recount.count() {
                warn("elacsym maintenance could not count the write buffer", error);
            }
            return gauges.leave();
        }
        gauges.tend();
        nap(next.unwrap_or(LOOK_AGAIN.1));
        reload_configuration();
    }
}

fn reload_configuration() {
    // SAFETY: a plain flag that the handler of SIGHUP sets.
    if unsafe { pg_sys::ConfigReloadPending } == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { pg_sys::ConfigReloadPending = 0 };
    // SAFETY: outside a transaction, in the main loop, as it demands.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
}

pub(super) fn warn(what: &str, error: Error) {
    let mut report = Error { message: format!("{what}: {}", error.message), ..error };
    if report.detail.is_none() {
        report.detail = Some("Nothing is lost: the work is tried again.".to_string());
    }
    error::report(report, PgLogLevel::WARNING);
}

/// What a round leaves to do.
enum Round {
    /// The extension is not there (any more).
    NotInstalled,
    /// Nothing.
    Idle,
    /// Something, after this time at the latest.
    Waiting(Duration),
    /// The same, and nothing before a transaction of somebody else is over.
    Patient(Duration),
}

/// What the worker remembers of a namespace that has something to do.
struct Watch {
    /// When its buffer was first seen with rows.
    since: Instant,
    failures: u32,
    retry_at: Option<Instant>,
}

/// What a look found of one namespace.
struct Found {
    row: NamespaceRow,
    rows: u64,
    bytes: u64,
}

#[derive(Default)]
struct Maintenance {
    abandoned_looked: Option<Instant>,
    /// The last look left something for the next.
    abandoned_left: bool,
    abandoned_failures: u32,
    /// Of indexes whose options say something else than the settings.
    thresholds: HashMap<NamespaceId, Thresholds>,
    watched: HashMap<NamespaceId, Watch>,
    garbage_looked: Option<Instant>,
    garbage_failures: u32,
    compactor: Compactor,
    /// The last look left something that waits for others.
    garbage_held: bool,
    sweep: Sweep,
    recount: Recount,
}

impl Maintenance {
    fn round(&mut self) -> Result<Round> {
        // Before looking at buffers: indexes have thresholds of their own.
        let tidied = self.bury_abandoned();
        let Some(found) = look(&self.thresholds)? else { return Ok(Round::NotInstalled) };
        // Before writers are delayed.
        let all_due = self.recount.look()?;
        self.watched.retain(|id, _| found.iter().any(|f| f.row.id == *id));
        let mut next: Option<Duration> = None;
        let mut sooner = |pause: Duration| next = Some(next.map_or(pause, |n| n.min(pause)));
        // What waits for others.
        let mut patient: Option<Duration> = None;
        for found in found {
            let watch = self.watched.entry(found.row.id).or_insert_with(|| Watch {
                since: Instant::now(),
                failures: 0,
                retry_at: None,
            });
            let own = self.thresholds.get(&found.row.id).copied().unwrap_or_default();
            let pause = due_in(&found, watch, own, all_due);
            let behind = found.row.generation != found.row.manifest_generation;
            if let Some(pause) = pause
                && (!behind || watch.retry_at.is_some())
            {
                sooner(pause);
                continue;
            }
            // Only the manifest may be due: then the buffer is left alone, however much has come meanwhile.
            let flush = pause.is_none() && found.rows > 0;
            match maintain_namespace(&found.row, flush) {
                Ok(Flushed::Done) => {
                    back_pressure::note_flush(false);
                    if pause.is_none() {
                        self.watched.remove(&found.row.id);
                    }
                    // More rows may have come, or been left out of a full segment.
                    sooner(pause.unwrap_or(LOOK_AGAIN.0));
                }
                Ok(Flushed::Busy) => patient = Some(LOOK_AGAIN.1),
                Err(error) => sooner(watch.failed(&found.row.name, error)),
            }
        }
        if tidied.is_some() {
            patient = tidied;
        }
        match self.compactor.step(&self.thresholds) {
            Some(pause) if self.compactor.is_patient() => patient = Some(patient.map_or(pause, |p| p.min(pause))),
            Some(pause) => sooner(pause),
            None => {}
        }
        if let Some(pause) = self.collect_garbage() {
            sooner(pause);
        }
        if let Some(pause) = self.sweep() {
            sooner(pause);
        }
        let clamped = |pause: Duration| pause.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1);
        Ok(match (next, patient) {
            (None, None) => Round::Idle,
            (None, Some(pause)) => Round::Patient(clamped(pause)),
            (Some(pause), waits) => Round::Waiting(clamped(waits.map_or(pause, |waits| waits.min(pause)))),
        })
    }

    /// Drops what dropped and rebuilt indexes have left, folds tombstones. Returns when to try again if it could not be decided now.
    fn bury_abandoned(&mut self) -> Option<Duration> {
        let pause = back_off(self.abandoned_failures).max(LOOK_AGAIN.1);
        if self.abandoned_looked.is_some_and(|at| at.elapsed() < pause) {
            return self.abandoned_left.then_some(pause);
        }
        self.abandoned_looked = Some(Instant::now());
        let done = abandoned::bury().and_then(|found| match found {
            Some(found) => {
                self.thresholds = found.thresholds;
                fold::fold_all(&found.vacuumed)
            }
            None => Ok(false),
        });
        self.abandoned_left = !matches!(done, Ok(true));
        match done {
            Ok(true) => {
                self.abandoned_failures = 0;
                None
            }
            Ok(false) => Some(LOOK_AGAIN.1),
            Err(error) => {
                if self.abandoned_failures == 0 {
                    warn("elacsym maintenance could not tidy up after indexes", error);
                }
                self.abandoned_failures += 1;
                Some(LOOK_AGAIN.1)
            }
        }
    }

    /// Deletes objects whose time has come. Returns when to look again if there is something left now.
    fn collect_garbage(&mut self) -> Option<Duration> {
        let every = if self.garbage_held { HELD_GARBAGE_EVERY } else { GARBAGE_EVERY };
        let pause = back_off(self.garbage_failures).max(every);
        if self.garbage_looked.is_some_and(|at| at.elapsed() < pause) {
            return (self.garbage_failures > 0 && !self.garbage_held).then_some(LOOK_AGAIN.1);
        }
        self.garbage_looked = Some(Instant::now());
        let collected = collect::collect();
        self.garbage_held = match &collected {
            Ok(collected) => *collected == Collected::Held,
            // Another server lives: nothing that a moment changes, and no reason to stay.
            Err(error) => error.kind == ErrorKind::Fenced,
        };
        match collected {
            Ok(collected) => {
                self.garbage_failures = 0;
                (collected == Collected::More).then_some(LOOK_AGAIN.1)
            }
            Err(error) => {
                // Of another server the announcement tells, once in a while.
                if self.garbage_failures == 0 && !self.garbage_held {
                    warn("elacsym maintenance could not delete released objects", error);
                }
                self.garbage_failures += 1;
                (!self.garbage_held).then_some(LOOK_AGAIN.1)
            }
        }
    }

    /// Goes on with the search for orphans, if it is time for that. Returns when to look again if it is not at its end.
    fn sweep(&mut self) -> Option<Duration> {
        match self.sweep.step() {
            Ok(Swept::Underway) => Some(LOOK_AGAIN.0),
            Ok(Swept::Idle) => None,
            Err(error) => {
                warn("elacsym maintenance could not search for orphans in object storage", error);
                None
            }
        }
    }
}

impl Watch {
    /// Notes a failure; says so once, then keeps quiet until it has worked again.
    fn failed(&mut self, name: &str, error: Error) -> Duration {
        if self.failures == 0 {
            warn(&format!("elacsym could not flush namespace \"{name}\""), error);
        }
        back_pressure::note_flush(true);
        self.failures += 1;
        let pause = back_off(self.failures);
        self.retry_at = Some(Instant::now() + pause);
        pause
    }
}

pub(super) fn back_off(failures: u32) -> Duration {
    if failures == 0 { Duration::ZERO } else { (RETRY.0 * 2_u32.pow((failures - 1).min(10))).min(RETRY.1) }
}

/// `None` when the namespace should be worked on now, else how long it can wait. `all_due`: whatever is buffered, because the
/// buffer of the database is large.
fn due_in(found: &Found, watch: &Watch, own: Thresholds, all_due: bool) -> Option<Duration> {
    if let Some(at) = watch.retry_at {
        let pause = at.saturating_duration_since(Instant::now());
        return (!pause.is_zero()).then_some(pause);
    }
    let (rows, bytes) = (own.rows.unwrap_or_else(gucs::flush_rows), own.bytes.unwrap_or_else(gucs::flush_bytes));
    let full = found.rows >= rows || found.bytes >= bytes;
    // Nothing buffered: the manifest is behind, and is written at once.
    if full || all_due || found.rows == 0 {
        return None;
    }
    let left = own.interval.unwrap_or_else(gucs::flush_interval).saturating_sub(watch.since.elapsed());
    (!left.is_zero()).then_some(left)
}

/// The namespaces with buffered rows or an outdated manifest; `None` when the extension is not installed.
fn look(thresholds: &HashMap<NamespaceId, Thresholds>) -> Result<Option<Vec<Found>>> {
    transaction(|| {
        // SAFETY: a C string; `true` means that a missing extension is no error.
        if unsafe { pg_sys::get_extension_oid(c"elacsym".as_ptr(), true) } == pg_sys::InvalidOid {
            return Ok(None);
        }
        let snapshot = Snapshot::statement()?;
        let mut found = Vec::new();
        for row in catalog::namespaces(&snapshot)? {
            let own = thresholds.get(&row.id).copied().unwrap_or_default();
            // Enough rows to know whether a flush is due, and no more.
            let rows = own.rows.unwrap_or_else(gucs::flush_rows);
            let bytes = own.bytes.unwrap_or_else(gucs::flush_bytes);
            let budget = Budget { rows: usize::try_from(rows).unwrap_or(usize::MAX), bytes };
            let buffered = buffer_table::read(row.id, row.watermark, &snapshot, Some(budget))?;
            let full = buffered.rest.is_some();
            let rows = if full { budget.rows.max(buffered.rows.len()) } else { buffered.rows.len() };
            if rows > 0 || row.generation != row.manifest_generation {
                found.push(Found { row, rows: rows as u64, bytes: buffered.bytes });
            }
        }
        Ok(Some(found))
    })
}

/// What became of a flush.
pub(super) enum Flushed {
    /// Nothing is left to do.
    Done,
    /// Somebody else is at it, or drops the namespace, or what is buffered waits for transactions to end: look again later.
    Busy,
}

/// Flushes one namespace, if `flush` says so, and writes its manifest.
fn maintain_namespace(row: &NamespaceRow, flush: bool) -> Result<Flushed> {
    let locked = transaction_after(
        || SessionLock::try_acquire(Target::Flush(row.id), Mode::Exclusive),
        |lock| {
            let Some(lock) = lock else { return Ok(None) };
            let snapshot = Snapshot::statement()?;
            let plan = match catalog::namespace_by_id(row.id, &snapshot)? {
                Some(row) if flush => Plan::read(row, &snapshot)?,
                _ => None,
            };
            Ok(Some((lock, plan)))
        },
    )?;
    let Some((lock, plan)) = locked else { return Ok(Flushed::Busy) };
    // Patches that older transactions keep from being flushed.
    let waits = flush && plan.is_none();
    let result = flush_locked(row, plan, &lock);
    lock.release();
    if waits && matches!(result, Ok(Flushed::Done)) { Ok(Flushed::Busy) } else { result }
}

fn flush_locked(row: &NamespaceRow, plan: Option<Plan>, lock: &SessionLock) -> Result<Flushed> {
    if let Some(plan) = plan {
        gucs::fault_point("flush.after_read");
        let result = engine_call::flushed(&plan.request(), OwnTransaction { view: &plan.view })?;
        gucs::fault_point("flush.after_upload");
        let published = publish(&plan, result.clone(), lock);
        match published {
            Ok(true) => gucs::fault_point("flush.after_commit"),
            Ok(false) => {
                discard(&result);
                return Ok(Flushed::Busy);
            }
            Err(error) => {
                // Whether a commit that failed has happened is not always known, so the objects stay: the search for
                // orphans removes them if nothing refers to them.
                return Err(error);
            }
        }
    }
    write_manifest(row.id, lock)?;
    Ok(Flushed::Done)
}

/// False when the namespace is locked by a drop, or gone: nothing was changed then.
pub(super) fn publish(plan: &Plan, result: FlushResult, lock: &SessionLock) -> Result<bool> {
    let published = transaction_after(
        || locks::try_lock(Target::Namespace(plan.row.id), Mode::RowExclusive),
        |free| {
            if !free || !lock.is_held() {
                return Ok(false);
            }
            let current = catalog::namespace_by_id(plan.row.id, &Snapshot::statement()?)?;
            if current.is_none() {
                return Ok(false);
            }
            plan.publish(current, result)?;
            gucs::fault_point("flush.after_publish_before_commit");
            Ok(true)
        },
    );
    match published {
        Err(error) if error.kind == ErrorKind::Fenced => Ok(false),
        other => other,
    }
}

/// Deletes the objects of a flush that was not published; nothing ever referred to them.
pub(super) fn discard(result: &FlushResult) {
    let Some((root, keys)) = Plan::leftovers(result) else { return };
    if let Err(error) = engine_call::done(&Request::DeleteObjects { root, keys }) {
        warn("elacsym could not delete the objects of an abandoned flush", error);
    }
}

/// Answers the engine from a transaction of its own, because none is open while the engine works. The rows are still
/// there: only a flush or a drop of the namespace deletes them. If it was dropped and another row took the place, the
/// CRC, which covers the row's identity, tells.
pub(super) struct OwnTransaction<'a> {
    pub view: &'a View,
}

impl Needs for OwnTransaction<'_> {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        transaction(|| {
            let snapshot = Snapshot::statement()?;
            if catalog::namespace_by_id(self.view.id, &snapshot)?.is_none() {
                return Err(Error::new(ErrorKind::Fenced, "the namespace was dropped"));
            }
            Source { view: self.view, snapshot: &snapshot }.read(entries, delete_vectors)
        })
    }
}

/// Writes the manifest of the newest generation, if it is not written yet.
fn write_manifest(id: NamespaceId, lock: &SessionLock) -> Result<()> {
    let root = gucs::storage_root()?;
    let built = transaction(|| {
        let snapshot = Snapshot::statement()?;
        match catalog::namespace_by_id(id, &snapshot)? {
            Some(row) if row.generation != row.manifest_generation => {
                let json = manifest::build(&row, &snapshot)?;
                Ok(Some((row.generation, json)))
            }
            _ => Ok(None),
        }
    })?;
    let Some((generation, json)) = built else { return Ok(()) };
    let path = namespace::object_path(id);
    let key = manifest::object_key(&path, generation);
    let written = put_manifest(&Request::PutManifest { root: root.clone(), path, generation, json }, &root, key)?;
    if written {
        counters::manifest_written(id);
    }
    gucs::fault_point("manifest.after_put");
    transaction_after(
        || locks::try_lock(Target::Namespace(id), Mode::RowExclusive),
        |free| {
            let row = catalog::namespace_by_id(id, &Snapshot::statement()?)?;
            match row {
                Some(row) if free && lock.is_held() && row.generation == generation => {
                    manifest::record(row, written.then_some(root.as_str()))
                }
                // Being dropped, or gone: the drop releases no manifest it does not know of, the search for orphans does.
                _ => Ok(()),
            }
        },
    )?;
    gucs::fault_point("manifest.after_commit");
    Ok(())
}

/// Puts a manifest; false if that is not ours to do.
fn put_manifest(put: &Request, root: &str, key: String) -> Result<bool> {
    match engine_call::done(put) {
        Err(error) if error.kind == ErrorKind::Fenced => {}
        done => return done.map(|()| true),
    }
    // There is one with another content: of a history that recovery to an earlier time has cut off, or of a copy of this server.
    match garbage::claim(root, true) {
        Err(error) if error.kind == ErrorKind::Fenced => {
            warn("elacsym leaves the manifest of a namespace to another server", error);
            return Ok(false);
        }
        other => other?,
    }
    garbage::delete(root, vec![key])?;
    engine_call::done(put).map(|()| true)
}
