//! Walking whole DAGs: for transfer, garbage collection and the question whether all is here.
//!
//! A [`DagWalk`] names blocks, depth first, and is told what became of each. It holds the CIDs still to
//! come, packed, and a digest of every node it has seen, so that shared parts are walked once.

use std::collections::BTreeSet;

use crate::cid::{Cid, Codec, SHA2_256, identity_data};
use crate::dag_pb::{LinksError, links};
use crate::limits::{MAX_MISSING_NAMED, MAX_WALK_FRONTIER, MAX_WALK_IN_FLIGHT};

#[cfg(test)]
mod tests;

/// How far a walk remembers leaves, which are raw blocks and many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafMemory {
    /// Every leaf is named once; about 45 bytes of memory for each.
    All,
    /// The first so many distinct leaves are named once, later ones as often as they are linked.
    First(usize),
}

/// What a walk has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalkTotals {
    /// Nodes with possible links that were visited.
    pub nodes: u64,
    /// Raw blocks that were visited.
    pub leaves: u64,
    /// Bytes of the visited blocks, of those whose bytes were given.
    pub bytes: u64,
    /// Blocks that were skipped.
    pub skipped: u64,
    /// Blocks that were reported missing.
    pub missing: u64,
}

/// Why a walk cannot take an answer.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The block was not asked for, or was answered before. The walk is unharmed.
    #[error("block {cid} was not asked for")]
    NotRequested {
        /// The block.
        cid: Cid,
    },
    /// A node was answered without its bytes. The walk is unharmed and still waits for the answer.
    #[error("block {cid} may have links, so its bytes are needed")]
    BytesNeeded {
        /// The block.
        cid: Cid,
    },
    /// The links of a node cannot be read. The walk is unharmed and still waits for an answer, which
    /// can only be [`DagWalk::skip`] or [`DagWalk::missing`].
    #[error("links cannot be read")]
    Links {
        /// What is wrong with it.
        #[source]
        source: Box<LinksError>,
    },
    /// More than [`MAX_WALK_FRONTIER`] blocks are still to come. The DAG is hostile or far beyond what
    /// this node serves; the walk must be given up.
    #[error("more than {MAX_WALK_FRONTIER} blocks are still to be walked at {cid}")]
    TooWide {
        /// The block with the last links.
        cid: Cid,
    },
}

/// The walk. Every block that [`next`](Self::next) names must be answered with one of
/// [`visited`](Self::visited), [`skip`](Self::skip) or [`missing`](Self::missing).
#[derive(Debug)]
pub struct DagWalk {
    frontier: CidStack,
    in_flight: BTreeSet<Cid>,
    seen_nodes: BTreeSet<[u8; 32]>,
    seen_leaves: BTreeSet<[u8; 32]>,
    leaf_limit: usize,
    missing: Vec<Cid>,
    totals: WalkTotals,
}

impl DagWalk {
    /// A walk over everything below `roots`, the first of them first.
    ///
    /// # Errors
    /// [`WalkError::TooWide`] if there are more roots than a walk can hold.
    pub fn new(
        roots: impl IntoIterator<Item = Cid>,
        leaves: LeafMemory,
    ) -> Result<Self, WalkError> {
        let leaf_limit = match leaves {
            LeafMemory::All => usize::MAX,
            LeafMemory::First(limit) => limit,
        };
        let mut walk = Self {
            frontier: CidStack::default(),
            in_flight: BTreeSet::new(),
            seen_nodes: BTreeSet::new(),
            seen_leaves: BTreeSet::new(),
            leaf_limit,
            missing: Vec::new(),
            totals: WalkTotals::default(),
        };
        let mut links = Vec::new();
        for root in roots {
            if links.len() == MAX_WALK_FRONTIER {
                return Err(WalkError::TooWide { cid: root });
            }
            links.push(root);
        }
        let last = links.last().copied();
        last.map_or(Ok(()), |last| walk.push_links(&last, links))?;
        Ok(walk)
    }

    /// Adds a root, to be walked next; what the walk knows already is not walked again. So roots without
    /// number, such as all pins, can be fed one by one.
    ///
    /// # Errors
    /// [`WalkError::TooWide`], [`WalkError::Links`].
    pub fn add_root(&mut self, root: Cid) -> Result<(), WalkError> {
        self.push_links(&root, vec![root])
    }

    /// Names up to `max` blocks to look at next, in depth-first order as far as answers are known. Fewer
    /// or none while too many answers are outstanding, or when all that was left is known already; then
    /// the walk is done. With `max` 1 and an answer after each call,
    /// parents come before children and in the order of the links.
    pub fn next(&mut self, max: usize) -> Vec<Cid> {
        let room = MAX_WALK_IN_FLIGHT - self.in_flight.len();
        let mut named = Vec::new();
        while named.len() < max.min(room) {
            let Some(cid) = self.frontier.pop() else { break };
            if self.is_new(&cid) {
                self.in_flight.insert(cid);
                named.push(cid);
            }
        }
        named
    }

    /// What [`next`](Self::next) will probably name, so that it can be fetched ahead. Nothing is asked
    /// for, and some of it may be known already.
    pub fn peek(&self, max: usize) -> Vec<Cid> {
        self.frontier.top(max)
    }

    /// Tells that a block is here. A raw block needs no bytes; if they are given they are counted.
    ///
    /// # Errors
    /// See [`WalkError`].
    pub fn visited(&mut self, cid: &Cid, block: Option<&[u8]>) -> Result<(), WalkError> {
        if !self.in_flight.contains(cid) {
            return Err(WalkError::NotRequested { cid: *cid });
        }
        if Codec::of(cid) == Some(Codec::Raw) {
            self.totals.leaves += 1;
        } else {
            let block = block.ok_or(WalkError::BytesNeeded { cid: *cid })?;
            self.push_links(cid, links(cid, block).map_err(unreadable)?)?;
            self.totals.nodes += 1;
        }
        self.in_flight.remove(cid);
        self.totals.bytes += block.map_or(0, <[u8]>::len) as u64;
        Ok(())
    }

    /// Tells that nothing below this block needs a visit, as when a whole sub-DAG is known to be here.
    ///
    /// # Errors
    /// [`WalkError::NotRequested`].
    pub fn skip(&mut self, cid: &Cid) -> Result<(), WalkError> {
        self.answer(cid)?;
        self.totals.skipped += 1;
        Ok(())
    }

    /// Tells that a block is not here. The walk goes on beside it.
    ///
    /// # Errors
    /// [`WalkError::NotRequested`].
    pub fn missing(&mut self, cid: &Cid) -> Result<(), WalkError> {
        self.answer(cid)?;
        self.totals.missing += 1;
        if self.missing.len() < MAX_MISSING_NAMED {
            self.missing.push(*cid);
        }
        Ok(())
    }

    /// Whether everything is answered and nothing is still to come.
    pub fn is_done(&self) -> bool {
        self.frontier.count == 0 && self.in_flight.is_empty()
    }

    /// Whether the walk is done and nothing was missing.
    pub fn is_complete(&self) -> bool {
        self.is_done() && self.totals.missing == 0
    }

    /// The blocks named and not yet answered.
    pub fn outstanding(&self) -> impl Iterator<Item = &Cid> {
        self.in_flight.iter()
    }

    /// The first [`MAX_MISSING_NAMED`] missing blocks; [`WalkTotals::missing`] counts all.
    pub fn missing_cids(&self) -> &[Cid] {
        &self.missing
    }

    /// What the walk has seen so far.
    pub const fn totals(&self) -> WalkTotals {
        self.totals
    }

    fn answer(&mut self, cid: &Cid) -> Result<(), WalkError> {
        if self.in_flight.remove(cid) { Ok(()) } else { Err(WalkError::NotRequested { cid: *cid }) }
    }

    /// Whether `cid` is to be named, noting that it was.
    fn is_new(&mut self, cid: &Cid) -> bool {
        if Codec::of(cid) != Some(Codec::Raw) {
            return self.seen_nodes.insert(key(cid));
        }
        let key = key(cid);
        if self.seen_leaves.len() < self.leaf_limit {
            self.seen_leaves.insert(key)
        } else {
            // Past the limit a leaf may come again, but not while its first answer is outstanding.
            !self.seen_leaves.contains(&key) && !self.in_flight.contains(cid)
        }
    }

    /// Puts the links of `parent` on the frontier, the first on top.
    fn push_links(&mut self, parent: &Cid, direct: Vec<Cid>) -> Result<(), WalkError> {
        let mut children = Vec::with_capacity(direct.len());
        // A block inside its CID has nothing to fetch: its links stand in its place. Each is shorter
        // than the CID it is in, so this ends.
        let mut levels = vec![direct.into_iter()];
        while let Some(level) = levels.last_mut() {
            match level.next() {
                None => drop(levels.pop()),
                Some(child) => match identity_data(&child) {
                    None => children.push(child),
                    Some(data) => {
                        levels.push(links(&child, &data).map_err(unreadable)?.into_iter());
                    }
                },
            }
        }
        if self.frontier.count + children.len() > MAX_WALK_FRONTIER {
            return Err(WalkError::TooWide { cid: *parent });
        }
        children.iter().rev().for_each(|child| self.frontier.push(child));
        Ok(())
    }
}

fn unreadable(source: LinksError) -> WalkError {
    WalkError::Links { source: Box::new(source) }
}

/// What tells blocks apart: the codec, since it decides the links, and the multihash. The version is no
/// part of it.
///
/// Raw blocks and dag-pb nodes are kept apart by the caller; whatever is not one of these with a plain
/// SHA2-256 gets a digest of its own, so that a small key is enough.
fn key(cid: &Cid) -> [u8; 32] {
    let hash = cid.hash();
    let is_common = matches!(Codec::of(cid), Some(Codec::Raw | Codec::DagPb));
    match <[u8; 32]>::try_from(hash.digest()) {
        Ok(digest) if is_common && hash.code() == SHA2_256 => digest,
        _ => *blake3::hash(&cid.to_bytes()).as_bytes(),
    }
}

/// CIDs on top of each other in one buffer: the bytes of each, then their number.
#[derive(Debug, Default)]
struct CidStack {
    bytes: Vec<u8>,
    count: usize,
}

impl CidStack {
    fn push(&mut self, cid: &Cid) {
        let start = self.bytes.len();
        cid.write_bytes(&mut self.bytes).expect("writing to memory cannot fail");
        let len = u8::try_from(self.bytes.len() - start);
        self.bytes.push(len.expect("a cid has at most 64 bytes of digest and three numbers"));
        self.count += 1;
    }

    fn pop(&mut self) -> Option<Cid> {
        let (start, cid) = Self::last(&self.bytes)?;
        self.bytes.truncate(start);
        self.count -= 1;
        Some(cid)
    }

    /// Up to `max` from the top down, which stay.
    fn top(&self, max: usize) -> Vec<Cid> {
        let mut rest = &self.bytes[..];
        let mut cids = Vec::new();
        while cids.len() < max
            && let Some((start, cid)) = Self::last(rest)
        {
            cids.push(cid);
            rest = &rest[..start];
        }
        cids
    }

    /// The last CID in a buffer, and where it starts.
    fn last(bytes: &[u8]) -> Option<(usize, Cid)> {
        let start = bytes.len().checked_sub(1 + usize::from(*bytes.last()?))?;
        let cid = Cid::read_bytes(&bytes[start..]).expect("only whole cids are pushed");
        Some((start, cid))
    }
}
