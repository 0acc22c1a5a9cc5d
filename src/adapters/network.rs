//! The network port over libp2p: node ids become peer keys, events become the shells' inbox.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ipfs_kit_actors::ports::{
    CallError, FrameSink, Inbound, JoinError, Keep, Lane, Network, NetworkError, NetworkRun, Peers,
    PublishError, Registry, SendError, Verdict,
};
use ipfs_kit_core::id::{NodeId, PeerKey};
use ipfs_kit_core::limits;
use ipfs_kit_core::member::{RaftStanding, Role};
use ipfs_kit_core::proto::Topic;
use ipfs_kit_core::rights::{may_author, may_send_raft};
use ipfs_kit_net as net;
use tokio::sync::{Notify, mpsc, oneshot};

/// Events that may wait for the router.
const INBOUND_MAX: usize = 1024;
/// How long a member that is not connected may take to be reached before a call is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The cluster's network over libp2p. [`Network::start`] may be called again after a failure.
#[derive(Clone)]
pub struct Libp2pNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    config: net::NetConfig,
    runtime: tokio::runtime::Handle,
    /// Where frames are read.
    frames_runtime: tokio::runtime::Handle,
    current: RwLock<Option<net::NetHandle>>,
    members: RwLock<Members>,
    /// The registry that the driver has not been given yet.
    pending: RwLock<Option<Registry>>,
    changed: Notify,
    frames: RwLock<Option<FrameSink>>,
}

/// Node ids and peer keys, both ways.
#[derive(Default)]
struct Members {
    keys: BTreeMap<NodeId, net::PeerKey>,
    nodes: BTreeMap<net::PeerKey, NodeId>,
}

impl Libp2pNetwork {
    /// A network that does not run yet; its driver will run on `runtime`, and frames for the sink are read on
    /// `frames_runtime` where they have a connection of their own.
    pub fn new(
        config: net::NetConfig,
        runtime: tokio::runtime::Handle,
        frames_runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                runtime,
                frames_runtime,
                current: RwLock::default(),
                members: RwLock::default(),
                pending: RwLock::default(),
                changed: Notify::new(),
                frames: RwLock::default(),
            }),
        }
    }
}

impl Shared {
    fn handle(&self) -> Option<net::NetHandle> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn key_of(&self, node: NodeId) -> Option<net::PeerKey> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).keys.get(&node).copied()
    }

    fn node_of(&self, key: &net::PeerKey) -> Option<NodeId> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).nodes.get(key).copied()
    }

    fn call(
        &self,
        to: NodeId,
        class: net::CallClass,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (handle, key) = (self.handle(), self.key_of(to));
        Box::pin(async move {
            let unreachable = |reason: String| CallError::Unreachable { node: to, reason };
            let handle = handle.ok_or_else(|| unreachable("the network is down".into()))?;
            let key = key.ok_or_else(|| unreachable("it is no member".into()))?;
            if !handle.is_connected(&key) {
                match tokio::time::timeout(CONNECT_WITHIN.min(deadline), handle.connect(key)).await
                {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(unreachable(failed(&error).reason)),
                    Err(_) => return Err(unreachable("no connection in time".into())),
                }
            }
            let max = limits::RESPONSE_BYTES_MAX.min(net::MAX_RESPONSE_BYTES);
            let answered = handle.call_within(key, class, request, max, deadline).await;
            answered.map_err(|error| call_error(to, deadline, &error))
        })
    }

    fn remember(&self, registry: &Registry) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.keys =
            registry.peers.iter().map(|p| (p.node, net::PeerKey::from(p.key.0))).collect();
        members.nodes = members.keys.iter().map(|(node, key)| (*key, *node)).collect();
    }

    /// Gives the driver every new registry, in order, the newest only.
    async fn forward_registries(self: Arc<Self>, handle: net::NetHandle) {
        loop {
            let pending = self.pending.write().unwrap_or_else(PoisonError::into_inner).take();
            match pending {
                Some(registry) => {
                    if let Err(reason) = handle.set_registry(registry_of(&registry)).await {
                        tracing::error!(%reason, "the registry was not taken");
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Turns events into the router's inbox; ends when either side is gone.
    async fn pump(self: Arc<Self>, mut events: net::NetEvents, inbox: mpsc::Sender<Inbound>) {
        while let Some(event) = events.recv().await {
            if let Some(inbound) = self.translate(event)
                && inbox.send(inbound).await.is_err()
            {
                return;
            }
        }
    }

    fn translate(&self, event: net::Event) -> Option<Inbound> {
        match event {
            net::Event::PeerUp { peer, .. } => {
                self.node_of(&peer).map(|node| Inbound::Connected { node })
            }
            net::Event::PeerDown { peer, reason } => self
                .node_of(&peer)
                .map(|node| Inbound::Disconnected { node, reason: reason.to_string() }),
            net::Event::HelloRefused { peer, addr, by, error } => {
                let addr = addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
                Some(match by {
                    net::RefusedBy::Us => {
                        let reason = format!("this node refused it: {error}");
                        Inbound::Mismatch { peer: format!("{peer}{addr}"), reason }
                    }
                    net::RefusedBy::Them => self.refused_by(peer, &addr, &error),
                })
            }
            net::Event::DialFailed { peer, failures, errors } => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                tracing::debug!(%peer, failures, errors = %errors.join("; "), "dial failed");
                None
            }
            net::Event::LaneLost { peer, messages, .. } => {
                tracing::debug!(%peer, messages, "messages were lost with a connection");
                None
            }
            net::Event::Call(call) => {
                let from = self.node_of(&call.from)?;
                let (reply, answer) = oneshot::channel();
                let to = call.reply;
                self.runtime.spawn(async move {
                    // A dropped reply tells the caller that the node is busy.
                    if let Ok(answer) = answer.await
                        && let Err(reason) = to.send(answer)
                    {
                        tracing::trace!(%reason, "an answer came too late");
                    }
                });
                Some(Inbound::Call { from, request: call.request, reply })
            }
            net::Event::Message { from, lane: net::Lane::Raft, bytes } => {
                self.take_frame(from, bytes);
                None
            }
            net::Event::Join(join) => {
                let (reply, answer) = oneshot::channel();
                let to = join.reply;
                self.runtime.spawn(async move {
                    if let Ok(answer) = answer.await
                        && let Err(reason) = to.send(answer)
                    {
                        tracing::debug!(%reason, "a joining node did not wait");
                    }
                });
                Some(Inbound::Join {
                    from: PeerKey(join.from.into()),
                    request: join.request,
                    reply,
                })
            }
            net::Event::Gossip(message) => self.translate_gossip(message),
        }
    }

    /// What it means that a peer has refused this node.
    fn refused_by(&self, peer: net::PeerKey, addr: &str, error: &net::HelloError) -> Inbound {
        let name = format!("{peer}{addr}");
        match (error, self.node_of(&peer)) {
            (
                net::HelloError::StaleIncarnation { .. } | net::HelloError::IdentityInUse { .. },
                _,
            ) => Inbound::IdentityTaken { by: name, reason: error.to_string() },
            (net::HelloError::Removed, Some(by)) => Inbound::Removed { by },
            _ => {
                let reason = format!("it refused this node: {error}");
                Inbound::Mismatch { peer: name, reason }
            }
        }
    }

    /// Frames go where Raft runs, past the router. Before that is known, and from who is no member, they are
    /// lost, as any frame may be.
    fn take_frame(&self, from: net::PeerKey, frame: Bytes) {
        let sink = self.frames.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((sink, from)) = sink.zip(self.node_of(&from)) {
            sink(from, Lane::Raft, frame);
        }
    }

    fn translate_gossip(&self, message: net::GossipMessage) -> Option<Inbound> {
        let topic = match message.topic {
            net::Topic::Pins => Topic::Pins,
            net::Topic::Status => Topic::Status,
            net::Topic::Discovery => Topic::Discovery,
        };
        let Some(author) = self.node_of(&message.author) else {
            message.validate.judge(net::Verdict::Ignore);
            return None;
        };
        let (verdict, judged) = oneshot::channel();
        let validate = message.validate;
        self.runtime.spawn(async move {
            // No verdict counts as ignored: nobody here could use it, and nobody is to blame.
            validate.judge(match judged.await {
                Ok(Verdict::Accept) => net::Verdict::Accept,
                Ok(Verdict::Reject) => net::Verdict::Reject,
                Ok(Verdict::Ignore) | Err(_) => net::Verdict::Ignore,
            });
        });
        Some(Inbound::Gossip { author, topic, message: message.bytes, verdict })
    }
}

fn registry_of(registry: &Registry) -> net::Registry {
    let entry = |peer: &ipfs_kit_actors::ports::PeerEntry| {
        // An address that can't be read is skipped; the member says so itself when it registers one.
        let addrs = peer.addrs.iter().filter_map(|addr| addr.parse().ok()).collect();
        let link = match peer.keep {
            Keep::Connected => net::Link::Keep,
            Keep::OnDemand => net::Link::OnDemand,
        };
        net::PeerEntry { addrs, rights: rights_of(peer.role, peer.raft), link }
    };
    let members = registry.peers.iter();
    net::Registry {
        members: members.map(|peer| (net::PeerKey::from(peer.key.0), entry(peer))).collect(),
        removed: registry.removed.iter().map(|key| net::PeerKey::from(key.0)).collect(),
    }
}

fn rights_of(role: Role, raft: RaftStanding) -> net::Rights {
    let held = [
        (may_author(role, Topic::Pins), net::Rights::AUTHOR_PINS),
        (may_author(role, Topic::Status), net::Rights::AUTHOR_STATUS),
        (may_author(role, Topic::Discovery), net::Rights::AUTHOR_DISCOVERY),
        (may_send_raft(role, raft), net::Rights::RAFT),
    ];
    let held = held.into_iter().filter(|(may, _)| *may).map(|(_, right)| right);
    held.fold(net::Rights::NONE, |rights, right| rights | right)
}

/// Aborts a task when it is dropped, so that a network's run leaves none behind.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Network for Libp2pNetwork {
    fn start(&self) -> BoxFuture<'static, Result<NetworkRun, NetworkError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let started = net::Net::start(shared.config.clone()).await;
            let (handle, events, driver) = started.map_err(|error| failed(&error))?;
            *shared.current.write().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
            let (inbox, inbound) = mpsc::channel(INBOUND_MAX);
            let frames = Arc::clone(&shared);
            let take = move |from, frame| frames.take_frame(from, frame);
            let runtime = Some(shared.frames_runtime.clone());
            let sink = net::LaneSink { take: Box::new(take), runtime };
            events.pour_lane_into(net::Lane::Raft, sink);
            let runtime = shared.runtime.clone();
            let pump = Task(runtime.spawn(Arc::clone(&shared).pump(events, inbox)));
            let registries = Task(runtime.spawn(Arc::clone(&shared).forward_registries(handle)));
            let mut driving = runtime.spawn(driver);
            let driver = Box::pin(async move {
                let _tasks = (pump, registries);
                let _stop = AbortOnDrop(driving.abort_handle());
                match (&mut driving).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(failed(&error)),
                    Err(error) => Err(failed(&error)),
                }
            });
            Ok(NetworkRun { driver, inbound })
        })
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(error: &dyn std::error::Error) -> NetworkError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason.push_str(": ");
        reason.push_str(&inner.to_string());
        source = inner.source();
    }
    NetworkError { reason }
}

impl Peers for Libp2pNetwork {
    fn call(
        &self,
        to: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.shared.call(to, net::CallClass::Control, request, deadline)
    }

    fn call_bulk(
        &self,
        to: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.shared.call(to, net::CallClass::Bulk, request, deadline)
    }

    fn hand_frames_to(&self, sink: FrameSink) {
        *self.shared.frames.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let handle = self.shared.handle().ok_or(SendError::NotConnected)?;
        let key = self.shared.key_of(to).ok_or(SendError::NotConnected)?;
        let Lane::Raft = lane;
        handle.send(key, net::Lane::Raft, frame).map_err(|error| match error {
            net::SendError::NotConnected => SendError::NotConnected,
            net::SendError::Full | net::SendError::TooLarge { .. } => SendError::Full,
        })
    }

    fn publish(&self, topic: Topic, message: Bytes) -> Result<(), PublishError> {
        if matches!(self.shared.config.gossip, net::GossipMode::Disabled) {
            return Err(PublishError::Off);
        }
        let handle = self.shared.handle().ok_or(PublishError::NoPeers)?;
        if handle.connected().is_empty() {
            return Err(PublishError::NoPeers);
        }
        let topic = match topic {
            Topic::Pins => net::Topic::Pins,
            Topic::Status => net::Topic::Status,
            Topic::Discovery => net::Topic::Discovery,
        };
        self.shared.runtime.spawn(async move {
            // The repair path carries what gossip could not.
            if let Err(reason) = handle.publish(topic, message).await {
                tracing::debug!(?topic, %reason, "not published");
            }
        });
        Ok(())
    }

    fn set_registry(&self, registry: Registry) {
        self.shared.remember(&registry);
        *self.shared.pending.write().unwrap_or_else(PoisonError::into_inner) = Some(registry);
        self.shared.changed.notify_one();
    }

    fn probe(&self, key: PeerKey, addr: String) -> BoxFuture<'static, Result<(), String>> {
        let handle = self.shared.handle();
        Box::pin(async move {
            let handle = handle.ok_or_else(|| "the network is down".to_owned())?;
            let addr: net::NetAddr =
                addr.parse().map_err(|error: net::AddrError| error.to_string())?;
            handle
                .probe(addr, net::PeerKey::from(key.0))
                .await
                .map_err(|error| failed(&error).reason)
        })
    }

    fn join(
        &self,
        addr: String,
        expected: PeerKey,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, JoinError>> {
        let handle = self.shared.handle();
        Box::pin(async move {
            let unreachable =
                |reason: String| JoinError::Unreachable { addr: addr.clone(), reason };
            let handle = handle.ok_or_else(|| unreachable("the network is down".into()))?;
            let to: net::NetAddr =
                addr.parse().map_err(|error: net::AddrError| unreachable(error.to_string()))?;
            match handle.join(to, Some(net::PeerKey::from(expected.0)), request).await {
                Ok(answer) => Ok(answer.answer),
                Err(error @ net::JoinError::ForeignCluster { .. }) => {
                    Err(JoinError::Mismatch { addr: addr.clone(), reason: failed(&error).reason })
                }
                Err(error) => Err(unreachable(failed(&error).reason)),
            }
        })
    }

    fn listening(&self) -> Vec<String> {
        let handle = self.shared.handle();
        handle
            .map(|h| h.bound_addrs().iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    fn connected(&self) -> Vec<NodeId> {
        let Some(handle) = self.shared.handle() else { return Vec::new() };
        let mut nodes: Vec<NodeId> =
            handle.connected().iter().filter_map(|peer| self.shared.node_of(&peer.peer)).collect();
        nodes.sort_unstable();
        nodes
    }
}

fn call_error(node: NodeId, deadline: Duration, error: &net::CallError) -> CallError {
    match error {
        net::CallError::NotConnected => {
            CallError::Unreachable { node, reason: "not connected".into() }
        }
        net::CallError::Busy | net::CallError::Unanswered => CallError::Busy { node },
        net::CallError::DeadlineExceeded { .. } => {
            CallError::Timeout { node, deadline_ms: deadline.as_millis() as u64 }
        }
        other => CallError::Broken { node, reason: failed(other).reason },
    }
}
