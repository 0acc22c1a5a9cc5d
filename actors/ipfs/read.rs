//! Reading: cursors over blocks from wherever they are.

use bytes::Bytes;
use cid::Cid;
use ipfs_kit_content::read::{Cursor, ReadError, Step};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;

use super::{FindBlocks, FindError, IpfsActor};
use crate::supervision::{ActorRef, AskError};

/// Why reading ended. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content breaks a rule, or the path leads nowhere.
    #[error(transparent)]
    Content(#[from] ReadError),
    /// Folders are nested deeper than any tree that can be added.
    #[error("{path} lies deeper than {} folders", limits::TREE_DEPTH_MAX)]
    TooDeep {
        /// Where the bound was met, shortened.
        path: String,
    },
    /// A block can't be found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The embedded node does not answer.
    #[error(transparent)]
    Busy(#[from] AskError),
}

/// Where a reader's blocks come from.
#[derive(Clone)]
pub struct Blocks {
    /// Finds them.
    pub ipfs: ActorRef<IpfsActor>,
    /// Members that probably have them, best first.
    pub sources: Vec<NodeId>,
}

impl Blocks {
    /// The blocks that can be had; the first one is among them.
    pub async fn find(&self, cids: Vec<Cid>) -> Result<Vec<(Cid, Bytes)>, Error> {
        let deadline = std::time::Duration::from_secs(60);
        let find = FindBlocks { cids, sources: self.sources.clone() };
        Ok(self.ipfs.ask_within(find, deadline).await??)
    }

    /// The next item of a cursor, or `None` at its end.
    pub async fn next<C: Cursor>(&self, cursor: &mut C) -> Result<Option<C::Item>, Error> {
        loop {
            match cursor.step()? {
                Step::Data(item) => return Ok(Some(item)),
                Step::Done => return Ok(None),
                Step::Need(cids) => {
                    for (cid, bytes) in self.find(cids).await? {
                        cursor.provide(cid, bytes)?;
                    }
                }
            }
        }
    }
}
