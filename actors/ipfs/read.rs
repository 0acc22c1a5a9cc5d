//! Reading: cursors over blocks from wherever they are.

use std::collections::BTreeSet;

use bytes::Bytes;
use cid::Cid;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ipfs_kit_content::read::{Cursor, FileCursor, ReadError, Step};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;

use super::{FindBlocks, FindError, IpfsActor};
use crate::supervision::{ActorRef, AskError};

/// Blocks that a file reader has in memory or asks for ahead.
const LOOK_AHEAD: usize = 16;
/// Blocks that it asks for at once: one answer of a member has room for about so many large ones, and
/// several such requests are read and checked side by side.
const BATCH: usize = 4;

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

type Found = (Vec<Cid>, Result<Vec<(Cid, Bytes)>, Error>);

/// Reads a range of a file. What comes next is fetched while what came before is used.
pub struct FileReader {
    cursor: FileCursor,
    blocks: Blocks,
    asked: BTreeSet<Cid>,
    /// What was asked for ahead and did not come.
    in_vain: BTreeSet<Cid>,
    under_way: FuturesUnordered<BoxFuture<'static, Found>>,
}

impl FileReader {
    /// A reader of the bytes `range` of the file `root`. Dropping it ends what is under way.
    pub fn new(root: Cid, range: std::ops::Range<u64>, blocks: Blocks) -> Self {
        let cursor = FileCursor::with_look_ahead(root, range, LOOK_AHEAD);
        let (asked, in_vain) = (BTreeSet::new(), BTreeSet::new());
        Self { cursor, blocks, asked, in_vain, under_way: FuturesUnordered::new() }
    }

    /// The next piece, or `None` at the end. After an error there is nothing more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let ahead = self.cursor.look_ahead();
            self.ask(&ahead, None);
            match self.cursor.step()? {
                Step::Data(piece) => {
                    // What was asked for comes meanwhile only if its requests have been sent.
                    while let Some(Some(found)) = self.under_way.next().now_or_never() {
                        self.take(found, None)?;
                    }
                    return Ok(Some(piece));
                }
                Step::Done => return Ok(None),
                Step::Need(cids) => {
                    let needed = cids.first().copied();
                    self.ask(&cids, needed);
                    if let Some(found) = self.under_way.next().await {
                        self.take(found, needed)?;
                    }
                }
            }
        }
    }

    /// Asks for what is not asked for, and not in vain: that again only where nothing goes on without it.
    fn ask(&mut self, cids: &[Cid], needed: Option<Cid>) {
        let worth = |cid: &Cid| needed == Some(*cid) || !self.in_vain.contains(cid);
        let worth = cids.iter().copied().filter(worth);
        let fresh: Vec<Cid> = worth.filter(|cid| self.asked.insert(*cid)).collect();
        for batch in fresh.chunks(BATCH) {
            let (blocks, cids) = (self.blocks.clone(), batch.to_vec());
            let find = async move {
                let found = blocks.find(cids.clone()).await;
                (cids, found)
            };
            self.under_way.push(find.boxed());
        }
    }

    /// A batch that failed ends the reading only if it was for what is needed now.
    fn take(&mut self, (cids, found): Found, needed: Option<Cid>) -> Result<(), Error> {
        for cid in &cids {
            self.asked.remove(cid);
        }
        match found {
            Ok(found) => {
                for (cid, bytes) in found {
                    self.in_vain.remove(&cid);
                    self.cursor.provide(cid, bytes)?;
                }
                Ok(())
            }
            Err(error) if needed.is_some() && cids.first() == needed.as_ref() => Err(error),
            Err(error) => {
                tracing::debug!(%error, "what was read ahead did not come");
                self.in_vain.extend(cids.first());
                Ok(())
            }
        }
    }
}
