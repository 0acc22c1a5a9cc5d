//! What the network knows: machines, links, connections, and the queue of what is to come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ipfs_kit_actors::ports::{Inbound, Lane, PeerEntry, Registry};
use ipfs_kit_core::id::{NodeId, PeerKey};
use tokio::sync::{Notify, mpsc};

use super::connections::{Conn, Dial, Pair};
use super::exchange::{Exchange, Outcome};
use super::gossip::{Message, Seen};
use super::lanes::{Credit, LaneQueue};
use super::{GossipSwitch, HostId, INBOUND_CAPACITY, Weather};
use crate::rng::Rng;
use crate::trace::Trace;

/// Payload bytes that a link carries in a millisecond: 100 MB/s.
const BYTES_PER_MS: u64 = 100_000;
/// Payload bytes that enter a line of the trace.
const FINGERPRINT_BYTES: usize = 4096;
/// Events of connections that a machine may leave lying before its network fails.
const BACKLOG_MAX: usize = 4 * INBOUND_CAPACITY;
/// Messages that one blocked direction holds back.
const HELD_MAX: usize = 4096;

/// What was carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests delivered.
    pub calls: u64,
    /// Requests refused because the callee's queue was full.
    pub calls_busy: u64,
    /// Requests and answers lost.
    pub calls_lost: u64,
    /// Frames delivered on lanes.
    pub frames: u64,
    /// Gossip messages published.
    pub published: u64,
    /// Gossip messages delivered, copies at different machines counted each.
    pub gossiped: u64,
    /// Copies of gossip messages lost.
    pub gossip_lost: u64,
    /// Gossip messages that a machine held against their sender.
    pub gossip_rejected: u64,
    /// Connections made.
    pub connections: u64,
    /// Bytes of payload delivered.
    pub bytes: u64,
}

/// Something that will happen at its time.
#[derive(Debug)]
pub(super) enum Event {
    Request { exchange: u64, from: HostId, to: HostId, conn: Option<u64>, bytes: Bytes },
    Answer { exchange: u64, from: HostId, to: HostId, conn: Option<u64>, outcome: Outcome },
    Frame { from: HostId, to: HostId, conn: u64, lane: Lane },
    Gossip { from: HostId, to: HostId, conn: u64, message: Arc<Message>, copy: CopyKind },
    DialArrives { from: HostId, to: HostId, dial: u64, started_ms: u64 },
    DialTimesOut { from: HostId, to: HostId, dial: u64 },
    Redial { from: HostId, to: HostId, dial: u64 },
    KeepAliveEnds { pair: Pair, conn: u64, at: HostId, since_ms: u64 },
    Closed { pair: Pair, conn: u64, at: HostId, reason: &'static str },
}

/// Whether a copy of a gossip message may be dropped as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyKind {
    First,
    /// As if the machine had forgotten that it has seen the message.
    Again,
}

/// One direction between two machines.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub blocked_since_ms: Option<u64>,
    pub held: Vec<Event>,
}

/// Something that waits to enter a machine's incoming queue.
#[derive(Debug)]
pub(super) struct Arrived {
    pub inbound: Inbound,
    /// Where room is made when it has left the network.
    pub credit: Option<Credit>,
}

/// One run of a machine's network.
#[derive(Debug)]
pub(super) struct Run {
    pub id: u64,
    pub inbox: VecDeque<Arrived>,
    pub queue: mpsc::Sender<Inbound>,
    pub ready: Arc<Notify>,
    pub failed: Option<&'static str>,
}

/// A machine as the network knows it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub key: PeerKey,
    pub addr: String,
    pub registry: Registry,
    pub run: Option<Run>,
    pub slowness: u64,
    pub seen: Seen,
}

impl Endpoint {
    pub fn entry(&self, node: NodeId) -> Option<&PeerEntry> {
        self.registry.peers.iter().find(|peer| peer.node == node)
    }

    pub fn entry_by_key(&self, key: &PeerKey) -> Option<&PeerEntry> {
        self.registry.peers.iter().find(|peer| peer.key == *key)
    }
}

pub(super) struct State {
    pub trace: Trace,
    pub rng: Rng,
    pub weather: Weather,
    pub gossip: GossipSwitch,
    /// Requests that never arrive.
    pub losing: Option<fn(&[u8]) -> bool>,
    pub hosts: Vec<Endpoint>,
    pub by_key: BTreeMap<PeerKey, HostId>,
    pub links: BTreeMap<(HostId, HostId), Link>,
    pub conns: BTreeMap<Pair, Conn>,
    pub dials: BTreeMap<(HostId, HostId), Dial>,
    pub exchanges: BTreeMap<u64, Exchange>,
    pub lanes: BTreeMap<(HostId, HostId, Lane), LaneQueue>,
    pub stats: Stats,
    events: BTreeMap<(u64, u64), Event>,
    next_number: u64,
    wake: Arc<Notify>,
}

impl State {
    pub fn new(rng: Rng, trace: Trace, wake: Arc<Notify>) -> Self {
        Self {
            trace,
            rng,
            weather: Weather::fair(),
            gossip: GossipSwitch::On,
            losing: None,
            hosts: Vec::new(),
            by_key: BTreeMap::new(),
            links: BTreeMap::new(),
            conns: BTreeMap::new(),
            dials: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            lanes: BTreeMap::new(),
            stats: Stats::default(),
            events: BTreeMap::new(),
            next_number: 1,
            wake,
        }
    }

    pub fn attach(&mut self, key: PeerKey, addr: String) -> HostId {
        let host = HostId(self.hosts.len());
        self.by_key.insert(key, host);
        self.hosts.push(Endpoint {
            key,
            addr,
            registry: Registry::default(),
            run: None,
            slowness: 1,
            seen: Seen::default(),
        });
        host
    }

    pub fn host(&self, host: HostId) -> &Endpoint {
        &self.hosts[host.0]
    }

    pub fn host_mut(&mut self, host: HostId) -> &mut Endpoint {
        &mut self.hosts[host.0]
    }

    /// A number nobody had before: of connections, dials, exchanges and events.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    pub fn now_ms(&self) -> u64 {
        self.trace.now_ms()
    }

    pub fn schedule(&mut self, at_ms: u64, event: Event) {
        let number = self.number();
        self.events.insert((at_ms, number), event);
        self.wake.notify_one();
    }

    pub fn schedule_in(&mut self, delay_ms: u64, event: Event) {
        self.schedule(self.now_ms() + delay_ms, event);
    }

    /// The next event that is due, or when the next one will be.
    pub fn next_event(&mut self) -> Result<Event, Option<u64>> {
        match self.events.first_key_value() {
            Some((&(at_ms, _), _)) if at_ms <= self.now_ms() => {
                let (_, event) = self.events.pop_first().ok_or(None)?;
                Ok(event)
            }
            Some((&(at_ms, _), _)) => Err(Some(at_ms)),
            None => Err(None),
        }
    }

    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    pub fn set_slowness(&mut self, host: HostId, factor: u64) {
        self.host_mut(host).slowness = factor.max(1);
    }

    /// How long a message is under way.
    pub fn delay_ms(&mut self, from: HostId, to: HostId, len_bytes: usize) -> u64 {
        let weather = &self.weather;
        let mut delay_ms = self.rng.within(weather.delay_min_ms..=weather.delay_max_ms);
        if self.rng.chance(weather.spike_per_mille) {
            delay_ms += self.rng.within(0..=weather.spike_max_ms);
        }
        let slowness = self.host(from).slowness.max(self.host(to).slowness);
        (delay_ms + len_bytes as u64 / BYTES_PER_MS) * slowness
    }

    pub fn is_blocked(&self, from: HostId, to: HostId) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.blocked_since_ms.is_some())
    }

    /// Keeps a message of a blocked direction until it is healed.
    pub fn hold(&mut self, from: HostId, to: HostId, event: Event) {
        let held = &mut self.links.entry((from, to)).or_default().held;
        if held.len() < HELD_MAX {
            held.push(event);
        }
    }

    pub fn is_up(&self, host: HostId) -> bool {
        self.host(host).run.as_ref().is_some_and(|run| run.failed.is_none())
    }

    /// Whether a machine's incoming queue takes another message.
    pub fn has_room(&self, host: HostId) -> bool {
        self.host(host).run.as_ref().is_some_and(|run| {
            let queued = run.queue.max_capacity() - run.queue.capacity();
            run.inbox.len() + queued < INBOUND_CAPACITY
        })
    }

    /// Puts something at the end of a machine's incoming queue.
    pub fn arrive(&mut self, host: HostId, arrived: Arrived) {
        let Some(run) = &mut self.host_mut(host).run else { return };
        run.inbox.push_back(arrived);
        run.ready.notify_one();
        if run.inbox.len() > BACKLOG_MAX {
            self.fail_run(host, "the incoming queue was not emptied");
        }
    }

    /// Takes out what has to enter the queue next; an error ends the run.
    pub fn take_arrived(&mut self, host: HostId, id: u64) -> Result<Option<Inbound>, &'static str> {
        let run = match &mut self.host_mut(host).run {
            Some(run) if run.id == id => run,
            _ => return Err("another run has begun"),
        };
        if let Some(reason) = run.failed {
            return Err(reason);
        }
        let Some(Arrived { inbound, credit }) = run.inbox.pop_front() else { return Ok(None) };
        if let Some(credit) = credit {
            self.credit(host, credit);
        }
        Ok(Some(inbound))
    }

    pub fn listening(&self, host: HostId) -> Vec<String> {
        if self.is_up(host) { vec![self.host(host).addr.clone()] } else { Vec::new() }
    }

    /// The machine that listens at an address.
    pub fn host_at(&self, addr: &str) -> Option<HostId> {
        (0..self.hosts.len()).map(HostId).find(|host| self.host(*host).addr == addr)
    }
}

/// Enough of a payload to tell two apart in the trace.
pub(super) fn fingerprint(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(FINGERPRINT_BYTES)];
    hex::encode(&blake3::hash(head).as_bytes()[..4])
}
