//! Bulk transfer of a DAG: from members that have it into this node's store, verified as it arrives.
//!
//! The receiver walks the DAG and asks for what it lacks, many blocks to a request and several requests
//! under way at once, spread over all sources. What is stored already is never asked for, so a transfer
//! that broke goes on where it stopped, and one that finished costs a walk over the inner nodes. When no
//! known source has a block, every other member is asked whether it does, and then the gateways.

use std::collections::{BTreeSet, VecDeque};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ipfs_kit_content::cid::{Codec, verify};
use ipfs_kit_content::walk::{DagWalk, LeafMemory, WalkError};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::proto::{Request, Response};
use ipfs_kit_store::blocks::{BlockStore, GetError, PutError, VerifiedBlock};

use crate::causes::with_causes;
use crate::gateways::{Destination, Gateways};
use crate::pace::{Errand, Pace};
use crate::ports::{Executor, WorkLane, work};
use crate::rpc::{Rpc, unexpected};
use crate::shared::SharedView;

/// Requests under way at once over all sources.
const REQUESTS_MAX: usize = 6;
/// Blocks in one request: large ones fill an answer long before this many.
const BATCH_BLOCKS: usize = 256;
/// How long a source may take for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Failures in a row after which a source is left alone for this transfer.
const STRIKES_MAX: u32 = 3;

/// Leaves that a walk remembers; beyond it a leaf that is linked often is looked up often.
pub(crate) const LEAVES: LeafMemory = LeafMemory::First(1_000_000);

/// What a transfer needs.
#[derive(Clone)]
pub struct Transfer {
    /// This node.
    pub node: NodeId,
    /// Who else there is.
    pub view: SharedView,
    /// Typed calls.
    pub rpc: Rpc,
    /// Where blocks go.
    pub blocks: BlockStore,
    /// Runs the blocking parts.
    pub executor: Arc<dyn Executor>,
    /// Who is asked for what no member has.
    pub gateways: Gateways,
    /// How fast members are asked.
    pub pace: Pace,
}

/// What a transfer brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Blocks that came over the network.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl AddAssign for Transferred {
    fn add_assign(&mut self, more: Self) {
        self.blocks += more.blocks;
        self.bytes += more.bytes;
    }
}

/// Why a DAG is not whole here. Everything that came is kept; asking again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// No source has a block, or none answers.
    #[error("no source has {cid} ({last})")]
    NotFound {
        /// The first block that is missing.
        cid: Cid,
        /// The last failure.
        last: String,
    },
    /// The store can't take it.
    #[error("can't store the blocks: {reason}")]
    Store {
        /// Whether space is the reason.
        full: bool,
        /// Why.
        reason: String,
    },
    /// The DAG itself breaks the rules; no source can have a better one.
    #[error("the content is not valid: {reason}")]
    Invalid {
        /// How.
        reason: String,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

struct Source {
    node: NodeId,
    strikes: u32,
    busy: usize,
}

type Answer = (usize, Result<Brought, TransferError>);

impl Transfer {
    /// Makes the DAG under `root` whole and durable here, from `sources` first, and no faster than an errand
    /// of its kind may be. Dropping the future cancels it.
    pub async fn fetch(
        &self,
        root: &Cid,
        sources: &[NodeId],
        errand: Errand,
    ) -> Result<Transferred, TransferError> {
        let mut done = Transferred::default();
        loop {
            let mut run = Run::new(self, root, sources, errand)?;
            let ended = run.complete().await;
            done += run.done;
            match ended {
                Ok(()) => return Ok(done),
                // What the members lack may be outside; then they are asked for the rest again.
                Err(TransferError::NotFound { cid, last }) => {
                    let to = Destination { blocks: &self.blocks, executor: &*self.executor };
                    let came = self.gateways.bring(&cid, to).await?;
                    if came.blocks == 0 {
                        return Err(TransferError::NotFound { cid, last });
                    }
                    done += came;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

struct Run<'a> {
    transfer: &'a Transfer,
    /// `None` only while a job has it.
    walk: Option<DagWalk>,
    /// Blocks that are not here and not asked for yet.
    wanted: VecDeque<Cid>,
    /// Asked for and not there, with the sources that said so.
    absent: BTreeSet<(Cid, NodeId)>,
    sources: Vec<Source>,
    done: Transferred,
    errand: Errand,
    last: String,
}

impl<'a> Run<'a> {
    fn new(
        transfer: &'a Transfer,
        root: &Cid,
        sources: &[NodeId],
        errand: Errand,
    ) -> Result<Self, TransferError> {
        let source = |node: &NodeId| Source { node: *node, strikes: 0, busy: 0 };
        Ok(Self {
            transfer,
            walk: Some(DagWalk::new([*root], LEAVES).map_err(invalid)?),
            wanted: VecDeque::new(),
            absent: BTreeSet::new(),
            sources: sources.iter().map(source).collect(),
            done: Transferred::default(),
            errand,
            last: "no other member has it".to_owned(),
        })
    }

    async fn complete(&mut self) -> Result<(), TransferError> {
        let mut under_way: FuturesUnordered<_> = FuturesUnordered::new();
        loop {
            if self.wanted.len() < REQUESTS_MAX * BATCH_BLOCKS {
                self.look_ahead().await?;
            }
            while self.transfer.pace.wait(self.errand).is_none()
                && under_way.len() < REQUESTS_MAX
                && let Some((source, batch)) = self.next_batch().await?
            {
                under_way.push(self.ask(source, batch));
            }
            let Some(answer) = under_way.next().await else {
                if self.wanted.is_empty() && self.walk.as_ref().is_some_and(DagWalk::is_done) {
                    return self.sync().await;
                }
                if let Some(wait) = self.transfer.pace.wait(self.errand) {
                    tokio::time::sleep(wait).await;
                }
                continue;
            };
            self.take(answer).await?;
        }
    }

    /// Walks over what is here already and queues what is not.
    async fn look_ahead(&mut self) -> Result<(), TransferError> {
        let Some(mut walk) = self.walk.take() else { return Err(TransferError::Stopping) };
        let blocks = self.transfer.blocks.clone();
        let room = REQUESTS_MAX * BATCH_BLOCKS;
        let job = move || {
            let mut missing = Vec::new();
            let result = walk_present(&mut walk, &blocks, room, &mut missing);
            (walk, missing, result)
        };
        let (walk, missing, result) = work(&*self.transfer.executor, WorkLane::Bulk, job)
            .await
            .map_err(|_| TransferError::Stopping)?;
        self.walk = Some(walk);
        self.wanted.extend(missing);
        result
    }

    /// The next batch and whom to ask.
    async fn next_batch(&mut self) -> Result<Option<(usize, Vec<Cid>)>, TransferError> {
        let Some(first) = self.wanted.front().copied() else { return Ok(None) };
        if self.source_of(&first).is_none() {
            self.ask_around(&first).await;
        }
        let Some(at) = self.source_of(&first) else {
            let last = std::mem::take(&mut self.last);
            return Err(TransferError::NotFound { cid: first, last });
        };
        let node = self.sources[at].node;
        let mut batch = Vec::new();
        while batch.len() < BATCH_BLOCKS
            && let Some(cid) = self.wanted.front()
            && !self.absent.contains(&(*cid, node))
        {
            batch.extend(self.wanted.pop_front());
        }
        self.sources[at].busy += 1;
        Ok(Some((at, batch)))
    }

    /// The least busy source that has not said no to a block.
    fn source_of(&self, cid: &Cid) -> Option<usize> {
        let may_have = |source: &Source| {
            source.strikes < STRIKES_MAX && !self.absent.contains(&(*cid, source.node))
        };
        let sources = self.sources.iter().enumerate().filter(|(_, source)| may_have(source));
        sources.min_by_key(|(at, source)| (source.busy, source.strikes, *at)).map(|(at, _)| at)
    }

    /// Takes every other member that has a block as a source.
    async fn ask_around(&mut self, cid: &Cid) {
        let Transfer { node: me, view, rpc, .. } = self.transfer;
        let others = view.read(|view| {
            let is_new = |node: &NodeId| {
                node != me && self.sources.iter().all(|source| source.node != *node)
            };
            view.members().keys().copied().filter(is_new).collect()
        });
        for (node, answer) in rpc.who_has(others, &cid.into()).await {
            match answer {
                Ok(true) => self.sources.push(Source { node, strikes: 0, busy: 0 }),
                Ok(false) => {}
                Err(error) => self.last = error.to_string(),
            }
        }
    }

    /// Asks a source, and verifies and stores what comes: as many batches side by side as are under way.
    fn ask(&self, source: usize, batch: Vec<Cid>) -> impl Future<Output = Answer> + use<> {
        let Transfer { rpc, blocks, executor, .. } = self.transfer.clone();
        let node = self.sources[source].node;
        let pace = self.transfer.pace.clone();
        let taken = pace.asked(self.errand, batch.len());
        async move {
            let cids = batch.iter().map(ipfs_kit_core::id::Cid::from).collect();
            let came = match rpc.call(node, &Request::Blocks { cids }, ANSWER_DEADLINE).await {
                Ok(Response::Blocks(came)) if came.is_empty() => {
                    Err(format!("node {node} sent an empty answer"))
                }
                Ok(Response::Blocks(came)) if came.len() <= batch.len() => Ok(came),
                Ok(other) => Err(unexpected(node, &other).to_string()),
                Err(error) => Err(error.to_string()),
            };
            let answer = came.iter().flatten().flatten();
            pace.came(taken, answer.map(|block| block.len() as u64).sum());
            let outcome = match came {
                Ok(came) => {
                    let job = move || verify_and_put(&blocks, batch, came);
                    let stored = work(&*executor, WorkLane::Bulk, job).await;
                    stored.unwrap_or(Err(TransferError::Stopping))
                }
                Err(reason) => {
                    Ok(Brought { left: batch, failure: Some(reason), ..Brought::default() })
                }
            };
            (source, outcome)
        }
    }

    async fn take(&mut self, (at, outcome): Answer) -> Result<(), TransferError> {
        let source = &mut self.sources[at];
        source.busy -= 1;
        let node = source.node;
        let brought = outcome?;
        self.done.blocks += brought.stored.len() as u64;
        self.done.bytes += brought.bytes;
        if let Some(reason) = brought.failure {
            source.strikes += 1;
            self.last = reason;
        } else if !brought.bad.is_empty() {
            // A wrong block is no accident of the network: this source is not asked again.
            source.strikes = STRIKES_MAX;
            tracing::error!(%node, count = brought.bad.len(), "blocks that do not match their CID");
            self.last = format!("node {node} sent bytes that do not match the CID");
            self.wanted.extend(brought.bad);
        } else if !brought.stored.is_empty() {
            source.strikes = 0;
        }
        // What the answer left out is asked again, before anything new.
        for cid in brought.left.into_iter().rev() {
            self.wanted.push_front(cid);
        }
        for cid in brought.absent {
            self.absent.insert((cid, node));
            self.last = format!("node {node} does not have it");
            self.wanted.push_front(cid);
        }
        self.visit(brought.stored).await
    }

    /// Walks on from what is stored now.
    async fn visit(&mut self, stored: Vec<(Cid, Option<Bytes>)>) -> Result<(), TransferError> {
        if stored.is_empty() {
            return Ok(());
        }
        let Some(mut walk) = self.walk.take() else { return Err(TransferError::Stopping) };
        let job = move || {
            let mut visited = stored.iter();
            let visited = visited.try_for_each(|(cid, node)| walk.visited(cid, node.as_deref()));
            (walk, visited.map_err(invalid))
        };
        let (walk, visited) = work(&*self.transfer.executor, WorkLane::Bulk, job)
            .await
            .map_err(|_| TransferError::Stopping)?;
        self.walk = Some(walk);
        visited
    }

    async fn sync(&mut self) -> Result<(), TransferError> {
        let blocks = self.transfer.blocks.clone();
        let synced = work(&*self.transfer.executor, WorkLane::Bulk, move || blocks.sync()).await;
        synced
            .map_err(|_| TransferError::Stopping)?
            .map_err(|error| TransferError::Store { full: false, reason: error.to_string() })
    }
}

/// What became of a batch.
#[derive(Default)]
struct Brought {
    /// Verified and in the store; inner nodes with their bytes, which name what is below them.
    stored: Vec<(Cid, Option<Bytes>)>,
    /// Bytes of those.
    bytes: u64,
    /// Not there.
    absent: Vec<Cid>,
    /// Bytes came that are not theirs.
    bad: Vec<Cid>,
    /// Left out of the answer.
    left: Vec<Cid>,
    /// Why there is no answer.
    failure: Option<String>,
}

/// Walks over what is here; what is not stays outstanding in the walk until it has come.
pub(crate) fn walk_present(
    walk: &mut DagWalk,
    blocks: &BlockStore,
    room: usize,
    missing: &mut Vec<Cid>,
) -> Result<(), TransferError> {
    while missing.len() < room {
        let named = walk.next(BATCH_BLOCKS);
        if named.is_empty() {
            break;
        }
        for cid in named {
            if Codec::of(&cid) == Some(Codec::Raw) {
                if blocks.has(cid) {
                    walk.visited(&cid, None).map_err(invalid)?;
                } else {
                    missing.push(cid);
                }
                continue;
            }
            match blocks.get(cid) {
                Ok(Some(bytes)) => walk.visited(&cid, Some(&bytes)).map_err(invalid)?,
                // A decayed block counts as absent; a good copy takes its place.
                Ok(None) | Err(GetError::Corrupt { .. }) => missing.push(cid),
                Err(GetError::Disk(error)) => {
                    return Err(TransferError::Store { full: false, reason: error.to_string() });
                }
            }
        }
    }
    Ok(())
}

fn verify_and_put(
    blocks: &BlockStore,
    mut batch: Vec<Cid>,
    came: Vec<Option<Bytes>>,
) -> Result<Brought, TransferError> {
    let mut brought = Brought { left: batch.split_off(came.len()), ..Brought::default() };
    let mut verified = Vec::new();
    for (cid, block) in batch.into_iter().zip(came) {
        match block {
            None => brought.absent.push(cid),
            Some(bytes) if verify(&cid, &bytes).is_err() => brought.bad.push(cid),
            Some(bytes) => {
                brought.bytes += bytes.len() as u64;
                let is_leaf = Codec::of(&cid) == Some(Codec::Raw);
                brought.stored.push((cid, (!is_leaf).then(|| bytes.clone())));
                verified.push(VerifiedBlock::already_checked(cid, bytes));
            }
        }
    }
    put(blocks, &verified)?;
    Ok(brought)
}

pub(crate) fn put(blocks: &BlockStore, verified: &[VerifiedBlock]) -> Result<(), TransferError> {
    blocks
        .put_verified(verified)
        .map(drop)
        .map_err(|error| TransferError::Store { full: is_full(&error), reason: error.to_string() })
}

/// Whether space is what is missing.
pub fn is_full(error: &PutError) -> bool {
    match error {
        PutError::Full { .. } | PutError::Reserved { .. } => true,
        PutError::Disk(error) => error.is_full(),
        _ => false,
    }
}

pub(crate) fn invalid(error: WalkError) -> TransferError {
    TransferError::Invalid { reason: with_causes(&error) }
}
