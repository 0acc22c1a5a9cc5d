//! The thread beside the actors: one task at a time, stopped and broken in good order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::ThreadId;

use futures_util::FutureExt;
use ipfs_kit_actors::ports::{apart, work};

use super::*;

async fn with_threads(test: impl AsyncFnOnce(Arc<Threads>)) {
    let threads = Threads::start(tokio::runtime::Handle::current()).unwrap();
    tokio::task::LocalSet::new().run_until(test(Arc::new(threads))).await;
}

fn here() -> ThreadId {
    std::thread::current().id()
}

#[tokio::test(flavor = "multi_thread")]
async fn consensus_and_its_log_share_a_thread_of_their_own() {
    with_threads(async |threads| {
        let inner = Arc::clone(&threads);
        let task = move || async move {
            // What it spawns stays with it.
            let spawned = tokio::task::spawn_local(async { here() }).await.unwrap();
            let near = inner.apart_runtime().spawn(async { here() }).await.unwrap();
            [here(), spawned, near, work(&*inner, WorkLane::Log, here).await.unwrap()]
        };
        let seen = apart(&*threads, task).await.unwrap();
        assert_ne!(seen[0], here());
        assert_eq!(seen, [seen[0]; 4]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_begins_when_the_one_before_was_stopped() {
    /// Counts as running until it is dropped.
    struct Running(Arc<AtomicUsize>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    with_threads(async |threads| {
        let running = Arc::new(AtomicUsize::new(0));
        let (begun, first_runs) = mpsc::channel();
        let count = Arc::clone(&running);
        let first = apart(&*threads, move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            let _running = Running(count);
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        let mut first = Box::pin(first);
        assert_eq!(first.as_mut().now_or_never(), None);
        first_runs.recv().unwrap();
        drop(first);
        let others = apart(&*threads, move || async move { running.load(Ordering::SeqCst) }).await;
        assert_eq!(others, Ok(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_reaches_whoever_waits_and_the_thread_goes_on() {
    with_threads(async |threads| {
        let broken = apart(&*threads, || async { panic!("on purpose") });
        let panic = std::panic::AssertUnwindSafe(broken).catch_unwind().await;
        let panic: Result<Result<(), _>, _> = panic;
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
        assert_eq!(apart(&*threads, || async { 7 }).await, Ok(7));
    })
    .await;
}
