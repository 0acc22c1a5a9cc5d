//! The connected members as the handle sees them: what a call or a send needs, without the driver.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use libp2p::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::addr::NetAddr;
use crate::bulk::Bulk;
use crate::calls::ClassGates;
use crate::identity::PeerKey;
use crate::lanes::{Lane, LaneSender};
use crate::streams::{OpenError, OpenReply, Proto};

/// A connected member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedPeer {
    /// Who.
    pub peer: PeerKey,
    /// Which start of it.
    pub incarnation: u64,
    /// The address at the other end.
    pub addr: Option<NetAddr>,
}

pub(crate) struct PeerLink {
    pub(crate) about: ConnectedPeer,
    pub(crate) opener: Opener,
    /// Cancelled when the last connection is gone.
    pub(crate) closed: CancellationToken,
    /// Bounds on calls to it.
    pub(crate) calls: ClassGates,
    /// Bounds on calls from it.
    pub(crate) served: ClassGates,
    pub(crate) bulk: Bulk,
    pub(crate) raft: LaneSender,
    /// Who reads its Raft lane.
    pub(crate) lane_reader: LaneReader,
}

/// The reader of a lane, over the lane's own connection or a stream of the swarm. A later one takes the lane
/// over, after its predecessor has let go of the lock.
#[derive(Default)]
pub(crate) struct LaneReader {
    present: Mutex<CancellationToken>,
    lock: tokio::sync::Mutex<()>,
}

impl LaneReader {
    /// Ends the present reader. The next one reads until the token is cancelled.
    pub(crate) fn replace(&self) -> CancellationToken {
        let next = CancellationToken::new();
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *present, next.clone()).cancel();
        next
    }

    /// Reads once the predecessor has let go, until it is the turn of another one: then `None`.
    pub(crate) async fn read<R>(
        &self,
        turn: CancellationToken,
        work: impl Future<Output = R>,
    ) -> Option<R> {
        let work = async {
            let _turn = self.lock.lock().await;
            work.await
        };
        turn.run_until_cancelled_owned(work).await
    }
}

impl PeerLink {
    pub(crate) fn lane(&self, lane: Lane) -> &LaneSender {
        match lane {
            Lane::Raft => &self.raft,
        }
    }
}

/// The wish for a stream to a peer, over its best connection.
pub(crate) struct OpenWish {
    pub(crate) peer: PeerKey,
    pub(crate) proto: Proto,
    pub(crate) reply: OpenReply,
}

/// Opens streams to one peer.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) peer: PeerKey,
    pub(crate) wishes: mpsc::Sender<OpenWish>,
}

impl Opener {
    pub(crate) async fn open(&self, proto: Proto) -> Result<Stream, OpenError> {
        let gone = || OpenError::Io(std::io::ErrorKind::NotConnected.into());
        let (reply, opened) = oneshot::channel();
        let wish = OpenWish { peer: self.peer, proto, reply };
        self.wishes.send(wish).await.map_err(|_| gone())?;
        opened.await.map_err(|_| gone())?
    }
}

/// All connected members.
#[derive(Clone, Default)]
pub(crate) struct Links {
    peers: Arc<RwLock<BTreeMap<PeerKey, Arc<PeerLink>>>>,
}

impl Links {
    pub(crate) fn get(&self, peer: &PeerKey) -> Option<Arc<PeerLink>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(peer).cloned()
    }

    pub(crate) fn all(&self) -> Vec<ConnectedPeer> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().map(|link| link.about.clone()).collect()
    }

    pub(crate) fn insert(&self, link: PeerLink) -> Arc<PeerLink> {
        let link = Arc::new(link);
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.insert(link.about.peer, link.clone());
        link
    }

    pub(crate) fn remove(&self, peer: &PeerKey) {
        let removed = self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(peer);
        if let Some(link) = removed {
            link.closed.cancel();
        }
    }

    pub(crate) fn clear(&self) {
        let peers =
            std::mem::take(&mut *self.peers.write().unwrap_or_else(PoisonError::into_inner));
        for link in peers.into_values() {
            link.closed.cancel();
        }
    }
}
