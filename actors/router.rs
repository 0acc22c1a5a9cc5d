//! The network's inbox: every call, frame and gossip message goes to the shell that answers it.
//!
//! It decodes, asks core who may say what, and passes on; it decides nothing. Answers are awaited in
//! tasks of their own, so that one slow answer delays no other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::command::Command;
use ipfs_kit_core::id::{NodeId, PeerKey};
use ipfs_kit_core::limits;
use ipfs_kit_core::proto::{Gossip, JoinReply, JoinRequest, Request, Response, Topic};
use ipfs_kit_core::rights::{self, authorise};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::admission::Admissions;
use crate::cluster_manager::monitoring::{
    GoodbyeCame, HeartbeatCame, IdentityTaken, Monitoring, Removed,
};
use crate::cluster_manager::state_sync::{DeltaHeard, ServeFeed, StateSync};
use crate::consensus::{ConsensusHandle, ProposeError, StatePart};
use crate::events::{BeaconHeard, ConnectionChanged};
use crate::ipfs::{IpfsActor, ServeBlocks, ServeHave};
use crate::operations::{Operations, not_admitted};
use crate::ports::{Inbound, Verdict};
use crate::rpc::answer;
use crate::shared::SharedView;
use crate::supervision::{ActorRef, AskError};

/// Answers being worked on at once; beyond it callers are told that the node is busy.
const ANSWERS_MAX: usize = 512;
/// How long an operation of another node's user may take here.
const OPERATION_DEADLINE: Duration = Duration::from_secs(30);

/// What the router passes to; everything survives its restarts.
#[derive(Clone)]
pub struct Router {
    /// This node's view: who may say what.
    pub view: SharedView,
    /// Consensus, where it runs here.
    pub consensus: ConsensusHandle,
    /// Serves blocks.
    pub ipfs: ActorRef<IpfsActor>,
    /// Serves the feed, follows deltas and beacons.
    pub state_sync: ActorRef<StateSync>,
    /// Judges heartbeats.
    pub monitoring: ActorRef<Monitoring>,
    /// Admits nodes.
    pub admissions: Admissions,
    /// Runs operations.
    pub operations: Arc<Operations>,
    /// Takes gossiped outcomes.
    pub outcomes: crate::outcomes::Outcomes,
}

impl Router {
    /// Passes on what comes in until the network closes its end.
    pub async fn run(self, mut inbound: mpsc::Receiver<Inbound>) {
        let room = Arc::new(Semaphore::new(ANSWERS_MAX));
        while let Some(event) = inbound.recv().await {
            self.route(event, &room);
        }
    }

    fn route(&self, event: Inbound, room: &Arc<Semaphore>) {
        match event {
            Inbound::Call { from, request, reply } => {
                // Dropping the reply tells the caller that the node is busy.
                let Ok(permit) = Arc::clone(room).try_acquire_owned() else { return };
                let router = self.clone();
                tokio::task::spawn_local(async move {
                    let response = router.serve(from, &request).await;
                    // The caller may have given up.
                    let _ = reply.send(answer(&response));
                    drop(permit);
                });
            }
            Inbound::Frame { from, frame, .. } => {
                if let Err(reason) = self.consensus.raft(from, frame) {
                    tracing::debug!(%from, %reason, "raft message dropped");
                }
            }
            Inbound::Gossip { author, topic, message, verdict } => {
                self.hear(author, topic, &message, verdict);
            }
            Inbound::Join { from, request, reply } => {
                let Ok(permit) = Arc::clone(room).try_acquire_owned() else { return };
                let router = self.clone();
                tokio::task::spawn_local(async move {
                    let response = router.admit(from, &request).await;
                    // The caller may have given up.
                    let _ = reply.send(Bytes::from(codec::seal(Kind::Join, &response)));
                    drop(permit);
                });
            }
            Inbound::Connected { node } => {
                // Only masters run consensus; elsewhere nobody needs to know.
                if let Err(reason) = self.consensus.reconnected(node) {
                    tracing::trace!(%node, %reason, "consensus did not hear of a connection");
                }
                self.connection(node, true);
            }
            Inbound::Disconnected { node, reason } => {
                tracing::debug!(%node, %reason, "disconnected");
                if let Err(reason) = self.consensus.disconnected(node) {
                    tracing::trace!(%node, %reason, "consensus did not hear of a connection");
                }
                self.connection(node, false);
            }
            Inbound::IdentityTaken { by, reason } => {
                tracing::warn!(%by, %reason, "a member refuses this run");
                if let Err(reason) = self.monitoring.tell(IdentityTaken) {
                    tracing::debug!(%reason, "monitoring did not hear of a refusal");
                }
            }
            Inbound::Removed { by } => self.removed(by),
            Inbound::Mismatch { peer, reason } => {
                tracing::warn!(%peer, %reason, "a peer was turned away");
            }
        }
    }

    /// What is not heard now is said again at the next dial.
    fn removed(&self, by: NodeId) {
        let role = self.view.read(|view| view.members().get(&by).map(|m| m.spec.role));
        if !role.is_some_and(rights::may_expel) {
            tracing::warn!(%by, "not believed: who is no master says that this node was removed");
            return;
        }
        tracing::warn!(%by, "a master says that this node was removed from the cluster");
        if let Err(reason) = self.monitoring.tell(Removed) {
            tracing::debug!(%reason, "monitoring did not hear of the removal");
        }
    }

    fn connection(&self, node: NodeId, connected: bool) {
        if let Err(reason) = self.monitoring.tell(ConnectionChanged { node, connected }) {
            tracing::debug!(%reason, "monitoring did not hear of a connection");
        }
    }

    async fn serve(&self, from: NodeId, request: &[u8]) -> Response {
        let request = match codec::open(Kind::Request, request, limits::REQUEST_BYTES_MAX) {
            Ok(request) => request,
            Err(error) => return Response::Refused { reason: error.to_string() },
        };
        let role = self.view.read(|view| view.members().get(&from).map(|m| m.spec.role));
        let Some(role) = role else {
            return Response::Refused { reason: format!("node {from} is no member") };
        };
        if let Err(refusal) = authorise(from, role, &request) {
            tracing::debug!(%from, %refusal, "request refused");
            return refused(&refusal);
        }
        match request {
            Request::Propose { commands } => self.propose(commands).await,
            Request::ReadIndex => match self.consensus.read_index().await {
                Ok(index) => Response::ReadIndex(index),
                Err(error) => not_proposed(error),
            },
            Request::Heartbeat(heartbeat) => {
                asked(self.monitoring.ask(HeartbeatCame(heartbeat)).await)
            }
            Request::Goodbye { node, incarnation } => {
                told(self.monitoring.tell(GoodbyeCame { node, incarnation }))
            }
            Request::Feed { from: index, epoch, scope, wait_ms } => {
                asked(self.state_sync.ask(ServeFeed { from: index, epoch, scope, wait_ms }).await)
            }
            Request::Blocks { cids } => asked(self.ipfs.ask(ServeBlocks { cids }).await),
            Request::Have { cids } => asked(self.ipfs.ask(ServeHave { cids }).await),
            Request::StateHashes { root } => {
                self.consensus.serve_state(from, root, StatePart::Hashes).await
            }
            Request::StateChunk { root, chunk } => {
                self.consensus.serve_state(from, root, StatePart::Chunk(chunk)).await
            }
            Request::Operation { name, json } => {
                let run = self.operations.serve_member(from, &name, &json);
                match tokio::time::timeout(OPERATION_DEADLINE, run).await {
                    Ok(response) => response,
                    Err(_) => {
                        Response::Unavailable { reason: "the operation took too long".into() }
                    }
                }
            }
        }
    }

    async fn propose(&self, commands: Vec<Command>) -> Response {
        if commands.len() > limits::ENTRY_COMMANDS_MAX {
            return Response::Refused { reason: "too many commands at once".into() };
        }
        match self.consensus.propose(commands).await {
            Ok(outcomes) => Response::Proposed(outcomes),
            Err(error) => not_proposed(error),
        }
    }

    fn hear(
        &self,
        author: NodeId,
        topic: Topic,
        message: &[u8],
        verdict: oneshot::Sender<Verdict>,
    ) {
        let gossip = match codec::open(Kind::Gossip, message, limits::GOSSIP_BYTES_MAX) {
            Ok(gossip) => gossip,
            Err(reason) => {
                tracing::debug!(%author, %reason, "gossip can't be read");
                // The gossip layer may have given up on the verdict; then it counts as ignored.
                let _ = verdict.send(Verdict::Reject);
                return;
            }
        };
        match (topic, gossip) {
            (Topic::Pins, Gossip::Delta(delta)) => {
                // A dropped verdict counts as ignored, and the feed repairs what was not taken.
                if let Err(reason) = self.state_sync.tell(DeltaHeard { author, delta, verdict }) {
                    tracing::debug!(%reason, "a delta was not taken");
                }
            }
            (Topic::Discovery, Gossip::Beacon(beacon)) => {
                let honest = beacon.leader == author;
                let _ = verdict.send(if honest { Verdict::Accept } else { Verdict::Reject });
                if honest && let Err(reason) = self.state_sync.tell(BeaconHeard(beacon)) {
                    tracing::debug!(%reason, "a beacon was not taken");
                }
            }
            (Topic::Status, Gossip::Outcomes { node, reports, .. }) => {
                let honest = node == author && reports.len() <= limits::REPORTS_MAX;
                let _ = verdict.send(if honest { Verdict::Accept } else { Verdict::Reject });
                if honest {
                    self.outcomes.heard_by_gossip(node, reports);
                }
            }
            _ => {
                let _ = verdict.send(Verdict::Reject);
            }
        }
    }

    async fn admit(&self, from: PeerKey, request: &[u8]) -> JoinReply {
        match codec::open::<JoinRequest>(Kind::Join, request, limits::JOIN_BYTES_MAX) {
            Ok(request) => self.admissions.admit(from, request).await,
            Err(error) => JoinReply::Refused {
                code: "E_PROTOCOL".into(),
                reason: error.to_string(),
                retryable: false,
            },
        }
    }
}

fn asked(result: Result<Response, AskError>) -> Response {
    result.unwrap_or_else(|error| Response::Unavailable { reason: error.to_string() })
}

fn told<E: std::fmt::Display>(result: Result<(), E>) -> Response {
    match result {
        Ok(()) => Response::Ok,
        Err(error) => Response::Unavailable { reason: error.to_string() },
    }
}

/// A refusal by identity or role. That of an operation has a code, which its user sees.
fn refused(refusal: &rights::Refusal) -> Response {
    match refusal {
        rights::Refusal::Operation(refusal) => {
            Response::Operation { result: Err(not_admitted(refusal)) }
        }
        other => Response::Refused { reason: other.to_string() },
    }
}

fn not_proposed(error: ProposeError) -> Response {
    match error {
        ProposeError::NotLeader { leader } | ProposeError::Lost { leader } => {
            Response::NotLeader { leader }
        }
        ProposeError::TooLarge { .. } => Response::Refused { reason: error.to_string() },
        ProposeError::Overloaded | ProposeError::NotRunning => {
            Response::Unavailable { reason: error.to_string() }
        }
    }
}
