//! CARs: taking in blocks and pinning roots, giving out whole DAGs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use ipfs_kit_content::car::{self, CarError, CarReader};
use ipfs_kit_content::cid::Block;
use ipfs_kit_content::walk::{DagWalk, LeafMemory};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::PathRequest;
use ipfs_kit_core::pin::ContentKind;
use ipfs_kit_store::blocks::{BlockStore, PutError, VerifiedBlock};
use tokio::sync::mpsc;

use super::adding::{DISK_FAILED, Wish};
use super::content::read_failure;
use super::own_pins::{check_own, first_absent, walk_failure};
use super::{Hint, Operations, failure};
use crate::api::{AddEvent, CarImported, CarOptions, CarRoot, Failure};
use crate::causes::with_causes;
use crate::ipfs::read::{Blocks, Error};
use crate::ports::{WorkLane, work};
use crate::transfer::is_full;

/// Blocks that an export asks for at once.
const LOOK_AHEAD: usize = 16;
/// Bytes that an export keeps of what it fetched ahead.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a CAR that go out together.
const CHUNK_LEN_BYTES: usize = 256 * 1024;
/// Bytes of blocks that are put together.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Blocks that are put together.
const BATCH_BLOCKS: usize = 1024;
/// Most roots of a CAR that are pinned: each takes a lease and a commit.
const ROOTS_MAX: usize = 256;
/// Leaves that a walk remembers; beyond it a leaf that is linked often may be written often.
const LEAVES: LeafMemory = LeafMemory::First(1_000_000);

impl Operations {
    /// Takes in a CAR; see [`crate::api::Dag::import_car`].
    pub async fn import_car(
        &self,
        car: Box<dyn Read + Send>,
        options: CarOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> Result<CarImported, Failure> {
        if self.parts.cluster.is_none() {
            check_own(options.replicas_min, options.expires_in_ms)?;
        }
        // No collection begins until the roots are leased.
        let flight = self.parts.flights.begin();
        let (blocks, told) = (self.parts.blocks.clone(), events.clone());
        let job = move || take_in(car, &blocks, &told);
        let taken = work(&*self.parts.executor, WorkLane::Bulk, job).await;
        let taken = taken.map_err(|_| stopping())??;
        let mut imported = CarImported {
            roots: taken.roots.iter().map(loose).collect(),
            blocks: taken.blocks,
            bytes: taken.bytes,
            stored_blocks: taken.stored,
        };
        if !options.pin_roots || taken.roots.is_empty() {
            return Ok(imported);
        }
        let distinct: BTreeSet<Cid> = taken.roots.iter().cloned().collect();
        let wishes = self.wishes(distinct, &options).await?;
        let roots: Vec<Cid> = wishes.iter().map(|wish| wish.cid.clone()).collect();
        let kept = self.keep(wishes, options.ack, flight, &events).await?;
        let kept: BTreeMap<Cid, _> = roots.into_iter().zip(kept).collect();
        for root in &mut imported.roots {
            if let Some(kept) = kept.get(&root.cid) {
                (root.pinned, root.copies, root.index) = (true, kept.copies, kept.index);
            }
        }
        Ok(imported)
    }

    /// What to pin, after a look that every root is whole here.
    async fn wishes(
        &self,
        roots: BTreeSet<Cid>,
        options: &CarOptions,
    ) -> Result<Vec<Wish>, Failure> {
        if roots.len() > ROOTS_MAX {
            let message = format!("the CAR has {} roots, more than {ROOTS_MAX}", roots.len());
            return Err(failure("E_TOO_LARGE", message)
                .hint("take it in with --pin-roots=false and pin what is needed"));
        }
        let mut wishes = Vec::new();
        for cid in roots {
            let (blocks, root) = (self.parts.blocks.clone(), cid.to_cid());
            let job = move || first_absent(&blocks, root);
            let looked = work(&*self.parts.executor, WorkLane::Bulk, job).await;
            if let Some(absent) = looked.map_err(|_| stopping())?? {
                let message = format!("{absent}, a block below the root {cid}, is missing");
                return Err(failure("E_INCOMPLETE", message).hint(
                    "nothing was pinned; take in a CAR that is whole, or use --pin-roots=false",
                ));
            }
            // What is no file and no folder can be kept as well.
            let stat = self.content_stat(PathRequest { path: cid.to_string() }).await;
            let (kind, size_bytes) =
                stat.map_or((ContentKind::Unknown, None), |info| (info.kind, info.size_bytes));
            wishes.push(Wish {
                cid,
                name: options.name.clone(),
                size_bytes,
                kind,
                replicas_min: options.replicas_min,
                replicas_max: options.replicas_max,
                expires_in_ms: options.expires_in_ms,
            });
        }
        Ok(wishes)
    }

    /// Gives out a DAG; see [`crate::api::Dag::export_car`].
    pub async fn export_car(&self, root: Cid) -> BoxStream<'static, Result<Bytes, Failure>> {
        let blocks = self.blocks_of(root.clone()).await;
        match Export::new(root.to_cid(), blocks) {
            Err(failure) => stream::iter([Err(failure)]).boxed(),
            Ok(export) => stream::unfold(Some(export), |export| async move {
                let mut export = export?;
                match export.next_chunk().await {
                    Ok(chunk) if chunk.is_empty() => None,
                    Ok(chunk) => Some((Ok(chunk), Some(export))),
                    Err(failure) => Some((Err(failure), None)),
                }
            })
            .boxed(),
        }
    }
}

pub(super) fn stopping() -> Failure {
    failure("E_BUSY", "the node is stopping".into())
}

fn loose(cid: &Cid) -> CarRoot {
    CarRoot { cid: cid.clone(), pinned: false, copies: 0, index: None }
}

/// What was in a CAR; every block is durable.
#[derive(Debug)]
struct Taken {
    roots: Vec<Cid>,
    blocks: u64,
    bytes: u64,
    stored: u64,
}

/// Stores every block of a CAR that is not here. Runs on a thread for blocking work.
fn take_in(
    car: Box<dyn Read + Send>,
    blocks: &BlockStore,
    events: &mpsc::Sender<AddEvent>,
) -> Result<Taken, Failure> {
    let mut car = CarReader::open(car).map_err(|error| car_failure(&error))?;
    let roots = car.roots().iter().map(Cid::from).collect();
    let mut taken = Taken { roots, blocks: 0, bytes: 0, stored: 0 };
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    while let Some(block) = car.next_block().map_err(|error| car_failure(&error))? {
        let Block { cid, data } = block;
        taken.blocks += 1;
        taken.bytes += data.len() as u64;
        batch_bytes += data.len();
        // The reader has just checked it.
        batch.push(VerifiedBlock::already_checked(cid, data));
        if batch_bytes >= BATCH_BYTES || batch.len() >= BATCH_BLOCKS {
            if events.is_closed() {
                return Err(failure("E_CANCELLED", "nobody waits for the import any more".into()));
            }
            taken.stored += put(blocks, &batch)?;
            (batch, batch_bytes) = (Vec::new(), 0);
            // A slow listener misses a step, not the result.
            let _ = events.try_send(AddEvent::Blocks { blocks: taken.blocks, bytes: taken.bytes });
        }
    }
    taken.stored += put(blocks, &batch)?;
    blocks.sync().map_err(|error| put_failure(&error))?;
    Ok(taken)
}

fn put(blocks: &BlockStore, batch: &[VerifiedBlock]) -> Result<u64, Failure> {
    let report = blocks.put_verified(batch).map_err(|error| put_failure(&error))?;
    Ok(report.stored as u64)
}

pub(super) fn put_failure(error: &PutError) -> Failure {
    let message = format!("can't store blocks: {error}");
    if is_full(error) {
        return failure("E_FULL", message).hint(
            "unpin something, free the disk, or change storage.max or storage.reserve; nothing was pinned",
        );
    }
    failure("E_STORE", message).hint(DISK_FAILED)
}

fn car_failure(error: &CarError) -> Failure {
    let message = format!("the CAR can't be taken in: {}", with_causes(error));
    match error {
        CarError::Read { .. } => failure("E_READ", message)
            .hint("nothing was pinned; send it again, blocks that are here are not written again"),
        CarError::NotACar { .. } | CarError::Version { .. } => failure("E_CAR", message)
            .hint("nothing was pinned; ipfs-kit dag export and ipfs dag export make CARs"),
        _ => failure("E_CAR", message).hint("nothing was pinned; get an undamaged copy of the CAR"),
    }
}

/// A DAG on its way out, depth first in the order of the links, so that the same DAG gives the same bytes
/// on every node.
struct Export {
    blocks: Blocks,
    walk: DagWalk,
    ahead: BTreeMap<cid::Cid, Bytes>,
    ahead_bytes: usize,
    out: BytesMut,
}

impl Export {
    fn new(root: cid::Cid, blocks: Blocks) -> Result<Self, Failure> {
        let walk = DagWalk::new([root], LEAVES).map_err(|error| walk_failure(&error))?;
        let header =
            car::header(&[root]).map_err(|error| failure("E_TOO_LARGE", error.to_string()))?;
        Ok(Self { blocks, walk, ahead: BTreeMap::new(), ahead_bytes: 0, out: header[..].into() })
    }

    /// The next bytes; none at the end.
    async fn next_chunk(&mut self) -> Result<Bytes, Failure> {
        while self.out.len() < CHUNK_LEN_BYTES
            && let Some(cid) = self.walk.next(1).pop()
        {
            let block = self.block(cid).await.map_err(|error| read_failure(&error))?;
            self.walk.visited(&cid, Some(&block)).map_err(|error| walk_failure(&error))?;
            self.out.extend_from_slice(&car::section_head(&cid, block.len()));
            self.out.extend_from_slice(&block);
        }
        Ok(self.out.split().freeze())
    }

    async fn block(&mut self, cid: cid::Cid) -> Result<Bytes, Error> {
        if let Some(block) = self.ahead.remove(&cid) {
            self.ahead_bytes -= block.len();
            return Ok(block);
        }
        let mut cids = vec![cid];
        cids.extend(self.walk.peek(LOOK_AHEAD - 1).into_iter().filter(|next| *next != cid));
        if self.ahead_bytes > KEPT_BYTES_MAX {
            self.ahead.clear();
            self.ahead_bytes = 0;
        }
        cids.retain(|wanted| !self.ahead.contains_key(wanted));
        let mut needed = None;
        for (found, block) in self.blocks.find(cids).await? {
            if found == cid {
                needed = Some(block);
            } else if self.ahead.insert(found, block.clone()).is_none() {
                self.ahead_bytes += block.len();
            }
        }
        needed.ok_or(Error::Find(crate::ipfs::FindError::not_here(cid)))
    }
}
