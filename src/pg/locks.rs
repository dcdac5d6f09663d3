//! Heavyweight locks on namespaces: visible in `pg_locks` as objects of `elacsym.namespace`, known to the deadlock
//! detector.
//!
//! | who | namespace lock | flush lock | publish lock |
//! |---|---|---|---|
//! | query, fetch, scan | access share | | |
//! | upsert, patch, delete | row exclusive, then bucket locks ([`super::buckets`]) | | |
//! | grant, revoke | access share, then (name lock) exclusive | | |
//! | bulk upsert | row exclusive | exclusive if it is free, to the end of the transaction | exclusive, to the end of the transaction |
//! | flush, publishing | row exclusive | exclusive, from before reading to after publishing | exclusive, while publishing |
//! | alter | row exclusive | exclusive, to the end of the transaction | exclusive, to the end of the transaction |
//! | drop | access exclusive | | |
//! | create | (name lock) exclusive | | |
//! | VACUUM of an indexed table | | | share, while it lists the entries |
//! | compaction, publishing | row exclusive | exclusive, while publishing | exclusive, while publishing |
//!
//! Order: namespace, then buckets in ascending order, then flush, then publish. The maintenance worker takes the first two conditionally and waits for
//! neither. Beside these there is a compaction lock, held exclusively for the whole of a compaction, before all others but the
//! namespace's: two would only throw away each other's work. Nobody needs a namespace lock to search an index or to write to it: the locks on the relations do that.

use crate::error::Result;
use crate::ids::NamespaceId;
use crate::pg::heap_table::Name;
use pgrx::pg_sys;

/// How strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reading.
    AccessShare,
    /// Writing.
    RowExclusive,
    /// Beside others of its kind.
    Share,
    /// One at a time, beside readers and writers of other kinds of lock.
    Exclusive,
    /// Alone.
    AccessExclusive,
}

impl Mode {
    fn number(self) -> i32 {
        (match self {
            Self::AccessShare => pg_sys::AccessShareLock,
            Self::RowExclusive => pg_sys::RowExclusiveLock,
            Self::Share => pg_sys::ShareLock,
            Self::Exclusive => pg_sys::ExclusiveLock,
            Self::AccessExclusive => pg_sys::AccessExclusiveLock,
        }) as i32
    }
}

/// What is locked. Two namespaces may share a lock (the tag has 32 bits): they then wait for each other, nothing else.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The namespace itself.
    Namespace(NamespaceId),
    /// The right to change its set of segments.
    Flush(NamespaceId),
    /// The right to publish a change of the set of segments.
    Publish(NamespaceId),
    /// The right to create a namespace of this name, or to change who may use it.
    Name(&'a str),
    /// The right to merge its segments.
    Compact(NamespaceId),
    /// The documents of one bucket of a namespace.
    Bucket(NamespaceId, u16),
}

/// The first number of buckets in a lock tag; those below are the other kinds of lock on a namespace.
const FIRST_BUCKET: u16 = 16;

impl Target<'_> {
    fn tag(self) -> Result<pg_sys::LOCKTAG> {
        let (object, sub) = match self {
            Self::Namespace(id) => (crc32fast::hash(&id.0), 0),
            Self::Flush(id) => (crc32fast::hash(&id.0), 1),
            Self::Publish(id) => (crc32fast::hash(&id.0), 3),
            Self::Compact(id) => (crc32fast::hash(&id.0), 4),
            Self::Name(name) => (crc32fast::hash(name.as_bytes()), 2),
            Self::Bucket(id, number) => (crc32fast::hash(&id.0), FIRST_BUCKET + number),
        };
        Ok(pg_sys::LOCKTAG {
            // SAFETY: a plain global, set once when the process connects to its database.
            locktag_field1: unsafe { pg_sys::MyDatabaseId }.into(),
            locktag_field2: Name::Namespace.oid()?.into(),
            locktag_field3: object,
            locktag_field4: sub,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        })
    }
}

fn acquire(tag: &pg_sys::LOCKTAG, mode: Mode, session: bool, dont_wait: bool) -> bool {
    // SAFETY: a complete tag of the default lock method.
    let result = unsafe { pg_sys::LockAcquire(tag, mode.number(), session, dont_wait) };
    if result == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
        return false;
    }
    // SAFETY: no arguments; what changed while we waited must be seen.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    true
}

/// Waits for the lock and keeps it to the end of the transaction, or to the rollback of the subtransaction.
pub fn lock(target: Target<'_>, mode: Mode) -> Result<()> {
    acquire(&target.tag()?, mode, false, false);
    Ok(())
}

/// Takes the lock to the end of the transaction if it is free now.
pub fn try_lock(target: Target<'_>, mode: Mode) -> Result<bool> {
    Ok(acquire(&target.tag()?, mode, false, true))
}

/// Whether somebody, this process included, may be between the upload of a segment of this namespace and its publication. If not,
/// a snapshot that is taken after this sees every segment that was uploaded before it and will ever be published.
pub fn has_upload_under_way(id: NamespaceId) -> Result<bool> {
    for target in [Target::Flush(id), Target::Compact(id)] {
        let tag = target.tag()?;
        if held_by_this_process(&tag, Mode::Exclusive) || !acquire(&tag, Mode::Share, false, true) {
            return Ok(true);
        }
        // There may be thousands of namespaces, and not room for as many locks.
        unlock(target, Mode::Share)?;
    }
    Ok(false)
}

fn held_by_this_process(tag: &pg_sys::LOCKTAG, mode: Mode) -> bool {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: a complete tag of the default lock method.
    let held = unsafe { pg_sys::LockHeldByMe(tag, mode.number()) };
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    // SAFETY: as above; a lock of that very mode.
    let held = unsafe { pg_sys::LockHeldByMe(tag, mode.number(), false) };
    held
}

/// Releases a lock before the end of the transaction.
pub fn unlock(target: Target<'_>, mode: Mode) -> Result<()> {
    let tag = target.tag()?;
    // SAFETY: a lock that this transaction holds.
    unsafe { pg_sys::LockRelease(&raw const tag, mode.number(), false) };
    Ok(())
}

/// \[worker\] Releases every lock when this process ends. PostgreSQL does that by aborting the running transaction; a worker that
/// is told to end between two transactions, while the engine works for it, would leave its [`SessionLock`]s behind for ever.
pub fn release_at_exit() {
    // Registered after the process had connected, so it runs after the abort and before the process leaves shared memory.
    // SAFETY: a function of this library, which stays loaded.
    unsafe { pg_sys::on_shmem_exit(Some(release_all), pg_sys::Datum::null()) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn release_all(_code: i32, _argument: pg_sys::Datum) {
    // SAFETY: no transaction is running any more, the process is still in shared memory.
    unsafe { pg_sys::LockReleaseAll(pg_sys::DEFAULT_LOCKMETHOD as u16, true) };
}

/// A lock that outlives transactions, for the worker's flush. An abort releases it, as it does every lock.
pub struct SessionLock {
    tag: pg_sys::LOCKTAG,
    mode: Mode,
    aborts: u64,
}

impl SessionLock {
    /// Takes it if it is free now. Inside a transaction.
    pub fn try_acquire(target: Target<'_>, mode: Mode) -> Result<Option<Self>> {
        let tag = target.tag()?;
        let aborts = crate::pg::xact::aborts();
        Ok(acquire(&tag, mode, true, true).then_some(Self { tag, mode, aborts }))
    }

    /// Whether this process still holds it: no transaction was aborted since.
    pub fn is_held(&self) -> bool {
        self.aborts == crate::pg::xact::aborts()
    }

    /// Whether somebody waits for it.
    pub fn has_waiters(&self) -> bool {
        // SAFETY: a complete tag; held by this session.
        self.is_held() && unsafe { pg_sys::LockHasWaiters(&raw const self.tag, self.mode.number(), true) }
    }

    /// Releases it, if no abort has done that before.
    pub fn release(mut self) {
        self.release_now();
    }

    /// As [`Self::release`], of one that stays where it is; the second time nothing happens.
    pub fn release_now(&mut self) {
        if self.is_held() {
            // SAFETY: held by this session.
            unsafe { pg_sys::LockRelease(&raw const self.tag, self.mode.number(), true) };
            // There are never so many aborts.
            self.aborts = u64::MAX;
        }
    }
}
