//! A flag that is raised once and can be waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Raised once, seen by all clones. Wakes its waiters in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    raised: AtomicBool,
    waiters: Notify,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.waiters.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Ends when the signal is raised; at once if it already is.
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let inner = self.0.clone();
        async move {
            let notified = inner.waiters.notified();
            let mut notified = std::pin::pin!(notified);
            // Enrol before looking, so that a raise in between isn't missed.
            notified.as_mut().enable();
            if !inner.raised.load(Ordering::SeqCst) {
                notified.await;
            }
        }
    }
}
