//! The hello in the life of a connection: who says it, who hears it, what follows.

use std::future::ready;
use std::sync::PoisonError;

use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::conns::{Class, HelloTask, State};
use super::{Driver, Report};
use crate::error::{ConnectError, HelloError};
use crate::event::{Direction, DownReason, Event, RefusedBy};
use crate::hello::{self, Hello, Standing};
use crate::links::Opener;
use crate::redial::Retry;
use crate::streams::{Inbound, Proto};

impl Driver {
    pub(super) fn say_hello(&mut self, connection_id: ConnectionId) {
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        if let State::Greeting { hello, .. } = &mut conn.state {
            *hello = HelloTask::Running;
        }
        let (reply, opened) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(conn.peer_id, connection_id, Proto::Hello, reply);
        let (ours, limit, reports) = (self.hello, self.timing.hello(), self.reports.0.clone());
        self.tasks.spawn(async move {
            let result = match opened.await {
                Ok(Ok(mut stream)) => hello::say(&mut stream, ours, limit).await,
                Ok(Err(error)) => Err(HelloError::Lost { detail: error.to_string() }),
                Err(_) => Err(HelloError::Lost { detail: "the connection is gone".to_owned() }),
            };
            let report = Report::Hello { connection_id, result, by: RefusedBy::Them };
            drop(reports.send(report).await); // Without a driver there is nobody to tell.
        });
    }

    pub(super) fn hear_hello(&mut self, inbound: Inbound) {
        let connection_id = inbound.connection_id;
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        if matches!(conn.state, State::Ready) {
            self.answer_sign_of_life(inbound.stream);
            return;
        }
        let State::Greeting { hello: hello @ HelloTask::NotStarted, .. } = &mut conn.state else {
            return;
        };
        if conn.direction == Direction::Outbound {
            return;
        }
        if let (Class::Guest, Some(ip)) = (conn.class, conn.ip) {
            // A stranger's hello costs as much as a join request.
            let mut rate = self.inlets.joins.rate.lock().unwrap_or_else(PoisonError::into_inner);
            if rate.admit(ip.into(), Instant::now()).is_err() {
                drop(rate);
                self.close(connection_id, DownReason::Idle);
                return;
            }
        }
        *hello = HelloTask::Running;
        let standing = match conn.class {
            Class::Guest if self.registry.removed.contains(&conn.peer) => Standing::Removed,
            Class::Guest => Standing::Stranger,
            Class::Member => {
                Standing::Member { newest: self.peers.get(&conn.peer).map(|p| p.incarnation) }
            }
        };
        let mut stream = inbound.stream;
        let (ours, limit, reports) = (self.hello, self.timing.hello(), self.reports.0.clone());
        let rival = Opener { peer: conn.peer, wishes: self.wishes.0.clone() };
        self.tasks.spawn(async move {
            let rival_answers = async {
                let Ok(mut stream) = rival.open(Proto::Hello).await else { return false };
                hello::say(&mut stream, ours, limit).await.is_ok()
            };
            let result = hello::hear(&mut stream, ours, standing, rival_answers, limit).await;
            let by = match &result {
                Err(HelloError::TimedOut | HelloError::Lost { .. }) => RefusedBy::Them,
                _ => RefusedBy::Us,
            };
            let report = Report::Hello { connection_id, result, by };
            drop(reports.send(report).await); // Without a driver there is nobody to tell.
        });
    }

    /// A member that is connected says hello once more: another start has this node's identity, and
    /// the member wants to know whether this one still lives.
    fn answer_sign_of_life(&self, mut stream: Stream) {
        let (ours, limit) = (self.hello, self.timing.hello());
        self.tasks.spawn(async move {
            let standing = Standing::Member { newest: None };
            let heard = hello::hear(&mut stream, ours, standing, ready(false), limit).await;
            tracing::debug!(?heard, "asked for a sign of life");
        });
    }

    pub(super) fn on_hello(
        &mut self,
        connection_id: ConnectionId,
        result: Result<Hello, HelloError>,
        by: RefusedBy,
    ) {
        let Some(conn) = self.conns.get(&connection_id) else { return };
        if let State::Ready | State::Closing = conn.state {
            return;
        }
        let closed = matches!(conn.state, State::Closed);
        let newest = self.peers.get(&conn.peer).map(|peer| peer.incarnation);
        let (result, by) = match (result, newest) {
            // The dialling end judges the other's incarnation here, where it is known.
            (Ok(theirs), Some(newest)) if theirs.incarnation < newest => {
                (Err(HelloError::StaleIncarnation { newest }), RefusedBy::Us)
            }
            (result, _) => (result, by),
        };
        match result {
            Ok(theirs) if !closed => self.on_ready(connection_id, theirs.incarnation),
            Ok(_) => self.on_lost_greeting(connection_id),
            Err(error) => self.on_refused(connection_id, by, error),
        }
    }

    pub(super) fn on_refused(
        &mut self,
        connection_id: ConnectionId,
        by: RefusedBy,
        error: HelloError,
    ) {
        let Some(conn) = self.conns.get(&connection_id) else { return };
        let (peer, wanted, closed) = (conn.peer, conn.wanted, matches!(conn.state, State::Closed));
        let addr = conn.addr.clone();
        let retry = match &error {
            // One that was removed says so to its owner, who ends it: not yet heard, it is said again soon.
            HelloError::NotRegistered
            | HelloError::Removed
            | HelloError::TimedOut
            | HelloError::Lost { .. } => Retry::Backoff,
            _ => Retry::Slowly,
        };
        self.tell(Event::HelloRefused { peer, addr, by, error: error.clone() });
        if wanted {
            self.redial.failed(&peer, retry, Instant::now());
            self.resolve_waiters(&peer, Err(ConnectError::Hello { source: error }));
        }
        match closed {
            true => self.forget(connection_id),
            false => self.close(connection_id, DownReason::ClosedByPeer),
        }
    }

    /// A connection that ended before its hello brought anything to report.
    pub(super) fn on_lost_greeting(&mut self, connection_id: ConnectionId) {
        let Some(conn) = self.conns.get(&connection_id) else { return };
        let (peer, wanted) = (conn.peer, conn.wanted);
        self.forget(connection_id);
        if wanted {
            self.redial.failed(&peer, Retry::Backoff, Instant::now());
            self.resolve_waiters(&peer, Err(ConnectError::Lost));
        }
    }
}
