//! Futures that are polled only when they have called: for what seldom happens beside what happens all the time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Remembers who has called, and wakes the task that both share.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// A future with a bell of its own in the task that it shares with others.
pub(super) struct OnCall<F> {
    future: Pin<Box<F>>,
    bell: Option<(Arc<Bell>, Waker)>,
}

impl<F: Future> OnCall<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future: Box::pin(future), bell: None }
    }

    /// Polls the future if it has called since the last time, or if this is the first one. Not to be polled
    /// after it was ready.
    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<F::Output> {
        if self.bell.as_ref().is_none_or(|(bell, _)| !bell.task.will_wake(task.waker())) {
            let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: task.waker().clone() });
            let waker = Waker::from(bell.clone());
            self.bell = Some((bell, waker));
        }
        match &self.bell {
            // Silenced before the poll: a call during it is for the next one.
            Some((bell, waker))
                if bell.rung.load(Ordering::Acquire) && bell.rung.swap(false, Ordering::AcqRel) =>
            {
                self.future.as_mut().poll(&mut Context::from_waker(waker))
            }
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
