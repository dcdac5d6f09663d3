//! Splitting a loop over threads so that the result does not depend on their number.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static PACE: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// From now on `pace` is called on this thread before each task that [`map`] runs on it: it may sleep, to let others have
/// the CPU. Threads that `map` starts are not paced.
pub(crate) fn set_pace(pace: impl Fn() + 'static) {
    PACE.set(Some(Box::new(pace)));
}

/// Calls what [`set_pace`] set for this thread.
pub(crate) fn pace() {
    PACE.with_borrow(|pace| {
        if let Some(pace) = pace {
            pace();
        }
    });
}

/// `work(0)`, …, `work(count - 1)` on up to `threads` threads; results in that order. Callers cut their work into tasks
/// by its size, never by the number of threads.
pub(crate) fn map<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = threads.clamp(1, count.max(1));
    if threads == 1 {
        return (0..count).inspect(|_| pace()).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= count {
                return done;
            }
            done.push((task, work(task)));
        }
    };
    let mut results: Vec<(usize, T)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut results = run();
        for other in others {
            match other.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(task, _)| *task);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Calls `work(i, chunk)` for every chunk of `length` elements of `data` (the last may be shorter), on up to `threads`
/// threads.
pub(crate) fn for_chunks<T: Send>(
    threads: usize,
    data: &mut [T],
    length: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let tasks: Vec<std::sync::Mutex<&mut [T]>> = data.chunks_mut(length).map(std::sync::Mutex::new).collect();
    map(threads, tasks.len(), |task| {
        // Nobody else takes this task, so the lock is free; a poisoned one still guards valid data.
        let mut chunk = tasks[task].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(task, &mut chunk);
    });
}
