//! Pins of a node without a cluster: roots that are kept here, and nothing but that. There is one copy,
//! nobody who would end a pin later, and no place for names.

use cid::Cid as Link;
use ipfs_kit_content::cid::Codec;
use ipfs_kit_content::dag_pb::LinksError;
use ipfs_kit_content::walk::{DagWalk, LeafMemory, WalkError};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::limits;
use ipfs_kit_core::ops::{
    CidRequest, PathRequest, PinAddRequest, PinInfo, PinLsRequest, PinPage, PinRemoved,
    PinStatusKind,
};
use ipfs_kit_core::pin::ContentKind;
use ipfs_kit_core::pin_tracker::Held;
use ipfs_kit_store::blocks::{BlockStore, GetError};

use super::adding::DISK_FAILED;
use super::{Hint, Operations, failure};
use crate::api::Failure;
use crate::causes::with_causes;
use crate::gateways::Destination;
use crate::node::Parts;
use crate::ports::{WorkLane, work};
use crate::transfer::TransferError;

/// Blocks that a walk names at once.
const WALK_BATCH: usize = 512;

impl Operations {
    pub(super) async fn own_pin_add(&self, request: PinAddRequest) -> Result<PinInfo, Failure> {
        check_own(request.replicas_min, request.expires_in_ms)?;
        if !request.name.is_empty() || !request.metadata.is_empty() {
            let message = "a node without a cluster keeps no names and no metadata of pins";
            return Err(needs_cluster(message));
        }
        // No collection begins until the root is written down.
        let _flight = self.parts.flights.begin();
        self.whole(&request.cid).await?;
        self.hold(&request.cid).await?;
        self.own_pin_status(CidRequest { cid: request.cid }).await
    }

    pub(super) async fn own_pin_rm(&self, request: CidRequest) -> Result<PinRemoved, Failure> {
        self.check_held(&request.cid).await?;
        let released = self.parts.holdings.release(&request.cid).await;
        released.map_err(|reason| {
            failure("E_STORE", format!("the end of the pin can't be written down: {reason}"))
        })?;
        Ok(PinRemoved { cid: request.cid, index: 0 })
    }

    pub(super) async fn own_pin_ls(&self, request: PinLsRequest) -> Result<PinPage, Failure> {
        let limit = request.limit.unwrap_or(limits::PAGE_MAX).clamp(1, limits::PAGE_MAX);
        // No pin here has a name, so a part of one finds nothing; and what is held is pinned.
        let unnamed = request.name.is_none_or(|name| name.is_empty());
        let pinned = request.status.is_none_or(|status| status == PinStatusKind::Pinned);
        let held = if unnamed && pinned { self.held().await? } else { Vec::new() };
        let mut after =
            held.into_iter().filter(|cid| request.after.as_ref().is_none_or(|last| cid > last));
        let items: Vec<PinInfo> = after.by_ref().take(limit).map(kept).collect();
        let next = after.next().and(items.last()).map(|pin| pin.cid.clone());
        Ok(PinPage { items, next })
    }

    pub(super) async fn own_pin_status(&self, request: CidRequest) -> Result<PinInfo, Failure> {
        self.check_held(&request.cid).await?;
        let stat = self.content_stat(PathRequest { path: request.cid.to_string() }).await;
        // What is no file and no folder can be kept as well.
        let (kind, size_bytes) =
            stat.map_or((ContentKind::Unknown, None), |info| (info.kind, info.size_bytes));
        Ok(PinInfo { kind, size_bytes, ..kept(request.cid) })
    }

    /// Writes down that a root is kept here until it is unpinned here.
    pub(super) async fn hold(&self, root: &Cid) -> Result<(), Failure> {
        let held = Held { cid: root.clone(), granted: 0 };
        self.parts.holdings.hold(held).await.map_err(|reason| {
            failure("E_STORE", format!("the root can't be written down: {reason}"))
                .hint(DISK_FAILED)
        })
    }

    async fn held(&self) -> Result<Vec<Cid>, Failure> {
        let held = self.parts.holdings.held().await;
        let held = held.map_err(|reason| failure("E_BUSY", reason).retryable())?;
        Ok(held.into_iter().map(|held| held.cid).collect())
    }

    async fn check_held(&self, cid: &Cid) -> Result<(), Failure> {
        if self.held().await?.contains(cid) {
            return Ok(());
        }
        Err(failure("E_NOT_FOUND", format!("{cid} is not pinned"))
            .hint("ipfs-kit pin ls shows what is pinned"))
    }

    /// Every block below a root is here, and durable; what is missing comes from gateways if they have it.
    async fn whole(&self, root: &Cid) -> Result<(), Failure> {
        let mut absent = self.first_absent(root).await?;
        if absent.is_some() && self.bring(root).await? {
            absent = self.first_absent(root).await?;
        }
        let Some(absent) = absent else { return Ok(()) };
        let message = format!("{absent}, a block of {root}, is not here");
        Err(failure("E_NOT_FOUND", message).hint(
            "a node without a cluster keeps what it has: add the files here, set gateways that have \
             them, or join a cluster",
        ))
    }

    async fn first_absent(&self, root: &Cid) -> Result<Option<Link>, Failure> {
        let (blocks, link) = (self.parts.blocks.clone(), root.to_cid());
        let looked =
            work(&*self.parts.executor, WorkLane::Bulk, move || first_absent(&blocks, link)).await;
        looked.map_err(|_| failure("E_BUSY", "the node is stopping".into()))?
    }

    /// Whether the gateways had something of what is missing below a root.
    async fn bring(&self, root: &Cid) -> Result<bool, Failure> {
        let Parts { blocks, executor, gateways, .. } = &self.parts;
        let to = Destination { blocks, executor: &**executor };
        let came = gateways.bring(&root.to_cid(), to).await.map_err(|error| match error {
            TransferError::Store { full: true, reason } => failure("E_FULL", reason),
            TransferError::Store { reason, .. } => failure("E_STORE", reason).hint(DISK_FAILED),
            TransferError::Stopping => failure("E_BUSY", error.to_string()).retryable(),
            other => failure("E_CONTENT", other.to_string()),
        })?;
        Ok(came.blocks > 0)
    }
}

/// What only a cluster can promise is refused, not left out.
pub(super) fn check_own(copies: Option<u16>, expires_in_ms: Option<u64>) -> Result<(), Failure> {
    if let Some(copies) = copies.filter(|copies| *copies > 1) {
        let message = format!("{copies} copies need a cluster; this node can hold one");
        return Err(failure("E_TOO_FEW_HOLDERS", message)
            .hint("leave out --replicas, or join a cluster: ipfs-kit init --join TOKEN"));
    }
    match expires_in_ms {
        Some(_) => Err(needs_cluster("a node without a cluster ends no pin by itself")),
        None => Ok(()),
    }
}

fn needs_cluster(message: &str) -> Failure {
    failure("E_NOT_RUNNING", message.into())
        .hint("leave it out, or join a cluster: ipfs-kit init --join TOKEN")
}

/// The first block below `root` that is not here; what is here is durable on return.
pub(super) fn first_absent(blocks: &BlockStore, root: Link) -> Result<Option<Link>, Failure> {
    let mut walk =
        DagWalk::new([root], LeafMemory::First(1_000_000)).map_err(|error| walk_failure(&error))?;
    loop {
        let named = walk.next(WALK_BATCH);
        if named.is_empty() {
            let synced = blocks.sync();
            return synced.map(|()| None).map_err(|e| failure("E_STORE", e.to_string()));
        }
        for cid in named {
            let visited = if Codec::of(&cid) == Some(Codec::Raw) && blocks.has(cid) {
                walk.visited(&cid, None)
            } else {
                match blocks.get(cid) {
                    Ok(Some(bytes)) => walk.visited(&cid, Some(&bytes)),
                    Ok(None) | Err(GetError::Corrupt { .. }) => return Ok(Some(cid)),
                    Err(error) => return Err(failure("E_STORE", error.to_string())),
                }
            };
            visited.map_err(|error| walk_failure(&error))?;
        }
    }
}

/// Why a DAG can't be walked to its end.
pub(super) fn walk_failure(error: &WalkError) -> Failure {
    let message = with_causes(error);
    match error {
        WalkError::Links { source } if matches!(**source, LinksError::UnsupportedCodec { .. }) => {
            failure("E_CODEC", message).hint("dag-pb, dag-cbor, dag-json and raw blocks are known")
        }
        _ => failure("E_CONTENT", message),
    }
}

/// A root that is kept here, as users see it.
fn kept(cid: Cid) -> PinInfo {
    PinInfo {
        cid,
        name: String::new(),
        status: PinStatusKind::Pinned,
        replicas_min: 1,
        replicas_max: 1,
        replicas_live: 1,
        size_bytes: None,
        kind: ContentKind::Unknown,
        revision: 0,
        created_ms: 0,
        expires_ms: None,
        metadata: Default::default(),
        replicas: Vec::new(),
    }
}
