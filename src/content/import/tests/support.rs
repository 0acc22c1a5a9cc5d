//! Inputs and sinks for tests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use crate::cid::{Block, Cid, Codec, Version, sha2_256_cid};
use crate::dag_pb::links;
use crate::import::{BlockSink, SinkError};
use crate::read::{BlockSource, SourceError};

/// The input of the published vectors: the ChaCha20 keystream whose key is the hash of a seed.
pub(crate) struct Keystream {
    generator: ChaCha20Rng,
    remaining: u64,
}

impl Keystream {
    pub(crate) fn new(seed: &str, len_bytes: u64) -> Self {
        let generator = ChaCha20Rng::from_seed(Sha256::digest(seed).into());
        Self { generator, remaining: len_bytes }
    }
}

impl Read for Keystream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        // The generator drops the rest of a word, so only the last read may end within one.
        assert!(len as u64 == self.remaining || len % 4 == 0, "reads must take whole words");
        self.generator.fill_bytes(&mut out[..len]);
        self.remaining -= len as u64;
        Ok(len)
    }
}

/// A store in memory that refuses a block whose children it has not seen.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    pub(crate) blocks: RefCell<BTreeMap<Cid, Bytes>>,
    /// Keep only the CIDs of raw blocks: enough for the order, for inputs larger than memory.
    pub(crate) forget_leaves: bool,
    /// What was read, in order.
    pub(crate) reads: RefCell<Vec<Cid>>,
}

impl MemoryStore {
    pub(crate) fn without_leaves() -> Self {
        Self { forget_leaves: true, ..Self::default() }
    }

    /// Stores a dag-pb node whether its children are here or not.
    pub(crate) fn put_node(&self, block: Vec<u8>) -> Cid {
        let cid = sha2_256_cid(Version::V1, Codec::DagPb, &block);
        self.blocks.borrow_mut().insert(cid, block.into());
        cid
    }

    pub(crate) fn put_raw(&self, content: &[u8]) -> Cid {
        let block = Block::raw(Bytes::copy_from_slice(content));
        self.blocks.borrow_mut().insert(block.cid, block.data);
        block.cid
    }

    pub(crate) fn cids(&self) -> Vec<Cid> {
        self.blocks.borrow().keys().copied().collect()
    }
}

impl BlockSink for MemoryStore {
    fn put(&self, block: Block) -> Result<(), SinkError> {
        let mut blocks = self.blocks.borrow_mut();
        for child in links(&block.cid, &block.data).map_err(SinkError::new)? {
            if !blocks.contains_key(&child) {
                return Err(SinkError::new(format!("{} came before {child}", block.cid)));
            }
        }
        let forget = self.forget_leaves && Codec::of(&block.cid) == Some(Codec::Raw);
        blocks.insert(block.cid, if forget { Bytes::new() } else { block.data });
        Ok(())
    }
}

impl BlockSource for MemoryStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, SourceError> {
        self.reads.borrow_mut().push(*cid);
        Ok(self.blocks.borrow().get(cid).cloned())
    }
}
