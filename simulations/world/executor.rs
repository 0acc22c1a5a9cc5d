//! Blocking work in virtual time: each job takes a moment, so that a crash can come before it ran.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipfs_kit_actors::ports::{Executor, WorkLane};
use tokio::task::AbortHandle;

use super::HostId;
use crate::rng::Rng;
use crate::trace::Trace;

/// Jobs of one lane under way at once.
fn width(lane: WorkLane) -> usize {
    match lane {
        WorkLane::Log | WorkLane::Files => 1,
        WorkLane::Bulk => 4,
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// One machine's executor; clones are handles to the same one. Must be used inside a `LocalSet`.
#[derive(Clone)]
pub struct SimExecutor {
    host: HostId,
    trace: Trace,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    rng: Rng,
    /// How long a job takes at most on each lane, in milliseconds.
    longest_ms: BTreeMap<WorkLane, u64>,
    lanes: BTreeMap<WorkLane, LaneWork>,
    panics: u64,
}

#[derive(Default)]
struct LaneWork {
    waiting: VecDeque<Job>,
    workers: Vec<AbortHandle>,
    busy: usize,
}

impl std::fmt::Debug for SimExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimExecutor").field("host", &self.host).finish_non_exhaustive()
    }
}

impl SimExecutor {
    /// An executor whose jobs take 0 to 1 ms each.
    #[must_use]
    pub fn new(seed: u64, host: HostId, trace: Trace) -> Self {
        let inner = Inner {
            rng: Rng::new(seed, &format!("executor of {host}")),
            longest_ms: BTreeMap::new(),
            lanes: BTreeMap::new(),
            panics: 0,
        };
        Self { host, trace, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Makes jobs of a lane take up to this long: a slow disk.
    pub fn set_longest_ms(&self, lane: WorkLane, longest_ms: u64) {
        self.inner().longest_ms.insert(lane, longest_ms);
    }

    /// Ends the process: jobs that have not run never will.
    pub fn crash(&self) {
        let lanes = std::mem::take(&mut self.inner().lanes);
        for work in lanes.values() {
            for worker in &work.workers {
                worker.abort();
            }
        }
        // The jobs are dropped here, outside the lock: what they own may want to run something.
        drop(lanes);
    }

    /// Jobs that panicked so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.inner().panics
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self, lane: WorkLane) {
        loop {
            let (job, takes_ms) = {
                let inner = &mut *self.inner();
                let work = inner.lanes.entry(lane).or_default();
                let Some(job) = work.waiting.pop_front() else {
                    work.busy -= 1;
                    return;
                };
                let longest_ms = inner.longest_ms.get(&lane).copied().unwrap_or(1);
                (job, inner.rng.within(0..=longest_ms))
            };
            if takes_ms > 0 {
                tokio::time::sleep(Duration::from_millis(takes_ms)).await;
            }
            // A job that panics loses its result, as on a thread of a pool; the lane goes on.
            if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                self.inner().panics += 1;
                self.trace.event(format_args!("{} {lane:?} work panicked", self.host));
            }
        }
    }
}

impl Executor for SimExecutor {
    fn run(&self, lane: WorkLane, job: Job) {
        let inner = &mut *self.inner();
        let work = inner.lanes.entry(lane).or_default();
        work.waiting.push_back(job);
        if work.busy < width(lane) {
            work.busy += 1;
            work.workers.retain(|worker| !worker.is_finished());
            let worker = tokio::task::spawn_local(self.clone().work(lane));
            work.workers.push(worker.abort_handle());
        }
    }
}

#[cfg(test)]
mod tests;
