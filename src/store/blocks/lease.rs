//! Leases: durable reasons to keep blocks that no pin keeps yet, such as an import or a download.
//!
//! A small write-ahead log over the disk, replayed into a table. When it has grown, the whole table
//! is written as one batch and the older segments go.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BlockStore, Key, lock, write};
use crate::codec::Fields;
use crate::disk::Disk;
use crate::wal::{CutTail, Record, Replayed, Wal, WalError, WalOptions};

/// How many leases there may be at once.
pub const MAX_LEASES: usize = 16_384;
/// How many roots all leases together may have.
pub const MAX_LEASED_ROOTS: usize = 131_072;
/// Longest reason.
pub const MAX_LEASE_REASON_BYTES: usize = 256;

const SEGMENT_BYTES: u64 = 1 << 20;
/// The whole table fits: at most 88 bytes a root and 300 a lease.
const MAX_BATCH_BYTES: u64 = 32 << 20;
/// From this many log segments on, the table is written anew.
const COMPACT_AT_SEGMENTS: usize = 4;

/// The table starts anew with this next id: 8 bytes.
const RESET: u8 = 1;
/// Id 8, until 9, reason length 2, reason, then per root length 1 and multihash.
const GRANT: u8 = 2;
/// Id 8, until 9.
const EXTEND: u8 = 3;
/// Id 8.
const RELEASE: u8 = 4;

/// Names a lease; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// A durable reason to keep blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Why, for people.
    pub reason: String,
    /// What the collector's marker has to walk and keep.
    pub roots: Vec<Key>,
    /// The lease ends when the applied index has reached this; `None`: when it is released.
    pub until: Option<u64>,
}

/// A lease could not be granted or changed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// There are too many leases or roots. Nothing was changed; release some, or retry later.
    #[error("there are already {leases} leases with {roots} roots")]
    TooMany {
        /// Leases now.
        leases: usize,
        /// Their roots.
        roots: usize,
    },
    /// The reason is too long. Nothing was changed.
    #[error("a lease's reason has {len_bytes} bytes, more than {MAX_LEASE_REASON_BYTES}")]
    LongReason {
        /// Its length.
        len_bytes: usize,
    },
    /// There is no such lease: it was released or has ended. Nothing was changed.
    #[error("there is no lease {}", id.0)]
    Unknown {
        /// The id.
        id: LeaseId,
    },
    /// A stored record is malformed. Nothing was changed; restore the lease log or remove it.
    #[error("the lease log holds a malformed record")]
    Malformed,
    /// The lease log failed; see there.
    #[error(transparent)]
    Wal(#[from] WalError),
}

#[derive(Debug)]
pub(super) struct Leases {
    wal: Wal,
    table: Table,
}

#[derive(Debug, Default)]
struct Table {
    leases: BTreeMap<LeaseId, Lease>,
    roots: usize,
    next_id: u64,
}

impl Table {
    fn insert(&mut self, lease: Lease) {
        self.next_id = self.next_id.max(lease.id.0 + 1);
        self.roots += lease.roots.len();
        self.leases.insert(lease.id, lease);
    }

    fn remove(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.roots -= lease.roots.len();
        }
    }

    fn replay(&mut self, record: &Replayed<'_>) -> Option<()> {
        let mut fields = Fields::new(record.payload);
        let id = fields.u64()?;
        match record.kind {
            RESET => *self = Self { next_id: id, ..Self::default() },
            GRANT => self.insert(parse_grant(LeaseId(id), &mut fields)?),
            EXTEND => {
                let until = parse_until(&mut fields)?;
                // What stands before a reset may speak of leases from segments that are gone.
                if let Some(lease) = self.leases.get_mut(&LeaseId(id)) {
                    lease.until = until;
                }
            }
            RELEASE => self.remove(LeaseId(id)),
            _ => return None,
        }
        Some(())
    }
}

impl Leases {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: [u8; 16],
    ) -> Result<(Self, Option<CutTail>), LeaseError> {
        let options =
            WalOptions { identity, segment_bytes: SEGMENT_BYTES, max_batch_bytes: MAX_BATCH_BYTES };
        let mut table = Table { next_id: 1, ..Table::default() };
        let (wal, recovery) = Wal::open(disk, dir, options, &mut |record| {
            table.replay(&record).ok_or(LeaseError::Malformed)
        })?;
        Ok((Self { wal, table }, recovery.cut))
    }

    fn grant(
        &mut self,
        reason: &str,
        roots: &[Key],
        until: Option<u64>,
    ) -> Result<LeaseId, LeaseError> {
        if reason.len() > MAX_LEASE_REASON_BYTES {
            return Err(LeaseError::LongReason { len_bytes: reason.len() });
        }
        let (leases, held) = (self.table.leases.len(), self.table.roots);
        if leases >= MAX_LEASES || held + roots.len() > MAX_LEASED_ROOTS {
            return Err(LeaseError::TooMany { leases, roots: held });
        }
        let id = LeaseId(self.table.next_id);
        let lease = Lease { id, reason: reason.to_owned(), roots: roots.to_vec(), until };
        self.wal.append(&[Record { kind: GRANT, parts: &[&encode_grant(&lease)] }])?;
        self.table.insert(lease);
        self.compact_if_due();
        Ok(id)
    }

    fn extend(&mut self, id: LeaseId, until: Option<u64>) -> Result<(), LeaseError> {
        let lease = self.table.leases.get_mut(&id).ok_or(LeaseError::Unknown { id })?;
        let parts: [&[u8]; 2] = [&id.0.to_le_bytes(), &encode_until(until)];
        self.wal.append(&[Record { kind: EXTEND, parts: &parts }])?;
        lease.until = until;
        self.compact_if_due();
        Ok(())
    }

    fn release(&mut self, ids: &[LeaseId]) -> Result<(), LeaseError> {
        let held = ids.iter().filter(|id| self.table.leases.contains_key(id));
        let payloads: Vec<_> = held.map(|id| id.0.to_le_bytes()).collect();
        if payloads.is_empty() {
            return Ok(());
        }
        let parts: Vec<[&[u8]; 1]> = payloads.iter().map(|bytes| [&bytes[..]]).collect();
        let records: Vec<_> = parts.iter().map(|parts| Record { kind: RELEASE, parts }).collect();
        self.wal.append(&records)?;
        ids.iter().for_each(|id| self.table.remove(*id));
        self.compact_if_due();
        Ok(())
    }

    /// The change before it is durable already, so a failure here (a full disk, say) must not make
    /// its caller believe otherwise. It is tried again at the next change.
    fn compact_if_due(&mut self) {
        if self.wal.segments() < COMPACT_AT_SEGMENTS {
            return;
        }
        if let Err(error) = self.compact() {
            tracing::warn!(%error, "the lease log could not be compacted");
        }
    }

    fn compact(&mut self) -> Result<(), LeaseError> {
        let reset = self.table.next_id.to_le_bytes();
        let grants: Vec<_> = self.table.leases.values().map(encode_grant).collect();
        let reset_parts: [&[u8]; 1] = [&reset];
        let grant_parts: Vec<[&[u8]; 1]> = grants.iter().map(|bytes| [&bytes[..]]).collect();
        let mut records = vec![Record { kind: RESET, parts: &reset_parts }];
        records.extend(grant_parts.iter().map(|parts| Record { kind: GRANT, parts }));
        let at = self.wal.append(&records)?;
        Ok(self.wal.truncate_front(at[0].segment)?)
    }
}

impl BlockStore {
    /// Keeps `roots`, and what the marker finds below them, until the applied index has reached
    /// `until`, or until it is released. Durable on return. During a collection the roots
    /// themselves are safe from this call on; what is below them is safe if the marker still asks
    /// for [new roots](super::GcSession::new_roots), which it must before it sweeps.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn lease(
        &self,
        reason: &str,
        roots: &[Key],
        until: Option<u64>,
    ) -> Result<LeaseId, LeaseError> {
        let mut leases = lock(&self.inner.leases);
        {
            // Before it is durable: a sweep that runs now must not win the race.
            let mut catalog = write(&self.inner.catalog);
            for root in roots {
                catalog.protect(root);
            }
        }
        let granted = leases.grant(reason, roots, until);
        let id = self.inner.heed(&leases, granted)?;
        let mut catalog = write(&self.inner.catalog);
        if catalog.collecting {
            catalog.new_roots.extend_from_slice(roots);
        }
        Ok(id)
    }

    /// Changes a lease's end.
    ///
    /// # Errors
    /// [`LeaseError::Unknown`], or the log's.
    pub fn extend_lease(&self, id: LeaseId, until: Option<u64>) -> Result<(), LeaseError> {
        let mut leases = lock(&self.inner.leases);
        let extended = leases.extend(id, until);
        self.inner.heed(&leases, extended)
    }

    /// Ends a lease. One that has ended already is as it should be: an import and whoever looks after it
    /// may both see that it is over.
    ///
    /// # Errors
    /// The log's.
    pub fn release_lease(&self, id: LeaseId) -> Result<(), LeaseError> {
        let mut leases = lock(&self.inner.leases);
        let released = leases.release(&[id]);
        self.inner.heed(&leases, released)
    }

    /// Ends all leases whose `until` the applied index has reached; returns how many.
    ///
    /// # Errors
    /// The log's.
    pub fn release_passed_leases(&self, applied_index: u64) -> Result<usize, LeaseError> {
        let mut leases = lock(&self.inner.leases);
        let passed: Vec<_> = leases
            .table
            .leases
            .values()
            .filter(|lease| lease.until.is_some_and(|until| until <= applied_index))
            .map(|lease| lease.id)
            .collect();
        if !passed.is_empty() {
            let released = leases.release(&passed);
            self.inner.heed(&leases, released)?;
        }
        Ok(passed.len())
    }

    /// All leases, oldest first.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        lock(&self.inner.leases).table.leases.values().cloned().collect()
    }
}

impl super::Inner {
    /// A lease log that is closed takes the store with it: the disk is the same, and what is to be kept
    /// can't be written down any more.
    fn heed<T>(&self, leases: &Leases, result: Result<T, LeaseError>) -> Result<T, LeaseError> {
        if let Some(cause) = leases.wal.failure() {
            self.poisoned.get_or_init(|| cause.to_owned());
        }
        result
    }
}

fn encode_until(until: Option<u64>) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[0] = u8::from(until.is_some());
    bytes[1..].copy_from_slice(&until.unwrap_or(0).to_le_bytes());
    bytes
}

fn parse_until(fields: &mut Fields<'_>) -> Option<Option<u64>> {
    match (fields.u8()?, fields.u64()?) {
        (0, 0) => Some(None),
        (1, until) => Some(Some(until)),
        _ => None,
    }
}

fn encode_grant(lease: &Lease) -> Vec<u8> {
    let mut bytes = lease.id.0.to_le_bytes().to_vec();
    bytes.extend_from_slice(&encode_until(lease.until));
    bytes.extend_from_slice(&(lease.reason.len() as u16).to_le_bytes());
    bytes.extend_from_slice(lease.reason.as_bytes());
    for root in &lease.roots {
        let root = root.to_bytes();
        bytes.push(root.len() as u8);
        bytes.extend_from_slice(&root);
    }
    bytes
}

fn parse_grant(id: LeaseId, fields: &mut Fields<'_>) -> Option<Lease> {
    let until = parse_until(fields)?;
    let reason_len = fields.u16()? as usize;
    let reason = String::from_utf8(fields.bytes(reason_len)?.to_vec()).ok()?;
    let mut roots = Vec::new();
    while !fields.is_empty() {
        let len = fields.u8()? as usize;
        roots.push(Key::from_bytes(fields.bytes(len)?)?);
    }
    Some(Lease { id, reason, roots, until })
}
