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
