//! A compaction under way, and how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::ipc::message::{CompactPhase, CompactProgress, CompactResult, CompactState};

/// How far a compaction is.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU32,
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Begins a phase.
    pub fn enter(&self, phase: CompactPhase) {
        self.phase.store(phase as u32, Ordering::Relaxed);
    }

    /// So many rows stay: each is read, and written.
    pub fn expect_rows(&self, rows: u64) {
        self.total.store(rows * 2, Ordering::Relaxed);
    }

    /// So many more rows are read, or written.
    pub fn add(&self, rows: usize) {
        self.done.fetch_add(rows as u64, Ordering::Relaxed);
    }

    fn snapshot(&self) -> CompactProgress {
        let phase = self.phase.load(Ordering::Relaxed);
        CompactProgress {
            phase: CompactPhase::ALL.get(phase as usize).copied().unwrap_or_default(),
            rows_done: self.done.load(Ordering::Relaxed),
            rows_total: self.total.load(Ordering::Relaxed),
        }
    }
}

/// A compaction that goes on by itself. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    task: JoinHandle<Result<CompactResult>>,
    progress: Arc<Progress>,
}

impl Running {
    pub(super) fn new(task: JoinHandle<Result<CompactResult>>, progress: Arc<Progress>) -> Self {
        Self { task, progress }
    }

    /// Its state at its end, or after this time. Once it was done, or has failed, it must not be asked again.
    ///
    /// # Errors
    /// Its own.
    pub async fn poll(&mut self, wait: Duration) -> Result<CompactState> {
        match tokio::time::timeout(wait, &mut self.task).await {
            Err(_) => Ok(CompactState::Running(self.progress.snapshot())),
            Ok(Ok(result)) => result.map(|result| CompactState::Done(Box::new(result))),
            Ok(Err(panic)) => Err(Error::internal(format!("a compaction failed: {panic}"))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
