//! A future on call hears every call, also one that comes while it is polled, and no more polls than that.

use std::cell::Cell;
use std::future::poll_fn;

use futures_util::task::noop_waker;

use super::*;

/// A future that counts its polls, keeps the waker of the last one, and ends when told.
struct Counted {
    polls: Cell<u32>,
    ended: Cell<bool>,
    calls_itself: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Counted {
    fn new() -> Self {
        let (polls, ended) = (Cell::new(0), Cell::new(false));
        Self { polls, ended, calls_itself: Cell::new(false), waker: Cell::new(None) }
    }

    fn future(&self) -> impl Future<Output = ()> {
        poll_fn(|task| {
            self.polls.set(self.polls.get() + 1);
            self.waker.set(Some(task.waker().clone()));
            if self.calls_itself.take() {
                task.waker().wake_by_ref();
            }
            if self.ended.get() { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

#[test]
fn it_is_polled_once_for_each_call() {
    let counted = Counted::new();
    let mut on_call = OnCall::new(counted.future());
    let waker = noop_waker();
    let task = &mut Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(on_call.poll(task).is_pending());
    }
    assert_eq!(counted.polls.get(), 1);
    counted.waker.take().unwrap().wake();
    counted.calls_itself.set(true);
    for polls in [2, 3, 3] {
        assert!(on_call.poll(task).is_pending());
        assert_eq!(counted.polls.get(), polls, "a call during a poll is for the next one");
    }
    counted.ended.set(true);
    assert!(on_call.poll(task).is_pending(), "it has not called");
    counted.waker.take().unwrap().wake();
    assert!(on_call.poll(task).is_ready());
}

/// Remembers whether it was woken.
#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_call_wakes_the_task_that_polls_now() {
    let counted = Counted::new();
    let mut on_call = OnCall::new(counted.future());
    let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
    for task in &tasks {
        let waker = Waker::from(task.clone());
        assert!(on_call.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(counted.polls.get(), 2, "the other task is made known to it");
    counted.waker.take().unwrap().wake();
    assert!(!tasks[0].0.load(Ordering::SeqCst) && tasks[1].0.load(Ordering::SeqCst));
}
