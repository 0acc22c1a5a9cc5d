//! The cluster swarm: everything libp2p between the members of one cluster, behind our own types.
//!
//! [`Net::start`] gives three parts: a [`NetHandle`] to act with, [`NetEvents`] to listen to, and a
//! driver future that does the work and that the caller spawns, so that a supervisor can end it
//! and start another. Payloads are opaque bytes; what they mean is defined elsewhere.
//!
//! ```text
//!            NetHandle                                   NetEvents
//!   call  send  join  publish  connect        status joins calls raft gossip
//!     |     |     |      |        |             ^      ^     ^    ^     ^
//!     |     |     +------+--------+             |      |     |    |    |     |
//!     |     |            |                      |      | one task for each
//!     |     |        commands                   |      |  inbound stream
//!     |     |            v                      |      |     ^    ^    ^
//!     |   lanes ---->  driver: swarm, connections, redial ---+----+----+
//!     +-- streams -->  admission | limits | streams | gates(ping identify kad gossip)
//! ```
//!
//! Who may do what is decided by the registry ([`NetHandle::set_registry`]): a member's connection
//! starts with a hello (cluster, epoch, wire version, incarnation), and everything else follows it;
//! a stranger's connection offers the join protocol, within tight limits, and is closed soon. One that
//! was removed from the registry for good is told so by the hello.
//! Nothing is dialled but by the connection manager here.
//!
//! Calls of [`CallClass::Bulk`] go over TLS connections of their own where one can be made, which come
//! in on the same ports.
//!
//! Every queue is bounded. What happens at a bound is part of each function's contract: a call
//! waits for its place within its deadline, a full lane is [`SendError::Full`], a full call queue
//! is [`CallError::Busy`] at the caller, a full gossip queue drops and counts.

mod addr;
mod admission;
mod behaviour;
mod bulk;
mod calls;
mod config;
mod driver;
mod error;
mod event;
mod frame;
mod gate;
mod gossip;
mod handle;
mod hello;
mod identity;
mod join;
mod lanes;
mod links;
mod net;
mod rate;
mod redial;
mod registry;
mod streams;
mod tasks;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use addr::{AddrError, Host, NetAddr};
pub use calls::{CallClass, InboundCall, NobodyWaits, Reply};
pub use config::{
    CallLimits, ClusterId, FloodPublish, GossipConfig, GossipMode, JoinLimits, LaneLimits,
    MAX_GOSSIP_BYTES, MAX_JOIN_BYTES, MAX_RAFT_MESSAGE_BYTES, MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES, NetConfig, NetLimits, NetTiming,
};
pub use error::{
    CallError, ConnectError, DialError, HelloError, JoinError, NetFailure, PublishError,
    RegistryError, SendError, StartError, Stopped,
};
pub use event::{Direction, DownReason, Event, LaneReceiver, NetEvents, RefusedBy};
pub use gossip::{GossipMessage, GossipStats, Topic, Validation, Verdict};
pub use handle::NetHandle;
pub use identity::{KeyError, Keypair, PeerKey};
pub use join::{InboundJoin, JoinAnswer};
pub use lanes::{Lane, LaneSink};
pub use links::ConnectedPeer;
pub use net::{Net, NetDriver};
pub use registry::{Link, MAX_ADDRS_PER_PEER, PeerEntry, Registry, Rights};
pub use streams::WIRE_VERSION;
