//! A few threads that hash batches of blocks.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::Unhashed;
use crate::cid::{Block, Codec, Version, sha2_256_cid};

/// Blocks of one codec that await their CIDs.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) version: Version,
    pub(super) codec: Codec,
    pub(super) blocks: Vec<Unhashed>,
}

impl Batch {
    pub(super) fn hash(self) -> Vec<Block> {
        let Self { version, codec, blocks } = self;
        let hashed = |data: Unhashed| Block { cid: sha2_256_cid(version, codec, &data), data };
        blocks.into_iter().map(hashed).collect()
    }
}

#[derive(Debug)]
struct Job {
    batch: Batch,
    done: SyncSender<Vec<Block>>,
}

impl Job {
    fn run(self) {
        // Who no longer waits for the answer has given up the whole import.
        let _ = self.done.send(self.batch.hash());
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Shared {
    // The queue is consistent between any two statements, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest job; waits for one. `None` once the pool is closed.
    fn next_job(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The threads. Dropping the pool discards what is queued and waits for them to end.
#[derive(Debug)]
pub(super) struct HashPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl HashPool {
    /// Starts `count` threads. Only the product does; a simulation hashes inline.
    pub(super) fn start(count: NonZero<usize>) -> io::Result<Self> {
        let mut pool = Self { shared: Arc::default(), threads: Vec::with_capacity(count.get()) };
        for _ in 0..count.get() {
            let shared = Arc::clone(&pool.shared);
            let work = move || std::iter::from_fn(|| shared.next_job()).for_each(Job::run);
            pool.threads.push(Builder::new().name("leaf-hash".to_owned()).spawn(work)?);
        }
        Ok(pool)
    }

    pub(super) fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// Queues a batch. Its blocks arrive at the receiver, which sees a hang-up if a thread dies. The
    /// caller bounds the queue by the number of receivers it holds.
    pub(super) fn submit(&self, batch: Batch) -> Receiver<Vec<Block>> {
        let (done, result) = sync_channel(1);
        self.shared.lock().jobs.push_back(Job { batch, done });
        self.shared.wake.notify_one();
        result
    }

    /// Takes one batch from the queue and hashes it here; `false` if the queue was empty.
    pub(super) fn help(&self) -> bool {
        let job = self.shared.lock().jobs.pop_front();
        job.map(Job::run).is_some()
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of the thread was already seen as a hang-up by who waited for it.
            let _ = thread.join();
        }
    }
}
