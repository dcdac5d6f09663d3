//! Shared memory: what backends, the supervisor and the maintenance workers must know of each other.
//!
//! Every field is an atomic. The lock only serialises who owns which slot; whoever runs where a lock must not be taken
//! (exit callbacks, a commit that finds its request already noted) reads and writes single fields without it.

use super::counters::Counters;
use super::database_gauges::{DatabaseFigures, DatabaseGauges};
use crate::pg::back_pressure::Gauge;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Databases that can wait for maintenance at once: 16 times what one server usually hosts, at about 200 bytes each. More are not
/// lost: [`overflowed`] makes the launcher look at every database again.
pub const MAX_DATABASES: usize = 1_024;
/// How long a [`Hold`] lasts if its owner never ends it: PostgreSQL's own wait for other sessions is 5 s.
const HOLD_LIMIT: Duration = Duration::from_secs(30);
/// How long a backend waits for a maintenance worker to leave the database.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Pause after the first failure of a maintenance worker, doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Pause after a compaction was cancelled: who cancels it wants the machine for something else.
const COMPACT_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause between two attempts.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Failures to connect to a database after which nobody tries again until the next request (it may be gone).
const MAX_CONNECT_FAILURES: u32 = 3;

/// One database.
#[repr(C)]
struct Slot {
    /// 0: the slot is free.
    database: AtomicU32,
    /// Work may be there that no worker has looked at.
    pending: AtomicBool,
    /// The worker is connected to its database.
    connected: AtomicBool,
    /// Not 0: a worker is registered with the postmaster under this number.
    registration: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// Process id of the worker; 0: none runs.
    worker: AtomicI32,
    /// No worker starts before this time (microseconds of PostgreSQL's clock).
    retry_at: AtomicI64,
    /// No worker starts before this time because somebody needs the database for himself.
    hold_until: AtomicI64,
    latch: AtomicPtr<pg_sys::Latch>,
    /// No worker starts a compaction before this time: one was cancelled.
    compact_after: AtomicI64,
    /// When a worker of this database last announced the server in object storage.
    announced_at: AtomicI64,
    /// When one last came to the end of a search for orphans.
    swept_at: AtomicI64,
    /// How full the write buffer is.
    gauge: Gauge,
    gauges: DatabaseGauges,
}

#[repr(C)]
struct Shared {
    lock: *mut pg_sys::LWLock,
    supervisor: AtomicI32,
    supervisor_latch: AtomicPtr<pg_sys::Latch>,
    engine: AtomicI32,
    engine_starts: AtomicU64,
    engine_started_at: AtomicI64,
    engine_problem: AtomicU32,
    launcher_done: AtomicBool,
    /// When the launcher last listed the databases.
    launched_at: AtomicI64,
    overflowed: AtomicBool,
    slots: [Slot; MAX_DATABASES],
    compactions: super::compaction_progress::Table,
    counters: Counters,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());
/// The slot this process used last.
static LAST_SLOT: AtomicUsize = AtomicUsize::new(0);
/// \[worker\] The slot this process has claimed.
static OWN_SLOT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// \[worker\] See [`set_compacting`].
static COMPACTING: AtomicBool = AtomicBool::new(false);

const NAME: &std::ffi::CStr = c"elacsym";

/// Why there is no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum EngineProblem {
    /// Nothing known: it runs, starts, or restarts.
    None = 0,
    /// The executable is missing or cannot be executed.
    Executable = 1,
    /// A setting is wrong.
    Settings = 2,
    /// It ended several times right after its start.
    Crashing = 3,
    /// The supervisor itself does not run (yet).
    Supervisor = 4,
}

impl EngineProblem {
    /// Waiting does not help: a person has to do something.
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Executable | Self::Settings)
    }

    /// For the detail of an error.
    pub fn describe(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Executable => Some("The engine's executable is missing or cannot be executed."),
            Self::Settings => Some("A setting of elacsym is not valid."),
            Self::Crashing => Some("The engine ends right after each start."),
            Self::Supervisor => Some(
                "The elacsym supervisor is not running: the server is still starting, or max_worker_processes is too low.",
            ),
        }
    }
}

// ---- set-up ----

static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;
#[cfg(not(feature = "pg14"))]
static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;

/// \[postmaster\] Asks for the memory and the lock; called once, from `_PG_init`.
pub fn request() {
    #[cfg(feature = "pg14")]
    reserve();
    #[cfg(not(feature = "pg14"))]
    {
        // SAFETY: the postmaster is single-threaded and still starting.
        unsafe {
            PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        }
        // SAFETY: as above.
        unsafe {
            pg_sys::shmem_request_hook = Some(request_hook);
        }
    }
    // SAFETY: as above.
    unsafe {
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::shmem_startup_hook = Some(startup_hook);
    }
}

#[cfg(not(feature = "pg14"))]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn request_hook() {
    // SAFETY: written once in `request`.
    if let Some(previous) = unsafe { PREVIOUS_REQUEST } {
        // SAFETY: the hook of another library, called as PostgreSQL would.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| previous()) };
    }
    reserve();
}

fn reserve() {
    // SAFETY: allowed here, and only here.
    unsafe { pg_sys::RequestAddinShmemSpace(size_of::<Shared>()) };
    // SAFETY: as above; the name is a literal.
    unsafe { pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn startup_hook() {
    // SAFETY: written once in `request`.
    if let Some(previous) = unsafe { PREVIOUS_STARTUP } {
        // SAFETY: the hook of another library, called as PostgreSQL would.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| previous()) };
    }
    let mut found = false;
    // No lock against others: only the postmaster runs this hook on the systems we support (no EXEC_BACKEND).
    // SAFETY: the space was requested; the name is a literal.
    let shared = unsafe { pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Shared>(), &mut found) }.cast::<Shared>();
    if !found {
        // All-zero is the initial state of every field.
        // SAFETY: ShmemInitStruct gave that many bytes, aligned to a cache line.
        unsafe { shared.write_bytes(0, 1) };
        // SAFETY: the tranche was requested.
        let lock = unsafe { pg_sys::GetNamedLWLockTranche(NAME.as_ptr()) };
        // SAFETY: `shared` is valid; nobody else sees it yet.
        unsafe { (*shared).lock = &raw mut (*lock).lock };
    }
    SHARED.store(shared, Ordering::Release);
}

/// True when the library was preloaded.
pub fn is_attached() -> bool {
    !SHARED.load(Ordering::Relaxed).is_null()
}

fn shared() -> Option<&'static Shared> {
    // SAFETY: null, or memory that lives as long as the process and holds only atomics and one constant pointer.
    unsafe { SHARED.load(Ordering::Relaxed).as_ref() }
}

/// Runs `body` under the lock. `body` must neither raise nor take another lock.
fn locked<R>(shared: &Shared, body: impl FnOnce() -> R) -> R {
    // SAFETY: the lock of our own tranche; never held by this process already, as `body` takes none.
    unsafe { pg_sys::LWLockAcquire(shared.lock, pg_sys::LWLockMode::LW_EXCLUSIVE) };
    let result = body();
    // SAFETY: acquired above.
    unsafe { pg_sys::LWLockRelease(shared.lock) };
    result
}

/// Counters of the server; none when not preloaded.
pub fn counters() -> Option<&'static Counters> {
    shared().map(|shared| &shared.counters)
}

/// Runs `body` under the lock; none when not preloaded. `body` must neither raise nor take another lock.
pub fn with_lock<R>(body: impl FnOnce() -> R) -> Option<R> {
    shared().map(|shared| locked(shared, body))
}

/// What the maintenance workers have counted, by oid of the database.
pub fn databases() -> Vec<(u32, DatabaseFigures)> {
    let slots = shared().map_or(&[][..], |shared| &shared.slots[..]).iter();
    let known = slots.filter_map(|slot| Some((slot.database.load(Ordering::Acquire), slot.gauges.load()?)));
    known.filter(|(database, _)| *database != 0).collect()
}

/// \[worker\] What is in this database; none: the extension is not there.
pub fn set_gauges(figures: Option<&DatabaseFigures>) {
    let Some(slot) = own_slot() else { return };
    match figures {
        Some(figures) => slot.gauges.store(figures),
        None => slot.gauges.clear(),
    }
}

/// PostgreSQL's clock in microseconds.
fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

fn after(pause: Duration) -> i64 {
    after_time(now(), pause)
}

fn after_time(time: i64, pause: Duration) -> i64 {
    time.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}

fn wake(latch: &AtomicPtr<pg_sys::Latch>) {
    let latch = latch.load(Ordering::Acquire);
    if !latch.is_null() {
        // SAFETY: a latch inside a PGPROC: shared memory that is never freed. A stale one wakes somebody for nothing.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

/// The latch of this process in shared memory.
fn own_latch() -> *mut pg_sys::Latch {
    // SAFETY: every process with shared memory access has a PGPROC.
    unsafe { &raw mut (*pg_sys::MyProc).procLatch }
}

impl Shared {
    fn find(&self, database: u32) -> Option<usize> {
        let last = LAST_SLOT.load(Ordering::Relaxed);
        let is = |slot: &Slot| slot.database.load(Ordering::Acquire) == database;
        let index = if self.slots.get(last).is_some_and(is) { Some(last) } else { self.slots.iter().position(is) };
        if let Some(index) = index {
            LAST_SLOT.store(index, Ordering::Relaxed);
        }
        index
    }

    /// Finds or takes a slot; call it under the lock. None: every slot is in use.
    fn slot_for(&self, database: u32) -> Option<&Slot> {
        if let Some(index) = self.find(database) {
            return self.slots.get(index);
        }
        let time = now();
        let free = |slot: &&Slot| slot.database.load(Ordering::Acquire) == 0;
        let slot = self.slots.iter().find(free).or_else(|| self.slots.iter().find(|slot| slot.is_idle(time)))?;
        slot.failures.store(0, Ordering::Release);
        slot.retry_at.store(0, Ordering::Release);
        slot.hold_until.store(0, Ordering::Release);
        slot.compact_after.store(0, Ordering::Release);
        slot.announced_at.store(0, Ordering::Release);
        slot.swept_at.store(0, Ordering::Release);
        slot.gauge.reset();
        slot.gauges.clear();
        slot.database.store(database, Ordering::Release);
        Some(slot)
    }
}

impl Slot {
    fn is_busy(&self) -> bool {
        self.registration.load(Ordering::Acquire) != 0 || self.worker.load(Ordering::Acquire) != 0
    }

    /// Nothing is lost when another database takes the slot.
    fn is_idle(&self, time: i64) -> bool {
        let waited_for = self.pending.load(Ordering::SeqCst) || self.hold_until.load(Ordering::Acquire) > time;
        !self.is_busy() && !waited_for && !self.gauge.has_writers()
    }

    /// Notes a failure and when to try again.
    fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if failures >= MAX_CONNECT_FAILURES && !self.connected.load(Ordering::Acquire) {
            self.pending.store(false, Ordering::SeqCst);
            self.failures.store(0, Ordering::Release);
            return;
        }
        let pause = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LAST_RETRY);
        self.retry_at.store(after(pause), Ordering::Release);
        self.pending.store(true, Ordering::SeqCst);
    }
}

// ---- requests for maintenance ----

/// \[backend\] Notes that `database` has work for its maintenance worker, and wakes it (or the supervisor, which starts it).
/// Idempotent and cheap; safe in a commit callback: no allocation, no error. Nothing happens when not preloaded.
pub fn nudge_maintenance(database: pg_sys::Oid) {
    let Some(shared) = shared() else { return };
    let database = database.to_u32();
    if database == 0 {
        return;
    }
    // Already noted and not yet taken up: whoever noted it woke somebody, and the worker clears the note before it looks.
    let last = shared.slots.get(LAST_SLOT.load(Ordering::Relaxed));
    if last.is_some_and(|slot| slot.database.load(Ordering::SeqCst) == database && slot.pending.load(Ordering::SeqCst))
    {
        return;
    }
    let noted = locked(shared, || {
        let slot = shared.slot_for(database)?;
        slot.pending.store(true, Ordering::SeqCst);
        Some((slot.worker.load(Ordering::Acquire), &slot.latch))
    });
    match noted {
        Some((worker, latch)) if worker != 0 => wake(latch),
        Some(_) => wake(&shared.supervisor_latch),
        None => {
            shared.overflowed.store(true, Ordering::SeqCst);
            wake(&shared.supervisor_latch);
        }
    }
}

/// The gauge of the write buffer of a database. None when not preloaded, or if there are too many databases: then nobody is
/// held back there.
pub fn gauge(database: pg_sys::Oid) -> Option<&'static Gauge> {
    if let Some(gauge) = known_gauge(database) {
        return Some(gauge);
    }
    let shared = shared().filter(|_| database != pg_sys::InvalidOid)?;
    locked(shared, || shared.slot_for(database.to_u32())).map(|slot| &slot.gauge)
}

/// As [`gauge`], if somebody has asked for it before: takes no lock.
pub fn known_gauge(database: pg_sys::Oid) -> Option<&'static Gauge> {
    let shared = shared().filter(|_| database != pg_sys::InvalidOid)?;
    shared.find(database.to_u32()).and_then(|index| shared.slots.get(index)).map(|slot| &slot.gauge)
}

/// \[backend\] Keeps maintenance workers out of one database while it lives.
#[derive(Debug)]
pub struct Hold {
    database: u32,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(shared) = shared() else { return };
        // No lock: this may run while an error unwinds.
        if let Some(slot) = shared.find(self.database).and_then(|index| shared.slots.get(index)) {
            slot.hold_until.store(0, Ordering::Release);
        }
        let latch = shared.supervisor_latch.load(Ordering::Acquire);
        if !latch.is_null() {
            // SAFETY: as in `wake`; SetLatch raises nothing.
            unsafe { pg_sys::SetLatch(latch) };
        }
    }
}

/// \[backend\] Ends the maintenance worker of `database`, waits (a bounded time, cancellable) until it has left the
/// database, and lets none start until the [`Hold`] is dropped. None when not preloaded.
pub fn hold_maintenance(database: pg_sys::Oid) -> Option<Hold> {
    let shared = shared()?;
    let database = database.to_u32();
    if database == 0 {
        return None;
    }
    let slot = locked(shared, || {
        let slot = shared.slot_for(database)?;
        slot.hold_until.store(after(HOLD_LIMIT), Ordering::Release);
        let worker = slot.worker.load(Ordering::Acquire);
        if worker != 0 {
            // SAFETY: touches no memory. The pid is of a living worker: its exit callback clears the field.
            unsafe { libc::kill(worker, libc::SIGTERM) };
        }
        Some(slot)
    })?;
    let hold = Hold { database };
    let limit = after(STOP_LIMIT);
    while slot.worker.load(Ordering::Acquire) != 0 && now() < limit {
        super::worker::nap(Duration::from_millis(5));
    }
    Some(hold)
}

/// \[backend\] `database` is gone: nobody needs to look after it.
pub fn forget(database: pg_sys::Oid) {
    let Some(shared) = shared() else { return };
    locked(shared, || {
        if let Some(slot) = shared.find(database.to_u32()).and_then(|index| shared.slots.get(index)) {
            slot.pending.store(false, Ordering::SeqCst);
            if !slot.is_busy() {
                slot.database.store(0, Ordering::Release);
            }
        }
    });
}

// ---- the maintenance worker ----

/// \[worker\] Takes the slot of `database` for this process. False: another worker has it, or somebody holds the database;
/// the caller ends at once.
pub fn claim(database: pg_sys::Oid) -> bool {
    let Some(shared) = shared() else { return false };
    // SAFETY: set when the process started.
    let pid = unsafe { pg_sys::MyProcPid };
    let index = locked(shared, || {
        let slot = shared.slot_for(database.to_u32())?;
        if slot.worker.load(Ordering::Acquire) != 0 || slot.hold_until.load(Ordering::Acquire) > now() {
            return None;
        }
        slot.connected.store(false, Ordering::Release);
        slot.latch.store(own_latch(), Ordering::Release);
        slot.worker.store(pid, Ordering::Release);
        shared.find(database.to_u32())
    });
    let Some(index) = index else { return false };
    OWN_SLOT.store(index, Ordering::Relaxed);
    // Registered before the connection is made, so it runs after the process has left the array of processes: once
    // `worker` is 0, nothing of it blocks DROP DATABASE.
    // SAFETY: the callback is guarded and takes no lock.
    unsafe { pg_sys::on_shmem_exit(Some(worker_exit), pg_sys::Datum::from(index)) };
    true
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn worker_exit(code: i32, index: pg_sys::Datum) {
    let Some(shared) = shared() else { return };
    let Some(slot) = shared.slots.get(index.value()) else { return };
    if code == 0 {
        slot.failures.store(0, Ordering::Release);
    } else {
        slot.failed();
        if COMPACTING.load(Ordering::Relaxed) {
            slot.compact_after.store(after(COMPACT_PAUSE), Ordering::Release);
        }
    }
    slot.latch.store(std::ptr::null_mut(), Ordering::Release);
    slot.registration.store(0, Ordering::Release);
    slot.worker.store(0, Ordering::Release);
    wake(&shared.supervisor_latch);
}

/// \[worker\] The worker is connected to its database.
pub fn connected() {
    if let Some(slot) = own_slot() {
        slot.connected.store(true, Ordering::Release);
    }
}

/// \[worker\] Was work requested since the last call? Clears the request, so ask *before* looking for work: whatever
/// commits after that asks again.
pub fn take_pending() -> bool {
    own_slot().is_some_and(|slot| slot.pending.swap(false, Ordering::SeqCst))
}

/// \[worker\] Whether this process has a compaction under way. If it is cancelled then (or fails), the next worker waits a
/// minute before it starts one.
pub fn set_compacting(compacting: bool) {
    COMPACTING.store(compacting, Ordering::Relaxed);
}

/// \[worker\] How long no compaction is to be started because one was cancelled.
pub fn compaction_pause() -> Option<Duration> {
    let left = own_slot()?.compact_after.load(Ordering::Acquire).saturating_sub(now());
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_micros)
}

/// The compactions under way, of all databases; none when not preloaded.
pub fn compactions() -> Option<&'static super::compaction_progress::Table> {
    shared().map(|shared| &shared.compactions)
}

/// \[worker\] Leaves room for the workers of other databases: another one comes after so long.
pub fn come_back(pause: Duration) {
    if let Some(slot) = own_slot() {
        slot.retry_at.store(after(pause), Ordering::Release);
        slot.pending.store(true, Ordering::SeqCst);
    }
}

/// \[worker\] Other databases wait for a worker: do not idle.
pub fn others_waiting() -> bool {
    let time = now();
    shared().is_some_and(|shared| shared.slots.iter().any(|slot| slot.is_launchable(time)))
}

/// Whether `period` has passed since `last`, or the clock was set back.
fn is_due(last: &AtomicI64, period: Duration) -> bool {
    let (last, time) = (last.load(Ordering::Acquire), now());
    last == 0 || last > time || after_time(last, period) <= time
}

/// \[worker\] Is it time to announce this server in object storage?
pub fn announce_due(period: Duration) -> bool {
    own_slot().is_some_and(|slot| is_due(&slot.announced_at, period))
}

/// \[worker\] It is being done.
pub fn announced() {
    if let Some(slot) = own_slot() {
        slot.announced_at.store(now(), Ordering::Release);
    }
}

/// \[worker\] Is it time to search for orphans?
pub fn sweep_due(interval: Duration) -> bool {
    own_slot().is_some_and(|slot| is_due(&slot.swept_at, interval))
}

/// \[worker\] It is done.
pub fn swept() {
    if let Some(slot) = own_slot() {
        slot.swept_at.store(now(), Ordering::Release);
    }
}

fn own_slot() -> Option<&'static Slot> {
    shared()?.slots.get(OWN_SLOT.load(Ordering::Relaxed))
}

// ---- the supervisor ----

impl Slot {
    fn is_launchable(&self, time: i64) -> bool {
        self.database.load(Ordering::Acquire) != 0
            && self.pending.load(Ordering::SeqCst)
            && !self.is_busy()
            && self.retry_at.load(Ordering::Acquire) <= time
            && self.hold_until.load(Ordering::Acquire) <= time
    }
}

/// \[supervisor\] This process is the supervisor now. A predecessor's registrations are forgotten: a worker that starts
/// nevertheless finds the slot taken and ends.
pub fn become_supervisor() {
    let Some(shared) = shared() else { return };
    for slot in &shared.slots {
        if slot.worker.load(Ordering::Acquire) == 0 {
            slot.registration.store(0, Ordering::Release);
        }
    }
    shared.engine.store(0, Ordering::Release);
    // SAFETY: set when the process started.
    let pid = unsafe { pg_sys::MyProcPid };
    shared.supervisor.store(pid, Ordering::Release);
    shared.supervisor_latch.store(own_latch(), Ordering::Release);
}

/// \[supervisor\] Databases (slot and oid) whose worker should start now: at most `limit` minus those that run, which are at
/// least `registered` (the postmaster may not have noticed yet that a worker has ended, and its place is not free before).
pub fn launchable(limit: usize, registered: usize) -> Vec<(usize, pg_sys::Oid)> {
    let Some(shared) = shared() else { return Vec::new() };
    let time = now();
    let busy = shared.slots.iter().filter(|slot| slot.is_busy()).count().max(registered);
    let slots = shared.slots.iter().enumerate().filter(|(_, slot)| slot.is_launchable(time));
    slots
        .take(limit.saturating_sub(busy))
        .map(|(index, slot)| (index, pg_sys::Oid::from(slot.database.load(Ordering::Acquire))))
        .collect()
}

/// \[supervisor\] Milliseconds until a database that failed may be tried again; none when nothing waits for a time.
pub fn next_retry() -> Option<Duration> {
    let time = now();
    let slots = shared()?.slots.iter();
    let waiting = slots.filter(|slot| slot.pending.load(Ordering::SeqCst) && !slot.is_busy());
    let at = waiting.map(|slot| slot.retry_at.load(Ordering::Acquire).max(slot.hold_until.load(Ordering::Acquire)));
    at.min().map(|at| Duration::from_micros(u64::try_from(at.saturating_sub(time)).unwrap_or(0)))
}

/// \[supervisor\] A worker is being registered for the slot (`registration` is not 0), or the registration failed (0).
pub fn set_registration(index: usize, registration: u32) {
    if let Some(slot) = shared().and_then(|shared| shared.slots.get(index)) {
        slot.registration.store(registration, Ordering::Release);
    }
}

/// \[supervisor\] The postmaster says that the worker of this registration has ended. If it never reached its own exit
/// callback (it could not start), that is a failure.
pub fn worker_stopped(index: usize, registration: u32) {
    let Some(slot) = shared().and_then(|shared| shared.slots.get(index)) else { return };
    if slot.registration.load(Ordering::Acquire) == registration && slot.worker.load(Ordering::Acquire) == 0 {
        slot.connected.store(false, Ordering::Release);
        if slot.hold_until.load(Ordering::Acquire) <= now() {
            slot.failed();
        }
        slot.registration.store(0, Ordering::Release);
    }
}

/// \[supervisor\] An engine runs (`Some`) or has ended.
pub fn set_engine(pid: Option<i32>) {
    let Some(shared) = shared() else { return };
    if pid.is_some() {
        shared.engine_starts.fetch_add(1, Ordering::AcqRel);
        shared.engine_started_at.store(now(), Ordering::Release);
    }
    shared.engine.store(pid.unwrap_or(0), Ordering::Release);
}

/// \[supervisor\] Says to waiting backends why there is no engine.
pub fn set_engine_problem(problem: EngineProblem) {
    if let Some(shared) = shared() {
        shared.engine_problem.store(problem as u32, Ordering::Release);
    }
}

/// \[backend\] Why there is no engine, as far as the supervisor knows.
pub fn engine_problem() -> EngineProblem {
    let Some(shared) = shared() else { return EngineProblem::None };
    if shared.supervisor.load(Ordering::Acquire) == 0 {
        return EngineProblem::Supervisor;
    }
    match shared.engine_problem.load(Ordering::Acquire) {
        1 => EngineProblem::Executable,
        2 => EngineProblem::Settings,
        3 => EngineProblem::Crashing,
        _ => EngineProblem::None,
    }
}

/// What the supervisor knows of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineState {
    /// Process id; 0: none runs.
    pub pid: i32,
    /// How often one was started since the server's start.
    pub starts: u64,
    /// When the last one was started (`timestamptz`).
    pub started_at: i64,
}

/// \[backend\] What the supervisor knows of the engine; none when not preloaded.
pub fn engine_state() -> Option<EngineState> {
    shared().map(|shared| EngineState {
        pid: shared.engine.load(Ordering::Acquire),
        starts: shared.engine_starts.load(Ordering::Acquire),
        started_at: shared.engine_started_at.load(Ordering::Acquire),
    })
}

/// \[supervisor\] How long until the launcher has to list the databases again, because `period` has passed since it did, or not
/// all fitted. None when not preloaded.
pub fn launcher_due_in(period: Duration) -> Option<Duration> {
    let shared = shared()?;
    let needed = !shared.launcher_done.load(Ordering::Acquire) || shared.overflowed.load(Ordering::SeqCst);
    if needed || is_due(&shared.launched_at, period) {
        return Some(Duration::ZERO);
    }
    let left = after_time(shared.launched_at.load(Ordering::Acquire), period).saturating_sub(now());
    Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
}

/// \[backend\] Asks for a round of the launcher now.
pub fn request_launch() {
    let Some(shared) = shared() else { return };
    shared.launched_at.store(0, Ordering::Release);
    wake(&shared.supervisor_latch);
}

/// \[launcher\] Called before the databases are listed: requests that find no room from now on ask for another round.
pub fn launcher_begins() {
    if let Some(shared) = shared() {
        shared.overflowed.store(false, Ordering::SeqCst);
    }
}

/// \[launcher\] Every database was requested.
pub fn launcher_done() {
    if let Some(shared) = shared() {
        shared.launcher_done.store(true, Ordering::Release);
        shared.launched_at.store(now(), Ordering::Release);
    }
}
