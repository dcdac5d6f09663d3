//! The CPU pool: everything that computes for longer than a moment runs here and not on the reactor.
//!
//! A change of threads costs more than many a piece of work, two wake-ups of some microseconds each. So a request is *driven*: as long as
//! nothing has to be waited for, all of its pieces run one after the other on one thread of the pool.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::env::Stopwatch;
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
        if let Some(cancel) = driven() {
            cancel.check()?;
            return work(&cancel);
        }
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::new(ErrorKind::Cancelled, "the engine is stopping"))?;
        start(permit, work).await
    }

    /// Polls `future` on a thread of the pool, with one permit: what it gives to [`Self::run`] is run at once and there, for [`SLICE`].
    /// Once it waits for anything, or the time is over, it goes on where this is awaited, and each piece of its work for itself.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn drive<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let future: Boxed<T> = Box::pin(future);
        self.run(move |cancel| Ok(Part::first(future, cancel))).await?.result().await
    }

    /// The results of all futures, in their order; the first error ends all. Where the caller is driven, each is begun on this
    /// thread, or on others as far as there are permits left.
    ///
    /// # Errors
    /// Those of the futures, and as [`Self::run`].
    pub async fn all<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        futures: impl IntoIterator<Item = F>,
    ) -> Result<Vec<T>> {
        let futures: Vec<F> = futures.into_iter().collect();
        let Some(cancel) = driven().filter(|_| futures.len() > 1) else { return try_join_all(futures).await };
        let count = futures.len();
        let boxed = futures.into_iter().map(|future| -> Boxed<T> { Box::pin(future) });
        let waiting: Waiting<T> = Arc::new(Mutex::new(boxed.enumerate().rev().collect()));
        let mut helpers = Vec::new();
        while helpers.len() + 1 < count
            && let Ok(permit) = self.permits.clone().try_acquire_owned()
        {
            let waiting = waiting.clone();
            helpers.push(start(permit, move |cancel| Ok(begin_all(&waiting, cancel))));
        }
        let mut parts = begin_all(&waiting, &cancel);
        for helper in helpers {
            parts.extend(helper.await?);
        }
        parts.sort_unstable_by_key(|(place, _)| *place);
        try_join_all(parts.into_iter().map(|(_, part)| part.result())).await
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

/// How long pieces of work run one after the other under one permit: others wait for it meanwhile. Most searches take less.
const SLICE: Duration = Duration::from_millis(2);

thread_local! {
    /// The future that this thread drives: how to ask whether anybody waits for it, and since when it is.
    static DRIVEN: RefCell<Option<(Cancel, Stopwatch)>> = const { RefCell::new(None) };
}

/// Whether this thread drives a future that may go on computing.
fn driven() -> Option<Cancel> {
    DRIVEN.with_borrow(|driven| match driven {
        Some((cancel, since)) if since.elapsed() < SLICE => Some(cancel.clone()),
        _ => None,
    })
}

/// Ends the driving of a future, also by a panic.
struct Driving(Option<(Cancel, Stopwatch)>);

impl Drop for Driving {
    fn drop(&mut self) {
        DRIVEN.set(self.0.take());
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;
type Waiting<T> = Arc<Mutex<Vec<(usize, Boxed<T>)>>>;

/// A future that was polled once.
enum Part<T> {
    Ready(Result<T>),
    Pending(Boxed<T>),
}

impl<T> Part<T> {
    fn first(mut future: Boxed<T>, cancel: &Cancel) -> Self {
        let outer = DRIVEN.take();
        // Within a driven future the time goes on.
        let since = outer.as_ref().map_or_else(Stopwatch::start, |(_, since)| *since);
        let _driving = Driving(outer);
        DRIVEN.set(Some((cancel.clone(), since)));
        // Nobody needs to be woken: whoever gets the rest polls it again, with a waker of its own.
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Self::Ready(result),
            Poll::Pending => Self::Pending(future),
        }
    }

    async fn result(self) -> Result<T> {
        match self {
            Self::Ready(result) => result,
            Self::Pending(future) => future.await,
        }
    }
}

/// Polls each that is waiting once.
fn begin_all<T>(waiting: &Waiting<T>, cancel: &Cancel) -> Vec<(usize, Part<T>)> {
    let mut begun = Vec::new();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((place, future)) = next else { return begun };
        begun.push((place, Part::first(future, cancel)));
    }
}

/// Starts work on a thread of the pool. Dropping the future cancels it.
fn start<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    let flag = Arc::new(AtomicBool::new(false));
    let cancel = Cancel(flag.clone());
    let guard = CancelOnDrop(flag);
    let task = tokio::task::spawn_blocking(move || {
        // The permit belongs to the work, not to who waits for it: cancelled work still occupies its core.
        let _permit = permit;
        cancel.check()?;
        work(&cancel)
    });
    async move {
        let _guard = guard;
        task.await.map_err(|error| Error::internal(format!("work on the CPU pool failed: {error}")))?
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
