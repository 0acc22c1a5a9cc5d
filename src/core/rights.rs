//! Who may do what to other members: one answer for the network, the router and the simulation.
//!
//! Roles are those of the committed registry, never what a member says of itself, and they are asked for
//! where a message arrives: a member's own checks are for its users, and bind nobody who has changed its
//! program.

use crate::member::{RaftStanding, Role};

#[cfg(test)]
mod tests;

/// Whether a member may send Raft messages: masters, and whoever still has a place in Raft.
pub fn may_send_raft(role: Role, raft: RaftStanding) -> bool {
    role == Role::Master || raft != RaftStanding::None
}
