//! IpfsActor: the embedded IPFS node. It imports, gives blocks to members and to readers, and finds
//! blocks that are not here.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{Actor, Handler, Message, MessageResult, ResponseFuture};
use bytes::Bytes;
use cid::Cid;
use ipfs_kit_content::cid::verify;
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;
use ipfs_kit_core::member::Liveness;
use ipfs_kit_core::proto::{Request, Response};
use ipfs_kit_store::blocks::{BlockStore, GetError};
use tokio::sync::mpsc;

use crate::api::{AddEvent, ImportError, ImportSource};
use crate::cache::{CacheActor, CacheGet, CachePut};
use crate::gateways::{Asked, Gateways};
use crate::ports::{CallError, Executor, WorkLane, work};
use crate::rpc::{Rpc, RpcError, unexpected};
use crate::shared::SharedView;
use crate::supervised;
use crate::supervision::{ActorRef, Ctx};

mod import;
pub mod read;

pub use import::{ImportPlan, Imported, ImportedBlocks};

/// How long one member may take to answer for blocks.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// The block store.
    pub blocks: BlockStore,
    /// Runs the blocking parts.
    pub executor: std::sync::Arc<dyn Executor>,
    /// The memory cache of blocks that are not stored here.
    pub cache: ActorRef<CacheActor>,
    /// Other members; `None` without a cluster.
    pub members: Option<Members>,
    /// Who is asked for what no member has.
    pub gateways: Gateways,
}

/// How to reach the other members.
#[derive(Clone)]
pub struct Members {
    /// This node.
    pub node: NodeId,
    /// Typed calls.
    pub rpc: Rpc,
    /// Who is there.
    pub view: SharedView,
}

/// See the module.
pub struct IpfsActor {
    deps: Deps,
}

/// A member asks for blocks.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Response")]
pub struct ServeBlocks {
    /// Which.
    pub cids: Vec<ipfs_kit_core::id::Cid>,
}

/// A member asks which blocks are here.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Response")]
pub struct ServeHave {
    /// Which.
    pub cids: Vec<ipfs_kit_core::id::Cid>,
}

/// A reader asks for blocks, from wherever they are. The first one is needed, the others soon.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Vec<(Cid, Bytes)>, FindError>")]
pub struct FindBlocks {
    /// Which, the needed one first.
    pub cids: Vec<Cid>,
    /// Members that probably have them, best first.
    pub sources: Vec<NodeId>,
}

/// Imports a tree.
#[derive(Message)]
#[rtype(result = "Result<Imported, ImportError>")]
pub struct Import {
    /// The tree.
    pub source: Box<dyn ImportSource>,
    /// How.
    pub plan: ImportPlan,
    /// Hears of progress; dropping its receiver cancels.
    pub events: mpsc::Sender<AddEvent>,
}

/// Why a block could not be found. Asking again later may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Neither this node nor any member that could be asked has it.
    #[error("{cid} is not here, and {}", nobody_of(*.members, *.gateways))]
    NotFound {
        /// The block.
        cid: Cid,
        /// Other members that were asked.
        members: Asked,
        /// Gateways that were asked.
        gateways: Asked,
    },
    /// The store can't be read.
    #[error("the block store can't be read: {reason}")]
    Store {
        /// Why.
        reason: String,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl FindError {
    /// It is not here, and nobody else was asked.
    pub fn not_here(cid: Cid) -> Self {
        Self::NotFound { cid, members: Asked::default(), gateways: Asked::default() }
    }
}

fn nobody_of(members: Asked, gateways: Asked) -> String {
    let mut text = match members {
        Asked { without: 0, silent: 0 } => "there is no other member to ask".to_owned(),
        Asked { without: 0, .. } => "nobody could be asked".to_owned(),
        Asked { without: 1, .. } => {
            "the one other member that was asked does not have it".to_owned()
        }
        Asked { without, .. } => format!("none of {without} members asked has it"),
    };
    if members.silent > 0 {
        text += &format!("; {} did not answer", members.silent);
    }
    if gateways.total() > 0 {
        let Asked { without, silent } = gateways;
        text += &format!("; gateways: {without} without it, {silent} without a good answer");
    }
    text
}

impl IpfsActor {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }
}

impl Actor for IpfsActor {
    type Context = Ctx<Self>;
}

supervised!(IpfsActor);

impl Handler<ServeBlocks> for IpfsActor {
    type Result = ResponseFuture<Response>;

    fn handle(&mut self, ask: ServeBlocks, _: &mut Ctx<Self>) -> Self::Result {
        let (blocks, executor) = (self.deps.blocks.clone(), self.deps.executor.clone());
        Box::pin(async move {
            if ask.cids.len() > limits::BLOCKS_PER_REQUEST_MAX {
                return Response::Refused { reason: "too many blocks at once".into() };
            }
            let job = move || collect(&blocks, &ask.cids);
            match work(&*executor, WorkLane::Bulk, job).await {
                Ok(Ok(found)) => Response::Blocks(found),
                Ok(Err(reason)) => Response::Unavailable { reason },
                Err(error) => Response::Unavailable { reason: error.to_string() },
            }
        })
    }
}

/// Blocks in the order asked, until the answer is full; the rest is asked again.
fn collect(
    blocks: &BlockStore,
    cids: &[ipfs_kit_core::id::Cid],
) -> Result<Vec<Option<Bytes>>, String> {
    let mut found = Vec::new();
    let mut size = 0;
    for cid in cids {
        let cid = cid.to_cid();
        // Looked up first: reading what has no room would cost as much as sending it.
        let len_bytes = blocks.size(cid).unwrap_or(0) as usize;
        if size + len_bytes > limits::BLOCKS_ANSWER_BYTES_MAX && !found.is_empty() {
            break;
        }
        let block = match blocks.get(cid) {
            Ok(block) => block,
            Err(error @ GetError::Corrupt { .. }) => {
                tracing::error!(%error, "a stored block has decayed");
                None
            }
            Err(GetError::Disk(error)) => return Err(error.to_string()),
        };
        size += block.as_ref().map_or(0, Bytes::len);
        found.push(block);
    }
    Ok(found)
}

impl Handler<ServeHave> for IpfsActor {
    type Result = MessageResult<ServeHave>;

    fn handle(&mut self, ask: ServeHave, _: &mut Ctx<Self>) -> Self::Result {
        if ask.cids.len() > limits::BLOCKS_PER_REQUEST_MAX {
            let reason = "too many blocks at once".into();
            return MessageResult(Response::Refused { reason });
        }
        let has = |cid: &ipfs_kit_core::id::Cid| self.deps.blocks.has(cid.to_cid());
        MessageResult(Response::Have(ask.cids.iter().map(has).collect()))
    }
}

impl Handler<FindBlocks> for IpfsActor {
    type Result = ResponseFuture<Result<Vec<(Cid, Bytes)>, FindError>>;

    fn handle(&mut self, find: FindBlocks, _: &mut Ctx<Self>) -> Self::Result {
        let deps = self.deps.clone();
        Box::pin(async move { deps.find(find).await })
    }
}

impl Handler<Import> for IpfsActor {
    type Result = ResponseFuture<Result<Imported, ImportError>>;

    fn handle(&mut self, import: Import, _: &mut Ctx<Self>) -> Self::Result {
        let (blocks, executor) = (self.deps.blocks.clone(), self.deps.executor.clone());
        Box::pin(async move {
            let Import { source, plan, events } = import;
            let job = move || import::run(source, &plan, &blocks, &events);
            let done = work(&*executor, WorkLane::Bulk, job).await;
            done.unwrap_or(Err(ImportError::Cancelled))
        })
    }
}

/// A search for blocks among the members.
struct Search {
    needed: Cid,
    missing: Vec<Cid>,
    found: Vec<(Cid, Bytes)>,
    asked: BTreeSet<NodeId>,
    /// Asked, but without an answer.
    silent: Vec<NodeId>,
    /// Those of them whose connection broke meanwhile: a restarted member has a new one by now.
    cut_off: Vec<NodeId>,
}

impl Search {
    fn is_over(&self) -> bool {
        self.found.iter().any(|(cid, _)| *cid == self.needed)
    }

    fn unanswered(&mut self, node: NodeId, error: &RpcError) {
        self.silent.push(node);
        if matches!(error, RpcError::Call(CallError::Broken { .. })) {
            self.cut_off.push(node);
        }
    }
}

impl Deps {
    async fn find(&self, find: FindBlocks) -> Result<Vec<(Cid, Bytes)>, FindError> {
        let Some(needed) = find.cids.first().copied() else { return Ok(Vec::new()) };
        let (mut found, missing) = self.stored(find.cids).await?;
        if missing.is_empty() {
            return Ok(found);
        }
        let (cached, missing) = self.cached(missing).await;
        found.extend(cached);
        let asked = BTreeSet::new();
        let (silent, cut_off) = (Vec::new(), Vec::new());
        let mut search = Search { needed, missing, found, asked, silent, cut_off };
        if !search.missing.is_empty() && self.members.is_some() {
            self.ask_members(&find.sources, &mut search).await;
        }
        if search.is_over() {
            return Ok(search.found);
        }
        let (total, silent) = (search.asked.len(), search.silent.len());
        let members = Asked { without: (total - silent) as u32, silent: silent as u32 };
        let gateways = self.ask_gateways(&mut search).await;
        if search.is_over() {
            return Ok(search.found);
        }
        Err(FindError::NotFound { cid: needed, members, gateways })
    }

    async fn ask_members(&self, sources: &[NodeId], search: &mut Search) {
        self.ask_all(sources, search).await;
        if !search.is_over() {
            let having = self.who_has(search).await;
            self.ask_all(&having, search).await;
        }
        // No answer says nothing about the block. Once more, and twice where the dead connection that the
        // first question waited on breaks only under the second.
        let silent = self.not_lost(std::mem::take(&mut search.silent));
        self.ask_again(&silent, search).await;
        let cut_off = std::mem::take(&mut search.cut_off);
        self.ask_again(&cut_off, search).await;
    }

    /// Asks for all that is missing, the needed block first.
    async fn ask_gateways(&self, search: &mut Search) -> Asked {
        let (came, asked) = self.gateways.blocks(&search.missing).await;
        self.keep_in_cache(&came);
        search.found.extend(came);
        asked
    }

    /// For the next reader. The cache may be restarting; its content is a convenience.
    fn keep_in_cache(&self, came: &[(Cid, Bytes)]) {
        if let Err(reason) = self.cache.tell(CachePut { blocks: came.to_vec() }) {
            tracing::debug!(%reason, "blocks not cached");
        }
    }

    async fn ask_again(&self, nodes: &[NodeId], search: &mut Search) {
        search.asked.retain(|node| !nodes.contains(node));
        search.silent.retain(|node| !nodes.contains(node));
        search.cut_off.clear();
        self.ask_all(nodes, search).await;
    }

    /// Asks one after the other until the needed block is there; nobody twice.
    async fn ask_all(&self, sources: &[NodeId], search: &mut Search) {
        for source in sources {
            if search.is_over() {
                return;
            }
            if !search.asked.insert(*source) {
                continue;
            }
            match self.ask(*source, &search.missing).await {
                Ok(came) => {
                    search.missing.retain(|cid| !came.iter().any(|(have, _)| have == cid));
                    search.found.extend(came);
                }
                Err(reason) => {
                    tracing::debug!(%source, %reason, "no blocks from there");
                    search.unanswered(*source, &reason);
                }
            }
        }
    }

    fn not_lost(&self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        let Some(members) = &self.members else { return Vec::new() };
        members.view.read(|view| {
            let alive = |node: &NodeId| {
                view.members().get(node).is_some_and(|m| m.liveness != Liveness::Lost)
            };
            nodes.retain(alive);
        });
        nodes
    }

    async fn stored(&self, cids: Vec<Cid>) -> Result<(Vec<(Cid, Bytes)>, Vec<Cid>), FindError> {
        let blocks = self.blocks.clone();
        let job = move || {
            let (mut found, mut missing) = (Vec::new(), Vec::new());
            for cid in cids {
                match blocks.get(cid) {
                    Ok(Some(bytes)) => found.push((cid, bytes)),
                    Ok(None) => missing.push(cid),
                    Err(error @ GetError::Corrupt { .. }) => {
                        tracing::error!(%error, "a stored block has decayed; another copy is used");
                        missing.push(cid);
                    }
                    Err(GetError::Disk(error)) => {
                        return Err(FindError::Store { reason: error.to_string() });
                    }
                }
            }
            Ok((found, missing))
        };
        work(&*self.executor, WorkLane::Bulk, job).await.unwrap_or(Err(FindError::Stopping))
    }

    async fn cached(&self, cids: Vec<Cid>) -> (Vec<(Cid, Bytes)>, Vec<Cid>) {
        let hits = match self.cache.ask(CacheGet { cids: cids.clone() }).await {
            Ok(hits) => hits,
            // The cache is restarting; its content is a convenience.
            Err(reason) => {
                tracing::debug!(%reason, "no answer from the cache");
                Vec::new()
            }
        };
        let missing =
            cids.into_iter().filter(|cid| !hits.iter().any(|(hit, _)| hit == cid)).collect();
        (hits, missing)
    }

    /// Everybody who says to have the needed block, except those that were asked for it already.
    async fn who_has(&self, search: &mut Search) -> Vec<NodeId> {
        let Some(members) = &self.members else { return Vec::new() };
        let others: Vec<NodeId> = members.view.read(|view| {
            let other = |node: &NodeId| *node != members.node && !search.asked.contains(node);
            view.members().keys().copied().filter(other).collect()
        });
        let cid = ipfs_kit_core::id::Cid::from(&search.needed);
        let mut having = Vec::new();
        for (node, answer) in members.rpc.who_has(others, &cid).await {
            match answer {
                Ok(true) => {
                    having.push(node);
                    continue;
                }
                Ok(false) => {}
                Err(reason) => search.unanswered(node, &reason),
            }
            search.asked.insert(node);
        }
        having
    }

    async fn ask(&self, source: NodeId, missing: &[Cid]) -> Result<Vec<(Cid, Bytes)>, RpcError> {
        let Some(members) = &self.members else { return Ok(Vec::new()) };
        let cids: Vec<_> = missing
            .iter()
            .take(limits::BLOCKS_PER_REQUEST_MAX)
            .map(ipfs_kit_core::id::Cid::from)
            .collect();
        let request = Request::Blocks { cids };
        let blocks = match members.rpc.call(source, &request, ASK_DEADLINE).await? {
            Response::Blocks(blocks) => blocks,
            other => return Err(unexpected(source, &other)),
        };
        let mut came = Vec::new();
        for (cid, block) in missing.iter().zip(blocks) {
            let Some(bytes) = block else { continue };
            match verify(cid, &bytes) {
                Ok(()) => came.push((*cid, bytes)),
                Err(reason) => tracing::error!(%source, %reason, "a member sent a wrong block"),
            }
        }
        self.keep_in_cache(&came);
        Ok(came)
    }
}
