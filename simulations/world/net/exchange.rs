//! Questions under way and their answers: calls, joins and probes.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::state::{Event, State};
use super::{HostId, SimNetwork};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Unreachable(String),
    Mismatch(String),
    Busy,
    Broken(String),
    Timeout,
}

impl Failure {
    pub fn unreachable(reason: &str) -> Self {
        Self::Unreachable(reason.to_owned())
    }

    pub fn broken(reason: &str) -> Self {
        Self::Broken(reason.to_owned())
    }

    pub fn reason(self) -> String {
        match self {
            Self::Unreachable(reason) | Self::Mismatch(reason) | Self::Broken(reason) => reason,
            Self::Busy => "it is busy".to_owned(),
            Self::Timeout => "no answer in time".to_owned(),
        }
    }
}

pub(super) type Outcome = Result<Bytes, Failure>;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Join,
    Probe,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub kind: Kind,
    pub from: HostId,
    pub to: HostId,
    /// The connection that carries it; joins and probes have one of their own.
    pub conn: Option<u64>,
    /// A request that waits for a connection.
    pub unsent: Option<Bytes>,
    pub done: oneshot::Sender<Outcome>,
}

/// The asking side of a question.
pub(super) struct Pending {
    id: u64,
    outcome: oneshot::Receiver<Outcome>,
}

/// Forgets the question when nobody waits for it any more.
struct Cancel<'a> {
    net: &'a SimNetwork,
    id: u64,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        self.net.state().exchanges.remove(&self.id);
    }
}

/// Waits for the answer.
pub(super) async fn finish(
    net: &SimNetwork,
    pending: Result<Pending, Failure>,
    deadline: Duration,
) -> Outcome {
    let Pending { id, outcome } = pending?;
    let _cancel = Cancel { net, id };
    match tokio::time::timeout(deadline, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::broken("the network of this node went down")),
        Err(_) => Err(Failure::Timeout),
    }
}

impl State {
    pub fn begin(
        &mut self,
        kind: Kind,
        from: HostId,
        to: HostId,
        unsent: Option<Bytes>,
    ) -> (u64, Pending) {
        let id = self.number();
        let (done, outcome) = oneshot::channel();
        self.exchanges.insert(id, Exchange { kind, from, to, conn: None, unsent, done });
        (id, Pending { id, outcome })
    }

    /// Ends a question; the asking side may have given up.
    pub fn end(&mut self, id: u64, outcome: Outcome) {
        if let Some(exchange) = self.exchanges.remove(&id) {
            let _ = exchange.done.send(outcome);
        }
    }

    /// Ends all questions of a machine that a condition names.
    pub fn end_where(&mut self, which: impl Fn(&Exchange) -> bool, failure: &Failure) {
        let ids: Vec<u64> =
            self.exchanges.iter().filter(|(_, e)| which(e)).map(|(id, _)| *id).collect();
        for id in ids {
            self.end(id, Err(failure.clone()));
        }
    }

    /// Sends an answer back; `from` is who answers.
    pub fn answer(
        &mut self,
        exchange: u64,
        from: HostId,
        to: HostId,
        conn: Option<u64>,
        outcome: Outcome,
    ) {
        if let Some(conn) = conn {
            if self.open_conn(from, to) != Some(conn) {
                return;
            }
            if self.rng.chance(self.weather.loss_per_mille) {
                self.stats.calls_lost += 1;
                self.trace.event(format_args!("{from}>{to} answer #{exchange} lost"));
                return;
            }
        }
        let len_bytes = outcome.as_ref().map_or(0, Bytes::len);
        let delay_ms = self.delay_ms(from, to, len_bytes);
        self.schedule_in(delay_ms, Event::Answer { exchange, from, to, conn, outcome });
    }

    pub fn answer_arrives(
        &mut self,
        exchange: u64,
        from: HostId,
        to: HostId,
        conn: Option<u64>,
        outcome: Outcome,
    ) {
        if self.is_blocked(from, to) {
            self.hold(from, to, Event::Answer { exchange, from, to, conn, outcome });
            return;
        }
        if conn.is_some() && self.open_conn(to, from) != conn {
            return;
        }
        match &outcome {
            Ok(bytes) => {
                self.stats.bytes += bytes.len() as u64;
                let (len, print) = (bytes.len(), super::state::fingerprint(bytes));
                self.trace.event(format_args!("{from}>{to} answer #{exchange} {len}B {print}"));
            }
            Err(failure) => {
                self.trace.event(format_args!("{from}>{to} answer #{exchange} {failure:?}"));
            }
        }
        self.end(exchange, outcome);
    }
}
