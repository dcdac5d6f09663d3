use super::*;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_work_runs_at_once_than_there_are_threads() {
    let pool = CpuPool::new(2);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = (0..12).map(|_| {
        let (now, most) = (now.clone(), most.clone());
        pool.run(move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    });
    futures::future::try_join_all(work).await.unwrap();
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_future_tells_the_work() {
    let pool = CpuPool::new(1);
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = pool.run(move |cancel| {
        for _ in 0..1000 {
            if let Err(error) = cancel.check() {
                sender.send(error.kind).unwrap();
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    assert!(tokio::time::timeout(Duration::from_millis(30), work).await.is_err());
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)).unwrap(), ErrorKind::Cancelled);
    assert_eq!(pool.run(|_| Ok(7)).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_an_error_and_the_pool_goes_on() {
    let pool = CpuPool::new(1);
    let error = pool.run::<()>(|_| panic!("boom")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(pool.run(|_| Ok(7)).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_in_the_background_gets_on_while_the_pool_is_full_but_slowly() {
    let pool = Arc::new(CpuPool::new(1));
    let paced = |pool: Arc<CpuPool>| async move {
        pool.run_in_background(|_| Ok(parallel::map(1, 8, |task| task).len())).await.unwrap()
    };
    let held = pool.permits.clone().acquire_owned().await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(paced(pool.clone()).await, 8);
    let slowly = started.elapsed();
    assert!(slowly >= LONGEST_SLEEP * 8, "eight tasks took {slowly:?} although every permit was taken");
    drop(held);
    let started = std::time::Instant::now();
    assert_eq!(paced(pool.clone()).await, 8);
    assert!(started.elapsed() < slowly / 2, "it gives way to nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_in_the_background_is_cancelled_and_panics_as_that_on_the_pool() {
    let pool = CpuPool::new(1);
    let error = pool.run_in_background::<()>(|_| panic!("boom")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = pool.run_in_background(move |cancel| {
        for _ in 0..1000 {
            if let Err(error) = cancel.check() {
                sender.send(error.kind).unwrap();
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    assert!(tokio::time::timeout(Duration::from_millis(30), work).await.is_err());
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)).unwrap(), ErrorKind::Cancelled);
    assert_eq!(pool.run_in_background(|_| Ok(7)).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_driven_computes_on_one_thread_with_one_permit_and_goes_on_after_it_waited() {
    let pool = Arc::new(CpuPool::new(1));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let inner = pool.clone();
    let work = async move {
        let here = || Ok(std::thread::current().id());
        let (first, second) = (inner.run(move |_| here()).await?, inner.run(move |_| here()).await?);
        assert_eq!(inner.permits.available_permits(), 0);
        begun.send(()).unwrap();
        let waited: i32 = receiver.await.unwrap();
        // Not driven any more: a permit of its own.
        inner.run(move |_| Ok(waited + i32::from(first == second))).await
    };
    let driven = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drive(work).await }
    });
    has_begun.await.unwrap();
    sender.send(41).unwrap();
    assert_eq!(driven.await.unwrap().unwrap(), 42);
    assert_eq!(pool.permits.available_permits(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driven_work_that_takes_long_lets_others_in_between_its_pieces() {
    let pool = Arc::new(CpuPool::new(1));
    let inner = pool.clone();
    let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel();
    let long = tokio::spawn({
        let pool = pool.clone();
        async move {
            let work = async move {
                for piece in 0..20 {
                    sender.send(piece).unwrap();
                    let work = |_: &Cancel| {
                        std::thread::sleep(SLICE);
                        Ok(())
                    };
                    inner.run(work).await?;
                }
                Ok(())
            };
            pool.drive(work).await
        }
    });
    pieces.recv().await.unwrap();
    pool.run(|_| Ok(())).await.unwrap();
    assert!(!long.is_finished(), "the pool is fair, and the other work has many pieces left");
    long.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_gives_results_in_order_with_any_number_of_threads_and_the_first_error_ends_it() {
    for threads in [1, 3] {
        let pool = Arc::new(CpuPool::new(threads));
        let part = |number: usize, pool: Arc<CpuPool>| async move {
            if number.is_multiple_of(3) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            pool.run(move |_| if number == 99 { Err(Error::invalid("no")) } else { Ok(number) }).await
        };
        let all = |numbers: std::ops::Range<usize>| {
            let (outer, inner) = (pool.clone(), pool.clone());
            async move { outer.drive(async move { inner.all(numbers.map(|n| part(n, inner.clone()))).await }).await }
        };
        assert_eq!(all(0..9).await.unwrap(), (0..9).collect::<Vec<_>>());
        assert!(all(0..0).await.unwrap().is_empty());
        assert_eq!(all(95..100).await.unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(pool.all((0..9).map(|n| part(n, pool.clone()))).await.unwrap(), (0..9).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driven_work_is_told_when_nobody_waits_and_a_panic_of_it_is_an_error() {
    let pool = Arc::new(CpuPool::new(1));
    let (sender, receiver) = std::sync::mpsc::channel();
    let inner = pool.clone();
    let work = async move {
        inner
            .run(move |cancel| {
                for _ in 0..1000 {
                    if let Err(error) = cancel.check() {
                        sender.send(error.kind).unwrap();
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
            .await
    };
    assert!(tokio::time::timeout(Duration::from_millis(30), pool.drive(work)).await.is_err());
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)).unwrap(), ErrorKind::Cancelled);
    let inner = pool.clone();
    let error = pool.drive(async move { inner.run::<()>(|_| panic!("boom")).await }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(pool.run(|_| Ok(driven().is_none())).await.unwrap(), "the thread drives nothing any more");
}
