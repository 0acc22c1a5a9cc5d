//! Why an operation on the network failed. No variant leaves the node in a changed state unless
//! it says so.

use std::io;

use crate::addr::NetAddr;
use crate::config::ClusterId;
use crate::identity::PeerKey;

/// The network did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on (in use, not of this machine, not permitted); a retry helps
    /// once that changed.
    #[error("can't listen on {addr}")]
    Listen {
        /// The configured address.
        addr: NetAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The name in a listen address does not resolve; a retry may help.
    #[error("can't resolve listen address {addr}")]
    Resolve {
        /// The configured address.
        addr: NetAddr,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The kernel did not report a bound address in time; a retry may help.
    #[error("listening on {addr} did not come up in time")]
    ListenTimedOut {
        /// The configured address.
        addr: NetAddr,
    },
    /// A setting is out of its range; a retry can't help.
    #[error("{setting} is not usable: {detail}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// The running network stopped by itself. Connections are closed; starting anew may help.
#[derive(Debug, thiserror::Error)]
pub enum NetFailure {
    /// A listener closed, so nobody can reach this node there any more.
    #[error("listener on {addrs:?} closed")]
    ListenerClosed {
        /// Where it listened.
        addrs: Vec<NetAddr>,
        /// The cause, if the operating system gave one.
        #[source]
        source: Option<io::Error>,
    },
}

/// The network is stopped; nothing was done, a retry can't help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network is stopped")]
pub struct Stopped;

/// The registry was not replaced; the old one stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It has more members than the limit; a retry can't help.
    #[error("{members} members are more than the limit of {limit}")]
    TooManyMembers {
        /// Members in the refused registry.
        members: usize,
        /// The limit.
        limit: usize,
    },
    /// It names more removed identities than the limit; a retry can't help.
    #[error("{removed} removed identities are more than the limit of {limit}")]
    TooManyRemoved {
        /// Removed identities in the refused registry.
        removed: usize,
        /// The limit.
        limit: usize,
    },
    /// The network is stopped; a retry can't help.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why the hello on a connection failed. The connection is closed; both ends report it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The ends belong to different clusters; a retry can't help.
    #[error("the peer belongs to another cluster")]
    ForeignCluster {
        /// The peer's cluster, where it is known (the end that refuses knows it).
        theirs: Option<ClusterId>,
    },
    /// The ends have different histories of one cluster; a retry helps once the older one
    /// has taken up the newer.
    #[error("the cluster's history epoch is {ours} here and {theirs} at the peer")]
    WrongEpoch {
        /// This node's epoch.
        ours: u64,
        /// The peer's epoch.
        theirs: u64,
    },
    /// The ends speak different versions; a retry helps after an upgrade.
    #[error("the wire version is {ours} here and {theirs} at the peer")]
    WrongWireVersion {
        /// This node's version.
        ours: u16,
        /// The peer's version.
        theirs: u16,
    },
    /// The refused end is not in the other's registry; a retry helps once it is.
    #[error("the dialling node is not in the registry of the other")]
    NotRegistered,
    /// The refused end was removed from the cluster for good; a retry can't help.
    #[error("the dialling node was removed from the cluster")]
    Removed,
    /// A newer start of the same identity is connected: it took over while this one did not
    /// answer; a retry helps when the other has gone.
    #[error("a newer start of the same identity is connected (incarnation {newest})")]
    StaleIncarnation {
        /// The greatest incarnation that is connected, where it is known.
        newest: u64,
    },
    /// An older start of the same identity is connected and still answers: two nodes run with one
    /// key; a retry helps when the other has gone.
    #[error("another node with this identity is connected and answers (incarnation {other})")]
    IdentityInUse {
        /// The incarnation that was there first.
        other: u64,
    },
    /// The peer sent bytes that are no hello; a retry can't help.
    #[error("the peer sent no valid hello")]
    Malformed,
    /// The hello did not finish in time; a retry may help.
    #[error("the hello did not finish in time")]
    TimedOut,
    /// The connection broke during the hello; a retry may help.
    #[error("the connection broke during the hello: {detail}")]
    Lost {
        /// What broke it.
        detail: String,
    },
}

/// Why an address could not be dialled. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No address of the peer is known; a retry helps once one is.
    #[error("no address is known")]
    NoAddress,
    /// Nobody answered as a node there; a retry may help.
    #[error("{addr} can't be reached: {detail}")]
    Unreachable {
        /// The dialled address.
        addr: NetAddr,
        /// What the operating system or the handshake said.
        detail: String,
    },
    /// Another node answers there; a retry can't help while it does.
    #[error("{addr} is node {found}, not {expected}")]
    WrongPeer {
        /// The dialled address.
        addr: NetAddr,
        /// Who was expected.
        expected: PeerKey,
        /// Who answered.
        found: String,
    },
    /// The address leads to this node itself, or to another node with its identity; a retry can't
    /// help.
    #[error("{addr} answers with this node's own identity")]
    OwnIdentity {
        /// The dialled address.
        addr: NetAddr,
    },
    /// A connection limit of this node refused it; a retry helps later.
    #[error("refused by this node: {detail}")]
    Refused {
        /// Which limit.
        detail: String,
    },
    /// It took too long; a retry may help.
    #[error("no connection in time")]
    TimedOut,
    /// The network is stopped; a retry can't help.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why [`crate::NetHandle::connect`] brought no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The peer is not in the registry; a retry helps once it is.
    #[error("the peer is not in the registry")]
    NotRegistered,
    /// Every address failed; a retry may help.
    #[error("the peer can't be dialled: {}", list(.errors))]
    Dial {
        /// One error for each address that was tried.
        errors: Vec<DialError>,
    },
    /// The connection came up and the hello failed.
    #[error("the peer was reached and refused")]
    Hello {
        /// Why.
        #[source]
        source: HelloError,
    },
    /// The connection came up and was lost before it was usable; a retry may help.
    #[error("the connection was lost at once")]
    Lost,
    /// It took too long; a retry may help.
    #[error("no connection in time")]
    TimedOut,
    /// The network is stopped; a retry can't help.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn list(errors: &[DialError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a unary call brought no response. Except where it says so, the callee may or may not have
/// executed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection to the peer; not executed, a retry helps once it is up.
    #[error("the peer is not connected")]
    NotConnected,
    /// The request is over the limit; not sent, a retry can't help.
    #[error("a request of {len_bytes} bytes is over the limit of {limit_bytes}")]
    RequestTooLarge {
        /// The request's size.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The response is over the caller's limit; executed, a retry needs a greater limit.
    #[error("a response of {len_bytes} bytes is over the limit of {limit_bytes}")]
    ResponseTooLarge {
        /// The response's size.
        len_bytes: usize,
        /// The caller's limit.
        limit_bytes: usize,
    },
    /// The callee has no place for it; not executed, a retry helps later.
    #[error("the peer is busy")]
    Busy,
    /// The callee took it and gave no answer; a retry may help.
    #[error("the peer gave no answer")]
    Unanswered,
    /// No response within the deadline; a retry may help.
    #[error("no response within {deadline_ms} ms")]
    DeadlineExceeded {
        /// The deadline that passed.
        deadline_ms: u64,
    },
    /// The connection broke; a retry may help.
    #[error("the connection broke: {detail}")]
    Lost {
        /// What broke it.
        detail: String,
    },
    /// The peer sent bytes that are no response; a retry can't help.
    #[error("the peer sent no valid response")]
    Malformed,
}

/// Why a message was not put into a lane. It was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The lane's queue is at its bound; a retry helps once the peer has read.
    #[error("the lane to the peer is full")]
    Full,
    /// No connection to the peer; a retry helps once it is up.
    #[error("the peer is not connected")]
    NotConnected,
    /// The message is over the lane's limit; a retry can't help.
    #[error("a message of {len_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// The message's size.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
}

/// Why a join request brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The address could not be dialled.
    #[error("the master can't be dialled")]
    Dial {
        /// Why.
        #[source]
        source: DialError,
    },
    /// The request is over the limit; not sent, a retry can't help.
    #[error("a join request of {len_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// The request's size.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The node there belongs to another cluster; a retry can't help.
    #[error("the node at {addr} belongs to another cluster")]
    ForeignCluster {
        /// The dialled address.
        addr: NetAddr,
    },
    /// Too many requests came from here; not handled, a retry helps after the delay.
    #[error("too many join requests, try again in {retry_after_ms} ms")]
    RateLimited {
        /// When a place is free again.
        retry_after_ms: u64,
    },
    /// The master has no place for it, or takes none; not handled, a retry helps later.
    #[error("the node at {addr} takes no join requests now")]
    Busy {
        /// The dialled address.
        addr: NetAddr,
    },
    /// The master took it and gave no answer; it may have been executed, a retry may help.
    #[error("the node at {addr} gave no answer")]
    Unanswered {
        /// The dialled address.
        addr: NetAddr,
    },
    /// No answer in time; it may have been executed, a retry may help.
    #[error("no answer to the join request in time")]
    TimedOut,
    /// The connection broke; it may have been executed, a retry may help.
    #[error("the connection broke during the join: {detail}")]
    Lost {
        /// What broke it.
        detail: String,
    },
    /// The network is stopped; a retry can't help.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a message was not published. Nobody received it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Gossip is switched off; a retry can't help.
    #[error("gossip is switched off")]
    Disabled,
    /// The message is over the limit; a retry can't help.
    #[error("a gossip message of {len_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// The message's size.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Nobody listens to the topic yet; a retry helps once a peer is connected.
    #[error("no connected peer listens to the topic")]
    NoPeers,
    /// The same message was published a short while ago; it is on its way already.
    #[error("the same message was published a short while ago")]
    Duplicate,
    /// Every peer's queue is full; a retry helps later.
    #[error("the queues of all peers are full")]
    QueuesFull,
    /// The message could not be signed; a retry can't help.
    #[error("the message could not be signed: {detail}")]
    Signing {
        /// What the signer said.
        detail: String,
    },
    /// The network is stopped; a retry can't help.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
