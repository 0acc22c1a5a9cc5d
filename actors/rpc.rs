//! Typed calls between members: sealed, bounded, with a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::limits;
use ipfs_kit_core::proto::{Gossip, Request, Response, Topic};

use crate::ports::{CallError, Peers, PublishError};

/// How long a member may take to say whether it has a block.
const HAVE_DEADLINE: Duration = Duration::from_secs(2);

/// The typed side of [`Peers`].
#[derive(Clone)]
pub struct Rpc {
    peers: Arc<dyn Peers>,
}

/// Why a typed call failed.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The network gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer can't be read, or answers something else; the members run different versions.
    #[error("node {node} gave an unexpected answer: {reason}")]
    Unexpected {
        /// Whom.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
    /// It can't be done there now; a retry after a moment may help.
    #[error("node {node} can't do it now: {reason}")]
    Unavailable {
        /// Whom.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// It will never be done.
    #[error("node {node} refused: {reason}")]
    Refused {
        /// Whom.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// Another member leads.
    #[error("node {node} does not lead")]
    NotLeader {
        /// Whom.
        node: NodeId,
        /// Who leads, as far as it knows.
        leader: Option<NodeId>,
    },
}

impl Rpc {
    /// Wraps the port.
    pub fn new(peers: Arc<dyn Peers>) -> Self {
        Self { peers }
    }

    /// The port itself.
    pub fn peers(&self) -> &Arc<dyn Peers> {
        &self.peers
    }

    /// Asks and decodes the answer; the general refusals become errors.
    pub async fn call(
        &self,
        to: NodeId,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, RpcError> {
        let bytes = Bytes::from(codec::seal(Kind::Request, request));
        let answer = match request {
            Request::Blocks { .. } => self.peers.call_bulk(to, bytes, deadline).await?,
            _ => self.peers.call(to, bytes, deadline).await?,
        };
        let response = codec::open(Kind::Response, &answer, limits::RESPONSE_BYTES_MAX)
            .map_err(|error| RpcError::Unexpected { node: to, reason: error.to_string() })?;
        match response {
            Response::NotLeader { leader } => Err(RpcError::NotLeader { node: to, leader }),
            Response::Unavailable { reason } => Err(RpcError::Unavailable { node: to, reason }),
            Response::Refused { reason } => Err(RpcError::Refused { node: to, reason }),
            other => Ok(other),
        }
    }

    /// Asks some members at once whether they have a block.
    pub async fn who_has(
        &self,
        nodes: Vec<NodeId>,
        cid: &Cid,
    ) -> Vec<(NodeId, Result<bool, RpcError>)> {
        let asks = nodes.into_iter().map(|node| async move {
            let request = Request::Have { cids: vec![cid.clone()] };
            let answer = match self.call(node, &request, HAVE_DEADLINE).await {
                Ok(Response::Have(has)) => Ok(has.first() == Some(&true)),
                Ok(other) => Err(unexpected(node, &other)),
                Err(error) => Err(error),
            };
            (node, answer)
        });
        futures_util::future::join_all(asks).await
    }

    /// Publishes a gossip message if it fits.
    pub fn publish(&self, topic: Topic, message: &Gossip) -> Result<(), PublishError> {
        let bytes = codec::seal(Kind::Gossip, message);
        if bytes.len() > limits::GOSSIP_BYTES_MAX {
            let reason = format!("{} bytes are too large for gossip", bytes.len());
            return Err(PublishError::Refused { reason });
        }
        self.peers.publish(topic, bytes.into())
    }
}

/// The error for an answer of another kind than the question.
pub fn unexpected(node: NodeId, response: &Response) -> RpcError {
    let debug = format!("{response:?}");
    RpcError::Unexpected { node, reason: debug.chars().take(120).collect() }
}

/// Seals an answer.
pub fn answer(response: &Response) -> Bytes {
    // A length, a mark, and the envelope.
    const FRAMING_BYTES: usize = 16;
    let len_bytes = match response {
        Response::Blocks(blocks) => {
            let sizes = blocks.iter().map(|block| block.as_ref().map_or(0, Bytes::len));
            sizes.map(|size| size + FRAMING_BYTES).sum::<usize>() + FRAMING_BYTES
        }
        _ => 0,
    };
    Bytes::from(codec::seal_sized(Kind::Response, response, len_bytes))
}
