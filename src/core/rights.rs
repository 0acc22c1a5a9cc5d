//! Who may do what to other members: one answer for the network, the router and the simulation.
//!
//! Roles are those of the committed registry, never what a member says of itself, and they are asked for
//! where a message arrives: a member's own checks are for its users, and bind nobody who has changed its
//! program.

use crate::command::{Command, Op};
use crate::follow::Scope;
use crate::id::NodeId;
use crate::member::{RaftStanding, Role};
use crate::ops::{self, OpInfo, Shape, Site};
use crate::proto::{Request, Topic};

#[cfg(test)]
mod tests;

/// Why a member's request is not acted on. Nothing was changed; while its role is the same, asking again
/// leads to the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A command carries the request id of another member.
    #[error("not your request ids: {from} used one of {owner}")]
    ForeignRequestId {
        /// Who asks.
        from: NodeId,
        /// Whose id it is.
        owner: NodeId,
    },
    /// A command changes more than the member itself.
    #[error("only masters propose that, {from} is a {role}")]
    ForeignCommand {
        /// Who asks.
        from: NodeId,
        /// Its role.
        role: Role,
    },
    /// A heartbeat or goodbye of another member.
    #[error("{from} speaks for {node}")]
    ForeignName {
        /// Who asks.
        from: NodeId,
        /// In whose name.
        node: NodeId,
    },
    /// The feed of what another member holds.
    #[error("not your pins: {from} asks for those of {holder}")]
    ForeignPins {
        /// Who asks.
        from: NodeId,
        /// Whose they are.
        holder: NodeId,
    },
    /// Parts of a checkpoint.
    #[error("the state is for masters only, {from} is a {role}")]
    StateForMasters {
        /// Who asks.
        from: NodeId,
        /// Its role.
        role: Role,
    },
    /// An operation that there is not, or that the role may not run.
    #[error(transparent)]
    Operation(#[from] ops::Refusal),
    /// An operation that every node runs for its own users only.
    #[error("{name} is not run for others")]
    OwnUsersOnly {
        /// The operation.
        name: &'static str,
    },
}

/// Whether a member may send Raft messages: masters, and whoever still has a place in Raft.
pub fn may_send_raft(role: Role, raft: RaftStanding) -> bool {
    role == Role::Master || raft != RaftStanding::None
}

/// Whether a member may be the author of messages on a topic.
pub fn may_author(role: Role, topic: Topic) -> bool {
    match topic {
        Topic::Pins | Topic::Discovery => role == Role::Master,
        Topic::Status => matches!(role, Role::Master | Role::Worker),
    }
}

/// Whether a member is believed when it says that the cluster has removed this node, which ends it: only
/// masters know who was removed.
pub fn may_expel(role: Role) -> bool {
    role == Role::Master
}

/// Whether a member may have its request acted on, as far as its identity and role go. Bounds and whether
/// it can be done now are judged by whoever does it.
pub fn authorise(from: NodeId, role: Role, request: &Request) -> Result<(), Refusal> {
    match request {
        Request::Propose { commands } => {
            commands.iter().try_for_each(|command| may_propose(from, role, command))
        }
        // Masters pass on what they hear.
        Request::Heartbeat(heartbeat) if role != Role::Master => own_name(from, heartbeat.node),
        Request::Goodbye { node, .. } => own_name(from, *node),
        Request::Feed { scope: Scope::Holder(holder), .. } if *holder != from => {
            Err(Refusal::ForeignPins { from, holder: *holder })
        }
        Request::StateHashes { .. } | Request::StateChunk { .. } if role != Role::Master => {
            Err(Refusal::StateForMasters { from, role })
        }
        Request::Operation { name, .. } => may_run(role, name),
        Request::ReadIndex
        | Request::Heartbeat(_)
        | Request::Feed { .. }
        | Request::Blocks { .. }
        | Request::Have { .. }
        | Request::StateHashes { .. }
        | Request::StateChunk { .. } => Ok(()),
    }
}

/// A member speaks in its own name and of itself; only masters speak of others.
fn may_propose(from: NodeId, role: Role, command: &Command) -> Result<(), Refusal> {
    let owner = command.request.node;
    if owner != from {
        return Err(Refusal::ForeignRequestId { from, owner });
    }
    let own = match &command.op {
        Op::Report { node, .. } | Op::Register { node, .. } => *node == from,
        Op::Expire => true,
        _ => false,
    };
    if own || role == Role::Master { Ok(()) } else { Err(Refusal::ForeignCommand { from, role }) }
}

fn own_name(from: NodeId, node: NodeId) -> Result<(), Refusal> {
    if node == from { Ok(()) } else { Err(Refusal::ForeignName { from, node }) }
}

/// Whether an operation is run here for a user of another member with this role.
fn may_run(role: Role, name: &str) -> Result<(), Refusal> {
    let info = ops::permit(name, role)?;
    if is_for_others(info) { Ok(()) } else { Err(Refusal::OwnUsersOnly { name: info.name }) }
}

/// Whether an operation leaves its node: streams and what is about the node itself do not.
fn is_for_others(info: &OpInfo) -> bool {
    info.site != Site::Local && info.shape == Shape::Unary
}
