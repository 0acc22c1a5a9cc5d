//! The tasks of one network: spawned together, ended together, none left behind.

use std::pin::Pin;
use std::time::Duration;

use libp2p::swarm::Executor;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long a stopped network waits for its tasks.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop }
    }

    /// Runs `work` until it ends or all tasks are stopped.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled_owned(work).await;
        });
    }

    /// A token that is cancelled with all tasks.
    pub(crate) fn child_token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Stops all tasks when dropped: also when the driver itself is dropped half-way.
    pub(crate) fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Stops all tasks and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        if timeout(STOP_LIMIT, self.tracker.wait()).await.is_err() {
            tracing::error!(tasks = self.tracker.len(), "network tasks did not stop in time");
        }
    }
}

/// Connections run as tasks too.
impl Executor for Tasks {
    fn exec(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawn(future);
    }
}
