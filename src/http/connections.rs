//! The API's connections: bounded in number, and none that only waits keeps anybody out.
//!
//! A connection works while one of its requests is being answered; otherwise it waits. When all seats
//! are taken, the connection that has waited longest makes room for the next one. While all of them
//! work, new ones wait in the kernel's queue. So neither clients that connect and say nothing nor those
//! that send a request byte by byte can lock out others, however many they are.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listener::{Connection, Listener};

/// What the connections of an API may take.
#[derive(Clone, Copy)]
struct Bounds {
    /// Connections at a time.
    connections_max: usize,
    /// How long the head of a request may take, and how long a connection may wait for the next one.
    head_wait: Duration,
}

/// Connections to the API at a time.
pub(super) const CONNECTIONS_MAX: usize = 256;
const BOUNDS: Bounds =
    Bounds { connections_max: CONNECTIONS_MAX, head_wait: Duration::from_secs(30) };

/// Serves until `stop` completes, then lets the requests in flight finish. Dropping the future ends them.
pub async fn serve(listener: Listener, router: Router, stop: impl Future<Output = ()>) {
    serve_within(BOUNDS, listener, router, stop).await;
}

async fn serve_within(
    bounds: Bounds,
    mut listener: Listener,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let seats = Arc::new(Seats::new(bounds.connections_max));
    let stopping = CancellationToken::new();
    let mut served = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let connection = listener.accept().await;
            (connection, seats.take().await)
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            (connection, seat) = next => {
                let router = router.clone();
                served.spawn(attend(connection, seat, router, bounds.head_wait, stopping.clone()));
            }
        }
        while let Some(ended) = served.try_join_next() {
            report(ended);
        }
    }
    drop(listener);
    stopping.cancel();
    while let Some(ended) = served.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of the API ended unexpectedly");
    }
}

/// One connection from its first byte to its last.
async fn attend(
    connection: Connection,
    seat: Seat,
    router: Router,
    head_wait: Duration,
    stopping: CancellationToken,
) {
    let sent_away = seat.sent_away.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let turn = seat.turn();
        let answer = router.call(request);
        async move {
            let response: Response = answer.await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Answer { body, _turn: turn })))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_wait)
        .serve_connection(TokioIo::new(connection), service);
    let mut serving = pin!(serving);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            () = sent_away.cancelled() => return,
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection of the API broke off");
                }
                return;
            }
            () = stopping.cancelled(), if !is_stopping => {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The seats of all connections.
struct Seats {
    max: usize,
    table: Mutex<Table>,
    /// A seat was given back, or its connection has begun to wait.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    /// Number of the next seat or wait.
    next: u64,
    taken: BTreeMap<u64, Taken>,
    /// Seats whose connection waits, in the order in which they began to.
    waiting: BTreeMap<u64, u64>,
}

struct Taken {
    /// Requests that are being answered.
    turns: usize,
    /// The key under which it waits.
    waits: Option<u64>,
    sent_away: CancellationToken,
}

/// The place of one connection.
struct Seat {
    seats: Arc<Seats>,
    number: u64,
    sent_away: CancellationToken,
}

/// A request that is being answered.
struct Turn {
    seats: Arc<Seats>,
    seat: u64,
}

impl Seats {
    fn new(max: usize) -> Self {
        Self { max, table: Mutex::default(), changed: Notify::new() }
    }

    /// Takes a seat. If there is none, whoever has waited longest is sent away; if nobody waits, this
    /// lasts until somebody does or leaves.
    async fn take(self: &Arc<Self>) -> Seat {
        let mut has_made_room = false;
        loop {
            // Before the look, so that no change is missed.
            let changed = self.changed.notified();
            {
                let mut table = self.table();
                if table.taken.len() < self.max {
                    let (number, sent_away) = table.seat();
                    return Seat { seats: Arc::clone(self), number, sent_away };
                }
                // One makes room for one; it goes as soon as its task has its turn.
                has_made_room = has_made_room || table.send_one_away();
            }
            changed.await;
        }
    }

    /// It is never left half changed, so a panic of another holder does no harm.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn seat(&mut self) -> (u64, CancellationToken) {
        let (number, sent_away) = (self.number(), CancellationToken::new());
        let seat = Taken { turns: 0, waits: None, sent_away: sent_away.clone() };
        self.taken.insert(number, seat);
        self.wait(number);
        (number, sent_away)
    }

    /// Whoever has waited longest has to go; whether there was anybody.
    fn send_one_away(&mut self) -> bool {
        let Some((_, longest)) = self.waiting.pop_first() else { return false };
        let longest = self.taken.get_mut(&longest).expect("whoever waits has a seat");
        longest.waits = None;
        longest.sent_away.cancel();
        true
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn wait(&mut self, seat: u64) {
        let number = self.number();
        if let Some(taken) = self.taken.get_mut(&seat) {
            taken.waits = Some(number);
            self.waiting.insert(number, seat);
        }
    }
}

impl Seat {
    /// A request has come.
    fn turn(&self) -> Turn {
        let mut table = self.seats.table();
        if let Some(taken) = table.taken.get_mut(&self.number) {
            taken.turns += 1;
            if let Some(number) = taken.waits.take() {
                table.waiting.remove(&number);
            }
        }
        Turn { seats: Arc::clone(&self.seats), seat: self.number }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        if let Some(Taken { waits: Some(number), .. }) = table.taken.remove(&self.number) {
            table.waiting.remove(&number);
        }
        self.seats.changed.notify_one();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        // The connection may have gone before its answer.
        let Some(taken) = table.taken.get_mut(&self.seat) else { return };
        taken.turns -= 1;
        if taken.turns == 0 {
            table.wait(self.seat);
            self.seats.changed.notify_one();
        }
    }
}

/// An answer's body; its request is answered when it is gone.
struct Answer {
    body: Body,
    _turn: Turn,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
