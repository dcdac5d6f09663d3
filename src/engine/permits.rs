//! The CPU pool: everything that computes for longer than a moment runs here and not on the reactor.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{Error, ErrorKind, Result};
use crate::vector::parallel;

/// Threads of tokio's blocking pool, limited by as many permits as the engine may use cores.
#[derive(Debug)]
pub struct CpuPool {
    permits: Arc<Semaphore>,
    threads: usize,
}

/// Tells work that nobody waits for its result any more.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// `Cancelled` if nobody waits any more: ask between chunks of about a millisecond.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "the request was cancelled"));
        }
        Ok(())
    }
}

/// Sets the flag when the waiting future is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl CpuPool {
    /// A pool of that many threads; 0 means one for each core.
    pub fn new(threads: u32) -> Self {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads as usize,
        };
        Self { permits: Arc::new(Semaphore::new(threads)), threads }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on the pool. Dropping the future cancels: work that has not started never does, running work is told.
    ///
    /// # Errors
    /// Those of `work`; `Internal` if it panics (the panic stays inside the pool).
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static) -> Result<T> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::new(ErrorKind::Cancelled, "the engine is stopping"))?;
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel(flag.clone());
        let _guard = CancelOnDrop(flag);
        let task = tokio::task::spawn_blocking(move || {
            // The permit belongs to the work, not to who waits for it: cancelled work still occupies its core.
            let _permit = permit;
            cancel.check()?;
            work(&cancel)
        });
        task.await.map_err(|error| Error::internal(format!("work on the CPU pool failed: {error}")))?
    }

    /// Runs `work` beside the pool, on a thread of its own that gives way: where it is paced (`parallel::pace`, called between
    /// the tasks of a loop), it sleeps while the pool has no permit left, but never longer than [`LONGEST_SLEEP`], so that it
    /// gets on whatever the load. Dropping the future cancels as in [`Self::run`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel(flag.clone());
        let _guard = CancelOnDrop(flag);
        let permits = self.permits.clone();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let run = move || {
            parallel::set_pace(move || give_way(&permits));
            parallel::pace();
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| cancel.check().and_then(|()| work(&cancel))));
            let panicked = |_| Err(Error::internal("work in the background failed"));
            // It fails only if nobody waits any more.
            let _ = sender.send(result.unwrap_or_else(panicked));
        };
        // Not a thread of the runtime's pool: those serve others afterwards, who are in a hurry.
        let spawned = std::thread::Builder::new().name("elacsym-compact".into()).spawn(run);
        spawned.map_err(|error| Error::unavailable(format!("a thread cannot be started: {error}")))?;
        receiver.await.map_err(|_| Error::internal("work in the background ended without a result"))?
    }
}

/// Longest sleep between two tasks in the background, which take some milliseconds each.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
/// Time between two looks whether the pool has a permit again.
const SLEEP: Duration = Duration::from_millis(1);

fn give_way(permits: &Semaphore) {
    let mut slept = Duration::ZERO;
    while permits.available_permits() == 0 && slept < LONGEST_SLEEP {
        std::thread::sleep(SLEEP);
        slept += SLEEP;
    }
}

#[cfg(test)]
mod tests;
