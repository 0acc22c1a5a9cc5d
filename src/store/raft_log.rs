//! The Raft log of one node: entries, hard state and compaction, each change one durable batch.
//!
//! Every log record is replayed in order at opening, so the rules are few: entry `i` voids stored
//! entries at and after `i`; a compaction marker moves the start forward; a restart (an installed
//! snapshot) empties the log and moves it behind the snapshot. Entries are addressed by index
//! through a table in memory of where each stands; a bounded tail of them stays in memory whole.

mod check;
mod records;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::disk::Disk;
use crate::wal::{CutTail, Location, Record, Wal, WalError, WalOptions};

/// The log can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum RaftLogError {
    /// The entries were compacted. State is intact; send a snapshot instead.
    #[error("the log starts at entry {first}")]
    Compacted {
        /// First entry that is there.
        first: u64,
    },
    /// The entries are not there yet. State is intact.
    #[error("the log ends at entry {last}")]
    Beyond {
        /// Last entry that is there.
        last: u64,
    },
    /// The batch would break the log. Nothing was written; it is a defect of the caller.
    #[error("the batch does not fit the log at entry {index}: {what}")]
    InvalidBatch {
        /// The entry or position in question.
        index: u64,
        /// The broken rule.
        what: &'static str,
    },
    /// The stored records contradict each other. Nothing was changed; restore from the peers.
    #[error("the stored log is inconsistent at entry {index}: {what}")]
    Inconsistent {
        /// The entry or position in question.
        index: u64,
        /// The contradiction.
        what: &'static str,
    },
    /// The log on disk failed; see there.
    #[error(transparent)]
    Wal(#[from] WalError),
}

impl RaftLogError {
    /// Whether the disk is full. The log is as it was; the same batch can be appended once there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Wal(WalError::Disk(error)) if error.is_full())
    }
}

/// An entry of the log. `kind` is the caller's (Raft's entry types); both payloads are opaque.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Position in the log, from 1.
    pub index: u64,
    /// Term in which it was proposed.
    pub term: u64,
    /// Entry type.
    pub kind: u8,
    /// The command.
    pub data: Bytes,
    /// The proposer's context.
    pub context: Bytes,
}

impl Entry {
    /// What it counts against byte bounds.
    fn weight_bytes(&self) -> u64 {
        (size_of::<Self>() + self.data.len() + self.context.len()) as u64
    }
}

/// What a Raft node must remember besides its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// The node that got this node's vote in that term; 0 for none.
    pub vote: u64,
    /// Highest entry known to be committed.
    pub commit: u64,
}

/// An entry's place in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Index.
    pub index: u64,
    /// Term of the entry at this index.
    pub term: u64,
}

/// What one Raft ready wants to be durable, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Drops the whole log and lets it start behind this position: a snapshot was installed, whose
    /// state is durable already.
    pub restart_after: Option<Position>,
    /// Entries to append, in order. The first voids stored entries at and after its index.
    pub entries: Vec<Entry>,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.restart_after.is_none() && self.entries.is_empty() && self.hard_state.is_none()
    }
}

/// Bounds and identity of a log.
#[derive(Debug, Clone, Copy)]
pub struct RaftLogOptions {
    /// The log under it.
    pub wal: WalOptions,
    /// How much of the newest entries stays in memory.
    pub cache_bytes: u64,
}

/// The log; all methods take `&self`, appends exclude each other and reads.
#[derive(Debug)]
pub struct RaftLog {
    state: RwLock<State>,
    cache_max_bytes: u64,
    cut: Option<CutTail>,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    term: u64,
    at: Location,
}

#[derive(Debug)]
struct State {
    wal: Wal,
    index: Index,
    hard_state: HardState,
    /// A suffix of the log.
    cache: VecDeque<Entry>,
    cache_bytes: u64,
    suspect: bool,
}

/// Which entries are stored, and where.
#[derive(Debug, Default)]
struct Index {
    /// The log starts behind this position.
    base: Position,
    stored: VecDeque<Stored>,
}

impl Index {
    fn first(&self) -> u64 {
        self.base.index + 1
    }

    fn last(&self) -> u64 {
        self.base.index + self.stored.len() as u64
    }

    fn get(&self, index: u64) -> Option<&Stored> {
        self.stored.get(usize::try_from(index.checked_sub(self.first())?).ok()?)
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.index { Some(self.base.term) } else { Some(self.get(index)?.term) }
    }

    fn last_term(&self) -> u64 {
        self.stored.back().map_or(self.base.term, |stored| stored.term)
    }

    /// Voids entries at and after `index`.
    fn truncate(&mut self, index: u64) {
        self.stored.truncate(index.saturating_sub(self.first()) as usize);
    }

    fn compact(&mut self, to: Position) {
        let gone = to.index.saturating_sub(self.base.index).min(self.stored.len() as u64);
        self.stored.drain(..gone as usize);
        self.base = to;
    }
}

impl RaftLog {
    /// Opens or creates the log in `dir`. When a tail had to be cut, the log is
    /// [suspect](Self::is_suspect) from then on, durably.
    ///
    /// # Errors
    /// Corruption, contradiction or the disk's error; nothing was changed but what a torn tail needs.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: RaftLogOptions,
    ) -> Result<Self, RaftLogError> {
        let mut replay = replay::Replay::default();
        let (wal, recovery) =
            Wal::open(disk, dir, options.wal, &mut |record| replay.record(&record))?;
        let replayed = replay.finish()?;
        let mut state = State {
            wal,
            index: replayed.index,
            hard_state: replayed.hard_state,
            cache: VecDeque::new(),
            cache_bytes: 0,
            suspect: replayed.suspect,
        };
        if recovery.cut.is_some() && !state.suspect {
            state.write_suspect(true)?;
        }
        if let Some(CutTail { segment, offset }) = recovery.cut {
            tracing::warn!(dir, segment, offset, "cut an incomplete tail off the log");
        }
        let cache_max_bytes = options.cache_bytes;
        Ok(Self { state: RwLock::new(state), cache_max_bytes, cut: recovery.cut })
    }

    /// Makes a batch durable; on return it is.
    ///
    /// # Errors
    /// [`RaftLogError::InvalidBatch`] before anything is written. After a disk error other than a
    /// full disk the log refuses everything: the node must stop and reopen it.
    pub fn append(&self, batch: &Batch) -> Result<(), RaftLogError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut state = self.write();
        state.check(batch)?;
        let locations = state.write_batch(batch)?;
        if let Some(position) = batch.restart_after {
            state.index = Index { base: position, stored: VecDeque::new() };
            state.clear_cache();
        }
        if let Some(first) = batch.entries.first() {
            state.index.truncate(first.index);
            state.truncate_cache(first.index);
        }
        for (entry, at) in batch.entries.iter().zip(locations) {
            state.index.stored.push_back(Stored { term: entry.term, at });
            state.push_cache(entry.clone(), self.cache_max_bytes);
        }
        if let Some(hard_state) = batch.hard_state {
            state.hard_state = hard_state;
        }
        if batch.restart_after.is_some() {
            state.drop_dead_segments()?;
        }
        Ok(())
    }

    /// Drops entries up to and including `index`, which must be committed. Space comes back in whole
    /// segments.
    ///
    /// # Errors
    /// As [`RaftLog::append`].
    pub fn compact(&self, index: u64) -> Result<(), RaftLogError> {
        let mut state = self.write();
        if index <= state.index.base.index {
            return Ok(());
        }
        let invalid = |what| RaftLogError::InvalidBatch { index, what };
        let term = state.index.term(index).ok_or(invalid("compaction beyond the log's end"))?;
        if index > state.hard_state.commit {
            return Err(invalid("compaction of entries that are not committed"));
        }
        let position = Position { index, term };
        // What deleted segments said is said again before they go.
        state.write_marker(position)?;
        state.index.compact(position);
        let first = state.index.first();
        while state.cache.front().is_some_and(|entry| entry.index < first) {
            state.pop_cache();
        }
        state.drop_dead_segments()
    }

    /// Entries in `low..high`, as many as fit `max_bytes`, but at least one.
    ///
    /// # Errors
    /// [`RaftLogError::Compacted`], [`RaftLogError::Beyond`], or the disk's.
    pub fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, RaftLogError> {
        let state = self.read();
        if low < state.index.first() {
            return Err(RaftLogError::Compacted { first: state.index.first() });
        }
        if high > state.index.last() + 1 {
            return Err(RaftLogError::Beyond { last: state.index.last() });
        }
        let mut entries = Vec::new();
        let mut total_bytes = 0;
        for index in low..high {
            let entry = state.entry(index)?;
            total_bytes += entry.weight_bytes();
            if total_bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Term of an entry, or of the position before the first one.
    ///
    /// # Errors
    /// [`RaftLogError::Compacted`] or [`RaftLogError::Beyond`].
    pub fn term(&self, index: u64) -> Result<u64, RaftLogError> {
        let state = self.read();
        state.index.term(index).ok_or_else(|| {
            if index < state.index.base.index {
                RaftLogError::Compacted { first: state.index.first() }
            } else {
                RaftLogError::Beyond { last: state.index.last() }
            }
        })
    }

    /// Index of the first entry that is, or will be, stored.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.read().index.first()
    }

    /// Index of the last entry; one less than [`RaftLog::first_index`] in an empty log.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.read().index.last()
    }

    /// The position behind which the log starts.
    #[must_use]
    pub fn base(&self) -> Position {
        self.read().index.base
    }

    /// The durable hard state.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.read().hard_state
    }

    /// Where opening this time cut off an incomplete tail.
    #[must_use]
    pub fn cut(&self) -> Option<CutTail> {
        self.cut
    }

    /// Why nothing can be written until the log is opened again; `None` in health.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.read().wal.failure().map(str::to_owned)
    }

    /// Whether an acknowledged tail may have been cut off, now or at an earlier opening. Such a node
    /// must neither vote nor acknowledge until it has caught up with a leader.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.read().suspect
    }

    /// Forgets, durably, that a tail was cut: the node has caught up.
    ///
    /// # Errors
    /// As [`RaftLog::append`].
    pub fn clear_suspect(&self) -> Result<(), RaftLogError> {
        let mut state = self.write();
        if state.suspect { state.write_suspect(false) } else { Ok(()) }
    }

    /// Number of segments on disk.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.read().wal.segments()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // State changes only after the log accepted them, so a panic can't leave it half changed.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes the batch; returns where its entries stand.
    fn write_batch(&mut self, batch: &Batch) -> Result<Vec<Location>, RaftLogError> {
        let heads: Vec<_> = batch.entries.iter().map(records::entry_head).collect();
        let parts: Vec<[&[u8]; 3]> = batch
            .entries
            .iter()
            .zip(&heads)
            .map(|(entry, head)| [&head[..], &entry.context[..], &entry.data[..]])
            .collect();
        let restart = batch.restart_after.map(records::position);
        let restart_parts = restart.as_ref().map(|bytes| [&bytes[..]]);
        // Older segments go after a restart, so it repeats the hard state if the batch has none.
        let hard_state = match (batch.hard_state, batch.restart_after) {
            (None, Some(_)) => Some(self.hard_state),
            (given, _) => given,
        };
        let hard_state = hard_state.map(records::hard_state);
        let hard_state_parts = hard_state.as_ref().map(|bytes| [&bytes[..]]);
        let suspect = [u8::from(self.suspect)];
        let suspect_parts = restart.is_some().then_some([&suspect[..]]);
        let mut all = Vec::with_capacity(parts.len() + 3);
        all.extend(restart_parts.iter().map(|parts| Record { kind: records::RESTART, parts }));
        all.extend(suspect_parts.iter().map(|parts| Record { kind: records::SUSPECT, parts }));
        let before = all.len();
        all.extend(parts.iter().map(|parts| Record { kind: records::ENTRY, parts }));
        all.extend(
            hard_state_parts.iter().map(|parts| Record { kind: records::HARD_STATE, parts }),
        );
        let mut locations = self.wal.append(&all)?;
        locations.drain(..before);
        Ok(locations)
    }

    fn write_marker(&mut self, position: Position) -> Result<(), RaftLogError> {
        let marker = records::position(position);
        let hard_state = records::hard_state(self.hard_state);
        let suspect = [u8::from(self.suspect)];
        self.wal.append(&[
            Record { kind: records::COMPACTED, parts: &[&marker] },
            Record { kind: records::HARD_STATE, parts: &[&hard_state] },
            Record { kind: records::SUSPECT, parts: &[&suspect] },
        ])?;
        Ok(())
    }

    fn write_suspect(&mut self, suspect: bool) -> Result<(), RaftLogError> {
        let flag = [u8::from(suspect)];
        self.wal.append(&[Record { kind: records::SUSPECT, parts: &[&flag] }])?;
        self.suspect = suspect;
        Ok(())
    }

    /// What lets go of them is durable already, so a failure here must not make the caller believe
    /// otherwise: unless it closes the log, the next compaction tries again.
    fn drop_dead_segments(&mut self) -> Result<(), RaftLogError> {
        // Later entries stand in later segments, so the first entry's is the oldest one in use.
        let keep = self.index.stored.front().map(|stored| stored.at.segment);
        let dropped = self.wal.truncate_front(keep.unwrap_or(self.wal.tail_segment()));
        match dropped {
            Err(error) if self.wal.failure().is_none() => {
                tracing::warn!(%error, "old segments of the log take room until it is compacted again");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn entry(&self, index: u64) -> Result<Entry, RaftLogError> {
        let cached_from = self.cache.front().map_or(u64::MAX, |entry| entry.index);
        if let Some(entry) =
            index.checked_sub(cached_from).and_then(|at| self.cache.get(at as usize))
        {
            return Ok(entry.clone());
        }
        let missing = RaftLogError::Beyond { last: self.index.last() };
        let stored = self.index.get(index).ok_or(missing)?;
        let payload = Bytes::from(self.wal.read(stored.at)?);
        let entry = records::parse_entry(&payload)
            .filter(|entry| (entry.index, entry.term) == (index, stored.term));
        entry.ok_or(RaftLogError::Inconsistent { index, what: "another entry stands in its place" })
    }

    fn push_cache(&mut self, entry: Entry, max_bytes: u64) {
        self.cache_bytes += entry.weight_bytes();
        self.cache.push_back(entry);
        while self.cache_bytes > max_bytes && !self.cache.is_empty() {
            self.pop_cache();
        }
    }

    fn pop_cache(&mut self) {
        let gone = self.cache.pop_front();
        self.cache_bytes -= gone.map_or(0, |entry| entry.weight_bytes());
    }

    fn truncate_cache(&mut self, index: u64) {
        while self.cache.back().is_some_and(|entry| entry.index >= index) {
            let gone = self.cache.pop_back();
            self.cache_bytes -= gone.map_or(0, |entry| entry.weight_bytes());
        }
    }

    fn clear_cache(&mut self) {
        self.cache.clear();
        self.cache_bytes = 0;
    }
}
