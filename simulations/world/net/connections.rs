//! Connections: made between machines that know each other, kept, noticed to be dead, made again.

use ipfs_kit_actors::ports::{Inbound, Keep, Registry};
use ipfs_kit_core::id::NodeId;

use super::exchange::Failure;
use super::state::{Arrived, Event, State};
use super::{HostId, Outage};

/// How long an unanswered dial takes to fail, in milliseconds.
const DIAL_TIMEOUT_MS: u64 = 5_000;
/// First pause between two dials, in milliseconds.
const BACK_OFF_MIN_MS: u64 = 200;
/// Longest pause between two dials, in milliseconds.
const BACK_OFF_MAX_MS: u64 = 10_000;
/// How long a stalled connection takes to be noticed, at each end for itself, in milliseconds.
const KEEP_ALIVE_MIN_MS: u64 = 6_000;
const KEEP_ALIVE_MAX_MS: u64 = 12_000;

/// Two machines, the lower number first.
pub(super) type Pair = (HostId, HostId);

/// A connection. Its ends close one by one: a crash is noticed later than it happens.
#[derive(Debug)]
pub(super) struct Conn {
    id: u64,
    open: [bool; 2],
    /// What each side calls the other.
    nodes: [NodeId; 2],
}

/// A connection in the making.
#[derive(Debug)]
pub(super) struct Dial {
    id: u64,
    stage: Stage,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    UnderWay,
    BackOff,
}

fn pair(a: HostId, b: HostId) -> Pair {
    (a.min(b), a.max(b))
}

fn side(pair: Pair, host: HostId) -> usize {
    usize::from(pair.1 == host)
}

fn other(pair: Pair, host: HostId) -> HostId {
    if pair.0 == host { pair.1 } else { pair.0 }
}

impl State {
    /// The connection that `from` believes to have to `to`.
    pub fn open_conn(&self, from: HostId, to: HostId) -> Option<u64> {
        let pair = pair(from, to);
        self.conns.get(&pair).filter(|conn| conn.open[side(pair, from)]).map(|conn| conn.id)
    }

    /// All machines to which a machine believes to be connected, in order.
    pub fn peers_of(&self, host: HostId) -> Vec<(HostId, u64)> {
        let peers = (0..self.hosts.len()).map(HostId).filter(|peer| *peer != host);
        peers.filter_map(|peer| Some((peer, self.open_conn(host, peer)?))).collect()
    }

    pub fn connected(&self, host: HostId) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self
            .conns
            .iter()
            .filter(|(pair, _)| pair.0 == host || pair.1 == host)
            .filter(|(pair, conn)| conn.open[side(**pair, host)])
            .map(|(pair, conn)| conn.nodes[side(*pair, host)])
            .collect();
        nodes.sort_unstable();
        nodes
    }

    pub fn set_registry(&mut self, host: HostId, registry: Registry) {
        if self.host(host).registry == registry {
            return;
        }
        let peers = registry.peers.len();
        self.trace.event(format_args!("{host} admits {peers} members"));
        for (peer, conn) in self.peers_of(host) {
            let key = self.host(peer).key;
            if !registry.peers.iter().any(|entry| entry.key == key) {
                self.close_end(pair(host, peer), conn, host, "it was removed from the registry");
                self.notice_later(host, peer, conn);
            }
        }
        self.host_mut(host).registry = registry;
        // Addresses may be new: what waited for its next try tries at once.
        self.dials.retain(|(from, _), dial| *from != host || dial.stage == Stage::UnderWay);
        self.dial_kept(host);
    }

    /// Dials everyone to whom a connection is wanted.
    pub fn dial_kept(&mut self, host: HostId) {
        let kept: Vec<HostId> = (self.host(host).registry.peers.iter())
            .filter(|entry| entry.keep == Keep::Connected)
            .filter_map(|entry| self.by_key.get(&entry.key).copied())
            .filter(|peer| *peer != host)
            .collect();
        for peer in kept {
            self.dial(host, peer);
        }
    }

    /// Begins to connect, unless that is done or under way.
    pub fn dial(&mut self, from: HostId, to: HostId) {
        if !self.is_up(from) || self.open_conn(from, to).is_some() {
            return;
        }
        let failures = match self.dials.get(&(from, to)) {
            Some(dial) if dial.stage == Stage::UnderWay => return,
            Some(dial) => dial.failures,
            None => 0,
        };
        let id = self.number();
        self.dials.insert((from, to), Dial { id, stage: Stage::UnderWay, failures });
        let started_ms = self.now_ms();
        let round_trip_ms = self.delay_ms(from, to, 0) + self.delay_ms(to, from, 0);
        let event = Event::DialArrives { from, to, dial: id, started_ms };
        self.schedule(started_ms + round_trip_ms, event);
    }

    pub fn dial_arrives(&mut self, from: HostId, to: HostId, dial: u64, started_ms: u64) {
        if self.dials.get(&(from, to)).is_none_or(|known| known.id != dial) {
            return;
        }
        if let Some(conn) = self.open_conn(from, to) {
            // The other side was quicker.
            self.dials.remove(&(from, to));
            self.send_unsent(from, to, conn);
            return;
        }
        if self.is_blocked(from, to) || self.is_blocked(to, from) {
            let at_ms = self.now_ms().max(started_ms + DIAL_TIMEOUT_MS);
            self.schedule(at_ms, Event::DialTimesOut { from, to, dial });
            return;
        }
        match self.admission(from, to) {
            Ok(nodes) => self.establish(from, to, nodes),
            Err(failure) => self.dial_failed(from, to, failure),
        }
    }

    pub fn dial_times_out(&mut self, from: HostId, to: HostId, dial: u64) {
        if self.dials.get(&(from, to)).is_some_and(|known| known.id == dial) {
            self.dial_failed(from, to, Failure::unreachable("the dial timed out"));
        }
    }

    pub fn redial(&mut self, from: HostId, to: HostId, dial: u64) {
        if self.dials.get(&(from, to)).is_some_and(|known| known.id == dial) {
            self.dial(from, to);
        }
    }

    /// Whether two machines accept each other, and what each calls the other.
    fn admission(&mut self, from: HostId, to: HostId) -> Result<[NodeId; 2], Failure> {
        let (from_key, to_key) = (self.host(from).key, self.host(to).key);
        let Some(entry) = self.host(from).entry_by_key(&to_key) else {
            return Err(Failure::unreachable("it left the registry"));
        };
        let there = entry.node;
        let at_addrs: Vec<Option<HostId>> =
            entry.addrs.iter().map(|addr| self.host_at(addr)).collect();
        if !at_addrs.contains(&Some(to)) || !self.is_up(to) {
            let stranger = at_addrs.into_iter().flatten().find(|host| *host != to);
            let Some(stranger) = stranger.filter(|host| self.is_up(*host)) else {
                return Err(Failure::unreachable("connection refused"));
            };
            let reason = format!("{} answers at its address", self.host(stranger).key);
            let inbound = Inbound::Mismatch { peer: to_key.to_string(), reason: reason.clone() };
            self.arrive(from, Arrived { inbound, credit: None });
            return Err(Failure::Mismatch(reason));
        }
        match self.host(to).entry_by_key(&from_key) {
            Some(entry) => Ok([there, entry.node]),
            None if self.host(to).registry.removed.contains(&from_key) => {
                let inbound = Inbound::Removed { by: there };
                self.arrive(from, Arrived { inbound, credit: None });
                Err(Failure::unreachable("it says that this node was removed"))
            }
            None => Err(Failure::unreachable("it does not know this node as a member")),
        }
    }

    /// `nodes` are the names of `to` and of `from`, each as the other side knows it.
    fn establish(&mut self, from: HostId, to: HostId, nodes: [NodeId; 2]) {
        let pair = pair(from, to);
        if let Some(old) = self.conns.get(&pair).map(|conn| conn.id) {
            self.close_end(pair, old, to, "replaced by a new connection");
        }
        self.dials.remove(&(from, to));
        self.dials.remove(&(to, from));
        let id = self.number();
        let nodes = if side(pair, from) == 0 { nodes } else { [nodes[1], nodes[0]] };
        self.conns.insert(pair, Conn { id, open: [true, true], nodes });
        self.stats.connections += 1;
        self.trace.event(format_args!("{from}={to} connected c{id}"));
        for (host, node) in [(pair.0, nodes[0]), (pair.1, nodes[1])] {
            self.arrive(host, Arrived { inbound: Inbound::Connected { node }, credit: None });
        }
        self.send_unsent(from, to, id);
        self.send_unsent(to, from, id);
    }

    fn dial_failed(&mut self, from: HostId, to: HostId, failure: Failure) {
        let failures = self.dials.remove(&(from, to)).map_or(0, |dial| dial.failures);
        self.trace.event(format_args!("{from}>{to} dial failed: {failure:?}"));
        self.end_where(|e| e.from == from && e.to == to && e.unsent.is_some(), &failure);
        self.plan_redial(from, to, failures + 1);
    }

    fn plan_redial(&mut self, from: HostId, to: HostId, failures: u32) {
        let key = self.host(to).key;
        let keep = self.host(from).entry_by_key(&key).map(|entry| entry.keep);
        if keep != Some(Keep::Connected) || !self.is_up(from) {
            return;
        }
        let pause_ms = (BACK_OFF_MIN_MS << failures.min(6)).min(BACK_OFF_MAX_MS);
        let pause_ms = self.rng.within(pause_ms / 2..=pause_ms);
        let id = self.number();
        self.dials.insert((from, to), Dial { id, stage: Stage::BackOff, failures });
        self.schedule_in(pause_ms, Event::Redial { from, to, dial: id });
    }

    /// One end learns that the connection is gone.
    pub fn close_end(&mut self, pair: Pair, id: u64, at: HostId, reason: &str) {
        let side = side(pair, at);
        let Some(conn) = self.conns.get_mut(&pair).filter(|c| c.id == id && c.open[side]) else {
            return;
        };
        conn.open[side] = false;
        let (node, is_gone) = (conn.nodes[side], conn.open == [false, false]);
        if is_gone {
            self.conns.remove(&pair);
        }
        let peer = other(pair, at);
        self.trace.event(format_args!("{at}|{peer} disconnected c{id}: {reason}"));
        self.drop_lanes(at, peer);
        self.end_where(|e| e.from == at && e.conn == Some(id), &Failure::broken(reason));
        let inbound = Inbound::Disconnected { node, reason: reason.to_owned() };
        self.arrive(at, Arrived { inbound, credit: None });
        self.plan_redial(at, peer, 0);
    }

    /// Both ends learn at once that their connection is gone.
    pub fn cut_between(&mut self, a: HostId, b: HostId, reason: &str) {
        let pair = pair(a, b);
        if let Some(id) = self.conns.get(&pair).map(|conn| conn.id) {
            self.close_end(pair, id, pair.0, reason);
            self.close_end(pair, id, pair.1, reason);
        }
    }

    pub fn cut(&mut self, host: HostId, reason: &str) {
        for peer in (0..self.hosts.len()).map(HostId).filter(|peer| *peer != host) {
            self.cut_between(host, peer, reason);
        }
    }

    /// The other end of a connection that `host` closed notices, as soon as a packet gets there.
    fn notice_later(&mut self, host: HostId, peer: HostId, conn: u64) {
        let reason = "the other side closed the connection";
        let delay_ms = if self.is_blocked(host, peer) {
            self.rng.within(KEEP_ALIVE_MIN_MS..=KEEP_ALIVE_MAX_MS)
        } else {
            self.delay_ms(host, peer, 0)
        };
        let event = Event::Closed { pair: pair(host, peer), conn, at: peer, reason };
        self.schedule_in(delay_ms, event);
    }

    pub fn block(&mut self, from: HostId, to: HostId) {
        let now_ms = self.now_ms();
        let link = self.links.entry((from, to)).or_default();
        if link.blocked_since_ms.is_some() {
            return;
        }
        link.blocked_since_ms = Some(now_ms);
        let pair = pair(from, to);
        let Some(conn) = self.conns.get(&pair).map(|conn| conn.id) else { return };
        for at in [pair.0, pair.1] {
            let after_ms = self.rng.within(KEEP_ALIVE_MIN_MS..=KEEP_ALIVE_MAX_MS);
            self.schedule_in(after_ms, Event::KeepAliveEnds { pair, conn, at, since_ms: now_ms });
        }
    }

    pub fn keep_alive_ends(&mut self, pair: Pair, conn: u64, at: HostId, since_ms: u64) {
        let stalled = [pair, (pair.1, pair.0)].iter().any(|direction| {
            let link = self.links.get(direction);
            link.and_then(|link| link.blocked_since_ms).is_some_and(|ms| ms <= since_ms)
        });
        if stalled {
            self.close_end(pair, conn, at, "no sign of life");
            // The other end may have been spared by the partition's end: it hears of this one's.
            self.notice_later(at, other(pair, at), conn);
        }
    }

    pub fn heal(&mut self) {
        for ((from, to), link) in std::mem::take(&mut self.links) {
            for event in link.held {
                if let Event::Frame { conn, lane, .. } = event {
                    self.schedule_frame(from, to, conn, lane, 0);
                } else {
                    let delay_ms = self.delay_ms(from, to, 0);
                    self.schedule_in(delay_ms, event);
                }
            }
        }
    }

    pub fn set_addr(&mut self, host: HostId, addr: String) {
        self.trace.event(format_args!("fault {host} moves to {addr}"));
        self.host_mut(host).addr = addr;
        self.cut(host, "the address is gone");
    }

    pub fn crash(&mut self, host: HostId, outage: Outage) {
        self.trace.event(format_args!("fault {host} goes down: {outage:?}"));
        self.end_run(host, outage);
        let endpoint = self.host_mut(host);
        endpoint.registry = Registry::default();
        endpoint.seen = super::gossip::Seen::default();
    }

    pub fn fail_run(&mut self, host: HostId, reason: &'static str) {
        if let Some(run) = &mut self.host_mut(host).run
            && run.failed.is_none()
        {
            run.failed = Some(reason);
            run.ready.notify_one();
            self.trace.event(format_args!("fault {host} network fails: {reason}"));
        }
    }

    /// The machine's side of everything is gone; the others notice in their time.
    pub fn end_run(&mut self, host: HostId, outage: Outage) {
        if self.host_mut(host).run.take().is_none() {
            return;
        }
        self.end_where(|e| e.from == host, &Failure::broken("the network of this node went down"));
        self.dials.retain(|(from, _), _| *from != host);
        for (peer, conn) in self.peers_of(host) {
            let pair = pair(host, peer);
            self.close_end(pair, conn, host, "its network ended");
            match outage {
                Outage::Process => self.notice_later(host, peer, conn),
                Outage::Power => {
                    let after_ms = self.rng.within(KEEP_ALIVE_MIN_MS..=KEEP_ALIVE_MAX_MS);
                    let reason = "no sign of life";
                    self.schedule_in(after_ms, Event::Closed { pair, conn, at: peer, reason });
                }
            }
        }
    }
}
