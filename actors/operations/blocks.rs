//! Single blocks, and the store as a whole.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use ipfs_kit_content::cid::{Codec, verify};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{BlockInfo, BlockRemoved, CidRequest, CollectReport, StoreFigures};
use ipfs_kit_store::blocks::{BlockStore, GetError, Key};

use super::cars::stopping;
use super::content::read_failure;
use super::{Hint, Operations, busy, failure};
use crate::api::{Failure, VerifyLine};
use crate::ipfs::FindError;
use crate::ipfs::read::Error;
use crate::ports::{Executor, WorkLane, work};
use crate::store::{CollectError, CollectNow, Remove};

/// A collection has no deadline of its own; whoever waits for it decides.
const COLLECT_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Blocks that are checked between two words of progress.
const VERIFY_BLOCKS: usize = 64;

impl Operations {
    /// A block's bytes; see [`crate::api::Dag::block`].
    pub async fn block(&self, cid: Cid) -> Result<Bytes, Failure> {
        let link = cid.to_cid();
        let blocks = self.blocks_of(cid).await;
        let found = blocks.find(vec![link]).await.map_err(|error| read_failure(&error))?;
        let found = found.into_iter().find(|(found, _)| *found == link);
        found.map(|(_, bytes)| bytes).ok_or_else(|| {
            let absent = FindError::not_here(link);
            read_failure(&Error::Find(absent))
        })
    }

    pub(super) async fn block_stat(&self, request: CidRequest) -> Result<BlockInfo, Failure> {
        let size_bytes = match self.parts.blocks.size(request.cid.to_cid()) {
            Some(size_bytes) => size_bytes,
            None => self.block(request.cid.clone()).await?.len() as u64,
        };
        Ok(BlockInfo { cid: request.cid, size_bytes })
    }

    pub(super) async fn block_rm(&self, request: CidRequest) -> Result<BlockRemoved, Failure> {
        let remove = Remove { cid: request.cid.to_cid() };
        let removed = self.parts.store.ask_within(remove, COLLECT_DEADLINE).await;
        removed.map_err(|error| busy(&error))?.map_err(|error| collect_failure(&error))?;
        Ok(BlockRemoved { cid: request.cid })
    }

    pub(super) async fn store_stat(&self) -> Result<StoreFigures, Failure> {
        let (blocks, holdings) = (self.parts.blocks.clone(), self.parts.holdings.clone());
        let look = move || {
            let stat = blocks.stat()?;
            Ok((stat, holdings.roots().len(), blocks.leases().len()))
        };
        let looked = work(&*self.parts.executor, WorkLane::Bulk, look).await;
        let (stat, roots, leases) =
            looked.map_err(|_| stopping())?.map_err(|error: ipfs_kit_store::disk::DiskError| {
                failure("E_STORE", format!("the store can't be measured: {error}"))
            })?;
        Ok(StoreFigures {
            blocks: stat.blocks,
            block_bytes: stat.block_bytes,
            used_bytes: stat.used_bytes,
            free_bytes: stat.free_bytes,
            max_bytes: stat.max_bytes,
            segments: stat.segments as u64,
            damaged: stat.damaged as u64,
            roots: roots as u64,
            leases: leases as u64,
        })
    }

    pub(super) async fn store_gc(&self) -> Result<CollectReport, Failure> {
        let collected = self.parts.store.ask_within(CollectNow, COLLECT_DEADLINE).await;
        collected.map_err(|error| busy(&error))?.map_err(|error| collect_failure(&error))
    }

    /// Checks every block; see [`crate::api::Dag::verify`].
    pub fn verify(&self) -> BoxStream<'static, Result<VerifyLine, Failure>> {
        let check = Check {
            blocks: self.parts.blocks.clone(),
            executor: self.parts.executor.clone(),
            after: None,
            found: Found::default(),
            begun: false,
        };
        let lines = stream::unfold(Some(check), |check| async move {
            let mut check = check?;
            match check.next().await {
                Ok((lines, true)) => Some((lines, Some(check))),
                Ok((lines, false)) => Some((lines, None)),
                Err(failure) => Some((vec![Err(failure)], None)),
            }
        });
        lines.flat_map(stream::iter).boxed()
    }
}

fn collect_failure(error: &CollectError) -> Failure {
    let message = error.to_string();
    match error {
        CollectError::Busy => failure("E_BUSY", message)
            .hint("try again when the imports that are under way are done")
            .retryable(),
        CollectError::NotHere(_) => failure("E_NOT_FOUND", message)
            .hint("only the node that is asked deletes its copy; others keep theirs"),
        CollectError::Kept { root, .. } => {
            failure("E_CONFLICT", message).hint(&format!("end the pin: ipfs-kit pin rm {root}"))
        }
        CollectError::Failed(_) => failure("E_STORE", message)
            .hint("look after the disk: ipfs-kit status and the node's log say more"),
    }
}

/// A check of all blocks under way.
struct Check {
    blocks: BlockStore,
    executor: std::sync::Arc<dyn Executor>,
    after: Option<Key>,
    found: Found,
    begun: bool,
}

#[derive(Clone, Copy, Default)]
struct Found {
    blocks: u64,
    bytes: u64,
    bad: u64,
}

type Lines = Vec<Result<VerifyLine, Failure>>;

impl Check {
    /// The next lines, and whether there are more.
    async fn next(&mut self) -> Result<(Lines, bool), Failure> {
        if !self.begun {
            self.begun = true;
            // What is known to be damaged stands in no list of blocks any more.
            let known = self.blocks.damaged();
            self.found.bad += known.len() as u64;
            let lines = known.iter().map(|(key, place)| Ok(damaged(key, *place))).collect();
            return Ok((lines, true));
        }
        let (blocks, after, found) = (self.blocks.clone(), self.after, self.found);
        let job = move || check_page(&blocks, after, found);
        let checked = work(&*self.executor, WorkLane::Bulk, job).await;
        let (last, mut lines, found) = checked.map_err(|_| stopping())??;
        self.found = found;
        let Found { blocks, bytes, bad } = found;
        if last.is_none() {
            lines.push(Ok(VerifyLine::Done { blocks, bytes, bad }));
            return Ok((lines, false));
        }
        self.after = last;
        lines.push(Ok(VerifyLine::Progress { blocks, bytes }));
        Ok((lines, true))
    }
}

fn check_page(
    blocks: &BlockStore,
    after: Option<Key>,
    mut found: Found,
) -> Result<(Option<Key>, Lines, Found), Failure> {
    let page = blocks.page(after, VERIFY_BLOCKS);
    let mut lines = Vec::new();
    for (key, _) in &page {
        match blocks.get(key) {
            Ok(Some(bytes)) => {
                let cid = raw_cid(key);
                if verify(&cid, &bytes).is_ok() {
                    found.blocks += 1;
                    found.bytes += bytes.len() as u64;
                } else {
                    found.bad += 1;
                    lines.push(Ok(VerifyLine::Wrong { cid: cid.into() }));
                }
            }
            // Collected meanwhile.
            Ok(None) => {}
            Err(GetError::Corrupt { key, place }) => {
                found.bad += 1;
                lines.push(Ok(damaged(&key, place)));
            }
            Err(error) => return Err(failure("E_STORE", error.to_string())),
        }
    }
    Ok((page.last().map(|(key, _)| *key), lines, found))
}

fn damaged(key: &Key, place: ipfs_kit_store::blocks::Place) -> VerifyLine {
    let cid = raw_cid(key).into();
    VerifyLine::Damaged { cid, segment: place.segment, offset: place.offset }
}

fn raw_cid(key: &Key) -> cid::Cid {
    cid::Cid::new_v1(Codec::Raw.code(), *key.multihash())
}
