//! The way out: finished blocks, gathered so that a sink sees few large calls.

use std::mem;

use bytes::Bytes;

use super::{BlockSink, ImportError};
use crate::cid::{Block, Cid, Codec, Version, sha2_256_cid};
use crate::limits::MAX_BLOCK_LEN_BYTES;

/// Blocks are handed over when this many bytes are gathered.
const GATHER_LEN_BYTES: usize = 1024 * 1024;
/// Blocks are handed over when this many are gathered.
const GATHER_BLOCKS: usize = 1024;

/// Hands blocks to the sink in the order in which they come.
pub(super) struct Emitter<'s> {
    sink: &'s dyn BlockSink,
    version: Version,
    gathered: Vec<Block>,
    gathered_len_bytes: usize,
    pub(super) blocks: u64,
    pub(super) block_bytes: u64,
}

impl<'s> Emitter<'s> {
    pub(super) fn new(sink: &'s dyn BlockSink, version: Version) -> Self {
        let gathered = Vec::new();
        Self { sink, version, gathered, gathered_len_bytes: 0, blocks: 0, block_bytes: 0 }
    }

    /// Hands over a block.
    pub(super) fn block(&mut self, block: Block) -> Result<(), ImportError> {
        self.blocks += 1;
        self.block_bytes += block.data.len() as u64;
        self.gathered_len_bytes += block.data.len();
        self.gathered.push(block);
        let full =
            self.gathered_len_bytes >= GATHER_LEN_BYTES || self.gathered.len() >= GATHER_BLOCKS;
        if full { self.flush() } else { Ok(()) }
    }

    /// Hashes and hands over a dag-pb node.
    pub(super) fn node(&mut self, data: Vec<u8>) -> Result<Cid, ImportError> {
        if data.len() > MAX_BLOCK_LEN_BYTES {
            return Err(ImportError::NodeTooLarge { len_bytes: data.len() });
        }
        let cid = sha2_256_cid(self.version, Codec::DagPb, &data);
        self.block(Block { cid, data: Bytes::from(data) })?;
        Ok(cid)
    }

    /// Gives the sink everything gathered.
    pub(super) fn flush(&mut self) -> Result<(), ImportError> {
        self.gathered_len_bytes = 0;
        let gathered = mem::take(&mut self.gathered);
        if gathered.is_empty() {
            return Ok(());
        }
        self.sink.put_many(gathered)?;
        Ok(())
    }
}
