//! A whole DAG from outside. One request for a CAR brings it at the speed of the line; what a CAR leaves
//! out, or a gateway that makes none, is asked for block by block.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use cid::Cid;
use ipfs_kit_content::car::{CarError, CarReader};
use ipfs_kit_content::cid::Codec;
use ipfs_kit_content::walk::DagWalk;
use ipfs_kit_core::gateways::Fault;
use ipfs_kit_store::blocks::{BlockStore, VerifiedBlock};

use super::{Destination, Gateways, REQUESTS_MAX};
use crate::causes::with_causes;
use crate::ports::{WorkLane, work};
use crate::transfer::{LEAVES, TransferError, Transferred, invalid, put, walk_present};

/// Blocks named by the walk and not here, at most.
const WANTED_MAX: usize = 1_536;
/// Blocks and bytes of a CAR that are put together.
const BATCH_BLOCKS: usize = 1_024;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a CAR that nobody asked for, beyond as many as were of use: what is here already comes again,
/// but a sender without an end is left.
const USELESS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that are read from a CAR at once.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// Why a CAR was left before the DAG was whole.
#[derive(Debug, thiserror::Error)]
enum CarFault {
    #[error("its CAR can't be used")]
    Car(#[from] CarError),
    #[error("its CAR is full of blocks that nobody asked for")]
    Useless,
    #[error(transparent)]
    Here(#[from] TransferError),
}

impl CarFault {
    fn fault(&self) -> Fault {
        match self {
            Self::Car(CarError::Read { .. } | CarError::Truncated { .. }) | Self::Here(_) => {
                Fault::Silent
            }
            Self::Car(_) | Self::Useless => Fault::Wrong,
        }
    }
}

pub(super) async fn bring(
    gateways: &Gateways,
    root: &Cid,
    to: &Destination<'_>,
) -> Result<Transferred, TransferError> {
    let walk = DagWalk::new([*root], LEAVES).map_err(invalid)?;
    let blocks = to.blocks.clone();
    let mut fetch = Fetch { walk, wanted: BTreeSet::new(), blocks, came: Transferred::default() };
    fetch = on_bulk(to, fetch, Fetch::look_ahead).await?;
    if Codec::of(root) != Some(Codec::Raw) {
        fetch = as_cars(gateways, root, to, fetch).await?;
    }
    while !fetch.wanted.is_empty() {
        let batch: Vec<Cid> = fetch.wanted.iter().copied().take(REQUESTS_MAX).collect();
        let (found, _) = gateways.blocks(&batch).await;
        if found.is_empty() {
            break;
        }
        let is_whole_batch = found.len() == batch.len();
        fetch = on_bulk(to, fetch, move |fetch| fetch.take(found)).await?;
        if !is_whole_batch {
            break;
        }
    }
    let fetch = on_bulk(to, fetch, Fetch::sync).await?;
    Ok(fetch.came)
}

/// Asks one gateway after the other for a CAR until all is here.
async fn as_cars(
    gateways: &Gateways,
    root: &Cid,
    to: &Destination<'_>,
    mut fetch: Fetch,
) -> Result<Fetch, TransferError> {
    for at in gateways.usable() {
        let Ok(_turn) = gateways.turns.acquire().await else { break };
        let car = match gateways.all[at].car(*root).await {
            Ok(Some(car)) => car,
            Ok(None) => continue,
            Err(error) => {
                gateways.blame(at, Fault::Silent, &error);
                continue;
            }
        };
        // The job can't be called back, but it looks whether somebody still waits.
        let waiting = Arc::new(());
        let watched = Arc::downgrade(&waiting);
        let blocks_before = fetch.came.blocks;
        let job = move || {
            let taken = fetch.take_car(car, &watched);
            (fetch, taken)
        };
        let done = work(to.executor, WorkLane::Bulk, job).await;
        let (back, taken) = done.map_err(|_| TransferError::Stopping)?;
        let brought = back.came.blocks > blocks_before;
        fetch = back;
        match taken {
            Ok(()) => gateways.ledger.write(|ledger| ledger.behaved(at)),
            Err(CarFault::Here(error)) => return Err(error),
            // Some servers end a CAR early, by time or size, and go on to give single blocks.
            Err(fault) if brought && fault.fault() == Fault::Silent => {
                tracing::debug!(
                    gateway = gateways.all[at].name(),
                    error = with_causes(&fault),
                    "its CAR broke off"
                );
            }
            Err(fault) => gateways.blame(at, fault.fault(), &fault),
        }
        if fetch.wanted.is_empty() {
            break;
        }
    }
    Ok(fetch)
}

async fn on_bulk(
    to: &Destination<'_>,
    mut fetch: Fetch,
    step: impl FnOnce(&mut Fetch) -> Result<(), TransferError> + Send + 'static,
) -> Result<Fetch, TransferError> {
    let job = move || step(&mut fetch).map(|()| fetch);
    work(to.executor, WorkLane::Bulk, job).await.unwrap_or(Err(TransferError::Stopping))
}

/// A DAG on its way in.
struct Fetch {
    walk: DagWalk,
    /// Blocks that the walk has named and that are not here.
    wanted: BTreeSet<Cid>,
    blocks: BlockStore,
    came: Transferred,
}

impl Fetch {
    /// Walks over what is here.
    fn look_ahead(&mut self) -> Result<(), TransferError> {
        let room = WANTED_MAX.saturating_sub(self.wanted.len());
        let mut missing = Vec::new();
        walk_present(&mut self.walk, &self.blocks, room, &mut missing)?;
        self.wanted.extend(missing);
        Ok(())
    }

    /// Stores what came, each block checked already.
    fn take(&mut self, found: Vec<(Cid, Bytes)>) -> Result<(), TransferError> {
        let mut batch = Vec::new();
        for (cid, bytes) in found {
            self.accept(&cid, &bytes)?;
            batch.push(VerifiedBlock::already_checked(cid, bytes));
        }
        put(&self.blocks, &batch)?;
        self.look_ahead()
    }

    fn accept(&mut self, cid: &Cid, bytes: &Bytes) -> Result<(), TransferError> {
        self.walk.visited(cid, Some(bytes)).map_err(invalid)?;
        self.wanted.remove(cid);
        self.came.blocks += 1;
        self.came.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Takes in a CAR until it ends or nothing is wanted any more.
    fn take_car(&mut self, car: Box<dyn Read + Send>, waiting: &Weak<()>) -> Result<(), CarFault> {
        let mut car = CarReader::open(BufReader::with_capacity(READ_AHEAD_BYTES, car))?;
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        let (mut useful, mut useless) = (0, 0);
        let mut end = Ok(());
        while !self.wanted.is_empty() {
            let block = match car.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => break,
                // What came before it is good.
                Err(error) => {
                    end = Err(error.into());
                    break;
                }
            };
            if waiting.strong_count() == 0 {
                return Err(TransferError::Stopping.into());
            }
            let len_bytes = block.data.len();
            if !self.wanted.contains(&block.cid) {
                useless += len_bytes as u64;
                if useless > USELESS_BYTES_MAX + useful {
                    end = Err(CarFault::Useless);
                    break;
                }
                continue;
            }
            useful += len_bytes as u64;
            self.accept(&block.cid, &block.data)?;
            // The reader has just checked it.
            batch.push(VerifiedBlock::already_checked(block.cid, block.data));
            batch_bytes += len_bytes;
            if batch_bytes >= BATCH_BYTES || batch.len() >= BATCH_BLOCKS {
                put(&self.blocks, &batch)?;
                (batch, batch_bytes) = (Vec::new(), 0);
            }
            self.look_ahead()?;
        }
        put(&self.blocks, &batch)?;
        end
    }

    fn sync(&mut self) -> Result<(), TransferError> {
        let synced = self.blocks.sync();
        synced.map_err(|error| TransferError::Store { full: false, reason: error.to_string() })
    }
}
