//! Requests and answers of the operations behind `doctor`: who reaches whom, and whose clock differs.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::member::Role;

/// A member to dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// The member.
    pub node: NodeId,
}

/// Each advertised address of a member, dialled from one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// In the order in which they are advertised.
    pub dials: Vec<Dial>,
}

/// One address, dialled anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dial {
    /// The address.
    pub addr: String,
    /// Why the member was not reached there; `None` if it was.
    pub error: Option<String>,
}

/// A node's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockAnswer {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

/// How the asked node and every other member reach each other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReachList {
    /// Masters first, then by number.
    pub items: Vec<Reach>,
    /// Members that were not looked at, since there are too many.
    pub left_out: usize,
}

/// How the asked node and one member reach each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reach {
    /// The member.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The member's addresses, dialled from here.
    pub there: Vec<Dial>,
    /// This node's addresses, dialled from the member; `None` if it could not be asked.
    pub back: Option<Vec<Dial>>,
    /// Why it could not be asked.
    pub silent: Option<String>,
    /// Milliseconds by which its clock is ahead of this node's.
    pub clock_ahead_ms: Option<i64>,
    /// Milliseconds of the round trip that measured it: the clocks are known to half of it.
    pub round_trip_ms: Option<u64>,
}
