//! What this node holds for the cluster, written down: a root is in it exactly while every block below
//! it is durable here and must not be collected.
//!
//! A write-ahead log of two kinds of records. Records that wait while one batch is being written go
//! together into the next. When most of the log is history, what is held is said anew and the front is
//! let go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ipfs_kit_core::id::Cid;
use ipfs_kit_store::disk::Disk;
use ipfs_kit_store::wal::{Record, Replayed, Wal, WalError, WalOptions};
use tokio::sync::oneshot;

use crate::ports::{Executor, WorkLane, work};

const DIR: &str = "holdings";
const HELD: u8 = 1;
const RELEASED: u8 = 2;
const SEGMENT_BYTES: u64 = 1024 * 1024;
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Records in one batch; each is under 200 bytes.
const BATCH_RECORDS: usize = 8192;
/// Records beyond those that are needed before the log is written anew.
const SLACK_RECORDS: usize = 16_384;

/// The records; clones are handles to the same ones.
#[derive(Clone)]
pub struct Holdings {
    executor: Arc<dyn Executor>,
    inner: Arc<Mutex<Inner>>,
    /// Apart from the log, so that nobody who asks waits for a sync.
    waiting: Arc<Mutex<Waiting>>,
    /// Why nothing can be written down any more.
    failure: Arc<OnceLock<String>>,
}

struct Inner {
    wal: Wal,
    held: BTreeSet<Cid>,
    records: usize,
}

/// Hears whether its record was written.
type Written = oneshot::Sender<Result<(), String>>;

#[derive(Default)]
struct Waiting {
    records: Vec<(Cid, u8, Written)>,
    writing: bool,
}

impl Holdings {
    /// Opens or creates the records in the node's folder.
    pub fn open(
        disk: Arc<dyn Disk>,
        executor: Arc<dyn Executor>,
        identity: [u8; 16],
    ) -> Result<Self, WalError> {
        let mut held = BTreeSet::new();
        let mut records = 0;
        let options =
            WalOptions { identity, segment_bytes: SEGMENT_BYTES, max_batch_bytes: BATCH_BYTES_MAX };
        let mut unreadable = 0u64;
        let (wal, _) = Wal::open(disk, DIR, options, &mut |record: Replayed<'_>| {
            records += 1;
            match (record.kind, Cid::from_bytes(record.payload)) {
                (HELD, Ok(cid)) => drop(held.insert(cid)),
                (RELEASED, Ok(cid)) => drop(held.remove(&cid)),
                // Written by a newer program; what it says of a root is fetched or released again.
                _ => unreadable += 1,
            }
            Ok::<(), WalError>(())
        })?;
        if unreadable > 0 {
            tracing::warn!(unreadable, "records of held roots were skipped");
        }
        let inner = Arc::new(Mutex::new(Inner { wal, held, records }));
        Ok(Self { executor, inner, waiting: Arc::default(), failure: Arc::default() })
    }

    /// Everything held, in order.
    pub async fn held(&self) -> Result<Vec<Cid>, String> {
        let inner = Arc::clone(&self.inner);
        work(&*self.executor, WorkLane::Files, move || lock(&inner).held.iter().cloned().collect())
            .await
            .map_err(|error| error.to_string())
    }

    /// Everything held now, for the collector.
    pub fn roots(&self) -> Vec<Cid> {
        lock(&self.inner).held.iter().cloned().collect()
    }

    /// Why nothing can be written down until the records are opened again; `None` in health.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Writes down that a root is held; durable on return.
    pub async fn hold(&self, cid: &Cid) -> Result<(), String> {
        self.put(cid, HELD).await
    }

    /// Writes down that a root is not held any more; durable on return. From then on it may be collected.
    pub async fn release(&self, cid: &Cid) -> Result<(), String> {
        self.put(cid, RELEASED).await
    }

    async fn put(&self, cid: &Cid, kind: u8) -> Result<(), String> {
        let (done, written) = oneshot::channel();
        let first = {
            let mut waiting = lock(&self.waiting);
            waiting.records.push((cid.clone(), kind, done));
            !std::mem::replace(&mut waiting.writing, true)
        };
        if first {
            let (inner, waiting) = (Arc::clone(&self.inner), Arc::clone(&self.waiting));
            let failure = Arc::clone(&self.failure);
            let job = move || lock(&inner).write_waiting(&waiting, &failure);
            self.executor.run(WorkLane::Files, Box::new(job));
        }
        written.await.unwrap_or_else(|_| Err("the node is stopping".into()))
    }
}

impl Inner {
    fn write_waiting(&mut self, waiting: &Mutex<Waiting>, failure: &OnceLock<String>) {
        loop {
            let batch: Vec<_> = {
                let mut waiting = lock(waiting);
                let count = waiting.records.len().min(BATCH_RECORDS);
                waiting.writing = count > 0;
                waiting.records.drain(..count).collect()
            };
            if batch.is_empty() {
                break;
            }
            let records = batch.iter().map(|(cid, kind, _)| (cid, *kind));
            let result = append(&mut self.wal, records);
            if let Some(cause) = self.wal.failure() {
                failure.get_or_init(|| cause.to_owned());
            }
            let result = result.map(drop).map_err(|error| error.to_string());
            for (cid, kind, done) in batch {
                if result.is_ok() {
                    self.records += 1;
                    if kind == HELD {
                        self.held.insert(cid)
                    } else {
                        self.held.remove(&cid)
                    };
                }
                // The waiter may have restarted; it asks again.
                let _ = done.send(result.clone());
            }
        }
        if self.records > 2 * self.held.len() + SLACK_RECORDS
            && let Err(reason) = self.rewrite()
        {
            tracing::warn!(%reason, "the records of held roots stay long");
        }
    }

    /// Says what is held anew and lets everything before go.
    fn rewrite(&mut self) -> Result<(), WalError> {
        let held: Vec<&Cid> = self.held.iter().collect();
        let mut first = None;
        for chunk in held.chunks(BATCH_RECORDS) {
            let segment = append(&mut self.wal, chunk.iter().map(|cid| (*cid, HELD)))?;
            first = first.or(segment);
        }
        let keep = first.unwrap_or_else(|| self.wal.tail_segment());
        self.wal.truncate_front(keep)?;
        self.records = self.held.len();
        Ok(())
    }
}

/// Appends one batch; the segment of its first record.
fn append<'a>(
    wal: &mut Wal,
    records: impl Iterator<Item = (&'a Cid, u8)>,
) -> Result<Option<u64>, WalError> {
    let payloads: Vec<([&[u8]; 1], u8)> =
        records.map(|(cid, kind)| ([cid.as_bytes()], kind)).collect();
    let records: Vec<Record<'_>> =
        payloads.iter().map(|(parts, kind)| Record { kind: *kind, parts }).collect();
    let locations = wal.append(&records)?;
    Ok(locations.first().map(|at| at.segment))
}

fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    // A record enters the set only after the log took it, so a panic can't leave it half changed.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
