//! A master admits a node that shows a join token.

use std::time::Duration;

use ipfs_kit_core::command::{Op, Outcome, Refusal};
use ipfs_kit_core::id::PeerKey;
use ipfs_kit_core::member::{Member, Role};
use ipfs_kit_core::proto::{JoinReply, JoinRequest};
use ipfs_kit_core::state::ClusterState;
use tokio::time::Instant;

use crate::cluster_manager::coordination::{
    Coordination, ReadBarrier, Submit, SubmitError, refusal_failure,
};
use crate::consensus::ConsensusHandle;
use crate::ports::Peers;
use crate::supervision::ActorRef;

/// How long an admission may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the dial-back of all addresses may take.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// What admissions need; cheap to clone.
#[derive(Clone)]
pub struct Admissions {
    /// Consensus, where it runs here.
    pub consensus: ConsensusHandle,
    /// Commands go through it.
    pub coordination: ActorRef<Coordination>,
    /// Dials back.
    pub peers: std::sync::Arc<dyn Peers>,
}

impl Admissions {
    /// The state forgets tokens that expired; the token itself remembers why nobody knows it.
    fn explain(&self, refusal: Refusal, request: &JoinRequest) -> Refusal {
        let now_ms = self.consensus.state.read(ClusterState::clock_ms);
        match refusal {
            Refusal::UnknownToken if request.token.expires_ms <= now_ms => Refusal::TokenExpired,
            other => other,
        }
    }

    /// Checks what can be checked before a commit, commits, and tells the node who is who.
    pub async fn admit(&self, from: PeerKey, request: JoinRequest) -> JoinReply {
        if request.spec.key != from {
            let reason = "the connection proves another identity than the request names";
            return refused("E_IDENTITY", reason.into(), false);
        }
        let cluster = self.consensus.state.read(|state| state.cluster());
        let Some(cluster) = cluster else {
            return refused("E_NOT_READY", "this node is no master yet".into(), true);
        };
        if request.token.cluster != cluster {
            let reason =
                format!("the token is for cluster {}, this is {cluster}", request.token.cluster);
            return refused("E_TOKEN", reason, false);
        }
        let op = Op::Join {
            token: request.token.token,
            secret_hash: request.token.secret_hash(),
            spec: request.spec.clone(),
        };
        let node = match self.coordination.ask_within(Submit::new(op, WITHIN), WITHIN * 2).await {
            Ok(Ok(Outcome::Admitted { node, .. })) => node,
            Ok(Ok(other)) => {
                return refused("E_PROTOCOL", format!("joining led to {other:?}"), false);
            }
            Ok(Err(SubmitError::Refused(refusal))) => {
                let failure = refusal_failure(&self.explain(refusal, &request));
                return refused(&failure.code, failure.message, false);
            }
            Ok(Err(error)) => return refused("E_NO_QUORUM", error.to_string(), true),
            Err(error) => return refused("E_BUSY", error.to_string(), true),
        };
        if let Ok(Err(error)) =
            self.coordination.ask_within(ReadBarrier { within: WITHIN }, WITHIN * 2).await
        {
            return refused("E_NO_QUORUM", error.to_string(), true);
        }
        let unreachable = self.probe(from, &request.spec.addrs).await;
        let (epoch, members): (u64, Vec<Member>) = self.consensus.state.read(|state| {
            let known = |m: &&Member| m.spec.role == Role::Master || m.id == node;
            (state.epoch(), state.members().values().filter(known).cloned().collect())
        });
        tracing::info!(%node, name = %request.spec.name, role = %request.spec.role, "admitted");
        JoinReply::Welcome { node, cluster, epoch, members, unreachable }
    }

    /// Tries every advertised address, so that a wrong one is known at both ends from the first minute.
    async fn probe(&self, key: PeerKey, addrs: &[String]) -> Vec<(String, String)> {
        let until = Instant::now() + PROBE_WITHIN;
        let mut unreachable = Vec::new();
        for addr in addrs {
            let probed = tokio::time::timeout_at(until, self.peers.probe(key, addr.clone())).await;
            let reason = match probed {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::warn!(%addr, %reason, "a joining node can't be reached at an advertised address");
            unreachable.push((addr.clone(), reason));
        }
        unreachable
    }
}

fn refused(code: &str, reason: String, retryable: bool) -> JoinReply {
    JoinReply::Refused { code: code.to_owned(), reason, retryable }
}
