//! The compactions under way, in shared memory: `elacsym.compaction_progress()`.
//!
//! An entry belongs to the process that works on it. One whose process is gone counts as free.

use crate::ids::NamespaceId;
use crate::ipc::message::{CompactPhase, CompactProgress};
use crate::pg::shmem;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Compactions that are shown at once; a server that runs more shows the others when there is room.
const ENTRIES: usize = 64;
/// Bytes of a name that are shown: the longest name of a namespace.
const NAME_BYTES: usize = crate::limits::MAX_NAME_BYTES;

/// Part of the shared memory. All zero is its first state.
#[repr(C)]
pub struct Table {
    entries: [Slot; ENTRIES],
}

#[repr(C)]
struct Slot {
    /// Whose it is; 0: free.
    pid: AtomicI32,
    database: AtomicU32,
    namespace: [AtomicU8; 16],
    name: [AtomicU8; NAME_BYTES],
    started: AtomicI64,
    phase: AtomicU32,
    done: AtomicU64,
    total: AtomicU64,
}

/// A compaction of this process. Dropping it takes it off the table.
#[derive(Debug)]
pub struct Entry(Option<usize>);

/// What the table says of a compaction.
#[derive(Debug, Clone)]
pub struct Shown {
    /// In which database.
    pub database: pg_sys::Oid,
    /// Of what.
    pub namespace: NamespaceId,
    /// Its name, perhaps cut.
    pub name: String,
    /// The process that works on it.
    pub pid: i32,
    /// Since when, in microseconds since 2000-01-01.
    pub started: i64,
    /// How far.
    pub progress: CompactProgress,
}

/// Whether such a process is connected to this server.
fn is_alive(pid: i32) -> bool {
    // SAFETY: any number; null where no backend or worker has it.
    pid != 0 && !unsafe { pg_sys::BackendPidGetProc(pid) }.is_null()
}

impl Entry {
    /// Puts a compaction on the table, if there is room.
    pub fn new(namespace: NamespaceId, name: &str) -> Self {
        let Some(table) = shmem::compactions() else { return Self(None) };
        // SAFETY: set when the process started.
        let pid = unsafe { pg_sys::MyProcPid };
        let free = table.entries.iter().position(|slot| {
            let owner = slot.pid.load(Ordering::Acquire);
            // Negative: being filled in.
            !is_alive(owner.abs())
                && slot.pid.compare_exchange(owner, -pid, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        let Some(slot) = free.and_then(|at| table.entries.get(at)) else { return Self(None) };
        // SAFETY: a plain global, set once when the process connects to its database.
        slot.database.store(unsafe { pg_sys::MyDatabaseId }.to_u32(), Ordering::Relaxed);
        let bytes = namespace.0.iter().zip(&slot.namespace).chain(name.as_bytes().iter().zip(&slot.name));
        slot.name.iter().for_each(|byte| byte.store(0, Ordering::Relaxed));
        bytes.for_each(|(value, byte)| byte.store(*value, Ordering::Relaxed));
        slot.started.store(crate::pg::catalog::now(), Ordering::Relaxed);
        let entry = Self(free);
        entry.set(CompactProgress::default());
        slot.pid.store(pid, Ordering::Release);
        entry
    }

    fn slot(&self) -> Option<&'static Slot> {
        shmem::compactions()?.entries.get(self.0?)
    }

    /// Notes how far it is.
    pub fn set(&self, progress: CompactProgress) {
        let Some(slot) = self.slot() else { return };
        slot.phase.store(progress.phase as u32, Ordering::Relaxed);
        slot.done.store(progress.rows_done, Ordering::Relaxed);
        slot.total.store(progress.rows_total, Ordering::Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(slot) = self.slot() {
            slot.pid.store(0, Ordering::Release);
        }
    }
}

/// All of the table.
pub fn shown() -> Vec<Shown> {
    let Some(table) = shmem::compactions() else { return Vec::new() };
    let shown = table.entries.iter().filter_map(|slot| {
        let pid = slot.pid.load(Ordering::Acquire);
        if pid <= 0 || !is_alive(pid) {
            return None;
        }
        let name: Vec<u8> =
            slot.name.iter().map(|byte| byte.load(Ordering::Relaxed)).take_while(|byte| *byte != 0).collect();
        let phase = slot.phase.load(Ordering::Relaxed) as usize;
        Some(Shown {
            database: pg_sys::Oid::from(slot.database.load(Ordering::Relaxed)),
            namespace: NamespaceId(std::array::from_fn(|i| slot.namespace[i].load(Ordering::Relaxed))),
            name: String::from_utf8_lossy(&name).into_owned(),
            pid,
            started: slot.started.load(Ordering::Relaxed),
            progress: CompactProgress {
                phase: CompactPhase::ALL.get(phase).copied().unwrap_or_default(),
                rows_done: slot.done.load(Ordering::Relaxed),
                rows_total: slot.total.load(Ordering::Relaxed),
            },
        })
    });
    shown.collect()
}
