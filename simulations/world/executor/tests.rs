//! Jobs keep their lane's order, survive each other's panics and die with their process.

use std::sync::atomic::{AtomicUsize, Ordering};

use ipfs_kit_actors::ports::{WorkDropped, work};

use super::*;
use crate::trace::Lines;

fn run<F: Future<Output = ()>>(test: impl FnOnce(SimExecutor) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        test(SimExecutor::new(1, HostId(0), Trace::begin(Lines::Recent))).await;
    });
}

#[test]
fn jobs_of_a_lane_run_in_order_and_take_time() {
    run(|executor| async move {
        executor.set_longest_ms(WorkLane::Log, 50);
        let order = Arc::new(Mutex::new(Vec::new()));
        for i in 0..20 {
            let order = Arc::clone(&order);
            executor.run(WorkLane::Log, Box::new(move || order.lock().unwrap().push(i)));
        }
        assert!(order.lock().unwrap().is_empty(), "nothing runs before its time");
        work(&executor, WorkLane::Log, || ()).await.unwrap();
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        assert!(executor.trace.now_ms() > 50);
    });
}

#[test]
fn a_panic_costs_only_its_own_result() {
    run(|executor| async move {
        let lost = work(&executor, WorkLane::Files, || panic!("expected in this test")).await;
        assert_eq!(lost, Err::<(), _>(WorkDropped));
        assert_eq!(work(&executor, WorkLane::Files, || 7).await, Ok(7));
        assert_eq!(executor.panics(), 1);
    });
}

#[test]
fn a_crash_drops_what_has_not_run() {
    run(|executor| async move {
        executor.set_longest_ms(WorkLane::Bulk, 1_000);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let ran = Arc::clone(&ran);
            executor.run(
                WorkLane::Bulk,
                Box::new(move || {
                    ran.fetch_add(1, Ordering::Relaxed);
                }),
            );
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        executor.crash();
        let before = ran.load(Ordering::Relaxed);
        assert!(before < 10);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ran.load(Ordering::Relaxed), before);
        assert_eq!(work(&executor, WorkLane::Bulk, || 1).await, Ok(1), "the next process works");
    });
}
