//! Blocking work on real threads: one for small files, a pool for blocks, one for consensus and its log.

use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use futures_util::future::LocalBoxFuture;
use ipfs_kit_actors::ports::{ApartTask, Executor, WorkLane};

mod apart;

use apart::Apart;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait in one ordered lane; more is a bug of the callers, who wait for their results.
const LANE_JOBS_MAX: usize = 1024;

/// Runs jobs on threads. A lane's thread ends when the executor is dropped and its queue is done.
pub struct Threads {
    files: Mutex<SyncSender<Job>>,
    pool: tokio::runtime::Handle,
    apart: Apart,
}

impl Threads {
    /// Starts the threads; blocks go to the runtime's own pool for blocking work.
    pub fn start(pool: tokio::runtime::Handle) -> std::io::Result<Self> {
        let apart = Apart::start("consensus")?;
        Ok(Self { files: Mutex::new(lane("files")?), pool, apart })
    }
}

impl Threads {
    /// The runtime of the thread apart. What is spawned there goes on while a task runs there.
    pub fn apart_runtime(&self) -> tokio::runtime::Handle {
        self.apart.runtime()
    }
}

fn lane(name: &str) -> std::io::Result<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(LANE_JOBS_MAX);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        for job in jobs {
            // A job that panics has dropped its answer, which its caller sees; the lane goes on.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job panicked");
            }
        }
    })?;
    Ok(sender)
}

impl Executor for Threads {
    fn run(&self, lane: WorkLane, job: Job) {
        match lane {
            // Consensus has a thread to itself and waits for its log anyway: handing the job to another
            // thread and its result back would take longer than many a sync.
            WorkLane::Log => job(),
            WorkLane::Files => {
                let queue = self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // Full or gone: the job is dropped, and whoever waits for its result sees that.
                if queue.try_send(job).is_err() {
                    tracing::error!(?lane, "a lane of blocking work is full; a job was dropped");
                }
            }
            WorkLane::Bulk => {
                self.pool.spawn_blocking(job);
            }
        }
    }

    fn apart(&self, task: ApartTask) -> LocalBoxFuture<'static, ()> {
        self.apart.run(task)
    }

    fn give_way(&self) {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests;
