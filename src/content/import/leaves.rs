//! Leaves on their way to their CIDs: gathered into batches, hashed, given back in order.

use std::collections::VecDeque;
use std::mem;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::pool::{Batch, HashPool};
use super::{Hashing, ImportError, Unhashed};
use crate::cid::{Block, Codec, Version};
use crate::profile::{ImportParams, LeafFormat};

/// A batch is hashed when it has this many bytes: half a millisecond of work.
const BATCH_LEN_BYTES: usize = 1024 * 1024;
/// A batch is hashed when it has this many leaves.
const BATCH_LEAVES: usize = 512;
/// Batches in flight for each thread: one at work, one waiting.
const BATCHES_PER_THREAD: usize = 2;

/// The pipeline. It holds at most `2 * threads + 2` batches of about 1 MiB.
#[derive(Debug)]
pub(super) struct LeafHasher {
    version: Version,
    codec: Codec,
    pool: Option<HashPool>,
    gathered: Vec<Unhashed>,
    gathered_len_bytes: usize,
    in_flight: VecDeque<Receiver<Vec<Block>>>,
    hashed: VecDeque<Vec<Block>>,
}

impl LeafHasher {
    pub(super) fn new(params: &ImportParams, hashing: Hashing) -> Result<Self, ImportError> {
        let pool = match hashing {
            Hashing::Inline => None,
            Hashing::Threads(count) => {
                let pool = HashPool::start(count);
                Some(pool.map_err(|source| ImportError::Thread { source })?)
            }
        };
        let codec = match params.leaves {
            LeafFormat::Raw => Codec::Raw,
            LeafFormat::DagPb => Codec::DagPb,
        };
        Ok(Self {
            version: params.cid_version,
            codec,
            pool,
            gathered: Vec::new(),
            gathered_len_bytes: 0,
            in_flight: VecDeque::new(),
            hashed: VecDeque::new(),
        })
    }

    /// Takes a leaf.
    pub(super) fn push(&mut self, leaf: Unhashed) {
        self.gathered_len_bytes += leaf.len();
        self.gathered.push(leaf);
        if self.gathered_len_bytes >= BATCH_LEN_BYTES || self.gathered.len() >= BATCH_LEAVES {
            self.dispatch();
        }
    }

    /// Sends what is gathered to be hashed, full batch or not.
    pub(super) fn dispatch(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let blocks = mem::take(&mut self.gathered);
        self.gathered_len_bytes = 0;
        let batch = Batch { version: self.version, codec: self.codec, blocks };
        match &self.pool {
            None => self.hashed.push_back(batch.hash()),
            Some(pool) => self.in_flight.push_back(pool.submit(batch)),
        }
    }

    /// The next batch in order, if it is done or if too many are in flight to go on without it.
    pub(super) fn poll(&mut self) -> Result<Option<Vec<Block>>, ImportError> {
        if let Some(batch) = self.hashed.pop_front() {
            return Ok(Some(batch));
        }
        let Some(first) = self.in_flight.front() else { return Ok(None) };
        match first.try_recv() {
            Ok(batch) => {
                self.in_flight.pop_front();
                Ok(Some(batch))
            }
            Err(TryRecvError::Disconnected) => Err(ImportError::HasherLost),
            Err(TryRecvError::Empty) => {
                let threads = self.pool.as_ref().map_or(0, HashPool::thread_count);
                let full = self.in_flight.len() > BATCHES_PER_THREAD * threads;
                if full { self.wait() } else { Ok(None) }
            }
        }
    }

    /// The next batch in order; waits for it, hashing others meanwhile. `None` if nothing is left.
    pub(super) fn wait(&mut self) -> Result<Option<Vec<Block>>, ImportError> {
        self.dispatch();
        if let Some(batch) = self.hashed.pop_front() {
            return Ok(Some(batch));
        }
        let Some(first) = self.in_flight.pop_front() else { return Ok(None) };
        loop {
            match first.try_recv() {
                Ok(batch) => return Ok(Some(batch)),
                Err(TryRecvError::Disconnected) => return Err(ImportError::HasherLost),
                Err(TryRecvError::Empty) if self.pool.as_ref().is_some_and(HashPool::help) => {}
                Err(TryRecvError::Empty) => {
                    return first.recv().map(Some).map_err(|_| ImportError::HasherLost);
                }
            }
        }
    }
}
