//! The driver: one task that owns the swarm and decides about connections.
//!
//! It never waits for anybody: stream tasks move the bytes, wishes and reports come in over bounded
//! channels, and what the owner must be told waits in an outbox.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use libp2p::Swarm;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::addr::NetAddr;
use crate::behaviour::{ClusterBehaviour, ClusterBehaviourEvent};
use crate::bulk::tls;
use crate::calls::CallServer;
use crate::config::{NetConfig, NetLimits, NetTiming};
use crate::error::{ConnectError, HelloError, NetFailure, StartError};
use crate::event::{Event, RefusedBy};
use crate::gossip::{GossipCounters, GossipMessage, Judged, Topics};
use crate::handle::{Command, Shared};
use crate::hello::Hello;
use crate::identity::PeerKey;
use crate::join::JoinServer;
use crate::lanes::{LaneInlet, LaneLoss};
use crate::links::{Links, OpenWish};
use crate::redial::Redial;
use crate::registry::{Membership, Registry};
use crate::tasks::Tasks;

mod conns;
mod dials;
mod greeting;
mod traffic;

use conns::{Conn, Peer};
use dials::Purpose;

#[cfg(test)]
mod tests;

const REPORT_QUEUE: usize = 256;
const WISH_QUEUE: usize = 256;
/// Status events that wait for room in the owner's queue before they are thinned out.
const OUTBOX: usize = 1024;
/// When nothing else is due.
const IDLE: Duration = Duration::from_secs(3600);

/// The sending ends of the owner's queues.
pub(crate) struct Inlets {
    pub(crate) status: mpsc::Sender<Event>,
    pub(crate) gossip: mpsc::Sender<GossipMessage>,
    pub(crate) raft: LaneInlet,
    pub(crate) calls: Arc<CallServer>,
    pub(crate) joins: Arc<JoinServer>,
}

/// What a stream task tells the driver.
enum Report {
    /// A hello ended.
    Hello { connection_id: ConnectionId, result: Result<Hello, HelloError>, by: RefusedBy },
    /// A join exchange ended, at either end.
    JoinEnded { connection_id: ConnectionId },
    /// The peer sent what no correct member sends.
    Violation { connection_id: ConnectionId, detail: String },
}

/// One thing that the driver woke up for.
enum Step {
    Swarm(Box<SwarmEvent<ClusterBehaviourEvent>>),
    Command(Command),
    Report(Report),
    Wish(OpenWish),
    Loss(LaneLoss),
    Judged(Judged),
    StatusSent,
    Due,
    Stop,
}

pub(crate) struct Driver {
    swarm: Swarm<ClusterBehaviour>,
    tasks: Tasks,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    local: PeerKey,
    identity: Arc<tls::Identity>,
    hello: Hello,
    limits: NetLimits,
    timing: NetTiming,
    membership: Membership,
    registry: Registry,
    redial: Redial,
    conns: BTreeMap<ConnectionId, Conn>,
    peers: BTreeMap<PeerKey, Peer>,
    dials: BTreeMap<ConnectionId, Purpose>,
    waiters: BTreeMap<PeerKey, Vec<oneshot::Sender<Result<(), ConnectError>>>>,
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    links: Links,
    bound: Arc<RwLock<Vec<NetAddr>>>,
    advertise: Vec<NetAddr>,
    topics: Topics,
    counters: Arc<GossipCounters>,
    inlets: Inlets,
    outbox: VecDeque<Event>,
    commands: mpsc::Receiver<Command>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    wishes: (mpsc::Sender<OpenWish>, mpsc::Receiver<OpenWish>),
    losses: (mpsc::Sender<LaneLoss>, mpsc::Receiver<LaneLoss>),
    verdicts: (mpsc::Sender<Judged>, mpsc::Receiver<Judged>),
    failure: Option<NetFailure>,
}

impl Driver {
    pub(crate) fn new(
        config: &NetConfig,
        swarm: Swarm<ClusterBehaviour>,
        tasks: Tasks,
        membership: Membership,
        inlets: Inlets,
        commands: mpsc::Receiver<Command>,
        shared: &Shared,
    ) -> Result<Self, StartError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError::Setting {
            setting: "entropy",
            detail: error.to_string(),
        })?;
        let timing = config.timing;
        Ok(Self {
            swarm,
            stop: shared.stop.clone(),
            _stop_on_drop: tasks.stop_on_drop(),
            tasks,
            local: shared.local,
            identity: shared.identity.clone(),
            hello: Hello::from(config),
            limits: config.limits.clone(),
            timing,
            membership,
            registry: Registry::default(),
            redial: Redial::new(timing.redial_min_ms, timing.redial_max_ms, seed),
            conns: BTreeMap::new(),
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            waiters: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            links: shared.links.clone(),
            bound: shared.bound.clone(),
            advertise: config.advertise.clone(),
            topics: Topics::new(config.cluster_id),
            counters: shared.gossip.clone(),
            inlets,
            outbox: VecDeque::new(),
            commands,
            reports: mpsc::channel(REPORT_QUEUE),
            wishes: mpsc::channel(WISH_QUEUE),
            losses: mpsc::channel(REPORT_QUEUE),
            verdicts: mpsc::channel(config.limits.gossip_queue.max(1)),
            failure: None,
        })
    }

    /// Binds every address and waits until the kernel has told each port.
    pub(crate) async fn listen(
        &mut self,
        addrs: &[(NetAddr, SocketAddr)],
        limit: Duration,
    ) -> Result<(), StartError> {
        for addr in &self.advertise {
            self.swarm.add_external_address(addr.to_multiaddr());
        }
        // Before the first of them is held: `[::]` would meet our own `0.0.0.0`.
        for (addr, ip) in addrs {
            refuse_port_in_use(addr, *ip)?;
        }
        let mut waiting: Vec<(ListenerId, &NetAddr)> = Vec::new();
        for (addr, ip) in addrs {
            let listener = self
                .swarm
                .listen_on(NetAddr::from(*ip).to_multiaddr())
                .map_err(|error| listen_error(addr, error))?;
            waiting.push((listener, addr));
        }
        let deadline = Instant::now() + limit;
        while let Some((_, addr)) = waiting.first().copied() {
            let event = timeout_at(deadline, self.swarm.select_next_some())
                .await
                .map_err(|_| StartError::ListenTimedOut { addr: addr.clone() })?;
            if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                waiting.retain(|(waiting, _)| waiting != listener_id);
            }
            self.on_swarm(event);
        }
        Ok(())
    }

    pub(crate) async fn run(mut self) -> Result<(), NetFailure> {
        while self.failure.is_none() {
            match self.next().await {
                Step::Swarm(event) => self.on_swarm(*event),
                Step::Command(command) => self.on_command(command),
                Step::Report(report) => self.on_report(report),
                Step::Wish(wish) => self.on_wish(wish),
                Step::Loss(LaneLoss { peer, lane, messages }) => {
                    self.tell(Event::LaneLost { peer, lane, messages });
                }
                Step::Judged(judged) => self.on_judged(judged),
                Step::StatusSent => {}
                Step::Due => self.on_due(),
                Step::Stop => break,
            }
        }
        let Self { swarm, tasks, links, failure, commands, .. } = self;
        links.clear();
        drop(swarm);
        tasks.stop().await;
        // Last: whoever waits for the shutdown waits for this receiver to go.
        drop(commands);
        failure.map_or(Ok(()), Err)
    }

    /// Waits for the next step. The order favours what is cheap and urgent; Tokio's cooperative
    /// budget makes the channels give way to the swarm when they are busy without end.
    async fn next(&mut self) -> Step {
        let wake_at = self.wake_at();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Step::Stop,
            () = self.inlets.status.closed() => Step::Stop,
            Some(report) = self.reports.1.recv() => Step::Report(report),
            Some(wish) = self.wishes.1.recv() => Step::Wish(wish),
            Some(judged) = self.verdicts.1.recv() => Step::Judged(judged),
            Some(loss) = self.losses.1.recv() => Step::Loss(loss),
            place = self.inlets.status.reserve(), if !self.outbox.is_empty() => {
                if let (Ok(place), Some(event)) = (place, self.outbox.pop_front()) {
                    place.send(event);
                }
                Step::StatusSent
            }
            command = self.commands.recv() => command.map_or(Step::Stop, Step::Command),
            () = sleep_until(wake_at) => Step::Due,
            event = self.swarm.select_next_some() => Step::Swarm(Box::new(event)),
        }
    }

    fn wake_at(&self) -> Instant {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [deadline, self.redial.next_due()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + IDLE)
    }

    fn on_due(&mut self) {
        let now = Instant::now();
        while let Some((at, connection_id)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            self.on_deadline(connection_id);
        }
        self.dial_due(now);
    }

    fn on_command(&mut self, command: Command) {
        // An asker that went away needs no answer.
        match command {
            Command::SetRegistry { registry, done } => {
                self.set_registry(registry);
                let _ = done.send(());
            }
            Command::Connect { peer, done } => self.connect(peer, done),
            Command::Probe { addr, expected, done } => self.probe(addr, expected, done),
            Command::Join(wish) => self.join(wish),
            Command::Publish { topic, bytes, done } => {
                let _ = done.send(self.publish(topic, &bytes));
            }
            Command::GossipPeers { topic, done } => {
                let _ = done.send(self.gossip_peers(topic));
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Hello { connection_id, result, by } => {
                self.on_hello(connection_id, result, by);
            }
            Report::JoinEnded { connection_id } => self.on_join_ended(connection_id),
            Report::Violation { connection_id, detail } => {
                self.on_violation(connection_id, detail);
            }
        }
    }

    /// Puts a status event into the outbox. When the owner is far behind, only the latest state
    /// of each peer is kept, and the log keeps the rest.
    fn tell(&mut self, event: Event) {
        tracing::debug!(?event, "network event");
        if self.outbox.len() >= OUTBOX {
            match status_of(&event) {
                Some(peer) => {
                    self.outbox.retain(|waiting| status_of(waiting) != Some(peer));
                }
                None => {
                    tracing::warn!(?event, "event dropped, its receiver is far behind");
                    return;
                }
            }
        }
        self.outbox.push_back(event);
    }

    fn set_bound(&mut self) {
        let mut addrs: Vec<_> =
            self.swarm.listeners().filter_map(NetAddr::from_multiaddr).collect();
        addrs.sort_unstable();
        if self.advertise.is_empty() {
            for addr in &addrs {
                self.swarm.add_external_address(addr.to_multiaddr());
            }
        }
        *self.bound.write().unwrap_or_else(PoisonError::into_inner) = addrs;
    }
}

/// The peer whose being connected an event is about.
fn status_of(event: &Event) -> Option<PeerKey> {
    match event {
        Event::PeerUp { peer, .. } | Event::PeerDown { peer, .. } => Some(*peer),
        _ => None,
    }
}

/// The TCP transport binds with SO_REUSEPORT, with which two nodes of one user could share a port
/// and each get half of the connections. A plain bind tells.
fn refuse_port_in_use(addr: &NetAddr, ip: SocketAddr) -> Result<(), StartError> {
    if ip.port() == 0 {
        return Ok(());
    }
    std::net::TcpListener::bind(ip)
        .map(drop)
        .map_err(|source| StartError::Listen { addr: addr.clone(), source })
}

fn listen_error(addr: &NetAddr, error: TransportError<std::io::Error>) -> StartError {
    let source = match error {
        TransportError::Other(source) => source,
        TransportError::MultiaddrNotSupported(_) => std::io::ErrorKind::Unsupported.into(),
    };
    StartError::Listen { addr: addr.clone(), source }
}
