//! `NetHandle`: what the rest of the node does with the network.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::addr::NetAddr;
use crate::bulk::tls;
use crate::calls::{self, CallClass, Request};
use crate::config::{MAX_JOIN_BYTES, NetLimits, NetTiming};
use crate::error::{
    CallError, ConnectError, DialError, JoinError, PublishError, RegistryError, SendError, Stopped,
};
use crate::gossip::{self, GossipCounters, GossipStats, Topic};
use crate::identity::PeerKey;
use crate::join::JoinAnswer;
use crate::lanes::Lane;
use crate::links::{ConnectedPeer, Links, PeerLink};
use crate::registry::Registry;
use crate::streams::Proto;

/// A wish to the driver. Each carries the place for its answer.
pub(crate) enum Command {
    SetRegistry { registry: Registry, done: oneshot::Sender<()> },
    Connect { peer: PeerKey, done: oneshot::Sender<Result<(), ConnectError>> },
    Probe { addr: NetAddr, expected: PeerKey, done: oneshot::Sender<Result<(), DialError>> },
    Join(JoinWish),
    Publish { topic: Topic, bytes: Bytes, done: oneshot::Sender<Result<(), PublishError>> },
    GossipPeers { topic: Topic, done: oneshot::Sender<usize> },
}

pub(crate) struct JoinWish {
    pub(crate) addr: NetAddr,
    pub(crate) expected: Option<PeerKey>,
    pub(crate) request: Bytes,
    pub(crate) done: oneshot::Sender<Result<JoinAnswer, JoinError>>,
}

/// The acting half of the network; clones share it. When the last clone is gone the network
/// stops.
#[derive(Clone)]
pub struct NetHandle {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) local: PeerKey,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) links: Links,
    pub(crate) identity: Arc<tls::Identity>,
    pub(crate) bound: Arc<RwLock<Vec<NetAddr>>>,
    pub(crate) gossip: Arc<GossipCounters>,
    pub(crate) limits: NetLimits,
    pub(crate) timing: NetTiming,
    pub(crate) stop: CancellationToken,
}

impl NetHandle {
    /// This node's identity.
    pub fn local(&self) -> PeerKey {
        self.shared.local
    }

    /// Where this node listens, with the ports that the kernel chose.
    pub fn bound_addrs(&self) -> Vec<NetAddr> {
        self.shared.bound.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The members that are connected now.
    pub fn connected(&self) -> Vec<ConnectedPeer> {
        self.shared.links.all()
    }

    /// Whether a member is connected now.
    pub fn is_connected(&self, peer: &PeerKey) -> bool {
        self.shared.links.get(peer).is_some()
    }

    /// Replaces the registry. When this returns it is in force: connections of members that left
    /// are closed, strangers that became members may connect as such, new kept members are being
    /// dialled, removed identities are told so. An entry for this node itself is allowed and has no
    /// effect.
    ///
    /// # Errors
    /// [`RegistryError`]; the old registry stays in force.
    pub async fn set_registry(&self, registry: Registry) -> Result<(), RegistryError> {
        let (members, limit) = (registry.members.len(), self.shared.limits.registered_peers);
        if members > limit {
            return Err(RegistryError::TooManyMembers { members, limit });
        }
        let (removed, limit) = (registry.removed.len(), self.shared.limits.removed_peers);
        if removed > limit {
            return Err(RegistryError::TooManyRemoved { removed, limit });
        }
        Ok(self.ask(|done| Command::SetRegistry { registry, done }).await?)
    }

    /// Connects to a member now, whatever its link policy. Returns at once if it is connected.
    ///
    /// # Errors
    /// [`ConnectError`], with every address's error.
    pub async fn connect(&self, peer: PeerKey) -> Result<(), ConnectError> {
        if self.is_connected(&peer) {
            return Ok(());
        }
        let limit = self.shared.timing.connect_ms + self.shared.timing.hello_ms;
        let connected = self.ask(|done| Command::Connect { peer, done });
        timeout(Duration::from_millis(limit), connected)
            .await
            .map_err(|_| ConnectError::TimedOut)??
    }

    /// Dials `addr` and checks that `expected` answers there, then hangs up. A master uses it to
    /// tell a joining node that its advertised address can't be reached.
    ///
    /// # Errors
    /// [`DialError`] names the address and the cause.
    pub async fn probe(&self, addr: NetAddr, expected: PeerKey) -> Result<(), DialError> {
        let limit = Duration::from_millis(self.shared.timing.connect_ms.saturating_mul(2));
        let probed = self.ask(|done| Command::Probe { addr, expected, done });
        timeout(limit, probed).await.map_err(|_| DialError::TimedOut)??
    }

    /// Asks the master at `addr` to let this node join: the one thing that a node outside the
    /// registry can do. With `expected` only that node is asked.
    ///
    /// # Errors
    /// [`JoinError`]; its variants say whether the request may have been handled.
    pub async fn join(
        &self,
        addr: NetAddr,
        expected: Option<PeerKey>,
        request: Bytes,
    ) -> Result<JoinAnswer, JoinError> {
        let len_bytes = request.len();
        if len_bytes > MAX_JOIN_BYTES {
            return Err(JoinError::TooLarge { len_bytes, limit_bytes: MAX_JOIN_BYTES });
        }
        let limit = self.shared.timing.connect_ms + self.shared.limits.join.guest_ms;
        let answered = self.ask(|done| Command::Join(JoinWish { addr, expected, request, done }));
        timeout(Duration::from_millis(limit), answered).await.map_err(|_| JoinError::TimedOut)??
    }

    /// Calls a connected member with its class's deadline. Many calls may be in flight; above the
    /// class's bound a call waits for a place. Dropping the future cancels the call.
    ///
    /// # Errors
    /// [`CallError`]; its variants say whether the call may have been executed.
    pub async fn call(
        &self,
        peer: PeerKey,
        class: CallClass,
        request: Bytes,
        max_response_bytes: usize,
    ) -> Result<Bytes, CallError> {
        let deadline = Duration::from_millis(self.shared.limits.calls(class).deadline_ms);
        self.call_within(peer, class, request, max_response_bytes, deadline).await
    }

    /// [`NetHandle::call`] with a deadline of its own.
    ///
    /// # Errors
    /// [`CallError`]; its variants say whether the call may have been executed.
    pub async fn call_within(
        &self,
        peer: PeerKey,
        class: CallClass,
        payload: Bytes,
        max_response_bytes: usize,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let request = Request { class, payload, max_response_bytes, deadline };
        request.check()?;
        let link = self.shared.links.get(&peer).ok_or(CallError::NotConnected)?;
        calls::within(deadline, self.call_over(&link, &request)).await
    }

    async fn call_over(&self, link: &PeerLink, request: &Request) -> Result<Bytes, CallError> {
        let started = Instant::now();
        let work = async {
            let gate = link.calls.of(request.class);
            let _place = gate.acquire().await.map_err(|_| CallError::NotConnected)?;
            let stall = self.shared.timing.stall();
            if request.class == CallClass::Bulk
                && let Some(mut stream) = link.bulk.connection().await
            {
                let remaining = request.deadline.saturating_sub(started.elapsed());
                let answer = calls::exchange(&mut stream, request, remaining, stall).await?;
                link.bulk.give_back(stream);
                return Ok(answer);
            }
            let stream = link
                .opener
                .open(Proto::Call)
                .await
                .map_err(|error| CallError::Lost { detail: error.to_string() })?;
            let remaining = request.deadline.saturating_sub(started.elapsed());
            calls::exchange(stream, request, remaining, stall).await
        };
        tokio::select! {
            biased;
            result = work => result,
            () = link.closed.cancelled() => {
                Err(CallError::Lost { detail: "the peer is disconnected".to_owned() })
            }
        }
    }

    /// Puts a message into a lane to a connected member; never waits. Order is kept. Accepted
    /// messages are lost if the connection breaks, and [`crate::Event::LaneLost`] counts them.
    ///
    /// # Errors
    /// [`SendError::Full`] is the lane's back-pressure.
    pub fn send(&self, peer: PeerKey, lane: Lane, message: Bytes) -> Result<(), SendError> {
        let link = self.shared.links.get(&peer).ok_or(SendError::NotConnected)?;
        link.lane(lane).send(message)
    }

    /// Publishes a message to every member that listens. There is no promise of delivery.
    ///
    /// # Errors
    /// [`PublishError`]; nobody received the message.
    pub async fn publish(&self, topic: Topic, bytes: Bytes) -> Result<(), PublishError> {
        gossip::check_len(bytes.len())?;
        self.ask(|done| Command::Publish { topic, bytes, done }).await?
    }

    /// How many connected members listen to a topic, as far as they told.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn gossip_peers(&self, topic: Topic) -> Result<usize, Stopped> {
        self.ask(|done| Command::GossipPeers { topic, done }).await
    }

    /// Gossip counters since the start.
    pub fn gossip_stats(&self) -> GossipStats {
        self.shared.gossip.snapshot()
    }

    /// Stops the network: connections are closed and no task is left when this returns, provided
    /// that the driver is being polled.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.commands.closed().await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (done, answer) = oneshot::channel();
        self.shared.commands.send(command(done)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

impl std::fmt::Debug for NetHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetHandle").field("local", &self.shared.local).finish_non_exhaustive()
    }
}
