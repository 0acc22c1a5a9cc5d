//! A network in memory between simulated machines: calls, ordered lanes, gossip, joining.
//!
//! It behaves like connections over TCP between machines that know each other by key: a connection exists
//! between two machines that have each other in their registries; a partition stalls it, and only after
//! a while both ends notice; a frame is late or lost together with its connection, never overtaken by the
//! next one of its lane. Calls have a stream each and may overtake one another. Gossip is forwarded from
//! machine to machine by those that accept it.
//!
//! One courier task delivers everything from one queue ordered by (virtual millisecond, sequence
//! number), so equal seeds give equal deliveries. All queues are bounded as the product's are.

mod calls;
mod connections;
mod courier;
mod exchange;
mod gossip;
mod lanes;
mod state;
#[cfg(test)]
mod tests;
mod weather;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ipfs_kit_actors::ports::{
    CallError, JoinError, Lane, Network, NetworkError, NetworkRun, Peers, PublishError, Registry,
    SendError,
};
use ipfs_kit_core::id::{NodeId, PeerKey};
use ipfs_kit_core::proto::Topic;
use tokio::sync::Notify;

use self::exchange::Failure;
use self::state::State;
pub use self::state::Stats;
pub use self::weather::Weather;
use super::HostId;
use crate::rng::Rng;
use crate::trace::Trace;

/// What one machine's incoming queue holds; the product's holds as many.
pub const INBOUND_CAPACITY: usize = 1024;
/// Frames under way on one lane between two machines.
pub const LANE_FRAMES_MAX: usize = 1024;
/// Bytes under way on one lane between two machines.
pub const LANE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Calls under way from one machine to another.
pub const CALLS_PER_PEER_MAX: usize = 256;
/// How long a join or a probe waits for an answer.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);

/// How a machine leaves the network without saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The process ended: its system resets the connections, so that the others notice at once.
    Process,
    /// The machine lost its power: the others notice when their keep-alives time out.
    Power,
}

/// Whether anything is gossiped at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipSwitch {
    /// As in a normal cluster.
    On,
    /// As configured by an operator who wants none.
    Off,
}

/// The whole network; clones are handles to the same one.
#[derive(Clone)]
pub struct SimNetwork {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

impl std::fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimNetwork").finish_non_exhaustive()
    }
}

impl SimNetwork {
    /// A network without machines, in fair weather. Spawn [`SimNetwork::courier`] before anything is sent.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let wake = Arc::new(Notify::new());
        let state = State::new(Rng::new(seed, "network"), trace, Arc::clone(&wake));
        Self { state: Arc::new(Mutex::new(state)), wake }
    }

    /// Connects a machine: its identity and the one address at which it listens.
    #[must_use]
    pub fn attach(&self, key: PeerKey, addr: String) -> SimPort {
        SimPort { host: self.state().attach(key, addr), net: self.clone() }
    }

    /// Changes the whole network's delays and losses from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().set_weather(weather);
    }

    /// Switches gossip for all machines.
    pub fn set_gossip(&self, switch: GossipSwitch) {
        self.state().gossip = switch;
    }

    /// Loses every request for which this is true, from now on.
    pub fn lose_requests(&self, which: fn(&[u8]) -> bool) {
        self.state().losing = Some(which);
    }

    /// Stops everything that `from` says to `to`; the other direction is another call.
    pub fn block(&self, from: HostId, to: HostId) {
        self.state().block(from, to);
    }

    /// Opens all blocked directions; what connections held back arrives late.
    pub fn heal(&self) {
        self.state().heal();
    }

    /// Breaks all connections of a machine; both ends notice at once.
    pub fn cut(&self, host: HostId) {
        self.state().cut(host, "the connection was reset");
    }

    /// Makes everything to and from a machine this many times slower; 1 is normal.
    pub fn set_slowness(&self, host: HostId, factor: u64) {
        self.state().set_slowness(host, factor);
    }

    /// Gives a machine another address; its connections break.
    pub fn set_addr(&self, host: HostId, addr: String) {
        self.state().set_addr(host, addr);
    }

    /// Ends a machine's network with everything it knew. Its tasks must be dropped right after.
    pub fn crash(&self, host: HostId, outage: Outage) {
        self.state().crash(host, outage);
    }

    /// Fails the running network of a machine, whose node has to start another.
    pub fn fail_run(&self, host: HostId) {
        self.state().fail_run(host, "injected: the network failed");
    }

    /// What was carried so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state().stats
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a task under the lock ends the run as failed; the state is not trusted after it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One machine's side of the network: the product's ports.
#[derive(Clone, Debug)]
pub struct SimPort {
    net: SimNetwork,
    host: HostId,
}

impl SimPort {
    /// The machine.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }
}

impl Peers for SimPort {
    fn call(
        &self,
        to: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (net, host) = (self.net.clone(), self.host);
        Box::pin(async move {
            let pending = net.state().call(host, to, request);
            let failure = match exchange::finish(&net, pending, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            Err(match failure {
                Failure::Unreachable(reason) | Failure::Mismatch(reason) => {
                    CallError::Unreachable { node: to, reason }
                }
                Failure::Busy => CallError::Busy { node: to },
                Failure::Broken(reason) => CallError::Broken { node: to, reason },
                Failure::Timeout => CallError::Timeout {
                    node: to,
                    deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
                },
            })
        })
    }

    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.net.state().send(self.host, to, lane, frame)
    }

    fn publish(&self, topic: Topic, message: Bytes) -> Result<(), PublishError> {
        self.net.state().publish(self.host, topic, message)
    }

    fn set_registry(&self, registry: Registry) {
        self.net.state().set_registry(self.host, registry);
    }

    fn probe(&self, key: PeerKey, addr: String) -> BoxFuture<'static, Result<(), String>> {
        let (net, host) = (self.net.clone(), self.host);
        Box::pin(async move {
            let pending = Ok(net.state().probe(host, key, &addr));
            match exchange::finish(&net, pending, JOIN_DEADLINE).await {
                Ok(_) => Ok(()),
                Err(failure) => Err(failure.reason()),
            }
        })
    }

    fn join(
        &self,
        addr: String,
        expected: PeerKey,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, JoinError>> {
        let (net, host) = (self.net.clone(), self.host);
        Box::pin(async move {
            let pending = net.state().join(host, &addr, expected, request);
            exchange::finish(&net, pending, JOIN_DEADLINE).await.map_err(|failure| match failure {
                Failure::Mismatch(reason) => JoinError::Mismatch { addr, reason },
                other => JoinError::Unreachable { addr, reason: other.reason() },
            })
        })
    }

    fn listening(&self) -> Vec<String> {
        self.net.state().listening(self.host)
    }

    fn connected(&self) -> Vec<NodeId> {
        self.net.state().connected(self.host)
    }
}

impl Network for SimPort {
    fn start(&self) -> BoxFuture<'static, Result<NetworkRun, NetworkError>> {
        let (net, host) = (self.net.clone(), self.host);
        Box::pin(async move { Ok(courier::start_run(&net, host)) })
    }
}
