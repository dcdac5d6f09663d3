//! The CPU pool: everything that computes for longer than a moment runs here and not on the reactor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::error::{Error, ErrorKind, Result};

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
}

#[cfg(test)]
mod tests;
