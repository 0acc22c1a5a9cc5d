//! What this node holds for the cluster, written down: a root is in it exactly while every block below
//! it is durable here and must not be collected.
//!
//! A write-ahead log of two kinds of records. Records that wait while one batch is being written go
//! together into the next. When most of the log is history, what is held is said anew and the front is
//! let go.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ipfs_kit_core::id::Cid;
use ipfs_kit_core::pin_tracker::Held;
use ipfs_kit_store::disk::Disk;
use ipfs_kit_store::wal::{CutTail, Record, Replayed, Wal, WalError, WalOptions};
use tokio::sync::oneshot;

use crate::ports::{Executor, WorkLane, work};

const DIR: &str = "holdings";
const HELD: u8 = 1;
const RELEASED: u8 = 2;
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Records in one batch; each is under 200 bytes.
const BATCH_RECORDS: usize = 8192;

/// When the log is written anew.
#[derive(Clone, Copy)]
struct Bounds {
    segment_bytes: u64,
    /// Records beyond those that are needed.
    slack_records: usize,
}

const BOUNDS: Bounds = Bounds { segment_bytes: 1024 * 1024, slack_records: 16_384 };

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
    /// With the assignment that each is held for.
    held: BTreeMap<Cid, u64>,
    records: usize,
    slack_records: usize,
}

/// What one record says of a root.
#[derive(Clone)]
enum Entry {
    Held(Held),
    Released(Cid),
}

/// Hears whether its record was written.
type Written = oneshot::Sender<Result<(), String>>;

#[derive(Default)]
struct Waiting {
    records: Vec<(Entry, Written)>,
    writing: bool,
}

impl Holdings {
    /// Opens or creates the records in the node's folder.
    pub fn open(
        disk: Arc<dyn Disk>,
        executor: Arc<dyn Executor>,
        identity: [u8; 16],
    ) -> Result<Self, WalError> {
        Self::open_within(BOUNDS, disk, executor, identity)
    }

    fn open_within(
        bounds: Bounds,
        disk: Arc<dyn Disk>,
        executor: Arc<dyn Executor>,
        identity: [u8; 16],
    ) -> Result<Self, WalError> {
        let Bounds { segment_bytes, slack_records } = bounds;
        let mut held = BTreeMap::new();
        let mut records = 0;
        let options = WalOptions { identity, segment_bytes, max_batch_bytes: BATCH_BYTES_MAX };
        let mut unreadable = 0u64;
        let (wal, recovery) = Wal::open(disk, DIR, options, &mut |record: Replayed<'_>| {
            records += 1;
            match Entry::read(&record) {
                Some(entry) => entry.apply(&mut held),
                // Written by a newer program; what it says of a root is fetched or released again.
                None => unreadable += 1,
            }
            Ok::<(), WalError>(())
        })?;
        if unreadable > 0 {
            tracing::warn!(unreadable, "records of held roots were skipped");
        }
        if let Some(CutTail { segment, offset }) = recovery.cut {
            // What it said of a root is found out again: the tracker compares with what is asked.
            tracing::warn!(segment, offset, "cut the end off the records of held roots");
        }
        let inner = Arc::new(Mutex::new(Inner { wal, held, records, slack_records }));
        Ok(Self { executor, inner, waiting: Arc::default(), failure: Arc::default() })
    }

    /// Everything held, in order.
    pub async fn held(&self) -> Result<Vec<Held>, String> {
        let inner = Arc::clone(&self.inner);
        let job = move || {
            let held = |(cid, granted): (&Cid, &u64)| Held { cid: cid.clone(), granted: *granted };
            lock(&inner).held.iter().map(held).collect()
        };
        work(&*self.executor, WorkLane::Files, job).await.map_err(|error| error.to_string())
    }

    /// Everything held now, for the collector.
    pub fn roots(&self) -> Vec<Cid> {
        lock(&self.inner).held.keys().cloned().collect()
    }

    /// Why nothing can be written down until the records are opened again; `None` in health.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Writes down that a root is held, and for which assignment; durable on return.
    pub async fn hold(&self, held: Held) -> Result<(), String> {
        self.put(Entry::Held(held)).await
    }

    /// Writes down that a root is not held any more; durable on return. From then on it may be collected.
    pub async fn release(&self, cid: &Cid) -> Result<(), String> {
        self.put(Entry::Released(cid.clone())).await
    }

    async fn put(&self, entry: Entry) -> Result<(), String> {
        let (done, written) = oneshot::channel();
        let first = {
            let mut waiting = lock(&self.waiting);
            waiting.records.push((entry, done));
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
            let result = append(&mut self.wal, batch.iter().map(|(entry, _)| entry));
            if let Some(cause) = self.wal.failure() {
                failure.get_or_init(|| cause.to_owned());
            }
            let result = result.map(drop).map_err(|error| error.to_string());
            for (entry, done) in batch {
                if result.is_ok() {
                    self.records += 1;
                    entry.apply(&mut self.held);
                }
                // The waiter may have restarted; it asks again.
                let _ = done.send(result.clone());
            }
        }
        if self.records > 2 * self.held.len() + self.slack_records
            && let Err(reason) = self.rewrite()
        {
            tracing::warn!(%reason, "the records of held roots stay long");
        }
    }

    /// Says what is held anew and lets everything before go.
    fn rewrite(&mut self) -> Result<(), WalError> {
        let entry = |(cid, granted): (&Cid, &u64)| {
            Entry::Held(Held { cid: cid.clone(), granted: *granted })
        };
        let held: Vec<Entry> = self.held.iter().map(entry).collect();
        let mut first = None;
        for chunk in held.chunks(BATCH_RECORDS) {
            let segment = append(&mut self.wal, chunk.iter())?;
            first = first.or(segment);
        }
        let keep = first.unwrap_or_else(|| self.wal.tail_segment());
        self.wal.truncate_front(keep)?;
        self.records = self.held.len();
        Ok(())
    }
}

impl Entry {
    /// The kind and the parts of its record: of a held root the assignment, eight bytes, then the CID.
    fn parts(&self) -> (u8, [u8; 8], &Cid) {
        match self {
            Self::Held(held) => (HELD, held.granted.to_le_bytes(), &held.cid),
            Self::Released(cid) => (RELEASED, [0; 8], cid),
        }
    }

    fn read(record: &Replayed<'_>) -> Option<Self> {
        let (number, cid) = record.payload.split_first_chunk::<8>()?;
        let (granted, cid) = (u64::from_le_bytes(*number), Cid::from_bytes(cid).ok()?);
        match record.kind {
            HELD => Some(Self::Held(Held { cid, granted })),
            RELEASED => Some(Self::Released(cid)),
            _ => None,
        }
    }

    fn apply(self, held: &mut BTreeMap<Cid, u64>) {
        match self {
            Self::Held(Held { cid, granted }) => drop(held.insert(cid, granted)),
            Self::Released(cid) => drop(held.remove(&cid)),
        }
    }
}

/// Appends one batch; the segment of its first record.
fn append<'a>(
    wal: &mut Wal,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<Option<u64>, WalError> {
    let entries: Vec<(u8, [u8; 8], &Cid)> = entries.map(Entry::parts).collect();
    let parts: Vec<[&[u8]; 2]> =
        entries.iter().map(|(_, number, cid)| [number.as_slice(), cid.as_bytes()]).collect();
    let records: Vec<Record<'_>> = entries
        .iter()
        .zip(&parts)
        .map(|((kind, ..), parts)| Record { kind: *kind, parts })
        .collect();
    let locations = wal.append(&records)?;
    Ok(locations.first().map(|at| at.segment))
}

fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    // A record enters the set only after the log took it, so a panic can't leave it half changed.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
