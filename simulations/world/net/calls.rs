//! Calls between members, and the two things that a node may ask before it is one: joining, and being
//! probed.

use bytes::Bytes;
use ipfs_kit_actors::ports::Inbound;
use ipfs_kit_core::id::{NodeId, PeerKey};
use ipfs_kit_core::limits;
use tokio::sync::oneshot;

use super::courier::Watch;
use super::exchange::{Failure, Kind, Pending};
use super::state::{Arrived, Event, State, fingerprint};
use super::{CALLS_PER_PEER_MAX, HostId};

impl State {
    pub fn call(&mut self, from: HostId, node: NodeId, request: Bytes) -> Result<Pending, Failure> {
        if request.len() > limits::REQUEST_BYTES_MAX {
            return Err(Failure::broken("the request is larger than allowed"));
        }
        if !self.is_up(from) {
            return Err(Failure::unreachable("the network of this node is down"));
        }
        let entry = self.host(from).entry(node);
        let to = entry.and_then(|entry| self.by_key.get(&entry.key)).copied();
        let to = to.ok_or_else(|| Failure::unreachable("it is not in the registry"))?;
        if to == from {
            return Err(Failure::unreachable("it is this node itself"));
        }
        let under_way = self.exchanges.values().filter(|e| e.from == from && e.to == to).count();
        if under_way >= CALLS_PER_PEER_MAX {
            return Err(Failure::Busy);
        }
        let (id, pending) = self.begin(Kind::Call, from, to, Some(request));
        match self.open_conn(from, to) {
            Some(conn) => self.send_request(id, conn),
            None => self.dial(from, to),
        }
        Ok(pending)
    }

    /// Sends what waited for a connection.
    pub fn send_unsent(&mut self, from: HostId, to: HostId, conn: u64) {
        let waiting: Vec<u64> = self
            .exchanges
            .iter()
            .filter(|(_, e)| e.from == from && e.to == to && e.unsent.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.send_request(id, conn);
        }
    }

    fn send_request(&mut self, id: u64, conn: u64) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let Some(bytes) = exchange.unsent.take() else { return };
        let (from, to) = (exchange.from, exchange.to);
        exchange.conn = Some(conn);
        if self.rng.chance(self.weather.cut_per_mille) {
            self.cut_between(from, to, "the connection was reset");
            return;
        }
        let is_losing = self.losing.is_some_and(|loses| loses(&bytes));
        if is_losing || self.rng.chance(self.weather.loss_per_mille) {
            self.stats.calls_lost += 1;
            self.trace.event(format_args!("{from}>{to} call #{id} lost"));
            return;
        }
        let delay_ms = self.delay_ms(from, to, bytes.len());
        let conn = Some(conn);
        self.schedule_in(delay_ms, Event::Request { exchange: id, from, to, conn, bytes });
    }

    /// Asks for admission at an address.
    pub fn join(
        &mut self,
        from: HostId,
        addr: &str,
        expected: PeerKey,
        request: Bytes,
    ) -> Result<Pending, Failure> {
        if request.len() > limits::JOIN_BYTES_MAX {
            return Err(Failure::Mismatch("the request is larger than allowed".to_owned()));
        }
        Ok(self.knock(Kind::Join, from, addr, expected, request))
    }

    /// Sees whether a peer answers at an address.
    pub fn probe(&mut self, from: HostId, key: PeerKey, addr: &str) -> Pending {
        self.knock(Kind::Probe, from, addr, key, Bytes::new())
    }

    fn knock(
        &mut self,
        kind: Kind,
        from: HostId,
        addr: &str,
        expected: PeerKey,
        bytes: Bytes,
    ) -> Pending {
        // Nobody at the address: the asking machine's own system says so.
        let to = self.host_at(addr).unwrap_or(from);
        let (exchange, pending) = self.begin(kind, from, to, None);
        let refused = if to == from || !self.is_up(to) {
            Some(Failure::unreachable("connection refused"))
        } else if self.host(to).key != expected {
            let found = self.host(to).key;
            Some(Failure::Mismatch(format!("it proves to be {found}, not {expected}")))
        } else {
            None
        };
        let round_trip_ms = self.delay_ms(from, to, 0) + self.delay_ms(to, from, 0);
        let event = match refused {
            Some(failure) => {
                Event::Answer { exchange, from: to, to: from, conn: None, outcome: Err(failure) }
            }
            None => Event::Request { exchange, from, to, conn: None, bytes },
        };
        self.schedule_in(round_trip_ms, event);
        pending
    }

    pub fn request_arrives(
        &mut self,
        exchange: u64,
        from: HostId,
        to: HostId,
        conn: Option<u64>,
        bytes: Bytes,
    ) -> Option<Watch> {
        if self.is_blocked(from, to) {
            self.hold(from, to, Event::Request { exchange, from, to, conn, bytes });
            return None;
        }
        if !self.is_up(to) || (conn.is_some() && self.open_conn(to, from) != conn) {
            return None;
        }
        // A caller that has given up meanwhile is no reason not to deliver: the callee can't know.
        let kind = self.exchanges.get(&exchange).map_or(Kind::Call, |e| e.kind);
        if kind == Kind::Probe {
            self.answer(exchange, to, from, conn, Ok(Bytes::new()));
            return None;
        }
        if !self.has_room(to) {
            self.stats.calls_busy += 1;
            self.answer(exchange, to, from, conn, Err(Failure::Busy));
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let (len, print) = (bytes.len(), fingerprint(&bytes));
        let key = self.host(from).key;
        let inbound = if conn.is_some() {
            let Some(node) = self.host(to).entry_by_key(&key).map(|entry| entry.node) else {
                self.answer(exchange, to, from, conn, Err(Failure::broken("it is no member")));
                return None;
            };
            self.trace.event(format_args!("{from}>{to} call #{exchange} {len}B {print}"));
            Inbound::Call { from: node, request: bytes, reply }
        } else {
            self.trace.event(format_args!("{from}>{to} join #{exchange} {len}B {print}"));
            Inbound::Join { from: key, request: bytes, reply }
        };
        self.stats.calls += 1;
        self.stats.bytes += len as u64;
        self.arrive(to, Arrived { inbound, credit: None });
        Some(Watch::Answer { exchange, from: to, to: from, conn, answer })
    }

    /// What a machine answered, or that it dropped the question.
    pub fn answered(
        &mut self,
        exchange: u64,
        from: HostId,
        to: HostId,
        conn: Option<u64>,
        answer: Option<Bytes>,
    ) {
        let outcome = match answer {
            None => Err(Failure::Busy),
            Some(bytes) if bytes.len() > limits::RESPONSE_BYTES_MAX => {
                Err(Failure::broken("the answer is larger than allowed"))
            }
            Some(bytes) => Ok(bytes),
        };
        self.answer(exchange, from, to, conn, outcome);
    }
}
