//! What a bounded memory cache keeps: S3-FIFO (Yang et al., SOSP 2023) by bytes.
//!
//! Most blocks are read once. New ones enter a small queue; only those that are read again on their way
//! through it reach the main queue, and those that left it too early are remembered by name, so that they
//! enter the main queue directly when they come back. A read costs a counter, not a reordering, and a scan
//! over a large file can't empty the cache.
//!
//! The machine decides; whoever owns the bytes drops what it says.

use std::collections::BTreeMap;

use crate::id::Cid;

/// Part of the bytes that the small queue may take, as a divisor.
const SMALL_PART: u64 = 10;
/// Reads that are counted; more say nothing more.
const READS_MAX: u8 = 3;
/// Names remembered of what left the small queue, whatever their size.
const GHOSTS_MAX: usize = 65_536;
/// What an entry costs beside its bytes: its name and its places in the queues.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Queue {
    Small,
    Main,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    cost_bytes: u64,
    reads: u8,
    queue: Queue,
    seq: u64,
}

/// What an insertion led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Keep it.
    Admitted,
    /// It is larger than the whole cache: don't keep it.
    TooLarge,
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Reads that found their entry.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Entries that made room for others.
    pub evictions: u64,
}

/// The deciding half of a cache.
#[derive(Debug)]
pub struct CachePolicy {
    max_bytes: u64,
    used_bytes: u64,
    small_bytes: u64,
    entries: BTreeMap<Cid, Entry>,
    small: BTreeMap<u64, Cid>,
    main: BTreeMap<u64, Cid>,
    ghosts: BTreeMap<Cid, Ghost>,
    ghost_order: BTreeMap<u64, Cid>,
    ghost_bytes: u64,
    last_seq: u64,
    stats: Stats,
}

#[derive(Clone, Copy, Debug)]
struct Ghost {
    seq: u64,
    cost_bytes: u64,
}

impl CachePolicy {
    /// A cache of at most `max_bytes`, each entry's own cost included. 0: it keeps nothing.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            used_bytes: 0,
            small_bytes: 0,
            entries: BTreeMap::new(),
            small: BTreeMap::new(),
            main: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            ghost_order: BTreeMap::new(),
            ghost_bytes: 0,
            last_seq: 0,
            stats: Stats::default(),
        }
    }

    /// Notes a read; says whether the entry is there.
    pub fn read(&mut self, cid: &Cid) -> bool {
        match self.entries.get_mut(cid) {
            Some(entry) => {
                entry.reads = (entry.reads + 1).min(READS_MAX);
                self.stats.hits += 1;
                true
            }
            None => {
                self.stats.misses += 1;
                false
            }
        }
    }

    /// Decides about an entry that was fetched; what must go for it is added to `evicted`. An entry that is
    /// there already stays as it is: content does not change under its CID.
    pub fn insert(&mut self, cid: &Cid, len_bytes: u64, evicted: &mut Vec<Cid>) -> Admission {
        if self.entries.contains_key(cid) {
            return Admission::Admitted;
        }
        let cost_bytes = len_bytes.saturating_add(ENTRY_OVERHEAD_BYTES);
        if cost_bytes > self.max_bytes {
            return Admission::TooLarge;
        }
        while self.used_bytes > self.max_bytes - cost_bytes {
            self.evict(evicted);
        }
        let queue = if self.take_ghost(cid) { Queue::Main } else { Queue::Small };
        self.used_bytes += cost_bytes;
        let seq = self.enqueue(cid.clone(), queue, cost_bytes);
        self.entries.insert(cid.clone(), Entry { cost_bytes, reads: 0, queue, seq });
        Admission::Admitted
    }

    /// Takes an entry out, for example because its block was deleted; says whether it was there.
    pub fn remove(&mut self, cid: &Cid) -> bool {
        let Some(entry) = self.entries.remove(cid) else { return false };
        self.dequeue(&entry);
        self.used_bytes -= entry.cost_bytes;
        true
    }

    /// Bytes taken, overhead included; never above the bound.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Entries kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Moves one entry on: out, or to where it may stay longer. Every entry has a bounded number of moves
    /// left, so repeating it makes room.
    fn evict(&mut self, evicted: &mut Vec<Cid>) {
        let small_is_over = self.small_bytes > self.max_bytes / SMALL_PART;
        let from = if small_is_over || self.main.is_empty() { Queue::Small } else { Queue::Main };
        let popped = match from {
            Queue::Small => self.small.pop_first(),
            Queue::Main => self.main.pop_first(),
        };
        let (_, cid) = popped.expect("bytes are used, so one of the queues has an entry");
        let mut entry = self.entries.remove(&cid).expect("queues name entries only");
        if from == Queue::Small {
            self.small_bytes -= entry.cost_bytes;
        }
        if entry.reads == 0 {
            self.used_bytes -= entry.cost_bytes;
            self.stats.evictions += 1;
            if from == Queue::Small {
                self.remember(cid.clone(), entry.cost_bytes);
            }
            evicted.push(cid);
            return;
        }
        // From the small queue it starts anew; in the main queue each round costs one read.
        entry.reads = if from == Queue::Small { 0 } else { entry.reads - 1 };
        entry.queue = Queue::Main;
        entry.seq = self.enqueue(cid.clone(), Queue::Main, entry.cost_bytes);
        self.entries.insert(cid, entry);
    }

    fn enqueue(&mut self, cid: Cid, queue: Queue, cost_bytes: u64) -> u64 {
        self.last_seq += 1;
        match queue {
            Queue::Small => {
                self.small_bytes += cost_bytes;
                self.small.insert(self.last_seq, cid);
            }
            Queue::Main => {
                self.main.insert(self.last_seq, cid);
            }
        }
        self.last_seq
    }

    fn dequeue(&mut self, entry: &Entry) {
        match entry.queue {
            Queue::Small => {
                self.small_bytes -= entry.cost_bytes;
                self.small.remove(&entry.seq);
            }
            Queue::Main => {
                self.main.remove(&entry.seq);
            }
        }
    }

    /// Remembers the name of what left the small queue: as many as the main queue could hold.
    fn remember(&mut self, cid: Cid, cost_bytes: u64) {
        self.last_seq += 1;
        let seq = self.last_seq;
        self.ghost_bytes += cost_bytes;
        self.ghost_order.insert(seq, cid.clone());
        self.ghosts.insert(cid, Ghost { seq, cost_bytes });
        while self.ghosts.len() > GHOSTS_MAX || self.ghost_bytes > self.max_bytes {
            let Some((_, oldest)) = self.ghost_order.pop_first() else { return };
            if let Some(ghost) = self.ghosts.remove(&oldest) {
                self.ghost_bytes -= ghost.cost_bytes;
            }
        }
    }

    fn take_ghost(&mut self, cid: &Cid) -> bool {
        let Some(ghost) = self.ghosts.remove(cid) else { return false };
        self.ghost_order.remove(&ghost.seq);
        self.ghost_bytes -= ghost.cost_bytes;
        true
    }
}

#[cfg(test)]
mod tests;
