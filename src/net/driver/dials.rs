//! Dials: for kept links, on demand, to join, to probe; and what their failures mean.

use std::error::Error;

use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError as SwarmDialError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Driver, Report};
use crate::addr::NetAddr;
use crate::admission::DialTo;
use crate::error::{ConnectError, DialError, JoinError};
use crate::event::Event;
use crate::handle::JoinWish;
use crate::identity::PeerKey;
use crate::join::{self, JoinAnswer};
use crate::redial::Retry;
use crate::registry::MAX_ADDRS_PER_PEER;
use crate::streams::Proto;

/// Callers that wait for one peer's connection.
const MAX_WAITERS: usize = 256;

/// What a dial is for.
pub(super) enum Purpose {
    Keep { peer: PeerKey, addrs: Vec<NetAddr> },
    Connect { peer: PeerKey, addrs: Vec<NetAddr> },
    Join(JoinWish),
    Probe { addr: NetAddr, expected: PeerKey, done: oneshot::Sender<Result<(), DialError>> },
}

impl Driver {
    pub(super) fn dial_due(&mut self, now: Instant) {
        for due in self.redial.due(now) {
            self.dial_member(due.peer, due.addrs, |peer, addrs| Purpose::Keep { peer, addrs });
        }
    }

    pub(super) fn connect(
        &mut self,
        peer: PeerKey,
        done: oneshot::Sender<Result<(), ConnectError>>,
    ) {
        let Some(entry) = self.registry.members.get(&peer) else {
            let _ = done.send(Err(ConnectError::NotRegistered)); // The asker may have gone.
            return;
        };
        if self.peers.contains_key(&peer) {
            let _ = done.send(Ok(()));
            return;
        }
        let addrs = entry.addrs.clone();
        let waiters = self.waiters.entry(peer).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        if waiters.len() >= MAX_WAITERS {
            let _ = done.send(Err(ConnectError::Lost));
            return;
        }
        waiters.push(done);
        let dialling = self.dials.values().any(|purpose| match purpose {
            Purpose::Keep { peer: to, .. } | Purpose::Connect { peer: to, .. } => *to == peer,
            Purpose::Join(_) | Purpose::Probe { .. } => false,
        });
        let greeting = self.conns.values().any(|conn| conn.peer == peer && conn.wanted);
        if !dialling && !greeting {
            self.dial_member(peer, addrs, |peer, addrs| Purpose::Connect { peer, addrs });
        }
    }

    pub(super) fn resolve_waiters(&mut self, peer: &PeerKey, result: Result<(), ConnectError>) {
        for waiter in self.waiters.remove(peer).unwrap_or_default() {
            let _ = waiter.send(result.clone()); // The asker may have gone.
        }
    }

    pub(super) fn probe(
        &mut self,
        addr: NetAddr,
        expected: PeerKey,
        done: oneshot::Sender<Result<(), DialError>>,
    ) {
        let opts = DialOpts::peer_id(expected.to_peer_id())
            .condition(PeerCondition::Always)
            .addresses(vec![addr.to_multiaddr()])
            .allocate_new_port()
            .build();
        self.dial(opts, DialTo::Anyone, Purpose::Probe { addr, expected, done });
    }

    pub(super) fn join(&mut self, wish: JoinWish) {
        let addr = wish.addr.to_multiaddr();
        let opts = match wish.expected {
            Some(expected) => DialOpts::peer_id(expected.to_peer_id())
                .condition(PeerCondition::Always)
                .addresses(vec![addr])
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id().address(addr).allocate_new_port().build(),
        };
        self.dial(opts, DialTo::Anyone, Purpose::Join(wish));
    }

    /// Runs a join on the connection that was dialled for it.
    pub(super) fn start_join(&mut self, connection_id: ConnectionId, wish: JoinWish) {
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        conn.joins = conn.joins.saturating_add(1);
        let (reply, opened) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(conn.peer_id, connection_id, Proto::Join, reply);
        let (from, cluster_id) = (conn.peer, self.hello.cluster_id);
        let limit = std::time::Duration::from_millis(self.limits.join.guest_ms);
        let reports = self.reports.0.clone();
        self.tasks.spawn(async move {
            let JoinWish { addr, request, done, .. } = wish;
            let lost = |detail: String| JoinError::Lost { detail };
            let asked = async {
                let mut stream = opened
                    .await
                    .map_err(|_| lost("the connection is gone".to_owned()))?
                    .map_err(|error| lost(error.to_string()))?;
                join::ask(&mut stream, cluster_id, &addr, &request, limit).await
            };
            let answer = asked.await.map(|answer| JoinAnswer { from, answer });
            let _ = done.send(answer); // The asker may have gone.
            drop(reports.send(Report::JoinEnded { connection_id }).await);
        });
    }

    fn dial_member(
        &mut self,
        peer: PeerKey,
        mut addrs: Vec<NetAddr>,
        purpose: impl FnOnce(PeerKey, Vec<NetAddr>) -> Purpose,
    ) {
        addrs.truncate(MAX_ADDRS_PER_PEER);
        let opts = DialOpts::peer_id(peer.to_peer_id())
            .condition(PeerCondition::NotDialing)
            .addresses(addrs.iter().map(NetAddr::to_multiaddr).collect())
            // From the listening port, two members that dial each other at once would meet in one
            // TCP connection that both hold for their own.
            .allocate_new_port()
            .build();
        self.dial(opts, DialTo::Member, purpose(peer, addrs));
    }

    fn dial(&mut self, opts: DialOpts, to: DialTo, purpose: Purpose) {
        let connection_id = opts.connection_id();
        self.swarm.behaviour_mut().admission.expect_dial(connection_id, to);
        self.dials.insert(connection_id, purpose);
        if let Err(error) = self.swarm.dial(opts) {
            self.on_dial_failed(connection_id, &error);
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection_id: ConnectionId, error: &SwarmDialError) {
        let Some(purpose) = self.dials.remove(&connection_id) else { return };
        match purpose {
            Purpose::Keep { peer, addrs } => {
                let errors = dial_errors(error, Some(peer), &addrs);
                self.on_kept_dial_failed(peer, errors);
            }
            Purpose::Connect { peer, addrs } => {
                let errors = dial_errors(error, Some(peer), &addrs);
                self.resolve_waiters(&peer, Err(ConnectError::Dial { errors }));
            }
            Purpose::Join(wish) => {
                let source =
                    first(dial_errors(error, wish.expected, std::slice::from_ref(&wish.addr)));
                let _ = wish.done.send(Err(JoinError::Dial { source })); // It may have gone.
            }
            Purpose::Probe { addr, expected, done } => {
                let source = first(dial_errors(error, Some(expected), &[addr]));
                let _ = done.send(Err(source)); // The asker may have gone.
            }
        }
    }

    fn on_kept_dial_failed(&mut self, peer: PeerKey, errors: Vec<DialError>) {
        if let Some(failed) = self.redial.failed(&peer, Retry::Backoff, Instant::now()) {
            if failed.look_up {
                self.look_up(&peer);
            }
            let failures = failed.failures;
            self.tell(Event::DialFailed { peer, failures, errors: errors.clone() });
        }
        self.resolve_waiters(&peer, Err(ConnectError::Dial { errors }));
    }
}

fn first(errors: Vec<DialError>) -> DialError {
    errors.into_iter().next().unwrap_or(DialError::NoAddress)
}

/// The swarm's error in our terms, one for each of the `dialled` addresses.
fn dial_errors(
    error: &SwarmDialError,
    expected: Option<PeerKey>,
    dialled: &[NetAddr],
) -> Vec<DialError> {
    let shown = |addr: &Multiaddr| {
        let only = || dialled.first().cloned();
        NetAddr::from_multiaddr(addr).or_else(only).unwrap_or_else(unknown_addr)
    };
    let refused = |detail: String| vec![DialError::Refused { detail }];
    match error {
        SwarmDialError::Transport(errors) => errors
            .iter()
            .map(|(addr, error)| DialError::Unreachable {
                addr: shown(addr),
                detail: transport_detail(error),
            })
            .collect(),
        SwarmDialError::NoAddresses if dialled.is_empty() => vec![DialError::NoAddress],
        // The swarm leaves out the addresses that this node itself listens on.
        SwarmDialError::NoAddresses => {
            dialled.iter().map(|addr| DialError::OwnIdentity { addr: addr.clone() }).collect()
        }
        SwarmDialError::LocalPeerId { address } => {
            vec![DialError::OwnIdentity { addr: shown(address) }]
        }
        SwarmDialError::WrongPeerId { obtained, address } => match expected {
            Some(expected) => vec![DialError::WrongPeer {
                addr: shown(address),
                expected,
                found: obtained.to_base58(),
            }],
            None => refused(format!("{obtained} answered")),
        },
        SwarmDialError::Denied { cause } => refused(root_cause(cause)),
        SwarmDialError::DialPeerConditionFalse(_) => refused("a dial is under way".to_owned()),
        SwarmDialError::Aborted => refused("the dial was aborted".to_owned()),
    }
}

/// Stands for an address that is no `host:port`; none is ever dialled.
fn unknown_addr() -> NetAddr {
    std::net::SocketAddr::from(([0, 0, 0, 0], 0)).into()
}

fn transport_detail(error: &TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "not an address to dial".to_owned(),
        TransportError::Other(error) => root_cause(error),
    }
}

/// The innermost error, which is the one that tells something.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
