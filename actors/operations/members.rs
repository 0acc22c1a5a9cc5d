//! Members: shown, promoted, drained and taken out.

use std::time::Duration;

use ipfs_kit_core::command::{Op, Outcome};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::{Liveness, RaftStanding, Role};
use ipfs_kit_core::ops::{NodeInfo, NodeList, NodeRemoved, NodeRequest, NodeRoleRequest};
use ipfs_kit_core::query;
use ipfs_kit_core::state::ClusterState;
use tokio::time::Instant;

use super::{Hint, Operations, failure, no_cluster};
use crate::api::Failure;

/// How long a master may take to leave Raft before its removal is given up.
const LEAVE_RAFT_WITHIN: Duration = Duration::from_secs(10);

impl Operations {
    pub(super) async fn node_ls(&self) -> Result<NodeList, Failure> {
        let ids = self.linearizable(|state| state.members().keys().copied().collect()).await?;
        let ids: Vec<NodeId> = ids;
        Ok(NodeList { items: ids.into_iter().filter_map(|node| self.node_info(node)).collect() })
    }

    pub(super) async fn node_show(&self, request: NodeRequest) -> Result<NodeInfo, Failure> {
        let node = self.find_member(&request.node)?;
        self.linearizable(|_| ()).await?;
        self.node_info(node).ok_or_else(|| gone(node))
    }

    /// A member with what only this leader knows of it.
    fn node_info(&self, node: NodeId) -> Option<NodeInfo> {
        let consensus = self.parts.consensus()?;
        let pins = |state: &ClusterState| state.holding_count(node) as u64;
        let mut info = consensus.state.read(|state| {
            state.members().get(&node).map(|member| query::node_info(member, pins(state)))
        })?;
        info.leader = consensus.leader() == Some(node);
        let heard = self.parts.cluster.as_ref()?.heard.read(|heard| heard.get(&node).cloned());
        if let Some(heard) = heard {
            info.heard_ms_ago = Some(heard.at.elapsed().as_millis() as u64);
            info.usage = Some(heard.usage);
            info.unreachable = heard.unreachable.map(|(addr, reason)| format!("{addr}: {reason}"));
        }
        Some(info)
    }

    pub(super) async fn node_role(&self, request: NodeRoleRequest) -> Result<NodeInfo, Failure> {
        let node = self.find_member(&request.node)?;
        let consensus = self.parts.consensus().ok_or_else(no_cluster)?;
        let steps_down = self.is_in_raft(node)? && request.role != Role::Master;
        // Not drained, as one that leaves: that moves what it holds, and ends its membership. It is kept
        // out of Raft until the role is committed, or Raft would take it back.
        let _stepping_down = steps_down.then(|| consensus.step_down(node));
        if steps_down {
            self.check_last_master(node)?;
            self.out_of_raft(node).await?;
        }
        self.submit(Op::SetRole { node, role: request.role }).await?;
        self.node_info(node).ok_or_else(|| gone(node))
    }

    pub(super) async fn node_leave(&self, request: NodeRequest) -> Result<NodeInfo, Failure> {
        let node = self.find_member(&request.node)?;
        self.check_last_master(node)?;
        self.submit(Op::SetLiveness { node, liveness: Liveness::Draining }).await?;
        self.node_info(node).ok_or_else(|| gone(node))
    }

    pub(super) async fn node_rm(&self, request: NodeRequest) -> Result<NodeRemoved, Failure> {
        let node = self.find_member(&request.node)?;
        self.check_last_master(node)?;
        if self.is_in_raft(node)? {
            self.submit(Op::SetLiveness { node, liveness: Liveness::Draining }).await?;
            self.out_of_raft(node).await?;
        }
        match self.submit(Op::Remove { node }).await {
            Ok(Outcome::Done { index }) => Ok(NodeRemoved { node, index }),
            Ok(other) => Err(failure("E_PROTOCOL", format!("removing led to {other:?}"))),
            // The planner removes a leaving member too, once nothing is asked of it, and may be first.
            Err(failure) => self.removed(node).ok_or(failure),
        }
    }

    /// When this master knows the member no more.
    fn removed(&self, node: NodeId) -> Option<NodeRemoved> {
        let state = &self.parts.consensus()?.state;
        state.read(|state| {
            let is_gone = !state.members().contains_key(&node);
            is_gone.then(|| NodeRemoved { node, index: state.index() })
        })
    }

    fn is_in_raft(&self, node: NodeId) -> Result<bool, Failure> {
        let state = &self.parts.consensus().ok_or_else(no_cluster)?.state;
        let standing = state.read(|state| state.members().get(&node).map(|member| member.raft));
        Ok(standing.is_some_and(|standing| standing != RaftStanding::None))
    }

    fn check_last_master(&self, node: NodeId) -> Result<(), Failure> {
        let consensus = self.parts.consensus().ok_or_else(no_cluster)?;
        let others = consensus.state.read(|state| {
            let stays = |m: &&ipfs_kit_core::member::Member| {
                m.id != node && m.raft == RaftStanding::Voter && m.liveness == Liveness::Alive
            };
            state.members().values().filter(stays).count()
        });
        if others == 0 {
            return Err(failure("E_CONFLICT", format!("{node} is the last master that is there"))
                .hint("add another master first: ipfs-kit cluster token create --role master"));
        }
        Ok(())
    }

    /// Waits until the membership reconciler has taken a voter out of Raft that it was told to; it
    /// transfers the leadership first if that one has it.
    async fn out_of_raft(&self, node: NodeId) -> Result<(), Failure> {
        let until = Instant::now() + LEAVE_RAFT_WITHIN;
        while self.is_in_raft(node)? {
            if !self.parts.consensus().is_some_and(|consensus| consensus.leading()) {
                return Err(super::not_leader());
            }
            if Instant::now() >= until {
                let message = format!("{node} could not leave raft: no safe change was possible");
                return Err(failure("E_TIMEOUT", message)
                    .hint("a majority of the other masters must be there; ipfs-kit node ls shows them")
                    .retryable());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn gone(node: NodeId) -> Failure {
    failure("E_NOT_FOUND", format!("{node} is no member any more"))
}
