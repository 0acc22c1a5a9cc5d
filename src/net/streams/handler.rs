//! One connection's part of [`super::Streams`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll, Waker};

use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamProtocol, StreamUpgradeError,
    SubstreamProtocol,
};

use super::{OpenError, OpenReply, Proto};

/// The wish for an outbound stream.
#[derive(Debug)]
pub(crate) struct Open {
    pub(super) proto: StreamProtocol,
    pub(super) reply: OpenReply,
}

/// Whether an unused connection may close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// When nothing has used it for the idle time.
    WhileUsed,
    /// Only when the driver or the other end closes it.
    UntilClosed,
}

pub(crate) struct Handler {
    offered: Vec<(Proto, StreamProtocol)>,
    lifetime: Lifetime,
    opens: VecDeque<Open>,
    inbound: VecDeque<(Proto, Stream)>,
    waker: Option<Waker>,
}

impl Handler {
    pub(super) fn new(offered: Vec<(Proto, StreamProtocol)>, lifetime: Lifetime) -> Self {
        Self { offered, lifetime, opens: VecDeque::new(), inbound: VecDeque::new(), waker: None }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Proto, Stream);
    type InboundProtocol = AnyOf;
    type OutboundProtocol = AnyOf;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenReply;

    fn listen_protocol(&self) -> SubstreamProtocol<AnyOf> {
        let names = self.offered.iter().map(|(_, name)| name.clone()).collect();
        SubstreamProtocol::new(AnyOf { names }, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.lifetime == Lifetime::UntilClosed
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<AnyOf, OpenReply, Self::ToBehaviour>> {
        if let Some(inbound) = self.inbound.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(inbound));
        }
        if let Some(Open { proto, reply }) = self.opens.pop_front() {
            let protocol = SubstreamProtocol::new(AnyOf { names: vec![proto] }, reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.opens.push_back(open);
        self.wake();
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AnyOf, AnyOf, (), OpenReply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (name, stream),
                info: (),
            }) => {
                if let Some((proto, _)) = self.offered.iter().find(|(_, offered)| *offered == name)
                {
                    self.inbound.push_back((*proto, stream));
                    self.wake();
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (_, stream),
                info: reply,
            }) => {
                // Nobody waits any more: the stream is reset by being dropped.
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: reply }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Io(error),
                    StreamUpgradeError::Apply(error) => OpenError::Io(error),
                };
                let _ = reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Negotiates one of some protocol names and hands out the raw stream.
pub(crate) struct AnyOf {
    names: Vec<StreamProtocol>,
}

impl UpgradeInfo for AnyOf {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.names.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for AnyOf {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((name, stream)))
    }
}

impl OutboundUpgrade<Stream> for AnyOf {
    type Output = (StreamProtocol, Stream);
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, io::Error>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((name, stream)))
    }
}
