//! \[backend, worker\] Waiting for the engine in a way that PostgreSQL's interrupts can end.

use pgrx::pg_sys;
use std::cell::Cell;
use std::time::Duration;

/// What is waited for: the process latch, the postmaster's death (which ends the process), a socket.
const EVENTS: i32 = 3;

/// A set of events for one connection. Making one for each wait would be half a dozen system calls.
#[derive(Clone, Copy)]
struct Set {
    events: *mut pg_sys::WaitEventSet,
    /// The connection's number, which is never used again.
    connection: u64,
    /// Place of the socket in it, and for what.
    place: i32,
    wanted: u32,
}

thread_local! {
    /// Lives as long as the process; without a destructor, as those run when PostgreSQL is half gone.
    static KEPT: Cell<Option<Set>> = const { Cell::new(None) };
}

/// Waits for the process latch or `wanted` (readable or writable) on the socket of the connection of that number, and then acts on
/// interrupts.
pub fn for_socket(socket: i32, connection: u64, wanted: u32) {
    let mut set = match KEPT.get() {
        Some(set) if set.connection == connection => set,
        other => {
            if let Some(old) = other {
                KEPT.set(None);
                // SAFETY: made by `Set::new`, and not used any more. Its socket may be closed.
                unsafe { pg_sys::FreeWaitEventSet(old.events) };
            }
            Set::new(socket, connection, wanted)
        }
    };
    if set.wanted != wanted {
        // SAFETY: a set of ours, the place of its socket, which is open.
        unsafe { pg_sys::ModifyWaitEvent(set.events, set.place, wanted, std::ptr::null_mut()) };
        set.wanted = wanted;
    }
    KEPT.set(Some(set));
    let mut happened = pg_sys::WaitEvent::default();
    // SAFETY: a set of ours, and room for one event.
    unsafe { pg_sys::WaitEventSetWait(set.events, -1, &raw mut happened, 1, wait_event()) };
    woken(happened.events);
}

/// Waits for the process latch or the end of `time`, and then acts on interrupts.
pub fn pause(time: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH | pg_sys::WL_TIMEOUT;
    let milliseconds = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    // SAFETY: the process latch of the running process.
    let happened = unsafe { pg_sys::WaitLatch(pg_sys::MyLatch, events.cast_signed(), milliseconds, wait_event()) };
    woken(happened.cast_unsigned());
}

fn woken(happened: u32) {
    if happened & pg_sys::WL_LATCH_SET != 0 {
        // SAFETY: our own latch; everything that sets it is looked at again after this.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
    }
    pgrx::check_for_interrupts!();
}

impl Set {
    fn new(socket: i32, connection: u64, wanted: u32) -> Self {
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        let owner = std::ptr::null_mut();
        #[cfg(not(any(feature = "pg17", feature = "pg18")))]
        // SAFETY: a plain global.
        let owner = unsafe { pg_sys::TopMemoryContext };
        // SAFETY: no resource owner, or the context that lives as long as the process: nothing frees it but us.
        let events = unsafe { pg_sys::CreateWaitEventSet(owner, EVENTS) };
        let add = |what: u32, socket: i32, latch: *mut pg_sys::Latch| {
            // SAFETY: a set with room for it, an open socket or none, our own latch or none.
            unsafe { pg_sys::AddWaitEventToSet(events, what, socket, latch, std::ptr::null_mut()) }
        };
        // SAFETY: a plain global: the latch of this process, which is in a transaction or a worker, so it is the shared one.
        let latch = unsafe { pg_sys::MyLatch };
        add(pg_sys::WL_LATCH_SET, pg_sys::PGINVALID_SOCKET, latch);
        // SAFETY: a plain global. Without a postmaster there is no pipe that its death would close.
        if unsafe { pg_sys::IsUnderPostmaster } {
            add(pg_sys::WL_EXIT_ON_PM_DEATH, pg_sys::PGINVALID_SOCKET, std::ptr::null_mut());
        }
        let place = add(wanted, socket, std::ptr::null_mut());
        Self { events, connection, place, wanted }
    }
}

/// What `pg_stat_activity` shows while a session waits for the engine.
fn wait_event() -> u32 {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        use std::sync::atomic::{AtomicU32, Ordering};
        static EVENT: AtomicU32 = AtomicU32::new(0);
        let mut event = EVENT.load(Ordering::Relaxed);
        if event == 0 {
            // SAFETY: a C string literal, which PostgreSQL copies.
            event = unsafe { pg_sys::WaitEventExtensionNew(c"ElacsymEngine".as_ptr()) };
            EVENT.store(event, Ordering::Relaxed);
        }
        event
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    pg_sys::PG_WAIT_EXTENSION
}
