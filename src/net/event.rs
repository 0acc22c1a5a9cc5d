//! What the network tells its owner.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::poll_fn;
use tokio::sync::mpsc;

use crate::addr::NetAddr;
use crate::calls::InboundCall;
use crate::error::{DialError, HelloError};
use crate::gossip::GossipMessage;
use crate::identity::PeerKey;
use crate::join::InboundJoin;
use crate::lanes::{Delivery, Lane, LaneSink, SinkPlace};

/// Which end opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer dialled this node.
    Inbound,
    /// This node dialled the peer.
    Outbound,
}

/// Which end refused a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// This node.
    Us,
    /// The peer, or nobody: the hello did not finish.
    Them,
}

/// Why the last connection to a member is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The member left the registry.
    #[error("removed from the registry")]
    Removed,
    /// It stopped answering pings.
    #[error("unresponsive")]
    Unresponsive,
    /// Nothing used the connection.
    #[error("idle")]
    Idle,
    /// A newer start of the same member took its place.
    #[error("replaced by a newer start")]
    Superseded,
    /// The member sent what no correct member sends.
    #[error("protocol violation: {detail}")]
    ProtocolViolation {
        /// What it sent.
        detail: String,
    },
    /// The member closed the connection.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// The connection broke.
    #[error("connection lost: {detail}")]
    Lost {
        /// What the operating system said.
        detail: String,
    },
}

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// A member is connected and has said hello.
    PeerUp {
        /// Who.
        peer: PeerKey,
        /// Which start of it.
        incarnation: u64,
        /// The address at the other end.
        addr: Option<NetAddr>,
        /// Who dialled.
        direction: Direction,
    },
    /// The last connection to a member is gone.
    PeerDown {
        /// Who.
        peer: PeerKey,
        /// Why.
        reason: DownReason,
    },
    /// A connection was refused by the hello. The other end reports it too.
    HelloRefused {
        /// The peer at the other end.
        peer: PeerKey,
        /// The address at the other end.
        addr: Option<NetAddr>,
        /// Who refused.
        by: RefusedBy,
        /// Why.
        error: HelloError,
    },
    /// A kept member could not be dialled; the dial is repeated.
    DialFailed {
        /// Who.
        peer: PeerKey,
        /// Failures in a row.
        failures: u32,
        /// One error for each address that was tried.
        errors: Vec<DialError>,
    },
    /// Messages that a lane had accepted were lost with a connection.
    LaneLost {
        /// To whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// How many were not handed to the kernel whole. An estimate of the loss: some of the last
        /// batch may have arrived, and some of what the kernel had taken may not.
        messages: u64,
    },
    /// A member calls; answer with [`InboundCall::reply`].
    Call(InboundCall),
    /// A message on a lane; order is kept for each peer and lane.
    Message {
        /// From whom.
        from: PeerKey,
        /// On which lane.
        lane: Lane,
        /// The message.
        bytes: Bytes,
    },
    /// A node asks to join.
    Join(InboundJoin),
    /// A gossip message of a member that may author it; judge it with
    /// [`GossipMessage::validate`].
    Gossip(GossipMessage),
}

/// The receiving half of the network. Dropping it stops the network.
///
/// Each kind of event has its own bounded queue, so that slow handling of one kind does not hold
/// up the others; [`NetEvents::recv`] takes from them in turn.
#[derive(Debug)]
pub struct NetEvents {
    pub(crate) status: mpsc::Receiver<Event>,
    pub(crate) joins: mpsc::Receiver<InboundJoin>,
    pub(crate) calls: mpsc::Receiver<InboundCall>,
    pub(crate) raft: Option<LaneReceiver>,
    pub(crate) gossip: mpsc::Receiver<GossipMessage>,
    /// The queue that is looked at first next time.
    pub(crate) turn: u8,
}

impl NetEvents {
    const QUEUES: u8 = 5;

    /// The next event; `None` once the network has stopped and every queue is empty.
    /// Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<Event> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_recv(&mut cx) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    /// Takes a lane's queue out, for a task of its own. `None` if it was taken before.
    pub fn take_lane(&mut self, lane: Lane) -> Option<LaneReceiver> {
        match lane {
            Lane::Raft => self.raft.take(),
        }
    }

    /// [`LaneReceiver::pour_into`] for a lane whose queue was not taken out.
    pub fn pour_lane_into(&self, lane: Lane, sink: LaneSink) {
        let receiver = match lane {
            Lane::Raft => &self.raft,
        };
        if let Some(receiver) = receiver {
            receiver.pour_into(sink);
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut open = false;
        for step in 0..Self::QUEUES {
            let queue = (self.turn + step) % Self::QUEUES;
            match self.poll_queue(queue, cx) {
                Poll::Ready(Some(event)) => {
                    self.turn = (queue + 1) % Self::QUEUES;
                    return Poll::Ready(Some(event));
                }
                Poll::Ready(None) => {}
                Poll::Pending => open = true,
            }
        }
        if open { Poll::Pending } else { Poll::Ready(None) }
    }

    fn poll_queue(&mut self, queue: u8, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match queue {
            0 => self.status.poll_recv(cx),
            1 => poll_lane(&mut self.raft, cx),
            2 => self.calls.poll_recv(cx).map(|call| call.map(Event::Call)),
            3 => self.joins.poll_recv(cx).map(|join| join.map(Event::Join)),
            _ => self.gossip.poll_recv(cx).map(|message| message.map(Event::Gossip)),
        }
    }
}

fn poll_lane(receiver: &mut Option<LaneReceiver>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
    let Some(receiver) = receiver else { return Poll::Ready(None) };
    let lane = receiver.lane;
    receiver.queue.poll_recv(cx).map(|delivery| {
        delivery.map(|Delivery { from, bytes, .. }| Event::Message { from, lane, bytes })
    })
}

/// The queue of one lane. While it is full the readers of that lane stop, and so, at last, the
/// senders.
#[derive(Debug)]
pub struct LaneReceiver {
    pub(crate) lane: Lane,
    pub(crate) queue: mpsc::Receiver<Delivery>,
    pub(crate) sink: SinkPlace,
}

impl LaneReceiver {
    /// From here on `sink` takes what is read, on the thread that read it: no other has to be woken. What is
    /// in the queue by then stays there. Only the first sink is used.
    pub fn pour_into(&self, sink: LaneSink) {
        self.sink.fill(sink);
    }

    /// The next message and its sender; `None` once the network has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<(PeerKey, Bytes)> {
        self.queue.recv().await.map(|delivery| (delivery.from, delivery.bytes))
    }

    /// The next message, if one is waiting.
    pub fn try_recv(&mut self) -> Option<(PeerKey, Bytes)> {
        self.queue.try_recv().ok().map(|delivery| (delivery.from, delivery.bytes))
    }
}
