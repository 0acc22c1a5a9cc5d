//! Ordered lanes: one long-lived stream for each peer, lane and direction.
//!
//! A frame is a big-endian `u32` length and the message. The sender's queue is bounded in messages
//! and bytes; the receiver stops reading when its owner falls behind, and so the queue at the
//! sender fills: that is the back-pressure. What is queued when the last connection breaks is lost
//! and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::{LaneLimits, MAX_RAFT_MESSAGE_BYTES};
use crate::error::SendError;
use crate::frame::{self, FrameError};
use crate::identity::PeerKey;
use crate::links::Opener;
use crate::registry::Rights;
use crate::streams::Proto;

#[cfg(test)]
mod tests;

/// Small messages that wait together are written together, up to this size.
const BATCH_BYTES: usize = 64 << 10;

/// A kind of ordered traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Raft messages between masters; only members with [`Rights::RAFT`] may open it.
    Raft,
}

impl Lane {
    pub(crate) fn proto(self) -> Proto {
        match self {
            Self::Raft => Proto::Raft,
        }
    }

    /// Largest message, in bytes.
    pub const fn max_message_bytes(self) -> usize {
        match self {
            Self::Raft => MAX_RAFT_MESSAGE_BYTES,
        }
    }

    /// What a member needs to open it.
    pub(crate) const fn right(self) -> Rights {
        match self {
            Self::Raft => Rights::RAFT,
        }
    }
}

/// The sending end of a lane to one peer.
pub(crate) struct LaneSender {
    lane: Lane,
    queue: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    max_queued_bytes: usize,
}

/// The other end of a [`LaneSender`], for [`write_lane`].
pub(crate) struct LaneQueue {
    lane: Lane,
    queue: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
}

/// Messages that were accepted and lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneLoss {
    pub(crate) peer: PeerKey,
    pub(crate) lane: Lane,
    pub(crate) messages: u64,
}

pub(crate) fn lane_queue(lane: Lane, limits: LaneLimits) -> (LaneSender, LaneQueue) {
    let (sender, receiver) = mpsc::channel(limits.queue_messages.max(1));
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let sender = LaneSender {
        lane,
        queue: sender,
        queued_bytes: queued_bytes.clone(),
        max_queued_bytes: limits.queue_bytes.max(lane.max_message_bytes()),
    };
    (sender, LaneQueue { lane, queue: receiver, queued_bytes })
}

impl LaneSender {
    pub(crate) fn send(&self, message: Bytes) -> Result<(), SendError> {
        let len_bytes = message.len();
        let limit_bytes = self.lane.max_message_bytes();
        if len_bytes > limit_bytes {
            return Err(SendError::TooLarge { len_bytes, limit_bytes });
        }
        if self.queue.is_closed() {
            return Err(SendError::NotConnected);
        }
        let queued = self.queued_bytes.fetch_add(len_bytes, Ordering::AcqRel);
        let sent = match queued + len_bytes > self.max_queued_bytes {
            true => Err(SendError::Full),
            false => self.queue.try_send(message).map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
            }),
        };
        if sent.is_err() {
            self.queued_bytes.fetch_sub(len_bytes, Ordering::AcqRel);
        }
        sent
    }
}

impl LaneQueue {
    async fn next(&mut self) -> Option<Bytes> {
        let message = self.queue.recv().await?;
        self.queued_bytes.fetch_sub(message.len(), Ordering::AcqRel);
        Some(message)
    }

    fn try_next(&mut self) -> Option<Bytes> {
        let message = self.queue.try_recv().ok()?;
        self.queued_bytes.fetch_sub(message.len(), Ordering::AcqRel);
        Some(message)
    }
}

/// Writes a lane's messages until `closed`, opening a stream when there is something to send and
/// a new one after each loss. Tells `losses` of every message that it took and could not write.
pub(crate) async fn write_lane(
    mut queue: LaneQueue,
    opener: Opener,
    closed: CancellationToken,
    stall: Duration,
    losses: mpsc::Sender<LaneLoss>,
) {
    let (peer, lane) = (opener.peer, queue.lane);
    let report = |messages| {
        let losses = losses.clone();
        // Without a driver there is nobody left to tell.
        async move { losses.send(LaneLoss { peer, lane, messages }).await.unwrap_or_default() }
    };
    let mut stream = None;
    let mut batch = BytesMut::new();
    let mut in_hand = 0;
    let work = async {
        while let Some(first) = queue.next().await {
            in_hand = 1;
            let written = async {
                let stream = match &mut stream {
                    Some(stream) => stream,
                    none => none.insert(opener.open(lane.proto()).await.map_err(io::Error::other)?),
                };
                batch.clear();
                put_frame(stream, &mut batch, &first).await?;
                while let Some(next) = queue.try_next() {
                    in_hand += 1;
                    put_frame(stream, &mut batch, &next).await?;
                }
                write_patiently(stream, &batch).await?;
                frame::flush(stream, stall).await
            };
            if let Err(error) = written.await {
                tracing::debug!(?lane, %error, "lane stream lost");
                stream = None;
                report(in_hand).await;
            }
            in_hand = 0;
        }
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = work => {}
    }
    queue.queue.close();
    let mut lost = in_hand;
    while queue.try_next().is_some() {
        lost += 1;
    }
    if lost > 0 {
        report(lost).await;
    }
}

/// Adds a frame to the batch, which goes out when it is large enough.
async fn put_frame<W>(
    writer: &mut W,
    batch: &mut BytesMut,
    message: &[u8],
) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    let len = u32::try_from(message.len()).expect("checked against the lane's limit");
    batch.put_u32(len);
    if message.len() <= frame::SMALL_BYTES {
        batch.put_slice(message);
        if batch.len() < BATCH_BYTES {
            return Ok(());
        }
    }
    write_patiently(writer, batch).await?;
    batch.clear();
    match message.len() <= frame::SMALL_BYTES {
        true => Ok(()),
        false => write_patiently(writer, message).await,
    }
}

/// Writes without a stall limit: a receiver that does not read is back-pressure, and a dead
/// connection is found by the pings.
async fn write_patiently<W>(writer: &mut W, bytes: &[u8]) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    frame::write_bytes(writer, bytes, Duration::MAX).await
}

/// A received message that waits for the owner; holds its bytes' places in the bound until taken.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) from: PeerKey,
    pub(crate) bytes: Bytes,
    pub(crate) _places: OwnedSemaphorePermit,
}

/// The receiving end of one lane, shared by the readers of all peers.
#[derive(Clone)]
pub(crate) struct LaneInlet {
    lane: Lane,
    queue: mpsc::Sender<Delivery>,
    bytes: Arc<Semaphore>,
}

impl LaneInlet {
    pub(crate) fn new(lane: Lane, limits: LaneLimits) -> (Self, mpsc::Receiver<Delivery>) {
        let (queue, receiver) = mpsc::channel(limits.inbound_messages.max(1));
        let bytes = Semaphore::new(limits.inbound_bytes.max(lane.max_message_bytes()));
        (Self { lane, queue, bytes: Arc::new(bytes) }, receiver)
    }
}

/// Reads one peer's lane until the stream ends or the owner is gone.
///
/// # Errors
/// [`FrameError::TooLarge`] when the peer states a length over the limit; otherwise the stream
/// broke.
pub(crate) async fn read_lane<R>(
    inlet: LaneInlet,
    from: PeerKey,
    reader: R,
    stall: Duration,
) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut reader = BufReader::with_capacity(BATCH_BYTES, reader);
    loop {
        // Between two messages silence is normal.
        let len = match frame::read_header::<4, _>(&mut reader, Duration::MAX).await {
            Ok(len) => u32::from_be_bytes(len),
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let len_bytes = frame::check_len(len, inlet.lane.max_message_bytes())?;
        let bytes = frame::read_payload(&mut reader, len_bytes, stall).await?;
        // Places are taken after the read: a slow sender can't hold those of the others.
        let Ok(places) = inlet.bytes.clone().acquire_many_owned(len).await else { return Ok(()) };
        let delivery = Delivery { from, bytes, _places: places };
        if inlet.queue.send(delivery).await.is_err() {
            return Ok(());
        }
    }
}
