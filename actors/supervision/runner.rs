//! The runner: one task per child, which carries out its supervisor's orders and reports.
//!
//! The task outlives the child's incarnations. Between two of them it is parked with the body, so that
//! an actor's mailbox stays where it is.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ipfs_kit_core::restart::{Cause, ChildIx, Deadline, Exit, StopPurpose};
use tokio::sync::mpsc;

use super::bell::OnCall;
use super::body::{Body, Step};
#[cfg(any(test, feature = "chaos"))]
use super::chaos::{Injection, inject, injected};
use super::dead_letters::DeadReason;
use super::node::{Node, short_type_name};
use super::tree::{Change, State};

/// Orders that can be under way to one child; a supervisor never has more open.
pub(crate) const ORDERS_MAX: usize = 8;

/// What a supervisor tells a child's runner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// Begin an incarnation.
    Start,
    /// End it.
    Stop(StopPurpose),
    /// End it now; it missed a deadline, if one is named.
    Kill(Option<Deadline>),
    /// It stays down: drop what the next incarnation would have used.
    Discard,
}

/// A runner: the child's place, and which of the specs that had that place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunnerId {
    pub(crate) child: ChildIx,
    pub(crate) generation: u64,
}

/// What a runner tells its supervisor.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) from: RunnerId,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    Ready,
    Exited(Exit),
}

/// What is left of an incarnation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remains {
    /// What the next one can use: an actor's mailbox.
    Keep,
    Nothing,
}

/// Runs a child until its supervisor lets go of the orders.
pub(crate) async fn run_child(
    id: RunnerId,
    node: Arc<Node>,
    mut body: Box<dyn Body>,
    mut orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Report>,
) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Start => {
                node.change(Change::Starting);
                let (exit, remains) = live(id, &node, body.as_mut(), &mut orders, &reports).await;
                // Before the body lets go of what it was doing.
                let in_flight = node.take_in_flight();
                match remains {
                    Remains::Keep => body.rest(),
                    Remains::Nothing => body.discard(),
                }
                record(&node, &exit, in_flight);
                let report = Report { from: id, news: News::Exited(exit) };
                if reports.send(report).await.is_err() {
                    break;
                }
            }
            Order::Discard => body.discard(),
            // It is down already: the exit that says so has crossed this order.
            Order::Stop(_) | Order::Kill(_) => {}
        }
    }
    body.discard();
}

/// Runs one incarnation to its exit.
async fn live(
    id: RunnerId,
    node: &Arc<Node>,
    body: &mut dyn Body,
    orders: &mut mpsc::Receiver<Order>,
    reports: &mpsc::Sender<Report>,
) -> (Exit, Remains) {
    if let Err(cause) = body.begin() {
        let panicked = cause.kind == "panic";
        let exit = if panicked { Exit::Panicked(cause) } else { Exit::Failed(cause) };
        return (exit, Remains::Keep);
    }
    let mut remains = Remains::Keep;
    loop {
        match next_event(node, body, orders).await {
            Event::Order(order) => match order {
                Some(Order::Stop(purpose)) => {
                    if purpose == StopPurpose::Final {
                        remains = Remains::Nothing;
                    }
                    node.change(Change::Draining);
                    body.stop(purpose);
                }
                Some(Order::Kill(Some(Deadline::Start))) => {
                    let cause = Cause::new("start-timeout", "not ready in time");
                    return (Exit::Failed(cause), Remains::Nothing);
                }
                Some(Order::Kill(_)) | None => return (Exit::Killed, Remains::Nothing),
                Some(order @ (Order::Start | Order::Discard)) => {
                    let cause = Cause::new("supervisor", format!("{order:?} while running"));
                    return (Exit::Failed(cause), Remains::Nothing);
                }
            },
            Event::Injection(injection) => match inject(injection, node, body) {
                Some(Exit::Killed) => return (Exit::Killed, Remains::Nothing),
                Some(exit) => return (exit, remains),
                None => {}
            },
            Event::Step(step) => match step {
                Step::Exit(exit) => return (exit, remains),
                Step::Ready => {
                    // It may have been asked to stop meanwhile.
                    if node.state() == State::Starting {
                        node.change(Change::Ready);
                    }
                    let report = Report { from: id, news: News::Ready };
                    if reports.send(report).await.is_err() {
                        return (Exit::Killed, Remains::Nothing);
                    }
                }
            },
        }
    }
}

/// What happens to an incarnation.
enum Event {
    Order(Option<Order>),
    Injection(Injection),
    Step(Step),
}

/// Runs the incarnation until something happens. Orders go first; but there are few of them, and the child is
/// polled for every message.
async fn next_event(
    node: &Arc<Node>,
    body: &mut dyn Body,
    orders: &mut mpsc::Receiver<Order>,
) -> Event {
    let mut from_outside = OnCall::new(async {
        tokio::select! {
            biased;
            order = orders.recv() => Event::Order(order),
            injection = injected(node) => Event::Injection(injection),
        }
    });
    poll_fn(|task| match from_outside.poll(task) {
        Poll::Ready(event) => Poll::Ready(event),
        Poll::Pending => body.poll(task).map(Event::Step),
    })
    .await
}

/// The crash report, for the log and the tree.
fn record(node: &Arc<Node>, exit: &Exit, in_flight: Option<&'static str>) {
    if let Some(lost) = in_flight {
        node.dead_letter(None, lost, DeadReason::InFlight);
    }
    let (path, incarnation) = (node.path(), node.incarnation());
    let message = in_flight.map(short_type_name);
    match exit {
        Exit::Normal => tracing::debug!(%path, incarnation, "ended"),
        Exit::Killed => tracing::warn!(%path, incarnation, message, "killed"),
        Exit::Failed(cause) | Exit::Panicked(cause) => {
            tracing::error!(%path, incarnation, exit = exit.as_str(), %cause, message, "crashed");
        }
    }
    node.exited(exit.clone(), message);
}

/// Without test verbs nothing is ever injected.
#[cfg(not(any(test, feature = "chaos")))]
type Injection = std::convert::Infallible;

#[cfg(not(any(test, feature = "chaos")))]
async fn injected(_node: &Arc<Node>) -> Injection {
    std::future::pending().await
}

#[cfg(not(any(test, feature = "chaos")))]
fn inject(never: Injection, _: &Arc<Node>, _: &mut dyn Body) -> Option<Exit> {
    match never {}
}
