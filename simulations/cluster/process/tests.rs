//! A killed process leaves nothing running.

use std::cell::Cell;
use std::time::Duration;

use super::*;

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn tasks_of_tasks_die_with_their_process() {
    run(async {
        let process = Process::start();
        let beats = Rc::new(Cell::new(0));
        let counted = Rc::clone(&beats);
        let task = process.spawn(async move {
            // Spawned from inside: it belongs to the same process.
            tokio::task::spawn_local(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    counted.set(counted.get() + 1);
                }
            });
            std::future::pending::<()>().await;
        });
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        assert_eq!(beats.get(), 10);
        process.kill();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(beats.get(), 10);
        assert!(task.unwrap().await.unwrap_err().is_cancelled());
        assert!(process.spawn(async {}).is_none());
        assert_eq!(Rc::strong_count(&beats), 1, "its memory is gone");
    });
}

#[test]
fn a_process_takes_tasks_after_its_first_ones_ended() {
    run(async {
        let process = Process::start();
        assert_eq!(process.spawn(async { 1 }).unwrap().await.unwrap(), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(process.spawn(async { 2 }).unwrap().await.unwrap(), 2);
    });
}
